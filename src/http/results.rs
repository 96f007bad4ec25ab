//! Results: submitted by fulfillers, read and judged by verifiers. Never by customers.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, get, post, web};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::checkout::{Check, ResultSubmission, Verdict};
use crate::checkout::{ResultView, SubmissionView, VerdictView};
use crate::ground::{CheckoutId, Page};
use crate::http::auth::{Fulfiller, Granted, Reader, Verifier};
use crate::http::checkouts::account_of;
use crate::http::extract::{ApiJson, ApiPath, ApiQuery, IdempotencyHeader};
use crate::http::fields::{
    AnyJson, CriteriaVersion, ItemNumber, Label, Quantity, Reason, ResultName, word,
};
use crate::http::list::Several;
use crate::http::outcome::{answer, identity};
use crate::http::paging::Paging;
use crate::http::state::AppState;
use crate::http::{Code, Problem};

/// What was delivered.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "results": [{
        "result_id": "run-7-lead-1", "item": 1, "quantity": 1,
        "evidence": {"email": "ada@example.com", "checked_at": "2026-11-20T10:30:00Z"},
    }],
}))]
pub struct ResultsRequest {
    /// The results, all of which are taken, or none.
    #[schema(value_type = Vec<ResultRequest>, min_items = 1, max_items = 100)]
    pub results: Several<ResultRequest, 1, 100>,
}

/// One result: what was delivered of one item.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResultRequest {
    /// The fulfiller's own name for it, unique in the checkout.
    pub result_id: ResultName,
    /// The item's number in the checkout.
    pub item: ItemNumber,
    /// How many units it delivers.
    pub quantity: Quantity,
    /// What proves it: what the schema of the criteria asks for, else of any shape; at most 32768 bytes.
    pub evidence: AnyJson,
}

/// What a verifier says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Judgement {
    /// All of it is charged.
    Accepted,
    /// Nothing of it is charged.
    Rejected,
    /// `accepted_quantity` units are charged, the rest goes back.
    PartiallyAccepted,
}

/// A verdict on a result.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "verdict": "accepted", "reason": "meets the criteria",
    "checks": [{"name": "email_deliverable", "passed": true}],
}))]
pub struct VerdictRequest {
    /// The verdict.
    #[serde(deserialize_with = "word")]
    pub verdict: Judgement,
    /// How many units are accepted: required when partially accepted, else left out.
    pub accepted_quantity: Option<Quantity>,
    /// The version of the criteria that it judges by. With another one than that of the item the
    /// verdict is refused.
    pub criteria_version: Option<CriteriaVersion>,
    /// Why.
    pub reason: Option<Reason>,
    /// What was checked.
    #[serde(default)]
    #[schema(value_type = Vec<CheckRequest>, max_items = 16)]
    pub checks: Several<CheckRequest, 0, 16>,
}

/// One check of a verdict.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CheckRequest {
    /// What was checked.
    pub name: Label,
    /// Whether it passed.
    pub passed: bool,
    /// What was found.
    pub detail: Option<Reason>,
}

impl From<CheckRequest> for Check {
    fn from(check: CheckRequest) -> Self {
        Self {
            name: check.name.into_string(),
            passed: check.passed,
            detail: check.detail.map(Reason::into_string),
        }
    }
}

/// Which result.
type ResultPath = ApiPath<(CheckoutId, ResultName)>;

/// Submit results
///
/// All of them, or none and the refusal says which one was in the way. Each takes its units out of
/// what is open of its item and puts them under verification; one whose evidence does not meet the
/// schema of the criteria is rejected at once, with the places where it does not, and its units are
/// released. For fulfiller and operator keys.
#[utoipa::path(
    tag = "checkouts",
    security(("api_key" = [])),
    params(
        ("checkout_id" = CheckoutId, Path, description = "The checkout"),
        ("Idempotency-Key" = String, Header, description = "A fresh random value per request"),
    ),
    request_body = ResultsRequest,
    responses(
        (status = 201, description = "The results, under verification or rejected by their schema", body = SubmissionView),
        (status = 400, response = Problem),
        (status = 401, response = Problem),
        (status = 403, response = Problem),
        (status = 404, response = Problem),
        (status = 409, response = Problem),
        (status = 422, response = Problem),
    ),
)]
#[post("/api/v1/checkouts/{checkout_id}/results")]
pub async fn submit_results(
    state: web::Data<AppState>,
    access: Granted<Fulfiller, (ApiPath<CheckoutId>, IdempotencyHeader, ApiJson<ResultsRequest>)>,
) -> Result<HttpResponse, Problem> {
    let by = access.staff();
    let caller = access.caller;
    let (ApiPath(checkout), IdempotencyHeader(key), ApiJson(request)) = access.asked;
    let route = format!("/api/v1/checkouts/{checkout}/results");
    let identity = identity(&caller, &key, &route, &request);
    let result = |result: ResultRequest| ResultSubmission {
        result_id: result.result_id.into_string(),
        item: result.item.get(),
        quantity: result.quantity.get(),
        evidence: result.evidence.into_value(),
    };
    let results = request.results.into_vec().into_iter().map(result).collect();
    let outcome = state.checkouts.submit(checkout, identity, by, results).await?;
    answer(&state, outcome, StatusCode::CREATED)
}

/// The results of a checkout
///
/// By their ids, with their evidence. A customer reads its own, an operator any.
#[utoipa::path(
    tag = "checkouts",
    security(("api_key" = [])),
    params(("checkout_id" = CheckoutId, Path, description = "The checkout"), Paging),
    responses(
        (status = 200, description = "A page of results", body = Page<ResultView>),
        (status = 401, response = Problem),
        (status = 403, response = Problem),
        (status = 404, response = Problem),
        (status = 422, response = Problem),
    ),
)]
#[get("/api/v1/checkouts/{checkout_id}/results")]
pub async fn list_results(
    state: web::Data<AppState>,
    request: HttpRequest,
    access: Granted<Reader, (ApiPath<CheckoutId>, ApiQuery<Paging>)>,
) -> Result<HttpResponse, Problem> {
    let (ApiPath(checkout), paging) = access.asked;
    let page = paging.0.read::<ResultName>()?;
    let account = account_of(&state, &access.caller, checkout).await?;
    let after = page.after.as_ref().map_or("", ResultName::as_str);
    let rows = state.checkouts.results(account, checkout, after, page.rows()).await?;
    Ok(page.answer(&request, rows, |row| row.result_id.clone()))
}

/// One result
///
/// With its evidence. A customer reads its own, an operator any.
#[utoipa::path(
    tag = "checkouts",
    security(("api_key" = [])),
    params(
        ("checkout_id" = CheckoutId, Path, description = "The checkout"),
        ("result_id" = ResultName, Path, description = "The result"),
    ),
    responses(
        (status = 200, description = "The result", body = ResultView),
        (status = 401, response = Problem),
        (status = 403, response = Problem),
        (status = 404, response = Problem),
    ),
)]
#[get("/api/v1/checkouts/{checkout_id}/results/{result_id}")]
pub async fn read_result(
    state: web::Data<AppState>,
    access: Granted<Reader, ResultPath>,
) -> Result<HttpResponse, Problem> {
    let ApiPath((checkout, result)) = access.asked;
    let account = account_of(&state, &access.caller, checkout).await?;
    let view = state.checkouts.result(account, checkout, result.as_str()).await?;
    Ok(HttpResponse::Ok().json(view))
}

/// Judge a result
///
/// What is accepted is charged, the rest goes back. A result has one verdict. For verifier and
/// operator keys.
#[utoipa::path(
    tag = "checkouts",
    security(("api_key" = [])),
    params(
        ("checkout_id" = CheckoutId, Path, description = "The checkout"),
        ("result_id" = ResultName, Path, description = "The result"),
        ("Idempotency-Key" = String, Header, description = "A fresh random value per verdict"),
    ),
    request_body = VerdictRequest,
    responses(
        (status = 200, description = "What the verdict did", body = VerdictView),
        (status = 400, response = Problem),
        (status = 401, response = Problem),
        (status = 403, response = Problem),
        (status = 404, response = Problem),
        (status = 409, response = Problem),
        (status = 422, response = Problem),
    ),
)]
#[post("/api/v1/checkouts/{checkout_id}/results/{result_id}/verdict")]
pub async fn judge_result(
    state: web::Data<AppState>,
    access: Granted<Verifier, (ResultPath, IdempotencyHeader, ApiJson<VerdictRequest>)>,
) -> Result<HttpResponse, Problem> {
    let by = access.staff();
    let caller = access.caller;
    let (ApiPath((checkout, result)), IdempotencyHeader(key), ApiJson(request)) = access.asked;
    let result = result.as_str();
    let route = format!("/api/v1/checkouts/{checkout}/results/{result}/verdict");
    let identity = identity(&caller, &key, &route, &request);
    let accepted = accepted(&request)?;
    let verdict = Verdict {
        by,
        criteria_version: request.criteria_version.map(CriteriaVersion::get),
        accepted,
        reason: request.reason.map(Reason::into_string),
        checks: request.checks.into_vec().into_iter().map(Check::from).collect(),
    };
    let outcome = state.checkouts.judge(checkout, result, identity, verdict).await?;
    answer(&state, outcome, StatusCode::OK)
}

/// How many units a verdict accepts; none when it accepts all of them.
fn accepted(request: &VerdictRequest) -> Result<Option<i64>, Problem> {
    let misfit = |why| Problem::new(Code::ValidationFailed).field("accepted_quantity").detail(why);
    match (request.verdict, request.accepted_quantity) {
        (Judgement::Accepted, None) => Ok(None),
        (Judgement::Rejected, None) => Ok(Some(0)),
        (Judgement::PartiallyAccepted, Some(quantity)) => Ok(Some(quantity.get())),
        (Judgement::PartiallyAccepted, None) => Err(misfit("a partial acceptance says how much")),
        (Judgement::Accepted | Judgement::Rejected, Some(_)) => {
            Err(misfit("only a partial acceptance says how much"))
        }
    }
}
