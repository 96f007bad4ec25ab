//! Holds and captures against their transfers and each other. Pure.

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::finance::checks::Rule;
use crate::finance::store::proof::books::Entry;
use crate::finance::store::proof::subjects::{CaptureRow, HoldRow};

use super::chart::{Chart, Kind};
use super::finding::{Findings, shown};
use super::subjects::{Key, Subjects};

/// Compares every hold and capture of a step.
pub(super) fn compare(chart: &Chart, all: &Subjects, findings: &mut Findings) {
    let mut captures: BTreeMap<Key, Vec<&CaptureRow>> = BTreeMap::new();
    for capture in all.captures.values() {
        captures.entry((capture.book_id, capture.hold_id)).or_default().push(capture);
    }
    for key in &all.wanted.holds {
        let hold = all.holds.get(key);
        let parts = captures.remove(key).unwrap_or_default();
        transfers(chart, all, *key, hold, findings);
        ends(*key, hold, parts, findings);
    }
    for key in &all.wanted.captures {
        capture(chart, all, *key, findings);
    }
}

/// The sum of the transfers of one kind.
pub(super) fn sum_of<'a>(
    chart: &Chart,
    entries: impl IntoIterator<Item = &'a Entry>,
    kind: Kind,
) -> i128 {
    let of_kind = entries.into_iter().filter(|entry| chart.kind(entry) == kind);
    of_kind.map(|entry| i128::from(entry.amount)).sum()
}

/// A hold's amount, released part and draws are the sums of its transfers.
fn transfers(
    chart: &Chart,
    all: &Subjects,
    key: Key,
    hold: Option<&HoldRow>,
    findings: &mut Findings,
) {
    let entries = all.transfers_of(key);
    let booked =
        entries.iter().any(|entry| matches!(chart.kind(entry), Kind::Hold | Kind::Release));
    if !booked && hold.is_none() {
        return;
    }
    let (book, id) = (key.0, shown("hld", key.1));
    let row = |part: fn(&HoldRow) -> i64| hold.map_or(0, |hold| i128::from(part(hold)));
    let rule = Rule::HoldsMatchTransfers;
    let placed = sum_of(chart, entries, Kind::Hold);
    findings.compare(rule, book, format_args!("amount of {id}"), placed, row(|h| h.amount));
    let released = sum_of(chart, entries, Kind::Release);
    let subject = format_args!("released part of {id}");
    findings.compare(rule, book, subject, released, row(|h| h.released));

    let mut draws: BTreeMap<Uuid, (i128, i128)> = BTreeMap::new();
    for entry in entries.iter().filter(|entry| chart.kind(entry) == Kind::Hold) {
        draws.entry(entry.lot_id).or_default().0 += i128::from(entry.amount);
    }
    for (lot, amount) in hold.iter().flat_map(|h| h.draw_lots.iter().zip(&h.draw_amounts)) {
        draws.entry(*lot).or_default().1 += i128::from(*amount);
    }
    for (lot, (expected, found)) in draws {
        let subject = format_args!("draw of {id} on {}", shown("lot", lot));
        findings.compare(Rule::DrawsMatchTransfers, book, subject, expected, found);
    }
}

/// What is captured and reversed of a hold is the sum of its captures, end to end.
fn ends(key: Key, hold: Option<&HoldRow>, mut captures: Vec<&CaptureRow>, findings: &mut Findings) {
    if hold.is_none() && captures.is_empty() {
        return;
    }
    let (rule, book, id) = (Rule::HoldsMatchCaptures, key.0, shown("hld", key.1));
    let sum = |part: fn(&CaptureRow) -> i64| captures.iter().map(|c| i128::from(part(c))).sum();
    let (captured, reversed): (i128, i128) = (sum(|c| c.amount), sum(|c| c.reversed));
    let row = |part: fn(&HoldRow) -> i64| hold.map_or(0, |hold| i128::from(part(hold)));
    let subject = format_args!("captured part of {id}");
    findings.compare(rule, book, subject, captured, row(|h| h.captured));
    let subject = format_args!("reversed part of {id}");
    findings.compare(rule, book, subject, reversed, row(|h| h.reversed));
    captures.sort_by_key(|capture| (capture.draw_offset, capture.capture_id));
    let mut offset = 0;
    for capture in captures {
        let subject = format_args!("offset of the capture of {}", shown("chg", capture.capture_id));
        findings.compare(rule, book, subject, offset, i128::from(capture.draw_offset));
        offset += i128::from(capture.amount);
    }
}

/// A capture's amount and reversed part are the sums of its transfers.
fn capture(chart: &Chart, all: &Subjects, key: Key, findings: &mut Findings) {
    let entries = all.transfers_of(key);
    let row = all.captures.get(&key);
    let mut taken: BTreeMap<Uuid, i128> = BTreeMap::new();
    for entry in entries.iter().filter(|entry| chart.kind(entry) == Kind::Capture) {
        *taken.entry(entry.transaction_id).or_default() += i128::from(entry.amount);
    }
    let (rule, book, id) = (Rule::CapturesMatchTransfers, key.0, shown("chg", key.1));
    let amount = format!("amount of the capture of {id}");
    if let Some(row) = row {
        let booked = taken.remove(&row.transaction_id).unwrap_or(0);
        findings.compare(rule, book, &amount, booked, i128::from(row.amount));
        let undone = entries.iter().filter(|e| e.reverses_id == Some(row.transaction_id));
        let returned = sum_of(chart, undone, Kind::Reversal);
        let subject = format_args!("reversed part of the capture of {id}");
        findings.compare(rule, book, subject, returned, i128::from(row.reversed));
    }
    for booked in taken.into_values() {
        findings.compare(rule, book, &amount, booked, 0);
    }
}

/// What is open of holds by their rows, less what is open by their transfers: paid and promotional.
pub(super) fn open_beyond(chart: &Chart, all: &Subjects) -> BTreeMap<Uuid, [i128; 2]> {
    let mut beyond: BTreeMap<Uuid, [i128; 2]> = BTreeMap::new();
    for (key, hold) in &all.holds {
        let sums = beyond.entry(key.0).or_default();
        let (from, to) =
            (i128::from(hold.captured), i128::from(hold.amount) - i128::from(hold.released));
        let mut end = 0;
        for (lot, amount) in hold.draw_lots.iter().zip(&hold.draw_amounts) {
            let begin = end;
            end += i128::from(*amount);
            let open = (end.min(to) - begin.max(from)).max(0);
            let paid = all.lots.get(&(key.0, *lot)).is_some_and(|lot| lot.paid);
            sums[usize::from(!paid)] += open;
        }
    }
    // A hold has its own transfers, and a capture has its, even under one id.
    let of_holds =
        all.wanted.holds.iter().map(|key| (key, &[(Kind::Hold, -1), (Kind::Release, 1)][..]));
    let of_captures = all.wanted.captures.iter().map(|key| (key, &[(Kind::Capture, 1)][..]));
    for (key, signs) in of_holds.chain(of_captures) {
        for entry in all.transfers_of(*key) {
            let kind = chart.kind(entry);
            let Some((_, sign)) = signs.iter().find(|(of, _)| *of == kind) else { continue };
            let paid = chart.touches(entry, "held");
            beyond.entry(key.0).or_default()[usize::from(!paid)] += sign * i128::from(entry.amount);
        }
    }
    beyond
}

/// What holds have not given back by their rows, less the same by their transfers, by the spender and
/// the time of the hold.
pub(super) fn spent_beyond<'a>(
    chart: &Chart,
    all: &'a Subjects,
) -> impl Iterator<Item = (&'a HoldRow, i128)> {
    let mut reversed: BTreeMap<Key, i128> = BTreeMap::new();
    for (key, capture) in &all.captures {
        *reversed.entry((key.0, capture.hold_id)).or_default() +=
            sum_of(chart, all.transfers_of(*key), Kind::Reversal);
    }
    let beyond: Vec<_> = all
        .holds
        .iter()
        .map(|(key, hold)| {
            let entries = all.transfers_of(*key);
            let booked = sum_of(chart, entries, Kind::Hold)
                - sum_of(chart, entries, Kind::Release)
                - reversed.get(key).copied().unwrap_or(0);
            let row =
                i128::from(hold.amount) - i128::from(hold.released) - i128::from(hold.reversed);
            (hold, row - booked)
        })
        .filter(|(_, beyond)| *beyond != 0)
        .collect();
    beyond.into_iter()
}
