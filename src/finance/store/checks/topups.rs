//! Top-ups against the ledger and against what the sandbox settled.

use sqlx::PgConnection;

use super::{Found, NAMED_MAX};

/// A customer's credited top-ups, without those whose settlement is void, add up to its
/// `settled_usdc`.
pub async fn settled(tx: &mut PgConnection) -> Result<Vec<Found>, sqlx::Error> {
    sqlx::query_as!(
        Found,
        r#"with credited as (
             select slot, book_id, sum(amount) as amount
             from topup t left join settlement v using (slot, book_id, topup_id)
             where t.state = 'credited' and coalesce(v.standing, '')
               not in ('void', 'returned', 'lost') group by 1, 2),
           bad as (
             select book_id, coalesce(c.amount, 0) as expected,
                    coalesce(b.settled_usdc, 0)::numeric as found
             from book b full join credited c using (slot, book_id)
             where coalesce(c.amount, 0) <> coalesce(b.settled_usdc, 0)
               and b.kind is distinct from 'house')
           select book_id as "book?", 'settled_usdc' as "subject!", expected as "expected?",
                  found as "found?", count(*) over () as "total!"
           from bad order by book_id limit $1"#,
        NAMED_MAX
    )
    .fetch_all(tx)
    .await
}

/// A credited top-up was booked with its amount, a void one back, and no other was booked.
pub async fn transfers(tx: &mut PgConnection) -> Result<Vec<Found>, sqlx::Error> {
    sqlx::query_as!(
        Found,
        r#"with booked as (
             select t.slot, t.book_id, t.subject_id as topup_id,
                    sum(case m.name when 'void' then -t.amount else t.amount end) as amount
             from transfer t join movement m
               on m.movement = t.movement and m.debit = t.debit and m.credit = t.credit
             where m.name in ('topup', 'void', 'reinstatement') group by 1, 2, 3),
           credited as (
             select slot, book_id, topup_id, t.amount
             from topup t left join settlement v using (slot, book_id, topup_id)
             where t.state = 'credited' and coalesce(v.standing, '')
               not in ('void', 'returned', 'lost')),
           bad as (
             select book_id, 'top_' || replace(topup_id::text, '-', '') as subject,
                    coalesce(c.amount, 0)::numeric as expected, coalesce(b.amount, 0) as found
             from booked b full join credited c using (slot, book_id, topup_id)
             where coalesce(c.amount, 0) <> coalesce(b.amount, 0))
           select book_id as "book?", subject as "subject!", expected as "expected?",
                  found as "found?", count(*) over () as "total!"
           from bad order by book_id, subject limit $1"#,
        NAMED_MAX
    )
    .fetch_all(tx)
    .await
}

/// What the sandbox moved in a transaction is what was credited for it, whoever was credited.
///
/// A facilitator is known to be this database's sandbox by any payment that it settled here; what
/// other facilitators settled is for the chain to prove.
pub async fn sandbox(tx: &mut PgConnection) -> Result<Vec<Found>, sqlx::Error> {
    sqlx::query_as!(
        Found,
        r#"with ours as (
             select distinct t.facilitator_url from topup t
             join sandbox_settlement s on s.transaction = t.settlement_tx),
           credited as (
             select t.settlement_tx, (array_agg(t.book_id order by t.book_id))[1] as book_id,
                    sum(t.amount) as amount,
                    max(s.amount) filter (where s.network = t.network and s.asset = t.asset
                      and s.payer = t.payer and s.nonce = t.nonce and s.pay_to = t.pay_to)
                      as moved
             from topup t join ours o on o.facilitator_url = t.facilitator_url
             left join sandbox_settlement s on s.transaction = t.settlement_tx
             where t.state = 'credited' group by 1)
           select book_id as "book?", format('credit for transaction %s', to_json(settlement_tx))
                    as "subject!",
                  coalesce(moved, 0)::numeric as "expected?", amount as "found?",
                  count(*) over () as "total!"
           from credited where amount <> coalesce(moved, 0)
           order by book_id, settlement_tx limit $1"#,
        NAMED_MAX
    )
    .fetch_all(tx)
    .await
}
