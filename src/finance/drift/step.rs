//! The steps of the checker: each reads one snapshot, keeps what it has proven and found, and commits.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, Postgres, Transaction};
use uuid::Uuid;

use crate::finance::FinanceError;
use crate::finance::checks::Rule;
use crate::finance::store::proof::books::{self, BookRow};
use crate::finance::store::proof::cursor::{self, Cursor, Place};
use crate::finance::store::proof::ids::{self, Table};
use crate::finance::store::proof::strays::{self, Sweep};
use crate::finance::store::proof::{findings, keep, slot_of};

use super::DriftChecker;
use super::examine::{Examined, Progress, Walk, examine};
use super::subjects::Key;
use super::window::Window;

/// How many books a lap takes in one step at most, and how many rows of each kind of one book.
const LAP_BOOKS: i64 = 1_000;

/// How many rows are looked through in the time that a transfer takes: most only need to be met.
const PAGE_ROWS: i64 = 4;

/// What a step of the head has done.
pub(super) struct HeadStep {
    pub(super) verified: i64,
    /// Whether it began with the first book.
    pub(super) from_start: bool,
    /// Whether it found something to verify.
    pub(super) worked: bool,
    /// Whether it has come past the last book.
    pub(super) wrapped: bool,
    /// Whether it left something behind.
    pub(super) partial: bool,
}

/// Whose turn it is to be verified from the first transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// The books' in the order of their keys.
    Rolling,
    /// Those with findings.
    Suspects,
}

type Step = Transaction<'static, Postgres>;

/// Verifies the next books that have changed. None when another process is stepping.
pub(super) async fn head(checker: &DriftChecker) -> Result<Option<HeadStep>, FinanceError> {
    let settings = &checker.settings;
    let Some((mut tx, cursor)) = cursor::begin(&checker.pool).await? else { return Ok(None) };
    let limit = settings.books_per_step.max(1);
    let rows = books::changed(&mut tx, cursor.head, limit).await?;
    let mut wrapped = rows.last().is_none_or(|row| row.nth < limit);
    let mut left = settings.transfers_per_step.max(1);
    let mut partial = false;
    let mut place = cursor.head;
    let mut windows = Vec::new();
    for row in rows {
        if left <= 0 {
            (partial, wrapped) = (true, false);
            break;
        }
        place = Place { slot: row.slot, book: row.book_id };
        if row.changed {
            let window = Window::after(row, left);
            let events = window.events_to.saturating_sub(window.events_from);
            left = left.saturating_sub(window.size().max(events).max(1));
            partial |= !window.ends();
            windows.push(window);
        }
    }
    if wrapped {
        place = Place::START;
    }
    let (mut verified, worked) = (0, !windows.is_empty());
    if worked {
        let examined = examine(&mut tx, Walk::Head, windows, Vec::new()).await?;
        verified = examined.verified;
        let progress = |row: &BookRow| Progress {
            phase: 0,
            after_id: None,
            begun_at: row.begun_at.unwrap_or(cursor.at),
        };
        examined.keep(&mut tx, Walk::Head, progress).await?;
        findings::keep(&mut tx, examined.findings.rows()).await?;
    }
    if place != cursor.head {
        cursor::move_head(&mut tx, place).await?;
    }
    tx.commit().await?;
    let from_start = cursor.head == Place::START;
    Ok(Some(HeadStep { verified, from_start, worked, wrapped, partial }))
}

/// Verifies some books from their first transfer. Tells how many transfers that were; none when
/// another process is stepping.
pub(super) async fn lap(checker: &DriftChecker, turn: Turn) -> Result<Option<i64>, FinanceError> {
    let Some((mut tx, cursor)) = cursor::begin(&checker.pool).await? else { return Ok(None) };
    if turn == Turn::Rolling
        && is_due(checker, &cursor)
        && !look_for_strays(checker, &mut tx, &cursor).await?
    {
        tx.commit().await?;
        return Ok(Some(0));
    }
    let Some(turns) = turns(checker, &mut tx, &cursor, turn).await? else {
        tx.commit().await?;
        return Ok(Some(0));
    };
    let budget = checker.settings.reverified_per_round.max(1);
    let mut rows = books::lapped(&mut tx, &turns).await?.into_iter().peekable();
    let mut batch = Vec::new();
    let mut left = budget;
    while let Some(row) = rows.next_if(|row| batch.is_empty() || is_small(row, left)) {
        let alone = !is_small(&row, budget);
        left = left.saturating_sub(weight(&row));
        batch.push(row);
        if alone {
            break;
        }
    }
    let alone = batch.first().is_some_and(|row| !is_small(row, budget));
    let pages = if alone { None } else { orphans(&mut tx, &mut batch, budget).await? };
    let done = match pages {
        Some(pages) => whole(tx.as_mut(), &cursor, batch, pages).await?,
        None => part(tx.as_mut(), &cursor, batch, budget).await?,
    };
    match turn {
        Turn::Rolling => move_on(&mut tx, &cursor, &turns, &done).await?,
        // A large book whose turns were taken here would else never end there.
        Turn::Suspects if cursor.lapping => {
            let ahead = books::next(&mut tx, cursor.lap, LAP_BOOKS).await?;
            if done.last.is_some() && ahead.first().copied() == done.last {
                move_on(&mut tx, &cursor, &ahead, &done).await?;
            }
        }
        Turn::Suspects => {}
    }
    tx.commit().await?;
    Ok(Some(done.verified))
}

/// Whether a lap is under way, or the next one may begin.
fn is_due(checker: &DriftChecker, cursor: &Cursor) -> bool {
    let pause = checker.settings.lap_every.as_secs_f64();
    cursor.lapping || cursor.lapped_s.is_none_or(|ago| ago >= pause)
}

/// Goes on looking for strays, with which a lap begins. Tells whether that is done.
async fn look_for_strays(
    checker: &DriftChecker,
    tx: &mut PgConnection,
    cursor: &Cursor,
) -> Result<bool, sqlx::Error> {
    let Some(mut place) = cursor.sweep else { return Ok(true) };
    let mut left = checker.settings.reverified_per_round.max(1).saturating_mul(PAGE_ROWS);
    let done = loop {
        let (looked_at, more) = strays::sweep(tx, place, left).await?;
        left = left.saturating_sub(looked_at);
        let Some(next) = more.or_else(|| place.kind.next().map(Sweep::of)) else { break true };
        place = next;
        if left <= 0 {
            break false;
        }
    };
    cursor::move_sweep(tx, if done { None } else { Some(place) }).await?;
    Ok(done)
}

/// Ends a lap that has come past the last book.
async fn end_lap(tx: &mut PgConnection, cursor: &Cursor) -> Result<(), sqlx::Error> {
    lost_books(tx, cursor.lap, None).await?;
    strays::forget_old(tx).await?;
    cursor::end_lap(tx).await
}

/// The books whose turn it is, or none when there is nothing to do.
async fn turns(
    checker: &DriftChecker,
    tx: &mut Step,
    cursor: &Cursor,
    turn: Turn,
) -> Result<Option<Vec<Uuid>>, FinanceError> {
    let turns = match turn {
        Turn::Suspects => findings::suspects(tx, LAP_BOOKS).await?,
        Turn::Rolling => {
            if !is_due(checker, cursor) {
                return Ok(None);
            }
            let next = books::next(tx, cursor.lap, LAP_BOOKS).await?;
            if next.is_empty() {
                end_lap(tx, cursor).await?;
            }
            next
        }
    };
    Ok(if turns.is_empty() { None } else { Some(turns) })
}

fn weight(row: &BookRow) -> i64 {
    row.version.max(row.event_seq).saturating_add(1)
}

/// Whether a book can be verified whole with what is left of a step.
fn is_small(row: &BookRow, left: i64) -> bool {
    row.proven.is_none() && weight(row) <= left
}

/// What a step of a lap has done.
struct Lapped {
    verified: i64,
    /// The last book that is verified whole.
    last: Option<Uuid>,
}

/// The rows of some books that no transfer leads to. A book with more of them than its transfers explain is left for later, or,
/// when it is the first, none is returned: it must be looked through page by page.
async fn orphans(
    tx: &mut PgConnection,
    batch: &mut Vec<BookRow>,
    budget: i64,
) -> Result<Option<Vec<(Table, Key)>>, sqlx::Error> {
    let limit = budget.saturating_mul(2).saturating_add(100);
    let books: Vec<Uuid> = batch.iter().map(|row| row.book_id).collect();
    let mut pages = Vec::new();
    let mut large: HashSet<Uuid> = HashSet::new();
    for table in Table::ALL {
        let mut counts: HashMap<Uuid, i64> = HashMap::new();
        for row in ids::page(tx, table, &books, Uuid::nil(), limit).await? {
            let count = counts.entry(row.book_id).or_default();
            *count += 1;
            if *count >= limit {
                large.insert(row.book_id);
            }
            if row.orphan {
                pages.push((table, (row.book_id, row.id)));
            }
        }
    }
    if let Some(cut) = batch.iter().position(|row| large.contains(&row.book_id)) {
        batch.truncate(cut.max(1));
        if cut == 0 {
            return Ok(None);
        }
        let kept: HashSet<Uuid> = batch.iter().map(|row| row.book_id).collect();
        pages.retain(|(_, (book, _))| kept.contains(book));
    }
    Ok(Some(pages))
}

/// Verifies small books whole, in this one step.
async fn whole(
    tx: &mut PgConnection,
    cursor: &Cursor,
    batch: Vec<BookRow>,
    pages: Vec<(Table, Key)>,
) -> Result<Lapped, sqlx::Error> {
    let last = batch.last().map(|row| row.book_id);
    let windows: Vec<Window> = batch.into_iter().map(|row| Window::after(row, i64::MAX)).collect();
    let examined = examine(tx, Walk::Lap, windows, pages).await?;
    findings::keep(tx, examined.findings.rows()).await?;
    let mut afresh = examined.other_heads(tx).await?;
    let verified: Vec<(Uuid, DateTime<Utc>)> =
        examined.windows.iter().map(|window| (window.book(), cursor.at)).collect();
    afresh.extend(findings::forget(tx, &verified).await?);
    let afresh: Vec<Uuid> = afresh.into_iter().collect();
    keep::forget(tx, Walk::Head.name(), &afresh).await?;
    Ok(Lapped { verified: examined.verified, last })
}

/// Goes on with one large book: first with its transfers, and from their end on with its rows, table
/// by table.
async fn part(
    tx: &mut PgConnection,
    cursor: &Cursor,
    batch: Vec<BookRow>,
    budget: i64,
) -> Result<Lapped, sqlx::Error> {
    let Some(row) = batch.into_iter().next() else {
        return Ok(Lapped { verified: 0, last: None });
    };
    let (book, begun_at) = (row.book_id, row.begun_at.unwrap_or(cursor.at));
    let (mut phase, mut after) = (row.phase.unwrap_or(0), row.after_id);
    let window = Window::after(row, budget);
    let mut pages = Vec::new();
    let mut left = budget.saturating_mul(PAGE_ROWS);
    let tables =
        usize::try_from(phase).map_or(&[][..], |phase| Table::ALL.get(phase..).unwrap_or_default());
    for table in tables.iter().filter(|_| window.ends()) {
        let page = ids::page(tx, *table, &[book], after.unwrap_or(Uuid::nil()), left).await?;
        let count = i64::try_from(page.len()).unwrap_or(i64::MAX);
        after = page.last().map(|row| row.id);
        let orphans = page.into_iter().filter(|row| row.orphan);
        pages.extend(orphans.map(|row| (*table, (row.book_id, row.id))));
        if count >= left {
            break;
        }
        left = left.saturating_sub(count);
        (phase, after) = (phase.saturating_add(1), None);
    }
    let examined = examine(tx, Walk::Lap, vec![window], pages).await?;
    let progress = |_: &BookRow| Progress { phase, after_id: after, begun_at };
    examined.keep(tx, Walk::Lap, progress).await?;
    findings::keep(tx, examined.findings.rows()).await?;
    let verified = examined.verified;
    if usize::try_from(phase).is_ok_and(|phase| phase < Table::ALL.len()) {
        return Ok(Lapped { verified, last: None });
    }
    end_of_large(tx, &examined, book, begun_at).await?;
    Ok(Lapped { verified, last: Some(book) })
}

/// A large book is verified whole: what is gone is forgotten, and the head goes on from here when it
/// has come to other figures.
async fn end_of_large(
    tx: &mut PgConnection,
    examined: &Examined,
    book: Uuid,
    begun_at: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    let gone = findings::forget(tx, &[(book, begun_at)]).await?;
    let head = keep::heads(tx, &[book]).await?;
    let level = head.iter().any(|head| {
        examined
            .windows
            .iter()
            .any(|window| window.book() == book && window.reached <= head.version)
    });
    let agree = !level || (keep::walks_agree(tx, book).await?);
    if gone.is_empty() && agree {
        return keep::forget(tx, Walk::Lap.name(), &[book]).await;
    }
    keep::forget(tx, Walk::Head.name(), &[book]).await?;
    keep::promote(tx, book).await
}

/// Moves the lap behind the last book that is verified whole; behind the last of all it ends.
async fn move_on(
    tx: &mut PgConnection,
    cursor: &Cursor,
    turns: &[Uuid],
    done: &Lapped,
) -> Result<(), sqlx::Error> {
    let all = i64::try_from(turns.len()).is_ok_and(|books| books < LAP_BOOKS);
    if all && done.last == turns.last().copied() {
        return end_lap(tx, cursor).await;
    }
    let place = done.last.map_or(cursor.lap, |book| Place { slot: slot_of(book), book });
    lost_books(tx, cursor.lap, Some(place)).await?;
    cursor::move_lap(tx, place).await
}

/// Notes the books between two places that are proven and have no row any more.
async fn lost_books(
    tx: &mut PgConnection,
    after: Place,
    to: Option<Place>,
) -> Result<(), sqlx::Error> {
    let to = to.unwrap_or(Place { slot: i16::MAX, book: Uuid::max() });
    let mut found = super::finding::Findings::default();
    for (book, version) in books::lost(tx, after, to).await? {
        let figures = Some((0, i128::from(version)));
        found.add(Rule::VersionsGapFree, book, "transfers without their book", figures);
    }
    findings::keep(tx, found.rows()).await
}
