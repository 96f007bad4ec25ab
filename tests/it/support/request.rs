//! Requests that can be sent again, byte for byte, and their answers.

use reqwest::Client;
use reqwest::header::HeaderMap;
use serde_json::Value;

/// A POST under an idempotency key, or with a payment.
#[derive(Clone, Debug)]
pub struct Post {
    pub path: String,
    pub key: String,
    /// The header that makes it the same request: `Idempotency-Key` or a payment.
    pub once: (&'static str, String),
    pub body: Option<Value>,
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
}

impl Post {
    pub fn new(path: impl Into<String>, key: &str, once: impl Into<String>, body: Value) -> Self {
        let once = ("idempotency-key", once.into());
        Self { path: path.into(), key: key.to_owned(), once, body: Some(body) }
    }

    /// Sends it. An error means that nobody knows what became of it.
    pub async fn send(&self, client: &Client, base: &str) -> Result<Answer, reqwest::Error> {
        let mut request = client.post(format!("{base}{}", self.path));
        if !self.key.is_empty() {
            request = request.bearer_auth(&self.key);
        }
        let (name, value) = &self.once;
        if !value.is_empty() {
            request = request.header(*name, value);
        }
        if let Some(body) = &self.body {
            request = request.json(body);
        }
        let response = request.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Ok(Answer { status, headers, text: response.text().await? })
    }
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub fn replayed(&self) -> bool {
        self.header("idempotent-replayed") == Some("true")
    }

    /// Whether it says nothing about the outcome: come again. Whoever says so must say when.
    pub fn comes_again(&self) -> bool {
        let again = match self.status {
            503 | 429 => true,
            409 => self.json()["code"] == "idempotency_in_flight",
            _ => false,
        };
        assert!(!again || self.header("retry-after").is_some(), "no Retry-After: {self:?}");
        again
    }

    /// Status and bytes. A problem names its request, which is another one each time.
    pub fn told(&self) -> (u16, String) {
        if self.header("content-type") != Some("application/problem+json") {
            return (self.status, self.text.clone());
        }
        let mut problem = self.json();
        problem.as_object_mut().unwrap().remove("instance");
        (self.status, problem.to_string())
    }
}
