//! Money in: the x402 payment protocol.
//!
//! Here are the pure parts: what the wire looks like, what is offered, what a payment says and who
//! signed it. Nothing in them does I/O or reads a clock.

mod address;
mod authorization;
pub mod eip712;
mod extension;
pub mod header;
mod matching;
mod mismatch;
mod network;
mod offer;
mod payment;
pub mod siwx;
#[cfg(test)]
mod vectors;
pub mod wire;

pub use address::{Address, HexError, Nonce};
pub use authorization::{Authorization, FieldError};
pub use eip712::Wallet;
pub use header::HeaderError;
pub use matching::{Matched, match_payment};
pub use mismatch::Mismatch;
pub use network::Network;
pub use offer::{Terms, Window};
pub use payment::{Payment, PaymentError, PaymentIdentity, Version};
