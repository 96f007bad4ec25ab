//! The buyers of the matrix: each has a wallet of its own and signs a real authorization.

use bursar::ground::{Clock, Entropy, SystemClock, SystemEntropy};
use bursar::x402::{Version, header};
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::site::{Shop, Site};
use crate::api::Answer;
use crate::topup::buyer;

pub const TOPUP: &str = "/api/v1/credits/topup";
/// What a payment is worth, in atomic units.
pub const PRICE: i64 = 1_000_000;
/// How long a short window is: the least that the service accepts, and what a busy machine takes
/// until the payment is there.
pub const SHORT_S: u64 = 25;

/// A payment that was signed, and nothing else.
pub struct Payment {
    pub payer: String,
    pub nonce: String,
    /// The header's name and value.
    pub header: (&'static str, String),
    /// The API key of the account to credit; without one it is the wallet's own.
    pub key: Option<String>,
}

impl Payment {
    /// Opens a wallet with three dollars, asks for terms and signs them for one: an official client
    /// does, for as long as it likes to, or our own, for a short time.
    pub async fn sign(site: &Site, shop: &Shop, version: Version, short: bool) -> Self {
        let mut secret = [0; 32];
        SystemEntropy.fill(&mut secret);
        let own = buyer::Buyer::of(&secret);
        let payer = own.address();
        // A buyer that is asked to pay a second time could.
        site.world.mint(&payer, 3 * PRICE).await;
        let key = if short { None } else { Some(shop.service().sign_up().await.1) };
        let (name, value) = if short {
            let terms = ask(shop, None, None).send().await.unwrap();
            let terms = read(terms).await.unwrap();
            own.sign_for(version, &terms, SystemClock.now(), SHORT_S).header()
        } else {
            let url = format!("{}{TOPUP}", shop.service().url);
            let request = json!({
                "op": "buy", "version": version.number(), "url": url, "deliver": false,
                "privateKey": format!("0x{}", hex::encode(secret)), "maxValue": "2000000",
            });
            let bought = site.world.ask(request).await.unwrap();
            let sent = bought["requests"].as_array().unwrap().last().unwrap();
            let name = version.header();
            let value = sent["headers"][name.to_lowercase()].as_str().unwrap();
            (name, value.to_owned())
        };
        let payment: Value = header::decode(&value).unwrap();
        let nonce = &payment["payload"]["authorization"]["nonce"];
        let nonce = nonce.as_str().unwrap().to_owned();
        Self { payer, nonce, header: (name, value), key }
    }

    /// Sends it and waits for the answer. An error means that nobody knows what became of it.
    pub async fn send(&self, shop: &Shop) -> Result<Answer, reqwest::Error> {
        let (name, value) = &self.header;
        let request = ask(shop, Some((name, value)), self.key.as_deref());
        read(request.send().await?).await
    }

    /// Sends it and leaves when `enough` says so, without waiting for the answer.
    pub async fn send_and_leave(&self, shop: &Shop, enough: impl Future<Output = ()>) {
        let service = shop.service();
        let address = service.url.strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(address).await.unwrap();
        let (name, value) = &self.header;
        let key = self.key.as_ref().map(|key| format!("authorization: Bearer {key}\r\n"));
        let request = format!(
            "POST {TOPUP} HTTP/1.1\r\nhost: x\r\n{name}: {value}\r\n{}content-length: 0\r\n\r\n",
            key.unwrap_or_default()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        enough.await;
        stream.set_zero_linger().unwrap();
    }
}

fn ask(shop: &Shop, payment: Option<(&str, &str)>, key: Option<&str>) -> RequestBuilder {
    let service = shop.service();
    let request = service.client.post(format!("{}{TOPUP}", service.url));
    let request = match payment {
        Some((name, value)) => request.header(name, value),
        None => request,
    };
    match key {
        Some(key) => request.bearer_auth(key),
        None => request,
    }
}

async fn read(response: reqwest::Response) -> Result<Answer, reqwest::Error> {
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Ok(Answer { status, headers, body: response.text().await? })
}
