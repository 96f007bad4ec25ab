use std::fmt;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;

use crate::finance::money::dollars;
use crate::finance::store::checks::Found;
use crate::ground::BookId;

use super::rule::{Rule, Unit};

/// What all checks found, at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CheckReport {
    pub as_of: DateTime<Utc>,
    pub checks: Vec<Check>,
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    pub name: &'static str,
    /// What it compares: a sentence that is true when the check passes.
    pub what: &'static str,
    pub passed: bool,
    /// How many violations there are.
    pub violation_count: i64,
    /// The first of them.
    pub violations: Vec<Violation>,
}

/// Something that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Violation {
    pub book: Option<BookId>,
    /// What it is about, with what it should be and what it is where these are figures.
    pub detail: String,
}

impl Check {
    pub(in crate::finance) fn of(rule: Rule, found: Vec<Found>) -> Self {
        let violation_count = found.first().map_or(0, |first| first.total);
        let violations: Vec<_> =
            found.into_iter().map(|found| Violation::of(rule.unit(), found)).collect();
        Self {
            name: rule.name(),
            what: rule.what(),
            passed: violations.is_empty(),
            violation_count,
            violations,
        }
    }
}

impl Violation {
    fn of(unit: Unit, found: Found) -> Self {
        let figure = |number| match unit {
            Unit::Money => dollars(number),
            Unit::Count => number.normalize().to_string(),
        };
        let detail = match (found.expected, found.found) {
            (Some(expected), Some(is)) => {
                format!("{}: expected {}, found {}", found.subject, figure(expected), figure(is))
            }
            _ => found.subject,
        };
        Self { book: found.book.map(BookId), detail }
    }
}

impl CheckReport {
    /// Whether every check passed.
    pub fn passed(&self) -> bool {
        self.checks.iter().all(|check| check.passed)
    }

    /// How many violations there are in all.
    pub fn violation_count(&self) -> i64 {
        self.checks.iter().fold(0, |sum, check| sum.saturating_add(check.violation_count))
    }
}

/// One line per check, the violations below it, and a verdict at the end.
impl fmt::Display for CheckReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.checks.iter().map(|check| check.name.len()).max().unwrap_or_default();
        for check in &self.checks {
            let mark = if check.passed { "ok  " } else { "FAIL" };
            writeln!(f, "{mark}  {:width$}  {}", check.name, check.what)?;
            for violation in &check.violations {
                writeln!(f, "        {violation}")?;
            }
            let named = i64::try_from(check.violations.len()).unwrap_or(i64::MAX);
            if check.violation_count > named {
                let more = check.violation_count.saturating_sub(named);
                writeln!(f, "        and {more} more")?;
            }
        }
        let failed = self.checks.iter().filter(|check| !check.passed).count();
        let at = self.as_of.to_rfc3339_opts(SecondsFormat::Secs, true);
        match failed {
            0 => write!(f, "all {} checks passed, as of {at}", self.checks.len()),
            _ => write!(f, "{failed} of {} checks failed, as of {at}", self.checks.len()),
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.book {
            Some(book) => write!(f, "{book}: {}", self.detail),
            None => f.write_str(&self.detail),
        }
    }
}
