#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic wherever it likes")]

mod chain;
mod facilitator;
mod peer;
