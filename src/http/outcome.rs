//! Outcomes of the ledger as answers: stored once, answered byte for byte for ever.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderName, HeaderValue};
use serde::Serialize;

use crate::accounts::Principal;
use crate::ground::{Fingerprint, IdempotencyKey};
use crate::http::refusal;
use crate::http::state::AppState;
use crate::http::{Code, Problem};
use crate::ledger::{CommandIdentity, Outcome};

const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// The identity of a request: whoever sends it again under its key gets the first answer. The route
/// has its parameters filled in.
pub fn identity<T: Serialize>(
    caller: &Principal,
    key: &IdempotencyKey,
    route: &str,
    request: &T,
) -> CommandIdentity {
    let fingerprint = Fingerprint::of("POST", route, request);
    CommandIdentity::of_request(caller.key, key.as_str(), fingerprint)
}

/// The answer to an outcome: the stored body with this status, or the stored refusal.
pub fn answer(
    state: &AppState,
    outcome: Outcome,
    status: StatusCode,
) -> Result<HttpResponse, Problem> {
    let replayed = outcome.replayed.then(|| (REPLAYED, HeaderValue::from_static("true")));
    if !outcome.accepted {
        let problem = refusal::problem(&outcome.body, state);
        let problem = problem.ok_or_else(|| {
            tracing::error!(refusal = outcome.body, "a stored refusal cannot be read");
            Problem::new(Code::Internal)
        })?;
        return Err(match replayed {
            Some((name, value)) => problem.header(name, value),
            None => problem,
        });
    }
    let mut response = HttpResponse::build(status);
    if let Some(header) = replayed {
        response.insert_header(header);
    }
    Ok(response.content_type("application/json").body(outcome.body))
}
