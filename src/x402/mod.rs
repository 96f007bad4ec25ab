//! Money in: the x402 protocol, facilitators, the chain and the sandbox.

pub mod chain;
pub mod classify;
pub mod eip712;
mod exchange;
pub mod facilitator;
pub mod sandbox;
