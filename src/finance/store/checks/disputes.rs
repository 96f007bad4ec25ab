//! Disputes against the charges that they are about and the reversals that uphold them.

use sqlx::PgConnection;

use super::{Found, NAMED_MAX};

/// An upheld dispute gave back what it is about, by a reversal of its charge that names it; no other
/// gave anything back. No dispute is about more than its charge, and what is under dispute is still
/// there to be given back.
pub async fn reversals(tx: &mut PgConnection) -> Result<Vec<Found>, sqlx::Error> {
    sqlx::query_as!(
        Found,
        r#"with upholding as (
             select slot, book_id, charge_id, dispute_id, sum(amount) as amount
             from reversal where dispute_id is not null group by 1, 2, 3, 4),
           reversed as (
             select slot, book_id, charge_id, sum(amount) as amount
             from reversal group by 1, 2, 3),
           waiting as (
             select slot, book_id, charge_id, sum(amount) as amount
             from dispute where state = 'open' group by 1, 2, 3),
           bad as (
             select book_id, format('given back of chg_%s by dsp_%s',
                                    replace(charge_id::text, '-', ''),
                                    replace(dispute_id::text, '-', '')) as subject,
                    case d.state when 'upheld' then d.amount else 0 end::numeric as expected,
                    coalesce(u.amount, 0) as found
             from dispute d full join upholding u using (slot, book_id, charge_id, dispute_id)
             where case d.state when 'upheld' then d.amount else 0 end <> coalesce(u.amount, 0)
             union all
             select book_id, format('amount of dsp_%s', replace(dispute_id::text, '-', '')),
                    coalesce(c.amount, 0), d.amount
             from dispute d left join charge c using (slot, book_id, charge_id)
             where d.amount > coalesce(c.amount, 0)
             union all
             select book_id, format('disputed and reversed part of chg_%s',
                                    replace(charge_id::text, '-', '')),
                    coalesce(c.amount, 0), w.amount + coalesce(r.amount, 0)
             from waiting w left join charge c using (slot, book_id, charge_id)
             left join reversed r using (slot, book_id, charge_id)
             where w.amount + coalesce(r.amount, 0) > coalesce(c.amount, 0))
           select book_id as "book?", subject as "subject!", expected as "expected?",
                  found as "found?", count(*) over () as "total!"
           from bad order by book_id, subject limit $1"#,
        NAMED_MAX
    )
    .fetch_all(tx)
    .await
}
