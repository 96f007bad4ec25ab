//! What stands beside a checkout's money: who is asked about its results, and the quote that it was
//! opened with.

use sqlx::PgConnection;
use uuid::Uuid;

use super::Keys;

/// Who is asked about a result.
pub struct VerificationRow {
    pub book_id: Uuid,
    pub checkout_id: Uuid,
    pub result_id: String,
    pub verifier_id: Uuid,
}

/// Who is asked about the results of some checkouts.
pub async fn verifications(
    tx: &mut PgConnection,
    keys: &Keys,
) -> Result<Vec<VerificationRow>, sqlx::Error> {
    sqlx::query_as!(
        VerificationRow,
        r#"select v.book_id as "book_id!", v.checkout_id as "checkout_id!",
                  v.result_id as "result_id!", v.verifier_id as "verifier_id!"
           from unnest($1::smallint[], $2::uuid[], $3::uuid[]) as u(slot, book_id, checkout_id)
           cross join lateral (
             select * from verification where slot = u.slot and book_id = u.book_id
               and checkout_id = u.checkout_id offset 0) v"#,
        &keys.slots,
        &keys.books,
        &keys.ids
    )
    .fetch_all(tx)
    .await
}

/// An accepted quote, its lines beside the items of the checkout that it names.
pub struct QuoteRow {
    pub book_id: Uuid,
    pub quote_id: Uuid,
    pub checkout_id: Uuid,
    /// Whether the checkout is there, in the quote's own book.
    pub there: bool,
    /// How many quotes name it.
    pub naming: i64,
    /// None when they are no list.
    pub lines: Option<i32>,
    pub items: i64,
    /// How many items are what their line says.
    pub alike: i64,
}

/// The quotes that name some checkouts, and some quotes that name any.
pub async fn quotes(
    tx: &mut PgConnection,
    checkouts: &Keys,
    quotes: &Keys,
) -> Result<Vec<QuoteRow>, sqlx::Error> {
    sqlx::query_as!(
        QuoteRow,
        r#"with accepted as materialized (
             select q.* from unnest($1::smallint[], $2::uuid[]) as u(slot, checkout_id)
             cross join lateral (
               select * from quote where slot = u.slot and checkout_id = u.checkout_id offset 0) q
             union
             select q.* from unnest($3::smallint[], $4::uuid[], $5::uuid[])
                               as u(slot, book_id, quote_id)
             cross join lateral (
               select * from quote where slot = u.slot and book_id = u.book_id
                 and quote_id = u.quote_id and checkout_id is not null offset 0) q)
           select a.book_id as "book_id!", a.quote_id as "quote_id!",
                  a.checkout_id as "checkout_id!", k.there as "there!", n.naming as "naming!",
                  case jsonb_typeof(a.lines) when 'array' then jsonb_array_length(a.lines) end
                    as lines,
                  c.items as "items!", c.alike as "alike!"
           from accepted a
           cross join lateral (
             select count(*) > 0 as there from checkout where slot = a.slot
               and book_id = a.book_id and checkout_id = a.checkout_id) k
           cross join lateral (
             select count(*) as naming from quote
             where slot = a.slot and checkout_id = a.checkout_id) n
           cross join lateral (
             select count(*) as items,
                    count(*) filter (where
                      i.sku = l.line ->> 'sku' and i.sku_version::text = l.line ->> 'sku_version'
                      and i.quantity::text = l.line ->> 'quantity'
                      and i.unit_price = case
                        when l.line ->> 'unit_price' ~ '^[0-9]{1,12}([.][0-9]{1,6})?$'
                        then (l.line ->> 'unit_price')::numeric * 1000000 end) as alike
             from (select * from checkout_item where slot = a.slot and book_id = a.book_id
                     and checkout_id = a.checkout_id offset 0) i
             cross join lateral (select a.lines -> (i.item - 1) as line) l) c"#,
        &checkouts.slots,
        &checkouts.ids,
        &quotes.slots,
        &quotes.books,
        &quotes.ids
    )
    .fetch_all(tx)
    .await
}
