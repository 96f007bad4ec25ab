use sqlx::PgConnection;

use crate::ground::{BookId, ChargeId, HoldId, KeyId, LotId, TransactionId};
use crate::ledger::command::Books;
use crate::ledger::lot::Fate;
use crate::ledger::store::amount;
use crate::ledger::{Capture, Draw, Hold, Wants};

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
