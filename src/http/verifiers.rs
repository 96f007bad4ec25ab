//! Verifiers that are called for verdicts.

use actix_web::{HttpRequest, HttpResponse, get, post, web};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::checkout;
use crate::ground::{Page, VerifierId};
use crate::http::Problem;
use crate::http::auth::{Granted, Operator};
use crate::http::extract::{ApiJson, ApiQuery};
use crate::http::paging::Paging;
use crate::http::state::AppState;

/// A verifier that is to be called.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"url": "https://verifier.example.com/bursar"}))]
pub struct VerifierRequest {
    /// What is called: https, without credentials and fragment, at an address that the operator has
    /// allowed. In test mode http and this machine are good too, unless it is set otherwise.
    #[schema(min_length = 1, max_length = 2048)]
    pub url: String,
}

/// A verifier with its secret.
#[derive(Debug, Serialize, ToSchema)]
pub struct VerifierAnswer {
    #[serde(flatten)]
    pub verifier: checkout::Verifier,
    /// The secret that signs what it is asked, from now on. It is shown this once.
    #[schema(example = "whsec_…")]
    pub secret: String,
}

/// Register a verifier
///
/// SKUs with the verification `http` name it: it is then sent every result of theirs that meets the
/// schema, signed as Standard Webhooks has it, until it answers with a verdict or the verification
/// deadline passes. The secret is shown this once.
///
/// A URL that is registered already gets a new secret. The one before it signs too until
/// `previous_secret_until`, for 24 hours. While it does, it stays: registered once more in that time, the
/// newest secret and that oldest one sign, and the one between them signs no more from then on. So a
/// registration can be repeated when its answer was lost; who wants to change a secret that is in use
/// waits until `previous_secret_until` is over. What waits for the verifier, and open results that it is
/// not asked about any more, are asked about at once and with as many calls as at first, up to 10000 of
/// each; the others wait for their own time, or for a verdict by hand.
#[utoipa::path(
    tag = "admin",
    security(("api_key" = [])),
    request_body = VerifierRequest,
    responses(
        (status = 201, description = "The verifier and its secret", body = VerifierAnswer),
        (status = 401, response = Problem),
        (status = 403, response = Problem),
        (status = 409, response = Problem),
        (status = 422, response = Problem),
    ),
)]
#[post("/api/v1/admin/verifiers")]
pub async fn register_verifier(
    state: web::Data<AppState>,
    access: Granted<Operator, ApiJson<VerifierRequest>>,
) -> Result<HttpResponse, Problem> {
    let ApiJson(VerifierRequest { url }) = access.asked;
    let (verifier, secret) = state.verifiers.register(&url).await?;
    Ok(HttpResponse::Created().json(VerifierAnswer { verifier, secret: secret.reveal() }))
}

/// The verifiers
///
/// Oldest first, each with how its calls have gone: after too many in a row that failed it is given a
/// rest, and then asked about a single result.
#[utoipa::path(
    tag = "admin",
    security(("api_key" = [])),
    params(Paging),
    responses(
        (status = 200, description = "A page of verifiers", body = Page<checkout::Verifier>),
        (status = 401, response = Problem),
        (status = 403, response = Problem),
        (status = 422, response = Problem),
    ),
)]
#[get("/api/v1/admin/verifiers")]
pub async fn list_verifiers(
    state: web::Data<AppState>,
    request: HttpRequest,
    access: Granted<Operator, ApiQuery<Paging>>,
) -> Result<HttpResponse, Problem> {
    let page = access.asked.0.read::<VerifierId>()?;
    let rows = state.verifiers.list(page.after, page.rows()).await?;
    Ok(page.answer(&request, rows, |row| row.verifier_id.to_string()))
}
