//! Verifiers that are called, against the real binary: one that is slow, fails, lies, babbles and dies.

mod circuit;
mod crash;
mod ledger;
mod reach;
mod secrets;
mod verdicts;

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::postgres::TestDatabase;
use crate::support::service::Service;
use crate::webhooks::receiver::Receiver;

/// Quick enough for a test: pauses of 20, 40, 80 milliseconds and so on, and a circuit that stays shut.
pub const QUICK: [(&str, &str); 5] = [
    ("BURSAR_VERIFIER_TIMEOUT_MS", "400"),
    ("BURSAR_VERIFIER_BACKOFF_MS", "20"),
    ("BURSAR_VERIFIER_INTERVAL_MS", "20"),
    ("BURSAR_VERIFIER_FAILURES", "1000"),
    ("BURSAR_VERIFIER_REST_MS", "500"),
];

/// A service that sells something whose verifier is called, and a customer.
pub struct Scene {
    pub service: Service,
    pub key: String,
    pub account: String,
    pub receiver: Receiver,
    pub verifier: Value,
    once: std::cell::Cell<u32>,
}

impl Scene {
    /// With an hour for the verifier.
    pub async fn start(db: &TestDatabase) -> Self {
        Self::with(db, &QUICK, 3600).await
    }

    /// With so many seconds for the verifier.
    pub async fn with(db: &TestDatabase, settings: &[(&str, &str)], seconds: u32) -> Self {
        let (service, receiver) = (Service::start(db, settings), Receiver::start().await);
        let (status, verifier) = register(&service, &receiver.url).await;
        assert_eq!(status, 201, "{verifier}");
        Self::over(service, receiver, verifier, seconds).await
    }

    /// The same on what is there already.
    pub async fn over(service: Service, receiver: Receiver, verifier: Value, seconds: u32) -> Self {
        let body = json!({
            "title": "lead", "unit": "lead", "unit_price": "0.10",
            "criteria": {"schema": {"required": ["email"]}, "text": "it takes mail"},
            "verification": "http", "verifier_id": verifier["verifier_id"],
            "delivery_deadline_seconds": 3600, "verification_deadline_seconds": seconds,
            "dispute_window_seconds": 86400,
        });
        let (status, listed) = list(&service, body).await;
        assert_eq!((status, &listed["verification"]), (200, &json!("http")), "{listed}");
        assert_eq!(listed["verifier_id"], verifier["verifier_id"]);
        let (account, key) = service.sign_up().await;
        Self { service, key, account, receiver, verifier, once: std::cell::Cell::new(0) }
    }

    /// Sends something that is done once.
    pub async fn post(&self, key: &str, path: &str, body: Value) -> (u16, Value) {
        self.once.set(self.once.get() + 1);
        let once = format!("verifier-test-{}", self.once.get());
        self.service.ask("POST", path, Some(key), Some(&once), Some(body)).await
    }

    /// Buys some leads and has results for them submitted, with so many units each.
    pub async fn deliver(&self, quantities: &[u32]) -> String {
        let total: u32 = quantities.iter().sum();
        let body = json!({"items": [{"sku": "lead", "quantity": total}], "max_total": "20.00"});
        let (status, opened) = self.post(&self.key, "/api/v1/checkouts", body).await;
        assert_eq!(status, 201, "{opened}");
        let checkout = opened["checkout_id"].as_str().unwrap().to_owned();
        let result = |(n, quantity): (usize, &u32)| {
            let evidence = json!({"email": format!("ada+{n}@example.com")});
            json!({"result_id": format!("r{n}"), "item": 1, "quantity": quantity, "evidence": evidence})
        };
        let results: Vec<_> = quantities.iter().enumerate().map(result).collect();
        let path = format!("/api/v1/checkouts/{checkout}/results");
        let body = json!({ "results": results });
        let (status, submitted) = self.post(&self.service.operator.clone(), &path, body).await;
        assert_eq!(status, 201, "{submitted}");
        checkout
    }

    pub async fn checkout(&self, checkout: &str) -> Value {
        self.service.get(&format!("/api/v1/checkouts/{checkout}"), &self.key).await
    }

    /// Waits until no result of a checkout is open, and its calls are over.
    pub async fn settled(&self, checkout: &str) -> Value {
        let mut seen = Value::Null;
        for _ in 0..1200 {
            seen = self.checkout(checkout).await;
            let over = |result: &Value| result["status"] != "verifying";
            if seen["results"].as_array().unwrap().iter().all(over) {
                return seen;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("still open: {seen:#}");
    }

    /// How the verifier stands.
    pub async fn standing(&self) -> Value {
        let list = self.service.get("/api/v1/admin/verifiers", &self.service.operator).await;
        list["data"][0].clone()
    }
}

pub async fn register(service: &Service, url: &str) -> (u16, Value) {
    let (path, body) = ("/api/v1/admin/verifiers", json!({ "url": url }));
    service.ask("POST", path, Some(&service.operator), None, Some(body)).await
}

pub async fn list(service: &Service, body: Value) -> (u16, Value) {
    let path = "/api/v1/admin/catalog/lead";
    service.ask("PUT", path, Some(&service.operator), None, Some(body)).await
}

/// A verdict on a result of the first version.
pub fn verdict(accepted: u32) -> String {
    json!({
        "accepted_quantity": accepted, "criteria_version": 1, "verifier": "mail-check 7",
        "reason": "asked the server", "checks": [{"name": "smtp", "passed": accepted > 0}],
    })
    .to_string()
}
