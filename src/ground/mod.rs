//! Words that every floor speaks: money, ids, time, randomness, keys and pages.
//!
//! Pure: no I/O, no async, no SQL. Time and randomness have their traits here, because everything
//! above takes them as parameters; the raw calls are banned by clippy outside this floor.

mod amount;
mod cipher;
mod clock;
mod entropy;
mod idempotency;
mod ids;
mod mode;
mod page;
mod recent;
mod schema;

pub use amount::{Amount, AmountError};
pub use cipher::{CipherError, SecretCipher};
pub use clock::{Clock, ShiftedClock, SystemClock};
pub use entropy::{Entropy, SeededEntropy, SystemEntropy};
pub use idempotency::{Fingerprint, IdempotencyKey, KeyError, canonical_json, sha256};
pub use ids::{
    BookId, CapId, ChargeId, CheckoutId, DisputeId, EventId, GrantId, HoldId, IdError, KeyId,
    LotId, QuoteId, ReversalId, Slot, TopupId, TransactionId, VerifierId, WebhookId,
    mint_ordered_uuid, mint_uuid,
};
pub use mode::Mode;
pub use page::{Page, PageError};
pub use recent::Recent;
