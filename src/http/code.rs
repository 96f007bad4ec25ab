//! The one table of error codes: what a client may branch on, and what it should do next.
//!
//! A code is stable for ever; titles and hints may be reworded. The docs page and the OpenAPI
//! document are generated from this table.

use actix_web::http::StatusCode;
use serde::{Serialize, Serializer};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};

/// What the table says about one code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodeFacts {
    /// The stable name.
    pub code: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// Whether the same request, sent again unchanged, may succeed.
    pub retryable: bool,
    /// What a program should do next, as a word.
    pub action: &'static str,
    /// Where to do it; empty when it is the same place.
    pub url: &'static str,
    /// What happened, in general.
    pub title: &'static str,
    /// What to do next, as a sentence.
    pub hint: &'static str,
}

macro_rules! codes {
    ($($name:ident: $code:literal, $status:literal, $retryable:literal, $action:literal,
        $url:literal, $title:literal, $hint:literal;)+) => {
        /// A stable error code.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code {
            $(#[doc = $title] $name,)+
        }

        impl Code {
            /// Every code, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The row of the table.
            pub const fn facts(self) -> CodeFacts {
                let (code, status, retryable, action, url, title, hint) = match self {
                    $(Self::$name => ($code, $status, $retryable, $action, $url, $title, $hint),)+
                };
                CodeFacts { code, status, retryable, action, url, title, hint }
            }
        }
    };
}

// variant: code, status, retryable, next action, next url,
//     title,
//     hint;
codes! {
    ValidationFailed: "validation_failed", 422, false, "fix_request", "",
        "The request does not fit the schema",
        "Correct the named member and send the request again.";
    MalformedRequest: "malformed_request", 400, false, "fix_request", "",
        "The request cannot be read",
        "Send well-formed JSON and headers.";
    UnsupportedMediaType: "unsupported_media_type", 415, false, "fix_request", "",
        "The body is not JSON",
        "Send Content-Type: application/json and no Content-Encoding.";
    PayloadTooLarge: "payload_too_large", 413, false, "send_less", "",
        "The body is too large",
        "Send a smaller body, or split the work into several requests.";
    Unauthenticated: "unauthenticated", 401, false, "authenticate", "/api/v1/accounts",
        "No valid API key was given",
        "Send Authorization: Bearer <key>; a POST to url gives a key.";
    ScopeMissing: "scope_missing", 403, false, "use_other_key", "",
        "This key may not do that",
        "Use a key of the kind that this operation asks for.";
    KeyRevoked: "key_revoked", 401, false, "use_other_key", "",
        "The API key has been revoked",
        "Use another key of the account.";
    KeyExpired: "key_expired", 401, false, "use_other_key", "",
        "The API key has expired",
        "Use another key of the account.";
    AccountFrozen: "account_frozen", 409, false, "contact_operator", "",
        "The account is frozen",
        "Ask the operator; nothing is spent while an account is frozen.";
    NotFound: "not_found", 404, false, "read_api", "/openapi.json",
        "There is nothing here",
        "Check the path and the id; the API document lists every path.";
    MethodNotAllowed: "method_not_allowed", 405, false, "use_other_method", "/openapi.json",
        "This path has no such method",
        "Use a method of the Allow header.";
    IdempotencyKeyMissing: "idempotency_key_missing", 400, false, "fix_request", "",
        "Idempotency-Key is required here",
        "Send Idempotency-Key with a fresh random value.";
    IdempotencyKeyMalformed: "idempotency_key_malformed", 400, false, "fix_request", "",
        "The idempotency key is malformed",
        "Send one key of 1 to 255 visible ASCII characters.";
    IdempotencyConflict: "idempotency_conflict", 422, false, "use_new_idempotency_key", "",
        "This key belongs to another request",
        "Repeat the first request as it was, or use a new key.";
    IdempotencyInFlight: "idempotency_in_flight", 409, true, "retry_later", "",
        "The first request with this key is running",
        "Wait Retry-After seconds and send it again.";
    RateLimited: "rate_limited", 429, true, "retry_later", "",
        "Too many requests",
        "Wait Retry-After seconds and send it again.";
    Overloaded: "overloaded", 503, true, "retry_later", "",
        "The service is busy",
        "Wait Retry-After seconds and send it again.";
    Unavailable: "unavailable", 503, true, "retry_later", "",
        "The service cannot answer for a moment",
        "Repeat it with the same Idempotency-Key.";
    LedgerRestored: "ledger_restored", 503, true, "retry_later", "",
        "The ledger was restored and is being checked",
        "Nothing moves until the operator has confirmed it; pay nothing, and send it again later.";
    Internal: "internal", 500, true, "retry_later", "",
        "The service failed",
        "Repeat it with the same Idempotency-Key; quote instance in a report.";
    InsufficientCredits: "insufficient_credits", 409, false, "top_up", "/api/v1/credits/topup",
        "Not enough credits",
        "Top up, then repeat the request with a new Idempotency-Key.";
    CapExceeded: "cap_exceeded", 409, false, "spend_less", "",
        "A spending cap would be exceeded",
        "Spend less, wait for the window, or have the cap raised.";
    SkuNotAllowed: "sku_not_allowed", 409, false, "choose_other_sku", "/api/v1/catalog",
        "This key may not buy that SKU",
        "Choose an allowed SKU or use another key.";
    SkuUnknown: "sku_unknown", 422, false, "choose_other_sku", "/api/v1/catalog",
        "There is no such SKU",
        "Choose a SKU of the catalog.";
    SkuInactive: "sku_inactive", 409, false, "choose_other_sku", "/api/v1/catalog",
        "The SKU is not on sale",
        "Choose an active SKU of the catalog.";
    QuoteUsed: "quote_used", 409, false, "read_checkout", "",
        "The quote was accepted before",
        "Read the checkout of checkout_id; for another one, ask for another quote.";
    QuoteExpired: "quote_expired", 409, false, "quote_again", "/api/v1/quotes",
        "The quote ran out",
        "Ask for a new quote and accept that within its life.";
    CriteriaInvalid: "criteria_invalid", 422, false, "fix_request", "",
        "The schema of the criteria cannot be used",
        "Correct the JSON Schema as detail says and send the SKU again.";
    MaxTotalExceeded: "max_total_exceeded", 409, false, "raise_max_total", "",
        "The items cost more than max_total",
        "Raise max_total or order less, with a new Idempotency-Key.";
    CheckoutNotCancelable: "checkout_not_cancelable", 409, false, "read_checkout", "",
        "The checkout cannot be canceled",
        "Read the checkout; only what awaits a result can be canceled.";
    ResultConflict: "result_conflict", 409, false, "use_new_result_id", "",
        "This result id belongs to another result",
        "Submit the other result under an id of its own.";
    ResultQuantityExceeded: "result_quantity_exceeded", 409, false, "deliver_less", "",
        "The result is larger than what is open",
        "Read the item's open quantity and deliver at most that.";
    DeliveryDeadlinePassed: "delivery_deadline_passed", 409, false, "read_checkout", "",
        "The delivery deadline has passed",
        "Read the checkout; what was not delivered is released.";
    ItemClosed: "item_closed", 409, false, "read_checkout", "",
        "The item takes no more results",
        "Read the checkout; the item was canceled or its time ran out.";
    AcceptedQuantityExceeded: "accepted_quantity_exceeded", 409, false, "accept_less", "",
        "The verdict accepts more than was delivered",
        "Read the result and accept at most its quantity, with a new Idempotency-Key.";
    CriteriaVersionMismatch: "criteria_version_mismatch", 409, false, "read_results",
        "/api/v1/results",
        "The verdict is about other criteria",
        "Read the result with its criteria at url and judge it by those, with a new Idempotency-Key.";
    AlreadyDecided: "already_decided", 409, false, "read_checkout", "",
        "The result has its verdict already",
        "Read the checkout for the verdict that stands.";
    VerificationDeadlinePassed: "verification_deadline_passed", 409, false, "read_checkout", "",
        "The verification deadline has passed",
        "Read the checkout; an unverified result is released.";
    ReversalExceedsCharge: "reversal_exceeds_charge", 409, false, "reverse_less", "",
        "More is asked for than is left of the charge",
        "Read the charge and ask for at most what is left of it.";
    AlreadyReversed: "already_reversed", 409, false, "read_charge", "",
        "Nothing is left of the charge",
        "Read the charge; it has been given back whole.";
    ChargeFinal: "charge_final", 409, false, "contact_operator", "",
        "The charge is final but for what is disputed",
        "The dispute window is over; only what was disputed within it can still go back. Ask the operator.";
    ChargeDisputed: "charge_disputed", 409, false, "wait_for_decision", "",
        "That part of the charge is under dispute",
        "Wait for the decision of dispute_id, or decide it; it gives back what it upholds.";
    TooManyGrantsWaiting: "too_many_grants_waiting", 409, false, "fix_request", "",
        "Too many grants of the account wait for their time",
        "Give it at once, or under a new Idempotency-Key when one of them has been credited.";
    GrantCredited: "grant_credited", 409, false, "read_grants", "/api/v1/admin/grants",
        "The grant has been credited",
        "Read the grants; only one that waits can be canceled, and this one became lot_id.";
    TooManyDisputes: "too_many_disputes", 409, false, "contact_operator", "",
        "The charge was disputed often enough",
        "Ask the operator; until the charge is final it can still be reversed.";
    DisputeDecided: "dispute_decided", 409, false, "read_charge", "",
        "The dispute has been decided",
        "Read the charge for the decision that stands.";
    DisputeDeadlinePassed: "dispute_deadline_passed", 409, false, "read_charge", "",
        "The dispute was not decided in time",
        "Read the charge; what nobody decides in time is upheld.";
    PaymentMalformed: "payment_malformed", 400, false, "fix_payment", "",
        "The payment header cannot be read",
        "Send one payment header as base64 JSON, as x402 says.";
    PaymentMismatch: "payment_mismatch", 422, false, "pay_the_terms", "",
        "The payment does not match the terms",
        "Ask for the terms without a payment and sign those.";
    PaymentExpired: "payment_expired", 422, false, "sign_new_payment", "",
        "The payment is outside its time window",
        "Sign a new authorization that is valid at this time.";
    PaymentInvalid: "payment_invalid", 422, false, "sign_new_payment", "",
        "The payment's signature is not valid",
        "Sign the authorization with the paying wallet.";
    PaymentKeyConflict: "payment_key_conflict", 409, false, "use_new_idempotency_key", "",
        "This key belongs to another top-up",
        "Repeat the first top-up as it was, or use a new key.";
    PaymentBoundElsewhere: "payment_bound_elsewhere", 409, false, "use_other_account", "",
        "This payment belongs to another account",
        "Present it with the account that presented it first.";
    SettlementLost: "settlement_lost", 409, false, "contact_operator", "",
        "The chain dropped the settlement for good",
        "Ask the operator before you pay again; the account is frozen.";
    PaymentNonceUsed: "payment_nonce_used", 409, false, "sign_new_payment", "",
        "This nonce came with another authorization",
        "Present the first authorization again, or sign one with a nonce of its own.";
    TopupBelowMinimum: "topup_below_minimum", 422, false, "change_amount", "",
        "The top-up is too small",
        "Ask for at least the minimum.";
    TopupAboveMaximum: "topup_above_maximum", 422, false, "change_amount", "",
        "The top-up is too large",
        "Ask for at most the maximum, several times if need be.";
    FacilitatorUnavailable: "facilitator_unavailable", 503, true, "retry_later", "",
        "The payment facilitator cannot be reached",
        "Send the same payment again; it is credited once.";
    ChallengeInvalid: "challenge_invalid", 422, false, "challenge", "/api/v1/wallets/challenge",
        "The challenge is unknown, used or expired",
        "Get a new challenge from url and sign that.";
    SignatureInvalid: "signature_invalid", 422, false, "sign_again", "",
        "The wallet's signature is not valid",
        "Sign the exact message of the challenge with the wallet.";
    SignupQuotaExhausted: "signup_quota_exhausted", 429, true, "top_up", "/api/v1/credits/topup",
        "Too many accounts from this address",
        "Wait, or pay without a key: the wallet gets an account.";
    MomentNotOver: "moment_not_over", 409, true, "retry_later", "",
        "That moment is not over",
        "Ask for an earlier moment, or wait Retry-After seconds and send it again.";
    WebhooksUnavailable: "webhooks_unavailable", 409, false, "read_events", "/api/v1/events",
        "There are no webhooks here",
        "Read url instead, or ask the operator to set BURSAR_SECRET_KEY.";
    TooManyWebhooks: "too_many_webhooks", 409, false, "delete_webhook", "/api/v1/webhooks",
        "The account has as many webhooks as it can have",
        "Delete one of those at url first.";
    WebhookDisabled: "webhook_disabled", 409, false, "create_webhook", "/api/v1/webhooks",
        "The webhook is disabled",
        "Its receiver answered 410; delete it and make another.";
    ReplayUnderWay: "replay_under_way", 409, true, "retry_later", "",
        "Other events are being sent again",
        "Wait until those have been queued, and send it again.";
    VerifiersUnavailable: "verifiers_unavailable", 409, false, "use_push", "",
        "No verifier can be called here",
        "Set BURSAR_SECRET_KEY, or list SKUs with the verification push.";
    ModeMismatch: "mode_mismatch", 409, false, "use_other_key", "",
        "Test and live do not mix",
        "Use a key and a network of this service's mode (Bursar-Mode).";
}

impl Code {
    /// The stable name.
    pub const fn as_str(self) -> &'static str {
        self.facts().code
    }

    /// The HTTP status.
    pub fn status(self) -> StatusCode {
        StatusCode::from_u16(self.facts().status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The code that says most about a bare status, for errors that do not come from our handlers.
    pub const fn of_status(status: u16) -> Self {
        match status {
            401 => Self::Unauthenticated,
            403 => Self::ScopeMissing,
            404 => Self::NotFound,
            405 => Self::MethodNotAllowed,
            413 => Self::PayloadTooLarge,
            415 => Self::UnsupportedMediaType,
            422 => Self::ValidationFailed,
            429 => Self::RateLimited,
            503 => Self::Unavailable,
            400..=499 => Self::MalformedRequest,
            _ => Self::Internal,
        }
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl utoipa::PartialSchema for Code {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some("Stable; a client branches on this and on nothing else"))
            .enum_values(Some(Self::ALL.iter().map(|code| code.as_str())))
            .into()
    }
}

impl utoipa::ToSchema for Code {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_code_is_unique_snake_case_and_explained() {
        let mut seen = HashSet::new();
        for code in Code::ALL {
            let facts = code.facts();
            assert!(seen.insert(facts.code), "{} is there twice", facts.code);
            for word in [facts.code, facts.action] {
                let snake = word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
                assert!(snake && word.starts_with(|c: char| c.is_ascii_lowercase()), "{word:?}");
            }
            assert!(facts.title.len() > 10 && !facts.title.ends_with('.'), "{}", facts.code);
            assert!(facts.hint.len() > 20 && facts.hint.ends_with('.'), "{}", facts.code);
            assert!(facts.url.is_empty() || facts.url.starts_with('/'), "{}", facts.code);
            assert!((400..600).contains(&facts.status), "{}", facts.code);
        }
    }

    #[test]
    fn no_code_answers_402() {
        // A 402 without full x402 terms makes stock clients throw instead of returning the body.
        assert!(Code::ALL.iter().all(|code| code.facts().status != 402));
    }

    #[test]
    fn a_bare_status_finds_a_code_of_that_status() {
        for status in [400, 401, 403, 404, 405, 413, 415, 422, 429, 500, 503] {
            assert_eq!(Code::of_status(status).facts().status, status);
        }
    }
}
