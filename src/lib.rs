pub mod ground;
pub mod http;
