//! What nearly every batch writes: books, transfers, what is left of lots, holds, what caps have
//! counted, events and outcomes.
//!
//! It is one statement because a round trip costs more than an empty part of it: at low load batches
//! are small, and it is the number of statements that they cost.

use sqlx::PgConnection;

use crate::ground::Amount;
use crate::ledger::lot::Fate;
use crate::ledger::{Book, Draw, Role};

use super::{Decided, caps, lots};

/// Writes it. Nothing is read back.
pub(super) async fn write(
    tx: &mut PgConnection,
    books: &[&Book],
    decided: &[Decided],
) -> Result<(), sqlx::Error> {
    if books.is_empty() && decided.is_empty() {
        return Ok(());
    }
    let balances = |role| books.iter().map(|b| b.balances.get(role).micros()).collect::<Vec<_>>();
    let transfers: Vec<_> =
        books.iter().flat_map(|b| b.transfers.iter().map(move |t| (b, t))).collect();
    let drawn = lots(books, Fate::Dirty);
    let placed =
        books.iter().flat_map(|b| b.holds.values().map(move |(hold, fate)| (b, hold, fate)));
    let placed: Vec<_> =
        placed.filter(|(_, _, fate)| **fate == Fate::New).map(|(b, hold, _)| (b, hold)).collect();
    let counted = caps::usage(books, Fate::Dirty);
    let events: Vec<_> = books.iter().flat_map(|b| b.events.iter().map(move |e| (b, e))).collect();
    sqlx::query!(
        "with books as (
           update book b set version = u.version, event_seq = u.event_seq,
             recorded_at = u.recorded_at,
             frozen_at = case when u.frozen then coalesce(b.frozen_at, u.recorded_at) end,
             settled_usdc = u.settled_usdc, prepaid = u.prepaid, held = u.held,
             promo_issued = u.promo_issued, promo = u.promo, promo_held = u.promo_held,
             revenue = u.revenue, reversed_revenue = u.reversed_revenue, breakage = u.breakage,
             settlement_loss = u.settlement_loss
           from unnest($1::smallint[], $2::uuid[], $3::bigint[], $4::bigint[], $5::timestamptz[],
                       $6::boolean[], $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[],
                       $11::bigint[], $12::bigint[], $13::bigint[], $14::bigint[], $15::bigint[],
                       $65::bigint[])
                as u(slot, book_id, version, event_seq, recorded_at, frozen, settled_usdc, prepaid,
                     held, promo_issued, promo, promo_held, revenue, reversed_revenue, breakage,
                     settlement_loss)
           where b.slot = u.slot and b.book_id = u.book_id),
         transfers as (
           insert into transfer (slot, book_id, version, transaction_id, subject_id, lot_id,
             reverses_id, amount, debit_after, credit_after, recorded_at, effective_at, movement,
             debit, credit)
           select * from unnest($16::smallint[], $17::uuid[], $18::bigint[], $19::uuid[],
             $20::uuid[], $21::uuid[], $22::uuid[], $23::bigint[], $24::bigint[], $25::bigint[],
             $26::timestamptz[], $27::timestamptz[], $28::smallint[], $29::smallint[],
             $30::smallint[])),
         lots as (
           update lot l set remaining = u.remaining, open = u.remaining > 0, lost = u.lost
           from unnest($31::smallint[], $32::uuid[], $33::uuid[], $34::bigint[], $66::bigint[])
                as u(slot, book_id, lot_id, remaining, lost)
           where l.slot = u.slot and l.book_id = u.book_id and l.lot_id = u.lot_id),
         holds as (
           insert into hold (slot, book_id, hold_id, spender_id, transaction_id, amount, captured,
             released, reversed, draw_lots, draw_amounts, placed_at)
           select slot, book_id, hold_id, spender_id, transaction_id, amount, captured, released,
             reversed, draw_lots::uuid[], draw_amounts::bigint[], placed_at
           from unnest($35::smallint[], $36::uuid[], $37::uuid[], $38::uuid[], $39::uuid[],
             $40::bigint[], $41::bigint[], $42::bigint[], $43::bigint[], $44::text[], $45::text[],
             $46::timestamptz[])
             as u(slot, book_id, hold_id, spender_id, transaction_id, amount, captured, released,
                  reversed, draw_lots, draw_amounts, placed_at)),
         counted as (
           update cap_usage c set used = u.used
           from unnest($47::smallint[], $48::uuid[], $49::uuid[], $50::timestamptz[],
                       $51::bigint[]) as u(slot, book_id, cap_id, window_start, used)
           where c.slot = u.slot and c.book_id = u.book_id and c.cap_id = u.cap_id
             and c.window_start = u.window_start),
         events as (
           insert into outbox (slot, book_id, seq, kind, subject_id, recorded_at, detail)
           select * from unnest($52::smallint[], $53::uuid[], $54::bigint[], $55::text[],
                                $56::uuid[], $57::timestamptz[], $67::text[]))
         insert into outcome (slot, book_id, command, fingerprint, accepted, recorded_at, body)
         select * from unnest($58::smallint[], $59::uuid[], $60::uuid[], $61::bytea[],
                              $62::boolean[], $63::timestamptz[], $64::text[])",
        &books.iter().map(|b| b.id.slot().sql()).collect::<Vec<_>>(),
        &books.iter().map(|b| b.id.0).collect::<Vec<_>>(),
        &books.iter().map(|b| b.version).collect::<Vec<_>>(),
        &books.iter().map(|b| b.event_seq).collect::<Vec<_>>(),
        &books.iter().map(|b| b.now).collect::<Vec<_>>(),
        &books.iter().map(|b| b.frozen).collect::<Vec<_>>(),
        &balances(Role::SettledUsdc),
        &balances(Role::Prepaid),
        &balances(Role::Held),
        &balances(Role::PromoIssued),
        &balances(Role::Promo),
        &balances(Role::PromoHeld),
        &balances(Role::Revenue),
        &balances(Role::ReversedRevenue),
        &balances(Role::Breakage),
        &transfers.iter().map(|(b, _)| b.id.slot().sql()).collect::<Vec<_>>(),
        &transfers.iter().map(|(b, _)| b.id.0).collect::<Vec<_>>(),
        &transfers.iter().map(|(_, t)| t.version).collect::<Vec<_>>(),
        &transfers.iter().map(|(_, t)| t.transaction.0).collect::<Vec<_>>(),
        &transfers.iter().map(|(_, t)| t.subject).collect::<Vec<_>>(),
        &transfers.iter().map(|(_, t)| t.lot.0).collect::<Vec<_>>(),
        &transfers.iter().map(|(_, t)| t.reverses.map(|id| id.0)).collect::<Vec<_>>() as _,
        &transfers.iter().map(|(_, t)| t.amount.micros()).collect::<Vec<_>>(),
        &transfers.iter().map(|(_, t)| t.debit_after.micros()).collect::<Vec<_>>(),
        &transfers.iter().map(|(_, t)| t.credit_after.micros()).collect::<Vec<_>>(),
        &transfers.iter().map(|(b, _)| b.now).collect::<Vec<_>>(),
        &transfers.iter().map(|(_, t)| t.effective_at).collect::<Vec<_>>(),
        &transfers.iter().map(|(_, t)| t.movement.sql()).collect::<Vec<_>>(),
        &transfers.iter().map(|(_, t)| t.debit.sql()).collect::<Vec<_>>(),
        &transfers.iter().map(|(_, t)| t.credit.sql()).collect::<Vec<_>>(),
        &drawn.iter().map(|(b, _)| b.id.slot().sql()).collect::<Vec<_>>(),
        &drawn.iter().map(|(b, _)| b.id.0).collect::<Vec<_>>(),
        &drawn.iter().map(|(_, l)| l.id.0).collect::<Vec<_>>(),
        &drawn.iter().map(|(_, l)| l.remaining.micros()).collect::<Vec<_>>(),
        &placed.iter().map(|(b, _)| b.id.slot().sql()).collect::<Vec<_>>(),
        &placed.iter().map(|(b, _)| b.id.0).collect::<Vec<_>>(),
        &placed.iter().map(|(_, h)| h.id.0).collect::<Vec<_>>(),
        &placed.iter().map(|(_, h)| h.spender.0).collect::<Vec<_>>(),
        &placed.iter().map(|(_, h)| h.transaction.0).collect::<Vec<_>>(),
        &placed.iter().map(|(_, h)| h.amount.micros()).collect::<Vec<_>>(),
        &placed.iter().map(|(_, h)| h.captured.micros()).collect::<Vec<_>>(),
        &placed.iter().map(|(_, h)| h.released.micros()).collect::<Vec<_>>(),
        &placed.iter().map(|(_, h)| h.reversed.micros()).collect::<Vec<_>>(),
        &placed.iter().map(|(_, h)| array(&h.draws, |d| d.lot.0.to_string())).collect::<Vec<_>>(),
        &placed
            .iter()
            .map(|(_, h)| array(&h.draws, |d| d.amount.micros().to_string()))
            .collect::<Vec<_>>(),
        &placed.iter().map(|(_, h)| h.placed_at).collect::<Vec<_>>(),
        &counted.iter().map(|row| row.book.slot().sql()).collect::<Vec<_>>(),
        &counted.iter().map(|row| row.book.0).collect::<Vec<_>>(),
        &counted.iter().map(|row| row.cap.0).collect::<Vec<_>>(),
        &counted.iter().map(|row| row.start).collect::<Vec<_>>(),
        &counted.iter().map(|row| row.used.micros()).collect::<Vec<_>>(),
        &events.iter().map(|(b, _)| b.id.slot().sql()).collect::<Vec<_>>(),
        &events.iter().map(|(b, _)| b.id.0).collect::<Vec<_>>(),
        &events.iter().map(|(_, e)| e.seq).collect::<Vec<_>>(),
        &events.iter().map(|(_, e)| e.kind.to_owned()).collect::<Vec<_>>(),
        &events.iter().map(|(_, e)| e.subject).collect::<Vec<_>>(),
        &events.iter().map(|(b, _)| b.now).collect::<Vec<_>>(),
        &decided.iter().map(|d| d.book.slot().sql()).collect::<Vec<_>>(),
        &decided.iter().map(|d| d.book.0).collect::<Vec<_>>(),
        &decided.iter().map(|d| d.identity.command).collect::<Vec<_>>(),
        &decided.iter().map(|d| d.identity.fingerprint.0.to_vec()).collect::<Vec<_>>(),
        &decided.iter().map(|d| d.decision.accepted).collect::<Vec<_>>(),
        &decided.iter().map(|d| d.at).collect::<Vec<_>>(),
        &decided.iter().map(|d| d.decision.body.clone()).collect::<Vec<_>>(),
        &balances(Role::SettlementLoss),
        &drawn.iter().map(|(_, l)| l.lost.map(Amount::micros)).collect::<Vec<_>>() as _,
        &events.iter().map(|(_, e)| e.detail.clone()).collect::<Vec<_>>() as _,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Arrays of arrays would have to be rectangular, so each row's arrays travel as literals.
fn array(draws: &[Draw], part: fn(&Draw) -> String) -> String {
    format!("{{{}}}", draws.iter().map(part).collect::<Vec<_>>().join(","))
}
