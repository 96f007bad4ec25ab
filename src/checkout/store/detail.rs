//! Whole rows, for views.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::ground::{BookId, ChargeId, CheckoutId};

pub(in crate::checkout) struct CheckoutRow {
    pub max_total: i64,
    pub total: i64,
    pub created_at: DateTime<Utc>,
    pub canceled_at: Option<DateTime<Utc>>,
}

pub(in crate::checkout) async fn checkout(
    tx: &mut PgConnection,
    account: BookId,
    checkout: CheckoutId,
) -> Result<Option<CheckoutRow>, sqlx::Error> {
    sqlx::query_as!(
        CheckoutRow,
        "select max_total, total, created_at, canceled_at from checkout
         where slot = $1 and book_id = $2 and checkout_id = $3",
        account.slot().sql(),
        account.0,
        checkout.0
    )
    .fetch_optional(tx)
    .await
}

pub(in crate::checkout) struct ItemRow {
    pub item: i16,
    pub sku: String,
    pub sku_version: i32,
    pub quantity: i64,
    pub unit_price: i64,
    pub submitted: i64,
    pub deliver_by: DateTime<Utc>,
    pub closed: bool,
    pub amount: i64,
    pub captured: i64,
    pub released: i64,
    pub reversed: i64,
}

pub(in crate::checkout) async fn items(
    tx: &mut PgConnection,
    account: BookId,
    checkout: CheckoutId,
) -> Result<Vec<ItemRow>, sqlx::Error> {
    sqlx::query_as!(
        ItemRow,
        "select i.item, i.sku, i.sku_version, i.quantity, i.unit_price, i.submitted, i.deliver_by,
                i.closed, h.amount, h.captured, h.released, h.reversed
         from checkout_item i
         join hold h on h.slot = i.slot and h.book_id = i.book_id and h.hold_id = i.hold_id
         where i.slot = $1 and i.book_id = $2 and i.checkout_id = $3 order by i.item",
        account.slot().sql(),
        account.0,
        checkout.0
    )
    .fetch_all(tx)
    .await
}

/// A charge with what proves it.
#[derive(Clone, Debug)]
pub struct ChargeRow {
    pub charge_id: Uuid,
    pub checkout_id: Uuid,
    pub item: i16,
    pub result_id: String,
    pub sku: String,
    pub quantity: i64,
    pub unit_price: i64,
    pub amount: i64,
    pub reversed: i64,
    pub transaction_id: Uuid,
    pub captured_at: DateTime<Utc>,
    pub final_at: DateTime<Utc>,
    pub evidence_hash: Vec<u8>,
    pub verdict: Option<serde_json::Value>,
}

/// An account's charges, newest first.
pub(in crate::checkout) async fn charges(
    tx: &mut PgConnection,
    account: BookId,
    before: Option<ChargeId>,
    limit: i64,
) -> Result<Vec<ChargeRow>, sqlx::Error> {
    sqlx::query_as!(
        ChargeRow,
        r#"select c.charge_id, c.checkout_id, c.item, c.result_id, c.sku, c.quantity, c.unit_price,
                  c.amount, c.reversed, c.transaction_id, c.captured_at, c.final_at,
                  r.evidence_hash as "evidence_hash!", r.verdict
           from (
             select * from charge where slot = $1 and book_id = $2 and charge_id < $3
             order by charge_id desc limit $4) c
           cross join lateral (
             select evidence_hash, verdict from result
             where slot = c.slot and book_id = c.book_id and checkout_id = c.checkout_id
               and result_id = c.result_id limit 1) r
           order by c.charge_id desc"#,
        account.slot().sql(),
        account.0,
        before.map_or(Uuid::max(), |id| id.0),
        limit
    )
    .fetch_all(tx)
    .await
}

/// One charge.
pub(in crate::checkout) async fn charge(
    tx: &mut PgConnection,
    account: BookId,
    charge: ChargeId,
) -> Result<Option<ChargeRow>, sqlx::Error> {
    sqlx::query_as!(
        ChargeRow,
        "select c.charge_id, c.checkout_id, c.item, c.result_id, c.sku, c.quantity, c.unit_price,
                c.amount, c.reversed, c.transaction_id, c.captured_at, c.final_at,
                r.evidence_hash, r.verdict
         from charge c
         join result r on r.slot = c.slot and r.book_id = c.book_id
                      and r.checkout_id = c.checkout_id and r.result_id = c.result_id
         where c.slot = $1 and c.book_id = $2 and c.charge_id = $3",
        account.slot().sql(),
        account.0,
        charge.0
    )
    .fetch_optional(tx)
    .await
}

/// A part of a lot that a charge was taken from.
pub(in crate::checkout) struct ChargeLot {
    pub charge_id: Uuid,
    pub lot_id: Uuid,
    pub paid: bool,
    pub amount: i64,
}

/// The lots that charges took, in their order: read from the journal. A charge's transfers that undo
/// nothing are its capture.
pub(in crate::checkout) async fn charge_lots(
    tx: &mut PgConnection,
    account: BookId,
    charges: &[Uuid],
) -> Result<Vec<ChargeLot>, sqlx::Error> {
    sqlx::query_as!(
        ChargeLot,
        r#"select t.subject_id as "charge_id!", t.lot_id as "lot_id!", l.paid as "paid!",
                  t.amount as "amount!"
           from unnest($3::uuid[]) as u(id)
           join transfer t on t.slot = $1 and t.subject_id = u.id and t.book_id = $2
                          and t.reverses_id is null
           join lot l on l.slot = t.slot and l.book_id = t.book_id and l.lot_id = t.lot_id
           order by t.version"#,
        account.slot().sql(),
        account.0,
        charges
    )
    .fetch_all(tx)
    .await
}

pub(in crate::checkout) struct ReversalRow {
    pub charge_id: Uuid,
    pub reversal_id: Uuid,
    pub amount: i64,
    pub reason: String,
    pub transaction_id: Uuid,
    pub reversed_by: Option<Uuid>,
    pub reversed_at: DateTime<Utc>,
    pub dispute_id: Option<Uuid>,
}

/// The reversals of some charges, oldest first.
pub(in crate::checkout) async fn reversals(
    tx: &mut PgConnection,
    account: BookId,
    charges: &[Uuid],
) -> Result<Vec<ReversalRow>, sqlx::Error> {
    sqlx::query_as!(
        ReversalRow,
        r#"select r.charge_id as "charge_id!", r.reversal_id as "reversal_id!",
                  r.amount as "amount!", r.reason as "reason!",
                  r.transaction_id as "transaction_id!", r.reversed_by,
                  r.reversed_at as "reversed_at!", r.dispute_id
           from unnest($3::uuid[]) as u(id)
           join reversal r on r.slot = $1 and r.book_id = $2 and r.charge_id = u.id
           order by r.reversed_at, r.reversal_id"#,
        account.slot().sql(),
        account.0,
        charges
    )
    .fetch_all(tx)
    .await
}

pub(in crate::checkout) struct DisputeRow {
    pub dispute_id: Uuid,
    pub charge_id: Uuid,
    pub amount: i64,
    pub reason: String,
    pub state: String,
    pub disputed_at: DateTime<Utc>,
    pub decide_by: DateTime<Utc>,
    pub decided_at: Option<DateTime<Utc>>,
    pub decision_reason: Option<String>,
}

pub(in crate::checkout) async fn disputes(
    tx: &mut PgConnection,
    account: BookId,
    charges: &[Uuid],
) -> Result<Vec<DisputeRow>, sqlx::Error> {
    sqlx::query_as!(
        DisputeRow,
        r#"select d.dispute_id as "dispute_id!", d.charge_id as "charge_id!",
                  d.amount as "amount!", d.reason as "reason!", d.state as "state!",
                  d.disputed_at as "disputed_at!", d.decide_by as "decide_by!", d.decided_at,
                  d.decision_reason
           from unnest($3::uuid[]) as u(id)
           join dispute d on d.slot = $1 and d.book_id = $2 and d.charge_id = u.id
           order by d.dispute_id"#,
        account.slot().sql(),
        account.0,
        charges
    )
    .fetch_all(tx)
    .await
}
