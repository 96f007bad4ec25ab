//! What stands beside a checkout's money: the quote that it was opened with, and who was to be asked
//! about its results.

use sqlx::PgConnection;

use super::{Found, NAMED_MAX};

/// A quote that was accepted names a checkout of its book, which sells its lines at its prices; no
/// other quote names that one.
///
/// Nothing is taken for granted of what a line says, so that a spoiled one is found and does not end
/// the check.
pub async fn quotes(tx: &mut PgConnection) -> Result<Vec<Found>, sqlx::Error> {
    sqlx::query_as!(
        Found,
        r#"with accepted as (
             select q.*, count(*) over (partition by slot, checkout_id) as naming
             from quote q where checkout_id is not null),
           compared as (
             select a.slot, a.book_id, a.quote_id, a.checkout_id, a.naming,
                    case jsonb_typeof(a.lines) when 'array' then jsonb_array_length(a.lines) end
                      as lines,
                    count(i.item) as items,
                    count(i.item) filter (where
                      i.sku = l.line ->> 'sku' and i.sku_version::text = l.line ->> 'sku_version'
                      and i.quantity::text = l.line ->> 'quantity'
                      and i.unit_price = case
                        when l.line ->> 'unit_price' ~ '^[0-9]{1,12}([.][0-9]{1,6})?$'
                        then (l.line ->> 'unit_price')::numeric * 1000000 end) as alike
             from accepted a left join checkout_item i using (slot, book_id, checkout_id)
             left join lateral (select a.lines -> (i.item - 1) as line) l on true
             group by a.slot, a.book_id, a.quote_id, a.checkout_id, a.naming, a.lines),
           bad as (
             select book_id, format('quo_%s names chk_%s, which %s',
                                    replace(quote_id::text, '-', ''),
                                    replace(checkout_id::text, '-', ''),
                                    case when k.checkout_id is null then 'is not there'
                                         when naming > 1 then 'another quote names too'
                                         else 'sells something else' end) as subject
             from compared left join (select slot, book_id, checkout_id from checkout) k
               using (slot, book_id, checkout_id)
             where k.checkout_id is null or naming > 1 or items is distinct from lines
               or alike <> items)
           select book_id as "book?", subject as "subject!", null::numeric as "expected?",
                  null::numeric as "found?", count(*) over () as "total!"
           from bad order by book_id, subject limit $1"#,
        NAMED_MAX
    )
    .fetch_all(tx)
    .await
}

/// A result is for its SKU's verifier to judge, where that version of the SKU has one and the schema
/// has not settled it; about no other is anybody asked.
pub async fn verifications(tx: &mut PgConnection) -> Result<Vec<Found>, sqlx::Error> {
    sqlx::query_as!(
        Found,
        r#"with owed as (
             select r.slot, r.book_id, r.checkout_id, r.result_id, v.verifier_id as judge
             from result r
             left join checkout_item i using (slot, book_id, checkout_id, item)
             left join sku_version v on v.sku = i.sku and v.version = i.sku_version
               and r.verdict ->> 'verifier' is distinct from 'schema'),
           bad as (
             select book_id, format('result %s of chk_%s is for %s to judge, and %s is asked',
                                    to_json(result_id), replace(checkout_id::text, '-', ''),
                                    coalesce('vfr_' || replace(judge::text, '-', ''), 'nobody'),
                                    coalesce('vfr_' || replace(verifier_id::text, '-', ''),
                                             'nobody')) as subject
             from owed full join verification using (slot, book_id, checkout_id, result_id)
             where judge is distinct from verifier_id)
           select book_id as "book?", subject as "subject!", null::numeric as "expected?",
                  null::numeric as "found?", count(*) over () as "total!"
           from bad order by book_id, subject limit $1"#,
        NAMED_MAX
    )
    .fetch_all(tx)
    .await
}
