//! The sandbox facilitator over HTTP, and its faucet. Test mode only: without a sandbox these routes
//! do not exist.

use std::io;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, get, post, web};
use futures_util::future::ready;
use futures_util::stream;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use crate::ground::Amount;
use crate::http::extract::{ApiJson, ApiPath, ApiQuery, RawBody};
use crate::http::fields::word;
use crate::http::state::AppState;
use crate::http::{Code, Problem};
use crate::x402::sandbox::{Delivery, Fault, Sandbox, Spoken};
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

/// A fault that is wanted.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "address": "0x14791697260e4c9a71f18484c9f997b308e59325", "fault": "pending", "seconds": 5,
}))]
pub struct FaultRequest {
    /// The wallet that will pay.
    #[schema(value_type = String, pattern = "^0x[0-9a-fA-F]{40}$")]
    pub address: Address,
    /// What goes wrong.
    #[serde(deserialize_with = "word")]
    pub fault: FaultName,
    /// How long `pending` and `slow` last, from 1 to 120; 5 unless said otherwise.
    #[schema(minimum = 1, maximum = 120)]
    pub seconds: Option<u8>,
    /// The network's CAIP-2 id; the first one offered unless said otherwise.
    #[schema(example = "eip155:84532")]
    pub network: Option<String>,
}

/// What goes wrong with a payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FaultName {
    Pending,
    Lost,
    Refused,
    Slow,
    None,
}

impl FaultName {
    /// The fault, if it is one.
    fn lasting(self, seconds: Option<u8>) -> Result<Option<Fault>, Problem> {
        let wrong = |detail| Problem::new(Code::ValidationFailed).field("seconds").detail(detail);
        let time = match (self, seconds) {
            (Self::Pending | Self::Slow, Some(0 | 121..)) => {
                return Err(wrong("seconds is from 1 to 120"));
            }
            (Self::Lost | Self::Refused | Self::None, Some(_)) => {
                return Err(wrong("this fault lasts no time"));
            }
            (_, seconds) => Duration::from_secs(seconds.unwrap_or(5).into()),
        };
        Ok(match self {
            Self::Pending => Some(Fault::Pending(time)),
            Self::Lost => Some(Fault::Lost),
            Self::Refused => Some(Fault::Refused),
            Self::Slow => Some(Fault::Slow(time)),
            Self::None => None,
        })
    }
}

/// What waits for a wallet's payments.
#[derive(Debug, Serialize, ToSchema)]
pub struct FaultAnswer {
    /// The wallet.
    #[schema(value_type = String)]
    pub address: Address,
    /// The network.
    #[schema(example = "eip155:84532")]
    pub network: &'static str,
    /// The fault.
    pub fault: FaultName,
    /// How many faults wait, one for each of its next payments, up to 10. One that has met no
    /// payment within an hour is let go of.
    pub waiting: i64,
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
    let Spoken { status, body, delivery } = sandbox(&state)?.settle(&body).await;
    match delivery {
        Delivery::AtOnce => Ok(spoken((status, body))),
        Delivery::After(time) => {
            tokio::time::sleep(time).await;
            Ok(spoken((status, body)))
        }
        Delivery::Lost => {
            let broken = || Err::<web::Bytes, _>(io::Error::from(io::ErrorKind::BrokenPipe));
            Ok(HttpResponse::Ok().streaming(stream::once(ready(broken()))))
        }
    }
}

/// Have a payment go wrong
///
/// The next payment of the wallet that is brought to the sandbox meets the fault; several wait in
/// line, one for each payment. `pending`: it settles, and only after `seconds` anybody says so.
/// `lost`: it settles, and the answer is lost. `slow`: it settles, and the answer takes `seconds`.
/// `refused`: it is refused and nothing moves. `none` lets go of all that wait.
#[utoipa::path(tag = "sandbox", request_body = FaultRequest, responses(
    (status = 200, description = "What waits for the wallet", body = FaultAnswer),
    (status = 422, response = Problem),
))]
#[post("/sandbox/faults")]
pub async fn arm_fault(
    state: web::Data<AppState>,
    request: ApiJson<FaultRequest>,
) -> Result<HttpResponse, Problem> {
    let FaultRequest { address, fault, seconds, network } = request.0;
    let network = choose(&state, network.as_deref())?;
    let wanted = fault.lasting(seconds)?;
    let armed = sandbox(&state)?.arm(network.caip2, network.usdc, address, wanted).await?;
    let (network, waiting) = (network.caip2, armed.waiting);
    Ok(HttpResponse::Ok().json(FaultAnswer { address, network, fault, waiting }))
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
