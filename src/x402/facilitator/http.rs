//! A facilitator behind HTTP.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use reqwest::header::AUTHORIZATION;
use reqwest::{Method, RequestBuilder, Url};
use serde_json::{Value, json};

use super::super::classify::{
    Expected, SettleOutcome, VerifyOutcome, classify_settle, classify_verify,
};
use super::super::exchange::{Answer, Bounds, Exchange, ExchangeError};
use super::super::heard::Heard;
use super::{CdpKey, Facilitator, FacilitatorError, Supported};
use crate::ground::{Clock, Entropy};

/// How long a facilitator is waited for, and how much it may say.
#[derive(Clone, Copy, Debug)]
pub struct FacilitatorSettings {
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// How long `/supported` may take.
    pub supported_timeout: Duration,
    /// How long `/verify` may take, repeats and pauses included.
    pub verify_timeout: Duration,
    /// The pause before `/verify` is repeated; the second one is twice as long.
    pub verify_pause: Duration,
    /// How long `/settle` may take before the outcome counts as unknown.
    pub settle_timeout: Duration,
    /// How long an answer may be.
    pub body_bytes_max: usize,
}

impl Default for FacilitatorSettings {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            supported_timeout: Duration::from_secs(10),
            verify_timeout: Duration::from_secs(15),
            verify_pause: Duration::from_millis(200),
            settle_timeout: Duration::from_secs(60),
            body_bytes_max: 64 * 1024,
        }
    }
}

/// What it takes to talk to any facilitator.
#[derive(Clone)]
pub struct Connector {
    /// How long it is waited for.
    pub settings: FacilitatorSettings,
    /// The key for Coinbase's facilitator. No other host ever gets a token made with it.
    pub cdp: Option<CdpKey>,
    /// The time, for tokens and refreshes.
    pub clock: Arc<dyn Clock>,
    /// Randomness, for tokens and refreshes.
    pub entropy: Arc<dyn Entropy>,
}

impl Connector {
    /// The facilitator at a URL.
    pub fn open(&self, url: &str) -> Result<HttpFacilitator, FacilitatorError> {
        let mut facilitator = HttpFacilitator::new(url, self.settings)?;
        let key = self.cdp.as_ref().filter(|key| key.is_for(&facilitator.url));
        facilitator.signer = key.map(|key| Signer {
            key: key.clone(),
            clock: self.clock.clone(),
            entropy: self.entropy.clone(),
        });
        Ok(facilitator)
    }
}

/// Whoever makes the token of each request.
struct Signer {
    key: CdpKey,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

/// A facilitator at a URL.
pub struct HttpFacilitator {
    url: Url,
    exchange: Exchange,
    settings: FacilitatorSettings,
    signer: Option<Signer>,
}

impl HttpFacilitator {
    /// How often `/verify` is repeated when the facilitator is busy or away.
    const VERIFY_REPEATS: u32 = 2;

    /// A facilitator by its base URL. The process has installed its TLS provider before.
    pub fn new(url: &str, settings: FacilitatorSettings) -> Result<Self, FacilitatorError> {
        let url = Url::parse(url)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https"))
            .ok_or(FacilitatorError::Address)?;
        // No connection is kept: one that dies while idle fails in a way that cannot be told
        // from a settlement whose answer got lost.
        let bounds = Bounds {
            connect_timeout: settings.connect_timeout,
            body_bytes_max: settings.body_bytes_max,
            idle_max: 0,
        };
        let exchange = Exchange::new(&bounds).map_err(FacilitatorError::Client)?;
        Ok(Self { url, exchange, settings, signer: None })
    }

    fn endpoint(&self, name: &str) -> Url {
        let mut url = self.url.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().push(name);
        }
        url
    }

    fn post(&self, name: &str, body: &Value) -> RequestBuilder {
        self.request(Method::POST, name).json(body)
    }

    /// A request, with a token of its own where the facilitator asks for one: a token is good for
    /// one method and path, and for two minutes.
    fn request(&self, method: Method, name: &str) -> RequestBuilder {
        let url = self.endpoint(name);
        let token = self.signer.as_ref().and_then(|signer| {
            let at = signer.clock.now();
            signer.key.bearer(method.as_str(), &url, at, signer.entropy.as_ref())
        });
        let request = self.exchange.client().request(method, url);
        match token {
            Some(token) => request.header(AUTHORIZATION, token),
            None => request,
        }
    }

    async fn ask_supported(&self) -> Result<Supported, FacilitatorError> {
        let request = self.request(Method::GET, "supported");
        let sent = self.exchange.send(request, self.settings.supported_timeout).await;
        let Answer { status, body } =
            sent.map_err(|error| FacilitatorError::Unreachable { detail: error.to_string() })?;
        if !(200..300).contains(&status) {
            return Err(FacilitatorError::Unreadable { status });
        }
        Supported::read(&body).ok_or(FacilitatorError::Unreadable { status })
    }

    async fn ask_verify(&self, body: &Value) -> Heard<VerifyOutcome> {
        let mut pause = self.settings.verify_pause;
        let mut repeats = Self::VERIFY_REPEATS;
        loop {
            let request = self.post("verify", body);
            let sent = self.exchange.send(request, self.settings.verify_timeout).await;
            let worth_repeating = match &sent {
                Ok(answer) => matches!(answer.status, 429 | 502..=504),
                Err(error) => matches!(error, ExchangeError::NotSent(_)),
            };
            let heard = match sent {
                Ok(Answer { status, body }) => {
                    Heard::answer(classify_verify(status, &body), status, &body)
                }
                Err(error) => unavailable(&error),
            };
            let unavailable = matches!(heard.outcome, VerifyOutcome::Unavailable { .. });
            if !unavailable || !worth_repeating || repeats == 0 {
                return heard;
            }
            repeats = repeats.saturating_sub(1);
            tokio::time::sleep(pause).await;
            pause = pause.saturating_mul(2);
        }
    }

    async fn ask_settle(
        &self,
        body: &Value,
        expected: &Expected<'_>,
        first_attempt: bool,
    ) -> Heard<SettleOutcome> {
        let request = self.post("settle", body);
        match self.exchange.send(request, self.settings.settle_timeout).await {
            Ok(Answer { status, body }) => {
                let outcome = classify_settle(status, &body, first_attempt, expected);
                Heard::answer(outcome, status, &body)
            }
            Err(error) => {
                let unknown = |reason: &str| SettleOutcome::Unknown {
                    reason: reason.to_owned(),
                    transaction: None,
                };
                let outcome = match &error {
                    ExchangeError::NotSent(detail) => {
                        SettleOutcome::NotSent { detail: detail.clone() }
                    }
                    ExchangeError::TimedOut => unknown("timeout"),
                    ExchangeError::Lost(_) => unknown("connection_lost"),
                    ExchangeError::TooLong => unknown("answer_too_long"),
                };
                Heard::nothing(outcome, &error.to_string())
            }
        }
    }
}

impl Facilitator for HttpFacilitator {
    fn supported(&self) -> BoxFuture<'_, Result<Supported, FacilitatorError>> {
        self.ask_supported().boxed()
    }

    fn verify<'a>(
        &'a self,
        version: u8,
        payload: &'a Value,
        requirements: &'a Value,
    ) -> BoxFuture<'a, Heard<VerifyOutcome>> {
        let body = request_body(version, payload, requirements);
        async move {
            let asked = self.ask_verify(&body);
            tokio::time::timeout(self.settings.verify_timeout, asked)
                .await
                .unwrap_or_else(|_| unavailable(&ExchangeError::TimedOut))
        }
        .boxed()
    }

    fn settle<'a>(
        &'a self,
        version: u8,
        payload: &'a Value,
        requirements: &'a Value,
        expected: &'a Expected<'a>,
        first_attempt: bool,
    ) -> BoxFuture<'a, Heard<SettleOutcome>> {
        let body = request_body(version, payload, requirements);
        async move { self.ask_settle(&body, expected, first_attempt).await }.boxed()
    }
}

fn unavailable(error: &ExchangeError) -> Heard<VerifyOutcome> {
    let detail = error.to_string();
    Heard::nothing(VerifyOutcome::Unavailable { detail: detail.clone() }, &detail)
}

/// The body of `/verify` and `/settle`. Nulls are dropped, because some facilitators refuse an
/// optional field that is null.
fn request_body(version: u8, payload: &Value, requirements: &Value) -> Value {
    json!({
        "x402Version": version,
        "paymentPayload": without_nulls(payload),
        "paymentRequirements": without_nulls(requirements),
    })
}

fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.iter().filter(|(_, value)| !value.is_null());
            Value::Object(kept.map(|(key, value)| (key.clone(), without_nulls(value))).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(without_nulls).collect()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nulls_are_not_sent() {
        let payload = json!({"a": null, "b": {"c": null, "d": [null, {"e": null}]}});
        assert_eq!(
            request_body(2, &payload, &json!({"extra": null})),
            json!({"x402Version": 2, "paymentPayload": {"b": {"d": [null, {}]}}, "paymentRequirements": {}})
        );
    }
}
