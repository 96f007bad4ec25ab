//! Top-ups against their transfers and the sandbox. Pure.

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::finance::checks::Rule;

use super::chart::{Chart, Kind};
use super::finding::{Findings, shown};
use super::holds::sum_of;
use super::subjects::{Key, Subjects};

/// Compares every top-up of a step.
pub(super) fn compare(chart: &Chart, all: &Subjects, findings: &mut Findings) {
    for key in &all.wanted.topups {
        let (credited, booked) = figures(chart, all, *key);
        let subject = shown("top", key.1);
        findings.compare(Rule::TopupsMatchTransfers, key.0, subject, credited, booked);
        let Some(topup) = all.topups.get(key).filter(|t| t.credited && t.sandboxed) else {
            continue;
        };
        let transaction = serde_json::Value::from(topup.settlement_tx.clone());
        let subject = format_args!("credit for transaction {transaction}");
        let moved = i128::from(topup.moved.unwrap_or(0));
        let shared = i128::from(topup.shared.unwrap_or(0));
        findings.compare(Rule::SandboxMatchesTopups, key.0, subject, moved, shared);
    }
}

/// What is credited by the top-ups' rows, less what is credited by their transfers.
pub(super) fn credited_beyond(chart: &Chart, all: &Subjects) -> BTreeMap<Uuid, i128> {
    let mut beyond: BTreeMap<Uuid, i128> = BTreeMap::new();
    for key in &all.wanted.topups {
        let (credited, booked) = figures(chart, all, *key);
        *beyond.entry(key.0).or_default() += credited - booked;
    }
    beyond
}

fn figures(chart: &Chart, all: &Subjects, key: Key) -> (i128, i128) {
    let row = all.topups.get(&key).filter(|topup| topup.credited);
    let credited = row.map_or(0, |topup| i128::from(topup.amount));
    let sum = |kind| sum_of(chart, all.transfers_of(key), kind);
    (credited, sum(Kind::Topup) - sum(Kind::Void) + sum(Kind::Reinstatement))
}
