use std::collections::HashMap;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

use crate::ground::Mode;

use super::error::{ConfigError, Problem};
use super::variables::{MODE, Preset, VARIABLES, Variable, find};

/// Reads variables and collects what is wrong with them: one problem per variable, the first found.
pub(super) struct Reader<'a> {
    vars: &'a HashMap<String, String>,
    mode: Option<Mode>,
    problems: Vec<Problem>,
}

impl<'a> Reader<'a> {
    /// Reads the mode, on which presets depend, and refuses names that are in no table.
    pub fn new(vars: &'a HashMap<String, String>) -> Self {
        let mut reader = Self { vars, mode: None, problems: Vec::new() };
        let known = |name: &str| !name.starts_with("BURSAR_") || find(name).is_some();
        reader
            .problems
            .extend(vars.keys().filter(|name| !known(name)).map(|n| Problem::unknown(n)));
        let mode = reader.value(&MODE, |text| text.parse().map_err(|()| "there is no such mode"));
        if !reader.has_problem(&MODE) {
            reader.mode = Some(mode);
        }
        reader
    }

    /// The mode; `None` when it is wrong, and then no rule of a mode is judged.
    pub fn mode(&self) -> Option<Mode> {
        self.mode
    }

    /// The text of a variable that is set; an empty one counts as unset.
    pub fn set(&mut self, variable: &Variable) -> Option<&'a str> {
        let text = self.vars.get(variable.name).map(String::as_str).filter(|t| !t.is_empty())?;
        let odd = |c: char| c.is_control() && !(variable.multiline && c == '\n');
        let framed = !variable.multiline && text.trim() != text;
        if framed || text.contains(odd) {
            self.refuse(variable, "there are spaces around it or control characters in it");
        } else if text.contains(char::REPLACEMENT_CHARACTER) {
            self.refuse(variable, "it is not UTF-8");
        }
        Some(text)
    }

    /// A variable that may be unset without a preset value.
    pub fn optional<T, E: Display>(
        &mut self,
        variable: &Variable,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Option<T> {
        match parse(self.set(variable)?) {
            Ok(value) => Some(value),
            Err(fault) => {
                self.refuse(variable, fault.to_string());
                None
            }
        }
    }

    /// A variable with a preset value in test mode. That value also stands in for a wrong or missing
    /// one until [`Self::finish`], which lets no settings out with a problem.
    pub fn value<T, E: Display>(
        &mut self,
        variable: &Variable,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> T {
        if let Some(value) = self.optional(variable, &parse) {
            return value;
        }
        let text = match variable.preset(self.mode.unwrap_or(Mode::Test)) {
            Preset::Value(text) => Some(text),
            Preset::Derived(_) | Preset::Unset | Preset::Required => None,
        };
        let Preset::Value(fallback) = variable.test else {
            unreachable!("{} has no preset value", variable.name)
        };
        let parsed = parse(text.unwrap_or(fallback)).ok();
        parsed.expect("presets are right; a test reads each of them")
    }

    /// A value that reads itself.
    pub fn parsed<T>(&mut self, variable: &Variable) -> T
    where
        T: FromStr,
        T::Err: Display,
    {
        self.value(variable, str::parse::<T>)
    }

    /// A whole number within bounds.
    pub fn number<T>(&mut self, variable: &Variable, bounds: RangeInclusive<T>) -> T
    where
        T: FromStr + PartialOrd,
    {
        self.value(variable, |text| match text.parse::<T>() {
            Ok(number) if bounds.contains(&number) => Ok(number),
            Ok(_) => Err("it is out of range"),
            Err(_) => Err("it is not a whole number in range"),
        })
    }

    /// Whether a variable is wrong as far as has been looked.
    pub fn has_problem(&self, variable: &Variable) -> bool {
        self.problems.iter().any(|problem| problem.name == variable.name)
    }

    /// Records what is wrong with a variable.
    pub fn refuse(&mut self, variable: &Variable, fault: impl Into<String>) {
        if !self.has_problem(variable) {
            let value = self.vars.get(variable.name).map(String::as_str);
            let value = value.filter(|text| !text.is_empty());
            self.problems.push(Problem::of(variable, value, fault));
        }
    }

    /// The settings, if nothing is wrong.
    pub fn finish<T>(mut self, settings: T) -> Result<T, ConfigError> {
        if self.problems.is_empty() {
            return Ok(settings);
        }
        let place = |p: &Problem| VARIABLES.iter().position(|v| v.name == p.name);
        let order = |p: &Problem| (place(p).unwrap_or(VARIABLES.len()), p.name.clone());
        self.problems.sort_by_key(order);
        Err(ConfigError { problems: self.problems })
    }
}
