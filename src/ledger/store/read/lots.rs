use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::ground::{BookId, LotId};
use crate::ledger::command::Books;
use crate::ledger::store::amount;
use crate::ledger::{Lot, Wants};

use super::Keys;

struct LotRow {
    book_id: Uuid,
    lot_id: Uuid,
    paid: bool,
    priority: i16,
    amount: i64,
    remaining: i64,
    granted_at: DateTime<Utc>,
    effective_at: DateTime<Utc>,
    expires_at: Option<DateTime<Utc>>,
    origin_id: Uuid,
    parent_id: Option<Uuid>,
    lost: Option<i64>,
}

fn load(books: &mut Books, rows: Vec<LotRow>) {
    for row in rows {
        if let Some(book) = books.get_mut(&BookId(row.book_id)) {
            book.lots.load(Lot {
                id: LotId(row.lot_id),
                paid: row.paid,
                priority: row.priority,
                amount: amount(row.amount),
                remaining: amount(row.remaining),
                granted_at: row.granted_at,
                effective_at: row.effective_at,
                expires_at: row.expires_at,
                origin: row.origin_id,
                parent: row.parent_id.map(LotId),
                lost: row.lost.map(amount),
            });
        }
    }
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
    let rows = sqlx::query_as!(
        LotRow,
        r#"select l.book_id as "book_id!", l.lot_id as "lot_id!", l.paid as "paid!",
                  l.priority as "priority!", l.amount as "amount!", l.remaining as "remaining!",
                  l.granted_at as "granted_at!", l.effective_at as "effective_at!", l.expires_at,
                  l.origin_id as "origin_id!", l.parent_id, l.lost
           from unnest($1::smallint[], $2::uuid[]) as u(slot, book_id)
           cross join lateral (
             select * from lot where slot = u.slot and book_id = u.book_id and open offset 0) l
           union all
           select l.book_id, l.lot_id, l.paid, l.priority, l.amount, l.remaining, l.granted_at,
                  l.effective_at, l.expires_at, l.origin_id, l.parent_id, l.lost
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
    load(books, rows);
    Ok(())
}

/// The closed lots of wanted top-ups; open ones are always read. It looks through all lots of a book,
/// which happens as seldom as a payment proves void.
pub(super) async fn of_origins(
    tx: &mut PgConnection,
    books: &mut Books,
    wants: &Wants,
) -> Result<(), sqlx::Error> {
    let keys = Keys::of(wants.origins.iter().copied());
    let rows = sqlx::query_as!(
        LotRow,
        r#"select l.book_id as "book_id!", l.lot_id as "lot_id!", l.paid as "paid!",
                  l.priority as "priority!", l.amount as "amount!", l.remaining as "remaining!",
                  l.granted_at as "granted_at!", l.effective_at as "effective_at!", l.expires_at,
                  l.origin_id as "origin_id!", l.parent_id, l.lost
           from unnest($1::smallint[], $2::uuid[], $3::uuid[]) as u(slot, book_id, origin_id)
           cross join lateral (
             select * from lot where slot = u.slot and book_id = u.book_id
               and origin_id = u.origin_id and not open offset 0) l"#,
        &keys.slots,
        &keys.books,
        &keys.ids
    )
    .fetch_all(tx)
    .await?;
    load(books, rows);
    Ok(())
}
