//! Every integration test, in one binary: linking and process count dominate otherwise.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod managed;
mod support;
mod support_smoke;
