use std::collections::BTreeSet;

use sqlx::PgConnection;
use uuid::Uuid;

use crate::ground::{BookId, CapId, KeyId};
use crate::ledger::book::Usage;
use crate::ledger::command::Books;
use crate::ledger::lot::Fate;
use crate::ledger::store::amount;
use crate::ledger::{Cap, Span, Spender, Wants};

use super::Keys;

pub(super) async fn spenders(
    tx: &mut PgConnection,
    books: &mut Books,
    wants: &Wants,
) -> Result<(), sqlx::Error> {
    let keys = Keys::of(wants.spenders.iter().map(|(book, spender)| (*book, spender.0)));
    let rows = sqlx::query!(
        r#"select s.book_id as "book_id!", s.spender_id as "spender_id!", s.skus, s.expires_at,
                  s.revoked_at
           from unnest($1::smallint[], $2::uuid[], $3::uuid[]) as u(slot, book_id, spender_id)
           cross join lateral (
             select * from spender
             where slot = u.slot and book_id = u.book_id and spender_id = u.spender_id limit 1) s"#,
        &keys.slots,
        &keys.books,
        &keys.ids
    )
    .fetch_all(tx)
    .await?;
    for row in rows {
        let spender = Spender {
            id: KeyId(row.spender_id),
            skus: row.skus,
            expires_at: row.expires_at,
            revoked_at: row.revoked_at,
        };
        if let Some(book) = books.get_mut(&BookId(row.book_id)) {
            book.spenders.insert(spender.id, (spender, Fate::Clean));
        }
    }
    Ok(())
}

/// The caps of the accounts, and of the spenders and holds that were read.
pub(super) async fn caps(tx: &mut PgConnection, books: &mut Books) -> Result<(), sqlx::Error> {
    let all = Keys::of(books.keys().map(|book| (*book, book.0)));
    let spenders: BTreeSet<Uuid> = books
        .values()
        .flat_map(|book| {
            let holders = book.holds.values().map(|(hold, _)| hold.spender.0);
            book.spenders.keys().map(|id| id.0).chain(holders)
        })
        .collect();
    let spenders: Vec<Uuid> = spenders.into_iter().collect();
    let rows = sqlx::query!(
        r#"select c.book_id as "book_id!", c.cap_id as "cap_id!", c.spender_id, c.span as "span!",
                  c.limit_amount as "limit_amount!"
           from unnest($1::smallint[], $2::uuid[]) as u(slot, book_id)
           cross join lateral (
             select * from cap where slot = u.slot and book_id = u.book_id
               and (spender_id is null or spender_id = any($3)) offset 0) c"#,
        &all.slots,
        &all.books,
        &spenders
    )
    .fetch_all(tx)
    .await?;
    for row in rows {
        let Some(span) = Span::from_name(&row.span) else { continue };
        let cap = Cap {
            id: CapId(row.cap_id),
            spender: row.spender_id.map(KeyId),
            span,
            limit: amount(row.limit_amount),
        };
        if let Some(book) = books.get_mut(&BookId(row.book_id)) {
            book.caps.push((cap, Fate::Clean));
        }
    }
    Ok(())
}

/// What the caps that were read have counted: in the windows of today, and of the wanted holds.
pub(super) async fn usage(tx: &mut PgConnection, books: &mut Books) -> Result<(), sqlx::Error> {
    let mut keys = Keys::default();
    let mut windows = Vec::new();
    for book in books.values() {
        let placed = book.holds.values().map(|(hold, _)| hold.placed_at);
        let instants: Vec<_> = placed.chain([book.now]).collect();
        for (cap, _) in book.caps.iter().filter(|(cap, _)| cap.span != Span::Checkout) {
            let starts: BTreeSet<_> =
                instants.iter().map(|at| cap.span.window_start(*at)).collect();
            for start in starts {
                keys.slots.push(book.id.slot().sql());
                keys.books.push(book.id.0);
                keys.ids.push(cap.id.0);
                windows.push(start);
            }
        }
    }
    if windows.is_empty() {
        return Ok(());
    }
    let rows = sqlx::query!(
        r#"select c.book_id as "book_id!", c.cap_id as "cap_id!", c.window_start as "window_start!",
                  c.used as "used!"
           from unnest($1::smallint[], $2::uuid[], $3::uuid[], $4::timestamptz[])
                as u(slot, book_id, cap_id, window_start)
           cross join lateral (
             select * from cap_usage where slot = u.slot and book_id = u.book_id
               and cap_id = u.cap_id and window_start = u.window_start limit 1) c"#,
        &keys.slots,
        &keys.books,
        &keys.ids,
        &windows
    )
    .fetch_all(tx)
    .await?;
    for row in rows {
        let Some(book) = books.get_mut(&BookId(row.book_id)) else { continue };
        let cap = book.caps.iter().find(|(cap, _)| cap.id.0 == row.cap_id).map(|(cap, _)| cap);
        if let Some(cap) = cap {
            let usage = Usage { cap: Some(cap.id), used: amount(row.used), fate: Fate::Clean };
            book.usage.insert((cap.spender, cap.span, row.window_start), usage);
        }
    }
    Ok(())
}

/// What has been spent in the current windows, counted from the holds themselves: the seed of a
/// cap that is about to be made. Windows that a cap already counts keep their row.
pub(super) async fn spent(
    tx: &mut PgConnection,
    books: &mut Books,
    wants: &Wants,
) -> Result<(), sqlx::Error> {
    for (id, spender) in &wants.spent {
        let Some(book) = books.get_mut(id) else { continue };
        for span in Span::WINDOWED {
            let start = span.window_start(book.now);
            let used = sqlx::query_scalar!(
                r#"select coalesce(sum(amount - released - reversed), 0)::bigint as "used!"
                   from hold where slot = $1 and book_id = $2 and placed_at >= $3
                     and ($4::uuid is null or spender_id = $4)"#,
                id.slot().sql(),
                id.0,
                start,
                spender.map(|s| s.0)
            )
            .fetch_one(&mut *tx)
            .await?;
            let seed = Usage { cap: None, used: amount(used), fate: Fate::New };
            book.usage.entry((*spender, span, start)).or_insert(seed);
        }
    }
    Ok(())
}
