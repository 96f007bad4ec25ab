//! What the tests stand on.

mod local;
pub mod postgres;
pub mod request;
pub mod service;
