#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod http_base;
mod http_demo;
mod http_wire;
