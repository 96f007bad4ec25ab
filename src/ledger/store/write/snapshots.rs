//! Snapshots of books, which make any past version cheap to read.

use sqlx::PgConnection;

use crate::ledger::Book;

/// A book has a snapshot at every multiple of this version.
const EVERY: i64 = 256;

/// Writes a snapshot for every multiple of [`EVERY`] that the batch's transfers have passed, once
/// they are written. Most batches pass none. What a snapshot says follows from the one before it
/// and the transfers between, so that it does not matter how commands fell into batches.
pub async fn take(tx: &mut PgConnection, books: &[&Book]) -> Result<(), sqlx::Error> {
    let due: Vec<_> =
        books.iter().flat_map(|b| passed(b).map(move |version| (b, version))).collect();
    if due.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "insert into book_snapshot (slot, book_id, version, recorded_at, debits, credits)
         select u.slot, u.book_id, u.version, u.recorded_at, sums.debits, sums.credits
         from unnest($1::smallint[], $2::uuid[], $3::bigint[], $4::timestamptz[])
              as u(slot, book_id, version, recorded_at)
         left join lateral (
           select version, debits, credits from book_snapshot
           where slot = u.slot and book_id = u.book_id and version < u.version
           order by version desc limit 1) base on true
         cross join lateral (
           select array_agg(coalesce(base.debits[n], 0) + coalesce(m.debited, 0) order by n),
                  array_agg(coalesce(base.credits[n], 0) + coalesce(m.credited, 0) order by n)
           from generate_series(1, 10) as n
           left join (
             select side.role, sum(side.debited)::bigint as debited,
                    sum(side.credited)::bigint as credited
             from transfer t cross join lateral (values
               (t.debit, t.amount, 0), (t.credit, 0, t.amount)) as side(role, debited, credited)
             where t.slot = u.slot and t.book_id = u.book_id
               and t.version > coalesce(base.version, 0) and t.version <= u.version
             group by side.role) m on m.role = n) as sums(debits, credits)",
        &due.iter().map(|(b, _)| b.id.slot().sql()).collect::<Vec<_>>(),
        &due.iter().map(|(b, _)| b.id.0).collect::<Vec<_>>(),
        &due.iter().map(|(_, version)| *version).collect::<Vec<_>>(),
        &due.iter().map(|(b, _)| b.now).collect::<Vec<_>>(),
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// The multiples that a book's transfers in this batch have passed.
fn passed(book: &Book) -> impl Iterator<Item = i64> {
    let fresh = i64::try_from(book.transfers.len()).unwrap_or(0);
    let before = book.version.saturating_sub(fresh);
    let multiple = |n: i64| n.saturating_mul(EVERY);
    (before / EVERY..book.version / EVERY).map(move |n| multiple(n.saturating_add(1)))
}
