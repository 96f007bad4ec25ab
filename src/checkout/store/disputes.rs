//! Disputes, as they are asked for: one, those that wait for a decision, and those that are due.

use chrono::{DateTime, Utc};
use sqlx::PgPool;
use uuid::Uuid;

use crate::ground::{Amount, BookId, ChargeId, CheckoutId, DisputeId, HoldId};

use super::amount;

/// What never changes about a dispute.
#[derive(Clone, Debug)]
pub struct KnownDispute {
    pub id: DisputeId,
    pub account: BookId,
    pub charge: ChargeId,
    pub hold: HoldId,
    pub checkout: CheckoutId,
    pub result_id: String,
    pub sku: String,
    pub amount: Amount,
    pub reason: String,
    pub disputed_at: DateTime<Utc>,
    pub decide_by: DateTime<Utc>,
}

struct Row {
    dispute_id: Uuid,
    book_id: Uuid,
    charge_id: Uuid,
    hold_id: Uuid,
    checkout_id: Uuid,
    result_id: String,
    sku: String,
    amount: i64,
    reason: String,
    disputed_at: DateTime<Utc>,
    decide_by: DateTime<Utc>,
}

impl From<Row> for KnownDispute {
    fn from(row: Row) -> Self {
        Self {
            id: DisputeId(row.dispute_id),
            account: BookId(row.book_id),
            charge: ChargeId(row.charge_id),
            hold: HoldId(row.hold_id),
            checkout: CheckoutId(row.checkout_id),
            result_id: row.result_id,
            sku: row.sku,
            amount: amount(row.amount),
            reason: row.reason,
            disputed_at: row.disputed_at,
            decide_by: row.decide_by,
        }
    }
}

/// A dispute; its id alone leads to its shard.
pub(in crate::checkout) async fn known(
    pool: &PgPool,
    dispute: DisputeId,
) -> Result<Option<KnownDispute>, sqlx::Error> {
    let row = sqlx::query_as!(
        Row,
        "select d.dispute_id, d.book_id, d.charge_id, i.hold_id, c.checkout_id, c.result_id, d.sku,
                d.amount, d.reason, d.disputed_at, d.decide_by
         from dispute d
         join charge c on c.slot = d.slot and c.book_id = d.book_id and c.charge_id = d.charge_id
         join checkout_item i on i.slot = c.slot and i.book_id = c.book_id
                             and i.checkout_id = c.checkout_id and i.item = c.item
         where d.slot = $1 and d.dispute_id = $2",
        dispute.slot().sql(),
        dispute.0
    )
    .fetch_optional(pool)
    .await?;
    Ok(row.map(KnownDispute::from))
}

/// Disputes that wait for a decision, the oldest first.
pub(in crate::checkout) async fn open(
    pool: &PgPool,
    after: Option<DisputeId>,
    limit: i64,
) -> Result<Vec<KnownDispute>, sqlx::Error> {
    let rows = sqlx::query_as!(
        Row,
        r#"select d.dispute_id, d.book_id, d.charge_id, i.hold_id as "hold_id!",
                c.checkout_id as "checkout_id!", c.result_id as "result_id!", d.sku,
                d.amount, d.reason, d.disputed_at, d.decide_by
         from (
           select * from dispute where state = 'open' and dispute_id > $1
           order by dispute_id limit $2) d
         cross join lateral (
           select checkout_id, item, result_id from charge
           where slot = d.slot and charge_id = d.charge_id limit 1) c
         cross join lateral (
           select hold_id from checkout_item
           where slot = d.slot and checkout_id = c.checkout_id and item = c.item limit 1) i
         order by d.dispute_id"#,
        after.map_or(Uuid::nil(), |id| id.0),
        limit
    )
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(KnownDispute::from).collect())
}

/// Disputes about some SKUs that wait for a decision, the oldest first. A page is put together from
/// a page of each SKU, so that one that is rarely disputed is found among all the others.
pub(in crate::checkout) async fn open_about(
    pool: &PgPool,
    skus: &[String],
    after: Option<DisputeId>,
    limit: i64,
) -> Result<Vec<KnownDispute>, sqlx::Error> {
    let rows = sqlx::query_as!(
        Row,
        r#"select d.dispute_id as "dispute_id!", d.book_id as "book_id!",
                  d.charge_id as "charge_id!", i.hold_id as "hold_id!",
                  c.checkout_id as "checkout_id!", c.result_id as "result_id!",
                  d.sku as "sku!", d.amount as "amount!", d.reason as "reason!",
                  d.disputed_at as "disputed_at!", d.decide_by as "decide_by!"
           from (
             select d.* from unnest($1::text[]) as u(sku)
             cross join lateral (
               select * from dispute
               where state = 'open' and sku = u.sku and dispute_id > $2
               order by dispute_id limit $3) d
             order by d.dispute_id limit $3) d
           cross join lateral (
             select checkout_id, item, result_id from charge
             where slot = d.slot and charge_id = d.charge_id limit 1) c
           cross join lateral (
             select hold_id from checkout_item
             where slot = d.slot and checkout_id = c.checkout_id and item = c.item limit 1) i
           order by d.dispute_id"#,
        skus,
        after.map_or(Uuid::nil(), |id| id.0),
        limit
    )
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(KnownDispute::from).collect())
}

/// Disputes whose deadline has passed.
pub(in crate::checkout) async fn due(
    pool: &PgPool,
    at: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<KnownDispute>, sqlx::Error> {
    let rows = sqlx::query_as!(
        Row,
        r#"select d.dispute_id as "dispute_id!", d.book_id as "book_id!",
                  d.charge_id as "charge_id!", i.hold_id, c.checkout_id, c.result_id,
                  d.sku as "sku!", d.amount as "amount!", d.reason as "reason!", d.disputed_at as "disputed_at!",
                  d.decide_by as "decide_by!"
           from (select * from dispute where state = 'open' and decide_by <= $1
                 order by decide_by limit $2) d
           join charge c on c.slot = d.slot and c.book_id = d.book_id and c.charge_id = d.charge_id
           join checkout_item i on i.slot = c.slot and i.book_id = c.book_id
                               and i.checkout_id = c.checkout_id and i.item = c.item"#,
        at,
        limit
    )
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(KnownDispute::from).collect())
}
