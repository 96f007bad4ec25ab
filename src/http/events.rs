//! What happened, for whoever would rather ask than be called.

use actix_web::{HttpRequest, HttpResponse, get, web};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::events::{Event, Kind};
use crate::ground::{BookId, Page};
use crate::http::Problem;
use crate::http::auth::{Granted, Reader, whose};
use crate::http::extract::ApiQuery;
use crate::http::paging::Paging;
use crate::http::state::AppState;

/// Which events.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct EventsQuery {
    /// Only events of this type.
    #[serde(rename = "type")]
    kind: Option<Kind>,
    /// Whose; an operator names the account, a customer has only its own.
    account_id: Option<BookId>,
    /// The `next_cursor` of the page before, or the `seq` of the last event you have.
    after: Option<String>,
    /// How many, 1 to 100; 20 unless asked otherwise.
    #[param(minimum = 1, maximum = 100, default = 20)]
    limit: Option<u32>,
}

/// The account's events
///
/// Oldest first, numbered without gaps. `next_cursor` is always there: keep it, and ask with it again
/// later. Nothing is ever added before it.
#[utoipa::path(
    tag = "events",
    security(("api_key" = [])),
    params(EventsQuery),
    responses(
        (status = 200, description = "A page of events", body = Page<Event>),
        (status = 401, response = Problem),
        (status = 403, response = Problem),
        (status = 404, response = Problem),
        (status = 422, response = Problem),
    ),
)]
#[get("/api/v1/events")]
pub async fn list_events(
    state: web::Data<AppState>,
    request: HttpRequest,
    access: Granted<Reader, ApiQuery<EventsQuery>>,
) -> Result<HttpResponse, Problem> {
    let EventsQuery { kind, account_id, after, limit } = access.asked.0;
    let account = whose(&access.caller, account_id)?;
    let page = Paging::of(after, limit).read::<i64>()?;
    let limit = page.rows().saturating_sub(1);
    let feed = state.events.feed(account, page.after.unwrap_or(0), kind, limit).await?;
    let next_cursor = Some(feed.next.to_string());
    let events = Page { data: feed.events, next_cursor, has_more: feed.has_more };
    if !events.has_more {
        return Ok(HttpResponse::Ok().json(events));
    }
    let mut query = kind.map(|kind| format!("type={}&", kind.name())).unwrap_or_default();
    query.extend(account_id.map(|account| format!("account_id={account}&")));
    Ok(page.linked(request.path(), &query, &events).json(events))
}
