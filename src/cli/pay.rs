//! `bursar pay`: one purchase over x402, step by step.

use std::error::Error;
use std::time::Duration;

use reqwest::{Client, Response, Url};
use serde_json::{Value, json};

use crate::ground::{Clock, SystemClock, SystemEntropy};

use super::Pay;
use super::buyer::{self, Buyer};

type Failure = Box<dyn Error + Send + Sync>;

/// Asks, pays when the answer is 402, asks again, and prints both answers.
pub async fn pay(order: &Pay) -> Result<(), Failure> {
    let url = Url::parse(&order.url)?;
    let body: Option<Value> = order.data.as_deref().map(serde_json::from_str).transpose()?;
    let client = Client::builder()
        .timeout(Duration::from_secs(120))
        .redirect(reqwest::redirect::Policy::none())
        .build()?;
    let first = ask(&client, &url, body.as_ref(), None).await?;
    println!("← {}", first.status());
    if first.status().as_u16() != 402 {
        println!("{}", first.text().await?);
        return Ok(());
    }
    let buyer = Buyer::fresh(&SystemEntropy);
    let chosen = buyer.choose(first.headers(), order.max)?;
    println!("terms: {}", serde_json::to_string_pretty(&chosen.requirements)?);
    fund(&client, &url, &buyer, &chosen).await?;
    let payment = buyer.sign(&chosen, &SystemEntropy, SystemClock.now())?;
    println!("→ paying {} from {}", chosen.amount, buyer.address());
    let paid = ask(&client, &url, body.as_ref(), Some(&payment)).await?;
    println!("← {}", paid.status());
    if let Some(receipt) = buyer::receipt(paid.headers()) {
        println!("receipt: {}", serde_json::to_string_pretty(&receipt)?);
    }
    let good = paid.status().is_success();
    println!("{}", paid.text().await?);
    if good { Ok(()) } else { Err("the payment was not taken".into()) }
}

async fn ask(
    client: &Client,
    url: &Url,
    body: Option<&Value>,
    payment: Option<&str>,
) -> Result<Response, Failure> {
    let mut request = client.post(url.clone());
    if let Some(body) = body {
        request = request.json(body);
    }
    if let Some(payment) = payment {
        request = request.header("payment-signature", payment);
    }
    Ok(request.send().await?)
}

/// Has the sandbox of that service give the wallet what it is about to pay.
async fn fund(
    client: &Client,
    url: &Url,
    buyer: &Buyer,
    chosen: &buyer::Chosen,
) -> Result<(), Failure> {
    let faucet = url.join("/sandbox/faucet")?;
    let body = json!({
        "address": buyer.address(), "amount": chosen.amount, "network": chosen.network.caip2,
    });
    let response = client.post(faucet).json(&body).send().await?;
    if response.status().is_success() {
        return Ok(());
    }
    Err("that service has no sandbox that could fund a test wallet".into())
}
