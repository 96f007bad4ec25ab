//! Lots against balances and transfers.

use sqlx::PgConnection;

use super::{Found, NAMED_MAX};

/// What is left of a book's paid lots is its `prepaid`, and of its promotional lots its `promo`.
pub async fn balances(tx: &mut PgConnection) -> Result<Vec<Found>, sqlx::Error> {
    sqlx::query_as!(
        Found,
        r#"with left_over as (
             select slot, book_id, coalesce(sum(remaining) filter (where paid), 0) as paid,
                    coalesce(sum(remaining) filter (where not paid), 0) as promotional
             from lot group by 1, 2),
           bad as (
             select book_id, v.subject, coalesce(v.expected, 0)::numeric as expected,
                    coalesce(v.found, 0) as found
             from book b full join left_over l using (slot, book_id)
             cross join lateral (values
               ('left of paid lots', b.prepaid, l.paid),
               ('left of promotional lots', b.promo, l.promotional)) as v(subject, expected, found)
             where coalesce(v.expected, 0) <> coalesce(v.found, 0))
           select book_id as "book?", subject as "subject!", expected as "expected?",
                  found as "found?", count(*) over () as "total!"
           from bad order by book_id, subject limit $1"#,
        NAMED_MAX
    )
    .fetch_all(tx)
    .await
}

/// A lot began with the amount of its first transfer, and what is left of it is what its transfers
/// made available less what they took.
pub async fn transfers(tx: &mut PgConnection) -> Result<Vec<Found>, sqlx::Error> {
    sqlx::query_as!(
        Found,
        r#"with moved as (
             select t.slot, t.book_id, t.lot_id,
                    coalesce(sum(t.amount) filter (where c.name in ('prepaid', 'promo')), 0)
                    - coalesce(sum(t.amount) filter (where d.name in ('prepaid', 'promo')), 0)
                      as remaining,
                    (array_agg(t.amount order by t.version))[1] as opening
             from transfer t join role d on d.role = t.debit join role c on c.role = t.credit
             group by 1, 2, 3),
           bad as (
             select book_id, format('%s of lot_%s', v.what, replace(lot_id::text, '-', ''))
                      as subject,
                    coalesce(v.expected, 0)::numeric as expected,
                    coalesce(v.found, 0)::numeric as found
             from lot l full join moved m using (slot, book_id, lot_id)
             cross join lateral (values
               ('amount', m.opening::numeric, l.amount),
               ('rest', m.remaining, l.remaining)) as v(what, expected, found)
             where v.expected is distinct from v.found)
           select book_id as "book?", subject as "subject!", expected as "expected?",
                  found as "found?", count(*) over () as "total!"
           from bad order by book_id, subject limit $1"#,
        NAMED_MAX
    )
    .fetch_all(tx)
    .await
}

/// Transfers of a paid lot move paid credits, and those of a promotional lot promotional ones:
/// promotional credits never become revenue.
pub async fn kinds(tx: &mut PgConnection) -> Result<Vec<Found>, sqlx::Error> {
    sqlx::query_as!(
        Found,
        r#"with bad as (
             select t.book_id, t.version,
                    format('version %s moves %s credits of the %s lot_%s', t.version,
                           case when l.paid then 'promotional' else 'paid' end,
                           case when l.paid then 'paid' else 'promotional' end,
                           replace(l.lot_id::text, '-', '')) as subject
             from transfer t
             join role d on d.role = t.debit join role c on c.role = t.credit
             join lot l on l.slot = t.slot and l.book_id = t.book_id and l.lot_id = t.lot_id
             where l.paid <> ('promo_issued' not in (d.name, c.name)
                              and 'promo' not in (d.name, c.name)))
           select book_id as "book?", subject as "subject!", null::numeric as "expected?",
                  null::numeric as "found?", count(*) over () as "total!"
           from bad order by book_id, version limit $1"#,
        NAMED_MAX
    )
    .fetch_all(tx)
    .await
}

/// What is lost of a lot, because its settlement is void, is what its transfers lost and have not
/// made up for.
pub async fn losses(tx: &mut PgConnection) -> Result<Vec<Found>, sqlx::Error> {
    sqlx::query_as!(
        Found,
        r#"with moved as (
             select t.slot, t.book_id, t.lot_id,
                    sum(case d.name when 'settlement_loss' then t.amount else -t.amount end) as lost
             from transfer t join role d on d.role = t.debit join role c on c.role = t.credit
             where 'settlement_loss' in (d.name, c.name) group by 1, 2, 3),
           bad as (
             select book_id, format('lost of lot_%s', replace(lot_id::text, '-', '')) as subject,
                    coalesce(m.lost, 0) as expected, coalesce(l.lost, 0)::numeric as found
             from lot l full join moved m using (slot, book_id, lot_id)
             where coalesce(m.lost, 0) <> coalesce(l.lost, 0))
           select book_id as "book?", subject as "subject!", expected as "expected?",
                  found as "found?", count(*) over () as "total!"
           from bad order by book_id, subject limit $1"#,
        NAMED_MAX
    )
    .fetch_all(tx)
    .await
}
