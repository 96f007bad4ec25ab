//! Customers: each does one thing after the other, and remembers what it was told.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bursar::ground::{Clock, SystemClock};
use bursar::x402::Version;
use futures_util::future::join;
use serde_json::{Value, json};

use super::site::{World, faucet};
use super::sums::{Sums, micros};
use crate::api;
use crate::support::dice::Dice;
use crate::support::request::{Answer, Post};
use crate::topup::buyer::Buyer;

/// What is sold, and for how much.
pub const SKUS: [(&str, &str); 3] = [("lead", "0.05"), ("page", "0.003"), ("call", "0.000007")];
pub const TOPUP: &str = "/api/v1/credits/topup";

/// A request and what it was told.
pub struct Record {
    post: Post,
    told: (u16, String),
}

/// An item of an open checkout, and how much of it may still be delivered.
struct Item {
    checkout: String,
    number: usize,
    left: usize,
}

/// A result that nobody has judged.
struct Delivered {
    checkout: String,
    result: String,
    quantity: usize,
}

pub struct Customer {
    key: String,
    buyer: Buyer,
    /// How many requests it has made, which gives them their names.
    count: usize,
    items: Vec<Item>,
    delivered: Vec<Delivered>,
    pub sums: Sums,
    /// What was acknowledged since everything was last repeated.
    pub records: Vec<Record>,
}

impl Customer {
    pub async fn sign_up(world: &World, n: usize) -> Self {
        let (key, granted) = sign_up(world).await;
        let buyer = Buyer::new(u8::try_from(n + 1).unwrap());
        let given = Post::new("/sandbox/faucet", &key, "", faucet(&buyer.address()));
        assert_eq!(world.insist(&given).await.status, 200);
        let (items, delivered, records) = (Vec::new(), Vec::new(), Vec::new());
        let sums = Sums::of(micros(&granted));
        Self { key, buyer, count: 0, items, delivered, sums, records }
    }

    /// Does one thing after the other until the shop closes.
    pub async fn shop(mut self, world: Arc<World>, mut dice: Dice) -> Self {
        while !world.closing.load(Ordering::Relaxed) {
            match dice.below(48) {
                0..18 => self.open(&world, &mut dice).await,
                18..26 => self.deliver(&world, &mut dice).await,
                26..36 => self.judge(&world, &mut dice).await,
                36..40 => self.cancel(&world, &mut dice).await,
                40..47 => self.reverse(&world, &mut dice).await,
                _ => self.top_up(&world).await,
            }
        }
        self
    }

    fn name(&mut self) -> String {
        self.count += 1;
        format!("request-{}", self.count)
    }

    /// Sends a request, sometimes twice at once, until it is answered, and remembers the answer.
    async fn act(&mut self, world: &World, dice: &mut Dice, post: Post) -> Answer {
        let answer = if dice.below(6) == 0 {
            let (one, other) = join(world.insist(&post), world.insist(&post)).await;
            assert_eq!(one.told(), other.told(), "{post:?}");
            one
        } else {
            world.insist(&post).await
        };
        assert!([200, 201, 409].contains(&answer.status), "{post:?} {answer:?}");
        world.acknowledged.send_modify(|count| *count += 1);
        self.records.push(Record { post, told: answer.told() });
        answer
    }

    async fn open(&mut self, world: &World, dice: &mut Dice) {
        let quantities: Vec<usize> = (0..1 + dice.below(3)).map(|_| 1 + dice.below(5)).collect();
        let items: Vec<Value> = quantities
            .iter()
            .map(|quantity| json!({"sku": dice.pick(&SKUS).0, "quantity": quantity}))
            .collect();
        let body = json!({"items": items, "max_total": "0.60"});
        let name = self.name();
        let post = Post::new("/api/v1/checkouts", &self.key, name, body);
        let answer = self.act(world, dice, post).await;
        if answer.status != 201 {
            return;
        }
        let told = answer.json();
        let checkout = told["checkout_id"].as_str().unwrap().to_owned();
        self.sums.opened(&checkout, micros(&told["total"]));
        for (n, left) in quantities.into_iter().enumerate() {
            self.items.push(Item { checkout: checkout.clone(), number: n + 1, left });
        }
    }

    async fn deliver(&mut self, world: &World, dice: &mut Dice) {
        if self.items.is_empty() {
            return;
        }
        let n = dice.below(self.items.len());
        let (checkout, number) = (self.items[n].checkout.clone(), self.items[n].number);
        let quantity = 1 + dice.below(self.items[n].left);
        let result = self.name();
        let body = json!({"results": [{
            "result_id": result, "item": number, "quantity": quantity, "evidence": {"n": n},
        }]});
        let path = format!("/api/v1/checkouts/{checkout}/results");
        let post = Post::new(path, &world.fulfiller, result.clone(), body);
        let answer = self.act(world, dice, post).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        self.items[n].left -= quantity;
        if self.items[n].left == 0 {
            self.items.swap_remove(n);
        }
        self.delivered.push(Delivered { checkout, result, quantity });
    }

    async fn judge(&mut self, world: &World, dice: &mut Dice) {
        if self.delivered.is_empty() {
            return;
        }
        let n = dice.below(self.delivered.len());
        let Delivered { checkout, result, quantity } = self.delivered.swap_remove(n);
        let body = match dice.below(4) {
            0 => json!({"verdict": "rejected", "reason": "blank"}),
            1 => json!({
                "verdict": "partially_accepted", "accepted_quantity": 1 + dice.below(quantity),
            }),
            _ => json!({"verdict": "accepted"}),
        };
        let path = format!("/api/v1/checkouts/{checkout}/results/{result}/verdict");
        let post = Post::new(path, &world.verifier, format!("judge-{result}"), body);
        let answer = self.act(world, dice, post).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let told = answer.json();
        self.sums.released += micros(&told["released"]);
        if let Some(charge) = told["charge_id"].as_str() {
            self.sums.charged(charge, micros(&told["captured"]));
        }
    }

    async fn cancel(&mut self, world: &World, dice: &mut Dice) {
        let Some(n) = dice.below(12).checked_rem(self.items.len()) else { return };
        let checkout = self.items[n].checkout.clone();
        let path = format!("/api/v1/checkouts/{checkout}/cancel");
        let name = self.name();
        let post = Post::new(path, &self.key, name, json!({}));
        let answer = self.act(world, dice, post).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        self.sums.released += micros(&answer.json()["released"]);
        self.items.retain(|item| item.checkout != checkout);
    }

    async fn reverse(&mut self, world: &World, dice: &mut Dice) {
        let Some((charge, left)) = self.sums.reversible(dice) else { return };
        let amount = match dice.below(3) {
            0 => None,
            _ => bursar::ground::Amount::from_micros((left / 2).max(1)),
        };
        let body = json!({"amount": amount, "reason": "late failure"});
        let path = format!("/api/v1/charges/{charge}/reversals");
        let post = Post::new(path, &world.verifier, self.name(), body);
        let answer = self.act(world, dice, post).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        self.sums.reversed(&charge, micros(&answer.json()["amount"]));
    }

    async fn top_up(&mut self, world: &World) {
        let asked = Post { body: None, ..Post::new(TOPUP, &self.key, "", Value::Null) };
        let Answer { status, headers, text: body } = world.insist(&asked).await;
        let terms = api::Answer { status, headers, body };
        assert_eq!(terms.status, 402, "{terms:?}");
        let once = self.buyer.sign(Version::V2, &terms, SystemClock.now()).header();
        let post = Post { once, ..asked };
        let answer = world.insist(&post).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let told = answer.json();
        self.sums.credited(told["topup_id"].as_str().unwrap(), micros(&told["credited"]));
        world.acknowledged.send_modify(|count| *count += 1);
        self.records.push(Record { post, told: (200, credited(&answer)) });
    }

    /// Sends everything again: each answer is the first one, byte for byte.
    pub async fn repeat_all(&mut self, world: &World) {
        for Record { post, told } in self.records.drain(..) {
            let answer = world.insist(&post).await;
            if post.path == TOPUP {
                assert_eq!((answer.status, credited(&answer)), told, "{post:?}");
            } else {
                assert!(answer.replayed(), "{post:?} {answer:?}");
                assert_eq!(answer.told(), told, "{post:?}");
            }
        }
    }

    /// The account is what its answers add up to.
    pub async fn adds_up(&self, world: &World) {
        self.sums.agree(world, &self.key).await;
    }
}

/// What stays the same of a top-up's answer; the balance goes on.
pub fn credited(answer: &Answer) -> String {
    let told = answer.json();
    let members = ["topup_id", "status", "amount", "credited", "account_id", "transaction"];
    members.map(|name| told[name].to_string()).join(" ")
}

/// Opens an account; a signup that is lost is not repeated but made anew. Gives the key and what was
/// granted.
async fn sign_up(world: &World) -> (String, Value) {
    let post = Post { body: None, ..Post::new("/api/v1/accounts", "", "", Value::Null) };
    let answer = world.insist(&post).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let told = answer.json();
    (told["api_key"].as_str().unwrap().to_owned(), told["promotional_credits"].clone())
}

/// People sign up all the while.
pub async fn newcomers(world: Arc<World>) -> Vec<(String, Value)> {
    let mut all = Vec::new();
    while !world.closing.load(Ordering::Relaxed) {
        all.push(sign_up(&world).await);
    }
    all
}
