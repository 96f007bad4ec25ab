//! Money in: the x402 payment protocol, facilitators, top-ups and the sandbox.
//!
//! The protocol's own parts are pure: what the wire looks like, what is offered, what a payment says
//! and who signed it. Effects are in `facilitator` and `chain` (where the process ends), `topup`
//! (the order claim → settle → credit, and why) and `sandbox` (a facilitator of test dollars).

mod address;
mod authorization;
pub mod chain;
pub mod classify;
pub mod eip712;
mod exchange;
mod extension;
pub mod facilitator;
pub mod header;
mod heard;
mod matching;
mod mismatch;
mod network;
mod offer;
mod payment;
pub mod sandbox;
pub mod siwx;
pub mod topup;
#[cfg(test)]
mod vectors;
pub mod wire;

pub use address::{Address, HexError, Nonce};
pub use authorization::{Authorization, FieldError};
pub use eip712::Wallet;
pub use header::HeaderError;
pub use heard::Heard;
pub use matching::{Matched, match_payment};
pub use mismatch::Mismatch;
pub use network::Network;
pub use offer::{Terms, Window};
pub use payment::{Payment, PaymentError, PaymentIdentity, Version};
