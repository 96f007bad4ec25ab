//! Holds and captures, and the transfers that belong to something.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::Keys;
use super::books::Entry;

/// All transfers that belong to some holds, captures or top-ups.
pub async fn transfers(tx: &mut PgConnection, keys: &Keys) -> Result<Vec<Entry>, sqlx::Error> {
    sqlx::query_as!(
        Entry,
        r#"select t.book_id as "book_id!", t.version as "version!",
                  t.transaction_id as "transaction_id!", t.subject_id as "subject_id!",
                  t.lot_id as "lot_id!", t.reverses_id, t.movement as "movement!",
                  t.debit as "debit!", t.credit as "credit!", t.amount as "amount!",
                  t.debit_after as "debit_after!", t.credit_after as "credit_after!",
                  t.recorded_at as "recorded_at!"
           from unnest($1::smallint[], $2::uuid[], $3::uuid[]) as u(slot, book_id, subject_id)
           cross join lateral (
             select * from transfer where slot = u.slot and subject_id = u.subject_id
               and book_id = u.book_id offset 0) t"#,
        &keys.slots,
        &keys.books,
        &keys.ids
    )
    .fetch_all(tx)
    .await
}

/// A hold.
pub struct HoldRow {
    pub book_id: Uuid,
    pub hold_id: Uuid,
    pub spender_id: Uuid,
    pub amount: i64,
    pub captured: i64,
    pub released: i64,
    pub reversed: i64,
    pub draw_lots: Vec<Uuid>,
    pub draw_amounts: Vec<i64>,
    pub placed_at: DateTime<Utc>,
}

pub async fn holds(tx: &mut PgConnection, keys: &Keys) -> Result<Vec<HoldRow>, sqlx::Error> {
    sqlx::query_as!(
        HoldRow,
        r#"select h.book_id as "book_id!", h.hold_id as "hold_id!", h.spender_id as "spender_id!",
                  h.amount as "amount!", h.captured as "captured!", h.released as "released!",
                  h.reversed as "reversed!", h.draw_lots as "draw_lots!",
                  h.draw_amounts as "draw_amounts!", h.placed_at as "placed_at!"
           from unnest($1::smallint[], $2::uuid[], $3::uuid[]) as u(slot, book_id, hold_id)
           cross join lateral (
             select * from hold where slot = u.slot and book_id = u.book_id
               and hold_id = u.hold_id offset 0) h"#,
        &keys.slots,
        &keys.books,
        &keys.ids
    )
    .fetch_all(tx)
    .await
}

/// A capture.
pub struct CaptureRow {
    pub book_id: Uuid,
    pub capture_id: Uuid,
    pub hold_id: Uuid,
    pub transaction_id: Uuid,
    pub draw_offset: i64,
    pub amount: i64,
    pub reversed: i64,
}

pub async fn captures(tx: &mut PgConnection, keys: &Keys) -> Result<Vec<CaptureRow>, sqlx::Error> {
    sqlx::query_as!(
        CaptureRow,
        r#"select c.book_id as "book_id!", c.capture_id as "capture_id!", c.hold_id as "hold_id!",
                  c.transaction_id as "transaction_id!", c.draw_offset as "draw_offset!",
                  c.amount as "amount!", c.reversed as "reversed!"
           from unnest($1::smallint[], $2::uuid[], $3::uuid[]) as u(slot, book_id, capture_id)
           cross join lateral (
             select * from capture where slot = u.slot and book_id = u.book_id
               and capture_id = u.capture_id offset 0) c"#,
        &keys.slots,
        &keys.books,
        &keys.ids
    )
    .fetch_all(tx)
    .await
}

/// A hold and the checkout that it was placed for.
pub struct HoldCheckout {
    pub book_id: Uuid,
    pub checkout_id: Uuid,
}

/// The checkouts of some holds. The id of a checkout is made together with those of its holds, so
/// that the millisecond in a hold's id leads to it.
pub async fn checkouts_of_holds(
    tx: &mut PgConnection,
    keys: &Keys,
) -> Result<Vec<HoldCheckout>, sqlx::Error> {
    sqlx::query_as!(
        HoldCheckout,
        r#"select distinct i.book_id as "book_id!", i.checkout_id as "checkout_id!"
           from unnest($1::smallint[], $2::uuid[], $3::uuid[]) as u(slot, book_id, hold_id)
           cross join lateral (
             select * from checkout_item where slot = u.slot and book_id = u.book_id
               and checkout_id
                   between (left(u.hold_id::text, 13) || '-0000-0000-000000000000')::uuid
                       and (left(u.hold_id::text, 13) || '-ffff-ffff-ffffffffffff')::uuid
               and hold_id = u.hold_id offset 0) i"#,
        &keys.slots,
        &keys.books,
        &keys.ids
    )
    .fetch_all(tx)
    .await
}
