use crate::ground::CipherError;
use crate::ledger::SubmitError;
use crate::outbound::UrlFault;

/// Why this floor refused, or could not answer.
#[derive(Debug, thiserror::Error)]
pub enum EventError {
    #[error("there is no such account")]
    AccountUnknown,
    #[error("there is no such webhook")]
    WebhookUnknown,
    #[error("the account has had {last} events only")]
    CursorAhead { last: i64 },
    #[error("no key is configured that secrets could be kept with")]
    NoCipher,
    #[error("the account has 16 webhooks, and cannot have more")]
    TooMany,
    #[error("the receiver has said that it is gone for good")]
    Disabled,
    #[error("other events are being sent again")]
    ReplayUnderWay,
    #[error("the URL cannot be called: {0}")]
    Url(#[from] UrlFault),
    #[error("a secret cannot be read")]
    Secret(#[from] CipherError),
    #[error("the ledger did not take the command")]
    Ledger(#[from] SubmitError),
    #[error("the database did not answer")]
    Database(#[from] sqlx::Error),
}
