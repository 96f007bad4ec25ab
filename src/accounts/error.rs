use crate::ground::Mode;
use crate::ledger::SubmitError;

use super::ApiKeyError;

/// Why this floor refused, or could not answer.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    #[error(transparent)]
    KeyMalformed(#[from] ApiKeyError),
    #[error("the key is a {key} key")]
    ModeMismatch { key: Mode },
    #[error("the key is not known")]
    KeyUnknown,
    #[error("the key is revoked")]
    KeyRevoked,
    #[error("the key has expired")]
    KeyExpired,
    #[error("this address has signed up too often within the hour")]
    SignupQuotaExhausted,
    #[error("the nonce was not issued here, has expired, or was used before")]
    NonceUnknown,
    #[error("there is no such account")]
    AccountUnknown,
    #[error("there is no such grant")]
    GrantUnknown,
    #[error("the ledger did not take the command")]
    Ledger(#[from] SubmitError),
    #[error("the database did not answer")]
    Database(#[from] sqlx::Error),
}
