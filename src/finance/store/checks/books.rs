//! Balance rows and counters of books.

use sqlx::PgConnection;

use super::{Found, NAMED_MAX};

/// The balance of every role is the sum of its transfers.
pub async fn balances(tx: &mut PgConnection) -> Result<Vec<Found>, sqlx::Error> {
    sqlx::query_as!(
        Found,
        r#"with legs as (
             select t.slot, t.book_id, r.name,
                    case r.normal_side when 'debit' then t.amount else -t.amount end as amount
             from transfer t join role r on r.role = t.debit
             union all
             select t.slot, t.book_id, r.name,
                    case r.normal_side when 'credit' then t.amount else -t.amount end
             from transfer t join role r on r.role = t.credit),
           moved as (
             select slot, book_id, name, sum(amount) as amount from legs group by 1, 2, 3),
           kept as (
             select b.slot, b.book_id, v.name, v.balance
             from book b cross join lateral (values
               ('settled_usdc', b.settled_usdc), ('prepaid', b.prepaid), ('held', b.held),
               ('promo_issued', b.promo_issued), ('promo', b.promo), ('promo_held', b.promo_held),
               ('revenue', b.revenue), ('reversed_revenue', b.reversed_revenue),
               ('breakage', b.breakage), ('settlement_loss', b.settlement_loss)) as v(name, balance)),
           bad as (
             select book_id, name as subject, coalesce(moved.amount, 0) as expected,
                    coalesce(kept.balance, 0)::numeric as found
             from kept full join moved using (slot, book_id, name)
             where coalesce(moved.amount, 0) <> coalesce(kept.balance, 0))
           select book_id as "book?", subject as "subject!", expected as "expected?",
                  found as "found?", count(*) over () as "total!"
           from bad order by book_id, subject limit $1"#,
        NAMED_MAX
    )
    .fetch_all(tx)
    .await
}

/// Debit balances and credit balances of a book add up to the same.
pub async fn trial_balance(tx: &mut PgConnection) -> Result<Vec<Found>, sqlx::Error> {
    sqlx::query_as!(
        Found,
        r#"with sides as (
             select b.book_id,
                    sum(v.balance) filter (where r.normal_side = 'debit') as debit,
                    sum(v.balance) filter (where r.normal_side = 'credit') as credit
             from book b cross join lateral (values
               ('settled_usdc', b.settled_usdc), ('prepaid', b.prepaid), ('held', b.held),
               ('promo_issued', b.promo_issued), ('promo', b.promo), ('promo_held', b.promo_held),
               ('revenue', b.revenue), ('reversed_revenue', b.reversed_revenue),
               ('breakage', b.breakage), ('settlement_loss', b.settlement_loss)) as v(name, balance)
             join role r on r.name = v.name
             group by b.book_id)
           select book_id as "book?", 'credit balances' as "subject!", debit as "expected?",
                  credit as "found?", count(*) over () as "total!"
           from sides where debit <> credit order by book_id limit $1"#,
        NAMED_MAX
    )
    .fetch_all(tx)
    .await
}

/// A book's version counts its transfers, and they are numbered from 1 without gaps.
pub async fn versions(tx: &mut PgConnection) -> Result<Vec<Found>, sqlx::Error> {
    sqlx::query_as!(
        Found,
        r#"with counted as (
             select slot, book_id, count(*) as rows, max(version) as top
             from transfer group by 1, 2),
           bad as (
             select book_id, v.subject, coalesce(b.version, 0)::numeric as expected,
                    coalesce(v.found, 0)::numeric as found
             from book b full join counted c using (slot, book_id)
             cross join lateral (values
               ('transfers', c.rows), ('highest version', c.top)) as v(subject, found)
             where coalesce(v.found, 0) <> coalesce(b.version, 0) or b.version is null)
           select book_id as "book?", subject as "subject!", expected as "expected?",
                  found as "found?", count(*) over () as "total!"
           from bad order by book_id, subject limit $1"#,
        NAMED_MAX
    )
    .fetch_all(tx)
    .await
}

/// A book's event counter counts its events, and they are numbered from 1 without gaps.
pub async fn events(tx: &mut PgConnection) -> Result<Vec<Found>, sqlx::Error> {
    sqlx::query_as!(
        Found,
        r#"with counted as (
             select slot, book_id, count(*) as rows, max(seq) as top, min(seq) as first
             from outbox group by 1, 2),
           bad as (
             select book_id, v.subject, coalesce(b.event_seq, 0)::numeric as expected,
                    coalesce(v.found, 0)::numeric as found
             from book b full join counted c using (slot, book_id)
             cross join lateral (values
               ('events', c.rows), ('highest event', c.top)) as v(subject, found)
             where coalesce(v.found, 0) <> coalesce(b.event_seq, 0) or b.event_seq is null
                or c.first < 1)
           select book_id as "book?", subject as "subject!", expected as "expected?",
                  found as "found?", count(*) over () as "total!"
           from bad order by book_id, subject limit $1"#,
        NAMED_MAX
    )
    .fetch_all(tx)
    .await
}
