use std::collections::BTreeSet;

use sqlx::PgConnection;

use crate::ground::{BookId, ChargeId, HoldId, KeyId, LotId, TransactionId};
use crate::ledger::command::Books;
use crate::ledger::lot::Fate;
use crate::ledger::store::amount;
use crate::ledger::{Capture, Draw, Hold, Lot, Wants};

use super::Keys;

pub(super) async fn holds(
    tx: &mut PgConnection,
    books: &mut Books,
    wants: &Wants,
) -> Result<(), sqlx::Error> {
    let keys = Keys::of(wants.holds.iter().map(|(book, hold)| (*book, hold.0)));
    let rows = sqlx::query!(
        r#"select h.book_id as "book_id!", h.hold_id as "hold_id!", h.spender_id as "spender_id!",
                  h.transaction_id as "transaction_id!", h.amount as "amount!",
                  h.captured as "captured!", h.released as "released!", h.reversed as "reversed!",
                  h.draw_lots as "draw_lots!", h.draw_amounts as "draw_amounts!",
                  h.placed_at as "placed_at!"
           from unnest($1::smallint[], $2::uuid[], $3::uuid[]) as u(slot, book_id, hold_id)
           cross join lateral (
             select * from hold
             where slot = u.slot and book_id = u.book_id and hold_id = u.hold_id limit 1) h"#,
        &keys.slots,
        &keys.books,
        &keys.ids
    )
    .fetch_all(tx)
    .await?;
    for row in rows {
        let draws = row.draw_lots.into_iter().zip(row.draw_amounts);
        let draws = draws.map(|(lot, micros)| Draw { lot: LotId(lot), amount: amount(micros) });
        let hold = Hold {
            id: HoldId(row.hold_id),
            spender: KeyId(row.spender_id),
            transaction: TransactionId(row.transaction_id),
            amount: amount(row.amount),
            captured: amount(row.captured),
            released: amount(row.released),
            reversed: amount(row.reversed),
            draws: draws.collect(),
            placed_at: row.placed_at,
        };
        if let Some(book) = books.get_mut(&BookId(row.book_id)) {
            book.holds.insert(hold.id, (hold, Fate::Clean));
        }
    }
    Ok(())
}

pub(super) async fn captures(
    tx: &mut PgConnection,
    books: &mut Books,
    wants: &Wants,
) -> Result<(), sqlx::Error> {
    let keys = Keys::of(wants.captures.iter().map(|(book, capture)| (*book, capture.0)));
    let rows = sqlx::query!(
        r#"select c.book_id as "book_id!", c.capture_id as "capture_id!", c.hold_id as "hold_id!",
                  c.transaction_id as "transaction_id!", c.draw_offset as "draw_offset!",
                  c.amount as "amount!", c.reversed as "reversed!", c.captured_at as "captured_at!"
           from unnest($1::smallint[], $2::uuid[], $3::uuid[]) as u(slot, book_id, capture_id)
           cross join lateral (
             select * from capture
             where slot = u.slot and book_id = u.book_id and capture_id = u.capture_id limit 1) c"#,
        &keys.slots,
        &keys.books,
        &keys.ids
    )
    .fetch_all(tx)
    .await?;
    for row in rows {
        let capture = Capture {
            id: ChargeId(row.capture_id),
            hold: HoldId(row.hold_id),
            transaction: TransactionId(row.transaction_id),
            offset: amount(row.draw_offset),
            amount: amount(row.amount),
            reversed: amount(row.reversed),
            captured_at: row.captured_at,
        };
        if let Some(book) = books.get_mut(&BookId(row.book_id)) {
            book.captures.insert(capture.id, (capture, Fate::Clean));
        }
    }
    Ok(())
}

/// All open lots of the books, and the closed ones that wanted holds drew from.
pub(super) async fn lots(tx: &mut PgConnection, books: &mut Books) -> Result<(), sqlx::Error> {
    let all = Keys::of(books.keys().map(|book| (*book, book.0)));
    let drawn: BTreeSet<(BookId, LotId)> = books
        .values()
        .flat_map(|book| {
            let draws = book.holds.values().flat_map(|(hold, _)| &hold.draws);
            draws.map(|draw| (book.id, draw.lot))
        })
        .collect();
    let drawn = Keys::of(drawn.into_iter().map(|(book, lot)| (book, lot.0)));
    let rows = sqlx::query!(
        r#"select l.book_id as "book_id!", l.lot_id as "lot_id!", l.paid as "paid!",
                  l.priority as "priority!", l.amount as "amount!", l.remaining as "remaining!",
                  l.granted_at as "granted_at!", l.expires_at, l.origin_id as "origin_id!",
                  l.parent_id, l.lost
           from unnest($1::smallint[], $2::uuid[]) as u(slot, book_id)
           cross join lateral (
             select * from lot where slot = u.slot and book_id = u.book_id and open offset 0) l
           union all
           select l.book_id, l.lot_id, l.paid, l.priority, l.amount, l.remaining, l.granted_at,
                  l.expires_at, l.origin_id, l.parent_id, l.lost
           from unnest($3::smallint[], $4::uuid[], $5::uuid[]) as v(slot, book_id, lot_id)
           cross join lateral (
             select * from lot
             where slot = v.slot and book_id = v.book_id and lot_id = v.lot_id and not open
             limit 1) l"#,
        &all.slots,
        &all.books,
        &drawn.slots,
        &drawn.books,
        &drawn.ids
    )
    .fetch_all(tx)
    .await?;
    for row in rows {
        if let Some(book) = books.get_mut(&BookId(row.book_id)) {
            book.lots.load(Lot {
                id: LotId(row.lot_id),
                paid: row.paid,
                priority: row.priority,
                amount: amount(row.amount),
                remaining: amount(row.remaining),
                granted_at: row.granted_at,
                expires_at: row.expires_at,
                origin: row.origin_id,
                parent: row.parent_id.map(LotId),
                lost: row.lost.map(amount),
            });
        }
    }
    Ok(())
}
