//! `bursar topup`: what is open, what was said about it, and the operator's word.

use std::fmt::Write;
use std::process::ExitCode;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use sqlx::PgPool;

use crate::config::{BaseUrl, Settings};
use crate::db;
use crate::db::managed::effective_uid;
use crate::ground::{Clock, Entropy, SystemClock, SystemEntropy, TopupId};
use crate::telemetry;
use crate::x402::topup::{Ruled, Ruling, TopUps, TopupRecord, TopupState};

use super::database::{self, Database};
use super::output::print;
use super::service::{open_topups, start_engine};
use super::{Failure, Topup, TopupResolve};

/// Runs one of the commands.
pub(super) async fn run(asked: Topup) -> Result<ExitCode, Failure> {
    let settings = Settings::from_env()?;
    telemetry::init(&settings.log.quiet())?;
    let database = database::join(&settings.database).await?;
    let done = answer(&settings, &database, asked).await;
    if let Some(managed) = database.managed {
        managed.stop().await?;
    }
    print(done?.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

async fn answer(settings: &Settings, database: &Database, asked: Topup) -> Result<String, Failure> {
    let pool = db::service_pool(database.service.clone(), 4);
    db::check(&pool, settings.mode).await?;
    let topups = open(settings, &pool)?;
    let words = match asked {
        Topup::List(which) => list(&topups, which.parked).await,
        Topup::Show(which) => show(&topups, which.id).await,
        Topup::Resolve(how) => resolve(&topups, how).await,
    };
    drop(topups);
    pool.close().await;
    words
}

fn open(settings: &Settings, pool: &PgPool) -> Result<TopUps, Failure> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
    let engine = start_engine(settings, pool, &clock, &entropy);
    let local = BaseUrl::local(settings.http.bind);
    let public = local.join("");
    Ok(open_topups(settings, &local, &public, pool, &engine, &clock, &entropy)?)
}

async fn list(topups: &TopUps, parked: bool) -> Result<String, Failure> {
    let found = topups.listed(parked).await?;
    if found.is_empty() {
        let what = if parked { "parked" } else { "open" };
        return Ok(format!("No top-up is {what}.\n"));
    }
    let mut words = String::new();
    for record in &found {
        let TopupRecord { id, state, amount, payer, network, created_at, .. } = record;
        let (state, amount, created_at) = (state.name(), amount.to_string(), time(*created_at));
        let reason = record.reason.as_deref().unwrap_or("-");
        line(
            &mut words,
            format_args!(
                "{id}  {state:<8}  {amount:>14}  {payer}  {network}  {created_at}  {reason}"
            ),
        );
    }
    Ok(words)
}

async fn show(topups: &TopUps, id: TopupId) -> Result<String, Failure> {
    let record = topups.record(id).await?.ok_or("there is no such top-up")?;
    let mut words = described(&record);
    words.push_str("\nWhat was said and decided:\n");
    for entry in topups.audit(id).await? {
        let (at, kind, detail) = (time(entry.recorded_at), entry.kind, entry.detail);
        line(&mut words, format_args!("  {at}  {kind:<9}  {detail}"));
    }
    Ok(words)
}

async fn resolve(topups: &TopUps, how: TopupResolve) -> Result<String, Failure> {
    let ruling = match how.settled {
        Some(transaction) => Ruling::Settled { transaction },
        None => Ruling::Rejected,
    };
    let by = format!("user id {}", effective_uid()?);
    let why = how.reason.unwrap_or_default();
    let record = topups.rule(how.id, &ruling, &Ruled { by, why }).await?;
    let mut words = described(&record);
    if record.state == TopupState::Settled {
        words.push_str("\nThe credit did not commit yet; the service's resolver makes it.\n");
    }
    Ok(words)
}

fn described(record: &TopupRecord) -> String {
    let mut words = String::new();
    let sent = record.sent_at.map_or("never".to_owned(), time);
    let next = record.next_at.map_or("never".to_owned(), time);
    let valid = DateTime::from_timestamp(record.valid_before, 0).map_or("-".to_owned(), time);
    for (name, value) in [
        ("top-up", record.id.to_string()),
        ("state", record.status().to_owned()),
        ("reason", record.reason().unwrap_or("-").to_owned()),
        ("amount", record.amount.to_string()),
        ("account", record.account.to_string()),
        ("network", record.network.clone()),
        ("asset", record.asset.clone()),
        ("payer", record.payer.clone()),
        ("nonce", record.nonce.clone()),
        ("paid to", record.pay_to.clone()),
        ("transaction", record.settlement_tx.clone().unwrap_or_else(|| "-".to_owned())),
        ("made", time(record.created_at)),
        ("sent", sent),
        ("valid before", valid),
        ("looked at next", next),
    ] {
        line(&mut words, format_args!("{name:<15}{value}"));
    }
    words
}

fn line(words: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing into a text cannot fail.
    let _ = writeln!(words, "{text}");
}

fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339()
}
