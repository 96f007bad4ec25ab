//! What a batch reads under the locks.

mod caps;
mod holds;
mod lots;

use std::collections::{BTreeSet, HashMap};

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::ground::{BookId, Fingerprint};
use crate::ledger::command::Books;
use crate::ledger::{Book, CommandIdentity, Role, Wants};

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
                promo_issued, promo, promo_held, revenue, reversed_revenue, breakage,
                settlement_loss
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
            (Role::SettlementLoss, row.settlement_loss),
        ] {
            book.balances.set(role, amount(micros));
        }
        found.insert(id, book);
    }
    Ok(found)
}

/// What the database says of the present.
pub struct Present {
    /// The database's clock. Within a book it never runs backwards.
    pub clock: DateTime<Utc>,
    /// Nothing is recorded before this, whatever the clock says ([`crate::ledger::close_past`]).
    pub closed_until: DateTime<Utc>,
    /// Whether nothing may move ([`crate::ledger::is_restored`]).
    pub restored: bool,
    /// The outcomes of commands that were decided before.
    pub stored: HashMap<(BookId, Uuid), Stored>,
}

/// A stored outcome.
pub struct Stored {
    pub fingerprint: Fingerprint,
    pub accepted: bool,
    pub body: String,
}

/// Reads the present. Taken after the locks, in a statement of its own, whose snapshot is younger than
/// they are. Its first row tells what holds for all; a row more comes for each stored outcome.
pub async fn present(
    tx: &mut PgConnection,
    commands: &[(BookId, CommandIdentity)],
) -> Result<Present, sqlx::Error> {
    let slots: Vec<i16> = commands.iter().map(|(book, _)| book.slot().sql()).collect();
    let books: Vec<Uuid> = commands.iter().map(|(book, _)| book.0).collect();
    let keys: Vec<Uuid> = commands.iter().map(|(_, id)| id.command).collect();
    let rows = sqlx::query!(
        r#"select clock_timestamp() as "clock!", closed_until as "closed_until!",
             to_regclass('public.restoration_pending') is not null
             or exists (select from restoration r where not exists (
                  select from restoration_confirmed c
                  where c.restoration_id = r.restoration_id)) as "restored!",
             0::bigint as "n!", null::bytea as fingerprint, null::boolean as accepted,
             null::text as body
           from past
           union all
           select 'epoch', 'epoch', false, u.n, o.fingerprint, o.accepted, o.body
           from unnest($1::smallint[], $2::uuid[], $3::uuid[]) with ordinality
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
    let (all, stored): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| row.n == 0);
    let all = all.into_iter().next().ok_or(sqlx::Error::RowNotFound)?;
    let mut present = Present {
        clock: all.clock,
        closed_until: all.closed_until,
        restored: all.restored,
        stored: HashMap::with_capacity(stored.len()),
    };
    for row in stored {
        let position = usize::try_from(row.n).unwrap_or(1).saturating_sub(1);
        let of = (commands.get(position), row.fingerprint, row.accepted, row.body);
        let (Some((book, identity)), Some(fingerprint), Some(accepted), Some(body)) = of else {
            continue;
        };
        let fingerprint =
            Fingerprint(<[u8; 32]>::try_from(fingerprint.as_slice()).unwrap_or_default());
        present.stored.insert((*book, identity.command), Stored { fingerprint, accepted, body });
    }
    Ok(present)
}

/// Reads everything that was wanted, and all open lots, into the books.
pub async fn fill(
    tx: &mut PgConnection,
    books: &mut Books,
    wants: &Wants,
) -> Result<(), sqlx::Error> {
    if !wants.holds.is_empty() {
        holds::holds(tx, books, wants).await?;
    }
    if !wants.captures.is_empty() {
        holds::captures(tx, books, wants).await?;
    }
    lots::lots(tx, books).await?;
    if !wants.origins.is_empty() {
        lots::of_origins(tx, books, wants).await?;
    }
    if !wants.spenders.is_empty() {
        caps::spenders(tx, books, wants).await?;
    }
    if !wants.spenders.is_empty() || !wants.holds.is_empty() || !wants.spent.is_empty() {
        caps::caps(tx, books).await?;
    }
    if !wants.spent.is_empty() {
        caps::spent(tx, books, wants).await?;
    }
    Ok(())
}
