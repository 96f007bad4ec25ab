//! The outbox against what it tells of.

use sqlx::PgConnection;

use super::{Found, NAMED_MAX};

/// Every act that is told by one event is told once, at its time, and every such event tells of an act.
///
/// Events of other types have no rule here: those of an item's deadline, and those that watch lots and
/// balances, tell of no row of their own.
pub async fn acts(tx: &mut PgConnection) -> Result<Vec<Found>, sqlx::Error> {
    sqlx::query_as!(
        Found,
        r#"with acts as (
             select slot, book_id, 'checkout.opened' as kind, checkout_id as subject_id,
                    created_at as at
             from checkout
             union all
             select slot, book_id, 'checkout.canceled', checkout_id, canceled_at
             from checkout where canceled_at is not null
             union all
             select slot, book_id, 'result.submitted', checkout_id, submitted_at from result
             union all
             select slot, book_id,
                    case state when 'captured' then 'result.accepted' else 'result.released' end,
                    checkout_id, decided_at
             from result where state <> 'verifying'
             union all
             select slot, book_id, 'charge.captured', charge_id, captured_at from charge
             union all
             select slot, book_id, 'charge.reversed', charge_id, reversed_at from reversal
             union all
             select slot, book_id, 'charge.disputed', charge_id, disputed_at from dispute
             union all
             select slot, book_id, 'charge.dispute_' || state, charge_id, decided_at
             from dispute where state <> 'open'
             union all
             select distinct t.slot, t.book_id, k.kind, t.subject_id, t.recorded_at
             from transfer t join movement m
               on m.movement = t.movement and m.debit = t.debit and m.credit = t.credit
             join (values ('topup', 'topup.credited'), ('void', 'topup.voided'),
                          ('reinstatement', 'topup.reinstated'), ('grant', 'grant.credited'),
                          ('expiry', 'lot.expired')) as k(movement, kind) on k.movement = m.name),
           counted as (
             select slot, book_id, kind, subject_id, at, count(*) as expected, 0 as found
             from acts group by 1, 2, 3, 4, 5
             union all
             select slot, book_id, kind, subject_id, recorded_at, 0, count(*)
             from outbox where kind in (
               'checkout.opened', 'checkout.canceled', 'result.submitted', 'result.accepted',
               'result.released', 'charge.captured', 'charge.reversed', 'charge.disputed',
               'charge.dispute_upheld', 'charge.dispute_denied', 'topup.credited', 'topup.voided',
               'topup.reinstated', 'grant.credited', 'lot.expired')
             group by 1, 2, 3, 4, 5),
           bad as (
             select book_id, format('%s of %s at %s', kind, replace(subject_id::text, '-', ''),
                                    to_char(at at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'))
                      as subject,
                    sum(expected) as expected, sum(found) as found
             from counted group by slot, book_id, kind, subject_id, at
             having sum(expected) <> sum(found))
           select book_id as "book?", subject as "subject!", expected as "expected?",
                  found as "found?", count(*) over () as "total!"
           from bad order by book_id, subject limit $1"#,
        NAMED_MAX
    )
    .fetch_all(tx)
    .await
}
