//! What the floors below say went wrong, as problems.

use crate::accounts::AccountError;
use crate::checkout::{CheckoutError, OrderFault};
use crate::events::EventError;
use crate::finance::FinanceError;
use crate::http::{Code, Problem};
use crate::ledger::SubmitError;
use crate::x402::sandbox::SandboxError;
use crate::x402::siwx::SiwxError;

impl From<SubmitError> for Problem {
    fn from(error: SubmitError) -> Self {
        match &error {
            SubmitError::Overloaded => Self::new(Code::Overloaded),
            SubmitError::Unavailable => Self::fault(Code::Unavailable, &error),
            SubmitError::Restored => Self::new(Code::LedgerRestored).retry_after(60),
            SubmitError::Conflict => Self::new(Code::IdempotencyConflict).field("Idempotency-Key"),
            SubmitError::BookUnknown => Self::new(Code::NotFound).detail(error.to_string()),
            SubmitError::Fault(_) | SubmitError::Rejected(_) => Self::fault(Code::Internal, &error),
        }
    }
}

impl From<AccountError> for Problem {
    fn from(error: AccountError) -> Self {
        let authorization = |code| Self::new(code).field("Authorization");
        match error {
            AccountError::KeyMalformed(malformed) => {
                authorization(Code::Unauthenticated).detail(malformed.to_string())
            }
            AccountError::ModeMismatch { key } => authorization(Code::ModeMismatch)
                .detail(AccountError::ModeMismatch { key }.to_string()),
            AccountError::KeyUnknown => authorization(Code::Unauthenticated),
            AccountError::KeyRevoked => authorization(Code::KeyRevoked),
            AccountError::KeyExpired => authorization(Code::KeyExpired),
            AccountError::SignupQuotaExhausted => {
                Self::new(Code::SignupQuotaExhausted).retry_after(3_600)
            }
            AccountError::NonceUnknown => {
                Self::new(Code::ChallengeInvalid).detail(error.to_string()).field("nonce")
            }
            AccountError::AccountUnknown | AccountError::GrantUnknown => {
                Self::new(Code::NotFound).detail(error.to_string())
            }
            AccountError::Ledger(submit) => submit.into(),
            AccountError::Database(_) => Self::fault(Code::Unavailable, &error),
        }
    }
}

impl From<CheckoutError> for Problem {
    fn from(error: CheckoutError) -> Self {
        let say = |code| Self::new(code).detail(error.to_string());
        match &error {
            CheckoutError::Order(OrderFault::SkuUnknown { sku }) => {
                say(Code::SkuUnknown).field("items").with("sku", sku.as_str())
            }
            CheckoutError::Order(OrderFault::SkuInactive { sku }) => {
                say(Code::SkuInactive).field("items").with("sku", sku.as_str())
            }
            CheckoutError::Order(OrderFault::TotalOutOfRange) => {
                say(Code::ValidationFailed).field("items")
            }
            CheckoutError::Order(OrderFault::QuoteUnknown) => say(Code::NotFound).field("quote_id"),
            CheckoutError::Order(OrderFault::QuotesOpen { retry_after_s, .. }) => {
                say(Code::RateLimited).retry_after(u64::try_from(*retry_after_s).unwrap_or(1))
            }
            CheckoutError::SkuUnlisted { .. } => say(Code::NotFound).field("sku"),
            CheckoutError::Criteria(_) => say(Code::CriteriaInvalid).field("criteria.schema"),
            CheckoutError::Check(_) => Self::fault(Code::Internal, &error),
            CheckoutError::ListedCriteria(_) => Self::fault(Code::Internal, &error),
            CheckoutError::ItemUnknown { position, .. } => {
                say(Code::ValidationFailed).field(format!("results[{position}].item"))
            }
            CheckoutError::ResultRepeated { position, .. } => {
                say(Code::ValidationFailed).field(format!("results[{position}].result_id"))
            }
            CheckoutError::EvidenceTooLong { position } => {
                say(Code::ValidationFailed).field(format!("results[{position}].evidence"))
            }
            CheckoutError::CheckoutUnknown
            | CheckoutError::ResultUnknown
            | CheckoutError::ChargeUnknown
            | CheckoutError::DisputeUnknown
            | CheckoutError::ReversalUnknown
            | CheckoutError::ReceiptNotYet => say(Code::NotFound),
            CheckoutError::VerifierUnknown => say(Code::ValidationFailed).field("verifier_id"),
            CheckoutError::VerifierUrl(_) => say(Code::ValidationFailed).field("url"),
            CheckoutError::NoCipher => say(Code::VerifiersUnavailable),
            CheckoutError::Secret(_) => Self::fault(Code::Internal, &error),
            CheckoutError::SkuNotServed { sku } => {
                say(Code::ScopeMissing).with("sku", sku.as_str())
            }
            CheckoutError::Ledger(submit) => submit.clone().into(),
            CheckoutError::Database(_) => Self::fault(Code::Unavailable, &error),
        }
    }
}

impl From<EventError> for Problem {
    fn from(error: EventError) -> Self {
        let say = |code| Self::new(code).detail(error.to_string());
        match &error {
            EventError::AccountUnknown => say(Code::NotFound).field("account_id"),
            EventError::WebhookUnknown => say(Code::NotFound),
            EventError::CursorAhead { .. } => say(Code::ValidationFailed).field("after"),
            EventError::NoCipher => say(Code::WebhooksUnavailable),
            EventError::TooMany => say(Code::TooManyWebhooks),
            EventError::Disabled => say(Code::WebhookDisabled),
            EventError::ReplayUnderWay => say(Code::ReplayUnderWay),
            EventError::Url(_) => say(Code::ValidationFailed).field("url"),
            EventError::Secret(_) => Self::fault(Code::Internal, &error),
            EventError::Ledger(submit) => submit.clone().into(),
            EventError::Database(_) => Self::fault(Code::Unavailable, &error),
        }
    }
}

impl From<FinanceError> for Problem {
    fn from(error: FinanceError) -> Self {
        match &error {
            FinanceError::NotOver { now, wanted } => {
                let left = wanted.signed_duration_since(*now).num_seconds().saturating_add(1);
                Self::new(Code::MomentNotOver)
                    .detail(error.to_string())
                    .retry_after(u64::try_from(left).unwrap_or(1))
            }
            FinanceError::StillWriting | FinanceError::Database(_) => {
                Self::fault(Code::Unavailable, &error)
            }
        }
    }
}

impl From<SandboxError> for Problem {
    fn from(error: SandboxError) -> Self {
        let misfit =
            |field| Self::new(Code::ValidationFailed).detail(error.to_string()).field(field);
        match &error {
            SandboxError::Network | SandboxError::Asset => misfit("network"),
            SandboxError::Faucet { .. } | SandboxError::Balance => misfit("amount"),
            SandboxError::Faults { .. } => misfit("address"),
            SandboxError::Database(_) => Self::fault(Code::Unavailable, &error),
        }
    }
}

impl From<SiwxError> for Problem {
    fn from(error: SiwxError) -> Self {
        let code = match &error {
            SiwxError::Undecodable(_) => Code::MalformedRequest,
            SiwxError::ChainId
            | SiwxError::UnsupportedChain { .. }
            | SiwxError::MalformedSignature
            | SiwxError::Signature { .. } => Code::SignatureInvalid,
            SiwxError::Malformed { .. }
            | SiwxError::DomainMismatch { .. }
            | SiwxError::UriMismatch { .. }
            | SiwxError::IssuedAt
            | SiwxError::IssuedAtTooOld { .. }
            | SiwxError::IssuedAtInFuture { .. }
            | SiwxError::ExpirationTime
            | SiwxError::Expired { .. }
            | SiwxError::NotBefore
            | SiwxError::NotYetValid { .. }
            | SiwxError::Nonce => Code::ChallengeInvalid,
        };
        Self::new(code).detail(error.to_string()).with("reason", error.code())
    }
}
