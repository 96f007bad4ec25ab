//! Checkouts with everything in them.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::Keys;

/// A checkout.
pub struct CheckoutRow {
    pub book_id: Uuid,
    pub checkout_id: Uuid,
    pub total: i64,
    pub created_at: DateTime<Utc>,
    pub canceled_at: Option<DateTime<Utc>>,
}

pub async fn checkouts(
    tx: &mut PgConnection,
    keys: &Keys,
) -> Result<Vec<CheckoutRow>, sqlx::Error> {
    sqlx::query_as!(
        CheckoutRow,
        r#"select c.book_id as "book_id!", c.checkout_id as "checkout_id!", c.total as "total!",
                  c.created_at as "created_at!", c.canceled_at
           from unnest($1::smallint[], $2::uuid[], $3::uuid[]) as u(slot, book_id, checkout_id)
           cross join lateral (
             select * from checkout where slot = u.slot and book_id = u.book_id
               and checkout_id = u.checkout_id offset 0) c"#,
        &keys.slots,
        &keys.books,
        &keys.ids
    )
    .fetch_all(tx)
    .await
}

/// An item.
pub struct ItemRow {
    pub book_id: Uuid,
    pub checkout_id: Uuid,
    pub item: i16,
    pub hold_id: Uuid,
    pub quantity: i64,
    pub unit_price: i64,
    pub submitted: i64,
    pub settled: i64,
    pub closed: bool,
    /// The price in the version of the SKU that it names.
    pub listed_price: Option<i64>,
    /// Who judges its results, by that version.
    pub verifier_id: Option<Uuid>,
}

/// The items of some checkouts.
pub async fn items(tx: &mut PgConnection, keys: &Keys) -> Result<Vec<ItemRow>, sqlx::Error> {
    sqlx::query_as!(
        ItemRow,
        r#"select i.book_id as "book_id!", i.checkout_id as "checkout_id!", i.item as "item!",
                  i.hold_id as "hold_id!", i.quantity as "quantity!",
                  i.unit_price as "unit_price!", i.submitted as "submitted!",
                  i.settled as "settled!", i.closed as "closed!",
                  v.unit_price as "listed_price?", v.verifier_id as "verifier_id?"
           from unnest($1::smallint[], $2::uuid[], $3::uuid[]) as u(slot, book_id, checkout_id)
           cross join lateral (
             select * from checkout_item where slot = u.slot and book_id = u.book_id
               and checkout_id = u.checkout_id offset 0) i
           left join sku_version v on v.sku = i.sku and v.version = i.sku_version"#,
        &keys.slots,
        &keys.books,
        &keys.ids
    )
    .fetch_all(tx)
    .await
}

/// A result.
pub struct ResultRow {
    pub book_id: Uuid,
    pub checkout_id: Uuid,
    pub result_id: String,
    pub item: i16,
    pub quantity: i64,
    pub state: String,
    pub accepted: Option<i64>,
    pub charge_id: Option<Uuid>,
    /// Whether its schema alone has settled it.
    pub by_schema: bool,
    pub submitted_at: DateTime<Utc>,
    pub decided_at: Option<DateTime<Utc>>,
}

/// The results of some checkouts.
pub async fn results(tx: &mut PgConnection, keys: &Keys) -> Result<Vec<ResultRow>, sqlx::Error> {
    sqlx::query_as!(
        ResultRow,
        r#"select r.book_id as "book_id!", r.checkout_id as "checkout_id!",
                  r.result_id as "result_id!", r.item as "item!", r.quantity as "quantity!",
                  r.state as "state!", r.accepted, r.charge_id,
                  coalesce(r.verdict ->> 'verifier' = 'schema', false) as "by_schema!",
                  r.submitted_at as "submitted_at!", r.decided_at
           from unnest($1::smallint[], $2::uuid[], $3::uuid[]) as u(slot, book_id, checkout_id)
           cross join lateral (
             select * from result where slot = u.slot and book_id = u.book_id
               and checkout_id = u.checkout_id offset 0) r"#,
        &keys.slots,
        &keys.books,
        &keys.ids
    )
    .fetch_all(tx)
    .await
}

/// A charge.
#[derive(Clone)]
pub struct ChargeRow {
    pub book_id: Uuid,
    pub charge_id: Uuid,
    pub checkout_id: Uuid,
    pub item: i16,
    pub result_id: String,
    pub quantity: i64,
    pub unit_price: i64,
    pub amount: i64,
    pub reversed: i64,
    pub transaction_id: Uuid,
    pub captured_at: DateTime<Utc>,
}

/// Some charges.
pub async fn charges(tx: &mut PgConnection, keys: &Keys) -> Result<Vec<ChargeRow>, sqlx::Error> {
    sqlx::query_as!(
        ChargeRow,
        r#"select c.book_id as "book_id!", c.charge_id as "charge_id!",
                  c.checkout_id as "checkout_id!", c.item as "item!", c.result_id as "result_id!",
                  c.quantity as "quantity!", c.unit_price as "unit_price!", c.amount as "amount!",
                  c.reversed as "reversed!", c.transaction_id as "transaction_id!",
                  c.captured_at as "captured_at!"
           from unnest($1::smallint[], $2::uuid[], $3::uuid[]) as u(slot, book_id, charge_id)
           cross join lateral (
             select * from charge where slot = u.slot and book_id = u.book_id
               and charge_id = u.charge_id offset 0) c"#,
        &keys.slots,
        &keys.books,
        &keys.ids
    )
    .fetch_all(tx)
    .await
}

/// The charges of some checkouts.
pub async fn charges_of_checkouts(
    tx: &mut PgConnection,
    keys: &Keys,
) -> Result<Vec<ChargeRow>, sqlx::Error> {
    sqlx::query_as!(
        ChargeRow,
        r#"select c.book_id as "book_id!", c.charge_id as "charge_id!",
                  c.checkout_id as "checkout_id!", c.item as "item!", c.result_id as "result_id!",
                  c.quantity as "quantity!", c.unit_price as "unit_price!", c.amount as "amount!",
                  c.reversed as "reversed!", c.transaction_id as "transaction_id!",
                  c.captured_at as "captured_at!"
           from unnest($1::smallint[], $2::uuid[], $3::uuid[]) as u(slot, book_id, checkout_id)
           cross join lateral (
             select * from charge where slot = u.slot and book_id = u.book_id
               and checkout_id = u.checkout_id offset 0) c"#,
        &keys.slots,
        &keys.books,
        &keys.ids
    )
    .fetch_all(tx)
    .await
}

/// A reversal.
pub struct ReversalRow {
    pub book_id: Uuid,
    pub charge_id: Uuid,
    pub amount: i64,
    pub transaction_id: Uuid,
    /// The dispute that it upholds.
    pub dispute_id: Option<Uuid>,
    pub reversed_at: DateTime<Utc>,
}

/// The reversals of some charges.
pub async fn reversals(
    tx: &mut PgConnection,
    keys: &Keys,
) -> Result<Vec<ReversalRow>, sqlx::Error> {
    sqlx::query_as!(
        ReversalRow,
        r#"select r.book_id as "book_id!", r.charge_id as "charge_id!", r.amount as "amount!",
                  r.transaction_id as "transaction_id!", r.dispute_id,
                  r.reversed_at as "reversed_at!"
           from unnest($1::smallint[], $2::uuid[], $3::uuid[]) as u(slot, book_id, charge_id)
           cross join lateral (
             select * from reversal where slot = u.slot and book_id = u.book_id
               and charge_id = u.charge_id offset 0) r"#,
        &keys.slots,
        &keys.books,
        &keys.ids
    )
    .fetch_all(tx)
    .await
}
