//! What was found, kept until it is gone.

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

/// Something that breaks a rule, as it is kept.
pub struct FindingRow {
    pub check_name: String,
    pub book_id: Uuid,
    pub subject: String,
    pub expected: Option<Decimal>,
    pub found: Option<Decimal>,
    /// How many findings the check has, over all books.
    pub total: i64,
}

/// Keeps findings; those that are known are seen again.
pub async fn keep(tx: &mut PgConnection, found: &[FindingRow]) -> Result<(), sqlx::Error> {
    let slots: Vec<i16> = found.iter().map(|f| super::slot_of(f.book_id)).collect();
    sqlx::query!(
        "insert into proof_finding (slot, book_id, check_name, finding, subject, expected, found,
           found_at)
         select slot, book_id, check_name, md5(subject)::uuid, subject, expected, found, now()
         from unnest($1::smallint[], $2::uuid[], $3::text[], $4::text[], $5::numeric[],
                     $6::numeric[]) as u(slot, book_id, check_name, subject, expected, found)
         on conflict (slot, book_id, check_name, finding) do update
           set expected = excluded.expected, found = excluded.found, found_at = excluded.found_at",
        &slots,
        &found.iter().map(|f| f.book_id).collect::<Vec<_>>(),
        &found.iter().map(|f| f.check_name.clone()).collect::<Vec<_>>(),
        &found.iter().map(|f| f.subject.clone()).collect::<Vec<_>>(),
        &found.iter().map(|f| f.expected).collect::<Vec<_>>() as _,
        &found.iter().map(|f| f.found).collect::<Vec<_>>() as _
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Lets go of what was found before a book's verification began and not again since. Tells which
/// of the books have nothing left.
pub async fn forget(
    tx: &mut PgConnection,
    verified: &[(Uuid, DateTime<Utc>)],
) -> Result<Vec<Uuid>, sqlx::Error> {
    let slots: Vec<i16> = verified.iter().map(|(book, _)| super::slot_of(*book)).collect();
    let rows = sqlx::query_scalar!(
        r#"with gone as (
             delete from proof_finding f
             using unnest($1::smallint[], $2::uuid[], $3::timestamptz[])
                   as u(slot, book_id, begun_at)
             where f.slot = u.slot and f.book_id = u.book_id and f.found_at < u.begun_at
             returning f.slot, f.book_id, f.check_name, f.finding)
           select distinct g.book_id as "book_id!" from gone g
           where not exists (
             select from proof_finding f where f.slot = g.slot and f.book_id = g.book_id
               and (f.slot, f.book_id, f.check_name, f.finding)
                   not in (select slot, book_id, check_name, finding from gone))"#,
        &slots,
        &verified.iter().map(|(book, _)| *book).collect::<Vec<_>>(),
        &verified.iter().map(|(_, at)| *at).collect::<Vec<_>>()
    )
    .fetch_all(tx)
    .await?;
    Ok(rows)
}

/// The books with findings, the one that was looked at longest ago first.
pub async fn suspects(tx: &mut PgConnection, limit: i64) -> Result<Vec<Uuid>, sqlx::Error> {
    sqlx::query_scalar!(
        "select book_id from proof_finding group by slot, book_id
         order by max(found_at), slot, book_id limit $1",
        limit
    )
    .fetch_all(tx)
    .await
}

/// The first findings of each check.
pub async fn all(pool: &PgPool, limit: i64) -> Result<Vec<FindingRow>, sqlx::Error> {
    sqlx::query_as!(
        FindingRow,
        r#"select check_name as "check_name!", book_id as "book_id!", subject as "subject!",
                  expected, found, total as "total!"
           from (select *, count(*) over (partition by check_name) as total,
                        row_number() over (partition by check_name
                                           order by slot, book_id, subject) as nth
                 from proof_finding) f
           where nth <= $1 order by check_name, nth"#,
        limit
    )
    .fetch_all(pool)
    .await
}
