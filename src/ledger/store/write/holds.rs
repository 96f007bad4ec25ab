use sqlx::PgConnection;

use crate::ledger::Book;
use crate::ledger::lot::Fate;

pub(super) async fn update_holds(
    tx: &mut PgConnection,
    books: &[&Book],
) -> Result<(), sqlx::Error> {
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

pub(super) async fn insert_captures(
    tx: &mut PgConnection,
    books: &[&Book],
) -> Result<(), sqlx::Error> {
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

pub(super) async fn update_captures(
    tx: &mut PgConnection,
    books: &[&Book],
) -> Result<(), sqlx::Error> {
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
