use std::fmt;

use super::variables::{VARIABLES, Variable};

/// Every setting that is wrong, so that one start tells all there is to mend.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    /// The wrong settings, in the order of the table; never empty.
    pub problems: Vec<Problem>,
}

/// One wrong setting.
#[derive(Clone, PartialEq, Eq)]
pub struct Problem {
    /// The variable.
    pub name: String,
    /// Its value as far as it may be shown; `None` when it is unset.
    pub shown: Option<String>,
    /// What is wrong.
    pub fault: String,
    /// What would be right.
    pub right: String,
}

/// What stands in for a value that must not be shown.
pub(super) const HIDDEN: &str = "(hidden)";

impl Problem {
    /// A problem with a variable of the table.
    pub(super) fn of(variable: &Variable, value: Option<&str>, fault: impl Into<String>) -> Self {
        let shown =
            value.map(|value| if variable.secret { HIDDEN.to_owned() } else { showable(value) });
        let right = variable.right.to_owned();
        Self { name: variable.name.to_owned(), shown, fault: fault.into(), right }
    }

    /// A variable that is in no table. Its value is hidden, because a misspelled secret is one.
    pub(super) fn unknown(name: &str) -> Self {
        let right = match nearest(name) {
            Some(variable) => format!("did you mean {}?", variable.name),
            None => "`bursar serve --help` lists the settings".to_owned(),
        };
        let fault = "there is no such setting".to_owned();
        Self { name: name.to_owned(), shown: Some(HIDDEN.to_owned()), fault, right }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, shown, fault, right } = self;
        match shown.as_deref() {
            Some(HIDDEN) => write!(f, "{name} {HIDDEN}: {fault}; right: {right}"),
            Some(shown) => write!(f, "{name}={shown:?}: {fault}; right: {right}"),
            None => write!(f, "{name} is not set: {fault}; right: {right}"),
        }
    }
}

impl fmt::Debug for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problems.len() {
            1 => f.write_str("a setting is wrong:")?,
            count => write!(f, "{count} settings are wrong:")?,
        }
        self.problems.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

impl fmt::Debug for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A value without what looks like a key or a password: people put secrets into the wrong variable.
fn showable(value: &str) -> String {
    let longest_hex = value.split(|c: char| !c.is_ascii_hexdigit()).map(str::len).max();
    if longest_hex >= Some(64) || value.contains('@') {
        HIDDEN.to_owned()
    } else {
        value.to_owned()
    }
}

/// The variable whose name a misspelled one most likely means; some carry a prefix too many.
fn nearest(name: &str) -> Option<&'static Variable> {
    let bare = name.strip_prefix("BURSAR_").unwrap_or(name);
    let near = VARIABLES.iter().map(|variable| {
        (distance(name, variable.name).min(distance(bare, variable.name)), variable)
    });
    let (_, variable) = near.filter(|(far, _)| *far <= 3).min_by_key(|(far, _)| *far)?;
    Some(variable)
}

/// How many letters must be inserted, dropped or changed to get from one name to the other.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.bytes().enumerate() {
        let mut diagonal = i;
        let mut left = i.saturating_add(1);
        row[0] = left;
        for (cell, to) in row.iter_mut().skip(1).zip(b.bytes()) {
            let change = diagonal.saturating_add(usize::from(from != to));
            diagonal = *cell;
            left = change.min(left.saturating_add(1)).min(cell.saturating_add(1));
            *cell = left;
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misspelled_names_get_a_suggestion() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        for (name, meant) in [
            ("BURSAR_PAYTO", Some("BURSAR_PAY_TO")),
            ("BURSAR_DATABASE_URL", Some("DATABASE_URL")),
            ("BURSAR_NETWORK", Some("BURSAR_NETWORKS")),
            ("BURSAR_COMPLETELY_ELSE", None),
        ] {
            assert_eq!(nearest(name).map(|v| v.name), meant, "{name}");
        }
    }

    #[test]
    fn values_that_look_secret_are_hidden() {
        assert_eq!(showable(&format!("0x{}", "ab".repeat(32))), HIDDEN);
        assert_eq!(showable("https://me:pass@host"), HIDDEN);
        assert_eq!(showable("127.0.0.1"), "127.0.0.1");
    }
}
