//! `bursar pay`: one purchase over x402, step by step.

use std::process::ExitCode;
use std::time::Duration;

use reqwest::{Client, Response, Url};
use serde_json::{Value, json};

use crate::ground::{Clock, SystemClock, SystemEntropy};

use super::buyer::{self, Buyer, BuyerError};
use super::output::tell;
use super::{Failure, Pay};

/// Why nothing was bought.
#[derive(Debug, thiserror::Error)]
enum PayError {
    #[error("`{url}` is not a URL like http://127.0.0.1:8402/api/v1/credits/topup")]
    Url { url: String },
    #[error("--data is not JSON")]
    Data(#[source] serde_json::Error),
    #[error("no answer from {url}")]
    NoAnswer { url: Url, source: reqwest::Error },
    #[error("the terms cannot be paid")]
    Terms(#[from] BuyerError),
    #[error("that service has no sandbox that could fund a test wallet")]
    NoSandbox,
    #[error("the request was refused with {status}")]
    Refused { status: u16 },
    #[error("the payment was not taken: the answer is {status}")]
    NotTaken { status: u16 },
}

/// Asks, pays when the answer is 402, asks again, and prints both answers.
pub(super) async fn pay(order: &Pay) -> Result<ExitCode, Failure> {
    let url = Url::parse(&order.url).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    let url = url.ok_or_else(|| PayError::Url { url: order.url.clone() })?;
    let body = order.data.as_deref().map(serde_json::from_str).transpose();
    let body: Option<Value> = body.map_err(PayError::Data)?;
    let client = Client::builder()
        .timeout(Duration::from_secs(120))
        .redirect(reqwest::redirect::Policy::none())
        .build()?;
    let first = ask(&client, &url, body.as_ref(), None).await?;
    tell!("← {}", first.status());
    if first.status().as_u16() != 402 {
        let status = first.status();
        tell!("{}", first.text().await?);
        return match status.is_success() {
            true => Ok(ExitCode::SUCCESS),
            false => Err(PayError::Refused { status: status.as_u16() }.into()),
        };
    }
    let buyer = Buyer::fresh(&SystemEntropy);
    let chosen = buyer.choose(first.headers(), order.max).map_err(PayError::Terms)?;
    tell!("terms: {}", serde_json::to_string_pretty(&chosen.requirements)?);
    fund(&client, &url, &buyer, &chosen).await?;
    let payment = buyer.sign(&chosen, &SystemEntropy, SystemClock.now())?;
    tell!("→ paying {} from {}", chosen.amount, buyer.address());
    let paid = ask(&client, &url, body.as_ref(), Some(&payment)).await?;
    tell!("← {}", paid.status());
    if let Some(receipt) = buyer::receipt(paid.headers()) {
        tell!("receipt: {}", serde_json::to_string_pretty(&receipt)?);
    }
    let status = paid.status();
    tell!("{}", paid.text().await?);
    match status.is_success() {
        true => Ok(ExitCode::SUCCESS),
        false => Err(PayError::NotTaken { status: status.as_u16() }.into()),
    }
}

async fn ask(
    client: &Client,
    url: &Url,
    body: Option<&Value>,
    payment: Option<&str>,
) -> Result<Response, PayError> {
    let mut request = client.post(url.clone());
    if let Some(body) = body {
        request = request.json(body);
    }
    if let Some(payment) = payment {
        request = request.header("payment-signature", payment);
    }
    request.send().await.map_err(|error| no_answer(url, error))
}

fn no_answer(url: &Url, error: reqwest::Error) -> PayError {
    PayError::NoAnswer { url: url.clone(), source: error.without_url() }
}

/// Has the sandbox of that service give the wallet what it is about to pay.
async fn fund(
    client: &Client,
    url: &Url,
    buyer: &Buyer,
    chosen: &buyer::Chosen,
) -> Result<(), PayError> {
    let faucet = url.join("/sandbox/faucet").map_err(|_| PayError::NoSandbox)?;
    let body = json!({
        "address": buyer.address(), "amount": chosen.amount, "network": chosen.network.caip2,
    });
    let response = client.post(faucet).json(&body).send().await;
    let response = response.map_err(|error| no_answer(url, error))?;
    if response.status().is_success() { Ok(()) } else { Err(PayError::NoSandbox) }
}
