//! Caps: what the holds that count have not given back, by window. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use chrono::{DateTime, Datelike, NaiveDate, Utc};
use uuid::Uuid;

use crate::finance::checks::Rule;
use crate::finance::store::proof::keep;
use crate::finance::store::proof::money::{CapRow, SpentRow, UsageRow};

use super::chart::{Chart, Kind};
use super::finding::{Findings, shown};
use super::holds::spent_beyond;
use super::lots::clamp;
use super::subjects::Subjects;
use super::window::Walked;

/// What holds have not given back, by book, spender and UTC day.
#[derive(Default)]
pub(super) struct Spending(BTreeMap<(Uuid, Uuid, NaiveDate), i128>);

impl Spending {
    /// What the transfers of a step change.
    pub(super) fn of(chart: &Chart, all: &Subjects, walked: &Walked) -> Self {
        let mut changes = Self::default();
        for entry in &walked.spending {
            let key = (entry.book_id, entry.subject_id);
            let reversal = chart.kind(entry) == Kind::Reversal;
            let hold = match all.captures.get(&key).filter(|_| reversal) {
                Some(capture) => (capture.book_id, capture.hold_id),
                None => key,
            };
            let Some(hold) = all.holds.get(&hold) else { continue };
            let sign = if chart.kind(entry) == Kind::Hold { 1 } else { -1 };
            changes.add(
                (hold.book_id, hold.spender_id, hold.placed_at.date_naive()),
                sign * i128::from(entry.amount),
            );
        }
        changes
    }

    fn add(&mut self, key: (Uuid, Uuid, NaiveDate), amount: i128) {
        *self.0.entry(key).or_default() += amount;
    }

    /// The changes to keep.
    pub(super) fn kept(&self, books: &HashSet<Uuid>) -> Vec<keep::Spent> {
        let kept = self.0.iter().filter(|(key, change)| books.contains(&key.0) && **change != 0);
        kept.map(|((book, spender, day), change)| keep::Spent {
            book: *book,
            spender: *spender,
            day: *day,
            change: clamp(*change),
        })
        .collect()
    }

    /// Adds what was proven before.
    pub(super) fn after(mut self, before: Vec<SpentRow>) -> Self {
        for row in before {
            self.add((row.book_id, row.spender_id, row.day), i128::from(row.spent));
        }
        self
    }

    /// Whether this is exactly what another walk has proven of some books.
    pub(super) fn agree(&self, others: Vec<SpentRow>) -> HashMap<Uuid, bool> {
        let others = Self::default().after(others);
        let mut agree: HashMap<Uuid, bool> = HashMap::new();
        for key in self.0.keys().chain(others.0.keys()) {
            let figure = |of: &Self| of.0.get(key).copied().unwrap_or(0);
            *agree.entry(key.0).or_insert(true) &= figure(self) == figure(&others);
        }
        agree
    }

    /// Compares what caps have counted.
    pub(super) fn compare(
        mut self,
        chart: &Chart,
        all: &Subjects,
        caps: &[CapRow],
        usage: &[UsageRow],
        findings: &mut Findings,
    ) {
        for (hold, beyond) in spent_beyond(chart, all) {
            let key = (hold.book_id, hold.spender_id, hold.placed_at.date_naive());
            self.add(key, beyond);
        }
        let mut used: HashMap<(Uuid, Uuid), BTreeMap<NaiveDate, i128>> = HashMap::new();
        for row in usage {
            let windows = used.entry((row.book_id, row.cap_id)).or_default();
            windows.insert(row.window_start.date_naive(), i128::from(row.used));
        }
        for cap in caps {
            let used = used.remove(&(cap.book_id, cap.cap_id)).unwrap_or_default();
            let spent = self.by_window(cap);
            let windows: BTreeSet<NaiveDate> = used.keys().chain(spent.keys()).copied().collect();
            for window in windows {
                let id = shown("cap", cap.cap_id);
                let subject = format_args!("usage of {id} in the window from {window}");
                let figure = |of: &BTreeMap<NaiveDate, i128>| of.get(&window).copied().unwrap_or(0);
                let (expected, found) = (figure(&spent), figure(&used));
                findings.compare(Rule::CapUsage, cap.book_id, subject, expected, found);
            }
        }
        for ((book, cap), windows) in used {
            for (window, found) in windows {
                let id = shown("cap", cap);
                let subject = format_args!("usage of {id} in the window from {window}");
                findings.compare(Rule::CapUsage, book, subject, 0, found);
            }
        }
    }

    /// What counts against a cap, by window. Windows that ended before it was made do not count.
    fn by_window(&self, cap: &CapRow) -> BTreeMap<NaiveDate, i128> {
        let first = window_of(&cap.span, day_of(cap.created_at));
        let mut windows = BTreeMap::new();
        let from = (cap.book_id, Uuid::nil(), NaiveDate::MIN);
        let book = self.0.range(from..).take_while(|((book, ..), _)| *book == cap.book_id);
        for ((_, spender, day), spent) in book {
            let window = window_of(&cap.span, *day);
            if cap.spender_id.is_none_or(|of| of == *spender) && window >= first {
                *windows.entry(window).or_default() += spent;
            }
        }
        windows
    }
}

fn day_of(at: DateTime<Utc>) -> NaiveDate {
    at.date_naive()
}

/// The first day of a span's window; of a span without end it is the epoch.
fn window_of(span: &str, day: NaiveDate) -> NaiveDate {
    match span {
        "day" => day,
        "month" => day.with_day(1).unwrap_or(day),
        _ => DateTime::<Utc>::UNIX_EPOCH.date_naive(),
    }
}
