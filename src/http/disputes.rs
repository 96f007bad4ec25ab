//! Disputes: begun by the buyer, decided by verifiers and the operator.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, get, post, web};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::checkout::{DisputeDecision, DisputeRequest, DisputeView};
use crate::ground::{ChargeId, DisputeId, Page};
use crate::http::Problem;
use crate::http::auth::{Customer, Granted, Verifier};
use crate::http::extract::{ApiJson, ApiPath, ApiQuery, IdempotencyHeader};
use crate::http::fields::{Price, Reason, word};
use crate::http::outcome::{answer, identity};
use crate::http::paging::Paging;
use crate::http::state::AppState;

/// What the buyer objects to.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = DisputeRequest, example = json!({"amount": "1.25", "reason": "the address bounces"}))]
pub struct BeginDisputeRequest {
    /// How much; all that is left of the charge unless said otherwise.
    pub amount: Option<Price>,
    /// Why.
    pub reason: Reason,
}

/// Which way a dispute is decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DisputeJudgement {
    /// What is disputed goes back.
    Upheld,
    /// The charge stands.
    Denied,
}

/// The decision of a dispute.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"decision": "upheld", "reason": "it does bounce"}))]
pub struct DecisionRequest {
    /// The decision.
    #[serde(deserialize_with = "word")]
    pub decision: DisputeJudgement,
    /// Why.
    pub reason: Reason,
}

/// Dispute a charge
///
/// Whole or in part, before `final_at`. Nothing moves by it, but what is disputed is not final before
/// the dispute is decided: upheld, which gives it back, or denied. The rest becomes final at `final_at`
/// all the same. Whoever is to decide has the `dispute_decision_seconds` of the item's terms, counted
/// from the dispute; from `decide_by` on it is upheld by itself. A charge has one open dispute at a
/// time, and five in all at most.
#[utoipa::path(
    tag = "checkouts",
    security(("api_key" = [])),
    params(
        ("charge_id" = ChargeId, Path, description = "The charge"),
        ("Idempotency-Key" = String, Header, description = "A fresh random value per dispute"),
    ),
    request_body = BeginDisputeRequest,
    responses(
        (status = 201, description = "The dispute", body = DisputeView),
        (status = 400, response = Problem),
        (status = 401, response = Problem),
        (status = 403, response = Problem),
        (status = 404, response = Problem),
        (status = 409, response = Problem),
        (status = 422, response = Problem),
    ),
)]
#[post("/api/v1/charges/{charge_id}/disputes")]
pub async fn dispute_charge(
    state: web::Data<AppState>,
    access: Granted<Customer, (ApiPath<ChargeId>, IdempotencyHeader, ApiJson<BeginDisputeRequest>)>,
) -> Result<HttpResponse, Problem> {
    let caller = access.caller;
    let (ApiPath(charge), IdempotencyHeader(key), ApiJson(request)) = access.asked;
    let route = format!("/api/v1/charges/{charge}/disputes");
    let identity = identity(&caller, &key, &route, &request);
    let dispute = DisputeRequest {
        by: caller.key,
        amount: request.amount.map(Price::get),
        reason: request.reason.into_string(),
    };
    let outcome = state.checkouts.dispute(caller.account, charge, identity, dispute).await?;
    answer(&state, outcome, StatusCode::CREATED)
}

/// The open disputes
///
/// Oldest first. A verifier sees those about the SKUs that it serves, the operator all.
#[utoipa::path(
    tag = "checkouts",
    security(("api_key" = [])),
    params(Paging),
    responses(
        (status = 200, description = "A page of disputes", body = Page<DisputeView>),
        (status = 401, response = Problem),
        (status = 403, response = Problem),
        (status = 422, response = Problem),
    ),
)]
#[get("/api/v1/disputes")]
pub async fn list_disputes(
    state: web::Data<AppState>,
    request: HttpRequest,
    access: Granted<Verifier, ApiQuery<Paging>>,
) -> Result<HttpResponse, Problem> {
    let by = access.staff();
    let page = access.asked.0.read::<DisputeId>()?;
    let rows = state.checkouts.open_disputes(&by, page.after, page.rows()).await?;
    Ok(page.answer(&request, rows, |row| row.dispute_id.to_string()))
}

/// Decide a dispute
///
/// Once, and before its deadline. What is upheld goes back at once, into the very credits that the
/// charge took. For verifier and operator keys.
#[utoipa::path(
    tag = "checkouts",
    security(("api_key" = [])),
    params(
        ("dispute_id" = DisputeId, Path, description = "The dispute"),
        ("Idempotency-Key" = String, Header, description = "A fresh random value per decision"),
    ),
    request_body = DecisionRequest,
    responses(
        (status = 200, description = "The dispute as it was decided", body = DisputeView),
        (status = 400, response = Problem),
        (status = 401, response = Problem),
        (status = 403, response = Problem),
        (status = 404, response = Problem),
        (status = 409, response = Problem),
        (status = 422, response = Problem),
    ),
)]
#[post("/api/v1/disputes/{dispute_id}/decision")]
pub async fn decide_dispute(
    state: web::Data<AppState>,
    access: Granted<Verifier, (ApiPath<DisputeId>, IdempotencyHeader, ApiJson<DecisionRequest>)>,
) -> Result<HttpResponse, Problem> {
    let by = access.staff();
    let caller = access.caller;
    let (ApiPath(dispute), IdempotencyHeader(key), ApiJson(request)) = access.asked;
    let route = format!("/api/v1/disputes/{dispute}/decision");
    let identity = identity(&caller, &key, &route, &request);
    let upheld = match request.decision {
        DisputeJudgement::Upheld => true,
        DisputeJudgement::Denied => false,
    };
    let decision = DisputeDecision { by, upheld, reason: request.reason.into_string() };
    let outcome = state.checkouts.decide_dispute(dispute, identity, decision).await?;
    answer(&state, outcome, StatusCode::OK)
}
