//! What a batch writes: each table once, set-based.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::ground::BookId;
use crate::ledger::book::Book;
use crate::ledger::command::Books;
use crate::ledger::lot::Fate;
use crate::ledger::{CommandIdentity, Decision, Draw, Role};

/// A decision to be frozen.
pub struct Decided<'a> {
    pub book: BookId,
    pub identity: CommandIdentity,
    pub decision: &'a Decision,
    pub at: DateTime<Utc>,
}

/// Writes everything that the batch changed in its books, and the outcomes.
pub async fn all(
    tx: &mut PgConnection,
    books: &Books,
    decided: &[Decided<'_>],
) -> Result<(), sqlx::Error> {
    let changed: Vec<&Book> = books.values().filter(|book| book.changes > 0).collect();
    if !changed.is_empty() {
        update_books(tx, &changed).await?;
        insert_transfers(tx, &changed).await?;
        insert_lots(tx, &changed).await?;
        update_lots(tx, &changed).await?;
        insert_holds(tx, &changed).await?;
        update_holds(tx, &changed).await?;
        insert_captures(tx, &changed).await?;
        update_captures(tx, &changed).await?;
        write_spenders(tx, &changed).await?;
        write_caps(tx, &changed).await?;
        write_usage(tx, &changed).await?;
        insert_events(tx, &changed).await?;
    }
    insert_outcomes(tx, decided).await
}

async fn update_books(tx: &mut PgConnection, books: &[&Book]) -> Result<(), sqlx::Error> {
    let balances = |role| books.iter().map(|b| b.balances.get(role).micros()).collect::<Vec<_>>();
    sqlx::query!(
        "update book b set version = u.version, event_seq = u.event_seq, recorded_at = u.recorded_at,
           frozen_at = case when u.frozen then coalesce(b.frozen_at, u.recorded_at) end,
           settled_usdc = u.settled_usdc, prepaid = u.prepaid, held = u.held,
           promo_issued = u.promo_issued, promo = u.promo, promo_held = u.promo_held,
           revenue = u.revenue, reversed_revenue = u.reversed_revenue, breakage = u.breakage
         from unnest($1::smallint[], $2::uuid[], $3::bigint[], $4::bigint[], $5::timestamptz[],
                     $6::boolean[], $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[],
                     $11::bigint[], $12::bigint[], $13::bigint[], $14::bigint[], $15::bigint[])
              as u(slot, book_id, version, event_seq, recorded_at, frozen, settled_usdc, prepaid,
                   held, promo_issued, promo, promo_held, revenue, reversed_revenue, breakage)
         where b.slot = u.slot and b.book_id = u.book_id",
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
    )
    .execute(tx)
    .await?;
    Ok(())
}

async fn insert_transfers(tx: &mut PgConnection, books: &[&Book]) -> Result<(), sqlx::Error> {
    let rows: Vec<_> = books.iter().flat_map(|b| b.transfers.iter().map(move |t| (b, t))).collect();
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "insert into transfer (slot, book_id, version, transaction_id, subject_id, lot_id,
           reverses_id, amount, debit_after, credit_after, recorded_at, effective_at, movement,
           debit, credit)
         select * from unnest($1::smallint[], $2::uuid[], $3::bigint[], $4::uuid[], $5::uuid[],
           $6::uuid[], $7::uuid[], $8::bigint[], $9::bigint[], $10::bigint[], $11::timestamptz[],
           $12::timestamptz[], $13::smallint[], $14::smallint[], $15::smallint[])",
        &rows.iter().map(|(b, _)| b.id.slot().sql()).collect::<Vec<_>>(),
        &rows.iter().map(|(b, _)| b.id.0).collect::<Vec<_>>(),
        &rows.iter().map(|(_, t)| t.version).collect::<Vec<_>>(),
        &rows.iter().map(|(_, t)| t.transaction.0).collect::<Vec<_>>(),
        &rows.iter().map(|(_, t)| t.subject).collect::<Vec<_>>(),
        &rows.iter().map(|(_, t)| t.lot.0).collect::<Vec<_>>(),
        &rows.iter().map(|(_, t)| t.reverses.map(|id| id.0)).collect::<Vec<_>>()
            as &[Option<Uuid>],
        &rows.iter().map(|(_, t)| t.amount.micros()).collect::<Vec<_>>(),
        &rows.iter().map(|(_, t)| t.debit_after.micros()).collect::<Vec<_>>(),
        &rows.iter().map(|(_, t)| t.credit_after.micros()).collect::<Vec<_>>(),
        &rows.iter().map(|(b, _)| b.now).collect::<Vec<_>>(),
        &rows.iter().map(|(_, t)| t.effective_at).collect::<Vec<_>>(),
        &rows.iter().map(|(_, t)| t.movement.sql()).collect::<Vec<_>>(),
        &rows.iter().map(|(_, t)| t.debit.sql()).collect::<Vec<_>>(),
        &rows.iter().map(|(_, t)| t.credit.sql()).collect::<Vec<_>>(),
    )
    .execute(tx)
    .await?;
    Ok(())
}

async fn insert_lots(tx: &mut PgConnection, books: &[&Book]) -> Result<(), sqlx::Error> {
    let rows: Vec<_> = lots(books, Fate::New);
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "insert into lot (slot, book_id, lot_id, paid, open, priority, amount, remaining,
           granted_at, expires_at, origin_id, parent_id)
         select slot, book_id, lot_id, paid, remaining > 0, priority, amount, remaining,
           granted_at, expires_at, origin_id, parent_id
         from unnest($1::smallint[], $2::uuid[], $3::uuid[], $4::boolean[], $5::smallint[],
           $6::bigint[], $7::bigint[], $8::timestamptz[], $9::timestamptz[], $10::uuid[],
           $11::uuid[])
           as u(slot, book_id, lot_id, paid, priority, amount, remaining, granted_at, expires_at,
                origin_id, parent_id)",
        &rows.iter().map(|(b, _)| b.id.slot().sql()).collect::<Vec<_>>(),
        &rows.iter().map(|(b, _)| b.id.0).collect::<Vec<_>>(),
        &rows.iter().map(|(_, l)| l.id.0).collect::<Vec<_>>(),
        &rows.iter().map(|(_, l)| l.paid).collect::<Vec<_>>(),
        &rows.iter().map(|(_, l)| l.priority).collect::<Vec<_>>(),
        &rows.iter().map(|(_, l)| l.amount.micros()).collect::<Vec<_>>(),
        &rows.iter().map(|(_, l)| l.remaining.micros()).collect::<Vec<_>>(),
        &rows.iter().map(|(_, l)| l.granted_at).collect::<Vec<_>>(),
        &rows.iter().map(|(_, l)| l.expires_at).collect::<Vec<_>>() as &[Option<DateTime<Utc>>],
        &rows.iter().map(|(_, l)| l.origin).collect::<Vec<_>>(),
        &rows.iter().map(|(_, l)| l.parent.map(|id| id.0)).collect::<Vec<_>>() as &[Option<Uuid>],
    )
    .execute(tx)
    .await?;
    Ok(())
}

async fn update_lots(tx: &mut PgConnection, books: &[&Book]) -> Result<(), sqlx::Error> {
    let rows: Vec<_> = lots(books, Fate::Dirty);
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "update lot l set remaining = u.remaining, open = u.remaining > 0
         from unnest($1::smallint[], $2::uuid[], $3::uuid[], $4::bigint[])
              as u(slot, book_id, lot_id, remaining)
         where l.slot = u.slot and l.book_id = u.book_id and l.lot_id = u.lot_id",
        &rows.iter().map(|(b, _)| b.id.slot().sql()).collect::<Vec<_>>(),
        &rows.iter().map(|(b, _)| b.id.0).collect::<Vec<_>>(),
        &rows.iter().map(|(_, l)| l.id.0).collect::<Vec<_>>(),
        &rows.iter().map(|(_, l)| l.remaining.micros()).collect::<Vec<_>>(),
    )
    .execute(tx)
    .await?;
    Ok(())
}

fn lots<'a>(books: &[&'a Book], fate: Fate) -> Vec<(&'a Book, &'a crate::ledger::Lot)> {
    let all = books.iter().flat_map(|b| b.lots.iter().map(move |(lot, fate)| (*b, lot, fate)));
    all.filter(|(_, _, of)| *of == fate).map(|(b, lot, _)| (b, lot)).collect()
}

async fn insert_holds(tx: &mut PgConnection, books: &[&Book]) -> Result<(), sqlx::Error> {
    let rows: Vec<_> = books
        .iter()
        .flat_map(|b| b.holds.values().map(move |(hold, fate)| (b, hold, *fate)))
        .filter(|(_, _, fate)| *fate == Fate::New)
        .collect();
    if rows.is_empty() {
        return Ok(());
    }
    // Arrays of arrays would have to be rectangular, so each row's arrays travel as literals.
    let literal = |draws: &[Draw], part: fn(&Draw) -> String| {
        format!("{{{}}}", draws.iter().map(part).collect::<Vec<_>>().join(","))
    };
    sqlx::query!(
        "insert into hold (slot, book_id, hold_id, spender_id, transaction_id, amount, captured,
           released, reversed, draw_lots, draw_amounts, placed_at)
         select slot, book_id, hold_id, spender_id, transaction_id, amount, captured, released,
           reversed, draw_lots::uuid[], draw_amounts::bigint[], placed_at
         from unnest($1::smallint[], $2::uuid[], $3::uuid[], $4::uuid[], $5::uuid[], $6::bigint[],
           $7::bigint[], $8::bigint[], $9::bigint[], $10::text[], $11::text[], $12::timestamptz[])
           as u(slot, book_id, hold_id, spender_id, transaction_id, amount, captured, released,
                reversed, draw_lots, draw_amounts, placed_at)",
        &rows.iter().map(|(b, ..)| b.id.slot().sql()).collect::<Vec<_>>(),
        &rows.iter().map(|(b, ..)| b.id.0).collect::<Vec<_>>(),
        &rows.iter().map(|(_, h, _)| h.id.0).collect::<Vec<_>>(),
        &rows.iter().map(|(_, h, _)| h.spender.0).collect::<Vec<_>>(),
        &rows.iter().map(|(_, h, _)| h.transaction.0).collect::<Vec<_>>(),
        &rows.iter().map(|(_, h, _)| h.amount.micros()).collect::<Vec<_>>(),
        &rows.iter().map(|(_, h, _)| h.captured.micros()).collect::<Vec<_>>(),
        &rows.iter().map(|(_, h, _)| h.released.micros()).collect::<Vec<_>>(),
        &rows.iter().map(|(_, h, _)| h.reversed.micros()).collect::<Vec<_>>(),
        &rows
            .iter()
            .map(|(_, h, _)| literal(&h.draws, |draw| draw.lot.0.to_string()))
            .collect::<Vec<_>>(),
        &rows
            .iter()
            .map(|(_, h, _)| literal(&h.draws, |draw| draw.amount.micros().to_string()))
            .collect::<Vec<_>>(),
        &rows.iter().map(|(_, h, _)| h.placed_at).collect::<Vec<_>>(),
    )
    .execute(tx)
    .await?;
    Ok(())
}

async fn update_holds(tx: &mut PgConnection, books: &[&Book]) -> Result<(), sqlx::Error> {
    let rows: Vec<_> = books
        .iter()
        .flat_map(|b| b.holds.values().map(move |(hold, fate)| (b, hold, *fate)))
        .filter(|(_, _, fate)| *fate == Fate::Dirty)
        .collect();
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "update hold h set captured = u.captured, released = u.released, reversed = u.reversed
         from unnest($1::smallint[], $2::uuid[], $3::uuid[], $4::bigint[], $5::bigint[],
                     $6::bigint[]) as u(slot, book_id, hold_id, captured, released, reversed)
         where h.slot = u.slot and h.book_id = u.book_id and h.hold_id = u.hold_id",
        &rows.iter().map(|(b, ..)| b.id.slot().sql()).collect::<Vec<_>>(),
        &rows.iter().map(|(b, ..)| b.id.0).collect::<Vec<_>>(),
        &rows.iter().map(|(_, h, _)| h.id.0).collect::<Vec<_>>(),
        &rows.iter().map(|(_, h, _)| h.captured.micros()).collect::<Vec<_>>(),
        &rows.iter().map(|(_, h, _)| h.released.micros()).collect::<Vec<_>>(),
        &rows.iter().map(|(_, h, _)| h.reversed.micros()).collect::<Vec<_>>(),
    )
    .execute(tx)
    .await?;
    Ok(())
}

async fn insert_captures(tx: &mut PgConnection, books: &[&Book]) -> Result<(), sqlx::Error> {
    let rows: Vec<_> = books
        .iter()
        .flat_map(|b| b.captures.values().map(move |(capture, fate)| (b, capture, *fate)))
        .filter(|(_, _, fate)| *fate == Fate::New)
        .collect();
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "insert into capture (slot, book_id, capture_id, hold_id, transaction_id, draw_offset,
           amount, reversed, captured_at)
         select * from unnest($1::smallint[], $2::uuid[], $3::uuid[], $4::uuid[], $5::uuid[],
           $6::bigint[], $7::bigint[], $8::bigint[], $9::timestamptz[])",
        &rows.iter().map(|(b, ..)| b.id.slot().sql()).collect::<Vec<_>>(),
        &rows.iter().map(|(b, ..)| b.id.0).collect::<Vec<_>>(),
        &rows.iter().map(|(_, c, _)| c.id.0).collect::<Vec<_>>(),
        &rows.iter().map(|(_, c, _)| c.hold.0).collect::<Vec<_>>(),
        &rows.iter().map(|(_, c, _)| c.transaction.0).collect::<Vec<_>>(),
        &rows.iter().map(|(_, c, _)| c.offset.micros()).collect::<Vec<_>>(),
        &rows.iter().map(|(_, c, _)| c.amount.micros()).collect::<Vec<_>>(),
        &rows.iter().map(|(_, c, _)| c.reversed.micros()).collect::<Vec<_>>(),
        &rows.iter().map(|(_, c, _)| c.captured_at).collect::<Vec<_>>(),
    )
    .execute(tx)
    .await?;
    Ok(())
}

async fn update_captures(tx: &mut PgConnection, books: &[&Book]) -> Result<(), sqlx::Error> {
    let rows: Vec<_> = books
        .iter()
        .flat_map(|b| b.captures.values().map(move |(capture, fate)| (b, capture, *fate)))
        .filter(|(_, _, fate)| *fate == Fate::Dirty)
        .collect();
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "update capture c set reversed = u.reversed
         from unnest($1::smallint[], $2::uuid[], $3::uuid[], $4::bigint[])
              as u(slot, book_id, capture_id, reversed)
         where c.slot = u.slot and c.book_id = u.book_id and c.capture_id = u.capture_id",
        &rows.iter().map(|(b, ..)| b.id.slot().sql()).collect::<Vec<_>>(),
        &rows.iter().map(|(b, ..)| b.id.0).collect::<Vec<_>>(),
        &rows.iter().map(|(_, c, _)| c.id.0).collect::<Vec<_>>(),
        &rows.iter().map(|(_, c, _)| c.reversed.micros()).collect::<Vec<_>>(),
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Spenders and caps change one at a time, by signup and by the operator, so they are written row
/// by row.
async fn write_spenders(tx: &mut PgConnection, books: &[&Book]) -> Result<(), sqlx::Error> {
    let rows: Vec<_> = books
        .iter()
        .flat_map(|b| b.spenders.values().map(move |(spender, fate)| (b, spender, *fate)))
        .filter(|(_, _, fate)| *fate != Fate::Clean)
        .collect();
    for (book, spender, fate) in rows {
        sqlx::query!(
            "insert into spender (slot, book_id, spender_id, skus, expires_at, revoked_at)
             values ($1, $2, $3, $4, $5, $6)
             on conflict (slot, book_id, spender_id) do update set revoked_at = excluded.revoked_at
             where $7",
            book.id.slot().sql(),
            book.id.0,
            spender.id.0,
            spender.skus.as_deref(),
            spender.expires_at,
            spender.revoked_at,
            fate == Fate::Dirty,
        )
        .execute(&mut *tx)
        .await?;
    }
    Ok(())
}

async fn write_caps(tx: &mut PgConnection, books: &[&Book]) -> Result<(), sqlx::Error> {
    let rows: Vec<_> = books
        .iter()
        .flat_map(|b| b.caps.iter().map(move |(cap, fate)| (b, cap, *fate)))
        .filter(|(_, _, fate)| *fate != Fate::Clean)
        .collect();
    for (book, cap, _) in rows {
        sqlx::query!(
            "insert into cap (slot, book_id, cap_id, spender_id, span, limit_amount, created_at)
             values ($1, $2, $3, $4, $5, $6, $7)
             on conflict (slot, book_id, cap_id) do update set limit_amount = excluded.limit_amount",
            book.id.slot().sql(),
            book.id.0,
            cap.id.0,
            cap.spender.map(|id| id.0),
            cap.span.name(),
            cap.limit.micros(),
            book.now,
        )
        .execute(&mut *tx)
        .await?;
    }
    Ok(())
}

async fn write_usage(tx: &mut PgConnection, books: &[&Book]) -> Result<(), sqlx::Error> {
    let rows: Vec<_> = books
        .iter()
        .flat_map(|b| b.usage.iter().map(move |((_, _, start), usage)| (b, *start, usage)))
        .filter(|(_, _, usage)| usage.fate != Fate::Clean)
        .filter_map(|(b, start, usage)| usage.cap.map(|cap| (b, start, cap, usage.used)))
        .collect();
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "insert into cap_usage (slot, book_id, cap_id, window_start, used)
         select * from unnest($1::smallint[], $2::uuid[], $3::uuid[], $4::timestamptz[],
                              $5::bigint[])
         on conflict (slot, book_id, cap_id, window_start) do update set used = excluded.used",
        &rows.iter().map(|(b, ..)| b.id.slot().sql()).collect::<Vec<_>>(),
        &rows.iter().map(|(b, ..)| b.id.0).collect::<Vec<_>>(),
        &rows.iter().map(|(_, _, cap, _)| cap.0).collect::<Vec<_>>(),
        &rows.iter().map(|(_, start, ..)| *start).collect::<Vec<_>>(),
        &rows.iter().map(|(.., used)| used.micros()).collect::<Vec<_>>(),
    )
    .execute(tx)
    .await?;
    Ok(())
}

async fn insert_events(tx: &mut PgConnection, books: &[&Book]) -> Result<(), sqlx::Error> {
    let rows: Vec<_> = books.iter().flat_map(|b| b.events.iter().map(move |e| (b, e))).collect();
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "insert into outbox (slot, book_id, seq, kind, subject_id, recorded_at)
         select * from unnest($1::smallint[], $2::uuid[], $3::bigint[], $4::text[], $5::uuid[],
                              $6::timestamptz[])",
        &rows.iter().map(|(b, _)| b.id.slot().sql()).collect::<Vec<_>>(),
        &rows.iter().map(|(b, _)| b.id.0).collect::<Vec<_>>(),
        &rows.iter().map(|(_, e)| e.seq).collect::<Vec<_>>(),
        &rows.iter().map(|(_, e)| e.kind.to_owned()).collect::<Vec<_>>(),
        &rows.iter().map(|(_, e)| e.subject).collect::<Vec<_>>(),
        &rows.iter().map(|(b, _)| b.now).collect::<Vec<_>>(),
    )
    .execute(tx)
    .await?;
    Ok(())
}

async fn insert_outcomes(
    tx: &mut PgConnection,
    decided: &[Decided<'_>],
) -> Result<(), sqlx::Error> {
    if decided.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "insert into outcome (slot, book_id, command, fingerprint, accepted, recorded_at, body)
         select * from unnest($1::smallint[], $2::uuid[], $3::bytea[], $4::bytea[], $5::boolean[],
                              $6::timestamptz[], $7::text[])",
        &decided.iter().map(|d| d.book.slot().sql()).collect::<Vec<_>>(),
        &decided.iter().map(|d| d.book.0).collect::<Vec<_>>(),
        &decided.iter().map(|d| d.identity.command.to_vec()).collect::<Vec<_>>(),
        &decided.iter().map(|d| d.identity.fingerprint.0.to_vec()).collect::<Vec<_>>(),
        &decided.iter().map(|d| d.decision.accepted).collect::<Vec<_>>(),
        &decided.iter().map(|d| d.at).collect::<Vec<_>>(),
        &decided.iter().map(|d| d.decision.body.clone()).collect::<Vec<_>>(),
    )
    .execute(tx)
    .await?;
    Ok(())
}
