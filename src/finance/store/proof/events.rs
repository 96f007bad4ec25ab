//! The outbox: what was told of a book.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::books::Stretch;
use super::slot_of;

/// One outbox event.
#[derive(Clone)]
pub struct EventRow {
    pub book_id: Uuid,
    pub seq: i64,
    pub kind: String,
    pub subject_id: Uuid,
    pub recorded_at: DateTime<Utc>,
}

/// The events of some stretches, each with the one before it.
pub async fn events(
    tx: &mut PgConnection,
    stretches: &[Stretch],
) -> Result<Vec<EventRow>, sqlx::Error> {
    sqlx::query_as!(
        EventRow,
        r#"select e.book_id as "book_id!", e.seq as "seq!", e.kind as "kind!",
                  e.subject_id as "subject_id!", e.recorded_at as "recorded_at!"
           from unnest($1::smallint[], $2::uuid[], $3::bigint[], $4::bigint[])
                as u(slot, book_id, from_seq, to_seq)
           cross join lateral (
             select * from outbox where slot = u.slot and book_id = u.book_id
               and seq >= u.from_seq and seq <= u.to_seq offset 0) e"#,
        &stretches.iter().map(|s| s.slot).collect::<Vec<_>>(),
        &stretches.iter().map(|s| s.book).collect::<Vec<_>>(),
        &stretches.iter().map(|s| s.from).collect::<Vec<_>>(),
        &stretches.iter().map(|s| s.to).collect::<Vec<_>>()
    )
    .fetch_all(tx)
    .await
}

/// How many events of one moment are read at most. A clock that stands still could give any number of
/// batches one time.
pub const MOMENT_MAX: i32 = 20_000;

/// The events of some books at some moments. Nothing lists them by time, but time never goes back in
/// a book: a moment's first event, and the first one after it, are found by halving, each step a lookup
/// by key.
pub async fn at_moments(
    tx: &mut PgConnection,
    moments: &[(Uuid, DateTime<Utc>)],
) -> Result<Vec<EventRow>, sqlx::Error> {
    sqlx::query_as!(
        EventRow,
        r#"select e.book_id as "book_id!", e.seq as "seq!", e.kind as "kind!",
                  e.subject_id as "subject_id!", e.recorded_at as "recorded_at!"
           from unnest($1::smallint[], $2::uuid[], $3::timestamptz[]) as u(slot, book_id, at)
           cross join lateral (
             with recursive search as (
               select v.until, 1::bigint as low, b.event_seq + 1 as high, 0 as step
               from (select event_seq from book
                     where slot = u.slot and book_id = u.book_id offset 0) b
               cross join (values (u.at), (u.at + interval '1 microsecond')) as v(until)
               union all
               select s.until, case when o.recorded_at < s.until then s.middle + 1 else s.low end,
                      case when o.recorded_at < s.until then s.high else s.middle end, s.step + 1
               from (select *, (low + high) / 2 as middle from search
                     where low < high and step < 64) s
               cross join lateral (
                 select recorded_at from outbox where slot = u.slot and book_id = u.book_id
                   and seq = s.middle offset 0) o)
             select min(f.low) as first, max(f.low) as next
             from (select max(low) as low from search group by until) f) f
           cross join lateral (
             select * from outbox where slot = u.slot and book_id = u.book_id
               and seq >= f.first and seq < least(f.next, f.first + $4)
               and recorded_at = u.at offset 0) e"#,
        &moments.iter().map(|(book, _)| slot_of(*book)).collect::<Vec<_>>(),
        &moments.iter().map(|(book, _)| *book).collect::<Vec<_>>(),
        &moments.iter().map(|(_, at)| *at).collect::<Vec<_>>(),
        i64::from(MOMENT_MAX)
    )
    .fetch_all(tx)
    .await
}
