//! What every handler works with.

use std::sync::Arc;

use chrono::TimeDelta;
use sqlx::PgPool;

use crate::accounts::Accounts;
use crate::checkout::{Checkouts, Verifiers};
use crate::events::Events;
use crate::finance::Finance;
use crate::ground::{Clock, Entropy, Mode};
use crate::http::metrics::Metrics;
use crate::ledger::Engine;
use crate::x402::Network;
use crate::x402::sandbox::Sandbox;
use crate::x402::siwx::Audience;
use crate::x402::topup::TopUps;

/// The floors below, and what this process was told.
pub struct AppState {
    /// Whether real money is at stake.
    pub mode: Mode,
    /// Where clients reach this service, without a trailing slash.
    pub public_url: String,
    /// Who may spend.
    pub accounts: Accounts,
    /// Money in.
    pub topups: TopUps,
    /// Money out.
    pub checkouts: Checkouts,
    /// Who is called for verdicts.
    pub verifiers: Verifiers,
    /// Telling what happened.
    pub events: Events,
    /// Reports.
    pub finance: Finance,
    /// For balances and readiness.
    pub pool: PgPool,
    /// For the length of its queue.
    pub engine: Engine,
    /// The facilitator of test dollars. Its routes exist only when it does, never in live mode.
    pub sandbox: Option<Sandbox>,
    /// The networks that can be paid on, most wanted first.
    pub networks: Vec<&'static Network>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// What `/metrics` shows.
    pub metrics: Metrics,
}

impl AppState {
    /// The public URL of a path that begins with a slash.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.public_url)
    }

    /// What a wallet's proof must be for: exactly the claim, with a challenge that lives so long.
    pub fn audience(&self, life: TimeDelta) -> Audience {
        let uri = self.url("/api/v1/wallets/claim");
        let mut audience = Audience::new(authority(&self.public_url), &uri, self.networks.clone());
        audience.age_max = life;
        audience
    }
}

/// The host of a URL, with its port if it names one.
fn authority(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_authority_is_host_and_port() {
        assert_eq!(authority("https://api.example.com"), "api.example.com");
        assert_eq!(authority("http://127.0.0.1:8402"), "127.0.0.1:8402");
        assert_eq!(authority("https://example.com/bursar"), "example.com");
        assert_eq!(authority("http://[::1]:80/x"), "[::1]:80");
    }
}
