//! An engine on a test's database, with one account, two keys and a small catalogue.

use std::sync::Arc;
use std::time::Duration;

use bursar::checkout::{
    Acceptance, Check, CheckoutError, Checkouts, Criteria, DisputeDecision, DisputeRequest, Order,
    OrderLine, ResultSubmission, ReversalRequest, SkuTerms, Staff, Verdict, Verification,
};
use bursar::db;
use bursar::ground::{
    Amount, BookId, ChargeId, CheckoutId, Clock, DisputeId, Entropy, Fingerprint, KeyId, QuoteId,
    SeededEntropy, ShiftedClock, SystemEntropy, sha256,
};
use bursar::ledger::{self, CommandIdentity, Engine, EngineSettings, Outcome, SubmitError};
use chrono::TimeDelta;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use serde::de::DeserializeOwned;
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;

use super::commands::{Act, Verb};
use super::model::amount;
use crate::support::postgres::TestDatabase;

/// Who delivers, judges and reverses.
pub const STAFF: KeyId = KeyId(Uuid::from_u128(0x57aff));

/// A SKU of the scene: price in micro-dollars and the deadlines in half hours.
pub struct Terms {
    pub sku: &'static str,
    pub price: i64,
    pub deliver: i32,
    pub verify: i32,
    pub dispute: i32,
}

/// Deadlines end at half hours and tests move time by whole hours, so that the seconds which a test
/// takes decide nothing.
pub const TERMS: [Terms; 3] = [
    Terms { sku: "lead", price: 3, deliver: 21, verify: 11, dispute: 101 },
    Terms { sku: "page", price: 5, deliver: 41, verify: 31, dispute: 61 },
    Terms { sku: "call", price: 1, deliver: 61, verify: 5, dispute: 201 },
];

/// One process of the service, as far as the ledger and checkouts go.
#[derive(Clone)]
pub struct Replica {
    pub pool: PgPool,
    pub clock: Arc<ShiftedClock>,
    pub engine: Engine,
    pub checkouts: Checkouts,
}

impl Replica {
    pub fn new(db: &TestDatabase, seed: u64, settings: EngineSettings) -> Self {
        let pool = db::service_pool(db.service_options(), 6);
        let clock = Arc::new(ShiftedClock::default());
        // Two sources, so that the ids of one do not depend on the pace of the other.
        let (inside, outside) = (SeededEntropy::new(seed), SeededEntropy::new(!seed));
        let engine = Engine::start(pool.clone(), clock.clone(), Arc::new(inside), settings);
        let checkouts =
            Checkouts::new(pool.clone(), engine.clone(), clock.clone(), Arc::new(outside));
        Self { pool, clock, engine, checkouts }
    }

    pub async fn list_skus(&self) {
        for terms in TERMS {
            let listed = SkuTerms {
                title: terms.sku.to_owned(),
                unit: "unit".to_owned(),
                unit_price: amount(terms.price),
                criteria: criteria(),
                verification: Verification::Push,
                delivery_deadline_s: terms.deliver * 1800,
                verification_deadline_s: terms.verify * 1800,
                dispute_window_s: terms.dispute * 1800,
                dispute_decision_s: terms.dispute * 1800,
                active: true,
            };
            self.checkouts.list_sku(terms.sku, &listed).await.unwrap();
        }
    }

    /// A book with two keys.
    pub async fn open_account(&self, account: BookId) -> [KeyId; 2] {
        ledger::open_book(&self.pool, account, self.clock.now()).await.unwrap();
        let keys = [1, 2].map(|n| KeyId(Uuid::from_u128(n << 8)));
        for key in keys {
            self.act(account, &format!("admit {key}"), Verb::Admit(key)).await.unwrap();
        }
        keys
    }

    pub async fn act(
        &self,
        account: BookId,
        key: &str,
        verb: Verb,
    ) -> Result<Outcome, SubmitError> {
        self.engine.submit(Arc::new(Act::new(account, key, verb))).await
    }

    pub async fn top_up(&self, account: BookId, micros: i64) {
        let key = format!("top-up {:?}", fresh::<8>());
        let outcome = self.act(account, &key, Verb::TopUp(amount(micros))).await.unwrap();
        assert!(outcome.accepted);
    }

    pub async fn send(&self, request: &Request) -> Result<Outcome, CheckoutError> {
        let Request { account, key, asked, call } = request;
        let fingerprint = Fingerprint(sha256([asked.as_bytes()]));
        let identity = CommandIdentity::of_request(KeyId(Uuid::nil()), key, fingerprint);
        match call.clone() {
            Call::Open(order) => self.checkouts.open(*account, identity, order).await,
            Call::Accept(acceptance) => self.checkouts.accept(*account, identity, acceptance).await,
            Call::Submit(checkout, submission) => {
                self.checkouts.submit(checkout, identity, staff(), vec![submission]).await
            }
            Call::SubmitAll(checkout, submissions) => {
                self.checkouts.submit(checkout, identity, staff(), submissions).await
            }
            Call::Judge(checkout, result, verdict) => {
                self.checkouts.judge(checkout, &result, identity, verdict).await
            }
            Call::Cancel(checkout) => self.checkouts.cancel(*account, checkout, identity).await,
            Call::Reverse(charge, request) => {
                self.checkouts.reverse(charge, identity, request).await
            }
            Call::Dispute(charge, request) => {
                self.checkouts.dispute(*account, charge, identity, request).await
            }
            Call::Decide(dispute, decision) => {
                self.checkouts.decide_dispute(dispute, identity, decision).await
            }
            Call::Act(verb) => Ok(self.act(*account, key, verb).await?),
        }
    }
}

/// What a caller sends, so that it can be sent again.
#[derive(Clone, Debug)]
pub struct Request {
    pub account: BookId,
    pub key: String,
    pub asked: String,
    pub call: Call,
}

#[derive(Clone, Debug)]
pub enum Call {
    Open(Order),
    Accept(Acceptance),
    Submit(CheckoutId, ResultSubmission),
    SubmitAll(CheckoutId, Vec<ResultSubmission>),
    Judge(CheckoutId, String, Verdict),
    Cancel(CheckoutId),
    Reverse(ChargeId, ReversalRequest),
    Dispute(ChargeId, DisputeRequest),
    Decide(DisputeId, DisputeDecision),
    Act(Verb),
}

impl Request {
    pub fn new(account: BookId, key: impl Into<String>, call: Call) -> Self {
        Self { account, key: key.into(), asked: format!("{call:?}"), call }
    }
}

pub fn staff() -> Staff {
    Staff { key: STAFF, skus: None }
}

/// Evidence must name its result.
fn criteria() -> Criteria {
    let schema = json!({ "type": "object", "required": ["result"] });
    Criteria { schema: Some(schema), ..Criteria::default() }
}

/// Accepts a quote as it is.
pub fn accept(spender: KeyId, quote: QuoteId) -> Call {
    Call::Accept(Acceptance { spender, quote, max_total: None })
}

/// An order of so many units of each SKU of [`TERMS`] by index.
pub fn order(spender: KeyId, lines: &[(usize, i64)], max_total: i64) -> Order {
    let line = |&(sku, quantity): &(usize, i64)| OrderLine { sku: TERMS[sku].sku.into(), quantity };
    Order { spender, lines: lines.iter().map(line).collect(), max_total: amount(max_total) }
}

pub fn submission(result_id: &str, item: i16, quantity: i64) -> ResultSubmission {
    let evidence = json!({ "result": result_id });
    ResultSubmission { result_id: result_id.into(), item, quantity, evidence }
}

pub fn verdict(accepted: i64) -> Verdict {
    let checks = vec![Check { name: "looks right".into(), passed: accepted > 0, detail: None }];
    Verdict { by: staff(), criteria_version: None, accepted: Some(accepted), reason: None, checks }
}

pub fn reversal(amount: Option<Amount>) -> ReversalRequest {
    ReversalRequest { by: staff(), amount, reason: "late failure".into() }
}

pub fn dispute(by: KeyId, amount: Option<Amount>) -> DisputeRequest {
    DisputeRequest { by, amount, reason: "not as ordered".into() }
}

pub fn decision(upheld: bool) -> DisputeDecision {
    DisputeDecision { by: staff(), upheld, reason: "so it is".into() }
}

/// The answer of an accepted command, or the reason of a refused one.
pub fn body<T: DeserializeOwned>(outcome: &Outcome) -> T {
    serde_json::from_str(&outcome.body).unwrap_or_else(|e| panic!("{e}: {}", outcome.body))
}

/// The stable code of a refusal.
pub fn code(outcome: &Outcome) -> String {
    assert!(!outcome.accepted, "{}", outcome.body);
    body::<serde_json::Value>(outcome)["code"].as_str().unwrap().to_owned()
}

/// How the terms count time.
pub fn half_hours(number: i32) -> TimeDelta {
    TimeDelta::minutes(i64::from(number) * 30)
}

pub fn fresh<const N: usize>() -> [u8; N] {
    let entropy: &dyn Entropy = &SystemEntropy;
    entropy.array()
}

pub fn fresh_account(clock: &ShiftedClock) -> BookId {
    BookId::mint_book(&SystemEntropy, clock.now())
}

/// One lane, so that nothing but the order of submission decides.
pub fn one_lane() -> EngineSettings {
    EngineSettings { lanes: 1, ..EngineSettings::default() }
}

/// Waits for a condition that another task or process brings about.
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let waited = tokio::time::timeout(Duration::from_secs(20), async {
        while !holds().await {
            tokio::task::yield_now().await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("waited in vain until {what}"));
}

/// A runner of random cases that prints its seed. `PROPTEST_RNG_SEED` repeats a run, and
/// `PROPTEST_CASES` makes it longer.
pub fn runner(cases: u32) -> TestRunner {
    let default = Config::default();
    let rng_seed = match default.rng_seed {
        RngSeed::Random => RngSeed::Fixed(u64::from_le_bytes(fresh())),
        fixed @ RngSeed::Fixed(_) => fixed,
    };
    let unset = default.cases == 256;
    let cases = if unset { cases } else { default.cases };
    eprintln!("PROPTEST_RNG_SEED={rng_seed} PROPTEST_CASES={cases}");
    // A failing case on a database is worth minutes of search for a smaller one, not more.
    let max_shrink_iters = default.max_shrink_iters.min(300);
    let failure_persistence = None;
    TestRunner::new(Config { cases, rng_seed, failure_persistence, max_shrink_iters, ..default })
}
