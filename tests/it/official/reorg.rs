//! Blocks that are replaced by others after a settlement in them was credited.

use std::time::Duration;

use bursar::x402::wire::SettleResponse;
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::{PAY_TO, Stage, body_of, paid_request};
use crate::support::postgres::{TestDatabase, run};
use crate::support::service::{Service, assert_checks};

const CONFIRMATIONS: u64 = 4;

const VOIDED: &str = "settlement_voided";

/// What is told of a void settlement: nobody is to pay again.
fn voided() -> (Value, Value, Option<String>) {
    (json!(202), json!("voided"), Some("settlement_pending".to_owned()))
}

impl Stage {
    /// A stage where settlements are followed over a few blocks, with paid credits alone.
    async fn set_for_reorgs(database: &TestDatabase) -> Self {
        let mut stage = Self::set(database).await;
        stage.service = stage.replica(database);
        stage.rpc("anvil_mine", json!([CONFIRMATIONS + 2])).await;
        stage
    }

    fn replica(&self, database: &TestDatabase) -> Service {
        self.replica_at(database, &self.world.rpc)
    }

    fn replica_at(&self, database: &TestDatabase, rpc: &str) -> Service {
        let variables = [
            ("BURSAR_FACILITATOR_URL", self.world.facilitator.as_str()),
            ("BURSAR_PAY_TO", PAY_TO),
            ("BURSAR_RPC_URL", rpc),
            ("BURSAR_CONFIRMATIONS", "4"),
            ("BURSAR_CONFIRM_INTERVAL_MS", "20"),
            ("BURSAR_SIGNUP_GRANT", "0"),
        ];
        Service::start(database, &variables)
    }

    async fn rpc(&self, method: &str, params: Value) -> Value {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let request = self.service.client.post(&self.world.rpc).json(&body);
        let mut answer: Value = request.send().await.unwrap().json().await.unwrap();
        assert!(answer.get("error").is_none(), "{method}: {answer}");
        answer["result"].take()
    }

    async fn grow(&self, blocks: u64) {
        self.rpc("anvil_mine", json!([blocks])).await;
    }

    /// A payment of five dollars, the chain before it, and the transaction as it was broadcast.
    async fn paid(&mut self, key: &str) -> Paid {
        let before = self.rpc("evm_snapshot", json!([])).await;
        let bought = self.buy(2, Some(key), "5.00", json!({})).await;
        assert_eq!(bought["status"], 200, "{bought}");
        let body = body_of(&bought);
        let transaction = body["transaction"].as_str().unwrap().to_owned();
        let raw = self.rpc("eth_getRawTransactionByHash", json!([transaction])).await;
        let id = body["topup_id"].as_str().unwrap().to_owned();
        Paid { id, transaction, raw, before, bought }
    }

    /// Takes the chain back to before a payment, and mines other blocks.
    async fn reorganize(&self, paid: &Paid, blocks: u64) {
        assert_eq!(self.rpc("evm_revert", json!([paid.before])).await, json!(true));
        self.grow(blocks).await;
    }

    /// The settlement of a top-up as the operator sees it, once it stands like that.
    async fn settlement(&self, paid: &Paid, standing: &str) -> Value {
        let waited = tokio::time::timeout(Duration::from_secs(60), async {
            loop {
                let path = format!("/api/v1/topups/{}", paid.id);
                let topup = self.service.get(&path, &self.service.operator).await;
                if topup["settlement"]["standing"] == standing {
                    // The look that first finds it may have read the top-up just before.
                    return self.service.get(&path, &self.service.operator).await;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        let topup = waited.await;
        topup.unwrap_or_else(|_| panic!("never {standing}:\n{}", self.service.log.lock().unwrap()))
    }

    /// Shows a payment again, without a key, and looks it up; returns what the replay says, which is
    /// the same in its answer, in its receipt and in the look.
    async fn told(&mut self, paid: &Paid) -> (Value, Value, Option<String>) {
        let replay = self.replay(&paid_request(&paid.bought), None).await;
        let receipt = replay["headers"]["payment-response"].as_str().unwrap();
        let receipt: SettleResponse =
            bursar::x402::header::decode::<Value>(receipt).unwrap().try_into().unwrap();
        let path = format!("/api/v1/topups/{}", paid.id);
        let (_, look) = self.service.ask("GET", &path, None, None, None).await;
        assert_eq!(look.get("settlement"), None, "{look}");
        assert_eq!(body_of(&replay), look);
        assert_eq!(receipt.success, look["status"] == "credited", "{look}");
        (replay["status"].clone(), look["status"].clone(), receipt.error_reason)
    }

    async fn balances(&self) -> [String; 4] {
        let path = "/api/v1/ledger/trial-balance";
        let balance = self.service.get(path, &self.service.operator).await;
        ["settled_usdc", "prepaid", "held", "settlement_loss"].map(|role| {
            let rows = balance["rows"].as_array().unwrap();
            let row = rows.iter().find(|row| row["account"] == role).unwrap();
            let side = if row["normal_side"] == "debit" { "debit" } else { "credit" };
            row[side].as_str().unwrap().to_owned()
        })
    }

    /// Orders things at 0.40 each.
    async fn order(&self, key: &str, name: &str, quantity: i64) -> (u16, Value) {
        let order = json!({ "items": [{ "sku": "thing", "quantity": quantity }],
                            "max_total": "5.00" });
        let service = &self.service;
        service.ask("POST", "/api/v1/checkouts", Some(key), Some(name), Some(order)).await
    }
}

struct Paid {
    id: String,
    transaction: String,
    raw: Value,
    before: Value,
    bought: Value,
}

/// A way to a node that can be shut, with every connection on it.
async fn gate(rpc: &str, open: &watch::Sender<bool>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let node = rpc.strip_prefix("http://").unwrap().to_owned();
    let mut open = open.subscribe();
    tokio::spawn(async move {
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            if !*open.borrow_and_update() {
                continue;
            }
            let (node, mut shut) = (node.clone(), open.clone());
            tokio::spawn(async move {
                let mut node = TcpStream::connect(node).await.unwrap();
                tokio::select! {
                    _ = copy_bidirectional(&mut client, &mut node) => {}
                    _ = shut.wait_for(|open| !*open) => {}
                }
            });
        }
    });
    format!("http://127.0.0.1:{port}")
}

async fn count(pool: &PgPool, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(pool).await.unwrap()
}

/// Has the settlement looked at so many times: each look moves its time on.
async fn looks(pool: &PgPool, times: usize) {
    for _ in 0..times {
        sqlx::query("update settlement set look_at = now()").execute(pool).await.unwrap();
        let due = "select count(*) from settlement where look_at <= now()";
        while count(pool, due).await > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[test]
fn a_settlement_that_a_reorg_drops_is_void_and_given_back_when_it_returns() {
    run(|db| async move {
        let mut stage = Stage::set_for_reorgs(&db).await;
        let other = stage.replica(&db);
        let (_, key) = stage.service.sign_up().await;
        stage.service.list("thing", "0.40").await;
        let paid = stage.paid(&key).await;
        let seen = stage.settlement(&paid, "seen").await["settlement"].clone();
        assert_eq!(seen["transaction"], json!(paid.transaction));
        assert_eq!((&seen["amount"], &seen["sightings"]), (&json!("5.00"), &json!(1)));
        assert_eq!(seen["payer"], json!(stage.address.to_lowercase()));
        assert!(seen["block_time"].is_string() && seen["log_index"].is_u64(), "{seen}");
        let (status, opened) = stage.order(&key, "first", 5).await;
        assert_eq!((status, &opened["held"]), (201, &json!("2.00")), "{opened}");

        // Gone, and not for long enough.
        stage.reorganize(&paid, 3).await;
        stage.settlement(&paid, "missing").await;
        assert_eq!(stage.balances().await, ["5.00", "3.00", "2.00", "0.00"]);
        stage.grow(CONFIRMATIONS).await;
        let gone = stage.settlement(&paid, "void").await;
        assert_eq!(gone["status"], "voided");
        assert_eq!((&gone["credited"], &gone["reason"]), (&json!("0.00"), &json!(VOIDED)));
        // Nobody is told that it is credited, and nobody is asked to pay again.
        assert_eq!(stage.told(&paid).await, voided());
        assert_eq!(stage.balances().await, ["0.00", "0.00", "2.00", "2.00"]);
        let credits = stage.service.get("/api/v1/credits", &key).await;
        assert_eq!((&credits["frozen"], &credits["paid"]), (&json!(true), &json!("0.00")));
        let (status, refused) = stage.order(&key, "second", 1).await;
        assert_eq!((status, &refused["code"]), (409, &json!("account_frozen")), "{refused}");
        let kinds: Vec<_> = gone["audit"].as_array().unwrap().iter().map(|e| &e["kind"]).collect();
        assert!(kinds.ends_with(&[&json!("settlement_missing"), &json!("settlement_void")]));

        // Two replicas have looked at it, and it was void once.
        let voids = "select count(*) from outbox where kind = 'topup.voided'";
        assert_eq!(count(&db.service, voids).await, 1);
        let lines = "select count(*) from transfer where movement = 8";
        assert_eq!(count(&db.service, lines).await, 2);
        let metrics = stage.service.client.get(format!("{}/metrics", stage.service.url));
        let metrics = metrics.send().await.unwrap().text().await.unwrap();
        assert!(metrics.contains(r#"bursar_settlements{standing="void"} 1"#), "{metrics}");
        let logs = [&stage.service, &other].map(|service| service.log.lock().unwrap().clone());
        assert_eq!(logs.concat().matches("a settlement is void").count(), 1, "{logs:?}");
        assert_checks(&db.url(bursar::db::managed::Role::Service));

        // What comes back of it cannot be spent.
        let cancel = format!("{}/cancel", opened["checkout_id"].as_str().unwrap());
        let path = format!("/api/v1/checkouts/{cancel}");
        let (status, body) = stage.service.ask("POST", &path, Some(&key), Some("c"), None).await;
        assert_eq!(status, 200, "{body}");
        assert_eq!(stage.balances().await, ["0.00", "0.00", "0.00", "0.00"]);
        assert_checks(&db.url(bursar::db::managed::Role::Service));

        // The same transaction is mined after all.
        stage.rpc("eth_sendRawTransaction", json!([paid.raw])).await;
        let back = stage.settlement(&paid, "returned").await;
        assert_eq!(back["settlement"]["sightings"], 2);
        assert_eq!(stage.told(&paid).await, voided());
        assert_eq!(stage.balances().await, ["0.00", "0.00", "0.00", "0.00"]);
        stage.grow(CONFIRMATIONS).await;
        stage.settlement(&paid, "reinstated").await;
        assert_eq!(stage.told(&paid).await, (json!(200), json!("credited"), None));
        assert_eq!(stage.balances().await, ["5.00", "5.00", "0.00", "0.00"]);
        assert_eq!(stage.received().await, 5_000_000);
        let credits = stage.service.get("/api/v1/credits", &key).await;
        assert_eq!(credits["frozen"], true, "only the operator lets it go on");
        assert_checks(&db.url(bursar::db::managed::Role::Service));
    });
}

#[test]
fn a_settlement_that_can_no_longer_come_is_for_the_operator() {
    run(|db| async move {
        let mut stage = Stage::set_for_reorgs(&db).await;
        let (_, key) = stage.service.sign_up().await;
        let paid = stage.paid(&key).await;
        stage.settlement(&paid, "seen").await;
        stage.reorganize(&paid, 3).await;
        stage.settlement(&paid, "missing").await;
        // A node that lags behind what another one has shown decides nothing.
        let ahead = "update settlement set head = head + 1000";
        sqlx::query(ahead).execute(&db.owner).await.unwrap();
        stage.grow(CONFIRMATIONS).await;
        looks(&db.owner, 3).await;
        stage.settlement(&paid, "missing").await;
        let events = stage.service.get("/api/v1/events?type=topup.voided", &key).await;
        assert_eq!(events["data"], json!([]));
        let again = "update settlement set head = head - 1000, look_at = now()";
        sqlx::query(again).execute(&db.owner).await.unwrap();
        stage.settlement(&paid, "void").await;
        stage.rpc("evm_increaseTime", json!([86_400])).await;
        stage.grow(1).await;
        let lost = stage.settlement(&paid, "lost").await;
        assert_eq!((&lost["status"], &lost["reason"]), (&json!("lost"), &json!(VOIDED)));
        let replay = stage.replay(&paid_request(&paid.bought), None).await;
        assert_eq!(
            (&replay["status"], &body_of(&replay)["code"]),
            (&json!(409), &json!("settlement_lost"))
        );
        assert_eq!(stage.received().await, 0);
        let events = stage.service.get("/api/v1/events?type=topup.lost", &key).await;
        assert_eq!(events["data"][0]["data"]["topup_id"], lost["topup_id"], "{events}");
        assert_checks(&db.url(bursar::db::managed::Role::Service));
    });
}

#[test]
fn a_settlement_that_is_mined_again_in_another_block_stays_credited() {
    run(|db| async move {
        let mut stage = Stage::set_for_reorgs(&db).await;
        let (_, key) = stage.service.sign_up().await;
        let paid = stage.paid(&key).await;
        let first = stage.settlement(&paid, "seen").await["settlement"].clone();
        stage.reorganize(&paid, 2).await;
        stage.rpc("eth_sendRawTransaction", json!([paid.raw])).await;
        stage.grow(CONFIRMATIONS).await;
        let last = stage.settlement(&paid, "confirmed").await["settlement"].clone();
        assert_eq!(last["transaction"], first["transaction"]);
        assert_ne!(last["block_hash"], first["block_hash"]);
        assert_eq!(last["sightings"], 2);
        assert_eq!(stage.balances().await, ["5.00", "5.00", "0.00", "0.00"]);
        let credits = stage.service.get("/api/v1/credits", &key).await;
        assert_eq!(credits["frozen"], false);
        assert_checks(&db.url(bursar::db::managed::Role::Service));
    });
}

#[test]
fn a_settlement_that_another_transaction_brings_about_stays_credited() {
    run(|db| async move {
        let mut stage = Stage::set_for_reorgs(&db).await;
        let (_, key) = stage.service.sign_up().await;
        let paid = stage.paid(&key).await;
        stage.reorganize(&paid, 3).await;
        // Another payment first, so that the facilitator's transaction is another one.
        let more = stage.buy(2, Some(&key), "1.00", json!({})).await;
        assert_eq!(more["status"], 200, "{more}");
        let sent = paid_request(&paid.bought);
        let header = sent["headers"]["payment-signature"].as_str().unwrap();
        let payment: Value = bursar::x402::header::decode(header).unwrap();
        let settle = json!({ "x402Version": 2, "paymentPayload": payment,
                             "paymentRequirements": payment["accepted"] });
        let url = format!("{}/settle", stage.world.facilitator);
        let answer = stage.service.client.post(url).json(&settle).send().await.unwrap();
        let answer: Value = answer.json().await.unwrap();
        assert_eq!(answer["success"], true, "{answer}");
        assert_ne!(answer["transaction"], json!(paid.transaction));
        stage.grow(CONFIRMATIONS).await;
        let last = stage.settlement(&paid, "confirmed").await;
        assert_eq!(last["settlement"]["transaction"], answer["transaction"]);
        assert_eq!(stage.balances().await, ["6.00", "6.00", "0.00", "0.00"]);
        assert_eq!(stage.received().await, 6_000_000);
        // Finance is shown what was known when it was booked.
        let export = format!("{}/api/v1/ledger/export?format=csv", stage.service.url);
        let export = stage.service.client.get(export).bearer_auth(&stage.service.operator);
        let export = export.send().await.unwrap().text().await.unwrap();
        assert!(export.contains(&paid.transaction), "{export}");
        assert!(export.lines().next().unwrap().ends_with("settlement_log_index"), "{export}");
    });
}

#[test]
fn a_node_that_does_not_answer_is_waited_for() {
    run(|db| async move {
        let mut stage = Stage::set_for_reorgs(&db).await;
        let open = watch::Sender::new(true);
        let rpc = gate(&stage.world.rpc, &open).await;
        stage.service = stage.replica_at(&db, &rpc);
        let (_, key) = stage.service.sign_up().await;
        let paid = stage.paid(&key).await;
        stage.settlement(&paid, "seen").await;
        open.send_replace(false);
        stage.reorganize(&paid, 3 * CONFIRMATIONS).await;
        let waited = tokio::time::timeout(Duration::from_secs(60), async {
            let tried = "settlements are not followed";
            while stage.service.log.lock().unwrap().matches(tried).count() < 3 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        waited.await.expect("it looks again and again");
        stage.settlement(&paid, "seen").await;
        assert_eq!(stage.balances().await, ["5.00", "5.00", "0.00", "0.00"]);
        open.send_replace(true);
        stage.settlement(&paid, "missing").await;
        stage.grow(CONFIRMATIONS).await;
        stage.settlement(&paid, "void").await;
        assert_eq!(stage.balances().await, ["0.00", "0.00", "0.00", "0.00"]);
    });
}
