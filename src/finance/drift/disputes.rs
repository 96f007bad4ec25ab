//! Disputes against the charges that they are about and the reversals that uphold them. Pure.

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::finance::checks::Rule;

use super::finding::{Findings, shown};
use super::subjects::{Key, Subjects};

/// Compares the disputes of every charge of a step.
pub(super) fn compare(all: &Subjects, findings: &mut Findings) {
    let rule = Rule::DisputesMatchReversals;
    let mut back: BTreeMap<(Key, Uuid), (i128, i128)> = BTreeMap::new();
    let mut reversed: BTreeMap<Key, i128> = BTreeMap::new();
    for row in &all.reversals {
        let (key, amount) = ((row.book_id, row.charge_id), i128::from(row.amount));
        *reversed.entry(key).or_default() += amount;
        if let Some(dispute) = row.dispute_id {
            back.entry((key, dispute)).or_default().1 += amount;
        }
    }
    let charged = |key: &Key| all.charges.get(key).map_or(0, |charge| i128::from(charge.amount));
    let mut waiting: BTreeMap<Key, i128> = BTreeMap::new();
    for row in &all.disputes {
        let (key, amount) = ((row.book_id, row.charge_id), i128::from(row.amount));
        match row.state.as_str() {
            "upheld" => back.entry((key, row.dispute_id)).or_default().0 += amount,
            "open" => *waiting.entry(key).or_default() += amount,
            _ => {}
        }
        let subject = format_args!("amount of {}", shown("dsp", row.dispute_id));
        within(rule, key, subject, charged(&key), amount, findings);
    }
    for ((key, dispute), (expected, found)) in back {
        let (charge, dispute) = (shown("chg", key.1), shown("dsp", dispute));
        let subject = format_args!("given back of {charge} by {dispute}");
        findings.compare(rule, key.0, subject, expected, found);
    }
    for (key, waiting) in waiting {
        let subject = format_args!("disputed and reversed part of {}", shown("chg", key.1));
        let taken = waiting + reversed.get(&key).copied().unwrap_or(0);
        within(rule, key, subject, charged(&key), taken, findings);
    }
}

/// What is more than its bound is a finding.
fn within(
    rule: Rule,
    key: Key,
    subject: std::fmt::Arguments<'_>,
    bound: i128,
    found: i128,
    findings: &mut Findings,
) {
    if found > bound {
        findings.add(rule, key.0, subject.to_string(), Some((bound, found)));
    }
}
