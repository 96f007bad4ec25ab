//! A checkout's whole life, with its arithmetic written down, cut after and within every step.

use bursar::ground::{Clock, SystemClock};
use bursar::x402::Version;
use futures_util::future::join_all;
use serde_json::{Value, json};

use super::customer::TOPUP;
use super::cut::{Life, MOMENTS};
use super::site::faucet;
use crate::api;
use crate::support::request::{Answer, Post};
use crate::topup::buyer::Buyer;

/// Where the 2.50 of an account come from, and how its checkouts are opened.
struct Variant {
    granted: &'static str,
    paid: Option<&'static str>,
    quoted: bool,
    /// All balances in the end, in micro-dollars and in the order of the chart.
    balances: [i64; 10],
}

/// Promotional credits burn first, so that with both the first item is promotional and the rest paid.
/// In the end 0.30 of the second checkout stay charged, and 0.70 of the first were charged and reversed.
const VARIANTS: [Variant; 3] = [
    Variant {
        granted: "0.00",
        paid: Some("2.50"),
        quoted: true,
        balances: [2_500_000, 2_200_000, 0, 0, 0, 0, 1_000_000, 700_000, 0, 0],
    },
    Variant {
        granted: "1.00",
        paid: Some("1.50"),
        quoted: false,
        balances: [1_500_000, 1_200_000, 0, 1_000_000, 1_000_000, 0, 300_000, 0, 0, 0],
    },
    Variant {
        granted: "2.50",
        paid: None,
        quoted: true,
        balances: [0, 0, 0, 2_200_000, 2_200_000, 0, 0, 0, 0, 0],
    },
];

const OVERDUE_ITEM: &str = "update checkout_item set deliver_by = deliver_by - interval '1 day'
                            where checkout_id = $1 and item = 1";
const OVERDUE_RESULT: &str = "update result set verify_by = verify_by - interval '1 day'
                              where checkout_id = $1 and state = 'verifying'";
const OVERDUE_DISPUTE: &str = "update dispute set decide_by = decide_by - interval '8 days'
                               where dispute_id = $1";
const OVER: &str = "update charge set final_at = final_at - interval '2 days'
                    where charge_id = $1";

/// What the fulfiller, the verifier and the buyer send.
struct Parts {
    key: String,
    fulfiller: String,
    verifier: String,
}

impl Parts {
    fn submit(&self, checkout: &Value, results: Value) -> Post {
        let path = format!("/api/v1/checkouts/{}/results", text(checkout));
        let once = format!("submit-{}", text(&results[0]["result_id"]));
        Post::new(path, &self.fulfiller, once, json!({ "results": results }))
    }

    fn judge(&self, checkout: &Value, result: &str, body: Value) -> Post {
        let path = format!("/api/v1/checkouts/{}/results/{result}/verdict", text(checkout));
        Post::new(path, &self.verifier, format!("judge-{result}"), body)
    }

    fn reverse(&self, charge: &Value, once: &str, amount: Option<&str>) -> Post {
        let path = format!("/api/v1/charges/{}/reversals", text(charge));
        let body = json!({ "amount": amount, "reason": "it was wrong" });
        Post::new(path, &self.verifier, once, body)
    }

    fn dispute(&self, charge: &Value, once: &str, amount: Option<&str>) -> Post {
        let path = format!("/api/v1/charges/{}/disputes", text(charge));
        Post::new(path, &self.key, once, json!({ "amount": amount, "reason": "it is wrong" }))
    }

    fn decide(&self, dispute: &Value, decision: &str) -> Post {
        let path = format!("/api/v1/disputes/{}/decision", text(dispute));
        let body = json!({ "decision": decision, "reason": "so it is" });
        Post::new(path, &self.verifier, format!("decide-{decision}"), body)
    }
}

fn text(id: &Value) -> &str {
    id.as_str().unwrap()
}

fn result(id: &str, item: u8, quantity: u8, evidence: Value) -> Value {
    json!({ "result_id": id, "item": item, "quantity": quantity, "evidence": evidence })
}

/// Lists the SKU of the script: 0.10 for each, and evidence must have `n`.
async fn list(life: &Life) {
    let service = life.site.service.as_ref().unwrap();
    let terms = json!({
        "title": "lead", "unit": "piece", "unit_price": "0.10",
        "criteria": {"schema": {"type": "object", "required": ["n"]}},
        "delivery_deadline_seconds": 3600, "verification_deadline_seconds": 3600,
        "dispute_window_seconds": 86400,
    });
    let path = "/api/v1/admin/catalog/lead";
    let key = Some(service.operator.as_str());
    let (status, body) = service.ask("PUT", path, key, None, Some(terms)).await;
    assert_eq!(status, 200, "{body}");
}

/// Buys so many credits.
async fn top_up(life: &mut Life, amount: &str) {
    let buyer = Buyer::new(1);
    let faucet = Post::new("/sandbox/faucet", "", "", faucet(&buyer.address()));
    assert_eq!(life.site.world.insist(&faucet).await.status, 200);
    let asked = Post::new(TOPUP, &life.key, "", json!({ "amount": amount }));
    let Answer { status, headers, text: body } = life.site.world.insist(&asked).await;
    let terms = api::Answer { status, headers, body };
    assert_eq!(terms.status, 402, "{terms:?}");
    let once = buyer.sign(Version::V2, &terms, SystemClock.now()).header();
    let told = life.takes(200, Post { once, ..asked }).await;
    assert_eq!(told["credited"], amount);
}

/// Opens a checkout of so many units in each item, and returns its id.
async fn open(life: &mut Life, variant: &Variant, once: &str, quantities: &[u8]) -> Value {
    let item = |quantity: &u8| json!({ "sku": "lead", "quantity": quantity });
    let items: Vec<Value> = quantities.iter().map(item).collect();
    let body = if variant.quoted {
        let quote = Post::new("/api/v1/quotes", &life.key, "", json!({ "items": items }));
        let quote = life.site.world.insist(&quote).await;
        assert_eq!(quote.status, 201, "{quote:?}");
        json!({ "quote_id": quote.json()["quote_id"] })
    } else {
        json!({ "items": items, "max_total": "2.00" })
    };
    let key = life.key.clone();
    let opened = Post::new("/api/v1/checkouts", &key, once, body.clone());
    let checkout = life.takes(201, opened).await["checkout_id"].clone();
    if variant.quoted {
        life.never_again("/api/v1/checkouts", &key, body);
    }
    checkout
}

/// Plays the script with the moments of the cuts beginning at this one.
async fn play(variant: &Variant, first: usize) -> usize {
    let mut life = Life::begin(variant.granted, first).await;
    let world = life.site.world.clone();
    let (fulfiller, verifier) = (world.fulfiller.clone(), world.verifier.clone());
    let parts = Parts { key: life.key.clone(), fulfiller, verifier };
    list(&life).await;
    if let Some(amount) = variant.paid {
        top_up(&mut life, amount).await;
    }
    life.has("2.50", "0.00").await;
    let one = open(&mut life, variant, "open-one", &[10, 4, 2]).await;
    life.has("0.90", "1.60").await;
    let two = open(&mut life, variant, "open-two", &[2, 3]).await;
    life.has("0.40", "2.10").await;
    let charges = deliver(&mut life, &parts, &one, &two).await;
    life.has("1.50", "0.00").await;
    give_back(&mut life, &parts, &charges).await;
    life.has("2.20", "0.00").await;
    assert_eq!(life.balances().await, variant.balances);
    life.end().await
}

/// Results, verdicts, cancel and the deadlines of delivery and verification. Returns the charges: 0.50,
/// 0.20 and 0.30.
async fn deliver(life: &mut Life, parts: &Parts, one: &Value, two: &Value) -> [Value; 3] {
    let n = json!({ "n": 1 });
    let results = json!([
        result("whole", 1, 5, n.clone()),
        result("part", 1, 3, n.clone()),
        result("none", 2, 2, n.clone()),
        result("late", 2, 1, n.clone()),
        result("nonsense", 2, 1, json!({})),
    ]);
    let submitted = life.takes(201, parts.submit(one, results.clone())).await;
    assert_eq!(submitted["results"][4]["status"], "released", "{submitted}");
    life.has("0.50", "2.00").await;
    let again = parts.submit(one, results);
    life.never_again(&again.path, &parts.fulfiller, again.body.unwrap());

    let whole = parts.judge(one, "whole", json!({ "verdict": "accepted" }));
    let whole = life.takes(200, whole).await["charge_id"].clone();
    life.has("0.50", "1.50").await;
    let body = json!({ "verdict": "partially_accepted", "accepted_quantity": 2 });
    let part = life.takes(200, parts.judge(one, "part", body)).await["charge_id"].clone();
    life.has("0.60", "1.20").await;
    let rejected = json!({ "verdict": "rejected", "reason": "blank" });
    life.takes(200, parts.judge(one, "none", rejected)).await;
    life.has("0.80", "1.00").await;
    for result in ["whole", "part", "none"] {
        let path = parts.judge(one, result, Value::Null).path;
        life.never_again(&path, &parts.verifier, json!({ "verdict": "accepted" }));
    }

    let cancel = format!("/api/v1/checkouts/{}/cancel", text(one));
    let canceled = Post::new(cancel.as_str(), &parts.key, "cancel", json!({}));
    assert_eq!(life.takes(200, canceled).await["released"], "0.40");
    life.never_again(&cancel, &parts.key, json!({}));
    life.has("1.20", "0.60").await;

    life.pass(OVERDUE_ITEM, two).await;
    life.has("1.40", "0.40").await;
    let closed = parts.submit(two, json!([result("closed", 1, 1, n.clone())]));
    life.never_again(&closed.path, &parts.fulfiller, closed.body.unwrap());
    life.pass(OVERDUE_RESULT, one).await;
    life.has("1.50", "0.30").await;
    let late = parts.judge(one, "late", json!({ "verdict": "accepted" }));
    life.never_again(&late.path, &parts.verifier, late.body.unwrap());

    life.takes(201, parts.submit(two, json!([result("kept", 2, 3, n)]))).await;
    let kept = parts.judge(two, "kept", json!({ "verdict": "accepted" }));
    let kept = life.takes(200, kept).await["charge_id"].clone();
    [whole, part, kept]
}

/// Reversals, disputes and their decisions, and finality.
async fn give_back(life: &mut Life, parts: &Parts, [whole, part, kept]: &[Value; 3]) {
    life.takes(201, parts.reverse(whole, "reverse-part", Some("0.20"))).await;
    life.has("1.70", "0.00").await;
    for (decision, amount, available) in [("denied", "0.10", "1.70"), ("upheld", "0.20", "1.90")] {
        let once = format!("dispute-{decision}");
        let dispute = life.takes(201, parts.dispute(whole, &once, Some(amount))).await;
        life.has("1.70", "0.00").await;
        let decide = parts.decide(&dispute["dispute_id"], decision);
        life.takes(200, decide.clone()).await;
        life.never_again(&decide.path, &parts.verifier, decide.body.unwrap());
        life.has(available, "0.00").await;
    }
    let silent = life.takes(201, parts.dispute(part, "dispute-silent", None)).await;
    life.has("1.90", "0.00").await;
    life.pass(OVERDUE_DISPUTE, &silent["dispute_id"]).await;
    life.has("2.10", "0.00").await;
    life.takes(201, parts.reverse(whole, "reverse-rest", None)).await;
    life.has("2.20", "0.00").await;
    for charge in [whole, part] {
        let reverse = parts.reverse(charge, "", None);
        life.never_again(&reverse.path, &parts.verifier, reverse.body.unwrap());
        let dispute = parts.dispute(charge, "", None);
        life.never_again(&dispute.path, &parts.key, dispute.body.unwrap());
    }

    let done = sqlx::query(OVER).bind(super::cut::uuid_of(kept)).execute(&life.owner).await;
    assert_eq!(done.unwrap().rows_affected(), 1);
    life.refuses("charge_final", parts.reverse(kept, "reverse-final", None)).await;
    life.refuses("charge_final", parts.dispute(kept, "dispute-final", None)).await;
}

/// Each step is cut at each moment once, each variant at each moment and in each step.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_life_that_is_cut_at_every_step_adds_up() {
    let lives = VARIANTS.iter().zip(0..).map(|(variant, first)| play(variant, first));
    let steps = join_all(lives).await;
    eprintln!("cut {} times, {steps:?}", steps.iter().sum::<usize>());
}

/// Every variant, step and moment; the README has its command.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes"]
async fn every_step_at_every_moment() {
    for first in 0..MOMENTS.len() {
        let lives = VARIANTS.iter().map(|variant| play(variant, first));
        let steps = join_all(lives).await;
        eprintln!("cut {} times, {steps:?}", steps.iter().sum::<usize>());
    }
}
