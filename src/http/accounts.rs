//! Signup: an account and a key for whoever asks, without any human.

use actix_web::{HttpResponse, post, web};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::accounts::CapSetting;
use crate::ground::{Amount, BookId, KeyId, Mode};
use crate::http::extract::OptionalJson;
use crate::http::fields::{Label, word};
use crate::http::list::Several;
use crate::http::state::AppState;
use crate::http::{ClientAddress, Code, Next, Problem};
use crate::ledger::Span;

/// What an account is opened with.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "research agent", "caps": [{"span": "day", "limit": "10.00"}]}))]
pub struct SignupRequest {
    /// What the key is called in lists.
    pub name: Option<Label>,
    /// Hard upper bounds on what the account spends; at most one per span.
    #[serde(default)]
    #[schema(value_type = Vec<CapRequest>, max_items = 16)]
    pub caps: Several<CapRequest, 0, 16>,
}

/// A hard upper bound on spending.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CapRequest {
    /// What it counts over: one checkout, a UTC day, a calendar month, or for ever.
    #[serde(deserialize_with = "word")]
    pub span: Span,
    /// The most that is spent.
    pub limit: Amount,
}

/// An account that has just been opened.
#[derive(Debug, Serialize, ToSchema)]
pub struct SignupAnswer {
    /// The account.
    pub account_id: BookId,
    /// The key's id.
    pub key_id: KeyId,
    /// The key. It is shown this once.
    #[schema(example = "bur_test_…")]
    pub api_key: String,
    /// Whether its money is real.
    pub mode: Mode,
    /// Promotional credits to begin with.
    pub promotional_credits: Amount,
    /// When those expire.
    pub promotional_expires_at: Option<DateTime<Utc>>,
    /// What to do next.
    pub next: Next,
}

/// Open an account
///
/// No human is needed. The key is shown this once; the request is not replayable, and sending it
/// again opens another account.
#[utoipa::path(
    tag = "accounts",
    request_body(content = Option<SignupRequest>, description = "May be left out"),
    responses(
        (status = 201, description = "The account and its key", body = SignupAnswer),
        (status = 422, response = Problem),
        (status = 429, response = Problem),
    ),
)]
#[post("/api/v1/accounts")]
pub async fn open_account(
    state: web::Data<AppState>,
    client: ClientAddress,
    request: OptionalJson<SignupRequest>,
) -> Result<HttpResponse, Problem> {
    let SignupRequest { name, caps } = request.0.unwrap_or_default();
    let caps = settings(caps.as_slice())?;
    let name = name.map_or_else(|| "default".to_owned(), Label::into_string);
    let opened = state.accounts.sign_up(&client.bucket().to_string(), &name, caps).await?;
    let next = if opened.granted.is_zero() {
        Next {
            action: "top_up".to_owned(),
            url: Some(state.url("/api/v1/credits/topup")),
            detail: "POST to url with the key; pay what the 402 asks and send it again.".to_owned(),
        }
    } else {
        Next {
            action: "choose_sku".to_owned(),
            url: Some(state.url("/api/v1/catalog")),
            detail: "Read the catalog, then POST to /api/v1/checkouts with the key.".to_owned(),
        }
    };
    Ok(HttpResponse::Created().json(SignupAnswer {
        account_id: opened.account,
        key_id: opened.key_id,
        api_key: opened.key.reveal().to_owned(),
        mode: state.mode,
        promotional_credits: opened.granted,
        promotional_expires_at: opened.grant_expires_at,
        next,
    }))
}

/// Caps as the ledger keeps them: one per span.
pub fn settings(caps: &[CapRequest]) -> Result<Vec<CapSetting>, Problem> {
    let mut settings: Vec<CapSetting> = Vec::with_capacity(caps.len());
    for (n, CapRequest { span, limit }) in caps.iter().copied().enumerate() {
        if settings.iter().any(|known| known.span == span) {
            let problem = Problem::new(Code::ValidationFailed).field(format!("caps[{n}].span"));
            return Err(problem.detail("there is another cap of this span"));
        }
        settings.push(CapSetting { span, limit });
    }
    Ok(settings)
}
