//! Snapshots of books, each recomputed from the one before it and the transfers between.

use sqlx::PgConnection;
use uuid::Uuid;

use super::books::Stretch;

/// A figure of a snapshot that is not what it should be.
pub struct Differing {
    pub book_id: Uuid,
    pub version: i64,
    pub role: String,
    pub expected: i64,
    /// None where there is no snapshot.
    pub found: Option<i64>,
}

/// What is wrong with the snapshots of some stretches of books: figures that differ, snapshots that
/// are missing, and, where a stretch ends its book, snapshots beyond it.
pub async fn differing(
    tx: &mut PgConnection,
    stretches: &[(Stretch, bool)],
) -> Result<Vec<Differing>, sqlx::Error> {
    let slots: Vec<i16> = stretches.iter().map(|(s, _)| super::slot_of(s.book)).collect();
    let books: Vec<Uuid> = stretches.iter().map(|(s, _)| s.book).collect();
    let from: Vec<i64> = stretches.iter().map(|(s, _)| s.from).collect();
    let to: Vec<i64> = stretches.iter().map(|(s, _)| s.to).collect();
    let ends: Vec<bool> = stretches.iter().map(|(_, ends)| *ends).collect();
    sqlx::query_as!(
        Differing,
        r#"with stretch as (
             select * from unnest($1::smallint[], $2::uuid[], $3::bigint[], $4::bigint[],
                                  $5::boolean[]) as u(slot, book_id, above, upto, ends)),
           due as (
             select s.slot, s.book_id, m.version, m.version - 256 as base
             from stretch s
             cross join lateral (
               select n * 256 as version
               from generate_series(s.above / 256 + 1, s.upto / 256) as n) m),
           moved as materialized (
             select d.book_id, d.version, t.*
             from due d
             cross join lateral (
               select side.role, sum(side.debited)::bigint as debited,
                      sum(side.credited)::bigint as credited
               from transfer
               cross join lateral (values (debit, amount, 0), (credit, 0, amount))
                 as side(role, debited, credited)
               where slot = d.slot and book_id = d.book_id
                 and version > d.base and version <= d.version
               group by side.role) t),
           compared as (
             select d.book_id, d.version, r.name as role,
                    coalesce(b.debits[r.role], 0) + coalesce(m.debited, 0) as debits,
                    coalesce(b.credits[r.role], 0) + coalesce(m.credited, 0) as credits,
                    k.debits[r.role] as kept_debits, k.credits[r.role] as kept_credits
             from due d cross join role r
             left join moved m using (book_id, version, role)
             left join lateral (
               select debits, credits from book_snapshot
               where slot = d.slot and book_id = d.book_id and version = d.base offset 0) b on true
             left join lateral (
               select debits, credits from book_snapshot
               where slot = d.slot and book_id = d.book_id and version = d.version offset 0) k
               on true),
           beyond as (
             select s.book_id, k.version, k.debits
             from stretch s
             cross join lateral (
               select version, debits from book_snapshot
               where slot = s.slot and book_id = s.book_id and version > s.upto and s.ends
               offset 0) k)
           select book_id as "book_id!", version as "version!", role as "role!",
                  case when debits is distinct from kept_debits then debits
                       else credits end as "expected!",
                  case when debits is distinct from kept_debits then kept_debits
                       else kept_credits end as "found?"
           from compared
           where debits is distinct from kept_debits or credits is distinct from kept_credits
           union all
           select book_id, version, r.name, 0, debits[r.role] from beyond cross join role r
           order by 1, 2, 3 limit 100"#,
        &slots,
        &books,
        &from,
        &to,
        &ends
    )
    .fetch_all(tx)
    .await
}
