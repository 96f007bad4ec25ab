//! All SQL of the ledger. `read` and `write` run inside a batch's transaction, a statement per
//! table; what is here answers single questions.
//!
//! Lookups by several keys join `unnest` to a lateral subquery with `limit 1`: that form has only
//! one plan, a nested loop over the primary key, whatever the statistics of a young table say.

mod past;
pub(super) mod read;
mod restored;
pub(super) mod write;

use chrono::{DateTime, Utc};
use sqlx::PgPool;

use crate::ground::{Amount, BookId};

pub use past::{PastError, close_past};
pub use restored::{
    ConfirmedHow, Contents, Restoration, abandon_restore, begin_restore, confirm_restoration,
    contents, finish_restore, is_restored, unconfirmed,
};

/// Opens a customer's book. It must be committed before the book's first command. Opening it again
/// changes nothing.
pub async fn open_book(pool: &PgPool, book: BookId, at: DateTime<Utc>) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into book (slot, book_id, recorded_at, created_at)
         values ($1, $2, $3, $3) on conflict do nothing",
        book.slot().sql(),
        book.0,
        at
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// The balances of a book that its owner sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Balance {
    pub paid: Amount,
    pub promotional: Amount,
    pub paid_held: Amount,
    pub promotional_held: Amount,
    pub frozen: bool,
}

/// The balance of a book; none when there is no such book.
pub async fn balance(pool: &PgPool, book: BookId) -> Result<Option<Balance>, sqlx::Error> {
    let row = sqlx::query!(
        "select prepaid, promo, held, promo_held, frozen_at from book
         where slot = $1 and book_id = $2",
        book.slot().sql(),
        book.0
    )
    .fetch_optional(pool)
    .await?;
    Ok(row.map(|row| Balance {
        paid: amount(row.prepaid),
        promotional: amount(row.promo),
        paid_held: amount(row.held),
        promotional_held: amount(row.promo_held),
        frozen: row.frozen_at.is_some(),
    }))
}

/// Books with lots whose time is over, at most `limit`.
pub(super) async fn books_with_due_lots(
    pool: &PgPool,
    at: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<BookId>, sqlx::Error> {
    let books = sqlx::query_scalar!(
        r#"select distinct book_id as "book_id!" from (
             select book_id from lot where open and expires_at <= $1
             order by expires_at limit $2) due"#,
        at,
        limit
    )
    .fetch_all(pool)
    .await?;
    Ok(books.into_iter().map(BookId).collect())
}

/// Amounts in tables are never negative: a CHECK holds it.
fn amount(micros: i64) -> Amount {
    Amount::from_micros(micros).unwrap_or_default()
}
