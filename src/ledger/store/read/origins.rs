use sqlx::PgConnection;

use crate::ground::{BookId, LotId};
use crate::ledger::command::Books;
use crate::ledger::store::amount;
use crate::ledger::{Lot, Wants};

use super::Keys;

/// The closed lots of wanted top-ups; open ones are always read. It looks through all lots of a book,
/// which happens as seldom as a payment proves void.
pub(super) async fn lots(
    tx: &mut PgConnection,
    books: &mut Books,
    wants: &Wants,
) -> Result<(), sqlx::Error> {
    let keys = Keys::of(wants.origins.iter().copied());
    let rows = sqlx::query!(
        r#"select l.book_id as "book_id!", l.lot_id as "lot_id!", l.paid as "paid!",
                  l.priority as "priority!", l.amount as "amount!", l.remaining as "remaining!",
                  l.granted_at as "granted_at!", l.expires_at, l.origin_id as "origin_id!",
                  l.parent_id, l.lost
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
