//! What events tell of against what was done. Pure.
//!
//! Events and acts are compared moment by moment: what a batch does to a book has its time, and the
//! events of it too. A step compares the moments that its transfers and its events are of, and those
//! of rows that no transfer leads to. It has read the events of most of them; where it ends within a
//! moment, or its transfers run ahead of its events, it asks for the rest.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::{DateTime, SecondsFormat, Utc};
use uuid::Uuid;

use crate::finance::checks::Rule;
use crate::finance::store::proof::events::{EventRow, MOMENT_MAX};

use super::chart::{Chart, Kind};
use super::finding::Findings;
use super::subjects::{Key, Subjects};
use super::window::Window;

/// The types of event that tell of one act each. Others have no rule.
const TOLD: [&str; 15] = [
    "checkout.opened",
    "checkout.canceled",
    "result.submitted",
    "result.accepted",
    "result.released",
    "charge.captured",
    "charge.reversed",
    "charge.disputed",
    "charge.dispute_upheld",
    "charge.dispute_denied",
    "topup.credited",
    "topup.voided",
    "topup.reinstated",
    "grant.credited",
    "lot.expired",
];

/// What an event tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum About {
    Checkout,
    Charge,
    Topup,
    /// What has no more than transfers: a grant, or the end of a lot.
    Other,
}

impl About {
    /// By the first word of the event's type.
    pub(super) fn of(kind: &str) -> Option<Self> {
        match kind.split('.').next() {
            Some("checkout" | "item" | "result") => Some(Self::Checkout),
            Some("charge") => Some(Self::Charge),
            Some("topup") => Some(Self::Topup),
            Some("grant" | "lot") => Some(Self::Other),
            _ => None,
        }
    }
}

/// A moment of a book.
pub(super) type Moment = (Uuid, DateTime<Utc>);

/// What happened to something at a moment.
type Act = (Moment, &'static str, Uuid);

/// The acts of a step beside its events.
pub(super) struct Told {
    acts: BTreeMap<Act, i128>,
    /// The moments that are compared.
    moments: BTreeSet<Moment>,
    /// Those whose events have not all been read.
    pub(super) unread: Vec<Moment>,
}

impl Told {
    /// What a step has done, and the moments to compare.
    pub(super) fn of(
        chart: &Chart,
        all: &Subjects,
        windows: &[Window],
        events: &[EventRow],
        orphans: &BTreeSet<Key>,
    ) -> Self {
        let acts = acts(chart, all);
        let reaches = reaches(windows, events);
        let mut moments: BTreeSet<Moment> = BTreeSet::new();
        for ((book, at), _, subject) in acts.keys() {
            let is_of = reaches.get(book).is_some_and(|reach| reach.is_of(*at));
            if is_of || orphans.contains(&(*book, *subject)) {
                moments.insert((*book, *at));
            }
        }
        for event in events {
            let reach = reaches.get(&event.book_id);
            if listed(&event.kind).is_some() && reach.is_some_and(|r| event.seq > r.from) {
                moments.insert((event.book_id, event.recorded_at));
            }
        }
        let unread = moments
            .iter()
            .filter(|(book, at)| reaches.get(book).is_none_or(|reach| !reach.has_read(*at)));
        let unread = unread.copied().collect();
        Self { acts, moments, unread }
    }

    /// Compares the moments, with the events of the step and those that it lacked. Of a moment that
    /// only a part is read of, it is that part: the rest has its turn with its own events.
    pub(super) fn compare(
        self,
        all: &Subjects,
        events: &[EventRow],
        more: &[EventRow],
        findings: &mut Findings,
    ) {
        let unread: BTreeSet<Moment> = self.unread.into_iter().collect();
        let moment = |event: &EventRow| (event.book_id, event.recorded_at);
        // A moment that was too crowded to be read whole is left to the full check.
        let mut sizes: BTreeMap<Moment, i32> = BTreeMap::new();
        more.iter().for_each(|event| *sizes.entry(moment(event)).or_default() += 1);
        let is_whole = |of: &Moment| sizes.get(of).is_none_or(|size| *size < MOMENT_MAX);
        let read = events.iter().filter(|event| !unread.contains(&moment(event)));
        let mut counts: BTreeMap<Act, (i128, i128)> = BTreeMap::new();
        for event in read
            .chain(more)
            .filter(|event| self.moments.contains(&moment(event)))
            .filter(|event| is_whole(&moment(event)))
        {
            let key = (event.book_id, event.subject_id);
            let is_read = About::of(&event.kind).is_some_and(|about| all.wanted.has(about, key));
            if let Some(kind) = listed(&event.kind).filter(|_| is_read) {
                counts.entry((moment(event), kind, event.subject_id)).or_default().1 += 1;
            }
        }
        for (act, count) in self.acts {
            if self.moments.contains(&act.0) && is_whole(&act.0) {
                counts.entry(act).or_default().0 = count;
            }
        }
        for (((book, at), kind, subject), (done, told)) in counts {
            let at = at.to_rfc3339_opts(SecondsFormat::Micros, true);
            let subject = format_args!("{kind} of {} at {at}", subject.simple());
            findings.compare(Rule::EventsMatchActs, book, subject, done, told);
        }
    }
}

/// The type of an event, where it has a rule.
fn listed(kind: &str) -> Option<&'static str> {
    TOLD.into_iter().find(|told| *told == kind)
}

/// What the rows of a step say was done.
fn acts(chart: &Chart, all: &Subjects) -> BTreeMap<Act, i128> {
    let mut acts: BTreeMap<Act, i128> = BTreeMap::new();
    let mut add = |kind, (book, subject): Key, at: Option<DateTime<Utc>>| {
        if let Some(at) = at {
            *acts.entry(((book, at), kind, subject)).or_default() += 1;
        }
    };
    for (key, checkout) in &all.checkouts {
        add("checkout.opened", *key, Some(checkout.created_at));
        add("checkout.canceled", *key, checkout.canceled_at);
    }
    for result in &all.results {
        let key = (result.book_id, result.checkout_id);
        add("result.submitted", key, Some(result.submitted_at));
        let captured = result.state == "captured";
        let decided = if captured { "result.accepted" } else { "result.released" };
        add(decided, key, result.decided_at.filter(|_| result.state != "verifying"));
    }
    for key in &all.wanted.captures {
        add("charge.captured", *key, all.charges.get(key).map(|charge| charge.captured_at));
    }
    for reversal in &all.reversals {
        let key = (reversal.book_id, reversal.charge_id);
        add("charge.reversed", key, Some(reversal.reversed_at));
    }
    for dispute in &all.disputes {
        let key = (dispute.book_id, dispute.charge_id);
        add("charge.disputed", key, Some(dispute.disputed_at));
        match dispute.state.as_str() {
            "upheld" => add("charge.dispute_upheld", key, dispute.decided_at),
            "denied" => add("charge.dispute_denied", key, dispute.decided_at),
            _ => {}
        }
    }
    for (kind, key, at) in booked(chart, all) {
        add(kind, key, Some(at));
    }
    acts
}

/// What is told of movements: once, however many transfers are of it.
fn booked(chart: &Chart, all: &Subjects) -> BTreeSet<(&'static str, Key, DateTime<Utc>)> {
    let mut booked = BTreeSet::new();
    for key in all.wanted.topups.iter().chain(&all.wanted.others) {
        for entry in all.transfers_of(*key) {
            let kind = match chart.kind(entry) {
                Kind::Topup => "topup.credited",
                Kind::Void => "topup.voided",
                Kind::Reinstatement => "topup.reinstated",
                Kind::Grant => "grant.credited",
                Kind::Expiry => "lot.expired",
                _ => continue,
            };
            booked.insert((kind, *key, entry.recorded_at));
        }
    }
    booked
}

/// Which moments of a book a step is about.
struct Reach {
    /// The last event that had been proven before, and its time.
    from: i64,
    after: Option<DateTime<Utc>>,
    /// The time of the last event that was read; none at the book's end.
    until: Option<DateTime<Utc>>,
    /// The times of the first and the last transfer of the step.
    booked: Option<(DateTime<Utc>, DateTime<Utc>)>,
}

fn reaches(windows: &[Window], events: &[EventRow]) -> HashMap<Uuid, Reach> {
    let mut times: HashMap<Uuid, (DateTime<Utc>, DateTime<Utc>)> = HashMap::new();
    for event in events {
        let at = event.recorded_at;
        let (first, last) = times.entry(event.book_id).or_insert((at, at));
        (*first, *last) = ((*first).min(at), (*last).max(at));
    }
    let reach = |window: &Window| {
        let read = times.get(&window.book());
        let from = window.events_from;
        let after = read.map_or(DateTime::<Utc>::MAX_UTC, |(first, _)| *first);
        let until = read.map_or(DateTime::<Utc>::MIN_UTC, |(_, last)| *last);
        let reach = Reach {
            from,
            after: (from > 0).then_some(after),
            until: (!window.ends()).then_some(until),
            booked: window.booked,
        };
        (window.book(), reach)
    };
    windows.iter().map(reach).collect()
}

impl Reach {
    /// Whether what happened then is for this step to compare.
    fn is_of(&self, at: DateTime<Utc>) -> bool {
        let told =
            self.after.is_none_or(|after| at > after) && self.until.is_none_or(|until| at <= until);
        told || self.booked.is_some_and(|(first, last)| first <= at && at <= last)
    }

    /// Whether all events of that time have been read: a batch may go on where the step begins, and
    /// where it ends.
    fn has_read(&self, at: DateTime<Utc>) -> bool {
        self.after.is_none_or(|after| at > after) && self.until.is_none_or(|until| at < until)
    }
}
