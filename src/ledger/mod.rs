//! The ledger: the only writer of money.
//!
//! What it promises: a transfer has one debit, one credit and a positive amount, so nothing can be
//! unbalanced; no balance goes below zero; no cap is passed; a command happens once, however often
//! it is sent; what is written is never changed.
//!
//! What it never does: it knows nothing of top-ups, checkouts or HTTP, makes no network call but to
//! Postgres, and never touches two books in one decision.
//!
//! How money is written: [`Engine`] collects [`Command`]s and runs *lock → read → decide → write*
//! for a whole batch. The lock order is the order of (slot, book id). The decision is pure: it
//! happens in [`Book`], in memory, between the reads and the writes.

mod book;
mod cap;
mod command;
mod engine;
mod expiry;
mod headroom;
mod hold;
mod journal;
mod lot;
mod refusal;
mod role;
mod spender;
mod store;

pub use book::{Book, HoldRequest, Stop, Voided};
pub use cap::{Cap, CapScope, CapUse, CapViolation, Span};
pub use command::{Annex, Annexes, Command, CommandIdentity, Decision, Desk, Outcome, Wants};
pub use engine::{Engine, EngineSettings, SubmitError};
pub use expiry::expire_lots;
pub use hold::{Capture, Draw, Hold};
pub use journal::Transfer;
pub use lot::{BurnKey, DEFAULT_PRIORITY, GrantTerms, Lot};
pub use refusal::{Fault, Refusal};
pub use role::{Movement, Role};
pub use spender::Spender;
pub use store::{
    Balance, ConfirmedHow, Contents, PastError, Restoration, abandon_restore, balance,
    begin_restore, close_past, confirm_restoration, contents, finish_restore, is_restored,
    open_book, unconfirmed,
};
