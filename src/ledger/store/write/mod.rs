//! What a batch writes: each table once, set-based.

mod caps;
mod holds;
mod snapshots;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::ground::BookId;
use crate::ledger::command::Books;
use crate::ledger::lot::Fate;
use crate::ledger::{Book, CommandIdentity, Decision, Lot, Role};

/// A decision to be frozen.
pub struct Decided {
    pub book: BookId,
    pub identity: CommandIdentity,
    pub decision: Decision,
    pub at: DateTime<Utc>,
}

/// Writes everything that the batch changed in its books, and the outcomes.
pub async fn all(
    tx: &mut PgConnection,
    books: &Books,
    decided: &[Decided],
) -> Result<(), sqlx::Error> {
    let changed: Vec<&Book> = books.values().filter(|book| book.changes > 0).collect();
    if !changed.is_empty() {
        update_books(tx, &changed).await?;
        insert_transfers(tx, &changed).await?;
        snapshots::take(tx, &changed).await?;
        insert_lots(tx, &changed).await?;
        update_lots(tx, &changed).await?;
        holds::insert_holds(tx, &changed).await?;
        holds::update_holds(tx, &changed).await?;
        holds::insert_captures(tx, &changed).await?;
        holds::update_captures(tx, &changed).await?;
        caps::write_spenders(tx, &changed).await?;
        caps::write_caps(tx, &changed).await?;
        caps::insert_usage(tx, &changed).await?;
        caps::update_usage(tx, &changed).await?;
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
        &rows.iter().map(|(_, t)| t.reverses.map(|id| id.0)).collect::<Vec<_>>() as _,
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
        &rows.iter().map(|(_, l)| l.expires_at).collect::<Vec<_>>() as _,
        &rows.iter().map(|(_, l)| l.origin).collect::<Vec<_>>(),
        &rows.iter().map(|(_, l)| l.parent.map(|id| id.0)).collect::<Vec<_>>() as _,
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

fn lots<'a>(books: &[&'a Book], fate: Fate) -> Vec<(&'a Book, &'a Lot)> {
    let all = books.iter().flat_map(|b| b.lots.iter().map(move |(lot, fate)| (*b, lot, fate)));
    all.filter(|(_, _, of)| *of == fate).map(|(b, lot, _)| (b, lot)).collect()
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

async fn insert_outcomes(tx: &mut PgConnection, decided: &[Decided]) -> Result<(), sqlx::Error> {
    if decided.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "insert into outcome (slot, book_id, command, fingerprint, accepted, recorded_at, body)
         select * from unnest($1::smallint[], $2::uuid[], $3::uuid[], $4::bytea[], $5::boolean[],
                              $6::timestamptz[], $7::text[])",
        &decided.iter().map(|d| d.book.slot().sql()).collect::<Vec<_>>(),
        &decided.iter().map(|d| d.book.0).collect::<Vec<_>>(),
        &decided.iter().map(|d| d.identity.command).collect::<Vec<_>>(),
        &decided.iter().map(|d| d.identity.fingerprint.0.to_vec()).collect::<Vec<_>>(),
        &decided.iter().map(|d| d.decision.accepted).collect::<Vec<_>>(),
        &decided.iter().map(|d| d.at).collect::<Vec<_>>(),
        &decided.iter().map(|d| d.decision.body.clone()).collect::<Vec<_>>(),
    )
    .execute(tx)
    .await?;
    Ok(())
}
