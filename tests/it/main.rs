//! The integration tests: one binary, real Postgres, real sockets. Linking and process count dominate
//! otherwise.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod api;
mod backup;
mod bad_input;
mod cdp;
mod chain;
mod crash;
mod facilitator;
mod finance;
mod guide;
mod http_base;
mod http_demo;
mod http_wire;
mod ledger;
mod managed;
mod matrix;
mod networks;
mod official;
mod peer;
mod receipts;
mod replicas;
mod sandbox;
mod startup;
mod support;
mod support_smoke;
mod tidy;
mod topup;
mod verifier;
mod webhooks;
