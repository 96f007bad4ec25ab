//! One bounded HTTP exchange with a facilitator or a chain's node.

use std::error::Error;
use std::time::Duration;

use reqwest::{Client, RequestBuilder, redirect, retry};

/// How far an exchange may go.
pub(super) struct Bounds {
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// How long an answer may be.
    pub body_bytes_max: usize,
    /// How many idle connections are kept.
    pub idle_max: usize,
}

/// An answer, whole.
pub(super) struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
}

/// Why there is no answer. The address asked is left out, since it may carry a key.
#[derive(Debug, thiserror::Error)]
pub(super) enum ExchangeError {
    /// There was no connection, so nothing was sent.
    #[error("no connection: {0}")]
    NotSent(String),
    /// The time was up after the request may have been sent.
    #[error("no answer in time")]
    TimedOut,
    /// The connection broke after the request may have been sent.
    #[error("connection lost: {0}")]
    Lost(String),
    /// The answer is longer than allowed.
    #[error("the answer is too long")]
    TooLong,
}

/// A client for such exchanges: it follows no redirect and repeats nothing by itself.
pub(super) struct Exchange {
    client: Client,
    body_bytes_max: usize,
}

impl Exchange {
    /// Builds the client. Proxies of the environment are ignored: settings come from one place.
    pub fn new(bounds: &Bounds) -> Result<Self, reqwest::Error> {
        let client = Client::builder()
            .connect_timeout(bounds.connect_timeout)
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .pool_max_idle_per_host(bounds.idle_max)
            .no_proxy()
            .user_agent(concat!("bursar/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self { client, body_bytes_max: bounds.body_bytes_max })
    }

    /// The client to build requests with.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Sends a request and reads the whole answer within the time.
    pub async fn send(
        &self,
        request: RequestBuilder,
        timeout: Duration,
    ) -> Result<Answer, ExchangeError> {
        let mut response = request.timeout(timeout).send().await.map_err(said)?;
        let status = response.status().as_u16();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(said)? {
            if body.len().saturating_add(chunk.len()) > self.body_bytes_max {
                return Err(ExchangeError::TooLong);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer { status, body })
    }
}

/// A failure to connect is the only one that proves that nothing was sent.
fn said(error: reqwest::Error) -> ExchangeError {
    if error.is_connect() {
        ExchangeError::NotSent(root_cause(&error))
    } else if error.is_timeout() {
        ExchangeError::TimedOut
    } else {
        ExchangeError::Lost(root_cause(&error))
    }
}

/// The innermost error, which says what happened and not to which address.
fn root_cause(error: &reqwest::Error) -> String {
    let mut innermost: Option<&dyn Error> = None;
    let mut next = error.source();
    while let Some(source) = next {
        innermost = Some(source);
        next = source.source();
    }
    innermost.map_or_else(|| "request failed".to_owned(), ToString::to_string)
}
