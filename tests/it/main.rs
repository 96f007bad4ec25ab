//! The integration tests: one binary, real Postgres, real sockets.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod chain;
mod facilitator;
mod http_base;
mod http_demo;
mod http_wire;
mod peer;
mod sandbox;
mod support;
mod tidy;
