//! HTTP: actix lives here and nowhere else.
//!
//! A handler reads a request into types, calls one verb of a floor below and says what came of it.
//! It decides nothing about money. Around it: problems and their codes, extractors, the middleware
//! stack, the list of routes, the API document and the server. Handlers register with
//! `utoipa_actix_web`, so that one list of routes feeds the server, the document, `Allow` and CORS.

mod accounts;
mod admin;
mod api;
mod auth;
mod catalog;
mod charges;
mod checkouts;
mod client;
mod code;
mod credits;
mod disputes;
mod docs;
mod error;
mod escape;
mod events;
pub mod extract;
mod fields;
mod grants;
mod ledger;
mod limiter;
mod list;
mod metrics;
mod middleware;
mod openapi;
mod outcome;
mod paging;
mod past;
mod problem;
mod problem_body;
mod quotes;
mod receipt_page;
mod receipts;
mod refusal;
mod results;
mod routes;
mod sandbox;
mod server;
mod service;
mod settings;
mod state;
mod topups;
mod verifiers;
mod waiting;
mod wallets;
mod webhooks;

pub use actix_web::dev::ServerHandle;
pub use api::{api_document, api_document_json, routes};
pub use auth::OptionalCaller;
pub use client::ClientAddress;
pub use code::{Code, CodeFacts};
pub use metrics::{Gauge, GaugeSource, Metrics};
pub use middleware::vouch;
pub use openapi::{API_KEY, document, operations};
pub use problem::{PROBLEM_JSON, Problem};
pub use problem_body::{Next, ProblemBody};
pub use server::{listen, serve};
pub use settings::{HttpSettings, Quota};
pub use state::AppState;
