use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::ground::{Amount, BookId, CapId};
use crate::ledger::Book;
use crate::ledger::book::{Usage, UsageKey};
use crate::ledger::lot::Fate;

/// Spenders and caps change one at a time, by signup and by the operator, so they are written row
/// by row.
pub(super) async fn write_spenders(
    tx: &mut PgConnection,
    books: &[&Book],
) -> Result<(), sqlx::Error> {
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

pub(super) async fn write_caps(tx: &mut PgConnection, books: &[&Book]) -> Result<(), sqlx::Error> {
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

pub(super) async fn insert_usage(
    tx: &mut PgConnection,
    books: &[&Book],
) -> Result<(), sqlx::Error> {
    let rows = usage(books, Fate::New);
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "insert into cap_usage (slot, book_id, cap_id, window_start, used)
         select * from unnest($1::smallint[], $2::uuid[], $3::uuid[], $4::timestamptz[],
                              $5::bigint[])",
        &rows.iter().map(|row| row.book.slot().sql()).collect::<Vec<_>>(),
        &rows.iter().map(|row| row.book.0).collect::<Vec<_>>(),
        &rows.iter().map(|row| row.cap.0).collect::<Vec<_>>(),
        &rows.iter().map(|row| row.start).collect::<Vec<_>>(),
        &rows.iter().map(|row| row.used.micros()).collect::<Vec<_>>(),
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// What a cap has counted in one window.
pub(super) struct UsageRow {
    pub(super) book: BookId,
    pub(super) cap: CapId,
    pub(super) start: DateTime<Utc>,
    pub(super) used: Amount,
}

/// What is counted without a cap is only known in memory.
pub(super) fn usage(books: &[&Book], fate: Fate) -> Vec<UsageRow> {
    let all = books.iter().flat_map(|b| b.usage.iter().map(move |(key, usage)| (b.id, key, usage)));
    let changed = all.filter(|(_, _, usage)| usage.fate == fate);
    let row = |(book, (_, _, start), usage): (BookId, &UsageKey, &Usage)| {
        Some(UsageRow { book, cap: usage.cap?, start: *start, used: usage.used })
    };
    changed.filter_map(row).collect()
}
