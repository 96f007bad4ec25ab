//! A server with a handful of routes that do nothing but show what every route gets.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use actix_web::dev::ServerHandle;
use actix_web::{HttpRequest, HttpResponse, get, post, put, web};
use bursar::ground::{CheckoutId, SeededEntropy};
use bursar::http::extract::{
    ApiJson, ApiPath, ApiQuery, Bearer, IdempotencyHeader, OptionalJson, RawBody,
};
use bursar::http::{ClientAddress, HttpSettings, Problem, serve, vouch};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;

use crate::http_wire::{Answer, Connection};

#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Order {
    quantity: u32,
}

#[derive(Deserialize)]
struct Listing {
    limit: Option<u32>,
}

/// Two ends of a handler that waits: it says that it has begun, and is told to go on.
#[derive(Default)]
pub struct Gate {
    pub entered: Notify,
    pub open: Notify,
}

#[utoipa::path(responses((status = 200, description = "The order", body = Order)))]
#[post("/demo/orders")]
async fn create_order(ApiJson(order): ApiJson<Order>, _key: IdempotencyHeader) -> HttpResponse {
    HttpResponse::Ok().json(order)
}

#[utoipa::path(responses((status = 200, description = "The order", body = Order)))]
#[put("/demo/orders/{id}")]
async fn replace_order(_id: ApiPath<CheckoutId>, order: OptionalJson<Order>) -> HttpResponse {
    HttpResponse::Ok().json(order.0)
}

#[utoipa::path(responses((status = 200, description = "The query")))]
#[get("/demo/orders")]
async fn list_orders(ApiQuery(listing): ApiQuery<Listing>, address: ClientAddress) -> HttpResponse {
    HttpResponse::Ok().body(format!("{:?} {}", listing.limit, address.0))
}

#[utoipa::path(responses((status = 402, description = "Terms")))]
#[post("/demo/terms")]
async fn show_terms(body: RawBody) -> HttpResponse {
    HttpResponse::PaymentRequired().json(serde_json::json!({"readable": body.0.is_ok()}))
}

#[utoipa::path(responses((status = 200, description = "Never")))]
#[get("/demo/panic")]
async fn panic_now() -> HttpResponse {
    panic!("on purpose")
}

#[utoipa::path(responses((status = 200, description = "Never")))]
#[get("/demo/foreign")]
async fn fail_foreign() -> actix_web::Result<HttpResponse> {
    Err(actix_web::error::ErrorServiceUnavailable("secret reason"))
}

#[utoipa::path(responses((status = 200, description = "Authenticated")))]
#[get("/demo/key")]
async fn check_key(request: HttpRequest, Bearer(token): Bearer) -> Result<HttpResponse, Problem> {
    if token != "good" {
        return Err(Problem::new(bursar::http::Code::Unauthenticated));
    }
    vouch(&request);
    Ok(HttpResponse::Ok().finish())
}

#[utoipa::path(responses((status = 200, description = "At last")))]
#[get("/demo/wait")]
async fn wait_at_gate(gate: web::Data<Gate>) -> HttpResponse {
    gate.entered.notify_one();
    gate.open.notified().await;
    HttpResponse::Ok().finish()
}

#[utoipa::path(responses((status = 200, description = "Alive")))]
#[get("/healthz")]
async fn say_alive() -> HttpResponse {
    HttpResponse::Ok().finish()
}

pub fn routes(config: &mut ServiceConfig<'_>) {
    config.service(create_order).service(replace_order).service(list_orders).service(show_terms);
    config.service(panic_now).service(fail_foreign).service(check_key);
    config.service(wait_at_gate).service(say_alive);
}

pub struct Demo {
    pub address: SocketAddr,
    pub gate: Arc<Gate>,
    pub handle: ServerHandle,
    pub running: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl Demo {
    pub fn start(settings: HttpSettings) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let gate = Arc::new(Gate::default());
        let data = web::Data::from(Arc::clone(&gate));
        let configure = move |config: &mut ServiceConfig<'_>| {
            config.app_data(data.clone());
            routes(config);
        };
        let settings = HttpSettings { workers: Some(1), ..settings };
        let server = serve(listener, settings, Arc::new(SeededEntropy::new(7)), configure).unwrap();
        Self { address, gate, handle: server.handle(), running: tokio::spawn(server) }
    }

    pub async fn connect(&self) -> Connection {
        Connection::open(self.address).await
    }

    pub async fn request(&self, line: &str, headers: &[&str], body: &[u8]) -> Answer {
        self.connect().await.request(line, headers, body).await
    }
}
