//! A book at any of its versions, and which version it had at a moment.
//!
//! Neither costs more for a longer book: a moment is found by binary search over the primary key of
//! the transfers, and a version is at most 255 transfers away from the snapshot below it.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::ground::BookId;

use super::reports::HistoryRow;

/// The last version that a book had reached before a moment; 0 before its first transfer.
pub async fn version_before(
    tx: &mut PgConnection,
    book: BookId,
    moment: DateTime<Utc>,
) -> Result<i64, sqlx::Error> {
    // The versions up to `low` lie before the moment, and those above `high` do not.
    let found = sqlx::query!(
        r#"with recursive search(low, high) as (
             select 0::bigint, b.version from book b where b.slot = $1 and b.book_id = $2
             union all
             select case when t.recorded_at < $3 then m.version else s.low end,
                    case when t.recorded_at < $3 then s.high else m.version - 1 end
             from search s
             cross join lateral (select s.low + (s.high - s.low + 1) / 2 as version) m
             cross join lateral (
               select recorded_at from transfer
               where slot = $1 and book_id = $2 and version = m.version limit 1) t
             where s.low < s.high)
           select low as "low!" from search where low = high"#,
        book.slot().sql(),
        book.0,
        moment
    )
    .fetch_optional(tx)
    .await?;
    // A search that meets a gap ends without an answer.
    found.map(|found| found.low).ok_or(sqlx::Error::RowNotFound)
}

/// What one role has been debited and credited since the book was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleTotal {
    pub account: String,
    pub kind: String,
    pub normal_side: String,
    pub debits: i64,
    pub credits: i64,
}

/// The totals of all roles at a version, in the order of the chart.
pub async fn totals(
    tx: &mut PgConnection,
    book: BookId,
    version: i64,
) -> Result<Vec<RoleTotal>, sqlx::Error> {
    sqlx::query_as!(
        RoleTotal,
        r#"with base as (
             select version, debits, credits from book_snapshot
             where slot = $1 and book_id = $2 and version <= $3
             order by version desc limit 1),
           since as materialized (
             select debit, credit, amount from transfer
             where slot = $1 and book_id = $2 and version <= $3
               and version > coalesce((select version from base), 0)),
           legs as (
             select debit as role, amount as debited, 0 as credited from since
             union all
             select credit, 0, amount from since),
           moved as (
             select role, sum(debited) as debited, sum(credited) as credited
             from legs group by role)
           select r.name as account, r.kind, r.normal_side,
                  (coalesce((select debits[r.role] from base), 0) + coalesce(m.debited, 0))::bigint
                    as "debits!",
                  (coalesce((select credits[r.role] from base), 0) + coalesce(m.credited, 0))::bigint
                    as "credits!"
           from role r left join moved m on m.role = r.role order by r.role"#,
        book.slot().sql(),
        book.0,
        version
    )
    .fetch_all(tx)
    .await
}

/// The transfers after one version and up to another, oldest first.
pub async fn entries(
    tx: &mut PgConnection,
    book: BookId,
    after: i64,
    up_to: i64,
    limit: i64,
) -> Result<Vec<HistoryRow>, sqlx::Error> {
    sqlx::query_as!(
        HistoryRow,
        r#"select t.version, t.transaction_id, t.amount, t.subject_id, t.lot_id, t.recorded_at,
                  t.effective_at, t.reverses_id, coalesce(m.name, t.movement::text) as "movement!",
                  d.name as debit, c.name as credit, g.reason as "reason?"
           from (
             select * from transfer
             where slot = $1 and book_id = $2 and version > $3 and version <= $4
             order by version limit $5) t
           join role d on d.role = t.debit join role c on c.role = t.credit
           left join movement m
             on m.movement = t.movement and m.debit = t.debit and m.credit = t.credit
           left join lateral (
             select g.reason from credit_grant g
             where m.name = 'grant' and g.slot = t.slot and g.book_id = t.book_id
               and g.grant_id = t.subject_id
             limit 1) g on true
           order by t.version"#,
        book.slot().sql(),
        book.0,
        after,
        up_to,
        limit
    )
    .fetch_all(tx)
    .await
}

/// When a book last recorded anything; none when there is no such book.
pub async fn last_recorded(
    tx: &mut PgConnection,
    book: BookId,
) -> Result<Option<DateTime<Utc>>, sqlx::Error> {
    sqlx::query_scalar!(
        "select recorded_at from book where slot = $1 and book_id = $2",
        book.slot().sql(),
        book.0
    )
    .fetch_optional(tx)
    .await
}
