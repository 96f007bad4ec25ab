//! What each command does.

use std::error::Error;
use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

use futures_util::TryStreamExt;
use tokio::signal::unix::{SignalKind, signal};

use crate::accounts::{ApiKey, key_hash};
use crate::config::{Basics, ConfigError, Need, Secret, Settings};
use crate::db;
use crate::finance::{Finance, Format, Scope};
use crate::ground::{Entropy, Mode, SystemEntropy};
use crate::http;
use crate::telemetry;

use super::database::{self, Missing};
use super::demo::Demo;
use super::service::Service;
use super::{Admin, Command, ExportFormat, Key, KeyRole, pay};

type Failure = Box<dyn Error + Send + Sync>;

/// Runs a command to its end.
pub async fn run(command: Command) -> ExitCode {
    let done = match command {
        Command::Serve => serve().await,
        Command::Demo(demo) => play(demo.exit).await,
        Command::Migrate => migrate().await,
        Command::Openapi => openapi(),
        Command::Admin(Admin::Key(key)) => make_key(&key),
        Command::Export(export) => export_journal(export.format).await,
        Command::Check => check().await,
        Command::Pay(pay) => pay::pay(&pay).await.map(|()| ExitCode::SUCCESS),
    };
    done.unwrap_or_else(|error| {
        eprintln!("bursar: {error}");
        // A wrong setting is told apart from a failure, for scripts.
        if error.is::<ConfigError>() { ExitCode::from(2) } else { ExitCode::FAILURE }
    })
}

async fn serve() -> Result<ExitCode, Failure> {
    let settings = Settings::from_env()?;
    telemetry::init(&settings.log)?;
    let service = Service::start(&settings, Missing::Refuse).await?;
    tracing::info!(
        mode = %settings.mode, url = service.public_url, "serving; llms.txt tells how to go on"
    );
    until_stopped(service).await
}

async fn until_stopped(mut service: Service) -> Result<ExitCode, Failure> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let ended = tokio::select! {
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
        ended = service.ended() => Some(ended),
    };
    tracing::info!("stopping");
    service.stop().await;
    match ended {
        None => Ok(ExitCode::SUCCESS),
        Some(ended) => Err(ended.into()),
    }
}

async fn play(exit: bool) -> Result<ExitCode, Failure> {
    let mut settings = Settings::from_env()?;
    if settings.mode == Mode::Live {
        return Err("the demo plays with test money: unset BURSAR_MODE".into());
    }
    telemetry::init(&settings.log)?;
    let entropy = SystemEntropy;
    let operator = ApiKey::generate(&entropy, Mode::Test);
    if settings.admin_key_hash.is_none() {
        settings.admin_key_hash = Some(Secret::new(key_hash(operator.reveal())));
    } else {
        return Err("the demo makes an operator key of its own: unset BURSAR_ADMIN_KEY_HASH".into());
    }
    println!("Bursar, test mode: no real money moves.");
    let service = Service::start(&settings, Missing::Install).await?;
    println!("Serving at {}", service.local_url);
    let demo = Demo {
        base: service.local_url.clone(),
        operator_key: operator.reveal().to_owned(),
        clock: service.clock.clone(),
        entropy: Arc::new(entropy),
    };
    let customer = match demo.play().await {
        Ok(customer) => customer,
        Err(error) => {
            service.stop().await;
            return Err(error.into());
        }
    };
    println!("\n━━ 14. The checks, recomputed from the transfers");
    let report = service.finance.check().await?;
    print!("{report}");
    let passed = report.passed();
    if exit || !passed {
        service.stop().await;
        return Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    say_what_next(&service.local_url, &customer, operator.reveal());
    until_stopped(service).await
}

fn say_what_next(url: &str, customer: &str, operator: &str) {
    println!(
        "\n━━ Still serving. Try:\n\
         \x20 {url}/llms.txt       the whole flow, for agents\n\
         \x20 {url}/docs           every endpoint and error\n\
         \x20 {url}/openapi.json   the same for programs\n\
         \x20 {url}/metrics        what is going on\n\
         \n\
         \x20 The demo agent's key, and a checkout with it:\n\
         \x20 curl -s {url}/api/v1/checkouts \\\n\
         \x20   -H 'Authorization: Bearer {customer}' \\\n\
         \x20   -H 'Idempotency-Key: my-first-order' -H 'Content-Type: application/json' \\\n\
         \x20   -d '{{\"items\":[{{\"sku\":\"company-profile\",\"quantity\":1}}],\"max_total\":\"2.00\"}}'\n\
         \n\
         \x20 Buy credits with a fresh test wallet:  bursar pay {url}/api/v1/credits/topup\n\
         \x20 The operator's key of this run:        {operator}\n\
         \n\
         Ctrl-C stops it."
    );
}

async fn migrate() -> Result<ExitCode, Failure> {
    let basics = Basics::from_env(Need::Owner)?;
    telemetry::init(&basics.log)?;
    let database = database::connect(&basics.database, Missing::Refuse).await?;
    let migrated = db::migrate(&database.owner, basics.mode).await;
    if let Some(managed) = database.managed {
        managed.stop().await?;
    }
    migrated?;
    println!("The schema is up to date ({} mode).", basics.mode);
    Ok(ExitCode::SUCCESS)
}

fn openapi() -> Result<ExitCode, Failure> {
    let text = http::api_document_json();
    std::io::stdout().write_all(text.as_bytes())?;
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
    println!(
        "A {role} key is issued by the running service, with an operator key:\n\n\
         \x20 curl -s http://127.0.0.1:8402/api/v1/admin/keys \\\n\
         \x20   -H 'Authorization: Bearer <operator key>' -H 'Content-Type: application/json' \\\n\
         \x20   -d '{body}'"
    );
    Ok(ExitCode::SUCCESS)
}

fn make_operator_key() -> Result<ExitCode, Failure> {
    let mode = Basics::from_env(Need::Service).map(|basics| basics.mode);
    let mode = mode.unwrap_or(Mode::Test);
    let entropy: &dyn Entropy = &SystemEntropy;
    let key = ApiKey::generate(entropy, mode);
    println!("operator key ({mode} mode), shown this once:\n  {}", key.reveal());
    println!(
        "set for the service:\n  BURSAR_ADMIN_KEY_HASH={}",
        hex::encode(key_hash(key.reveal()))
    );
    Ok(ExitCode::SUCCESS)
}

async fn export_journal(format: ExportFormat) -> Result<ExitCode, Failure> {
    let (finance, database) = reports().await?;
    let format = match format {
        ExportFormat::Csv => Format::Csv,
        ExportFormat::Jsonl => Format::Jsonl,
    };
    let mut journal = finance.journal(Scope::All, format).await?;
    let mut out = std::io::stdout().lock();
    while let Some(chunk) = journal.try_next().await? {
        out.write_all(&chunk)?;
    }
    out.flush()?;
    drop(journal);
    close(database).await?;
    Ok(ExitCode::SUCCESS)
}

async fn check() -> Result<ExitCode, Failure> {
    let (finance, database) = reports().await?;
    let report = finance.check().await?;
    print!("{report}");
    close(database).await?;
    Ok(if report.passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn reports() -> Result<(Finance, database::Database), Failure> {
    let basics = Basics::from_env(Need::Service)?;
    telemetry::init(&basics.log)?;
    let database = database::join(&basics.database).await?;
    let pool = db::report_pool(database.service.clone(), 2);
    db::check(&pool, basics.mode).await?;
    Ok((Finance::new(pool), database))
}

async fn close(database: database::Database) -> Result<(), Failure> {
    if let Some(managed) = database.managed {
        managed.stop().await?;
    }
    Ok(())
}
