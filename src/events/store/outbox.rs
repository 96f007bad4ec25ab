use chrono::{DateTime, Utc};
use sqlx::PgPool;

use crate::events::event::{Event, Row};
use crate::ground::BookId;

/// How many events an account has had.
pub(in crate::events) async fn last_seq(
    pool: &PgPool,
    account: BookId,
) -> Result<Option<i64>, sqlx::Error> {
    sqlx::query_scalar!(
        "select event_seq from book where slot = $1 and book_id = $2",
        account.slot().sql(),
        account.0
    )
    .fetch_optional(pool)
    .await
}

/// The events of an account after one and up to another, oldest first, of one type if it is named.
/// What was credited, charged or expired is one transaction each, whose transfers are added up.
pub(in crate::events) async fn events(
    pool: &PgPool,
    account: BookId,
    (after, upto): (i64, i64),
    kind: Option<&str>,
    limit: i64,
) -> Result<Vec<Event>, sqlx::Error> {
    let rows = sqlx::query_as!(
        Row,
        "select o.seq, o.kind, o.subject_id, o.detail, o.recorded_at,
           (select sum(t.amount)::bigint from transfer t
            where t.slot = o.slot and t.subject_id = o.subject_id and t.book_id = o.book_id
              and t.movement = case o.kind when 'topup.credited' then 1 when 'grant.credited' then 2
                                 when 'charge.captured' then 4 when 'lot.expired' then 7 end)
             as amount
         from outbox o
         where o.slot = $1 and o.book_id = $2 and o.seq > $3 and o.seq <= $4
           and ($5::text is null or o.kind = $5)
         order by o.seq limit $6",
        account.slot().sql(),
        account.0,
        after,
        upto,
        kind,
        limit
    )
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(|row| row.event(account)).collect())
}

/// The number of the first event that was recorded at a time or later; one more than there are when
/// there is none. Time never runs back in a book, so that it is found by halving, each step a lookup by
/// key.
pub(in crate::events) async fn first_since(
    pool: &PgPool,
    account: BookId,
    since: DateTime<Utc>,
) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"with recursive search as (
             select 1::bigint as low, event_seq + 1 as high, 0 as step
             from book where slot = $1 and book_id = $2
             union all
             select case when o.recorded_at < $3 then s.middle + 1 else s.low end,
               case when o.recorded_at < $3 then s.high else s.middle end, s.step + 1
             from (select low, high, step, (low + high) / 2 as middle from search
                   where low < high and step < 64) s
             cross join lateral (
               select recorded_at from outbox
               where slot = $1 and book_id = $2 and seq = s.middle limit 1) o)
           select coalesce(max(low), 1) as "first!" from search"#,
        account.slot().sql(),
        account.0,
        since
    )
    .fetch_one(pool)
    .await
}
