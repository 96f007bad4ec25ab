//! What a batch writes: each table once, set-based.

mod caps;
mod every_batch;
mod holds;
mod snapshots;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::ground::{Amount, BookId};
use crate::ledger::command::Books;
use crate::ledger::lot::Fate;
use crate::ledger::{Book, CommandIdentity, Decision, Lot};

/// A decision to be frozen.
pub struct Decided {
    pub book: BookId,
    pub identity: CommandIdentity,
    pub decision: Decision,
    pub at: DateTime<Utc>,
}

/// Writes everything that the batch changed in its books, and the outcomes: in one statement what
/// nearly every batch writes, and in one each what few do. Captures come after the holds that count
/// them, and snapshots after the transfers that they add up.
pub async fn all(
    tx: &mut PgConnection,
    books: &Books,
    decided: &[Decided],
) -> Result<(), sqlx::Error> {
    let changed: Vec<&Book> = books.values().filter(|book| book.changes > 0).collect();
    every_batch::write(tx, &changed, decided).await?;
    if changed.is_empty() {
        return Ok(());
    }
    insert_lots(tx, &changed).await?;
    holds::update_holds(tx, &changed).await?;
    holds::insert_captures(tx, &changed).await?;
    holds::update_captures(tx, &changed).await?;
    caps::write_spenders(tx, &changed).await?;
    caps::write_caps(tx, &changed).await?;
    caps::insert_usage(tx, &changed).await?;
    snapshots::take(tx, &changed).await
}

async fn insert_lots(tx: &mut PgConnection, books: &[&Book]) -> Result<(), sqlx::Error> {
    let rows: Vec<_> = lots(books, Fate::New);
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "insert into lot (slot, book_id, lot_id, paid, open, priority, amount, remaining,
           granted_at, effective_at, expires_at, origin_id, parent_id, lost)
         select slot, book_id, lot_id, paid, remaining > 0, priority, amount, remaining,
           granted_at, effective_at, expires_at, origin_id, parent_id, lost
         from unnest($1::smallint[], $2::uuid[], $3::uuid[], $4::boolean[], $5::smallint[],
           $6::bigint[], $7::bigint[], $8::timestamptz[], $9::timestamptz[],
           $10::timestamptz[], $11::uuid[], $12::uuid[], $13::bigint[])
           as u(slot, book_id, lot_id, paid, priority, amount, remaining, granted_at, effective_at,
                expires_at, origin_id, parent_id, lost)",
        &rows.iter().map(|(b, _)| b.id.slot().sql()).collect::<Vec<_>>(),
        &rows.iter().map(|(b, _)| b.id.0).collect::<Vec<_>>(),
        &rows.iter().map(|(_, l)| l.id.0).collect::<Vec<_>>(),
        &rows.iter().map(|(_, l)| l.paid).collect::<Vec<_>>(),
        &rows.iter().map(|(_, l)| l.priority).collect::<Vec<_>>(),
        &rows.iter().map(|(_, l)| l.amount.micros()).collect::<Vec<_>>(),
        &rows.iter().map(|(_, l)| l.remaining.micros()).collect::<Vec<_>>(),
        &rows.iter().map(|(_, l)| l.granted_at).collect::<Vec<_>>(),
        &rows.iter().map(|(_, l)| l.effective_at).collect::<Vec<_>>(),
        &rows.iter().map(|(_, l)| l.expires_at).collect::<Vec<_>>() as _,
        &rows.iter().map(|(_, l)| l.origin).collect::<Vec<_>>(),
        &rows.iter().map(|(_, l)| l.parent.map(|id| id.0)).collect::<Vec<_>>() as _,
        &rows.iter().map(|(_, l)| l.lost.map(Amount::micros)).collect::<Vec<_>>() as _,
    )
    .execute(tx)
    .await?;
    Ok(())
}

fn lots<'a>(books: &[&'a Book], fate: Fate) -> Vec<(&'a Book, &'a Lot)> {
    let all = books.iter().flat_map(|b| b.lots.iter().map(move |(lot, fate)| (*b, lot, fate)));
    all.filter(|(_, _, of)| *of == fate).map(|(b, lot, _)| (b, lot)).collect()
}
