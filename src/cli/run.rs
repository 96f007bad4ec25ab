//! What each command does.

use std::process::ExitCode;
use std::time::Duration;

use futures_util::TryStreamExt;
use sqlx::PgPool;

use crate::accounts::{ApiKey, key_hash};
use crate::config::{Basics, ConfigError, Need, mode_from_env};
use crate::db;
use crate::finance::{DriftChecker, DriftSettings, Finance, Format, Scope};
use crate::ground::{Entropy, SystemEntropy};
use crate::http;
use crate::telemetry;

use super::database::{self, Database, Missing};
use super::output::{UNREAD, Unread, described, print};
use super::stop::Stop;
use super::{
    Admin, Command, ExportFormat, Failure, Key, KeyRole, Restore, backup, pay, recovery, serving,
    topup,
};

/// How long `check --incremental` waits before it looks again.
const BETWEEN_ROUNDS: Duration = Duration::from_millis(200);

/// Runs a command to its end.
pub async fn run(command: Command) -> ExitCode {
    let done = match Stop::listen() {
        Ok(stop) => dispatch(command, stop).await,
        Err(error) => Err(error.into()),
    };
    done.unwrap_or_else(|error| {
        if error.is::<Unread>() {
            return ExitCode::from(UNREAD);
        }
        eprintln!("bursar: {}", described(&*error));
        // A wrong setting is told apart from a failure, for scripts.
        if error.is::<ConfigError>() { ExitCode::from(2) } else { ExitCode::FAILURE }
    })
}

async fn dispatch(command: Command, mut stop: Stop) -> Result<ExitCode, Failure> {
    match command {
        Command::Serve => serving::serve(&mut stop).await,
        Command::Demo(demo) => serving::play(demo.exit, &mut stop).await,
        Command::Migrate => unless_stopped(stop, migrate()).await,
        Command::Openapi => openapi(),
        Command::Admin(Admin::Key(key)) => make_key(&key),
        Command::Export(export) => unless_stopped(stop, export_journal(export.format)).await,
        Command::Check(how) if how.incremental => unless_stopped(stop, catch_up()).await,
        Command::Check(_) => unless_stopped(stop, check()).await,
        Command::Backup(asked) => unless_stopped(stop, backup::backup(&asked.file)).await,
        Command::Restore(asked) => unless_stopped(stop, restore(asked)).await,
        Command::Topup(asked) => unless_stopped(stop, topup::run(asked)).await,
        Command::Pay(pay) => unless_stopped(stop, pay::pay(&pay)).await,
    }
}

/// What is dropped half done takes its own Postgres with it.
async fn unless_stopped(
    mut stop: Stop,
    command: impl Future<Output = Result<ExitCode, Failure>>,
) -> Result<ExitCode, Failure> {
    tokio::select! {
        done = command => done,
        told = stop.told() => Ok(ExitCode::from(told.code())),
    }
}

async fn migrate() -> Result<ExitCode, Failure> {
    let basics = Basics::from_env(Need::Owner)?;
    telemetry::init(&basics.log.quiet())?;
    let database = database::connect(&basics.database, Missing::Refuse).await?;
    let migrated = db::migrate(&database.owner, basics.mode).await;
    if let Some(managed) = database.managed {
        managed.stop().await?;
    }
    migrated?;
    print(format!("The schema is up to date ({} mode).\n", basics.mode).as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

async fn restore(asked: Restore) -> Result<ExitCode, Failure> {
    match (asked.file, asked.reason) {
        (Some(file), _) => backup::restore(&file).await,
        (None, Some(reason)) => backup::confirm(&reason).await,
        (None, None) => recovery::read_chain(asked.confirmations).await,
    }
}

fn openapi() -> Result<ExitCode, Failure> {
    print(http::api_document_json().as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// Operator keys are not stored: the configuration names their hash. Keys of fulfillers and
/// verifiers live in the database and are issued by the running service.
fn make_key(key: &Key) -> Result<ExitCode, Failure> {
    let role = match key.role {
        KeyRole::Operator => return make_operator_key(),
        KeyRole::Fulfiller => "fulfiller",
        KeyRole::Verifier => "verifier",
    };
    let body = serde_json::json!({ "role": role, "name": role, "skus": key.skus });
    let words = format!(
        "A {role} key is issued by the running service, with an operator key:\n\n\
         \x20 curl -s http://127.0.0.1:8402/api/v1/admin/keys \\\n\
         \x20   -H 'Authorization: Bearer <operator key>' -H 'Content-Type: application/json' \\\n\
         \x20   -d '{body}'\n"
    );
    print(words.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

fn make_operator_key() -> Result<ExitCode, Failure> {
    let mode = mode_from_env()?;
    let entropy: &dyn Entropy = &SystemEntropy;
    let key = ApiKey::generate(entropy, mode);
    let hash = hex::encode(key_hash(key.reveal()));
    let words = format!(
        "operator key ({mode} mode), shown this once:\n  {}\n\
         set for the service:\n  BURSAR_ADMIN_KEY_HASH={hash}\n",
        key.reveal(),
    );
    print(words.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

async fn export_journal(format: ExportFormat) -> Result<ExitCode, Failure> {
    let reports = Reports::open().await?;
    let format = match format {
        ExportFormat::Csv => Format::Csv,
        ExportFormat::Jsonl => Format::Jsonl,
    };
    let mut journal = reports.finance.journal(Scope::All, format).await?;
    while let Some(chunk) = journal.try_next().await? {
        print(&chunk)?;
    }
    drop(journal);
    reports.close().await?;
    Ok(ExitCode::SUCCESS)
}

async fn check() -> Result<ExitCode, Failure> {
    let reports = Reports::open().await?;
    let report = reports.finance.check().await?;
    print(format!("{report}\n").as_bytes())?;
    reports.close().await?;
    Ok(if report.passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Verifies what is new, and shows what is known. Where the service's checker is at it, its step is
/// waited for.
async fn catch_up() -> Result<ExitCode, Failure> {
    let reports = Reports::open().await?;
    let pool = db::checker_pool(reports.database.service.clone());
    let settings = DriftSettings { rest: 0, ..DriftSettings::default() };
    let checker = DriftChecker::new(pool.clone(), settings);
    let mut verified = 0_i64;
    let round = loop {
        let round = checker.round().await?;
        verified = verified.saturating_add(round.verified);
        if round.caught_up {
            break round;
        }
        tokio::time::sleep(BETWEEN_ROUNDS).await;
    };
    let lap = round.lap_ended_at.map_or("never yet".to_owned(), |at| at.to_rfc3339());
    let report = &round.report;
    let words = format!(
        "{report}\n{verified} new transfers verified; everything was last verified again: {lap}\n"
    );
    print(words.as_bytes())?;
    pool.close().await;
    reports.close().await?;
    Ok(if report.passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What reads the ledger from the command line, with the database that it opened for that.
struct Reports {
    finance: Finance,
    pool: PgPool,
    database: Database,
}

impl Reports {
    async fn open() -> Result<Self, Failure> {
        let basics = Basics::from_env(Need::Service)?;
        telemetry::init(&basics.log.quiet())?;
        let database = database::join(&basics.database).await?;
        let pool = db::report_pool(database.service.clone(), 2);
        let checked = db::check(&pool, basics.mode).await;
        let reports = Self { finance: Finance::new(pool.clone()), pool, database };
        match checked {
            Ok(()) => Ok(reports),
            Err(error) => {
                reports.close().await?;
                Err(error.into())
            }
        }
    }

    async fn close(self) -> Result<(), Failure> {
        self.pool.close().await;
        if let Some(managed) = self.database.managed {
            managed.stop().await?;
        }
        Ok(())
    }
}
