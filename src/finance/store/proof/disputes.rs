//! Disputes of charges.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::Keys;

/// A dispute.
pub struct DisputeRow {
    pub book_id: Uuid,
    pub charge_id: Uuid,
    pub dispute_id: Uuid,
    pub amount: i64,
    pub state: String,
    pub disputed_at: DateTime<Utc>,
    pub decided_at: Option<DateTime<Utc>>,
}

/// The disputes of some charges.
pub async fn disputes(tx: &mut PgConnection, keys: &Keys) -> Result<Vec<DisputeRow>, sqlx::Error> {
    sqlx::query_as!(
        DisputeRow,
        r#"select d.book_id as "book_id!", d.charge_id as "charge_id!",
                  d.dispute_id as "dispute_id!", d.amount as "amount!", d.state as "state!",
                  d.disputed_at as "disputed_at!", d.decided_at
           from unnest($1::smallint[], $2::uuid[], $3::uuid[]) as u(slot, book_id, charge_id)
           cross join lateral (
             select * from dispute where slot = u.slot and book_id = u.book_id
               and charge_id = u.charge_id offset 0) d"#,
        &keys.slots,
        &keys.books,
        &keys.ids
    )
    .fetch_all(tx)
    .await
}
