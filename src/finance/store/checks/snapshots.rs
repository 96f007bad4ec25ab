//! Snapshots of books at their 256th versions.

use sqlx::PgConnection;

use super::{Found, NAMED_MAX};

/// Every book has a snapshot at every 256th transfer, which is the sum of the transfers up to it.
pub async fn transfers(tx: &mut PgConnection) -> Result<Vec<Found>, sqlx::Error> {
    sqlx::query_as!(
        Found,
        r#"with legs as (
             select slot, book_id, (version + 255) / 256 * 256 as version, debit as role,
                    amount as debited, 0 as credited from transfer
             union all
             select slot, book_id, (version + 255) / 256 * 256, credit, 0, amount from transfer),
           moved as (
             select slot, book_id, version, role, sum(debited) as debited, sum(credited) as credited
             from legs group by 1, 2, 3, 4),
           grid as (
             select v.slot, v.book_id, v.version, r.role
             from (select distinct slot, book_id, version from moved) v cross join role r),
           running as (
             select slot, book_id, version, role,
                    sum(coalesce(debited, 0)) over upward as debits,
                    sum(coalesce(credited, 0)) over upward as credits
             from grid left join moved using (slot, book_id, version, role)
             window upward as (partition by slot, book_id, role order by version)),
           due as (
             select running.* from running join transfer using (slot, book_id, version)),
           kept as (
             select s.slot, s.book_id, s.version, r.role, s.debits[r.role] as debits,
                    s.credits[r.role] as credits
             from book_snapshot s cross join role r),
           bad as (
             select book_id, version, role,
                    case when due.debits is distinct from kept.debits then due.debits
                         else due.credits end as expected,
                    case when due.debits is distinct from kept.debits then kept.debits
                         else kept.credits end::numeric as found
             from due full join kept using (slot, book_id, version, role)
             where due.debits is distinct from kept.debits
                or due.credits is distinct from kept.credits)
           select book_id as "book?", format('%s at version %s', r.name, version) as "subject!",
                  expected as "expected?", found as "found?", count(*) over () as "total!"
           from bad join role r using (role) order by book_id, version, role limit $1"#,
        NAMED_MAX
    )
    .fetch_all(tx)
    .await
}
