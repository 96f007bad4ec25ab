//! HTTP: actix lives here and nowhere else.
//!
//! This much knows no business: problems and their codes, extractors, the middleware stack, the
//! route table, the OpenAPI document and the server. Handlers register with `utoipa_actix_web`,
//! so that one list of routes feeds the server, the document, `Allow` and CORS.

mod client;
mod code;
pub mod extract;
mod limiter;
mod middleware;
mod openapi;
mod problem;
mod problem_body;
mod routes;
mod server;
mod state;

pub use client::ClientAddress;
pub use code::{Code, CodeFacts};
pub use middleware::vouch;
pub use openapi::{API_KEY, document, operations};
pub use problem::{PROBLEM_JSON, Problem};
pub use problem_body::{Next, ProblemBody};
pub use server::serve;
pub use state::{HttpSettings, Quota};
