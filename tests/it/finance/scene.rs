//! A small history with everything in it that can happen to money, played through the engine.

use std::sync::Arc;
use std::time::Duration;

use bursar::accounts::{Accounts, CapSetting, NewKey, SignedUp, SignupSettings};
use bursar::checkout::{
    Checkouts, Criteria, Order, OrderLine, ResultSubmission, ReversalRequest, SkuTerms, Staff,
    Verdict, Verification,
};
use bursar::db::{checker_pool, report_pool, service_pool};
use bursar::finance::{CheckReport, DriftChecker, DriftSettings, Finance};
use bursar::ground::{
    Amount, BookId, ChargeId, CheckoutId, Clock, Entropy, KeyId, Mode, ShiftedClock, SystemEntropy,
    TopupId,
};
use bursar::ledger::{
    Annex, Annexes, Command, CommandIdentity, Decision, Desk, Engine, EngineSettings, Fault,
    Outcome, Span, Wants,
};
use chrono::TimeDelta;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use sqlx::PgConnection;

use crate::support::postgres::TestDatabase;

/// A result id that a spreadsheet would take for a formula, with everything that CSV must quote.
pub const FORMULA: &str = "=1+1,\"x\"\nend";

/// The name the sandbox goes by.
const FACILITATOR: &str = "http://127.0.0.1/sandbox/facilitator";

pub fn dollars(text: &str) -> Amount {
    text.parse().unwrap()
}

/// Books with a history, and everything that made it.
pub struct Scene {
    pub db: TestDatabase,
    pub finance: Finance,
    pub ada: BookId,
    clock: Arc<ShiftedClock>,
    pub engine: Engine,
    accounts: Accounts,
    pub checkouts: Checkouts,
}

/// The top-ups that a batch credits.
#[derive(Default)]
struct Credited(Vec<uuid::Uuid>);

impl Annex for Credited {
    fn read<'a>(&'a mut self, _: &'a mut PgConnection) -> BoxFuture<'a, Result<(), sqlx::Error>> {
        async { Ok(()) }.boxed()
    }

    fn write<'a>(&'a mut self, tx: &'a mut PgConnection) -> BoxFuture<'a, Result<(), sqlx::Error>> {
        let credited = "update topup set state = 'credited', credited_at = now()
                        where topup_id = any($1)";
        async move { sqlx::query(credited).bind(&self.0).execute(tx).await.map(|_| ()) }.boxed()
    }

    fn changes(&self) -> u64 {
        u64::try_from(self.0.len()).unwrap()
    }
}

/// Credits a payment, as the top-ups' own command does.
struct Credit {
    account: BookId,
    topup: TopupId,
    amount: Amount,
}

impl Command for Credit {
    fn book(&self) -> BookId {
        self.account
    }

    fn identity(&self) -> CommandIdentity {
        CommandIdentity::of_effect(&format!("topup:{}:credit", self.topup))
    }

    fn want(&self, _: &mut Wants, _: &mut Annexes) {}

    fn decide(&self, desk: &mut Desk<'_>) -> Result<Decision, Fault> {
        let at = desk.book.now();
        desk.annexes.of::<Credited>().0.push(self.topup.0);
        desk.book.top_up(desk.entropy, self.topup.0, self.amount, at)?;
        desk.book.emit("topup.credited", self.topup.0);
        Ok(Decision::accept(&json!({})))
    }
}

pub fn staff() -> Staff {
    Staff { key: KeyId(bursar::ground::BookId::HOUSE.0), skus: None }
}

/// A fresh identity: nothing in the scene is sent twice.
pub fn fresh() -> CommandIdentity {
    let bytes: [u8; 8] = {
        let mut bytes = [0; 8];
        SystemEntropy.fill(&mut bytes);
        bytes
    };
    CommandIdentity::of_effect(&hex::encode(bytes))
}

/// The answer to a command that was carried out.
pub fn accepted(outcome: Outcome) -> Value {
    assert!(outcome.accepted, "{}", outcome.body);
    serde_json::from_str(&outcome.body).unwrap()
}

impl Scene {
    /// Nobody and nothing yet, except two SKUs for sale.
    pub async fn empty(db: TestDatabase) -> Self {
        let pool = service_pool(db.service_options(), 4);
        let clock = Arc::new(ShiftedClock::default());
        let entropy = Arc::new(SystemEntropy);
        let settings = EngineSettings::default();
        let engine = Engine::start(pool.clone(), clock.clone(), entropy.clone(), settings);
        let signup = SignupSettings {
            grant: dollars("25"),
            grant_budget_per_day: dollars("1000"),
            grant_days: 90,
            signups_per_hour: 100,
            challenge_seconds: 300,
            challenges_per_hour: 100,
        };
        let accounts = Accounts::new(
            pool.clone(),
            engine.clone(),
            clock.clone(),
            entropy.clone(),
            Mode::Test,
            signup,
            None,
        );
        let checkouts = Checkouts::new(pool, engine.clone(), clock.clone(), entropy);
        for (sku, price) in [("lead", "2.00"), ("page", "1.50")] {
            let terms = SkuTerms {
                title: sku.to_owned(),
                unit: sku.to_owned(),
                unit_price: dollars(price),
                criteria: Criteria::default(),
                verification: Verification::Push,
                delivery_deadline_s: 3600,
                verification_deadline_s: 600,
                dispute_window_s: 86_400,
                dispute_decision_s: 86_400,
                active: true,
            };
            checkouts.list_sku(sku, &terms).await.unwrap();
        }
        let finance = Finance::new(report_pool(db.service_options(), 2));
        Self { db, finance, ada: BookId::HOUSE, clock, engine, accounts, checkouts }
    }

    /// Plays the history. Ada has caps, two lots of her own money, and four checkouts; Bob has one.
    pub async fn play(db: TestDatabase) -> Self {
        let mut scene = Self::empty(db).await;
        let caps = vec![
            CapSetting { span: Span::Day, limit: dollars("100") },
            CapSetting { span: Span::Total, limit: dollars("500") },
        ];
        let ada = scene.sign_up("Ada", caps).await;
        scene.ada = ada.account;
        scene.top_up(ada.account, "40.00").await;
        let bot = NewKey::customer(scene.accounts.fresh_key_id(ada.account), "bot");
        let monthly = vec![CapSetting { span: Span::Month, limit: dollars("60") }];
        let bot = scene.accounts.issue_key(ada.account, bot, monthly).await.unwrap();

        // Promotional credits first: 25.00 of them, then 5.00 of her own in the third item.
        let first = [("lead", 5), ("page", 8), ("lead", 4)];
        let first = scene.open(ada.account, ada.key_id, &first).await;
        scene.deliver(first, 1, FORMULA, 5).await;
        scene.judge(first, FORMULA, 3).await;
        scene.deliver(first, 2, "rejected", 8).await;
        scene.judge(first, "rejected", 0).await;
        scene.deliver(first, 3, "mixed", 2).await;
        scene.deliver(first, 3, "late failure", 1).await;
        scene.judge(first, "mixed", 2).await;
        let charge = scene.judge(first, "late failure", 1).await;
        scene.reverse(charge, Some("0.50")).await;
        scene.reverse(charge, None).await;

        // One part of the next is canceled, and one runs into its deadline.
        let second = scene.open(ada.account, bot.key_id, &[("lead", 6)]).await;
        scene.deliver(second, 1, "never judged", 2).await;
        scene.cancel(ada.account, second).await;
        let bob = scene.sign_up("Bob", vec![]).await;
        scene.open(bob.account, bob.key_id, &[("lead", 3)]).await;

        // What is released after the promotional lots have expired goes into their successors.
        scene.clock.advance(TimeDelta::days(91));
        let sweeper = scene.checkouts.sweeper();
        assert_eq!(sweeper.step().await.unwrap(), 3, "two deliveries and a verdict are overdue");

        scene.top_up(ada.account, "15.00").await;
        let third = scene.open(ada.account, bot.key_id, &[("page", 10), ("lead", 8)]).await;
        scene.deliver(third, 1, "part", 4).await;
        let charge = scene.judge(third, "part", 4).await;
        scene.reverse(charge, Some("1.00")).await;
        scene.deliver(third, 1, "waiting", 3).await;
        scene.deliver(third, 2, "accepted in part", 5).await;
        scene.judge(third, "accepted in part", 4).await;
        scene
    }

    /// The incremental checker. It rests between no two laps.
    pub fn checker(&self, settings: DriftSettings) -> DriftChecker {
        let settings = DriftSettings { lap_every: Duration::ZERO, ..settings };
        DriftChecker::new(checker_pool(self.db.service_options()), settings)
    }

    /// Deletes everything that the incremental checker knows.
    pub async fn forget_proofs(&self) {
        for table in ["proof_book", "proof_lot", "proof_spent", "proof_stray", "proof_finding"] {
            let sql = sqlx::AssertSqlSafe(format!("delete from {table}"));
            sqlx::query(sql).execute(&self.db.service).await.unwrap();
        }
    }

    pub async fn check(&self) -> CheckReport {
        self.finance.check().await.unwrap()
    }

    pub async fn sign_up(&self, name: &str, caps: Vec<CapSetting>) -> SignedUp {
        self.accounts.sign_up("192.0.2.1", name, caps).await.unwrap()
    }

    /// A payment: settled by the sandbox, recorded, credited.
    pub async fn top_up(&self, account: BookId, amount: &str) -> TopupId {
        let topup = TopupId::mint(&SystemEntropy, self.clock.now(), account.slot());
        let amount = dollars(amount);
        let nonce = format!("0x{}", topup.0.simple());
        let transaction = format!("0xsettled{}", topup.0.simple());
        sqlx::query(
            "insert into sandbox_settlement
               (network, asset, payer, nonce, pay_to, amount, digest, transaction, settled_at)
             values ('eip155:84532', '0xa', '0xb', $1, '0xc', $2, '', $3, now())",
        )
        .bind(&nonce)
        .bind(amount.micros())
        .bind(&transaction)
        .execute(&self.db.service)
        .await
        .unwrap();
        sqlx::query(
            "insert into topup (slot, book_id, topup_id, state, amount, x402_version, network,
               asset, payer, nonce, pay_to, valid_before, facilitator_url, payload, requirements,
               keyed, settlement_tx, created_at, updated_at)
             values ($1, $2, $3, 'settled', $4, 2, 'eip155:84532', '0xa', '0xb', $5, '0xc', 0, $6,
               '{}', '{}', true, $7, now(), now())",
        )
        .bind(account.slot().sql())
        .bind(account.0)
        .bind(topup.0)
        .bind(amount.micros())
        .bind(nonce)
        .bind(FACILITATOR)
        .bind(transaction)
        .execute(&self.db.owner)
        .await
        .unwrap();
        let credit = Arc::new(Credit { account, topup, amount });
        accepted(self.engine.submit(credit).await.unwrap());
        topup
    }

    pub async fn open(&self, account: BookId, key: KeyId, lines: &[(&str, i64)]) -> CheckoutId {
        let line = |&(sku, quantity): &(&str, i64)| OrderLine { sku: sku.to_owned(), quantity };
        let lines = lines.iter().map(line).collect();
        let order = Order { spender: key, lines, max_total: dollars("50") };
        let view = accepted(self.checkouts.open(account, fresh(), order).await.unwrap());
        view["checkout_id"].as_str().unwrap().parse().unwrap()
    }

    pub async fn deliver(&self, checkout: CheckoutId, item: i16, result: &str, quantity: i64) {
        let submission = ResultSubmission {
            result_id: result.to_owned(),
            item,
            quantity,
            evidence: json!({ "url": "https://example.org" }),
        };
        accepted(
            self.checkouts.submit(checkout, fresh(), staff(), vec![submission]).await.unwrap(),
        );
    }

    pub async fn cancel(&self, account: BookId, checkout: CheckoutId) {
        accepted(self.checkouts.cancel(account, checkout, fresh()).await.unwrap());
    }

    /// Judges a result and returns its charge; of a rejected one an id that means nothing.
    pub async fn judge(&self, checkout: CheckoutId, result: &str, units: i64) -> ChargeId {
        let verdict = Verdict {
            by: staff(),
            criteria_version: None,
            accepted: Some(units),
            reason: None,
            checks: vec![],
        };
        let outcome = self.checkouts.judge(checkout, result, fresh(), verdict).await.unwrap();
        let view = accepted(outcome);
        view["charge_id"].as_str().map_or(ChargeId(BookId::HOUSE.0), |id| id.parse().unwrap())
    }

    pub async fn reverse(&self, charge: ChargeId, amount: Option<&str>) {
        let request = ReversalRequest {
            by: staff(),
            amount: amount.map(dollars),
            reason: "late failure".to_owned(),
        };
        accepted(self.checkouts.reverse(charge, fresh(), request).await.unwrap());
    }
}
