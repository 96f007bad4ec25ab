//! Charges, itemised, and their reversal.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, get, post, web};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::accounts::{KeyRole, Principal};
use crate::checkout::{ChargeView, CheckoutError, ReversalRequest, ReversalView};
use crate::ground::{BookId, ChargeId, Page};
use crate::http::Problem;
use crate::http::auth::{Customer, Granted, Reader, Verifier};
use crate::http::extract::{ApiJson, ApiPath, ApiQuery, IdempotencyHeader};
use crate::http::fields::{Price, Reason};
use crate::http::outcome::{answer, identity};
use crate::http::paging::Paging;
use crate::http::state::AppState;

/// What is to be given back.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ReversalRequest, example = json!({"amount": "1.25", "reason": "the address bounced"}))]
pub struct ReverseRequest {
    /// How much; all that is left of the charge unless said otherwise.
    pub amount: Option<Price>,
    /// Why.
    pub reason: Reason,
}

/// The account's charges
///
/// Newest first, each with the credits it took, its evidence and its verdict.
#[utoipa::path(
    tag = "checkouts",
    security(("api_key" = [])),
    params(Paging),
    responses(
        (status = 200, description = "A page of charges", body = Page<ChargeView>),
        (status = 401, response = Problem),
        (status = 403, response = Problem),
        (status = 422, response = Problem),
    ),
)]
#[get("/api/v1/charges")]
pub async fn list_charges(
    state: web::Data<AppState>,
    request: HttpRequest,
    access: Granted<Customer, ApiQuery<Paging>>,
) -> Result<HttpResponse, Problem> {
    let page = access.asked.0.read::<ChargeId>()?;
    let rows = state.checkouts.charges(access.caller.account, page.after, page.rows()).await?;
    Ok(page.answer(&request, rows, |row| row.charge_id.to_string()))
}

/// One charge
///
/// A customer reads its own, an operator any.
#[utoipa::path(
    tag = "checkouts",
    security(("api_key" = [])),
    params(("charge_id" = ChargeId, Path, description = "The charge")),
    responses(
        (status = 200, description = "The charge", body = ChargeView),
        (status = 401, response = Problem),
        (status = 403, response = Problem),
        (status = 404, response = Problem),
    ),
)]
#[get("/api/v1/charges/{charge_id}")]
pub async fn read_charge(
    state: web::Data<AppState>,
    access: Granted<Reader, ApiPath<ChargeId>>,
) -> Result<HttpResponse, Problem> {
    let ApiPath(charge) = access.asked;
    let account = account_of(&state, &access.caller, charge).await?;
    let view = state.checkouts.charge(account, charge).await?;
    Ok(HttpResponse::Ok().json(view))
}

/// In whose account a charge is looked for: an operator may read any.
pub(super) async fn account_of(
    state: &AppState,
    caller: &Principal,
    charge: ChargeId,
) -> Result<BookId, CheckoutError> {
    match caller.role {
        KeyRole::Operator => state.checkouts.account_of_charge(charge).await,
        KeyRole::Customer | KeyRole::Fulfiller | KeyRole::Verifier => Ok(caller.account),
    }
}

/// Reverse a charge
///
/// Whole or in part, within its dispute window, into the very credits that it took. For verifier
/// and operator keys.
#[utoipa::path(
    tag = "checkouts",
    security(("api_key" = [])),
    params(
        ("charge_id" = ChargeId, Path, description = "The charge"),
        ("Idempotency-Key" = String, Header, description = "A fresh random value per reversal"),
    ),
    request_body = ReverseRequest,
    responses(
        (status = 201, description = "What was given back", body = ReversalView),
        (status = 400, response = Problem),
        (status = 401, response = Problem),
        (status = 403, response = Problem),
        (status = 404, response = Problem),
        (status = 409, response = Problem),
        (status = 422, response = Problem),
    ),
)]
#[post("/api/v1/charges/{charge_id}/reversals")]
pub async fn reverse_charge(
    state: web::Data<AppState>,
    access: Granted<Verifier, (ApiPath<ChargeId>, IdempotencyHeader, ApiJson<ReverseRequest>)>,
) -> Result<HttpResponse, Problem> {
    let by = access.staff();
    let caller = access.caller;
    let (ApiPath(charge), IdempotencyHeader(key), ApiJson(request)) = access.asked;
    let route = format!("/api/v1/charges/{charge}/reversals");
    let identity = identity(&caller, &key, &route, &request);
    let reversal = ReversalRequest {
        by,
        amount: request.amount.map(Price::get),
        reason: request.reason.into_string(),
    };
    let outcome = state.checkouts.reverse(charge, identity, reversal).await?;
    answer(&state, outcome, StatusCode::CREATED)
}
