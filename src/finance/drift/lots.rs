//! Lots against their transfers. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use uuid::Uuid;

use crate::finance::checks::Rule;
use crate::finance::store::proof::money::ProvenLot;

use super::chart::Chart;
use super::finding::{Findings, shown};
use super::subjects::{Key, Subjects};
use super::window::Walked;

/// What the walk says of lots, after this step.
pub(super) struct Lots {
    proven: BTreeMap<Key, ProvenLot>,
    /// The last transfer of each lot that this step has touched.
    touched: BTreeMap<Key, i64>,
}

impl Lots {
    /// Adds the step's transfers to what was proven before.
    pub(super) fn after(walked: &Walked, before: Vec<ProvenLot>) -> Self {
        let mut proven: BTreeMap<Key, ProvenLot> =
            before.into_iter().map(|lot| ((lot.book_id, lot.lot_id), lot)).collect();
        let mut touched = BTreeMap::new();
        for (key, moved) in &walked.lots {
            let lot = proven.entry(*key).or_insert_with(|| ProvenLot {
                book_id: key.0,
                lot_id: key.1,
                paid: moved.paid,
                amount: clamp(moved.opening),
                remaining: 0,
                lost: 0,
            });
            lot.remaining = clamp(i128::from(lot.remaining) + moved.change);
            lot.lost = clamp(i128::from(lot.lost) + moved.lost);
            touched.insert(*key, moved.version);
        }
        Self { proven, touched }
    }

    /// Compares lots: their amounts, and in books that are walked to their end what is left and what
    /// is lost of them.
    pub(super) fn compare(
        &self,
        all: &Subjects,
        wanted: &BTreeSet<Key>,
        ended: &HashSet<Uuid>,
        findings: &mut Findings,
    ) {
        for key in wanted {
            let (row, proven) = (all.lots.get(key), self.proven.get(key));
            let (rule, id) = (Rule::LotsMatchTransfers, shown("lot", key.1));
            // A lot that no transfer is known of belongs to a walk that has not come so far.
            if proven.is_some() || ended.contains(&key.0) {
                let subject = format_args!("amount of {id}");
                let figures = (proven.map_or(0, |l| l.amount), row.map_or(0, |l| l.amount));
                findings.compare(rule, key.0, subject, figures.0.into(), figures.1.into());
            }
            if ended.contains(&key.0) {
                let subject = format_args!("rest of {id}");
                let figures = (proven.map_or(0, |l| l.remaining), row.map_or(0, |l| l.remaining));
                findings.compare(rule, key.0, subject, figures.0.into(), figures.1.into());
                let subject = format_args!("lost of {id}");
                let lost = (proven.map_or(0, |l| l.lost), row.and_then(|l| l.lost).unwrap_or(0));
                let rule = Rule::LossesMatchLots;
                findings.compare(rule, key.0, subject, lost.0.into(), lost.1.into());
            }
        }
    }

    /// What is left of lots by their rows, less the same by their transfers: paid and promotional.
    pub(super) fn left_beyond(
        &self,
        all: &Subjects,
        wanted: &BTreeSet<Key>,
    ) -> BTreeMap<Uuid, [i128; 2]> {
        let mut beyond: BTreeMap<Uuid, [i128; 2]> = BTreeMap::new();
        for key in wanted {
            let sums = beyond.entry(key.0).or_default();
            if let Some(row) = all.lots.get(key) {
                sums[usize::from(!row.paid)] += i128::from(row.remaining);
            }
            if let Some(lot) = self.proven.get(key) {
                sums[usize::from(!lot.paid)] -= i128::from(lot.remaining);
            }
        }
        beyond
    }

    /// The lots to keep, with their last transfer.
    pub(super) fn kept(&self, books: &HashSet<Uuid>) -> Vec<(ProvenLot, i64)> {
        let touched = self.touched.iter().filter(|(key, _)| books.contains(&key.0));
        let kept = touched.filter_map(|(key, version)| {
            let lot = self.proven.get(key)?;
            Some((ProvenLot { ..*lot }, *version))
        });
        kept.collect()
    }

    /// Whether these are exactly the lots that another walk has proven of some books.
    pub(super) fn agree(&self, others: &[ProvenLot]) -> HashMap<Uuid, bool> {
        let mut agree: HashMap<Uuid, bool> = HashMap::new();
        let figures = |lot: &ProvenLot| (lot.paid, lot.amount, lot.remaining, lot.lost);
        let others: BTreeMap<Key, &ProvenLot> =
            others.iter().map(|lot| ((lot.book_id, lot.lot_id), lot)).collect();
        for key in self.proven.keys().chain(others.keys()) {
            let (one, other) = (self.proven.get(key), others.get(key));
            let same = one.map(figures) == other.map(|lot| figures(lot));
            *agree.entry(key.0).or_insert(true) &= same;
        }
        agree
    }
}

/// Paid lots move paid credits only, and promotional lots promotional ones.
pub(super) fn kinds(chart: &Chart, all: &Subjects, walked: &Walked, findings: &mut Findings) {
    for entry in &walked.of_lots {
        let Some(lot) = all.lots.get(&(entry.book_id, entry.lot_id)) else { continue };
        let paid = !chart.touches(entry, "promo_issued") && !chart.touches(entry, "promo");
        if lot.paid != paid {
            let (moves, of) =
                if lot.paid { ("promotional", "paid") } else { ("paid", "promotional") };
            let id = shown("lot", entry.lot_id);
            let subject =
                format!("version {} moves {moves} credits of the {of} {id}", entry.version);
            findings.add(Rule::LotsKeepKind, entry.book_id, subject, None);
        }
    }
}

/// As much of a sum as a column holds.
pub(super) fn clamp(sum: i128) -> i64 {
    i64::try_from(sum).unwrap_or(if sum < 0 { i64::MIN } else { i64::MAX })
}
