//! First figures of the real binary: how long it takes to start, what an unpaid 402 and a checkout
//! cost over HTTP, and how much memory it takes. Nothing is asserted. Run with `cargo bench`.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bursar::accounts::{ApiKey, key_hash};
use bursar::ground::{Mode, SystemEntropy};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};

const ACCOUNTS: usize = 200;
const IN_FLIGHT: usize = 64;
const CHECKOUTS: usize = 20_000;
const CHALLENGES: usize = 5_000;

fn main() {
    rustls::crypto::ring::default_provider().install_default().expect("installed once");
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("runtime");
    runtime.block_on(measure());
}

struct Service {
    child: Child,
    url: String,
    operator: String,
    started_in: Duration,
}

async fn measure() {
    let root = std::env::temp_dir().join(format!("bursar-bench-{}", std::process::id()));
    let cold = Service::start(&root);
    println!("start, new data directory     {:>9.1} ms", millis(cold.started_in));
    cold.stop();
    let service = Service::start(&root);
    println!("start, warm data directory    {:>9.1} ms", millis(service.started_in));

    let client = Client::builder().timeout(Duration::from_secs(30)).build().expect("client");
    challenges(&client, &service).await;
    checkouts(&client, &service).await;
    println!("resident memory afterwards    {:>9.1} MB", service.resident_mb());
    service.stop();
    // The directory may belong to the user that Postgres ran as; root may remove it all the same.
    let _ = std::fs::remove_dir_all(&root);
}

async fn challenges(client: &Client, service: &Service) {
    let url = format!("{}/api/v1/credits/topup", service.url);
    let mut times = Vec::with_capacity(CHALLENGES);
    for _ in 0..CHALLENGES {
        let begun = Instant::now();
        let response = client.post(&url).send().await.expect("an answer");
        assert_eq!(response.status(), StatusCode::PAYMENT_REQUIRED);
        response.bytes().await.expect("a body");
        times.push(begun.elapsed());
    }
    report("unpaid 402, one after another", &mut times);
}

async fn checkouts(client: &Client, service: &Service) {
    let terms = json!({
        "title": "A unit", "unit": "unit", "unit_price": "0.0001", "criteria": {},
        "delivery_deadline_seconds": 86400, "verification_deadline_seconds": 86400, "dispute_window_seconds": 86400,
    });
    let url = format!("{}/api/v1/admin/catalog/unit", service.url);
    let listed = client.put(url).bearer_auth(&service.operator).json(&terms).send().await;
    assert!(listed.expect("an answer").status().is_success());
    let mut keys = Vec::new();
    for _ in 0..ACCOUNTS {
        let url = format!("{}/api/v1/accounts", service.url);
        let caps = json!({ "caps": [{ "span": "day", "limit": "25.00" }] });
        let account: Value = client
            .post(url)
            .json(&caps)
            .send()
            .await
            .expect("an answer")
            .json()
            .await
            .expect("JSON");
        keys.push(account["api_key"].as_str().expect("a key").to_owned());
    }
    let keys = Arc::new(keys);
    let next = Arc::new(AtomicUsize::new(0));
    let begun = Instant::now();
    let tasks = (0..IN_FLIGHT).map(|_| {
        let (client, keys, next) = (client.clone(), keys.clone(), next.clone());
        let url = format!("{}/api/v1/checkouts", service.url);
        let order = json!({ "items": [{ "sku": "unit", "quantity": 1 }], "max_total": "0.01" });
        tokio::spawn(async move {
            let mut times = Vec::new();
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                if n >= CHECKOUTS {
                    return times;
                }
                let begun = Instant::now();
                let request = client.post(&url).bearer_auth(&keys[n % keys.len()]);
                let request = request.header("idempotency-key", format!("order-{n}"));
                let response = request.json(&order).send().await.expect("an answer");
                assert_eq!(response.status(), StatusCode::CREATED);
                response.bytes().await.expect("a body");
                times.push(begun.elapsed());
            }
        })
    });
    let mut times = Vec::with_capacity(CHECKOUTS);
    for task in tasks.collect::<Vec<_>>() {
        times.extend(task.await.expect("a task"));
    }
    let whole = begun.elapsed();
    report(&format!("checkout, {IN_FLIGHT} in flight"), &mut times);
    let rate =
        u128::try_from(CHECKOUTS).expect("small").saturating_mul(1_000) / whole.as_millis().max(1);
    println!("checkouts a second            {rate:>9}");
}

fn report(name: &str, times: &mut [Duration]) {
    times.sort_unstable();
    let at = |per_mille: usize| millis(times[(times.len() - 1) * per_mille / 1000]);
    println!("{name:<29} p50 {:.2} ms, p99 {:.2} ms, p99.9 {:.2} ms", at(500), at(990), at(999));
}

#[expect(clippy::float_arithmetic, reason = "a figure for people, not money")]
fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

impl Service {
    fn start(root: &Path) -> Self {
        let operator = ApiKey::generate(&SystemEntropy, Mode::Test);
        let begun = Instant::now();
        let mut child = Command::new(env!("CARGO_BIN_EXE_bursar"))
            .arg("serve")
            .env("BURSAR_DATA_DIR", root)
            .env("BURSAR_BIND", "127.0.0.1:0")
            .env("BURSAR_LOG_FORMAT", "json")
            .env("BURSAR_RATE_PER_MINUTE", "1000000")
            .env("BURSAR_SIGNUPS_PER_HOUR", "1000000")
            .env("BURSAR_GRANT_BUDGET_PER_DAY", "1000000.00")
            .env("BURSAR_ADMIN_KEY_HASH", hex::encode(key_hash(operator.reveal())))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let log = BufReader::new(child.stderr.take().expect("it is piped"));
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for line in log.lines().map_while(Result::ok) {
                let entry: Value = serde_json::from_str(&line).unwrap_or(Value::Null);
                if let Some(url) = entry["url"].as_str() {
                    let _ = sender.send(url.to_owned());
                } else if entry["level"] != "INFO" {
                    eprintln!("service: {line}");
                }
            }
        });
        let url = receiver.recv_timeout(Duration::from_secs(60)).expect("it says where it listens");
        let started_in = begun.elapsed();
        Self { child, url, operator: operator.reveal().to_owned(), started_in }
    }

    #[expect(clippy::float_arithmetic, reason = "a figure for people, not money")]
    fn resident_mb(&self) -> f64 {
        let status = PathBuf::from(format!("/proc/{}/status", self.child.id()));
        let status = std::fs::read_to_string(status).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes =
            line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u32>().ok());
        f64::from(kilobytes.unwrap_or(0)) / 1024.0
    }

    /// Asks it to stop, as an operator would, and waits.
    fn stop(mut self) {
        let id = self.child.id().to_string();
        Command::new("kill").args(["-TERM", &id]).status().expect("kill runs");
        self.child.wait().expect("it ends");
    }
}
