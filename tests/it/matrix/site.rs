//! The site: a local chain, the official facilitator, the proxy before it, and two services, one of
//! which reads the chain.

use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bursar::db::managed::Role;
use reqwest::Client;
use serde_json::{Value, json};

use super::proxy::Proxy;
use crate::official::world::World;
use crate::startup::process::Bursar;
use crate::support::postgres::{TestDatabase, test_database};
use crate::support::service::{Service, client};

/// `Transfer(address,address,uint256)`.
const TRANSFER: &str = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef";
const TOKEN: &str = "0x036CbD53842c5426634e7929541eC2318f3dCF7e";

/// Settings that make waiting short.
const SHORT: [(&str, &str); 6] = [
    ("BURSAR_RESOLVE_INTERVAL_MS", "100"),
    ("BURSAR_RECEIPT_WAIT_MS", "500"),
    ("BURSAR_RESOLVE_BACKOFF_MS", "300"),
    ("BURSAR_SETTLE_MARGIN_S", "1"),
    ("BURSAR_PARK_AFTER_S", "1"),
    ("BURSAR_CONFIRMATIONS", "1"),
];

/// How long a hasty facilitator waits for a receipt before it says that the settlement is pending.
const HASTY_MS: u32 = 700;

/// The chain has a block every so often, whether anybody sends or not, as real ones do: its time is
/// that of its newest block.
const BLOCK_TIME: Duration = Duration::from_secs(1);

pub struct Site {
    pub world: Arc<World>,
    pub proxy: Proxy,
    /// The facilitator behind the proxy, which waits for receipts as long as it takes.
    pub facilitator: String,
    /// One that does not.
    pub hasty: String,
    pub chain: Ledger,
    /// The one that reads the chain, and the one that does not.
    pub shops: [Shop; 2],
}

/// A service with its database, and the address at which it is paid.
pub struct Shop {
    pub reads: bool,
    pub pay_to: &'static str,
    pub database: TestDatabase,
    service: Mutex<Option<Arc<Service>>>,
    variables: Vec<(&'static str, String)>,
}

/// The chain's own account of what moved.
#[derive(Clone)]
pub struct Ledger {
    rpc: String,
    client: Client,
}

/// Money at an address.
pub struct Arrived {
    /// In atomic units.
    pub amount: i64,
    pub transfers: usize,
    /// The transaction of the last transfer.
    pub transaction: String,
}

/// How many seconds the services wait for the facilitator.
#[derive(Clone, Copy)]
pub struct Waits {
    pub verify_s: u32,
    pub settle_s: u32,
}

impl Site {
    pub async fn open(waits: Waits) -> Self {
        let world = Arc::new(World::start().await);
        let (facilitator, hasty) = (open(&world, 60_000).await, open(&world, HASTY_MS).await);
        let proxy = Proxy::start(world.clone()).await;
        let chain = Ledger { rpc: world.rpc.clone(), client: client() };
        tokio::spawn(chain.clone().go_on());
        let reading = Shop::open(&proxy, Some(&world.rpc), waits).await;
        let blind = Shop::open(&proxy, None, waits).await;
        Self { world, proxy, facilitator, hasty, chain, shops: [reading, blind] }
    }

    pub fn shop(&self, reads: bool) -> &Shop {
        &self.shops[usize::from(!reads)]
    }

    /// A facilitator that only one payment goes to.
    pub async fn open_facilitator(&self) -> String {
        open(&self.world, HASTY_MS).await
    }
}

async fn open(world: &World, wait_ms: u32) -> String {
    let opened = world.ask(json!({ "op": "open", "wait": wait_ms })).await.unwrap();
    opened["facilitator"].as_str().unwrap().to_owned()
}

impl Shop {
    async fn open(proxy: &Proxy, rpc: Option<&str>, waits: Waits) -> Self {
        let (reads, pay_to) = match rpc {
            Some(_) => (true, "0x1111111111111111111111111111111111111111"),
            None => (false, "0x2222222222222222222222222222222222222222"),
        };
        let mut variables: Vec<_> =
            SHORT.into_iter().map(|(name, value)| (name, value.to_owned())).collect();
        variables.push(("BURSAR_FACILITATOR_URL", proxy.url.clone()));
        variables.push(("BURSAR_SETTLE_TIMEOUT_S", waits.settle_s.to_string()));
        variables.push(("BURSAR_VERIFY_TIMEOUT_S", waits.verify_s.to_string()));
        variables.push(("BURSAR_PAY_TO", pay_to.to_owned()));
        // The same after a restart at another port: signed payments name it.
        variables.push(("BURSAR_PUBLIC_URL", "http://bursar.test".to_owned()));
        variables.extend(rpc.map(|rpc| ("BURSAR_RPC_URL", rpc.to_owned())));
        let database = test_database().await;
        let shop = Self { reads, pay_to, database, service: Mutex::default(), variables };
        shop.start();
        shop
    }

    /// Starts the service, again if it was killed.
    pub fn start(&self) {
        let variables: Vec<_> =
            self.variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let service = Service::start(&self.database, &variables);
        *self.service.lock().unwrap() = Some(Arc::new(service));
    }

    /// Ends the process as the system does, without a word of warning.
    pub fn kill(&self) {
        let id = self.service().pid().to_string();
        assert!(Command::new("kill").args(["-KILL", &id]).status().unwrap().success());
    }

    pub fn service(&self) -> Arc<Service> {
        self.service.lock().unwrap().clone().expect("it was started")
    }

    /// Runs a command of the operator's on this service's database.
    pub async fn command(&self, arguments: &[&str]) {
        let mut bursar = Bursar::new(arguments)
            .set("DATABASE_URL", &self.url(Role::Service))
            .set("BURSAR_MIGRATION_URL", &self.url(Role::Owner));
        for (name, value) in &self.variables {
            bursar = bursar.set(name, value);
        }
        bursar.run().await.succeeded();
    }

    pub fn url(&self, role: Role) -> String {
        self.database.url(role)
    }
}

impl Ledger {
    /// Makes blocks until the test ends, and the chain with it.
    async fn go_on(self) {
        let mut blocks = tokio::time::interval(BLOCK_TIME);
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "evm_mine", "params": [] });
        while self.client.post(&self.rpc).json(&body).send().await.is_ok() {
            blocks.tick().await;
        }
    }

    /// Moves the chain's clock past the end of every window.
    pub async fn let_a_day_pass(&self) {
        self.call("evm_increaseTime", json!([86_400])).await;
        self.call("evm_mine", json!([])).await;
    }

    async fn call(&self, method: &str, params: Value) -> Value {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let answer = self.client.post(&self.rpc).json(&body).send().await.unwrap();
        let mut answer: Value = answer.json().await.unwrap();
        assert!(answer.get("error").is_none(), "{method}: {answer}");
        answer["result"].take()
    }

    /// What has arrived at an address, from anybody or from one.
    pub async fn arrived(&self, pay_to: &str, from: Option<&str>) -> Arrived {
        let from = from.map_or(Value::Null, |from| json!(word(from)));
        let filter = json!({
            "address": TOKEN, "fromBlock": "0x0", "topics": [TRANSFER, from, word(pay_to)],
        });
        let logs = self.call("eth_getLogs", json!([filter])).await;
        let logs = logs.as_array().unwrap();
        let amounts = logs.iter().map(|log| {
            let digits = log["data"].as_str().unwrap().trim_start_matches("0x");
            i64::from_str_radix(digits.trim_start_matches('0'), 16).unwrap()
        });
        let last = logs.last().and_then(|log| log["transactionHash"].as_str());
        let transaction = last.unwrap_or_default().to_owned();
        Arrived { amount: amounts.sum(), transfers: logs.len(), transaction }
    }
}

fn word(address: &str) -> String {
    format!("0x{:0>64}", address.trim_start_matches("0x").to_lowercase())
}
