//! Grants of promotional credits against the ledger.

use sqlx::PgConnection;

use super::{Found, NAMED_MAX};

/// A credited grant was booked with its amount, as the lot that it names, and no other was booked.
pub async fn transfers(tx: &mut PgConnection) -> Result<Vec<Found>, sqlx::Error> {
    sqlx::query_as!(
        Found,
        r#"with booked as (
             select t.slot, t.book_id, t.subject_id as grant_id, t.lot_id, sum(t.amount) as amount
             from transfer t join movement m
               on m.movement = t.movement and m.debit = t.debit and m.credit = t.credit
             where m.name = 'grant' group by 1, 2, 3, 4),
           credited as (
             select slot, book_id, grant_id, lot_id, amount
             from credit_grant where credited_at is not null),
           bad as (
             select book_id, format('grt_%s as lot_%s', replace(grant_id::text, '-', ''),
                                    replace(lot_id::text, '-', '')) as subject,
                    coalesce(c.amount, 0)::numeric as expected, coalesce(b.amount, 0) as found
             from booked b full join credited c using (slot, book_id, grant_id, lot_id)
             where coalesce(c.amount, 0) <> coalesce(b.amount, 0))
           select book_id as "book?", subject as "subject!", expected as "expected?",
                  found as "found?", count(*) over () as "total!"
           from bad order by book_id, subject limit $1"#,
        NAMED_MAX
    )
    .fetch_all(tx)
    .await
}
