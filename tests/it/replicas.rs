//! Two real processes on one database, asked over HTTP for the same accounts under the same keys at
//! the same instant.

use std::collections::HashMap;

use bursar::db::managed::Role;
use bursar::ground::Amount;
use futures_util::future::{join, join_all};
use reqwest::Client;
use serde_json::{Value, json};

use crate::ledger::invariants;
use crate::support::postgres::{TestDatabase, run};
use crate::support::request::{Answer, Post};
use crate::support::service::{Service, assert_checks, client};

const SKUS: [&str; 2] = ["seven", "five"];

/// Two processes and the keys of their staff.
struct Pair {
    one: Service,
    two: Service,
    client: Client,
    fulfiller: String,
    verifier: String,
}

struct Customer {
    account: String,
    key: String,
    /// What its day and its whole life may cost.
    cap: i64,
}

impl Pair {
    async fn start(db: &TestDatabase) -> Self {
        // Answers name the public URL, and both processes give the same answers.
        let variables = [("BURSAR_PUBLIC_URL", "http://127.0.0.1:8402")];
        let (one, two) = (Service::start(db, &variables), Service::start(db, &variables));
        one.list("seven", "0.000007").await;
        one.list("five", "0.000005").await;
        let fulfiller = one.staff("fulfiller", &SKUS).await;
        let verifier = one.staff("verifier", &SKUS).await;
        Self { one, two, client: client(), fulfiller, verifier }
    }

    /// An account with caps in micro-dollars.
    async fn customer(&self, cap: i64) -> Customer {
        let limit = Amount::from_micros(cap).unwrap();
        let caps = json!([{"span": "day", "limit": limit}, {"span": "total", "limit": limit}]);
        let body = Some(json!({ "caps": caps }));
        let (status, body) = self.one.ask("POST", "/api/v1/accounts", None, None, body).await;
        assert_eq!(status, 201, "{body}");
        let text = |name: &str| body[name].as_str().unwrap().to_owned();
        Customer { account: text("account_id"), key: text("api_key"), cap }
    }

    /// Sends a request to one process until it says what became of it.
    async fn insist(&self, service: &Service, post: &Post) -> Answer {
        loop {
            let answer = post.send(&self.client, &service.url).await.expect("both processes live");
            if !answer.comes_again() {
                assert!(answer.status < 500, "{answer:?}");
                return answer;
            }
        }
    }

    /// Sends a request to both at once: one decides, the other repeats it byte for byte.
    async fn both(&self, post: &Post) -> Answer {
        let (one, two) = join(self.insist(&self.one, post), self.insist(&self.two, post)).await;
        assert_eq!(one.told(), two.told(), "{post:?}");
        assert!(one.replayed() != two.replayed(), "decided exactly once: {post:?} {one:?} {two:?}");
        if one.replayed() { two } else { one }
    }

    async fn all(&self, posts: &[Post]) -> Vec<Answer> {
        join_all(posts.iter().map(|post| self.both(post))).await
    }
}

fn micros(value: &Value) -> i64 {
    value.as_str().unwrap().parse::<Amount>().unwrap().micros()
}

fn accepted(answers: &[Answer], status: u16) -> Vec<Value> {
    answers.iter().filter(|answer| answer.status == status).map(Answer::json).collect()
}

/// Many more checkouts than the caps allow, of the customer's SKU.
fn orders(customer: &Customer, sku: &str, count: usize) -> Vec<Post> {
    let items = json!([{"sku": sku, "quantity": 1}]);
    let body = json!({"items": items, "max_total": "1.00"});
    let order =
        |n| Post::new("/api/v1/checkouts", &customer.key, format!("order-{n}"), body.clone());
    (0..count).map(order).collect()
}

#[test]
fn two_processes_share_accounts_keys_and_caps_to_the_micro_dollar() {
    run(|db| async move {
        let pair = Pair::start(&db).await;
        // Prices that divide their caps: demand fills each cap exactly.
        let customers = [
            (pair.customer(350).await, "seven", 7),
            (pair.customer(350).await, "five", 5),
            (pair.customer(70).await, "five", 5),
            (pair.customer(7).await, "seven", 7),
        ];
        let orders: Vec<_> =
            customers.iter().map(|(customer, sku, _)| orders(customer, sku, 100)).collect();
        let answers = join_all(orders.iter().map(|posts| pair.all(posts))).await;
        let mut results = Vec::new();
        for ((customer, _, price), answers) in customers.iter().zip(&answers) {
            let opened = accepted(answers, 201);
            assert_eq!(i64::try_from(opened.len()).unwrap() * price, customer.cap);
            for refused in answers.iter().filter(|answer| answer.status != 201) {
                let problem = refused.json();
                assert_eq!((refused.status, &problem["code"]), (409, &json!("cap_exceeded")));
            }
            for checkout in opened {
                let checkout = checkout["checkout_id"].as_str().unwrap().to_owned();
                let path = format!("/api/v1/checkouts/{checkout}/results");
                let body = json!({"results": [
                    {"result_id": "r", "item": 1, "quantity": 1, "evidence": {}},
                ]});
                results.push((checkout.clone(), Post::new(path, &pair.fulfiller, checkout, body)));
            }
        }
        let deliveries: Vec<_> = results.iter().map(|(_, post)| post.clone()).collect();
        let delivered = pair.all(&deliveries).await;
        assert!(delivered.iter().all(|answer| answer.status == 201));
        let charges = judge(&pair, &results).await;
        reverse(&pair, &charges).await;
        spent(&pair, &customers, &charges).await;
        quiet(&[&pair.one, &pair.two]);
        invariants::hold_in(&db.owner).await;
        assert_checks(&db.url(Role::Service));
    });
}

/// Judges every result under two keys at the same time: one of the two verdicts stands.
async fn judge(pair: &Pair, results: &[(String, Post)]) -> HashMap<String, i64> {
    let verdicts = results.iter().enumerate().map(|(n, (checkout, _))| {
        let path = format!("/api/v1/checkouts/{checkout}/results/r/verdict");
        let verdict = if n % 5 == 0 { "rejected" } else { "accepted" };
        let body = json!({"verdict": verdict});
        Post::new(path, &pair.verifier, format!("judge-{checkout}"), body)
    });
    let verdicts: Vec<Post> = verdicts.collect();
    let contrary = verdicts.iter().map(|post| Post {
        once: ("idempotency-key", format!("again-{}", post.path)),
        ..post.clone()
    });
    let contrary: Vec<Post> = contrary.collect();
    let (first, second) = join(pair.all(&verdicts), pair.all(&contrary)).await;
    let mut charges = HashMap::new();
    for (first, second) in first.iter().zip(&second) {
        let (done, refused) = if first.status == 200 { (first, second) } else { (second, first) };
        assert_eq!((done.status, refused.status), (200, 409), "{first:?} {second:?}");
        assert_eq!(refused.json()["code"], "already_decided");
        let done = done.json();
        if let Some(charge) = done["charge_id"].as_str() {
            charges.insert(charge.to_owned(), micros(&done["captured"]));
        }
    }
    charges
}

/// Takes three micro-dollars off every charge twice at once: what is left of it decides.
async fn reverse(pair: &Pair, charges: &HashMap<String, i64>) {
    for (amount, key) in [("0.000003", "first"), ("0.000003", "second")] {
        let posts = charges.keys().map(|charge| {
            let path = format!("/api/v1/charges/{charge}/reversals");
            let body = json!({"amount": amount, "reason": "late failure"});
            Post::new(path, &pair.verifier, format!("{key}-{charge}"), body)
        });
        let posts: Vec<Post> = posts.collect();
        let twice = posts.iter().map(|post| Post {
            once: ("idempotency-key", format!("rival-of-{}", post.once.1)),
            ..post.clone()
        });
        let twice: Vec<Post> = twice.collect();
        let (ones, others) = join(pair.all(&posts), pair.all(&twice)).await;
        for (one, other) in ones.iter().zip(&others) {
            for answer in [one, other].into_iter().filter(|answer| answer.status != 201) {
                assert_eq!(answer.status, 409, "{answer:?}");
            }
        }
    }
}

/// Balance, charges and caps of each customer are what the answers say, at either process.
async fn spent(pair: &Pair, customers: &[(Customer, &str, i64)], charges: &HashMap<String, i64>) {
    let mut seen = 0;
    for (customer, _, price) in customers {
        let credits = pair.one.get("/api/v1/credits", &customer.key).await;
        assert_eq!(credits, pair.two.get("/api/v1/credits", &customer.key).await);
        assert_eq!(credits["account_id"], customer.account.as_str());
        let page = pair.two.get("/api/v1/charges?limit=100", &customer.key).await;
        let listed = page["data"].as_array().unwrap();
        seen += listed.len();
        let mut net = 0;
        for charge in listed {
            let (amount, reversed) = (micros(&charge["amount"]), micros(&charge["reversed"]));
            assert_eq!(amount, charges[charge["charge_id"].as_str().unwrap()]);
            // Of seven, two times three were taken off; of five, only one.
            assert_eq!(reversed, price / 3 * 3, "{charge}");
            net += amount - reversed;
        }
        assert_eq!(micros(&credits["available"]), 25_000_000 - net);
        assert_eq!(credits["held"], "0.00");
        // What was rejected or reversed is headroom again, and no more than that.
        let left = (customer.cap - net) / price;
        let posts = (0..left + 20).map(|n| {
            let body = json!({
                "items": [{"sku": customer_sku(*price), "quantity": 1}], "max_total": "1.00",
            });
            Post::new("/api/v1/checkouts", &customer.key, format!("late-{n}"), body)
        });
        let answers = pair.all(&posts.collect::<Vec<_>>()).await;
        assert_eq!(i64::try_from(accepted(&answers, 201).len()).unwrap(), left);
    }
    assert_eq!(seen, charges.len());
}

fn customer_sku(price: i64) -> &'static str {
    if price == 7 { "seven" } else { "five" }
}

/// Neither process has logged an error, and no deadlock came up.
fn quiet(services: &[&Service]) {
    for service in services {
        let log = service.log.lock().unwrap();
        assert!(!log.contains(r#""level":"ERROR""#), "{log}");
        assert!(!log.contains("deadlock"), "{log}");
    }
}
