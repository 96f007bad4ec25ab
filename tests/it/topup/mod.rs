//! Top-ups over HTTP: a real server, the sandbox as facilitator, and in front of it one that does
//! whatever facilitators have been seen to do.

pub mod buyer;
mod choice;
mod crash;
mod discreet;
mod faults;
pub mod front;
mod fuzz;
mod identity;
mod keys;
mod leak;
mod lookup;
mod mutant;
mod node;
mod order;
mod paid;
mod parked;
mod proven;
mod race;
mod rehearsal;
mod resolve;
mod restored;
mod unpaid;
mod versions;

use std::sync::Arc;

use bursar::x402::wire::SettleResponse;
use bursar::x402::{Version, header};
use chrono::TimeDelta;
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::api::{Answer, Api, Payments, Setup, dollars};
use crate::support::postgres::TestDatabase;

use buyer::{Buyer, Signed};
use front::Front;

const TOPUP: &str = "/api/v1/credits/topup";
const VERSIONS: [Version; 2] = [Version::V2, Version::V1];

/// A service, the scripted facilitator that it uses, and a buyer.
pub struct Stage {
    pub api: Api,
    pub front: Front,
    pub buyer: Buyer,
}

impl Stage {
    pub async fn set(database: TestDatabase) -> Self {
        Self::set_with(database, Payments::default()).await
    }

    pub async fn set_with(database: TestDatabase, payments: Payments) -> Self {
        let front = Front::start().await;
        let payments = Payments { facilitators: vec![front.url.clone()], ..payments };
        let setup = Setup { payments, ..Setup::default() };
        let api = Api::start_on(Arc::new(database), setup).await;
        front.stand_before(format!("{}/sandbox/facilitator", api.url));
        Self { api, front, buyer: Buyer::new(7) }
    }

    /// Gives test dollars to the buyer.
    pub async fn fund(&self, amount: &str) {
        fund(&self.api, &self.buyer, amount).await;
    }

    /// Asks for terms and signs them.
    pub async fn sign(&self, version: Version, amount: &str) -> Signed {
        self.sign_by(&self.buyer, version, amount).await
    }

    pub async fn sign_by(&self, buyer: &Buyer, version: Version, amount: &str) -> Signed {
        use bursar::ground::Clock;
        let terms = self.api.post(TOPUP, "", json!({ "amount": amount })).await;
        buyer.sign(version, &terms, self.api.clock.now())
    }

    /// Funds the buyer and signs.
    pub async fn funded(&self, version: Version, amount: &str) -> Signed {
        self.fund(amount).await;
        self.sign(version, amount).await
    }

    /// Sends a payment for an amount.
    pub async fn pay(&self, signed: &Signed, key: &str, amount: &str) -> Answer {
        self.send(signed, key, &json!({ "amount": amount }).to_string(), &[]).await
    }

    /// Sends a payment with any body, without a content type.
    pub async fn send(
        &self,
        signed: &Signed,
        key: &str,
        body: &str,
        headers: &[(&str, &str)],
    ) -> Answer {
        let (name, value) = signed.header();
        let request = self.api.request(Method::POST, TOPUP, key).header(name, value);
        let request =
            headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        self.api.send(request.body(body.to_owned())).await
    }

    /// Takes up everything that may be due by any delay.
    pub async fn resolve(&self) -> usize {
        self.api.clock.advance(TimeDelta::minutes(11));
        self.api.topups.resolve_step().await.unwrap()
    }

    /// What the operator is told of the top-up in an answer.
    pub async fn told(&self, answer: &Value) -> Value {
        let path = format!("/api/v1/topups/{}", answer["topup_id"].as_str().unwrap());
        self.api.get(&path, &self.api.operator).await.json(200)
    }

    /// What an account has, in paid credits.
    pub async fn paid_credits(&self, key: &str) -> String {
        let credits = self.api.get("/api/v1/credits", key).await.json(200);
        credits["paid"].as_str().unwrap().to_owned()
    }

    /// Asserts that so much moved and that just that was credited, and runs all checks.
    pub async fn holds(&self, moved: &str) {
        self.holds_with_open(moved, "0").await;
    }

    /// The same, when a part of it is still openly unknown.
    pub async fn holds_with_open(&self, moved: &str, open: &str) {
        let credited = dollars(moved).micros() - dollars(open).micros();
        let owner = &self.api.database.owner;
        let figures = [moved_at(owner).await, credited_in(owner).await, settled_in(owner).await];
        assert_eq!(figures, [dollars(moved).micros(), credited, credited]);
        let report = self.api.finance.check().await.unwrap();
        assert!(report.passed(), "{report}");
    }
}

/// Gives a buyer test dollars of a service's sandbox.
pub async fn fund(api: &Api, buyer: &Buyer, amount: &str) {
    let body = json!({ "address": buyer.address(), "amount": amount });
    api.post("/sandbox/faucet", "", body).await.json(200);
}

async fn sum(pool: &PgPool, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(pool).await.unwrap()
}

/// What the sandbox has moved, in micro-dollars.
pub async fn moved_at(pool: &PgPool) -> i64 {
    sum(pool, "select coalesce(sum(amount), 0)::bigint from sandbox_settlement").await
}

/// What top-ups say was credited.
pub async fn credited_in(pool: &PgPool) -> i64 {
    let sql = "select coalesce(sum(amount), 0)::bigint from topup where state = 'credited'";
    sum(pool, sql).await
}

/// What the books say was received.
pub async fn settled_in(pool: &PgPool) -> i64 {
    sum(pool, "select coalesce(sum(settled_usdc), 0)::bigint from book").await
}

/// The receipt in an answer, which is there in this version only.
pub fn receipt(answer: &Answer, version: Version) -> SettleResponse {
    let (name, other) = match version {
        Version::V2 => ("payment-response", "x-payment-response"),
        Version::V1 => ("x-payment-response", "payment-response"),
    };
    assert_eq!(answer.header(other), None);
    let text = answer.header(name).unwrap_or_else(|| panic!("no {name}: {}", answer.body));
    header::decode::<Value>(text).unwrap().try_into().unwrap()
}

/// The network's name in a version.
pub fn network_name(version: Version) -> &'static str {
    match version {
        Version::V2 => "eip155:84532",
        Version::V1 => "base-sepolia",
    }
}

/// Asserts that the outcome is open, that the client is told so and is not asked to pay again.
pub fn assert_unknown(answer: &Answer, version: Version) -> Value {
    let body = answer.json(202);
    assert_eq!(body["status"], "unknown", "{body}");
    assert!(body.get("credited").is_none_or(|credited| credited == "0.00"), "{body}");
    assert_eq!(answer.header("location"), body["status_url"].as_str());
    assert!(answer.header("retry-after").is_some_and(|s| s.parse::<u32>().is_ok()), "{answer:?}");
    assert_eq!(answer.header("payment-required"), None);
    let receipt = receipt(answer, version);
    assert!(!receipt.success);
    assert_eq!(receipt.error_reason.as_deref(), Some("settlement_pending"));
    assert_eq!(receipt.network, network_name(version));
    assert_eq!(json!(receipt.transaction), body["transaction"].as_str().unwrap_or_default());
    body
}
