//! The sandbox facilitator over HTTP, and its faucet. Test mode only: without a sandbox these routes
//! do not exist.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, get, post, web};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use crate::ground::Amount;
use crate::http::extract::{ApiJson, ApiPath, ApiQuery, RawBody};
use crate::http::state::AppState;
use crate::http::{Code, Problem};
use crate::x402::sandbox::Sandbox;
use crate::x402::{Address, Network};

/// Test dollars that are wanted.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "address": "0x14791697260e4c9a71f18484c9f997b308e59325", "amount": "10.00",
}))]
pub struct FaucetRequest {
    /// The wallet.
    #[schema(value_type = String, pattern = "^0x[0-9a-fA-F]{40}$")]
    pub address: Address,
    /// How much, up to 1000.00 at a time.
    pub amount: Amount,
    /// The network's CAIP-2 id; the first one offered unless said otherwise.
    #[schema(example = "eip155:84532")]
    pub network: Option<String>,
}

/// The test dollars of a wallet.
#[derive(Debug, Serialize, ToSchema)]
pub struct FaucetAnswer {
    /// The wallet.
    #[schema(value_type = String)]
    pub address: Address,
    /// The network.
    #[schema(example = "eip155:84532")]
    pub network: &'static str,
    /// The token's contract.
    #[schema(value_type = String)]
    pub asset: Address,
    /// What the wallet has.
    pub balance: Amount,
}

/// Of which network.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct NetworkQuery {
    /// The network's CAIP-2 id; the first one offered unless said otherwise.
    network: Option<String>,
}

/// What the sandbox facilitator serves
#[utoipa::path(tag = "sandbox", responses(
    (status = 200, description = "As x402 facilitators answer", body = Object),
))]
#[get("/sandbox/facilitator/supported")]
pub async fn facilitator_supported(state: web::Data<AppState>) -> Result<HttpResponse, Problem> {
    Ok(HttpResponse::Ok().json(sandbox(&state)?.supported()))
}

/// Verify a payment of test dollars
#[utoipa::path(tag = "sandbox", request_body = Object, responses(
    (status = 200, description = "As x402 facilitators answer", body = Object),
    (status = 400, description = "The request is not one of the protocol", body = Object),
))]
#[post("/sandbox/facilitator/verify")]
pub async fn facilitator_verify(
    state: web::Data<AppState>,
    body: RawBody,
) -> Result<HttpResponse, Problem> {
    // What cannot be read is refused in the protocol's own words, not in ours.
    let body = body.json().unwrap_or(Value::Null);
    Ok(spoken(sandbox(&state)?.verify(&body).await))
}

/// Settle a payment of test dollars
#[utoipa::path(tag = "sandbox", request_body = Object, responses(
    (status = 200, description = "As x402 facilitators answer", body = Object),
    (status = 400, description = "The request is not one of the protocol", body = Object),
))]
#[post("/sandbox/facilitator/settle")]
pub async fn facilitator_settle(
    state: web::Data<AppState>,
    body: RawBody,
) -> Result<HttpResponse, Problem> {
    let body = body.json().unwrap_or(Value::Null);
    Ok(spoken(sandbox(&state)?.settle(&body).await))
}

/// Get test dollars
///
/// They are worth nothing and exist only here.
#[utoipa::path(tag = "sandbox", request_body = FaucetRequest, responses(
    (status = 200, description = "What the wallet has", body = FaucetAnswer),
    (status = 422, response = Problem),
))]
#[post("/sandbox/faucet")]
pub async fn open_faucet(
    state: web::Data<AppState>,
    request: ApiJson<FaucetRequest>,
) -> Result<HttpResponse, Problem> {
    let FaucetRequest { address, amount, network } = request.0;
    let network = choose(&state, network.as_deref())?;
    let given = sandbox(&state)?.faucet(network.caip2, network.usdc, address, amount);
    let balance = given.await?;
    Ok(tell(network, address, balance))
}

/// The test dollars of a wallet
#[utoipa::path(
    tag = "sandbox",
    params(("address" = String, Path, description = "The wallet"), NetworkQuery),
    responses(
        (status = 200, description = "What the wallet has", body = FaucetAnswer),
        (status = 404, response = Problem),
        (status = 422, response = Problem),
    ),
)]
#[get("/sandbox/balance/{address}")]
pub async fn read_test_dollars(
    state: web::Data<AppState>,
    address: ApiPath<Address>,
    query: ApiQuery<NetworkQuery>,
) -> Result<HttpResponse, Problem> {
    let ApiPath(address) = address;
    let network = choose(&state, query.0.network.as_deref())?;
    let balance = sandbox(&state)?.balance(network.caip2, network.usdc, address).await?;
    Ok(tell(network, address, balance))
}

fn sandbox(state: &AppState) -> Result<&Sandbox, Problem> {
    state.sandbox.as_ref().ok_or_else(|| Problem::new(Code::NotFound))
}

fn choose(state: &AppState, name: Option<&str>) -> Result<&'static Network, Problem> {
    let mut offered = state.networks.iter().copied();
    let found = match name {
        Some(name) => offered.find(|n| n.caip2 == name || n.v1_name == Some(name)),
        None => offered.next(),
    };
    let unknown = || Problem::new(Code::ValidationFailed).field("network");
    found.ok_or_else(|| unknown().detail("the sandbox does not serve this network"))
}

fn spoken((status, body): (u16, Value)) -> HttpResponse {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    HttpResponse::build(status).json(body)
}

fn tell(network: &'static Network, address: Address, balance: Amount) -> HttpResponse {
    let (network, asset) = (network.caip2, network.usdc);
    HttpResponse::Ok().json(FaucetAnswer { address, network, asset, balance })
}
