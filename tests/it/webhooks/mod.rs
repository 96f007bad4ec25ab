//! Events and webhooks against the real binary, with a receiver that fails, stalls, lies and dies.

mod bounds;
mod deliver;
mod feed;
mod kinds;
pub mod receiver;
mod replicas;
mod watch;

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::postgres::TestDatabase;
use crate::support::service::Service;

/// Quick enough for a test: pauses of 20, 80 and 320 milliseconds.
const QUICK: [(&str, &str); 3] = [
    ("BURSAR_WEBHOOK_TIMEOUT_MS", "400"),
    ("BURSAR_WEBHOOK_BACKOFF_MS", "20"),
    ("BURSAR_WEBHOOK_ATTEMPTS", "4"),
];

/// A service with a customer who makes things happen.
pub struct Scene {
    pub service: Service,
    pub account: String,
    pub key: String,
    once: std::cell::Cell<u32>,
}

pub struct Hook {
    pub id: String,
    pub secret: String,
}

impl Scene {
    pub async fn start(db: &TestDatabase) -> Self {
        Self::at(Service::start(db, &QUICK)).await
    }

    pub async fn at(service: Service) -> Self {
        service.list("lead", "0.10").await;
        let (account, key) = service.sign_up().await;
        Self { service, account, key, once: std::cell::Cell::new(0) }
    }

    pub async fn ask(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        self.service.ask(method, path, Some(&self.key), None, body).await
    }

    pub async fn get(&self, path: &str) -> Value {
        self.service.get(path, &self.key).await
    }

    /// Makes a webhook.
    pub async fn hook(&self, body: Value) -> Hook {
        let (status, made) = self.ask("POST", "/api/v1/webhooks", Some(body)).await;
        assert_eq!(status, 201, "{made}");
        let text = |name: &str| made[name].as_str().unwrap().to_owned();
        Hook { id: text("webhook_id"), secret: text("secret") }
    }

    /// One more event: a checkout is opened.
    pub async fn happen(&self) {
        self.once.set(self.once.get() + 1);
        let body = json!({"items": [{"sku": "lead", "quantity": 1}], "max_total": "0.10"});
        let once = format!("once-{}", self.once.get());
        let path = "/api/v1/checkouts";
        let (status, body) =
            self.service.ask("POST", path, Some(&self.key), Some(&once), Some(body)).await;
        assert_eq!(status, 201, "{body}");
    }

    /// What became of events, newest first.
    pub async fn deliveries(&self, hook: &Hook) -> Vec<Value> {
        let page = self.get(&format!("/api/v1/webhooks/{}/deliveries?limit=100", hook.id)).await;
        page["data"].as_array().unwrap().clone()
    }

    /// Waits until every delivery is in this state, and there are so many.
    pub async fn settled(&self, hook: &Hook, state: &str, count: usize) -> Vec<Value> {
        let mut seen = Vec::new();
        for _ in 0..1200 {
            seen = self.deliveries(hook).await;
            if seen.len() == count && seen.iter().all(|one| one["state"] == state) {
                return seen;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("not {count} times {state}: {seen:#?}");
    }
}
