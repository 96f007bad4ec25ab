//! Settings: the only reader of the environment.
//!
//! One table ([`VARIABLES`]) names every variable with its meaning, its default and what a right
//! value looks like. Whatever is wrong is refused at start, all of it at once, with secrets hidden:
//! a service that handles money must not guess what a setting meant. A variable that begins with
//! `BURSAR_` and is in no table is refused too, because a misspelled cap would be no cap at all.

mod error;
mod live;
mod payment;
mod read;
mod reader;
mod secret;
mod settings;
mod url;
mod values;
mod variables;

#[cfg(test)]
mod tests;

use std::collections::HashMap;

use crate::ground::Mode;

pub use error::{ConfigError, Problem};
pub use secret::Secret;
pub use settings::{
    Basics, CallSettings, DatabaseSettings, EngineSettings, Facilitator, HttpSettings,
    ListedFacilitator, Need, Node, PaymentSettings, ResolveSettings, Settings, SignupSettings,
    TopupSettings, WebhookSettings,
};
pub use url::{BaseUrl, UrlError};
pub use variables::{Preset, TEST_PAY_TO, VARIABLES, Variable, find, help_text, markdown_table};

/// The mode in the process's environment, for what depends on nothing else.
pub fn mode_from_env() -> Result<Mode, ConfigError> {
    read::mode(&environment())
}

impl Settings {
    /// The settings in the process's environment, or everything that is wrong with them.
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::from_map(&environment())
    }
}

impl Basics {
    /// The settings in the process's environment, or everything that is wrong with them.
    pub fn from_env(need: Need) -> Result<Self, ConfigError> {
        Self::from_map(&environment(), need)
    }
}

/// The process's environment. What is not UTF-8 keeps replacement characters, which are refused.
fn environment() -> HashMap<String, String> {
    let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
    std::env::vars_os().map(|(name, value)| (text(name), text(value))).collect()
}
