//! A client that prints what it sends and what it reads, as an agent would see it.

use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::{Client, Method};
use serde_json::Value;

use crate::cli::output::tell;

use super::DemoError;

/// An agent talking to the service over HTTP.
pub(super) struct Agent {
    client: Client,
    base: String,
}

/// One request.
pub(super) struct Ask<'a> {
    pub(super) method: Method,
    pub(super) path: &'a str,
    pub(super) key: Option<&'a str>,
    pub(super) idempotency_key: Option<String>,
    pub(super) payment: Option<String>,
    pub(super) body: Option<Value>,
    /// Members of the answer to print; none prints it whole.
    pub(super) show: &'a [&'a str],
}

/// One answer.
pub(super) struct Told {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) text: String,
    pub(super) body: Value,
}

impl<'a> Ask<'a> {
    pub(super) fn get(path: &'a str, key: Option<&'a str>) -> Self {
        Self::new(Method::GET, path, key, None)
    }

    pub(super) fn post(path: &'a str, key: Option<&'a str>, body: Value) -> Self {
        Self::new(Method::POST, path, key, Some(body))
    }

    fn new(method: Method, path: &'a str, key: Option<&'a str>, body: Option<Value>) -> Self {
        Self { method, path, key, idempotency_key: None, payment: None, body, show: &[] }
    }

    pub(super) fn put(path: &'a str, key: Option<&'a str>, body: Value) -> Self {
        Self::new(Method::PUT, path, key, Some(body))
    }

    pub(super) fn once(mut self, idempotency_key: String) -> Self {
        self.idempotency_key = Some(idempotency_key);
        self
    }

    pub(super) fn paying(mut self, payment: String) -> Self {
        self.payment = Some(payment);
        self
    }

    pub(super) fn show(mut self, members: &'a [&'a str]) -> Self {
        self.show = members;
        self
    }
}

impl Agent {
    pub(super) fn new(base: &str) -> Result<Self, DemoError> {
        let client = Client::builder().timeout(Duration::from_secs(30)).build()?;
        Ok(Self { client, base: base.to_owned() })
    }

    /// Sends a request and prints both sides of it.
    pub(super) async fn ask(&self, ask: Ask<'_>) -> Result<Told, DemoError> {
        tell!("  → {} {}{}", ask.method, ask.path, headers_shown(&ask));
        if let Some(body) = &ask.body {
            tell!("    {body}");
        }
        let show: Vec<String> = ask.show.iter().map(|member| (*member).to_owned()).collect();
        let told = self.send(ask).await?;
        tell!("  ← {}", told.status);
        print_answer(&told, &show);
        Ok(told)
    }

    /// Sends a request without printing it.
    pub(super) async fn send(&self, ask: Ask<'_>) -> Result<Told, DemoError> {
        let url = format!("{}{}", self.base, ask.path);
        let mut request = self.client.request(ask.method, url);
        if let Some(key) = ask.key {
            request = request.bearer_auth(key);
        }
        if let Some(key) = &ask.idempotency_key {
            request = request.header("idempotency-key", key);
        }
        if let Some(payment) = &ask.payment {
            request = request.header("payment-signature", payment);
        }
        if let Some(body) = &ask.body {
            request = request.json(body);
        }
        let response = request.send().await?;
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        let text = response.text().await?;
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        Ok(Told { status, headers, text, body })
    }
}

fn headers_shown(ask: &Ask<'_>) -> String {
    let mut shown = String::new();
    if let Some(key) = ask.key {
        let hint: String = key.chars().take(14).collect();
        shown.push_str(&format!("   Authorization: Bearer {hint}…"));
    }
    if let Some(key) = &ask.idempotency_key {
        shown.push_str(&format!("   Idempotency-Key: {key}"));
    }
    if let Some(payment) = &ask.payment {
        let start: String = payment.chars().take(24).collect();
        shown.push_str(&format!("   PAYMENT-SIGNATURE: {start}…"));
    }
    shown
}

fn print_answer(told: &Told, show: &[String]) {
    let shown = match (&told.body, show.is_empty()) {
        (Value::Object(members), false) => {
            let chosen = show
                .iter()
                .filter_map(|name| members.get(name).map(|value| (name.clone(), value.clone())));
            Value::Object(chosen.collect())
        }
        (body, _) => body.clone(),
    };
    let pretty = serde_json::to_string_pretty(&shown).unwrap_or_default();
    for line in pretty.lines() {
        tell!("    {line}");
    }
}

impl Told {
    /// Goes on only if the answer is the expected one.
    pub(super) fn expect(self, status: u16) -> Result<Self, DemoError> {
        if self.status == status {
            return Ok(self);
        }
        Err(DemoError::Unexpected { wanted: status, got: self.status, body: self.text })
    }

    /// A member of the answer, as text.
    pub(super) fn text_of(&self, member: &'static str) -> Result<String, DemoError> {
        let value = self.body.get(member).and_then(Value::as_str);
        value.map(str::to_owned).ok_or(DemoError::Missing(member))
    }
}
