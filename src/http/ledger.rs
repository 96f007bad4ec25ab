//! The journal and what it adds up to: a customer's own, or all of it for the operator.

use actix_web::http::header;
use actix_web::{HttpResponse, get, web};
use futures_util::{StreamExt, stream};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use crate::accounts::{KeyRole, Principal};
use crate::finance::{Format, Scope, TrialBalance};
use crate::http::Problem;
use crate::http::auth::{Granted, Reader};
use crate::http::extract::ApiQuery;
use crate::http::state::AppState;

/// How an export is written.
#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ExportFormat {
    /// A header and one line per transfer.
    #[default]
    Csv,
    /// One JSON object per line.
    Jsonl,
}

/// What to export.
#[derive(Clone, Copy, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ExportQuery {
    /// How it is written; `csv` unless asked otherwise.
    #[serde(default)]
    #[param(inline, required = false)]
    format: ExportFormat,
}

/// Export the journal
///
/// Every transfer, streamed: a customer's own, or all of them for the operator.
#[utoipa::path(
    tag = "ledger",
    security(("api_key" = [])),
    params(ExportQuery),
    responses(
        (status = 200, description = "The journal", content(
            (String = "text/csv"),
            (String = "application/x-ndjson"),
        )),
        (status = 401, response = Problem),
        (status = 403, response = Problem),
        (status = 422, response = Problem),
    ),
)]
#[get("/api/v1/ledger/export")]
pub async fn export_journal(
    state: web::Data<AppState>,
    access: Granted<Reader, ApiQuery<ExportQuery>>,
) -> Result<HttpResponse, Problem> {
    let (format, media, name) = match access.asked.0.format {
        ExportFormat::Csv => (Format::Csv, "text/csv; charset=utf-8", "journal.csv"),
        ExportFormat::Jsonl => (Format::Jsonl, "application/x-ndjson", "journal.jsonl"),
    };
    let mut chunks = state.finance.journal(scope(&access.caller), format).await?;
    // The first chunk is awaited, so that a database that is gone is still a proper answer. What
    // breaks later ends the connection without the final chunk, which no client takes for the end.
    let first = chunks.next().await.transpose()?;
    let chunks = stream::iter(first.map(Ok)).chain(chunks);
    Ok(HttpResponse::Ok()
        .content_type(media)
        .insert_header((header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\"")))
        .streaming(chunks))
}

/// The trial balance
///
/// From balance rows: a customer's own, or all books for the operator.
#[utoipa::path(
    tag = "ledger",
    security(("api_key" = [])),
    responses(
        (status = 200, description = "The balance of every role", body = TrialBalance),
        (status = 401, response = Problem),
        (status = 403, response = Problem),
    ),
)]
#[get("/api/v1/ledger/trial-balance")]
pub async fn read_trial_balance(
    state: web::Data<AppState>,
    access: Granted<Reader>,
) -> Result<HttpResponse, Problem> {
    let balance = state.finance.trial_balance(scope(&access.caller)).await?;
    Ok(HttpResponse::Ok().json(balance))
}

/// What a caller may see.
fn scope(caller: &Principal) -> Scope {
    match caller.role {
        KeyRole::Operator => Scope::All,
        KeyRole::Customer | KeyRole::Fulfiller | KeyRole::Verifier => Scope::Book(caller.account),
    }
}
