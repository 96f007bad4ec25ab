//! Webhooks: where an account wants its events sent.

use actix_web::{HttpRequest, HttpResponse, delete, get, post, web};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::events::{Delivery, Kind, NewWebhook, Replay, Webhook};
use crate::ground::{Page, WebhookId};
use crate::http::auth::{Customer, Granted};
use crate::http::extract::{ApiJson, ApiPath, ApiQuery};
use crate::http::fields::{EventNumber, Price, instant};
use crate::http::list::Several;
use crate::http::paging::Paging;
use crate::http::state::AppState;
use crate::http::{Code, Problem};
use crate::outbound::SigningSecret;

/// A webhook that is wanted.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "url": "https://agent.example.com/bursar", "types": ["charge.captured", "result.released"],
}))]
pub struct WebhookRequest {
    /// What is called: https, at a public address, without credentials and fragment. Where the service
    /// runs in test mode and for its own machine alone, http and that machine are good too.
    #[schema(min_length = 1, max_length = 2048)]
    pub url: String,
    /// The types of events that are sent; all, new types too, when there is no list.
    #[schema(value_type = Option<Vec<Kind>>, min_items = 1, max_items = 32)]
    pub types: Option<Several<Kind, 1, 32>>,
    /// When less than this is available, `balance.low` tells, once until it is more again.
    pub low_balance: Option<Price>,
}

/// A webhook with its secret.
#[derive(Debug, Serialize, ToSchema)]
pub struct WebhookAnswer {
    #[serde(flatten)]
    pub webhook: Webhook,
    /// The secret that signs what is sent. It is shown this once.
    #[schema(example = "whsec_…")]
    pub secret: String,
}

impl WebhookAnswer {
    fn of((webhook, secret): (Webhook, SigningSecret)) -> Self {
        Self { webhook, secret: secret.reveal() }
    }
}

/// The account's webhooks.
#[derive(Debug, Serialize, ToSchema)]
pub struct WebhookList {
    /// Oldest first; there are at most 16.
    pub data: Vec<Webhook>,
}

/// A webhook that is no more.
#[derive(Debug, Serialize, ToSchema)]
pub struct WebhookDeleted {
    /// The webhook.
    pub webhook_id: WebhookId,
    /// Always true.
    pub deleted: bool,
}

/// Which deliveries.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct DeliveriesQuery {
    /// `true` for only those that were given up.
    dead: Option<bool>,
    /// The `next_cursor` of the page before.
    after: Option<String>,
    /// How many, 1 to 100; 20 unless asked otherwise.
    #[param(minimum = 1, maximum = 100, default = 20)]
    limit: Option<u32>,
}

/// Which events are to be sent again: from a number or a time on, or both.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"from_seq": 7, "to_seq": 7}))]
pub struct ReplayRequest {
    /// The first event, by its `seq`.
    pub from_seq: Option<EventNumber>,
    /// The time from which on events are sent, in RFC 3339.
    #[serde(default, deserialize_with = "instant")]
    pub since: Option<DateTime<Utc>>,
    /// The last event, by its `seq`; the last one there is unless it is said.
    pub to_seq: Option<EventNumber>,
}

/// What is sent again.
#[derive(Debug, Serialize, ToSchema)]
pub struct ReplayAnswer {
    /// The webhook.
    pub webhook_id: WebhookId,
    /// The first event; none when there are no such events.
    pub from_seq: Option<i64>,
    /// The last event.
    pub to_seq: Option<i64>,
}

/// Make a webhook
///
/// What happens from now on is sent to it, each event at least once, signed as Standard Webhooks has
/// it, in no promised order. The secret is shown this once; the request is not replayable, and sending
/// it again makes another webhook.
#[utoipa::path(
    tag = "events",
    security(("api_key" = [])),
    request_body = WebhookRequest,
    responses(
        (status = 201, description = "The webhook and its secret", body = WebhookAnswer),
        (status = 401, response = Problem),
        (status = 403, response = Problem),
        (status = 409, response = Problem),
        (status = 422, response = Problem),
    ),
)]
#[post("/api/v1/webhooks")]
pub async fn create_webhook(
    state: web::Data<AppState>,
    access: Granted<Customer, ApiJson<WebhookRequest>>,
) -> Result<HttpResponse, Problem> {
    let ApiJson(WebhookRequest { url, types, low_balance }) = access.asked;
    let (types, low_balance) = (types.map(Several::into_vec), low_balance.map(Price::get));
    let wanted = NewWebhook { url, types, low_balance };
    let made = state.events.create(access.caller.account, wanted).await?;
    Ok(HttpResponse::Created().json(WebhookAnswer::of(made)))
}

/// The account's webhooks
#[utoipa::path(
    tag = "events",
    security(("api_key" = [])),
    responses(
        (status = 200, description = "All of them", body = WebhookList),
        (status = 401, response = Problem),
        (status = 403, response = Problem),
    ),
)]
#[get("/api/v1/webhooks")]
pub async fn list_webhooks(
    state: web::Data<AppState>,
    access: Granted<Customer>,
) -> Result<HttpResponse, Problem> {
    let data = state.events.webhooks(access.caller.account).await?;
    Ok(HttpResponse::Ok().json(WebhookList { data }))
}

/// One webhook
#[utoipa::path(
    tag = "events",
    security(("api_key" = [])),
    params(("webhook_id" = WebhookId, Path, description = "The webhook")),
    responses(
        (status = 200, description = "The webhook, without its secret", body = Webhook),
        (status = 401, response = Problem),
        (status = 403, response = Problem),
        (status = 404, response = Problem),
    ),
)]
#[get("/api/v1/webhooks/{webhook_id}")]
pub async fn read_webhook(
    state: web::Data<AppState>,
    access: Granted<Customer, ApiPath<WebhookId>>,
) -> Result<HttpResponse, Problem> {
    let webhook = state.events.webhook(access.caller.account, access.asked.0).await?;
    Ok(HttpResponse::Ok().json(webhook))
}

/// Delete a webhook
///
/// With what waits for it and what is known of its deliveries.
#[utoipa::path(
    tag = "events",
    security(("api_key" = [])),
    params(("webhook_id" = WebhookId, Path, description = "The webhook")),
    responses(
        (status = 200, description = "It is gone", body = WebhookDeleted),
        (status = 401, response = Problem),
        (status = 403, response = Problem),
        (status = 404, response = Problem),
    ),
)]
#[delete("/api/v1/webhooks/{webhook_id}")]
pub async fn delete_webhook(
    state: web::Data<AppState>,
    access: Granted<Customer, ApiPath<WebhookId>>,
) -> Result<HttpResponse, Problem> {
    let ApiPath(webhook_id) = access.asked;
    state.events.delete(access.caller.account, webhook_id).await?;
    Ok(HttpResponse::Ok().json(WebhookDeleted { webhook_id, deleted: true }))
}

/// Give a webhook a new secret
///
/// It is shown this once. The one before it signs too for 24 hours: `webhook-signature` then has both.
/// Asked again within that time, the newest takes the place of the new one, and the one from before the
/// first rotation goes on signing.
#[utoipa::path(
    tag = "events",
    security(("api_key" = [])),
    params(("webhook_id" = WebhookId, Path, description = "The webhook")),
    responses(
        (status = 200, description = "The webhook and its new secret", body = WebhookAnswer),
        (status = 401, response = Problem),
        (status = 403, response = Problem),
        (status = 404, response = Problem),
        (status = 409, response = Problem),
    ),
)]
#[post("/api/v1/webhooks/{webhook_id}/rotate")]
pub async fn rotate_webhook(
    state: web::Data<AppState>,
    access: Granted<Customer, ApiPath<WebhookId>>,
) -> Result<HttpResponse, Problem> {
    let made = state.events.rotate(access.caller.account, access.asked.0).await?;
    Ok(HttpResponse::Ok().json(WebhookAnswer::of(made)))
}

/// What became of events at a webhook
///
/// Newest event first. It is known for 30 days after a delivery has ended.
#[utoipa::path(
    tag = "events",
    security(("api_key" = [])),
    params(("webhook_id" = WebhookId, Path, description = "The webhook"), DeliveriesQuery),
    responses(
        (status = 200, description = "A page of deliveries", body = Page<Delivery>),
        (status = 401, response = Problem),
        (status = 403, response = Problem),
        (status = 404, response = Problem),
        (status = 422, response = Problem),
    ),
)]
#[get("/api/v1/webhooks/{webhook_id}/deliveries")]
pub async fn list_deliveries(
    state: web::Data<AppState>,
    request: HttpRequest,
    access: Granted<Customer, (ApiPath<WebhookId>, ApiQuery<DeliveriesQuery>)>,
) -> Result<HttpResponse, Problem> {
    let (ApiPath(webhook), ApiQuery(DeliveriesQuery { dead, after, limit })) = access.asked;
    let page = Paging::of(after, limit).read::<i64>()?;
    let (account, only) = (access.caller.account, dead.unwrap_or(false));
    let rows = state.events.deliveries(account, webhook, only, page.after, page.rows()).await?;
    let rows = page.cut(rows, |row| row.seq.to_string());
    let query = if only { "dead=true&" } else { "" };
    Ok(page.linked(request.path(), query, &rows).json(rows))
}

/// Send events again
///
/// Whatever became of them, also those from before the webhook was made; of the types that it is for.
/// Each comes under the id that it has always had. Asking the same twice is harmless; anything else is
/// refused with `replay_under_way` until all of it has been queued.
#[utoipa::path(
    tag = "events",
    security(("api_key" = [])),
    params(("webhook_id" = WebhookId, Path, description = "The webhook")),
    request_body = ReplayRequest,
    responses(
        (status = 200, description = "What is sent again", body = ReplayAnswer),
        (status = 401, response = Problem),
        (status = 403, response = Problem),
        (status = 404, response = Problem),
        (status = 409, response = Problem),
        (status = 422, response = Problem),
    ),
)]
#[post("/api/v1/webhooks/{webhook_id}/replay")]
pub async fn replay_events(
    state: web::Data<AppState>,
    access: Granted<Customer, (ApiPath<WebhookId>, ApiJson<ReplayRequest>)>,
) -> Result<HttpResponse, Problem> {
    let (ApiPath(webhook_id), ApiJson(request)) = access.asked;
    if request.from_seq.is_none() && request.since.is_none() {
        let detail = "say from_seq or since";
        return Err(Problem::new(Code::ValidationFailed).field("from_seq").detail(detail));
    }
    let replay = Replay {
        from_seq: request.from_seq.map(EventNumber::get),
        since: request.since,
        to_seq: request.to_seq.map(EventNumber::get),
    };
    let range = state.events.replay(access.caller.account, webhook_id, replay).await?;
    let (from_seq, to_seq) = range.unzip();
    Ok(HttpResponse::Ok().json(ReplayAnswer { webhook_id, from_seq, to_seq }))
}
