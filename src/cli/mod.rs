//! The command line: what can be asked of the binary. It only reads; `main` dispatches.
//!
//! Settings come from the environment, never from flags, so that there is one place to look; the
//! help of `serve` lists them from the table in [`crate::config`].

mod backup;
mod buyer;
mod database;
mod demo;
mod events;
mod gauges;
mod output;
mod pay;
mod payments;
mod recovery;
mod run;
mod service;
mod serving;
mod stop;
mod topup;
mod verifiers;
mod wallets;
mod workers;

use std::error::Error;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::NonEmptyStringValueParser;
use clap::error::ErrorKind;
use clap::{ArgGroup, Args, CommandFactory, Parser, Subcommand, ValueEnum};

use crate::config::help_text;
use crate::ground::{Amount, TopupId};

pub use run::run;

/// Why a command failed, for whoever typed it.
type Failure = Box<dyn Error + Send + Sync>;

const SETTINGS_HINT: &str = "\
Settings come from environment variables; `bursar serve --help` lists them with their defaults.";

/// Prepaid credits for software agents: x402 top-ups in, capped and verified checkouts out.
#[derive(Clone, Debug, PartialEq, Eq, Parser)]
#[command(name = "bursar", version, after_help = SETTINGS_HINT)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What Bursar can be asked to do.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Run the service
    ///
    /// Serves the HTTP API until SIGTERM or SIGINT, then finishes what it has begun. In test mode,
    /// the default, it needs nothing: it starts a Postgres of its own and settles payments with a
    /// sandbox. In live mode it refuses to start until everything that real money needs is set.
    #[command(after_long_help = help_text())]
    Serve,
    /// Run the service in test mode and play the main job against it
    ///
    /// Signs up, tops up with a signed payment, checks out three items under a cap, and shows the
    /// charges, the balance, the checks and the journal, each step as an agent sees it over HTTP.
    /// Then it keeps serving and says what to try next.
    #[command(after_help = SETTINGS_HINT)]
    Demo(Demo),
    /// Bring the database schema up to date
    ///
    /// Applies the migrations that are missing, as the role of BURSAR_MIGRATION_URL. In test mode
    /// `serve` does this by itself; in live mode it never does.
    #[command(after_help = SETTINGS_HINT)]
    Migrate,
    /// Print the OpenAPI document
    ///
    /// Writes the OpenAPI 3.1 document of the HTTP API to standard output. Needs no database.
    Openapi,
    /// Administer the service
    #[command(subcommand, arg_required_else_help = true)]
    Admin(Admin),
    /// Export the journal
    ///
    /// Streams every transfer, in the order of the books, to standard output.
    #[command(after_help = SETTINGS_HINT)]
    Export(Export),
    /// Check the ledger
    ///
    /// Recomputes every balance, lot, hold and cap from the transfers and compares, all in one
    /// snapshot. Prints each check, changes nothing, and fails when one of them does.
    #[command(after_help = SETTINGS_HINT)]
    Check(Check),
    /// Back up the ledger
    ///
    /// Writes one consistent state of the whole database into FILE, by pg_dump, reads it back, and
    /// prints what is in it. A running service goes on meanwhile. Connects as the role of
    /// BURSAR_MIGRATION_URL, or to the Postgres that Bursar runs.
    #[command(after_help = SETTINGS_HINT)]
    Backup(Backup),
    /// Restore a backup, or open the ledger after that
    ///
    /// With FILE, loads a backup into an empty database, whole or not at all. The restored ledger
    /// takes no payment and lets nothing be spent until it is known what has happened since: until
    /// the payments since the backup have been read from the chain (--read-chain), or the operator
    /// says that the ledger is in order (--confirm).
    #[command(after_help = SETTINGS_HINT)]
    Restore(Restore),
    /// Look into top-ups, and decide what nobody else can
    #[command(subcommand, arg_required_else_help = true)]
    Topup(Topup),
    /// Buy something over x402, for trying it by hand
    ///
    /// Sends a POST request. When the answer is 402, shows the terms, pays them with a fresh test
    /// wallet that the sandbox funds, repeats the request and shows the receipt. Pays on test
    /// networks only.
    Pay(Pay),
}

/// How to run the demo.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct Demo {
    /// Stop after the last step instead of serving on
    #[arg(long)]
    pub exit: bool,
}

/// What an operator does at the command line.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum Admin {
    /// Make an API key
    ///
    /// Prints the key once; only its hash is kept. An operator key is not stored at all: set the
    /// hash that is printed beside it as BURSAR_ADMIN_KEY_HASH.
    #[command(after_help = SETTINGS_HINT)]
    Key(Key),
}

/// Which key to make.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct Key {
    /// What the key may do
    #[arg(long, value_enum, default_value_t = KeyRole::Operator)]
    pub role: KeyRole,
    /// An SKU that a fulfiller or verifier key is for; repeat it for more
    #[arg(long = "sku", value_name = "SKU")]
    pub skus: Vec<String>,
}

/// What a key made by the operator may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum KeyRole {
    /// Administer everything
    Operator,
    /// Submit results for its SKUs
    Fulfiller,
    /// Post verdicts for its SKUs
    Verifier,
}

/// What to export.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct Export {
    /// How each transfer is written
    #[arg(long, value_enum, default_value_t = ExportFormat::Csv)]
    pub format: ExportFormat,
}

/// Where to put a backup.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct Backup {
    /// The file to write; it must not exist
    pub file: PathBuf,
}

/// What to restore, or how to open a restored ledger.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
#[command(group(ArgGroup::new("what").required(true)))]
pub struct Restore {
    /// The backup to load
    #[arg(group = "what")]
    pub file: Option<PathBuf>,
    /// Say that the restored ledger is in order; kept with who said so, when and why
    #[arg(long, group = "what", requires = "reason")]
    pub confirm: bool,
    /// Why it is known that the ledger is in order
    #[arg(
        long,
        value_name = "TEXT",
        conflicts_with_all = ["file", "read_chain"],
        value_parser = NonEmptyStringValueParser::new()
    )]
    pub reason: Option<String>,
    /// Read the payments since the backup from the chain of BURSAR_RPC_URL and credit them
    #[arg(long, group = "what")]
    pub read_chain: bool,
    /// How many blocks must lie above one that is read
    #[arg(
        long,
        value_name = "BLOCKS",
        default_value_t = 12,
        conflicts_with_all = ["file", "confirm"]
    )]
    pub confirmations: u64,
}

/// What an operator does about top-ups.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum Topup {
    /// List the top-ups whose outcome is open, oldest first
    #[command(after_help = SETTINGS_HINT)]
    List(TopupList),
    /// Show a top-up, and what was said and decided about it
    #[command(after_help = SETTINGS_HINT)]
    Show(TopupShow),
    /// Say what became of a payment
    ///
    /// For a top-up that is parked, because neither the facilitator nor the chain tells. Where
    /// BURSAR_RPC_URL names a node of its network, nothing is decided against the chain, and one that
    /// was refused or rejected may be settled too, when the chain shows the payment. Who said so and
    /// why is kept with the top-up. What is settled is credited.
    #[command(after_help = SETTINGS_HINT)]
    Resolve(TopupResolve),
}

/// Which top-ups to list.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct TopupList {
    /// Only those that wait for the operator
    #[arg(long)]
    pub parked: bool,
}

/// Which top-up to show.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct TopupShow {
    /// Its id, like top_…
    pub id: TopupId,
}

/// What became of a payment.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
#[command(group(ArgGroup::new("outcome").required(true)))]
pub struct TopupResolve {
    /// The top-up's id, like top_…
    pub id: TopupId,
    /// It was paid, in this transaction
    #[arg(long, value_name = "TRANSACTION", group = "outcome")]
    pub settled: Option<String>,
    /// Nothing was paid by it
    #[arg(long, group = "outcome")]
    pub rejected: bool,
    /// How that is known
    #[arg(
        long,
        value_name = "TEXT",
        required_if_eq("rejected", "true"),
        value_parser = NonEmptyStringValueParser::new()
    )]
    pub reason: Option<String>,
}

/// How an export is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// A header and one line per transfer
    Csv,
    /// One JSON object per line
    Jsonl,
}

/// How to check.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct Check {
    /// Verify only what was booked since the service's checker last looked, and show what it knows
    #[arg(long)]
    pub incremental: bool,
}

/// What to buy.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct Pay {
    /// Where to buy, for example http://127.0.0.1:8402/api/v1/credits/topup
    pub url: String,
    /// The JSON body of the request, for example '{"amount":"5.00"}'
    #[arg(long, value_name = "JSON")]
    pub data: Option<String>,
    /// The most to pay, in dollars
    #[arg(long, value_name = "AMOUNT", default_value = "1.00")]
    pub max: Amount,
}

impl Cli {
    /// Reads the process's arguments. Prints help, version or what is wrong, and ends the process,
    /// where there is nothing to run.
    pub fn from_args() -> Self {
        Self::read_from(std::env::args_os()).unwrap_or_else(|error| error.exit())
    }

    /// Reads arguments, the first of which is the program's name.
    pub fn read_from<I, T>(arguments: I) -> Result<Self, clap::Error>
    where
        I: IntoIterator<Item = T>,
        T: Into<OsString> + Clone,
    {
        let cli = Self::try_parse_from(arguments)?;
        if let Command::Admin(Admin::Key(key)) = &cli.command {
            key.check()?;
        }
        Ok(cli)
    }
}

impl Key {
    /// A key for deliveries or verdicts names its SKUs; an operator key is for all of them.
    fn check(&self) -> Result<(), clap::Error> {
        let fault = match (self.role, self.skus.is_empty()) {
            (KeyRole::Operator, true) | (KeyRole::Fulfiller | KeyRole::Verifier, false) => {
                return Ok(());
            }
            (KeyRole::Operator, false) => "an operator key takes no --sku: it is for all of them",
            (KeyRole::Fulfiller | KeyRole::Verifier, true) => {
                "a fulfiller or verifier key needs --sku, once for each SKU that it is for"
            }
        };
        Err(Cli::command().error(ErrorKind::ArgumentConflict, fault))
    }
}

#[cfg(test)]
mod tests;
