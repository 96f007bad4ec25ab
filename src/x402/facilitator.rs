//! Talking to a facilitator: the service that checks a signed payment and brings it to the chain.

use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use reqwest::{RequestBuilder, Url};
use serde_json::{Value, json};

use super::classify::{Expected, SettleOutcome, VerifyOutcome, classify_settle, classify_verify};
use super::exchange::{Answer, Bounds, Exchange, ExchangeError};
use super::heard::Heard;

/// Whoever verifies and settles payments for us.
pub trait Facilitator: Send + Sync {
    /// The kinds of payment it serves.
    fn supported(&self) -> BoxFuture<'_, Result<Supported, FacilitatorError>>;

    /// Asks whether a payment could be settled. It moves nothing and promises nothing.
    fn verify<'a>(
        &'a self,
        version: u8,
        payload: &'a Value,
        requirements: &'a Value,
    ) -> BoxFuture<'a, Heard<VerifyOutcome>>;

    /// Settles a payment, once: it is never repeated here.
    ///
    /// `first_attempt` says that this authorization was never sent to any `/settle` before. The
    /// attempt is on record before this is called, and the call is not dropped before it ends.
    fn settle<'a>(
        &'a self,
        version: u8,
        payload: &'a Value,
        requirements: &'a Value,
        expected: &'a Expected<'a>,
        first_attempt: bool,
    ) -> BoxFuture<'a, Heard<SettleOutcome>>;
}

/// Why a facilitator cannot be used or asked.
#[derive(Debug, thiserror::Error)]
pub enum FacilitatorError {
    /// Its address is not one. The address is left out, since it may carry a key.
    #[error("the facilitator's address is not an http or https URL")]
    Address,
    /// The HTTP client cannot be built.
    #[error("the HTTP client cannot be built")]
    Client(#[source] reqwest::Error),
    /// It gave no answer.
    #[error("the facilitator gave no answer: {detail}")]
    Unreachable {
        /// What went wrong.
        detail: String,
    },
    /// Its answer is not what was asked for.
    #[error("the facilitator answered {status} with something unreadable")]
    Unreadable {
        /// The HTTP status.
        status: u16,
    },
}

/// One kind of payment that a facilitator serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kind {
    /// The version of the protocol.
    pub version: u64,
    /// The payment scheme.
    pub scheme: String,
    /// The network: CAIP-2 in version 2, a short name in version 1.
    pub network: String,
}

/// What a facilitator serves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Supported {
    /// Each kind it listed; entries that cannot be read are left out.
    pub kinds: Vec<Kind>,
}

impl Supported {
    /// Reads the answer of `/supported`; `None` when it has no list of kinds.
    pub fn read(body: &[u8]) -> Option<Self> {
        let answer: Value = serde_json::from_slice(body).ok()?;
        let kinds = answer.get("kinds")?.as_array()?.iter().filter_map(|kind| {
            Some(Kind {
                version: kind.get("x402Version")?.as_u64()?,
                scheme: kind.get("scheme")?.as_str()?.to_owned(),
                network: kind.get("network")?.as_str()?.to_owned(),
            })
        });
        Some(Self { kinds: kinds.collect() })
    }

    /// Whether `exact` payments on a network are served. The network goes by its CAIP-2 id in
    /// version 2 and by its short name in version 1, and is looked up by the exact name.
    pub fn supports(&self, version: u8, network: &str) -> bool {
        let version = u64::from(version);
        self.kinds.iter().any(|kind| {
            kind.version == version && kind.scheme == "exact" && kind.network == network
        })
    }
}

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

/// A facilitator at a URL.
pub struct HttpFacilitator {
    url: Url,
    exchange: Exchange,
    settings: FacilitatorSettings,
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
        Ok(Self { url, exchange, settings })
    }

    fn endpoint(&self, name: &str) -> Url {
        let mut url = self.url.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().push(name);
        }
        url
    }

    fn post(&self, name: &str, body: &Value) -> RequestBuilder {
        self.exchange.client().post(self.endpoint(name)).json(body)
    }

    async fn ask_supported(&self) -> Result<Supported, FacilitatorError> {
        let request = self.exchange.client().get(self.endpoint("supported"));
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
    fn kinds_are_read_leniently_and_looked_up_exactly() {
        let body =
            br#"{"kinds":[{"x402Version":2,"scheme":"exact","network":"eip155:84532","extra":{}},
            {"x402Version":1,"scheme":"exact","network":"base-sepolia"}, 7, {"scheme":"exact"},
            {"x402Version":2,"scheme":"upto","network":"eip155:8453"}],"more":1}"#;
        let supported = Supported::read(body).unwrap();
        assert_eq!(supported.kinds.len(), 3);
        assert!(supported.supports(2, "eip155:84532"));
        assert!(supported.supports(1, "base-sepolia"));
        assert!(!supported.supports(1, "eip155:84532"));
        assert!(!supported.supports(2, "eip155:8453"), "another scheme");
        for garbage in ["", "[]", "{}", r#"{"kinds":{}}"#] {
            assert_eq!(Supported::read(garbage.as_bytes()), None, "{garbage}");
        }
    }

    #[test]
    fn nulls_are_not_sent() {
        let payload = json!({"a": null, "b": {"c": null, "d": [null, {"e": null}]}});
        assert_eq!(
            request_body(2, &payload, &json!({"extra": null})),
            json!({"x402Version": 2, "paymentPayload": {"b": {"d": [null, {}]}}, "paymentRequirements": {}})
        );
    }
}
