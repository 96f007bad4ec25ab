//! Promotional credits that the operator gives, sees and cancels.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, get, post, web};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::accounts::{AccountError, GrantQuery, GrantView, NewGrant};
use crate::ground::{BookId, GrantId, Page};
use crate::http::Problem;
use crate::http::admin::misfit;
use crate::http::auth::{Granted, Operator};
use crate::http::checkouts::CancelRequest;
use crate::http::extract::{ApiJson, ApiPath, ApiQuery, IdempotencyHeader, OptionalJson};
use crate::http::fields::{BurnPriority, Price, Reason, instant};
use crate::http::outcome::{answer, identity};
use crate::http::paging::Paging;
use crate::http::state::AppState;
use crate::ledger::DEFAULT_PRIORITY;

/// Promotional credits for an account.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "account_id": "acc_0193f0a0c8f07c7eb1a2c3d4e5f60718", "amount": "5.00",
    "reason": "goodwill: late delivery"
}))]
pub struct GrantRequest {
    /// Whose they are.
    pub account_id: BookId,
    /// How much; at most 1000000.00.
    pub amount: Price,
    /// Lower is spent first; 50 unless chosen otherwise.
    pub priority: Option<BurnPriority>,
    /// From when on they can be spent; at once unless it is later than that.
    #[serde(default, deserialize_with = "instant")]
    pub effective_at: Option<DateTime<Utc>>,
    /// When what is left of them expires, after `effective_at`; if not chosen, after as many days as
    /// the credits of a signup.
    #[serde(default, deserialize_with = "instant")]
    pub expires_at: Option<DateTime<Utc>>,
    /// Why; the account's history tells it.
    pub reason: Reason,
}

/// Which grants, and which page of them.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct GrantsQuery {
    /// Whose; those of all accounts unless one is named.
    account_id: Option<BookId>,
    /// `true` for only those that are neither credited nor canceled.
    waiting: Option<bool>,
    /// The `next_cursor` of the page before.
    after: Option<String>,
    /// How many, 1 to 100; 20 unless asked otherwise.
    #[param(minimum = 1, maximum = 100, default = 20)]
    limit: Option<u32>,
}

/// Give promotional credits
///
/// At once, or from a later time on: until then they are `pending` and `scheduled` in the account's
/// credits, and at most 100 grants of an account wait so.
#[utoipa::path(
    tag = "admin",
    security(("api_key" = [])),
    params(("Idempotency-Key" = String, Header, description = "A fresh random value per grant")),
    request_body = GrantRequest,
    responses(
        (status = 201, description = "The grant", body = GrantView),
        (status = 400, response = Problem),
        (status = 401, response = Problem),
        (status = 403, response = Problem),
        (status = 409, response = Problem),
        (status = 422, response = Problem),
    ),
)]
#[post("/api/v1/admin/grants")]
pub async fn give_credits(
    state: web::Data<AppState>,
    access: Granted<Operator, (IdempotencyHeader, ApiJson<GrantRequest>)>,
) -> Result<HttpResponse, Problem> {
    let caller = access.caller;
    let (IdempotencyHeader(key), ApiJson(request)) = access.asked;
    let GrantRequest { account_id, effective_at, expires_at, .. } = request;
    let identity = identity(&caller, &key, "/api/v1/admin/grants", &request);
    let new = NewGrant {
        account: account_id,
        amount: request.amount.get(),
        priority: request.priority.map_or(DEFAULT_PRIORITY, BurnPriority::get),
        effective_at,
        expires_at,
        reason: request.reason.into_string(),
        by: caller.key,
    };
    let given = state.accounts.give(new, identity).await.map_err(|error| match error {
        AccountError::AccountUnknown => misfit("account_id", "there is no such account"),
        error => error.into(),
    })?;
    answer(&state, given, StatusCode::CREATED)
}

/// The grants
///
/// Newest first: those of signups and the operator's own, with what has become of each.
#[utoipa::path(
    tag = "admin",
    security(("api_key" = [])),
    params(GrantsQuery),
    responses(
        (status = 200, description = "A page of grants", body = Page<GrantView>),
        (status = 401, response = Problem),
        (status = 403, response = Problem),
        (status = 422, response = Problem),
    ),
)]
#[get("/api/v1/admin/grants")]
pub async fn list_grants(
    state: web::Data<AppState>,
    request: HttpRequest,
    access: Granted<Operator, ApiQuery<GrantsQuery>>,
) -> Result<HttpResponse, Problem> {
    let GrantsQuery { account_id, waiting, after, limit } = access.asked.0;
    let page = Paging::of(after, limit).read::<GrantId>()?;
    let waiting = waiting.unwrap_or(false);
    let query = GrantQuery { account: account_id, waiting, after: page.after, limit: page.rows() };
    let rows = page.cut(state.accounts.grants(query).await?, |row| row.grant_id.to_string());
    let account = account_id.map(|account| format!("account_id={account}&")).unwrap_or_default();
    let waiting = if waiting { "waiting=true&" } else { "" };
    Ok(page.linked(request.path(), &format!("{account}{waiting}"), &rows).json(rows))
}

/// Cancel a grant
///
/// As long as it has not been credited; then it counts nowhere any more. One that was canceled before
/// is answered as it stands.
#[utoipa::path(
    tag = "admin",
    security(("api_key" = [])),
    params(
        ("grant_id" = GrantId, Path, description = "The grant"),
        ("Idempotency-Key" = String, Header, description = "A fresh random value"),
    ),
    request_body(content = Option<CancelRequest>, description = "Empty, or an empty object"),
    responses(
        (status = 200, description = "The grant as it was canceled", body = GrantView),
        (status = 400, response = Problem),
        (status = 401, response = Problem),
        (status = 403, response = Problem),
        (status = 404, response = Problem),
        (status = 409, response = Problem),
        (status = 422, response = Problem),
    ),
)]
#[post("/api/v1/admin/grants/{grant_id}/cancel")]
pub async fn cancel_grant(
    state: web::Data<AppState>,
    access: Granted<Operator, (ApiPath<GrantId>, IdempotencyHeader, OptionalJson<CancelRequest>)>,
) -> Result<HttpResponse, Problem> {
    let caller = access.caller;
    let (ApiPath(grant), IdempotencyHeader(key), OptionalJson(request)) = access.asked;
    let route = format!("/api/v1/admin/grants/{grant}/cancel");
    let identity = identity(&caller, &key, &route, &request.unwrap_or_default());
    let outcome = state.accounts.cancel_grant(grant, caller.key, identity).await?;
    answer(&state, outcome, StatusCode::OK)
}
