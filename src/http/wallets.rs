//! Claiming the account of a paying wallet: a challenge, and a key for whoever signs it.

use actix_web::{HttpRequest, HttpResponse, post, web};
use serde::Serialize;
use utoipa::ToSchema;

use crate::accounts::AccountError;
use crate::ground::{BookId, KeyId, Mode};
use crate::http::extract::OptionalJson;
use crate::http::state::AppState;
use crate::http::{ClientAddress, Code, Problem};
use crate::x402::siwx::{Challenge, SignedChallenge};

/// The header of the protocol that carries the proof.
const PROOF: &str = "SIGN-IN-WITH-X";

/// What signing means, for people.
const STATEMENT: &str = "Get an API key for the credits of this wallet";

/// A key for a wallet's account.
#[derive(Debug, Serialize, ToSchema)]
pub struct ClaimAnswer {
    /// The wallet's account.
    pub account_id: BookId,
    /// The key's id.
    pub key_id: KeyId,
    /// The key. It is shown this once.
    #[schema(example = "bur_test_…")]
    pub api_key: String,
    /// The wallet, in lower case.
    #[schema(example = "0x14791697260e4c9a71f18484c9f997b308e59325")]
    pub wallet: String,
    /// Whether its money is real.
    pub mode: Mode,
}

/// Get a challenge for a wallet to sign
///
/// The answer is the `sign-in-with-x` extension of x402: `info` and `supportedChains`. Sign it with
/// the wallet that paid, and send the proof to `info.uri`. The nonce is good once.
#[utoipa::path(
    tag = "wallets",
    responses(
        (status = 200, description = "The challenge", body = Object, example = json!({
            "info": {
                "domain": "api.example.com", "uri": "https://api.example.com/api/v1/wallets/claim",
                "version": "1", "nonce": "6d2f7a3b0c9e4d518f60a1b2c3d4e5f6",
                "issuedAt": "2026-11-20T10:30:00.000Z",
                "expirationTime": "2026-11-20T10:35:00.000Z",
                "statement": "Get an API key for the credits of this wallet",
                "resources": ["https://api.example.com/api/v1/wallets/claim"],
            },
            "supportedChains": [{"chainId": "eip155:8453", "type": "eip191"}],
        })),
        (status = 429, response = Problem),
    ),
)]
#[post("/api/v1/wallets/challenge")]
pub async fn issue_challenge(
    state: web::Data<AppState>,
    client: ClientAddress,
) -> Result<HttpResponse, Problem> {
    let issued = state.accounts.challenge(&client.bucket().to_string()).await;
    let issued = issued.map_err(|error| match error {
        AccountError::SignupQuotaExhausted => Problem::new(Code::RateLimited)
            .detail("too many challenges for this address")
            .retry_after(3_600),
        error => error.into(),
    })?;
    let life = issued.expires_at.signed_duration_since(issued.issued_at);
    let audience = state.audience(life);
    let challenge: Challenge = audience.challenge(STATEMENT, &issued.nonce, issued.issued_at);
    Ok(HttpResponse::Ok().json(challenge))
}

/// Get a key for a wallet's account
///
/// The proof is a signed challenge: base64 in `SIGN-IN-WITH-X`, or the same object as JSON body. A
/// wallet may claim as often as it signs; each time it gets another key. Not replayable.
#[utoipa::path(
    tag = "wallets",
    params(("SIGN-IN-WITH-X" = Option<String>, Header, description = "The proof, as base64 JSON")),
    request_body(
        content = Option<Object>,
        description = "The proof as JSON, when the header does not carry it",
    ),
    responses(
        (status = 201, description = "The account and a key for it", body = ClaimAnswer),
        (status = 400, response = Problem),
        (status = 422, response = Problem),
    ),
)]
#[post("/api/v1/wallets/claim")]
pub async fn claim_wallet(
    state: web::Data<AppState>,
    request: HttpRequest,
    body: OptionalJson<SignedChallenge>,
) -> Result<HttpResponse, Problem> {
    let signed = proof(&request, body.0)?;
    // The nonce's own life is judged where it is kept; the text may be as old as any nonce gets.
    let audience = state.audience(chrono::TimeDelta::minutes(5));
    let proof = audience.check(&signed, state.clock.now())?;
    let wallet = proof.address.lower();
    // Only a good signature uses the nonce up: a stranger who saw it cannot spoil it.
    let issued = state.accounts.claim_wallet(&wallet, &proof.nonce).await?;
    Ok(HttpResponse::Created().json(ClaimAnswer {
        account_id: issued.account,
        key_id: issued.key_id,
        api_key: issued.key.reveal().to_owned(),
        wallet,
        mode: state.mode,
    }))
}

/// The one proof of a request.
fn proof(request: &HttpRequest, body: Option<SignedChallenge>) -> Result<SignedChallenge, Problem> {
    let mut headers = request.headers().get_all(PROOF);
    let malformed = |why: &str| Problem::new(Code::MalformedRequest).field(PROOF).detail(why);
    match (headers.next(), headers.next(), body) {
        (Some(value), None, None) => {
            let text = value.to_str().map_err(|_| malformed("the header is not ASCII"))?;
            Ok(SignedChallenge::parse(text)?)
        }
        (None, _, Some(signed)) => Ok(signed),
        (None, _, None) => {
            let missing = Problem::new(Code::ValidationFailed).field(PROOF);
            Err(missing.detail("send the signed challenge in the header or as the body"))
        }
        (Some(_), _, _) => Err(malformed("send one proof: in one header, or as the body")),
    }
}
