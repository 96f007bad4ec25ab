//! The one table of environment variables.
//!
//! The parser takes names and defaults from it, `--help` and the README their text, and error
//! messages what would be right, so none of them can disagree.

use std::fmt::Write;

use crate::ground::Mode;

/// One environment variable.
#[derive(Debug)]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// What it sets.
    pub meaning: &'static str,
    /// What a right value looks like.
    pub right: &'static str,
    /// What holds in test mode when it is unset.
    pub test: Preset,
    /// What holds in live mode when it is unset.
    pub live: Preset,
    /// Whether its value is kept out of messages and logs.
    pub secret: bool,
    /// Whether its value may have several lines.
    pub multiline: bool,
}

/// What holds when a variable is unset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// This value, read like one that is set.
    Value(&'static str),
    /// Something that follows from the rest, said in words.
    Derived(&'static str),
    /// Nothing: what it sets stays off.
    Unset,
    /// Nothing, and Bursar does not start without it.
    Required,
}

/// Receives test payments when nothing else is set. Nobody holds its key.
pub const TEST_PAY_TO: &str = "0x00000000000000000000000000000000000b0454";

/// An open variable that has one preset in both modes.
const fn open(
    name: &'static str,
    meaning: &'static str,
    right: &'static str,
    preset: Preset,
) -> Variable {
    Variable { name, meaning, right, test: preset, live: preset, secret: false, multiline: false }
}

impl Variable {
    /// The same variable with another preset in live mode.
    const fn live(mut self, preset: Preset) -> Self {
        self.live = preset;
        self
    }

    /// The same variable, kept secret.
    const fn secret(mut self) -> Self {
        self.secret = true;
        self
    }

    /// The same variable, with line breaks in its value.
    const fn multiline(mut self) -> Self {
        self.multiline = true;
        self
    }

    /// What holds in a mode when the variable is unset.
    pub const fn preset(&self, mode: Mode) -> Preset {
        match mode {
            Mode::Test => self.test,
            Mode::Live => self.live,
        }
    }

    /// The default as text, for both modes at once where they agree.
    pub fn default_text(&self) -> String {
        if self.test == self.live {
            self.test.text().to_owned()
        } else {
            format!("{}; in live: {}", self.test.text(), self.live.text())
        }
    }
}

impl Preset {
    const fn text(self) -> &'static str {
        match self {
            Self::Value(text) | Self::Derived(text) => text,
            Self::Unset => "none",
            Self::Required => "required",
        }
    }
}

macro_rules! variables {
    ($($id:ident = $variable:expr;)*) => {
        $(pub(super) const $id: Variable = $variable;)*

        /// Every environment variable, in the order in which documents list them.
        pub const VARIABLES: &[Variable] = &[$($id),*];
    };
}

use Preset::{Derived, Required, Unset, Value};

variables! {
    MODE = open("BURSAR_MODE",
        "Whether real money is at stake. Stamped into the database.",
        "test or live", Value("test"));
    DATABASE_URL = open("DATABASE_URL",
        "Postgres 15 or later, as the service's role. Without it, in test mode, Bursar runs a Postgres of its own.",
        "postgres://user:password@host:5432/database", Derived("a Postgres of its own"))
        .live(Required).secret();
    MIGRATION_URL = open("BURSAR_MIGRATION_URL",
        "The same database as the role that owns the tables; migrations, backups and restores use it.",
        "postgres://owner:password@host:5432/database, beside DATABASE_URL", Unset).secret();
    BIND = open("BURSAR_BIND",
        "Address and port to listen on.",
        "an address and a port like 127.0.0.1:8402", Value("127.0.0.1:8402"));
    PUBLIC_URL = open("BURSAR_PUBLIC_URL",
        "Where clients reach Bursar. Payment terms name it; https in live mode.",
        "an http or https URL without query, fragment and credentials; https in live mode",
        Derived("http://<BURSAR_BIND>")).live(Required);
    DATA_DIR = open("BURSAR_DATA_DIR",
        "Where the Postgres that Bursar runs keeps its files.",
        "a path", Derived(".data here, /var/lib/bursar as root")).live(Unset);
    PG_BIN = open("BURSAR_PG_BIN",
        "Directory of the Postgres binaries for that Postgres.",
        "a directory that holds initdb and postgres", Derived("searched for")).live(Unset);
    PAY_TO = open("BURSAR_PAY_TO",
        "Address that receives the payments. In live mode, one whose key you hold.",
        "0x and 40 hexadecimal digits, all in one case or with the right EIP-55 checksum",
        Value(TEST_PAY_TO)).live(Required);
    NETWORKS = open("BURSAR_NETWORKS",
        "Networks to be paid on, most wanted first: testnets in test mode, mainnets in live mode. One that is not known by its id is described there: `eip155:43113;asset=0x…;name=USD Coin;version=2;decimals=6;testnet`.",
        "a comma list of known CAIP-2 ids: testnets like eip155:84532 in test mode, mainnets like eip155:8453 in live mode; others as id;asset=0x…;name=…;version=…;decimals=6;testnet (or mainnet)",
        Value("eip155:84532")).live(Value("eip155:8453"));
    FACILITATOR_URL = open("BURSAR_FACILITATOR_URL",
        "The x402 facilitators that verify and settle payments, in order of preference, separated by commas; `eip155:8453=https://…` is for that network only. https in live mode.",
        "http or https URLs without query, fragment and credentials, separated by commas, each alone or behind one of BURSAR_NETWORKS as eip155:8453=https://…; in live mode https and not a sandbox",
        Derived("the sandbox built in")).live(Required).secret();
    TRUST_FACILITATOR = open("BURSAR_TRUST_FACILITATOR",
        "1 says that a settlement may rest on the facilitator's word alone. Live mode needs it for every network that BURSAR_RPC_URL does not cover.",
        "0 or 1; in live mode 1, unless BURSAR_RPC_URL covers every network", Value("0"));
    CDP_API_KEY_ID = open("BURSAR_CDP_API_KEY_ID",
        "Id of the Coinbase key that signs requests to api.cdp.coinbase.com, and to no other host.",
        "the id that Coinbase gave, beside BURSAR_CDP_API_KEY_SECRET", Unset);
    CDP_API_KEY_SECRET = open("BURSAR_CDP_API_KEY_SECRET",
        "Secret of that key: base64 of an Ed25519 key, or a P-256 key as PEM, whose line breaks may be written as `\\n`.",
        "base64 of 64 bytes, or a PEM that begins with -----BEGIN PRIVATE KEY-----", Unset)
        .multiline().secret();
    RPC_URL = open("BURSAR_RPC_URL",
        "JSON-RPC nodes; settlements on their networks are read from the chain before they are credited. One URL where there is one network, else `eip155:8453=https://…,eip155:137=https://…`. In live mode https, except on this machine.",
        "an http or https URL, or several as eip155:8453=https://… separated by commas; in live mode https, unless it is of this machine", Unset)
        .secret();
    DEFAULT_TOPUP = open("BURSAR_DEFAULT_TOPUP",
        "Dollars of a top-up that names no amount.",
        "a decimal amount like 1.00, from BURSAR_MIN_TOPUP to BURSAR_MAX_TOPUP", Value("1.00"));
    MIN_TOPUP = open("BURSAR_MIN_TOPUP",
        "Dollars of the smallest top-up.",
        "a decimal amount like 0.01, above zero", Value("0.01"));
    MAX_TOPUP = open("BURSAR_MAX_TOPUP",
        "Dollars of the largest top-up.",
        "a decimal amount like 1000.00, at least BURSAR_MIN_TOPUP", Value("1000.00"));
    SIGNUP_GRANT = open("BURSAR_SIGNUP_GRANT",
        "Promotional dollars for a new account.",
        "a decimal amount like 25.00, or 0", Value("25.00")).live(Value("0"));
    GRANT_BUDGET_PER_DAY = open("BURSAR_GRANT_BUDGET_PER_DAY",
        "Promotional dollars granted per UTC day, over all accounts.",
        "a decimal amount like 1000.00, at least BURSAR_SIGNUP_GRANT", Value("1000.00"))
        .live(Value("0"));
    GRANT_DAYS = open("BURSAR_GRANT_DAYS",
        "Days until promotional credits expire.",
        "a whole number from 1 to 3650", Value("90"));
    SIGNUPS_PER_HOUR = open("BURSAR_SIGNUPS_PER_HOUR",
        "Signups per hour and client address.",
        "a whole number from 1 to 1000000", Value("20"));
    ADMIN_KEY_HASH = open("BURSAR_ADMIN_KEY_HASH",
        "SHA-256 of the operator key; `bursar admin key` makes both.",
        "the 64 hexadecimal digits that `bursar admin key` prints", Unset).live(Required).secret();
    TRUSTED_PROXIES = open("BURSAR_TRUSTED_PROXIES",
        "Networks of the proxies whose forwarding header names the client.",
        "a comma list of addresses or networks like 10.0.0.0/8, none of them /0", Unset);
    LANES = open("BURSAR_LANES",
        "Lanes of the ledger engine, each with a database connection: one more than the database has cores.",
        "a whole number from 1 to 64", Value("3"));
    QUEUE = open("BURSAR_QUEUE",
        "Commands that may wait for the engine before callers are told to come back.",
        "a whole number from 1 to 1000000", Value("4096"));
    DB_CONNECTIONS = open("BURSAR_DB_CONNECTIONS",
        "Database connections of this process.",
        "a whole number from 2 to 1000, more than BURSAR_LANES", Value("10"));
    SETTLE_TIMEOUT_S = open("BURSAR_SETTLE_TIMEOUT_S",
        "Seconds until a settlement without an answer counts as unknown.",
        "a whole number from 1 to 600", Value("60"));
    VERIFY_TIMEOUT_S = open("BURSAR_VERIFY_TIMEOUT_S",
        "Seconds to wait for the facilitator to verify a payment.",
        "a whole number from 1 to 120", Value("15"));
    RECEIPT_WAIT_MS = open("BURSAR_RECEIPT_WAIT_MS",
        "Milliseconds that a request waits for the chain to show its settlement, until that counts as unknown.",
        "a whole number from 0 to 120000", Value("10000"));
    RESOLVE_INTERVAL_MS = open("BURSAR_RESOLVE_INTERVAL_MS",
        "Milliseconds between looks for top-ups whose outcome is open.",
        "a whole number from 10 to 60000", Value("2000"));
    FIRST_LOOK_MS = open("BURSAR_FIRST_LOOK_MS",
        "Milliseconds, about one block, until the chain is first looked at for a payment whose outcome has just become unknown; never more than BURSAR_RESOLVE_BACKOFF_MS.",
        "a whole number from 0 to 600000", Value("2000"));
    RESOLVE_BACKOFF_MS = open("BURSAR_RESOLVE_BACKOFF_MS",
        "Milliseconds until an open top-up is looked into again; the pause grows to 64 times as many.",
        "a whole number from 10 to 600000", Value("10000"));
    SETTLE_MARGIN_S = open("BURSAR_SETTLE_MARGIN_S",
        "Seconds on the chain, after the end of a payment's window, until one that left no trace there is rejected.",
        "a whole number from 0 to 86400", Value("300"));
    PARK_AFTER_S = open("BURSAR_PARK_AFTER_S",
        "Seconds, after the end of a payment's window, until one that neither facilitator nor chain tells of is left to the operator.",
        "a whole number from 0 to 2592000", Value("3600"));
    CONFIRMATIONS = open("BURSAR_CONFIRMATIONS",
        "Blocks that must lie above a settlement's, or a cancellation's, before it counts as sure to stay. Until then it is followed on the chain; when it has been gone for as many blocks, it is void.",
        "a whole number from 1 to 10000", Value("12"));
    CONFIRM_INTERVAL_MS = open("BURSAR_CONFIRM_INTERVAL_MS",
        "Milliseconds between looks at a settlement that is followed.",
        "a whole number from 10 to 600000", Value("5000"));
    QUOTE_LIFE_S = open("BURSAR_QUOTE_LIFE_S",
        "Seconds for which the prices of a quote hold.",
        "a whole number from 1 to 86400", Value("900"));
    SWEEP_INTERVAL_MS = open("BURSAR_SWEEP_INTERVAL_MS",
        "Milliseconds between looks for passed deadlines.",
        "a whole number from 10 to 60000", Value("500"));
    SECRET_KEY = open("BURSAR_SECRET_KEY",
        "Key that encrypts the secrets of webhooks and verifiers in the database. Without it none are called. Keep it as long as the database.",
        "base64 of 32 random bytes", Derived("kept beside the Postgres that Bursar runs")).live(Unset)
        .secret();
    ALLOW_PRIVATE_ADDRESSES = open("BURSAR_ALLOW_PRIVATE_ADDRESSES",
        "Which addresses besides public ones may be called for customers: none, loopback, or private, which is both. In test mode http is good too unless it is none. Link-local and metadata addresses are never called.",
        "none, loopback or private", Derived("loopback where BURSAR_BIND is a loopback address, else none")).live(Value("none"));
    WEBHOOK_TIMEOUT_MS = open("BURSAR_WEBHOOK_TIMEOUT_MS",
        "Milliseconds that the receiver of a webhook may take to answer.",
        "a whole number from 100 to 60000", Value("15000"));
    WEBHOOK_BACKOFF_MS = open("BURSAR_WEBHOOK_BACKOFF_MS",
        "Milliseconds until a delivery that failed is tried again; the pause grows fourfold each time, up to a day.",
        "a whole number from 10 to 600000", Value("5000"));
    WEBHOOK_ATTEMPTS = open("BURSAR_WEBHOOK_ATTEMPTS",
        "Attempts after which a delivery is given up, within four days at most.",
        "a whole number from 1 to 20", Value("11"));
    WEBHOOK_INTERVAL_MS = open("BURSAR_WEBHOOK_INTERVAL_MS",
        "Milliseconds between looks for events that webhooks want.",
        "a whole number from 10 to 60000", Value("500"));
    VERIFIER_ADDRESSES = open("BURSAR_VERIFIER_ADDRESSES",
        "Which addresses besides public ones verifiers may have: none, loopback, or private, which is both. Link-local and metadata addresses are never called.",
        "none, loopback or private", Value("loopback")).live(Value("none"));
    VERIFIER_TIMEOUT_MS = open("BURSAR_VERIFIER_TIMEOUT_MS",
        "Milliseconds that a verifier may take to answer.",
        "a whole number from 100 to 60000", Value("10000"));
    VERIFIER_BACKOFF_MS = open("BURSAR_VERIFIER_BACKOFF_MS",
        "Milliseconds until a verifier that gave no verdict is asked again; the pause doubles each time, up to an hour and to half of the time left until the verification deadline.",
        "a whole number from 10 to 600000", Value("2000"));
    VERIFIER_ATTEMPTS = open("BURSAR_VERIFIER_ATTEMPTS",
        "Calls after which a verifier is not asked about a result any more.",
        "a whole number from 1 to 50", Value("20"));
    VERIFIER_FAILURES = open("BURSAR_VERIFIER_FAILURES",
        "Calls in a row that failed (no answer, or status 429 or 5xx) after which a verifier is given a rest; then a single call tries it.",
        "a whole number from 1 to 1000", Value("5"));
    VERIFIER_REST_MS = open("BURSAR_VERIFIER_REST_MS",
        "Milliseconds of that rest.",
        "a whole number from 10 to 3600000", Value("30000"));
    VERIFIER_INTERVAL_MS = open("BURSAR_VERIFIER_INTERVAL_MS",
        "Milliseconds between looks for results that verifiers are to be asked about.",
        "a whole number from 10 to 60000", Value("500"));
    RATE_PER_MINUTE = open("BURSAR_RATE_PER_MINUTE",
        "Requests per minute and client address; an API key has ten times as many.",
        "a whole number from 1 to 1000000", Value("600"));
    LOG = open("BURSAR_LOG",
        "What is logged: a level, or target=level pairs.",
        "off, error, warn, info, debug or trace, or pairs like info,bursar::ledger=debug",
        Value("info"));
    LOG_FORMAT = open("BURSAR_LOG_FORMAT",
        "How log lines look: text or json.",
        "text or json", Value("text"));
}

/// The variable of this name.
pub fn find(name: &str) -> Option<&'static Variable> {
    VARIABLES.iter().find(|variable| variable.name == name)
}

/// The table for `--help`.
pub fn help_text() -> String {
    let mut text = String::from("Environment variables (an empty one counts as unset):\n");
    for variable in VARIABLES {
        let Variable { name, meaning, .. } = variable;
        let default = variable.default_text();
        write!(text, "  {name}\n          {meaning}\n          [default: {default}]\n")
            .expect("writing to a string cannot fail");
    }
    text
}

/// The table for the README, which a test compares with it.
pub fn markdown_table() -> String {
    let mut text = String::from("| Variable | Meaning | Default |\n| --- | --- | --- |\n");
    for variable in VARIABLES {
        let default = match (variable.test, variable.live) {
            (Value(value), live) if live == variable.test => format!("`{value}`"),
            (Value(test), Value(live)) => format!("`{test}`; in live: `{live}`"),
            (Value(test), live) => format!("`{test}`; in live: {}", live.text()),
            (Derived(_) | Unset | Required, _) => variable.default_text(),
        };
        writeln!(text, "| `{}` | {} | {} |", variable.name, variable.meaning, escaped(&default))
            .expect("writing to a string cannot fail");
    }
    text
}

/// Keeps Markdown from taking a placeholder for an HTML tag.
fn escaped(text: &str) -> String {
    text.replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_variable_is_documented_once() {
        for variable in VARIABLES {
            let same = VARIABLES.iter().filter(|other| other.name == variable.name).count();
            assert_eq!(same, 1, "{}", variable.name);
            assert!(variable.name == "DATABASE_URL" || variable.name.starts_with("BURSAR_"));
            assert!(variable.meaning.ends_with('.'), "{}", variable.name);
            assert!(!variable.right.is_empty(), "{}", variable.name);
            assert!(help_text().contains(&format!("  {}\n", variable.name)));
            assert!(markdown_table().contains(&format!("| `{}` |", variable.name)));
            for part in [variable.meaning, variable.right, &variable.default_text()] {
                assert!(!part.contains(['|', '\n']), "{} would break the table", variable.name);
            }
        }
    }

    #[test]
    fn defaults_of_both_modes_are_said() {
        let text = |name| find(name).unwrap().default_text();
        assert_eq!(text("BURSAR_SIGNUP_GRANT"), "25.00; in live: 0");
        assert_eq!(text("BURSAR_LANES"), "3");
        assert_eq!(text("DATABASE_URL"), "a Postgres of its own; in live: required");
        assert!(find("BURSAR_NOTHING").is_none());
    }
}
