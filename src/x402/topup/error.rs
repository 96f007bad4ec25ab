use crate::ground::{Amount, TopupId};
use crate::ledger::SubmitError;
use crate::x402::Mismatch;

/// Why a payment was not taken, or has no answer. Nothing was sent unless the variant says so.
#[derive(Debug, thiserror::Error)]
pub enum PayError {
    #[error("the smallest top-up is {minimum}")]
    BelowMinimum { minimum: Amount },
    #[error("the largest top-up is {maximum}")]
    AboveMaximum { maximum: Amount },
    #[error("the payment does not answer the terms: {0}")]
    Mismatch(#[from] Mismatch),
    #[error("the signature is not the payer's: {reason}")]
    Signature { reason: String },
    #[error("the facilitator cannot be reached: {detail}")]
    FacilitatorUnavailable { detail: String },
    #[error("the payment belongs to another account")]
    BoundElsewhere,
    #[error("the idempotency key belongs to top-up {first}, which has other terms")]
    KeyConflict { first: TopupId },
    #[error("the first payment under this idempotency key is being taken")]
    KeyInFlight,
    /// The settlement may be under way; the record tells.
    #[error("the payment is being taken; ask again")]
    Interrupted,
    #[error("the ledger did not take it")]
    Ledger(#[source] SubmitError),
    #[error("the account of the wallet cannot be opened")]
    Wallet(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the ledger was restored from a backup and is not confirmed yet")]
    Restored,
    #[error("the database did not answer")]
    Database(#[from] sqlx::Error),
}
