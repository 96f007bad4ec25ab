use std::collections::{HashMap, HashSet};
use std::fmt::Display;

use rust_decimal::Decimal;
use uuid::Uuid;

use crate::finance::checks::Rule;
use crate::finance::store::proof::findings::FindingRow;

/// How many findings of one check are kept of one book in one step.
const KEPT_MAX: usize = 20;

/// What a step finds.
#[derive(Default)]
pub(super) struct Findings {
    rows: Vec<FindingRow>,
    seen: HashSet<(Rule, Uuid, String)>,
    counts: HashMap<(Rule, Uuid), usize>,
}

impl Findings {
    /// Notes something that breaks a rule. Of many in one book only the first are kept.
    pub(super) fn add(
        &mut self,
        rule: Rule,
        book: Uuid,
        subject: impl Into<String>,
        figures: Option<(i128, i128)>,
    ) {
        let subject = subject.into();
        let count = self.counts.entry((rule, book)).or_default();
        if *count >= KEPT_MAX || !self.seen.insert((rule, book, subject.clone())) {
            return;
        }
        *count += 1;
        let figure = |number| Decimal::try_from_i128_with_scale(number, 0).unwrap_or(Decimal::MAX);
        self.rows.push(FindingRow {
            check_name: rule.name().to_owned(),
            book_id: book,
            subject,
            expected: figures.map(|(expected, _)| figure(expected)),
            found: figures.map(|(_, found)| figure(found)),
            total: 1,
        });
    }

    /// Compares two figures; what differs is a finding.
    pub(super) fn compare(
        &mut self,
        rule: Rule,
        book: Uuid,
        subject: impl Display,
        expected: i128,
        found: i128,
    ) {
        if expected != found {
            self.add(rule, book, subject.to_string(), Some((expected, found)));
        }
    }

    pub(super) fn rows(&self) -> &[FindingRow] {
        &self.rows
    }
}

/// An id as it is shown, with its prefix.
pub(super) fn shown(prefix: &str, id: Uuid) -> String {
    format!("{prefix}_{}", id.simple())
}
