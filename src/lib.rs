pub mod cli;
pub mod config;
pub mod ground;
pub mod telemetry;
pub mod x402;
