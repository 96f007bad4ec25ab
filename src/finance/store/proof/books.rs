//! Books, and what is proven of them.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::cursor::Place;

/// A book's row beside what is proven of it.
pub struct BookRow {
    pub slot: i16,
    pub book_id: Uuid,
    pub house: bool,
    pub version: i64,
    pub event_seq: i64,
    pub recorded_at: DateTime<Utc>,
    /// By the number of the role, from 1.
    pub balances: Vec<i64>,
    pub proven: Option<i64>,
    pub proven_events: Option<i64>,
    pub compared: Option<i64>,
    pub proven_balances: Option<Vec<i64>>,
    pub promo_spent: Option<i64>,
    pub phase: Option<i16>,
    pub after_id: Option<Uuid>,
    pub begun_at: Option<DateTime<Utc>>,
    /// How many books were looked at to find this one.
    pub nth: i64,
    /// Whether the row differs from what is proven.
    pub changed: bool,
}

/// The books after a place that differ from what is proven of them, out of the next `limit`, and the
/// last of these in any case.
pub async fn changed(
    tx: &mut PgConnection,
    after: Place,
    limit: i64,
) -> Result<Vec<BookRow>, sqlx::Error> {
    sqlx::query_as!(
        BookRow,
        r#"with slice as materialized (
             select b.*, row_number() over (order by slot, book_id) as nth
             from (select * from book where (slot, book_id) > ($1, $2)
                   order by slot, book_id limit $3) b),
           held as (
             select s.*, array[s.settled_usdc, s.prepaid, s.held, s.promo_issued, s.promo,
                               s.promo_held, s.revenue, s.reversed_revenue, s.breakage,
                               s.settlement_loss] as balances
             from slice s),
           compared as (
             select h.*, p.version as proven, p.event_seq as proven_events, p.compared,
                    p.balances as proven_balances, p.promo_spent, p.phase, p.after_id, p.begun_at,
                    (p.version, p.event_seq, p.compared, p.balances)
                      is distinct from (h.version, h.event_seq, h.version, h.balances) as changed
             from held h left join lateral (
               select * from proof_book where slot = h.slot and book_id = h.book_id
                 and walk = 'head' offset 0) p on true)
           select slot as "slot!", book_id as "book_id!", kind = 'house' as "house!",
                  version as "version!", event_seq as "event_seq!",
                  recorded_at as "recorded_at!", balances as "balances!", proven as "proven?",
                  proven_events as "proven_events?", compared as "compared?",
                  proven_balances as "proven_balances?", promo_spent as "promo_spent?",
                  phase as "phase?", after_id as "after_id?", begun_at as "begun_at?",
                  nth as "nth!", changed as "changed!"
           from compared where changed or nth = (select max(nth) from slice)
           order by nth"#,
        after.slot,
        after.book,
        limit
    )
    .fetch_all(tx)
    .await
}

/// Some books with their lap, where one is under way.
pub async fn lapped(tx: &mut PgConnection, books: &[Uuid]) -> Result<Vec<BookRow>, sqlx::Error> {
    let slots: Vec<i16> = books.iter().map(|book| super::slot_of(*book)).collect();
    sqlx::query_as!(
        BookRow,
        r#"select b.slot as "slot!", b.book_id as "book_id!", b.kind = 'house' as "house!",
                  b.version as "version!", b.event_seq as "event_seq!",
                  b.recorded_at as "recorded_at!",
                  array[b.settled_usdc, b.prepaid, b.held, b.promo_issued, b.promo, b.promo_held,
                        b.revenue, b.reversed_revenue, b.breakage, b.settlement_loss] as "balances!",
                  p.version as "proven?", p.event_seq as "proven_events?",
                  p.compared as "compared?", p.balances as "proven_balances?",
                  p.promo_spent as "promo_spent?", p.phase as "phase?",
                  p.after_id as "after_id?", p.begun_at as "begun_at?", u.nth as "nth!",
                  true as "changed!"
           from unnest($1::smallint[], $2::uuid[]) with ordinality as u(slot, book_id, nth)
           cross join lateral (
             select * from book where slot = u.slot and book_id = u.book_id offset 0) b
           left join lateral (
             select * from proof_book where slot = u.slot and book_id = u.book_id
               and walk = 'lap' offset 0) p on true
           order by u.nth"#,
        &slots,
        books
    )
    .fetch_all(tx)
    .await
}

/// The books after a place.
pub async fn next(
    tx: &mut PgConnection,
    after: Place,
    limit: i64,
) -> Result<Vec<Uuid>, sqlx::Error> {
    sqlx::query_scalar!(
        "select book_id from book where (slot, book_id) > ($1, $2)
         order by slot, book_id limit $3",
        after.slot,
        after.book,
        limit
    )
    .fetch_all(tx)
    .await
}

/// The chart of accounts as the database has it.
pub struct MovementRow {
    pub movement: i16,
    pub name: String,
    pub debit: i16,
    pub credit: i16,
}

pub async fn movements(tx: &mut PgConnection) -> Result<Vec<MovementRow>, sqlx::Error> {
    sqlx::query_as!(MovementRow, "select movement, name, debit, credit from movement")
        .fetch_all(tx)
        .await
}

/// A role: its number, its name, and whether it grows on debit.
pub struct RoleRow {
    pub role: i16,
    pub name: String,
    pub debit: bool,
}

pub async fn roles(tx: &mut PgConnection) -> Result<Vec<RoleRow>, sqlx::Error> {
    sqlx::query_as!(
        RoleRow,
        r#"select role, name, normal_side = 'debit' as "debit!" from role order by role"#
    )
    .fetch_all(tx)
    .await
}

/// A stretch of a book's transfers and events: after `from`, up to `to`.
pub struct Stretch {
    pub slot: i16,
    pub book: Uuid,
    pub from: i64,
    pub to: i64,
}

/// One transfer.
#[derive(Clone, Debug)]
pub struct Entry {
    pub book_id: Uuid,
    pub version: i64,
    pub transaction_id: Uuid,
    pub subject_id: Uuid,
    pub lot_id: Uuid,
    pub reverses_id: Option<Uuid>,
    pub movement: i16,
    pub debit: i16,
    pub credit: i16,
    pub amount: i64,
    pub debit_after: i64,
    pub credit_after: i64,
    pub recorded_at: DateTime<Utc>,
}

/// The transfers of some stretches, each with the one before it.
pub async fn transfers(
    tx: &mut PgConnection,
    stretches: &[Stretch],
) -> Result<Vec<Entry>, sqlx::Error> {
    sqlx::query_as!(
        Entry,
        r#"select t.book_id as "book_id!", t.version as "version!",
                  t.transaction_id as "transaction_id!", t.subject_id as "subject_id!",
                  t.lot_id as "lot_id!", t.reverses_id, t.movement as "movement!",
                  t.debit as "debit!", t.credit as "credit!", t.amount as "amount!",
                  t.debit_after as "debit_after!", t.credit_after as "credit_after!",
                  t.recorded_at as "recorded_at!"
           from unnest($1::smallint[], $2::uuid[], $3::bigint[], $4::bigint[]) with ordinality
                as u(slot, book_id, from_version, to_version, nth)
           cross join lateral (
             select * from transfer where slot = u.slot and book_id = u.book_id
               and version >= u.from_version and version <= u.to_version
             order by version offset 0) t
           order by u.nth, t.version"#,
        &stretches.iter().map(|s| s.slot).collect::<Vec<_>>(),
        &stretches.iter().map(|s| s.book).collect::<Vec<_>>(),
        &stretches.iter().map(|s| s.from).collect::<Vec<_>>(),
        &stretches.iter().map(|s| s.to).collect::<Vec<_>>()
    )
    .fetch_all(tx)
    .await
}

/// The proven books after a place and up to another that have no row, with their versions.
pub async fn lost(
    tx: &mut PgConnection,
    after: Place,
    to: Place,
) -> Result<Vec<(Uuid, i64)>, sqlx::Error> {
    let rows = sqlx::query!(
        "select p.book_id, p.version from proof_book p
         where (p.slot, p.book_id) > ($1, $2) and (p.slot, p.book_id) <= ($3, $4)
           and p.walk = 'head' and not exists (
             select from book b where b.slot = p.slot and b.book_id = p.book_id)",
        after.slot,
        after.book,
        to.slot,
        to.book
    )
    .fetch_all(tx)
    .await?;
    Ok(rows.into_iter().map(|row| (row.book_id, row.version)).collect())
}
