//! Quotes: what a checkout would cost and what is in its way, for nothing.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, post, web};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::checkout::{CapHeadroom, QuoteLine, QuoteView};
use crate::ground::{Amount, BookId, QuoteId};
use crate::http::Problem;
use crate::http::auth::{Customer, Granted};
use crate::http::checkouts::{ItemRequest, lines};
use crate::http::extract::ApiJson;
use crate::http::list::Several;
use crate::http::refusal;
use crate::http::state::AppState;

/// What is to be quoted.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"items": [{"sku": "lead.verified", "quantity": 3}]}))]
pub struct QuoteRequest {
    /// What, and how much of it.
    #[schema(value_type = Vec<ItemRequest>, min_items = 1, max_items = 100)]
    pub items: Several<ItemRequest, 1, 100>,
}

/// What a checkout would cost, and whether it would be refused now.
#[derive(Debug, Serialize, ToSchema)]
pub struct QuoteAnswer {
    /// Accepts these prices, once and until `expires_at`.
    pub quote_id: QuoteId,
    /// The account.
    pub account_id: BookId,
    /// What is quoted, line by line.
    pub lines: Vec<QuoteLine>,
    /// The price of all of it.
    pub total: Amount,
    /// What the account may use now.
    pub available: Amount,
    /// Each cap that counts, of the key and of the account, with what is left of it before and after.
    pub caps: Vec<CapHeadroom>,
    /// Whether a checkout would be accepted now.
    pub allowed: bool,
    /// The problem that a checkout would be refused with now.
    #[schema(value_type = Option<Object>)]
    pub refusal: Option<Value>,
    /// What is missing of the total.
    pub shortfall: Amount,
    /// The top-up that covers the shortfall.
    pub topup: Option<TopupHint>,
    /// When it was quoted.
    pub created_at: DateTime<Utc>,
    /// Until then the prices hold.
    pub expires_at: DateTime<Utc>,
}

/// A request that brings the credits that are missing.
#[derive(Debug, Serialize, ToSchema)]
pub struct TopupHint {
    /// Always `POST`.
    #[schema(example = "POST")]
    pub method: &'static str,
    /// Where.
    pub url: String,
    /// The body.
    pub body: TopupHintBody,
}

/// The body of a top-up.
#[derive(Debug, Serialize, ToSchema)]
pub struct TopupHintBody {
    /// How much: the shortfall, or the most that one top-up may be if that is less. Then top up again.
    pub amount: Amount,
}

impl QuoteAnswer {
    fn of(quote: QuoteView, state: &AppState) -> Self {
        let topup = (!quote.shortfall.is_zero()).then(|| TopupHint {
            method: "POST",
            url: state.url("/api/v1/credits/topup"),
            body: TopupHintBody {
                amount: refusal::suggest(quote.shortfall, state.topups.settings().amounts()),
            },
        });
        Self {
            quote_id: quote.quote_id,
            account_id: quote.account_id,
            lines: quote.lines,
            total: quote.total,
            available: quote.available,
            caps: quote.caps,
            allowed: quote.refusal.is_none(),
            refusal: quote.refusal.map(|refusal| refusal::ledger(&refusal, state).to_value()),
            shortfall: quote.shortfall,
            topup,
            created_at: quote.created_at,
            expires_at: quote.expires_at,
        }
    }
}

/// Quote
///
/// A dry run of a checkout that holds nothing and costs nothing: prices that hold until `expires_at`,
/// each cap with its headroom, and the refusal and the top-up that would come. `quote_id` buys at
/// these prices once, whatever the catalog says by then. Needs no Idempotency-Key; an account has at
/// most 50 open quotes.
#[utoipa::path(
    tag = "checkouts",
    security(("api_key" = [])),
    request_body = QuoteRequest,
    responses(
        (status = 201, description = "The quote", body = QuoteAnswer),
        (status = 400, response = Problem),
        (status = 401, response = Problem),
        (status = 403, response = Problem),
        (status = 409, response = Problem),
        (status = 422, response = Problem),
        (status = 429, response = Problem),
    ),
)]
#[post("/api/v1/quotes")]
pub async fn request_quote(
    state: web::Data<AppState>,
    access: Granted<Customer, ApiJson<QuoteRequest>>,
) -> Result<HttpResponse, Problem> {
    let (caller, ApiJson(request)) = (access.caller, access.asked);
    let lines = lines(request.items.as_slice());
    let quote = state.checkouts.quote(caller.account, caller.key, lines).await?;
    Ok(HttpResponse::build(StatusCode::CREATED).json(QuoteAnswer::of(quote, &state)))
}
