//! What receipts say.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::ground::{BookId, ChargeId, CheckoutId};

/// A result with its line and its charge.
pub(in crate::checkout) struct ReceiptRow {
    pub item: i16,
    pub sku: String,
    pub sku_version: i32,
    pub title: String,
    pub unit: String,
    pub unit_price: i64,
    pub ordered: i64,
    pub hold_id: Uuid,
    pub quantity: i64,
    pub accepted: Option<i64>,
    pub submitted_at: DateTime<Utc>,
    pub decided_at: Option<DateTime<Utc>>,
    pub evidence_hash: Vec<u8>,
    pub verdict: Option<serde_json::Value>,
    pub charge_id: Option<Uuid>,
    pub capture_transaction_id: Option<Uuid>,
    pub release_transaction_id: Option<Uuid>,
}

pub(in crate::checkout) async fn result(
    tx: &mut PgConnection,
    account: BookId,
    checkout: CheckoutId,
    result_id: &str,
) -> Result<Option<ReceiptRow>, sqlx::Error> {
    sqlx::query_as!(
        ReceiptRow,
        r#"select r.item, i.sku, i.sku_version, v.title, v.unit, i.unit_price,
             i.quantity as ordered, i.hold_id, r.quantity, r.accepted, r.submitted_at,
             r.decided_at, r.evidence_hash, r.verdict, r.charge_id,
             c.transaction_id as "capture_transaction_id?", r.release_transaction_id
           from result r
           join checkout_item i on i.slot = r.slot and i.book_id = r.book_id
             and i.checkout_id = r.checkout_id and i.item = r.item
           join sku_version v on v.sku = i.sku and v.version = i.sku_version
           left join charge c on c.slot = r.slot and c.book_id = r.book_id
             and c.charge_id = r.charge_id
           where r.slot = $1 and r.book_id = $2 and r.checkout_id = $3 and r.result_id = $4"#,
        account.slot().sql(),
        account.0,
        checkout.0,
        result_id
    )
    .fetch_optional(tx)
    .await
}

/// The result that a charge is for.
pub(in crate::checkout) async fn charged_result(
    tx: &mut PgConnection,
    account: BookId,
    charge: ChargeId,
) -> Result<Option<(CheckoutId, String)>, sqlx::Error> {
    let row = sqlx::query!(
        "select checkout_id, result_id from charge
         where slot = $1 and book_id = $2 and charge_id = $3",
        account.slot().sql(),
        account.0,
        charge.0
    )
    .fetch_optional(tx)
    .await?;
    Ok(row.map(|row| (CheckoutId(row.checkout_id), row.result_id)))
}

/// A part of a lot that a transaction moved.
pub(in crate::checkout) struct Moved {
    pub transaction_id: Uuid,
    pub lot_id: Uuid,
    pub paid: bool,
    pub amount: i64,
}

/// What some transactions moved, in order. They are found by what they belong to.
pub(in crate::checkout) async fn moved(
    tx: &mut PgConnection,
    account: BookId,
    subjects: &[Uuid],
    transactions: &[Uuid],
) -> Result<Vec<Moved>, sqlx::Error> {
    sqlx::query_as!(
        Moved,
        r#"select t.transaction_id as "transaction_id!", t.lot_id as "lot_id!", l.paid as "paid!",
             t.amount as "amount!"
           from unnest($3::uuid[]) as u(id)
           join transfer t on t.slot = $1 and t.subject_id = u.id and t.book_id = $2
             and t.transaction_id = any ($4)
           join lot l on l.slot = t.slot and l.book_id = t.book_id and l.lot_id = t.lot_id
           order by t.version"#,
        account.slot().sql(),
        account.0,
        subjects,
        transactions
    )
    .fetch_all(tx)
    .await
}
