//! Grants of promotional credits against their transfers. Pure.

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::finance::checks::Rule;

use super::chart::{Chart, Kind};
use super::finding::{Findings, shown};
use super::subjects::Subjects;

/// Compares every grant of a step: what its row says was booked, and as which lot, with what was.
pub(super) fn compare(chart: &Chart, all: &Subjects, findings: &mut Findings) {
    for key in &all.wanted.others {
        let mut lots: BTreeMap<Uuid, (i128, i128)> = BTreeMap::new();
        if let Some((lot, amount)) = all.grants.get(key).and_then(|row| row.credited()) {
            lots.entry(lot).or_default().0 += i128::from(amount);
        }
        let entries = all.transfers_of(*key).iter();
        for entry in entries.filter(|entry| chart.kind(entry) == Kind::Grant) {
            lots.entry(entry.lot_id).or_default().1 += i128::from(entry.amount);
        }
        for (lot, (credited, booked)) in lots {
            let subject = format_args!("{} as {}", shown("grt", key.1), shown("lot", lot));
            findings.compare(Rule::GrantsMatchTransfers, key.0, subject, credited, booked);
        }
    }
}
