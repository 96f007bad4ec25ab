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
        "select o.seq, o.kind, o.subject_id, o.recorded_at,
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
/// there is none. Time never runs back in a book.
pub(in crate::events) async fn first_since(
    pool: &PgPool,
    account: BookId,
    since: DateTime<Utc>,
) -> Result<i64, sqlx::Error> {
    let before = sqlx::query_scalar!(
        "select seq from outbox where slot = $1 and book_id = $2 and recorded_at < $3
         order by seq desc limit 1",
        account.slot().sql(),
        account.0,
        since
    )
    .fetch_optional(pool)
    .await?;
    Ok(before.unwrap_or(0).saturating_add(1))
}
