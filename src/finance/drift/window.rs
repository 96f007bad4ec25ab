//! A stretch of a book's transfers, walked: what they add up to, and whether they follow from each
//! other. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::{DateTime, SecondsFormat, Utc};
use uuid::Uuid;

use crate::finance::checks::Rule;
use crate::finance::store::proof::books::{BookRow, Entry, Stretch};
use crate::finance::store::proof::events::EventRow;

use super::chart::{Chart, Kind, ROLES};
use super::events::About;
use super::finding::{Findings, shown};

/// The transfers and events of a book that a step verifies, and what the walk has added up.
pub(super) struct Window {
    pub(super) row: BookRow,
    pub(super) from: i64,
    pub(super) to: i64,
    pub(super) events_from: i64,
    pub(super) events_to: i64,
    pub(super) compared: i64,
    /// The last version that was added up: beyond `to` where there are transfers that the book's row
    /// does not count.
    pub(super) reached: i64,
    /// The balances by the walk, in the order of [`ROLES`].
    pub(super) balances: [i128; ROLES.len()],
    /// Promotional credits captured and not reversed.
    pub(super) promo_spent: i128,
    /// The times of its first and its last transfer.
    pub(super) booked: Option<(DateTime<Utc>, DateTime<Utc>)>,
}

/// What a lot's transfers in a step say of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct LotMove {
    pub(super) paid: bool,
    pub(super) opening: i128,
    pub(super) change: i128,
    pub(super) lost: i128,
    pub(super) version: i64,
}

/// What a walk leads to: everything that the transfers and events are about.
#[derive(Default)]
pub(super) struct Walked {
    pub(super) verified: i64,
    pub(super) lots: BTreeMap<(Uuid, Uuid), LotMove>,
    /// Transfers that change what counts against caps.
    pub(super) spending: Vec<Entry>,
    /// Transfers that undo something, or say so.
    pub(super) undoing: Vec<Entry>,
    pub(super) holds: BTreeSet<(Uuid, Uuid)>,
    pub(super) captures: BTreeSet<(Uuid, Uuid)>,
    pub(super) topups: BTreeSet<(Uuid, Uuid)>,
    /// What else events tell of, by its transfers: grants and lots that expired.
    pub(super) others: BTreeSet<(Uuid, Uuid)>,
    pub(super) checkouts: BTreeSet<(Uuid, Uuid)>,
    /// The transfers of lots, for their kind.
    pub(super) of_lots: Vec<Entry>,
}

impl Window {
    /// The window after what is proven, of at most so many transfers and as many events.
    pub(super) fn after(row: BookRow, transfers: i64) -> Self {
        let from = row.proven.unwrap_or(0);
        let events_from = row.proven_events.unwrap_or(0);
        let mut balances = [0; ROLES.len()];
        let proven = row.proven_balances.iter().flatten();
        for (balance, proven) in balances.iter_mut().zip(proven) {
            *balance = i128::from(*proven);
        }
        let end = |from: i64, at: i64| at.min(from.saturating_add(transfers));
        Self {
            from,
            to: end(from, row.version),
            events_from,
            events_to: end(events_from, row.event_seq),
            compared: row.compared.unwrap_or(0),
            reached: from.max(end(from, row.version)),
            balances,
            promo_spent: i128::from(row.promo_spent.unwrap_or(0)),
            booked: None,
            row,
        }
    }

    pub(super) fn book(&self) -> Uuid {
        self.row.book_id
    }

    /// How many transfers it has, as far as is known.
    pub(super) fn size(&self) -> i64 {
        self.to.saturating_sub(self.from).max(0)
    }

    /// Whether it ends where the book does, so that the book's rows can be compared.
    pub(super) fn ends(&self) -> bool {
        self.to >= self.row.version && self.events_to >= self.row.event_seq
    }

    pub(super) fn balance(&self, role: &str) -> i128 {
        ROLES.iter().zip(self.balances).find(|(name, _)| **name == role).map_or(0, |(_, b)| b)
    }

    /// The same by the book's row.
    pub(super) fn row_balance(&self, role: &str) -> i128 {
        let rows = ROLES.iter().zip(&self.row.balances);
        rows.into_iter().find(|(name, _)| **name == role).map_or(0, |(_, b)| i128::from(*b))
    }

    /// Its transfers with the one before; at the book's end also those that should not be there.
    pub(super) fn transfers(&self) -> Stretch {
        let to = if self.ends() { i64::MAX } else { self.to };
        Stretch { slot: self.row.slot, book: self.row.book_id, from: self.from, to }
    }

    /// What was walked, and whether the book ends there.
    pub(super) fn walked(&self) -> (Stretch, bool) {
        let (slot, book) = (self.row.slot, self.row.book_id);
        (Stretch { slot, book, from: self.from, to: self.reached }, self.ends())
    }

    /// Its events with the one before; at the book's end also those that should not be there.
    pub(super) fn events(&self) -> Stretch {
        let to = if self.ends() { i64::MAX } else { self.events_to };
        let from = if self.events_from == 0 { i64::MIN } else { self.events_from };
        Stretch { slot: self.row.slot, book: self.row.book_id, from, to }
    }
}

/// Walks the windows of a step. Transfers come in the order of the windows and of their versions.
pub(super) fn walk(
    chart: &Chart,
    windows: &mut [Window],
    entries: &[Entry],
    events: &[EventRow],
    findings: &mut Findings,
) -> Walked {
    let mut walked = Walked::default();
    let mut acts: HashMap<Uuid, Act> = HashMap::new();
    let mut by_book: HashMap<Uuid, &[Entry]> = HashMap::new();
    for stretch in entries.chunk_by(|a, b| a.book_id == b.book_id) {
        by_book.insert(stretch[0].book_id, stretch);
    }
    for window in windows.iter_mut() {
        let stretch = by_book.get(&window.book()).copied().unwrap_or_default();
        for entry in stretch {
            acts.entry(entry.transaction_id).or_default().add(entry);
            if entry.version > window.from {
                walked.take(chart, entry);
                window.take(chart, entry, findings);
            }
        }
        window.numbered(stretch, findings);
        window.in_order(stretch, findings);
    }
    for (transaction, act) in acts {
        act.whole(transaction, findings);
    }
    walked.take_events(windows, events, findings);
    walked
}

impl Window {
    /// Adds a transfer up and compares the balances after it.
    fn take(&mut self, chart: &Chart, entry: &Entry, findings: &mut Findings) {
        let amount = i128::from(entry.amount);
        self.reached = self.reached.max(entry.version);
        let (first, last) = self.booked.unwrap_or((entry.recorded_at, entry.recorded_at));
        self.booked = Some((first.min(entry.recorded_at), last.max(entry.recorded_at)));
        let sides =
            [(entry.debit, entry.debit_after, true), (entry.credit, entry.credit_after, false)];
        for (number, after, debit) in sides {
            let Some(role) = chart.role(number) else { continue };
            let Some(balance) = role.place.and_then(|place| self.balances.get_mut(place)) else {
                continue;
            };
            *balance += if role.grows_on_debit == debit { amount } else { -amount };
            let subject = format_args!("{} after version {}", role.name, entry.version);
            let rule = Rule::RunningBalances;
            findings.compare(rule, entry.book_id, subject, *balance, i128::from(after));
        }
        match chart.kind(entry) {
            Kind::Capture if chart.touches(entry, "promo_issued") => self.promo_spent += amount,
            Kind::Reversal if chart.touches(entry, "promo_issued") => self.promo_spent -= amount,
            _ => {}
        }
    }

    /// Versions have no gaps, and the book's counts them.
    fn numbered(&self, stretch: &[Entry], findings: &mut Findings) {
        let (rule, book) = (Rule::VersionsGapFree, self.book());
        let fresh = stretch.iter().filter(|entry| entry.version > self.from).count();
        let fresh = i128::try_from(fresh).unwrap_or(i128::MAX);
        let before = i128::from(self.from);
        let lost = self.from > 0 && stretch.first().is_none_or(|entry| entry.version != self.from);
        let there = before + fresh - i128::from(lost);
        findings.compare(rule, book, "transfers", i128::from(self.to), there);
        if self.ends() {
            let top = stretch.last().map_or(self.from - i64::from(lost), |entry| entry.version);
            let expected = i128::from(self.row.version);
            findings.compare(rule, book, "highest version", expected, i128::from(top));
        }
    }

    /// Recorded times never go back.
    fn in_order(&self, stretch: &[Entry], findings: &mut Findings) {
        let mut note = |entry: &Entry, next: DateTime<Utc>| {
            if next < entry.recorded_at {
                let time = |at: DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::Micros, true);
                let subject = format!(
                    "after version {} the time goes back from {} to {}",
                    entry.version,
                    time(entry.recorded_at),
                    time(next)
                );
                findings.add(Rule::RecordedInOrder, entry.book_id, subject, None);
            }
        };
        for pair in stretch.windows(2) {
            note(&pair[0], pair[1].recorded_at);
        }
        if let Some(last) = stretch.last().filter(|_| self.ends()) {
            note(last, self.row.recorded_at);
        }
    }
}

/// What the transfers of one transaction have in common.
#[derive(Default)]
struct Act {
    books: BTreeSet<Uuid>,
    movements: BTreeSet<i16>,
    times: BTreeSet<DateTime<Utc>>,
}

impl Act {
    fn add(&mut self, entry: &Entry) {
        self.books.insert(entry.book_id);
        self.movements.insert(entry.movement);
        self.times.insert(entry.recorded_at);
    }

    fn whole(&self, transaction: Uuid, findings: &mut Findings) {
        let Some(book) = self.books.first() else { return };
        let counts = [
            ("books", self.books.len()),
            ("movements", self.movements.len()),
            ("times", self.times.len()),
        ];
        for (what, count) in counts {
            let count = i128::try_from(count).unwrap_or(i128::MAX);
            let subject = format_args!("{what} of {}", shown("txn", transaction));
            findings.compare(Rule::TransactionsWhole, *book, subject, 1, count);
        }
    }
}

impl Walked {
    fn take(&mut self, chart: &Chart, entry: &Entry) {
        self.verified += 1;
        let key = (entry.book_id, entry.subject_id);
        let kind = chart.kind(entry);
        match kind {
            Kind::Topup | Kind::Void | Kind::Reinstatement => self.topups.extend([key]),
            Kind::Hold | Kind::Release => self.holds.extend([key]),
            Kind::Capture | Kind::Reversal => self.captures.extend([key]),
            Kind::Grant | Kind::Expiry => self.others.extend([key]),
            Kind::Other | Kind::Unlisted => {}
        }
        if matches!(kind, Kind::Hold | Kind::Release | Kind::Reversal) {
            self.spending.push(entry.clone());
        }
        if matches!(kind, Kind::Release | Kind::Reversal) || entry.reverses_id.is_some() {
            self.undoing.push(entry.clone());
        }
        let lot = self.lots.entry((entry.book_id, entry.lot_id)).or_insert(LotMove {
            paid: !chart.touches(entry, "promo") && !chart.touches(entry, "promo_issued"),
            opening: i128::from(entry.amount),
            change: 0,
            lost: 0,
            version: entry.version,
        });
        lot.change += chart.left_of_lot(entry);
        lot.lost += chart.lost_of_lot(entry);
        lot.version = lot.version.max(entry.version);
        self.of_lots.push(entry.clone());
    }

    fn take_events(&mut self, windows: &[Window], events: &[EventRow], findings: &mut Findings) {
        let mut counted: HashMap<Uuid, (i128, i64)> = HashMap::new();
        let from: HashMap<Uuid, i64> = windows.iter().map(|w| (w.book(), w.events_from)).collect();
        let proven = |event: &&EventRow| {
            from.get(&event.book_id).is_some_and(|from| *from > 0 && event.seq <= *from)
        };
        for event in events.iter().filter(|event| !proven(event)) {
            let key = (event.book_id, event.subject_id);
            match About::of(&event.kind) {
                Some(About::Checkout) => self.checkouts.extend([key]),
                Some(About::Charge) => self.captures.extend([key]),
                Some(About::Topup) => self.topups.extend([key]),
                Some(About::Other) => self.others.extend([key]),
                None => {}
            }
            let (count, top) = counted.entry(event.book_id).or_insert((0, event.seq));
            *count += 1;
            *top = event.seq.max(*top);
        }
        for window in windows {
            let rule = Rule::EventsGapFree;
            let none = (0, window.events_from);
            let (count, top) = counted.get(&window.book()).copied().unwrap_or(none);
            let there = i128::from(window.events_from) + count;
            findings.compare(rule, window.book(), "events", i128::from(window.events_to), there);
            if window.ends() {
                let expected = i128::from(window.row.event_seq);
                findings.compare(rule, window.book(), "highest event", expected, i128::from(top));
            }
        }
    }
}
