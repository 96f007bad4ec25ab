//! A node of the chain on which the sandbox settles: it shows what the sandbox has moved as an
//! EVM node would, and does what a test says.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use bursar::ground::{Clock, ShiftedClock};
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

use crate::peer::read_request;

const USED: &str = "0x98de503528ee59b575ef0c0a2576a82497bfc029a5685b209e9ec333479b10a5";
const CANCELED: &str = "0x1cdd46ff242716cdaa72d159d339a485b3438398348d68f09d7c8c0a59353d81";
const TRANSFER: &str = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef";
/// The block that everything is in.
const BLOCK: u64 = 1_000;

/// What became of an authorization that the sandbox knows nothing of, or tells otherwise of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Canceled,
    /// It moved something to somebody else.
    Elsewhere,
    /// It is used, and no log tells where.
    Untold,
}

/// A running node. It ends with the test's runtime.
#[derive(Clone)]
pub struct Node {
    pub url: String,
    shared: Arc<Shared>,
}

struct Shared {
    pool: PgPool,
    clock: Mutex<Option<Arc<ShiftedClock>>>,
    fates: Mutex<HashMap<String, Fate>>,
    down: Mutex<bool>,
    /// How many blocks lie above the one that everything is in.
    above: Mutex<u64>,
}

/// What the sandbox moved by an authorization.
struct Moved {
    nonce: String,
    payer: String,
    pay_to: String,
    asset: String,
    amount: i64,
    transaction: String,
}

impl Node {
    pub async fn start(pool: PgPool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared {
            pool,
            clock: Mutex::default(),
            fates: Mutex::default(),
            down: Mutex::default(),
            above: Mutex::new(0),
        });
        let serving = shared.clone();
        tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { return };
                tokio::spawn(serving.clone().serve(stream));
            }
        });
        Self { url, shared }
    }

    /// Its blocks are of this time.
    pub fn follow(&self, clock: Arc<ShiftedClock>) {
        *self.shared.clock.lock().unwrap() = Some(clock);
    }

    pub fn decide(&self, nonce: &str, fate: Fate) {
        self.shared.fates.lock().unwrap().insert(nonce.to_owned(), fate);
    }

    /// Answers nothing, or answers again.
    pub fn set_down(&self, down: bool) {
        *self.shared.down.lock().unwrap() = down;
    }

    /// Lets so many blocks lie above the one that everything is in.
    pub fn set_above(&self, blocks: u64) {
        *self.shared.above.lock().unwrap() = blocks;
    }
}

impl Shared {
    async fn serve(self: Arc<Self>, mut stream: TcpStream) {
        let request = read_request(&mut stream).await;
        let Some((_, body)) = request.split_once("\r\n\r\n") else { return };
        let Ok(call) = serde_json::from_str::<Value>(body) else { return };
        let method = call["method"].as_str().unwrap();
        if *self.down.lock().unwrap() {
            return;
        }
        let result = self.result(method, &call["params"]).await;
        let text = json!({ "jsonrpc": "2.0", "id": call["id"], "result": result }).to_string();
        let length = text.len();
        let answer = format!(
            "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{text}"
        );
        // The caller may have gone already, which is its right.
        let _ = stream.write_all(answer.as_bytes()).await;
    }

    async fn result(&self, method: &str, params: &Value) -> Value {
        match method {
            "eth_getBlockByNumber" | "eth_getBlockByHash" => {
                let head = BLOCK + *self.above.lock().unwrap();
                let asked = params[0].as_str().and_then(|n| n.strip_prefix("0x"));
                let number = asked.and_then(|n| u64::from_str_radix(n, 16).ok()).unwrap_or(head);
                json!({ "number": hex(number), "timestamp": hex(self.time()) })
            }
            "eth_call" => {
                let data = params[0]["data"].as_str().unwrap();
                let nonce = format!("0x{}", &data[data.len() - 64..]);
                let fate = self.fates.lock().unwrap().get(&nonce).copied();
                let used = fate.is_some() || self.moved("nonce", &nonce).await.is_some();
                json!(format!("0x{:064x}", u8::from(used)))
            }
            "eth_getLogs" => {
                let topics = &params[0]["topics"];
                let (payer, nonce) = (&topics[1], topics[2].as_str().unwrap());
                let fate = self.fates.lock().unwrap().get(nonce).copied();
                let log = |topic: &str, transaction: &str| {
                    log(
                        &params[0]["address"],
                        &[json!(topic), payer.clone(), json!(nonce)],
                        "0x",
                        transaction,
                        1,
                    )
                };
                match (fate, self.moved("nonce", nonce).await) {
                    (Some(Fate::Untold), _) | (None, None) => json!([]),
                    (Some(Fate::Canceled), _) => {
                        json!([log(CANCELED, &format!("0x{}", "ca".repeat(32)))])
                    }
                    (Some(Fate::Elsewhere), _) => json!([log(USED, &elsewhere(nonce))]),
                    (None, Some(moved)) => json!([log(USED, &moved.transaction)]),
                }
            }
            "eth_getTransactionReceipt" => self.receipt(params[0].as_str().unwrap()).await,
            _ => Value::Null,
        }
    }

    async fn receipt(&self, transaction: &str) -> Value {
        let fates = self.fates.lock().unwrap().clone();
        let away = fates
            .iter()
            .find(|(nonce, fate)| **fate == Fate::Elsewhere && elsewhere(nonce) == transaction);
        let Some(moved) = self.moved("transaction", transaction).await else {
            let Some((nonce, _)) = away else { return Value::Null };
            let sql = "select payer, asset from topup where nonce = $1 limit 1";
            let (payer, asset): (String, String) =
                sqlx::query_as(sql).bind(nonce).fetch_one(&self.pool).await.unwrap();
            let stranger = format!("0x{}", "77".repeat(20));
            let moved = Moved {
                nonce: nonce.clone(),
                payer,
                asset,
                pay_to: stranger,
                amount: 1,
                transaction: transaction.to_owned(),
            };
            return receipt(&moved, self.time());
        };
        receipt(&moved, self.time())
    }

    async fn moved(&self, by: &str, value: &str) -> Option<Moved> {
        let sql = match by {
            "nonce" => {
                "select nonce, payer, pay_to, asset, amount, transaction
                        from sandbox_settlement where nonce = $1"
            }
            _ => {
                "select nonce, payer, pay_to, asset, amount, transaction
                  from sandbox_settlement where transaction = $1"
            }
        };
        let row: Option<(String, String, String, String, i64, String)> =
            sqlx::query_as(sql).bind(value).fetch_optional(&self.pool).await.unwrap();
        row.map(|(nonce, payer, pay_to, asset, amount, transaction)| Moved {
            nonce,
            payer,
            pay_to,
            asset,
            amount,
            transaction,
        })
    }

    fn time(&self) -> u64 {
        let clock = self.clock.lock().unwrap();
        u64::try_from(clock.as_ref().unwrap().now().timestamp()).unwrap()
    }
}

fn receipt(moved: &Moved, time: u64) -> Value {
    let Moved { nonce, payer, pay_to, asset, amount, transaction } = moved;
    let asset = json!(asset);
    let used = [json!(USED), json!(word(payer)), json!(nonce)];
    let transfer = [json!(TRANSFER), json!(word(payer)), json!(word(pay_to))];
    let mut logs = vec![
        log(&asset, &used, "0x", transaction, 1),
        log(&asset, &transfer, &format!("0x{amount:064x}"), transaction, 2),
    ];
    for log in &mut logs {
        log["blockTimestamp"] = json!(hex(time));
    }
    json!({
        "transactionHash": transaction, "blockHash": transaction, "blockNumber": hex(BLOCK),
        "status": "0x1", "logs": logs,
    })
}

fn log(address: &Value, topics: &[Value], data: &str, transaction: &str, index: u64) -> Value {
    json!({
        "address": address, "topics": topics, "data": data, "transactionHash": transaction,
        "logIndex": hex(index), "blockNumber": hex(BLOCK),
    })
}

/// The transaction that moved something else.
fn elsewhere(nonce: &str) -> String {
    format!("0xee{}", &nonce[4..])
}

fn word(address: &str) -> String {
    format!("0x{:0>64}", &address[2..])
}

fn hex(number: u64) -> String {
    format!("0x{number:x}")
}
