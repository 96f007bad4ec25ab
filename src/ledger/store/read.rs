//! What a batch reads under the locks.

use std::collections::{BTreeSet, HashMap};

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::ground::{BookId, CapId, ChargeId, Fingerprint, HoldId, KeyId, LotId, TransactionId};
use crate::ledger::book::Usage;
use crate::ledger::command::Books;
use crate::ledger::lot::Fate;
use crate::ledger::{
    Book, Cap, Capture, CommandIdentity, Draw, Hold, Lot, Role, Span, Spender, Wants,
};

use super::amount;

/// Two or three key columns as arrays.
#[derive(Default)]
struct Keys {
    slots: Vec<i16>,
    books: Vec<Uuid>,
    ids: Vec<Uuid>,
}

impl Keys {
    fn of(pairs: impl IntoIterator<Item = (BookId, Uuid)>) -> Self {
        let mut keys = Self::default();
        for (book, id) in pairs {
            keys.slots.push(book.slot().sql());
            keys.books.push(book.0);
            keys.ids.push(id);
        }
        keys
    }
}

/// Locks the books in the order of their keys and reads them. A row lock returns the row as it is
/// once the lock is held. A book that does not exist is missing from the answer.
pub async fn lock_books(
    tx: &mut PgConnection,
    ids: &BTreeSet<(i16, Uuid)>,
) -> Result<Books, sqlx::Error> {
    let (slots, books): (Vec<i16>, Vec<Uuid>) = ids.iter().copied().unzip();
    let rows = sqlx::query!(
        "select book_id, version, event_seq, recorded_at, frozen_at, settled_usdc, prepaid, held,
                promo_issued, promo, promo_held, revenue, reversed_revenue, breakage
         from book b
         where (b.slot, b.book_id) in (select * from unnest($1::smallint[], $2::uuid[]))
         order by b.slot, b.book_id for no key update",
        &slots,
        &books
    )
    .fetch_all(tx)
    .await?;
    let mut found = Books::with_capacity(rows.len());
    for row in rows {
        let id = BookId(row.book_id);
        let mut book = Book::new(id, row.recorded_at);
        book.version = row.version;
        book.event_seq = row.event_seq;
        book.frozen = row.frozen_at.is_some();
        for (role, micros) in [
            (Role::SettledUsdc, row.settled_usdc),
            (Role::Prepaid, row.prepaid),
            (Role::Held, row.held),
            (Role::PromoIssued, row.promo_issued),
            (Role::Promo, row.promo),
            (Role::PromoHeld, row.promo_held),
            (Role::Revenue, row.revenue),
            (Role::ReversedRevenue, row.reversed_revenue),
            (Role::Breakage, row.breakage),
        ] {
            book.balances.set(role, amount(micros));
        }
        found.insert(id, book);
    }
    Ok(found)
}

/// The database's time. Taken after the locks, so that it never runs backwards within a book.
pub async fn time(tx: &mut PgConnection) -> Result<DateTime<Utc>, sqlx::Error> {
    sqlx::query_scalar!(r#"select clock_timestamp() as "at!""#).fetch_one(tx).await
}

/// A stored outcome.
pub struct Stored {
    pub fingerprint: Fingerprint,
    pub accepted: bool,
    pub body: String,
}

/// The outcomes of commands that were decided before.
pub async fn outcomes(
    tx: &mut PgConnection,
    commands: &[(BookId, CommandIdentity)],
) -> Result<HashMap<(BookId, [u8; 32]), Stored>, sqlx::Error> {
    let slots: Vec<i16> = commands.iter().map(|(book, _)| book.slot().sql()).collect();
    let books: Vec<Uuid> = commands.iter().map(|(book, _)| book.0).collect();
    let keys: Vec<Vec<u8>> = commands.iter().map(|(_, id)| id.command.to_vec()).collect();
    let rows = sqlx::query!(
        r#"select u.n as "n!", o.fingerprint as "fingerprint!", o.accepted as "accepted!",
                  o.body as "body!"
           from unnest($1::smallint[], $2::uuid[], $3::bytea[]) with ordinality
                as u(slot, book_id, command, n)
           cross join lateral (
             select fingerprint, accepted, body from outcome
             where slot = u.slot and book_id = u.book_id and command = u.command limit 1) o"#,
        &slots,
        &books,
        &keys
    )
    .fetch_all(tx)
    .await?;
    let mut found = HashMap::with_capacity(rows.len());
    for row in rows {
        let position = usize::try_from(row.n).unwrap_or(1).saturating_sub(1);
        let fingerprint = <[u8; 32]>::try_from(row.fingerprint.as_slice()).unwrap_or_default();
        if let Some((book, identity)) = commands.get(position) {
            found.insert(
                (*book, identity.command),
                Stored {
                    fingerprint: Fingerprint(fingerprint),
                    accepted: row.accepted,
                    body: row.body,
                },
            );
        }
    }
    Ok(found)
}

/// Reads everything that was wanted, and all open lots, into the books.
pub async fn fill(
    tx: &mut PgConnection,
    books: &mut Books,
    wants: &Wants,
) -> Result<(), sqlx::Error> {
    if !wants.holds.is_empty() {
        holds(tx, books, wants).await?;
    }
    if !wants.captures.is_empty() {
        captures(tx, books, wants).await?;
    }
    lots(tx, books).await?;
    if !wants.spenders.is_empty() {
        spenders(tx, books, wants).await?;
    }
    if !wants.spenders.is_empty() || !wants.holds.is_empty() {
        caps(tx, books).await?;
        usage(tx, books).await?;
    }
    if !wants.spent.is_empty() {
        spent(tx, books, wants).await?;
    }
    Ok(())
}

async fn holds(tx: &mut PgConnection, books: &mut Books, wants: &Wants) -> Result<(), sqlx::Error> {
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

async fn captures(
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
async fn lots(tx: &mut PgConnection, books: &mut Books) -> Result<(), sqlx::Error> {
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
                  l.parent_id
           from unnest($1::smallint[], $2::uuid[]) as u(slot, book_id)
           cross join lateral (
             select * from lot where slot = u.slot and book_id = u.book_id and open offset 0) l
           union all
           select l.book_id, l.lot_id, l.paid, l.priority, l.amount, l.remaining, l.granted_at,
                  l.expires_at, l.origin_id, l.parent_id
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
            });
        }
    }
    Ok(())
}

async fn spenders(
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
async fn caps(tx: &mut PgConnection, books: &mut Books) -> Result<(), sqlx::Error> {
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
async fn usage(tx: &mut PgConnection, books: &mut Books) -> Result<(), sqlx::Error> {
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
async fn spent(tx: &mut PgConnection, books: &mut Books, wants: &Wants) -> Result<(), sqlx::Error> {
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
