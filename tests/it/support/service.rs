//! The real binary as a child process, on a database of the test's own.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bursar::accounts::{ApiKey, key_hash};
use bursar::db::managed::Role;
use bursar::ground::{Mode, SystemEntropy};
use reqwest::Client;
use serde_json::{Value, json};

use super::postgres::TestDatabase;

/// What encrypts the secrets of webhooks in every service of a test.
pub const SECRET_KEY: &str = "c3dvcmRmaXNoIGlzIG5vdCBhIGtleSwgdGhpcyBpcyE=";

/// A service that is up, and an operator key for it.
pub struct Service {
    pub url: String,
    pub operator: String,
    pub client: Client,
    /// What it has logged so far.
    pub log: Arc<Mutex<String>>,
    child: Child,
}

/// An HTTP client with time limits, once the process has a TLS provider.
pub fn client() -> Client {
    // Every test of the process may come first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder().timeout(Duration::from_secs(60)).build().unwrap()
}

/// The binary, with nothing of the environment's settings.
fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bursar"));
    for (name, _) in std::env::vars() {
        if name.starts_with("BURSAR_") || name.starts_with("PG") || name == "DATABASE_URL" {
            command.env_remove(name);
        }
    }
    command
}

/// Runs `bursar check` and asserts that it finds nothing.
pub fn assert_checks(service: &str) {
    let checked = program().arg("check").env("DATABASE_URL", service).output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
}

impl Service {
    /// Starts `bursar serve` with these variables and nothing else of the environment's settings.
    pub fn start(database: &TestDatabase, variables: &[(&str, &str)]) -> Self {
        Self::start_at(&database.url(Role::Service), &database.url(Role::Owner), variables)
    }

    /// The same on any database, by the URLs of the two roles.
    pub fn start_at(service: &str, owner: &str, variables: &[(&str, &str)]) -> Self {
        let operator = ApiKey::generate(&SystemEntropy, Mode::Test);
        let mut settings: HashMap<String, String> = [
            ("BURSAR_BIND", "127.0.0.1:0"),
            ("BURSAR_LOG_FORMAT", "json"),
            ("BURSAR_RATE_PER_MINUTE", "100000"),
            ("BURSAR_SIGNUPS_PER_HOUR", "100000"),
            ("BURSAR_GRANT_BUDGET_PER_DAY", "1000000.00"),
            ("BURSAR_SWEEP_INTERVAL_MS", "100"),
            ("BURSAR_SECRET_KEY", SECRET_KEY),
            ("BURSAR_WEBHOOK_INTERVAL_MS", "50"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        settings.insert("DATABASE_URL".to_owned(), service.to_owned());
        settings.insert("BURSAR_MIGRATION_URL".to_owned(), owner.to_owned());
        let hash = hex::encode(key_hash(operator.reveal()));
        settings.insert("BURSAR_ADMIN_KEY_HASH".to_owned(), hash);
        for (name, value) in variables {
            settings.insert((*name).to_owned(), (*value).to_owned());
        }
        let child = program()
            .arg("serve")
            .envs(settings)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (operator, log) = (operator.reveal().to_owned(), Arc::default());
        // Made before anything can fail, so that the child never outlives its test.
        let mut service = Self { url: String::new(), operator, client: client(), log, child };
        service.url = listening(&mut service.child, &service.log);
        service
    }

    /// Sends a request and returns status and JSON.
    pub async fn ask(
        &self,
        method: &str,
        path: &str,
        key: Option<&str>,
        idempotency_key: Option<&str>,
        body: Option<Value>,
    ) -> (u16, Value) {
        let url = format!("{}{path}", self.url);
        let mut request = self.client.request(method.parse().unwrap(), url);
        if let Some(key) = key {
            request = request.bearer_auth(key);
        }
        if let Some(key) = idempotency_key {
            request = request.header("idempotency-key", key);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    /// Lists a SKU with an hour for each deadline and a day for disputes.
    pub async fn list(&self, sku: &str, price: &str) {
        let body = json!({
            "title": sku, "unit": "piece", "unit_price": price, "criteria": {"text": "complete"},
            "delivery_deadline_seconds": 3600, "verification_deadline_seconds": 3600,
            "dispute_window_seconds": 86400,
        });
        let path = format!("/api/v1/admin/catalog/{sku}");
        let (status, body) = self.ask("PUT", &path, Some(&self.operator), None, Some(body)).await;
        assert_eq!(status, 200, "{body}");
    }

    /// Issues a key for staff that serves every SKU in this list.
    pub async fn staff(&self, role: &str, skus: &[&str]) -> String {
        let body = json!({ "role": role, "name": role, "skus": skus });
        let path = "/api/v1/admin/keys";
        let (status, body) = self.ask("POST", path, Some(&self.operator), None, Some(body)).await;
        assert_eq!(status, 201, "{body}");
        body["api_key"].as_str().unwrap().to_owned()
    }

    /// Signs up and returns account id and key.
    pub async fn sign_up(&self) -> (String, String) {
        let (status, body) = self.ask("POST", "/api/v1/accounts", None, None, None).await;
        assert_eq!(status, 201, "{body}");
        let text = |name: &str| body[name].as_str().unwrap().to_owned();
        (text("account_id"), text("api_key"))
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends SIGTERM.
    pub fn tell_to_stop(&self) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    }

    /// Waits for its end and returns the exit code.
    pub async fn ended(&mut self) -> Option<i32> {
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Reads with a key.
    pub async fn get(&self, path: &str, key: &str) -> Value {
        let (status, body) = self.ask("GET", path, Some(key), None, None).await;
        assert_eq!(status, 200, "{path}: {body}");
        body
    }
}

impl Drop for Service {
    /// Ends it as `kill -9` does, without a word of warning.
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads the log until it says where the service listens, and keeps reading it afterwards, so that
/// the pipe never fills. Warnings and errors are shown.
fn listening(child: &mut Child, kept: &Arc<Mutex<String>>) -> String {
    let log = BufReader::new(child.stderr.take().unwrap());
    let kept = kept.clone();
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for line in log.lines().map_while(Result::ok) {
            kept.lock().unwrap().extend([line.as_str(), "\n"]);
            let entry: Value = serde_json::from_str(&line).unwrap_or(Value::Null);
            if let Some(url) = entry["listening"].as_str() {
                let _ = sender.send(url.to_owned());
            } else if entry["level"] == "WARN" || entry["level"] == "ERROR" {
                eprintln!("service: {line}");
            }
        }
    });
    receiver.recv_timeout(Duration::from_secs(60)).expect("the service says where it listens")
}
