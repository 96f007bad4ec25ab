//! Buying credits: `POST /api/v1/credits/topup`, `GET /api/v1/topups/{topup_id}` and
//! `GET /api/v1/topups`.
//!
//! The order of the checks is part of the promise (design: money in). Without a payment header the
//! answer is always a 402 with terms. With one: decode, check the API key if one is given, look the
//! payment up before anything else, and only for an unseen payment look at body, terms and signature.

mod answer;
mod challenge;
mod find;

use actix_web::dev::Payload;
use actix_web::http::header;
use actix_web::{FromRequest, HttpRequest, HttpResponse, get, post, web};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::accounts::Principal;
use crate::ground::{Amount, BookId, IdempotencyKey, TopupId};
use crate::http::auth::OptionalCaller;
use crate::http::extract::{ApiPath, OptionalIdempotencyHeader, RawBody};
use crate::http::state::AppState;
use crate::http::{Code, Problem};
use crate::ledger::{self, SubmitError};
use crate::x402::topup::{Outcome, PayError, Payee, TopupRecord, TopupState};
use crate::x402::{Mismatch, Payment, Version};

pub use answer::TopupView;
pub use find::find_topups;

use answer::{Share, Standing};
use challenge::Trouble;

/// What to buy. An empty body buys the default amount.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"amount": "5.00"}))]
pub struct TopupRequest {
    /// How many dollars of credits, as a decimal string; 1.00 without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount: Option<Amount>,
    /// The account to credit when no API key names one. Without it, the paying wallet's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account_id: Option<BookId>,
}

/// Buy credits
///
/// Without a payment header the answer is 402 with the terms: x402 V2 in `PAYMENT-REQUIRED`, V1 in
/// the body. Sign them, and send the same request with `PAYMENT-SIGNATURE` (V2) or `X-PAYMENT` (V1).
/// A payment is credited once, however often it is sent: after a timeout, send the same payment
/// again, and never sign another one before the first is known to have failed.
#[utoipa::path(
    tag = "credits",
    request_body(content = Option<TopupRequest>, description = "What to buy"),
    params(
        ("PAYMENT-SIGNATURE" = Option<String>, Header, description = "x402 V2 payment, base64 JSON"),
        ("X-PAYMENT" = Option<String>, Header, description = "x402 V1 payment, base64 JSON"),
        ("Idempotency-Key" = Option<String>, Header,
            description = "Optional: the payment is its own key"),
    ),
    responses(
        (status = 200, description = "Credited; the receipt is in PAYMENT-RESPONSE", body = TopupView),
        (status = 202, description = "The outcome is not known yet, or the chain has dropped the \
            settlement: ask status_url, do not pay again",
            body = TopupView),
        (status = 402, description = "Payment required: x402 terms", body = Object),
        (status = 409, response = Problem),
        (status = 422, response = Problem),
        (status = 503, response = Problem),
    ),
    security((), ("api_key" = []))
)]
#[post("/api/v1/credits/topup")]
pub async fn topup(
    request: HttpRequest,
    body: RawBody,
    state: web::Data<AppState>,
) -> Result<HttpResponse, Problem> {
    let Some(payment) = payment_of(&request)? else {
        return match state.topups.refuse_while_restored().await {
            Err(restored @ PayError::Restored) => Err(problem(restored)),
            // The terms need no database, and without one no payment is taken.
            Ok(()) | Err(_) => Ok(unpaid(&state, &body)),
        };
    };
    let caller = match OptionalCaller::from_request(&request, &mut Payload::None).await?.0 {
        Some(caller) if caller.account == BookId::HOUSE => {
            let detail = "credits belong to customer accounts; use a customer key, or none";
            return Err(Problem::new(Code::ScopeMissing).detail(detail));
        }
        caller => caller,
    };
    if let Some(record) = state.topups.known(&payment).await.map_err(problem)? {
        let again = record.state == TopupState::Refused && may_retry(&record, caller.as_ref());
        if !again {
            // Another request may be settling it at this moment: its answer is this one's too.
            let record = state.topups.follow(record.id).await.map_err(problem)?;
            if record.is_set_aside() {
                // Another one was paid under its key: that one's answer is this one's, and there is
                // nothing to be signed anew.
                if !may_retry(&record, caller.as_ref()) {
                    return Err(Problem::new(Code::PaymentBoundElsewhere));
                }
                return paid(&state, &request, &body, payment, caller).await;
            }
            if record.outcome() == Outcome::NotTaken {
                // What a backup has as not taken may have been taken since.
                state.topups.refuse_while_restored().await.map_err(problem)?;
            }
            let standing =
                if payment.is_signed_by_payer() { Standing::Signed } else { Standing::Replayed };
            let shown = Shown { version: payment.version, standing };
            return present(&state, record, caller.as_ref(), shown).await;
        }
    }
    paid(&state, &request, &body, payment, caller).await
}

/// An unseen payment, or one that was never sent.
async fn paid(
    state: &AppState,
    request: &HttpRequest,
    body: &RawBody,
    payment: Payment,
    caller: Option<Principal>,
) -> Result<HttpResponse, Problem> {
    state.topups.refuse_while_restored().await.map_err(problem)?;
    let wanted = read_request(body)?;
    let amount = wanted.amount.unwrap_or(state.topups.settings().default_amount);
    let version = payment.version;
    state.topups.check_amount(amount).map_err(problem)?;
    let key = key_of(request, &payment)?;
    let terms = state.topups.terms(amount);
    let checked = state.topups.check(payment, &terms).await.map_err(problem)?;
    let payee = match (&caller, wanted.account_id) {
        (Some(caller), _) => Payee { account: caller.account, keyed: true, named: false },
        (None, Some(account)) => {
            Payee { account: named(state, account).await?, keyed: false, named: true }
        }
        (None, None) => {
            let wallet = state.accounts.open_wallet(&checked.payer().lower()).await;
            Payee { account: wallet?, keyed: false, named: false }
        }
    };
    let identity = checked.identity();
    let settled = state.topups.settle(checked, payee, key).await.map_err(problem)?;
    let (record, sent) = (settled.record, settled.sent);
    // The answer may be another payment's, under the same idempotency key.
    let own = (&record.payer, &record.nonce) == (&identity.payer, &identity.nonce);
    let standing = match own {
        true if sent && !payee.named => Standing::Brought,
        true => Standing::Gave,
        false => Standing::Replayed,
    };
    present(state, record, caller.as_ref(), Shown { version, standing }).await
}

/// A top-up
///
/// Its status and, with a key of the credited account, everything that is known about it.
#[utoipa::path(
    tag = "credits",
    params(("topup_id" = TopupId, Path, description = "The top-up")),
    responses(
        (status = 200, description = "The top-up as it stands", body = TopupView),
        (status = 404, response = Problem),
    ),
    security((), ("api_key" = []))
)]
#[get("/api/v1/topups/{topup_id}")]
pub async fn get_topup(
    path: ApiPath<TopupId>,
    caller: OptionalCaller,
    state: web::Data<AppState>,
) -> Result<HttpResponse, Problem> {
    let record = state.topups.record(path.0).await.map_err(problem)?;
    let record = record.ok_or_else(|| Problem::new(Code::NotFound).field("topup_id"))?;
    let share = Share::of(&record, caller.0.as_ref(), Standing::Looked);
    let view = answer::view(&state, &record, share).await?;
    Ok(HttpResponse::Ok().json(view))
}

fn payment_of(request: &HttpRequest) -> Result<Option<Payment>, Problem> {
    let malformed =
        |name: &str, why: &str| Problem::new(Code::PaymentMalformed).field(name).detail(why);
    let text = |name: &'static str| {
        let mut sent = request.headers().get_all(name);
        match (sent.next(), sent.next()) {
            (None, _) => Ok(None),
            (Some(value), None) => {
                value.to_str().map(Some).map_err(|_| malformed(name, "the header is not ASCII"))
            }
            (Some(_), Some(_)) => Err(malformed(name, "the header is there more than once")),
        }
    };
    Payment::from_headers(text("payment-signature")?, text("x-payment")?).map_err(|error| {
        Problem::new(Code::PaymentMalformed).detail(error.to_string()).with("reason", error.code())
    })
}

/// The client's own name for the purchase: `Idempotency-Key` and `payment-identifier` are the same.
fn key_of(request: &HttpRequest, payment: &Payment) -> Result<Option<IdempotencyKey>, Problem> {
    let sent = OptionalIdempotencyHeader::from_request(request, &mut Payload::None).into_inner()?;
    match (sent.0, payment.payment_identifier.clone()) {
        (Some(header), Some(own)) if header != own => {
            let malformed = Problem::new(Code::IdempotencyKeyMalformed).field("Idempotency-Key");
            Err(malformed.detail("Idempotency-Key and payment-identifier differ"))
        }
        (header, own) => Ok(header.or(own)),
    }
}

fn read_request(body: &RawBody) -> Result<TopupRequest, Problem> {
    match &body.0 {
        Ok(bytes) if bytes.iter().all(u8::is_ascii_whitespace) => Ok(TopupRequest::default()),
        Ok(_) | Err(_) => body.json(),
    }
}

/// A request without a payment: the terms, for whatever amount can be read from it.
fn unpaid(state: &AppState, body: &RawBody) -> HttpResponse {
    let topups = &state.topups;
    let default = topups.settings().default_amount;
    let wanted = read_request(body).and_then(|wanted| {
        let amount = wanted.amount.unwrap_or(default);
        topups.check_amount(amount).map_err(|error| problem(error).field("amount"))?;
        Ok(amount)
    });
    match wanted {
        Ok(amount) => challenge::terms(&topups.terms(amount), Trouble::None),
        Err(refused) => challenge::terms(&topups.terms(default), Trouble::Request(&refused)),
    }
}

/// Whether a refused payment may be sent for this caller: it is bound to its account.
fn may_retry(record: &TopupRecord, caller: Option<&Principal>) -> bool {
    match caller {
        Some(caller) => caller.account == record.account,
        None => !record.keyed,
    }
}

async fn named(state: &AppState, account: BookId) -> Result<BookId, Problem> {
    let unknown = || Problem::new(Code::ValidationFailed).field("account_id");
    if account == BookId::HOUSE {
        return Err(unknown().detail("there is no such account"));
    }
    let balance = ledger::balance(&state.pool, account).await;
    let balance = balance.map_err(|error| Problem::fault(Code::Unavailable, &error))?;
    balance.map(|_| account).ok_or_else(|| unknown().detail("there is no such account"))
}

/// How a payment was shown.
#[derive(Clone, Copy)]
struct Shown {
    version: Version,
    standing: Standing,
}

/// Answers with a top-up in the state that it has reached.
async fn present(
    state: &AppState,
    record: TopupRecord,
    caller: Option<&Principal>,
    shown: Shown,
) -> Result<HttpResponse, Problem> {
    let Shown { version, standing } = shown;
    let share = Share::of(&record, caller, standing);
    if caller.is_some_and(|caller| caller.account != record.account) {
        return Err(Problem::new(Code::PaymentBoundElsewhere));
    }
    let receipt = (answer::receipt_header(version), answer::receipt(&record, share, version));
    match record.outcome() {
        Outcome::Credited => {
            let view = answer::view(state, &record, share).await?;
            Ok(HttpResponse::Ok().insert_header(receipt).json(view))
        }
        Outcome::Open => {
            let view = answer::view(state, &record, share).await?;
            Ok(HttpResponse::Accepted()
                .insert_header(receipt)
                .insert_header((header::RETRY_AFTER, "2"))
                .insert_header((header::LOCATION, view.status_url.clone()))
                .json(view))
        }
        Outcome::Lost => Err(Problem::new(Code::SettlementLost)
            .with("topup_id", record.id.to_string())
            .with("status_url", state.url(&format!("/api/v1/topups/{}", record.id)))),
        Outcome::NotTaken if answer::is_outage(&record) && may_retry(&record, caller) => {
            let url = state.url(&format!("/api/v1/topups/{}", record.id));
            Err(Problem::new(Code::FacilitatorUnavailable)
                .detail("nothing was sent and nothing was taken; send the same payment again")
                .with("topup_id", record.id.to_string())
                .with("status_url", url)
                .retry_after(2))
        }
        Outcome::NotTaken => {
            let terms = state.topups.terms(record.amount);
            let mut response = challenge::terms(&terms, Trouble::Payment(&record, share));
            response.headers_mut().insert(receipt.0.clone(), answer::header_value(receipt.1));
            Ok(response)
        }
    }
}

/// What a client reads of an error of the top-up floor.
pub(super) fn problem(error: PayError) -> Problem {
    match error {
        PayError::BelowMinimum { minimum } => Problem::new(Code::TopupBelowMinimum)
            .field("amount")
            .detail(error.to_string())
            .with("minimum", minimum.to_string()),
        PayError::AboveMaximum { maximum } => Problem::new(Code::TopupAboveMaximum)
            .field("amount")
            .detail(error.to_string())
            .with("maximum", maximum.to_string()),
        PayError::Mismatch(mismatch) => {
            let code = match mismatch {
                Mismatch::NotYetValid { .. }
                | Mismatch::ExpiresTooSoon { .. }
                | Mismatch::LivesTooLong { .. } => Code::PaymentExpired,
                Mismatch::NetworkNotOffered { .. }
                | Mismatch::Accepted { .. }
                | Mismatch::ExtensionEcho { .. }
                | Mismatch::Resource { .. }
                | Mismatch::Recipient { .. }
                | Mismatch::Amount { .. }
                | Mismatch::SelfPayment { .. } => Code::PaymentMismatch,
            };
            Problem::new(code).detail(mismatch.to_string()).with("reason", mismatch.code())
        }
        PayError::Signature { reason } => Problem::new(Code::PaymentInvalid).with("reason", reason),
        PayError::FacilitatorUnavailable { detail } => {
            tracing::warn!(detail, "facilitator cannot be asked");
            Problem::new(Code::FacilitatorUnavailable).retry_after(2)
        }
        PayError::BoundElsewhere => Problem::new(Code::PaymentBoundElsewhere),
        PayError::KeyConflict { first } => Problem::new(Code::PaymentKeyConflict)
            .detail(error.to_string())
            .with("topup_id", first.to_string()),
        PayError::OtherAuthorization { first } => Problem::new(Code::PaymentNonceUsed)
            .detail(error.to_string())
            .with("topup_id", first.to_string()),
        PayError::KeyInFlight => Problem::new(Code::IdempotencyInFlight).retry_after(1),
        PayError::Restored => SubmitError::Restored.into(),
        PayError::Ledger(error) => error.into(),
        PayError::Interrupted | PayError::Wallet(_) | PayError::Database(_) => {
            Problem::fault(Code::Unavailable, &error).retry_after(1)
        }
    }
}
