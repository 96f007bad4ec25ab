pub mod ground;
pub mod x402;
