//! Money in: the x402 protocol, facilitators, the chain and the sandbox.

mod address;
mod authorization;
pub mod chain;
pub mod classify;
pub mod eip712;
mod exchange;
pub mod facilitator;
mod network;
pub mod sandbox;

pub use address::{Address, HexError, Nonce};
pub use authorization::{Authorization, FieldError};
pub use eip712::Wallet;
pub use network::Network;
