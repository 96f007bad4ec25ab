//! Health, metrics and the guide for agents.

use std::collections::BTreeMap;
use std::time::Duration;

use actix_web::http::header;
use actix_web::{HttpResponse, get, web};
use serde::Serialize;
use serde_json::json;
use tokio::time::timeout;
use utoipa::ToSchema;

use crate::db::{self, SchemaError};
use crate::ground::Mode;
use crate::http::state::AppState;
use crate::http::{Code, Problem};
use crate::ledger;
use crate::x402::facilitator::{Reach, Standing};

/// How long a probe waits for anything.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

const GUIDE: &str = include_str!("../../llms.txt");

/// The process lives.
#[derive(Debug, Serialize, ToSchema)]
pub struct Alive {
    /// `ok`.
    #[schema(example = "ok")]
    pub status: &'static str,
    /// Whether real money is at stake.
    pub mode: Mode,
}

/// Whether work can be done.
#[derive(Debug, Serialize, ToSchema)]
pub struct Ready {
    /// `ready`, or `degraded` when top-ups cannot be settled or a restored ledger only reads.
    #[schema(example = "ready")]
    pub status: &'static str,
    /// What was looked at.
    pub checks: ReadyChecks,
}

/// What readiness looks at: `ok`, `failed`, or `unknown` where it could not be looked at.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ReadyChecks {
    /// Whether the database answers.
    pub database: &'static str,
    /// Whether its schema and mode are this process's.
    pub schema: &'static str,
    /// Whether payments can be settled: `ok` on every network, `partly` on some, `failed` on none.
    pub facilitator: &'static str,
    /// Each network that is offered: `ok`, `unreachable` where no facilitator that serves it
    /// answers, `unsupported` where none serves it, `unknown` where none was asked yet.
    #[schema(example = json!({"eip155:84532": "ok"}))]
    pub networks: BTreeMap<&'static str, &'static str>,
    /// Each facilitator by its host, in the same words.
    #[schema(example = json!({"facilitator.example.com": "ok"}))]
    pub facilitators: BTreeMap<String, &'static str>,
    /// Whether money may move; `restored` while a ledger out of a backup is not confirmed.
    pub ledger: &'static str,
}

/// The process lives
///
/// Says nothing about the database; `/readyz` does.
#[utoipa::path(tag = "service", responses(
    (status = 200, description = "It lives", body = Alive),
))]
#[get("/healthz")]
pub async fn say_alive(state: web::Data<AppState>) -> HttpResponse {
    HttpResponse::Ok().json(Alive { status: "ok", mode: state.mode })
}

/// Work can be done
///
/// A facilitator that does not answer degrades the service and does not end it: everything but
/// top-ups goes on.
#[utoipa::path(tag = "service", responses(
    (status = 200, description = "Ready, or degraded", body = Ready),
    (status = 503, response = Problem),
))]
#[get("/readyz")]
pub async fn say_ready(state: web::Data<AppState>) -> Result<HttpResponse, Problem> {
    let schema = timeout(PROBE_TIMEOUT, db::check(&state.pool, state.mode));
    let facilitators = state.topups.facilitators();
    // Only the first time: after that the background keeps it up.
    let known = timeout(PROBE_TIMEOUT, facilitators.know_all());
    let (schema, _) = futures_util::future::join(schema, known).await;
    let standing = facilitators.standing(&state.networks);
    let (database, schema) = match schema {
        Ok(Ok(())) => ("ok", "ok"),
        Ok(Err(SchemaError::Database(_))) | Err(_) => ("failed", "unknown"),
        Ok(Err(_)) => ("ok", "failed"),
    };
    let facilitator = overall(&standing);
    let reachable = facilitator == "ok";
    let ledger = match timeout(PROBE_TIMEOUT, ledger::is_restored(&state.pool)).await {
        Ok(Ok(false)) => "ok",
        Ok(Ok(true)) => "restored",
        Ok(Err(_)) | Err(_) => "unknown",
    };
    let networks = standing.networks.iter().map(|(id, reach)| (*id, word(*reach))).collect();
    let hosts = standing.facilitators.into_iter().map(|(host, reach)| (host, word(reach)));
    let facilitators = hosts.collect();
    let checks = ReadyChecks { database, schema, facilitator, networks, facilitators, ledger };
    if database != "ok" || schema != "ok" {
        return Err(Problem::new(Code::Unavailable).with("checks", json!(checks)));
    }
    let status = if reachable && ledger == "ok" { "ready" } else { "degraded" };
    Ok(HttpResponse::Ok().json(Ready { status, checks }))
}

fn overall(standing: &Standing) -> &'static str {
    let mut reaches = standing.networks.iter().map(|(_, reach)| *reach == Reach::Ok);
    match (reaches.clone().all(|ok| ok), reaches.any(|ok| ok)) {
        (true, _) => "ok",
        (false, true) => "partly",
        (false, false) => "failed",
    }
}

const fn word(reach: Reach) -> &'static str {
    match reach {
        Reach::Ok => "ok",
        Reach::Unknown => "unknown",
        Reach::Unreachable => "unreachable",
        Reach::Unsupported => "unsupported",
    }
}

/// Metrics for Prometheus
#[utoipa::path(tag = "service", responses(
    (status = 200, description = "Counters, gauges and histograms", body = String),
))]
#[get("/metrics")]
pub async fn show_metrics(state: web::Data<AppState>) -> HttpResponse {
    let text = state.metrics.render().await;
    HttpResponse::Ok().content_type("text/plain; version=0.0.4; charset=utf-8").body(text)
}

/// The guide for agents
///
/// The whole flow, step by step, as llmstxt.org has it.
#[utoipa::path(tag = "service", responses(
    (status = 200, description = "Markdown", body = String),
))]
#[get("/llms.txt")]
pub async fn show_guide() -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/plain; charset=utf-8")
        .insert_header((header::CACHE_CONTROL, "public, max-age=300"))
        .body(GUIDE)
}
