//! Keys that the operator issues.

use actix_web::{HttpResponse, post, web};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::accounts::{AccountError, KeyRole, NewKey};
use crate::ground::{BookId, KeyId};
use crate::http::accounts::{CapRequest, settings};
use crate::http::auth::{Granted, Operator};
use crate::http::extract::ApiJson;
use crate::http::fields::{Label, SkuName, instant, word};
use crate::http::list::Several;
use crate::http::state::AppState;
use crate::http::{Code, Problem};

/// A key that is wanted.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"role": "verifier", "name": "lead checker", "skus": ["lead.verified"]}))]
pub struct KeyRequest {
    /// What the key may do.
    #[serde(deserialize_with = "word")]
    pub role: KeyRole,
    /// What it is called in lists.
    pub name: Label,
    /// The SKUs that a fulfiller or verifier key is for, required there; or the only ones that a
    /// customer key may buy. An operator key is for all.
    #[schema(value_type = Option<Vec<SkuName>>, min_items = 1, max_items = 1000)]
    pub skus: Option<Several<SkuName, 1, 1000>>,
    /// When it ends by itself.
    #[serde(default, deserialize_with = "instant")]
    pub expires_at: Option<DateTime<Utc>>,
    /// The account of a customer key.
    pub account_id: Option<BookId>,
    /// Hard upper bounds on what a customer key spends; at most one per span.
    #[serde(default)]
    #[schema(value_type = Vec<CapRequest>, max_items = 16)]
    pub caps: Several<CapRequest, 0, 16>,
}

/// A key that has just been issued.
#[derive(Debug, Serialize, ToSchema)]
pub struct KeyAnswer {
    /// The key's id.
    pub key_id: KeyId,
    /// The key. It is shown this once.
    #[schema(example = "bur_test_…")]
    pub api_key: String,
    /// What it may do.
    pub role: KeyRole,
    /// What it is called.
    pub name: String,
    /// The SKUs that it is for; all when there is no list.
    pub skus: Option<Vec<String>>,
    /// When it ends.
    pub expires_at: Option<DateTime<Utc>>,
    /// The account of a customer key.
    pub account_id: Option<BookId>,
}

/// Issue a key
///
/// The key is shown this once; the request is not replayable.
#[utoipa::path(
    tag = "admin",
    security(("api_key" = [])),
    request_body = KeyRequest,
    responses(
        (status = 201, description = "The key", body = KeyAnswer),
        (status = 401, response = Problem),
        (status = 403, response = Problem),
        (status = 422, response = Problem),
    ),
)]
#[post("/api/v1/admin/keys")]
pub async fn issue_key(
    state: web::Data<AppState>,
    access: Granted<Operator, ApiJson<KeyRequest>>,
) -> Result<HttpResponse, Problem> {
    let ApiJson(request) = access.asked;
    check(&request, state.clock.now())?;
    let caps = settings(request.caps.as_slice())?;
    let account = request.account_id.unwrap_or(BookId::HOUSE);
    let skus = request.skus.map(|skus| {
        let mut skus: Vec<_> = skus.into_vec().into_iter().map(SkuName::into_string).collect();
        skus.sort();
        skus.dedup();
        skus
    });
    let new = NewKey {
        id: state.accounts.fresh_key_id(account),
        role: request.role,
        name: request.name.into_string(),
        skus: skus.clone(),
        expires_at: request.expires_at,
    };
    let name = new.name.clone();
    let issued =
        state.accounts.issue_key(account, new, caps).await.map_err(|error| match error {
            AccountError::AccountUnknown => misfit("account_id", "there is no such account"),
            error => error.into(),
        })?;
    Ok(HttpResponse::Created().json(KeyAnswer {
        key_id: issued.key_id,
        api_key: issued.key.reveal().to_owned(),
        role: request.role,
        name,
        skus,
        expires_at: request.expires_at,
        account_id: request.account_id,
    }))
}

/// What a role needs and may not have.
fn check(request: &KeyRequest, now: DateTime<Utc>) -> Result<(), Problem> {
    if request.expires_at.is_some_and(|expiry| expiry <= now) {
        return Err(misfit("expires_at", "it lies in the past"));
    }
    let customer = request.role == KeyRole::Customer;
    match (request.role, &request.skus) {
        (KeyRole::Fulfiller | KeyRole::Verifier, None) => {
            return Err(misfit("skus", "a fulfiller or verifier key is for listed SKUs"));
        }
        (KeyRole::Operator, Some(_)) => {
            return Err(misfit("skus", "an operator key is for all SKUs"));
        }
        (KeyRole::Customer | KeyRole::Operator, _)
        | (KeyRole::Fulfiller | KeyRole::Verifier, Some(_)) => {}
    }
    match request.account_id {
        None if customer => Err(misfit("account_id", "a customer key belongs to an account")),
        Some(BookId::HOUSE) => Err(misfit("account_id", "there is no such account")),
        Some(_) if !customer => Err(misfit("account_id", "only a customer key has an account")),
        None if !request.caps.as_slice().is_empty() => {
            Err(misfit("caps", "only a customer key spends"))
        }
        None | Some(_) => Ok(()),
    }
}

/// A member that does not fit.
pub fn misfit(field: &str, why: &str) -> Problem {
    Problem::new(Code::ValidationFailed).field(field).detail(why)
}
