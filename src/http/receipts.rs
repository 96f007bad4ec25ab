//! Receipts, for programs and for people.

use actix_web::http::header::{self, Accept, Header};
use actix_web::{HttpRequest, HttpResponse, get, web};

use crate::checkout::Receipt;
use crate::ground::{ChargeId, CheckoutId, ReversalId};
use crate::http::auth::{Granted, Reader};
use crate::http::extract::ApiPath;
use crate::http::fields::ResultName;
use crate::http::receipt_page::{POLICY, page};
use crate::http::state::AppState;
use crate::http::{Problem, charges, checkouts};

/// The receipt of a charge
///
/// Line, lots, evidence hash, verdict and ledger transactions in one place: as JSON, or for people as
/// HTML when `Accept` prefers `text/html`. A customer reads its own, an operator any.
#[utoipa::path(
    tag = "checkouts",
    security(("api_key" = [])),
    params(("charge_id" = ChargeId, Path, description = "The charge")),
    responses(
        (status = 200, description = "The receipt", content(
            (Receipt = "application/json"), (String = "text/html"),
        )),
        (status = 401, response = Problem),
        (status = 403, response = Problem),
        (status = 404, response = Problem),
    ),
)]
#[get("/api/v1/charges/{charge_id}/receipt")]
pub async fn read_charge_receipt(
    state: web::Data<AppState>,
    request: HttpRequest,
    access: Granted<Reader, ApiPath<ChargeId>>,
) -> Result<HttpResponse, Problem> {
    let ApiPath(charge) = access.asked;
    let account = charges::account_of(&state, &access.caller, charge).await?;
    let receipt = state.checkouts.charge_receipt(account, charge).await?;
    Ok(answer(&state, &request, &receipt))
}

/// The receipt of a reversal
///
/// What was given back of a charge, why, and to which lots: as JSON, or as HTML when `Accept` prefers
/// `text/html`. A customer reads its own, an operator any.
#[utoipa::path(
    tag = "checkouts",
    security(("api_key" = [])),
    params(
        ("charge_id" = ChargeId, Path, description = "The charge"),
        ("reversal_id" = ReversalId, Path, description = "The reversal"),
    ),
    responses(
        (status = 200, description = "The receipt", content(
            (Receipt = "application/json"), (String = "text/html"),
        )),
        (status = 401, response = Problem),
        (status = 403, response = Problem),
        (status = 404, response = Problem),
    ),
)]
#[get("/api/v1/charges/{charge_id}/reversals/{reversal_id}/receipt")]
pub async fn read_reversal_receipt(
    state: web::Data<AppState>,
    request: HttpRequest,
    access: Granted<Reader, ApiPath<(ChargeId, ReversalId)>>,
) -> Result<HttpResponse, Problem> {
    let ApiPath((charge, reversal)) = access.asked;
    let account = charges::account_of(&state, &access.caller, charge).await?;
    let receipt = state.checkouts.reversal_receipt(account, charge, reversal).await?;
    Ok(answer(&state, &request, &receipt))
}

/// The receipt of a result
///
/// Once it is decided: of its charge, or of the refusal to charge it, with who judged and why. As JSON,
/// or as HTML when `Accept` prefers `text/html`. A customer reads its own, an operator any.
#[utoipa::path(
    tag = "checkouts",
    security(("api_key" = [])),
    params(
        ("checkout_id" = CheckoutId, Path, description = "The checkout"),
        ("result_id" = ResultName, Path, description = "The result"),
    ),
    responses(
        (status = 200, description = "The receipt", content(
            (Receipt = "application/json"), (String = "text/html"),
        )),
        (status = 401, response = Problem),
        (status = 403, response = Problem),
        (status = 404, response = Problem),
    ),
)]
#[get("/api/v1/checkouts/{checkout_id}/results/{result_id}/receipt")]
pub async fn read_result_receipt(
    state: web::Data<AppState>,
    request: HttpRequest,
    access: Granted<Reader, ApiPath<(CheckoutId, ResultName)>>,
) -> Result<HttpResponse, Problem> {
    let ApiPath((checkout, result)) = access.asked;
    let account = checkouts::account_of(&state, &access.caller, checkout).await?;
    let receipt = state.checkouts.result_receipt(account, checkout, result.as_str()).await?;
    Ok(answer(&state, &request, &receipt))
}

/// The receipt in the form that is wanted. Texts in it come from strangers: the page escapes them, and
/// forbids everything but its own style, should it ever fail to.
fn answer(state: &AppState, request: &HttpRequest, receipt: &Receipt) -> HttpResponse {
    let mut response = HttpResponse::Ok();
    response.insert_header((header::VARY, "accept"));
    if !prefers_html(request) {
        return response.json(receipt);
    }
    response
        .content_type("text/html; charset=utf-8")
        .insert_header((header::CONTENT_SECURITY_POLICY, POLICY.as_str()))
        .insert_header((header::REFERRER_POLICY, "no-referrer"))
        .body(page(receipt, state.mode))
}

/// Whether HTML is wanted rather than JSON: only whoever says so gets it.
fn prefers_html(request: &HttpRequest) -> bool {
    let Ok(accept) = Accept::parse(request) else { return false };
    let first = accept.ranked().into_iter().find_map(|kind| match (kind.type_(), kind.subtype()) {
        (top, sub) if top == "text" && (sub == "html" || sub == "*") => Some(true),
        (top, sub) if top == "application" && (sub == "json" || sub == "*") => Some(false),
        (top, _) if top == "*" => Some(false),
        _ => None,
    });
    first.unwrap_or(false)
}
