//! C, the engine in process; D and E, the real binary over HTTP.

use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bursar::accounts::{ApiKey, key_hash};
use bursar::checkout::{Order, OrderLine};
use bursar::ground::{Amount, Fingerprint, Mode, SystemEntropy};
use bursar::ledger::CommandIdentity;
use serde_json::{Value, json};

use crate::figures::Sample;
use crate::load::{Answer, Connection, Load, Operation, post};
use crate::world::{ITEM_PRICE_MICROS, SKU, World};

/// Operations at a time in C: enough for full batches in every lane.
const IN_PROCESS: usize = 2_000;

static NEXT: AtomicU64 = AtomicU64::new(0);

/// C. Checkouts through the engine, in this process.
pub async fn in_process(world: &Arc<World>, how_long: Duration) -> Sample {
    let begun = Instant::now();
    let until = begun + how_long;
    let turn = Arc::new(AtomicUsize::new(0));
    let tasks = (0..IN_PROCESS).map(|_| {
        let (world, turn) = (world.clone(), turn.clone());
        tokio::spawn(async move {
            let mut times = Vec::new();
            while Instant::now() < until {
                let begun = Instant::now();
                buy(&world, turn.fetch_add(1, Ordering::Relaxed)).await;
                times.push(begun.elapsed());
            }
            times
        })
    });
    let mut times = Vec::new();
    for task in tasks.collect::<Vec<_>>() {
        times.extend(task.await.expect("a task"));
    }
    Sample::new(u64::try_from(times.len()).expect("small"), begun.elapsed(), times)
}

async fn buy(world: &World, turn: usize) {
    let buyer = &world.buyers[turn % world.buyers.len()];
    let max_total = Amount::from_micros(ITEM_PRICE_MICROS * 10).expect("positive");
    let order = Order {
        spender: buyer.key_id,
        lines: vec![OrderLine { sku: SKU.to_owned(), quantity: 1 }],
        max_total,
    };
    let key = format!("c-{}", NEXT.fetch_add(1, Ordering::Relaxed));
    let asked = json!({ "items": [{ "sku": SKU, "quantity": 1 }], "max_total": max_total });
    let fingerprint = Fingerprint::of("POST", "/api/v1/checkouts", &asked);
    let identity = CommandIdentity::of_request(buyer.key_id, &key, fingerprint);
    let outcome = world.checkouts.open(buyer.account, identity, order).await.expect("an outcome");
    assert!(outcome.accepted && !outcome.replayed);
}

/// Which account buys.
#[derive(Clone, Copy)]
pub enum Choice {
    /// All alike, one after the other.
    Uniform,
    /// Zipf: one account takes 30 %, the others less and less.
    Zipf,
    /// One account takes all.
    Hot,
}

/// D. A checkout over HTTP.
#[derive(Clone)]
pub struct Checkout {
    pub world: Arc<World>,
    pub choice: Choice,
}

impl Checkout {
    fn buyer(&self) -> (usize, u64) {
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let all = self.world.buyers.len();
        let of = |n: u64| usize::try_from(n).expect("64 bits");
        let buyer = match self.choice {
            Choice::Uniform => of(n) % all,
            Choice::Zipf => zipf(n, all),
            Choice::Hot => 0,
        };
        (buyer, n)
    }

    fn request(&self) -> Vec<u8> {
        let (buyer, n) = self.buyer();
        let body = r#"{"items":[{"sku":"unit","quantity":1}],"max_total":"0.001"}"#;
        post("/api/v1/checkouts", &self.world.buyers[buyer].key, &format!("order-{n}"), body)
    }
}

/// A rank of a Zipf distribution whose first rank takes about 30 %: P(rank) ~ 1/rank^1.34, by
/// inversion of its continuous form. The number is scattered first, so that ranks do not come in order.
fn zipf(n: u64, all: usize) -> usize {
    let scattered = n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40;
    let uniform = f64::from(u32::try_from(scattered).expect("24 bits")) / f64::from(1 << 24);
    let (s, most) = (0.52_f64, f64::from(u32::try_from(all).expect("small")));
    let rank = (1.0 - uniform * (1.0 - most.powf(-s))).powf(-1.0 / s);
    let rank: u32 = format!("{:.0}", rank.floor()).parse().expect("a number");
    usize::try_from(rank).expect("small").clamp(1, all) - 1
}

impl Operation for Checkout {
    async fn run(&self, connection: &mut Connection) -> io::Result<bool> {
        let answer = connection.ask(&self.request()).await?;
        Ok(carried_out(&answer, 201))
    }
}

/// Whether it was carried out. An overloaded service says so; anything else is a bug.
fn carried_out(answer: &Answer, wanted: u16) -> bool {
    if answer.status == wanted {
        return true;
    }
    assert!(
        answer.status == 503 && answer.retry_after,
        "{} {}",
        answer.status,
        String::from_utf8_lossy(&answer.body)
    );
    false
}

/// E. A whole life over HTTP: checkout, result, verdict, and with it the capture.
#[derive(Clone)]
pub struct Life {
    pub checkout: Checkout,
    pub operator: String,
}

impl Operation for Life {
    async fn run(&self, connection: &mut Connection) -> io::Result<bool> {
        let answer = connection.ask(&self.checkout.request()).await?;
        if !carried_out(&answer, 201) {
            return Ok(false);
        }
        let opened: Value = serde_json::from_slice(&answer.body)?;
        let checkout = opened["checkout_id"].as_str().expect("an id");
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let results = format!("/api/v1/checkouts/{checkout}/results");
        let result = concat!(
            r#"{"results":[{"item":1,"result_id":"r","quantity":1,"#,
            r#""evidence":{"ok":true}}]}"#,
        );
        let submit = post(&results, &self.operator, &format!("result-{n}"), result);
        if !carried_out(&connection.ask(&submit).await?, 201) {
            return Ok(false);
        }
        let verdict = r#"{"verdict":"accepted"}"#;
        let path = format!("{results}/r/verdict");
        let judge = post(&path, &self.operator, &format!("verdict-{n}"), verdict);
        Ok(carried_out(&connection.ask(&judge).await?, 200))
    }
}

/// F. A top-up without a payment, which is answered with terms.
#[derive(Clone, Copy)]
pub struct Challenge;

impl Operation for Challenge {
    const CONNECTIONS: usize = 1;

    async fn run(&self, connection: &mut Connection) -> io::Result<bool> {
        let request = b"POST /api/v1/credits/topup HTTP/1.1\r\nhost: 127.0.0.1\r\n\
                        content-length: 0\r\n\r\n";
        Ok(carried_out(&connection.ask(request).await?, 402))
    }
}

/// A running `bursar serve`.
pub struct Service {
    child: Child,
    pub address: SocketAddr,
    pub operator: String,
    pub pid: u32,
}

impl Service {
    /// Starts it on the world's database.
    pub fn start(world: &World) -> Self {
        let operator = ApiKey::generate(&SystemEntropy, Mode::Test);
        let mut child = Command::new(env!("CARGO_BIN_EXE_bursar"))
            .arg("serve")
            .env("DATABASE_URL", &world.service_url)
            .env("BURSAR_BIND", "127.0.0.1:0")
            .env("BURSAR_LOG", "warn,bursar::cli=info")
            .env("BURSAR_LOG_FORMAT", "json")
            .env("BURSAR_RATE_PER_MINUTE", "1000000")
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
                if let Some(url) = entry["listening"].as_str() {
                    let _ = sender.send(url.to_owned());
                } else if entry["level"] != "INFO" {
                    eprintln!("service: {line}");
                }
            }
        });
        let url = receiver.recv_timeout(Duration::from_secs(60)).expect("it says where it listens");
        let address = url.trim_start_matches("http://").parse().expect("an address");
        let pid = child.id();
        Self { child, address, operator: operator.reveal().to_owned(), pid }
    }

    /// Resident memory, in megabytes.
    pub fn resident_mb(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid));
        let status = status.unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes =
            line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u32>().ok());
        f64::from(kilobytes.unwrap_or(0)) / 1024.0
    }

    /// Asks it to stop, as an operator would, and waits.
    pub fn stop(mut self) {
        Command::new("kill").args(["-TERM", &self.pid.to_string()]).status().expect("kill runs");
        self.child.wait().expect("it ends");
    }
}

impl From<Load> for Sample {
    fn from(load: Load) -> Self {
        Self { refused: load.refused, ..Self::new(load.done, load.took, load.times) }
    }
}
