//! Promotional credits that the operator gives.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, post, web};
use chrono::{DateTime, Datelike, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::accounts::{AccountError, GrantView, NewGrant};
use crate::ground::BookId;
use crate::http::Problem;
use crate::http::admin::misfit;
use crate::http::auth::{Granted, Operator};
use crate::http::extract::{ApiJson, IdempotencyHeader};
use crate::http::fields::{BurnPriority, Price, Reason, instant};
use crate::http::outcome::{answer, identity};
use crate::http::state::AppState;
use crate::ledger::DEFAULT_PRIORITY;

/// What expires some days later can still be written with four digits for the year.
const EFFECTIVE_YEAR_MAX: i32 = 9998;

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
    /// How much.
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
    if effective_at.is_some_and(|from| from.year() > EFFECTIVE_YEAR_MAX) {
        return Err(misfit("effective_at", "no later year than 9998"));
    }
    if effective_at.zip(expires_at).is_some_and(|(from, to)| to <= from) {
        return Err(misfit("expires_at", "it is not after effective_at"));
    }
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
