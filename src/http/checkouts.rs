//! Checkouts: opened, read and canceled by customers.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, get, post, web};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::accounts::{KeyRole, Principal};
use crate::checkout::{Acceptance, CheckoutError, CheckoutSummary, Order, OrderLine};
use crate::checkout::{CancelView, CheckoutView};
use crate::ground::{Amount, BookId, CheckoutId, Page, QuoteId};
use crate::http::auth::{Customer, Granted, Reader, Spender};
use crate::http::extract::{ApiJson, ApiPath, ApiQuery, IdempotencyHeader, OptionalJson};
use crate::http::fields::{Quantity, SkuName};
use crate::http::list::Several;
use crate::http::outcome::{answer, identity};
use crate::http::paging::Paging;
use crate::http::state::AppState;
use crate::http::{Code, Problem};

/// What is to be bought: `items` with `max_total`, or what was quoted.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "items": [{"sku": "lead.verified", "quantity": 3}], "max_total": "10.00",
}))]
pub struct CheckoutRequest {
    /// What, and how much of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<ItemRequest>>, min_items = 1, max_items = 1000)]
    pub items: Option<Several<ItemRequest, 1, 1000>>,
    /// The quote that is accepted, instead of `items`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quote_id: Option<QuoteId>,
    /// The most that all of it may cost. Nothing is bought when it costs more. Required with `items`;
    /// a quote's total unless said otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_total: Option<Amount>,
}

/// One item that is to be bought.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ItemRequest {
    /// What.
    pub sku: SkuName,
    /// How many units.
    pub quantity: Quantity,
}

/// A cancellation says nothing more.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CancelRequest {}

/// A line of the list of checkouts.
#[derive(Debug, Serialize, ToSchema)]
pub struct CheckoutLine {
    /// The checkout.
    pub checkout_id: CheckoutId,
    /// `open` while anything is on hold; then `completed`, or `released` when nothing was charged.
    #[schema(example = "open")]
    pub status: &'static str,
    /// The most that it was allowed to cost.
    pub max_total: Amount,
    /// What all of it costs.
    pub total: Amount,
    /// What was charged and not reversed.
    pub charged: Amount,
    /// When it was opened.
    pub created_at: DateTime<Utc>,
    /// When it was canceled.
    pub canceled_at: Option<DateTime<Utc>>,
}

impl From<CheckoutSummary> for CheckoutLine {
    fn from(summary: CheckoutSummary) -> Self {
        Self {
            checkout_id: summary.id,
            status: summary.status(),
            max_total: summary.max_total,
            total: summary.total,
            charged: summary.charged(),
            created_at: summary.created_at,
            canceled_at: summary.canceled_at,
        }
    }
}

/// The lines of an order.
pub fn lines(items: &[ItemRequest]) -> Vec<OrderLine> {
    let line = |item: &ItemRequest| OrderLine {
        sku: item.sku.as_str().to_owned(),
        quantity: item.quantity.get(),
    };
    items.iter().map(line).collect()
}

/// Check out
///
/// Buys `items`, or what a quote named, at its price; a quote is accepted once and within its life.
/// The whole amount is held, or nothing is and the refusal names every cap in the way. Each item is
/// charged as its results are accepted; what is rejected, late or canceled goes back by itself.
#[utoipa::path(
    tag = "checkouts",
    security(("api_key" = [])),
    params(("Idempotency-Key" = String, Header, description = "A fresh random value per checkout")),
    request_body = CheckoutRequest,
    responses(
        (status = 201, description = "Everything is on hold", body = CheckoutView),
        (status = 400, response = Problem),
        (status = 401, response = Problem),
        (status = 403, response = Problem),
        (status = 409, response = Problem),
        (status = 422, response = Problem),
    ),
)]
#[post("/api/v1/checkouts")]
pub async fn open_checkout(
    state: web::Data<AppState>,
    access: Granted<Spender, (IdempotencyHeader, ApiJson<CheckoutRequest>)>,
) -> Result<HttpResponse, Problem> {
    let caller = access.caller;
    let (IdempotencyHeader(key), ApiJson(request)) = access.asked;
    let identity = identity(&caller, &key, "/api/v1/checkouts", &request);
    let misfit = |field, why| Problem::new(Code::ValidationFailed).field(field).detail(why);
    let (account, spender) = (caller.account, caller.key);
    let outcome = match (request.items, request.quote_id, request.max_total) {
        (Some(items), None, Some(max_total)) => {
            let order = Order { spender, lines: lines(items.as_slice()), max_total };
            state.checkouts.open(account, identity, order).await?
        }
        (None, Some(quote), max_total) => {
            let acceptance = Acceptance { spender, quote, max_total };
            state.checkouts.accept(account, identity, acceptance).await?
        }
        (Some(_), None, None) => return Err(misfit("max_total", "items need a max_total")),
        (Some(_), Some(_), _) => {
            return Err(misfit("quote_id", "a quote names its items already"));
        }
        (None, None, _) => return Err(misfit("items", "items or a quote_id are needed")),
    };
    answer(&state, outcome, StatusCode::CREATED)
}

/// The account's checkouts
///
/// Newest first.
#[utoipa::path(
    tag = "checkouts",
    security(("api_key" = [])),
    params(Paging),
    responses(
        (status = 200, description = "A page of checkouts", body = Page<CheckoutLine>),
        (status = 401, response = Problem),
        (status = 403, response = Problem),
        (status = 422, response = Problem),
    ),
)]
#[get("/api/v1/checkouts")]
pub async fn list_checkouts(
    state: web::Data<AppState>,
    request: HttpRequest,
    access: Granted<Customer, ApiQuery<Paging>>,
) -> Result<HttpResponse, Problem> {
    let page = access.asked.0.read::<CheckoutId>()?;
    let rows = state.checkouts.list(access.caller.account, page.after, page.rows()).await?;
    let rows: Vec<CheckoutLine> = rows.into_iter().map(CheckoutLine::from).collect();
    Ok(page.answer(&request, rows, |row| row.checkout_id.to_string()))
}

/// One checkout
///
/// With its items and its first 100 results by id, without their evidence; all of them are read at
/// `/api/v1/checkouts/{checkout_id}/results`. A customer reads its own, an operator any.
#[utoipa::path(
    tag = "checkouts",
    security(("api_key" = [])),
    params(("checkout_id" = CheckoutId, Path, description = "The checkout")),
    responses(
        (status = 200, description = "The checkout", body = CheckoutView),
        (status = 401, response = Problem),
        (status = 403, response = Problem),
        (status = 404, response = Problem),
    ),
)]
#[get("/api/v1/checkouts/{checkout_id}")]
pub async fn read_checkout(
    state: web::Data<AppState>,
    access: Granted<Reader, ApiPath<CheckoutId>>,
) -> Result<HttpResponse, Problem> {
    let ApiPath(checkout) = access.asked;
    let account = account_of(&state, &access.caller, checkout).await?;
    let view = state.checkouts.view(account, checkout).await?;
    Ok(HttpResponse::Ok().json(view))
}

/// In whose account a checkout is looked for: an operator may read any.
pub(super) async fn account_of(
    state: &AppState,
    caller: &Principal,
    checkout: CheckoutId,
) -> Result<BookId, CheckoutError> {
    match caller.role {
        KeyRole::Operator => state.checkouts.account_of(checkout).await,
        KeyRole::Customer | KeyRole::Fulfiller | KeyRole::Verifier => Ok(caller.account),
    }
}

/// Cancel a checkout
///
/// What has not been submitted goes back. Results under verification run on.
#[utoipa::path(
    tag = "checkouts",
    security(("api_key" = [])),
    params(
        ("checkout_id" = CheckoutId, Path, description = "The checkout"),
        ("Idempotency-Key" = String, Header, description = "A fresh random value"),
    ),
    request_body(content = Option<CancelRequest>, description = "Empty, or an empty object"),
    responses(
        (status = 200, description = "What went back", body = CancelView),
        (status = 400, response = Problem),
        (status = 401, response = Problem),
        (status = 403, response = Problem),
        (status = 404, response = Problem),
        (status = 409, response = Problem),
        (status = 422, response = Problem),
    ),
)]
#[post("/api/v1/checkouts/{checkout_id}/cancel")]
pub async fn cancel_checkout(
    state: web::Data<AppState>,
    access: Granted<
        Customer,
        (ApiPath<CheckoutId>, IdempotencyHeader, OptionalJson<CancelRequest>),
    >,
) -> Result<HttpResponse, Problem> {
    let caller = access.caller;
    let (ApiPath(checkout), IdempotencyHeader(key), OptionalJson(request)) = access.asked;
    let account: BookId = caller.account;
    let route = format!("/api/v1/checkouts/{checkout}/cancel");
    let identity = identity(&caller, &key, &route, &request.unwrap_or_default());
    let outcome = state.checkouts.cancel(account, checkout, identity).await?;
    answer(&state, outcome, StatusCode::OK)
}
