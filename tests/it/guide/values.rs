//! What `{name}` stands for: known values are put in and compared, unknown ones are taken from the
//! answer they appear in first.

use std::collections::BTreeMap;

use chrono::DateTime;
use serde_json::Value;

/// Any time; never the same one twice.
const TIME: &str = "time";

/// The values known so far.
#[derive(Clone, Debug, Default)]
pub struct Values(BTreeMap<String, String>);

impl Values {
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        self.0.insert(name.to_owned(), value.into());
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// A text with its values put in.
    pub fn fill(&self, text: &str) -> Result<String, String> {
        let mut filled = String::new();
        let mut rest = text;
        while let Some(start) = rest.find('{') {
            let (before, from) = rest.split_at(start);
            filled.push_str(before);
            if let Some((name, after)) = placeholder(from) {
                let value = self.get(name);
                filled.push_str(value.ok_or_else(|| format!("{{{name}}} is not defined"))?);
                rest = after;
            } else {
                filled.push('{');
                rest = &from[1..];
            }
        }
        filled.push_str(rest);
        Ok(filled)
    }

    /// Compares a text, taking a value that is not known yet.
    pub fn meet(&mut self, documented: &str, got: &str) -> Result<(), String> {
        let name = whole(documented);
        if name == Some(TIME) {
            let time = DateTime::parse_from_rfc3339(got);
            return time.map(drop).map_err(|error| format!("{got:?} is no time: {error}"));
        }
        if let Some(name) = name
            && self.get(name).is_none()
        {
            self.set(name, got);
            return Ok(());
        }
        let expected = self.fill(documented)?;
        if expected == got {
            Ok(())
        } else {
            Err(format!("{expected:?} is documented, not {got:?}"))
        }
    }

    /// Compares JSON: an answer may have more members than are documented, and nothing else.
    pub fn meet_json(&mut self, documented: &Value, got: &Value, at: &str) -> Result<(), String> {
        match (documented, got) {
            (Value::Object(documented), Value::Object(got)) => {
                // Those that only take a value come first, because others may be made of it.
                let takes =
                    |value: &Value| value.as_str().is_some_and(|text| whole(text).is_some());
                let (first, rest): (Vec<_>, Vec<_>) =
                    documented.iter().partition(|(_, value)| takes(value));
                for (name, documented) in first.into_iter().chain(rest) {
                    let at = format!("{at}.{name}");
                    let got = got.get(name).ok_or_else(|| format!("{at} is not in the answer"))?;
                    self.meet_json(documented, got, &at)?;
                }
                Ok(())
            }
            (Value::Array(documented), Value::Array(got)) => {
                if documented.len() != got.len() {
                    let (ours, theirs) = (documented.len(), got.len());
                    return Err(format!("{at} has {theirs} entries where {ours} are documented"));
                }
                for (n, (documented, got)) in documented.iter().zip(got).enumerate() {
                    self.meet_json(documented, got, &format!("{at}[{n}]"))?;
                }
                Ok(())
            }
            (Value::String(documented), Value::String(got)) => {
                self.meet(documented, got).map_err(|fault| format!("{at}: {fault}"))
            }
            _ if documented == got => Ok(()),
            _ => Err(format!("{at}: {documented} is documented, not {got}")),
        }
    }
}

/// The name of the placeholder that is the whole text.
fn whole(text: &str) -> Option<&str> {
    placeholder(text).filter(|(_, after)| after.is_empty()).map(|(name, _)| name)
}

/// The name of a placeholder that a text begins with, and what follows it.
fn placeholder(text: &str) -> Option<(&str, &str)> {
    let (name, after) = text.strip_prefix('{')?.split_once('}')?;
    let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    (!name.is_empty() && name.chars().all(word)).then_some((name, after))
}
