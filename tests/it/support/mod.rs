//! What the tests stand on.

pub mod dice;
mod local;
pub mod postgres;
pub mod proxy;
pub mod request;
pub mod service;
