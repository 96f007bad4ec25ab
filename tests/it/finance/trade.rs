//! What stands beside money: quotes, results that a verifier is asked about, and disputes.

use bursar::checkout::{
    Acceptance, Criteria, DisputeDecision, DisputeRequest, OrderLine, ResultSubmission, SkuTerms,
    Verification,
};
use bursar::finance::DriftSettings;
use bursar::ground::{BookId, ChargeId, CheckoutId, DisputeId, KeyId, QuoteId, VerifierId};
use serde_json::json;

use super::broken::{TINY, failed, lap};
use super::drift::breaks;
use super::scene::{Scene, accepted, dollars, fresh, staff};
use crate::support::postgres::run;

impl Scene {
    /// Lists a SKU whose verifier is called, and whose schema wants a URL.
    async fn list_fact(&self) {
        let verifier = VerifierId(BookId::HOUSE.0);
        sqlx::query(
            "insert into verifier (verifier_id, url, secret, created_at)
             values ($1, 'https://verifier.example', '', now())",
        )
        .bind(verifier.0)
        .execute(&self.db.service)
        .await
        .unwrap();
        let schema = json!({ "type": "object", "required": ["url"] });
        let terms = SkuTerms {
            title: "fact".to_owned(),
            unit: "fact".to_owned(),
            unit_price: dollars("0.50"),
            criteria: Criteria { schema: Some(schema), ..Criteria::default() },
            verification: Verification::Http(verifier),
            delivery_deadline_s: 3600,
            verification_deadline_s: 600,
            dispute_window_s: 86_400,
            dispute_decision_s: 86_400,
            active: true,
        };
        self.checkouts.list_sku("fact", &terms).await.unwrap();
    }

    pub async fn quote(&self, account: BookId, key: KeyId, lines: &[(&str, i64)]) -> QuoteId {
        let line = |&(sku, quantity): &(&str, i64)| OrderLine { sku: sku.to_owned(), quantity };
        let lines = lines.iter().map(line).collect();
        self.checkouts.quote(account, key, lines).await.unwrap().quote_id
    }

    pub async fn accept(&self, account: BookId, key: KeyId, quote: QuoteId) -> CheckoutId {
        let acceptance = Acceptance { spender: key, quote, max_total: None };
        let view = accepted(self.checkouts.accept(account, fresh(), acceptance).await.unwrap());
        view["checkout_id"].as_str().unwrap().parse().unwrap()
    }

    pub async fn dispute(
        &self,
        (account, key): (BookId, KeyId),
        charge: ChargeId,
        amount: Option<&str>,
    ) -> DisputeId {
        let amount = amount.map(dollars);
        let request = DisputeRequest { by: key, amount, reason: "not a page".to_owned() };
        let outcome = self.checkouts.dispute(account, charge, fresh(), request).await.unwrap();
        accepted(outcome)["dispute_id"].as_str().unwrap().parse().unwrap()
    }

    pub async fn decide(&self, dispute: DisputeId, upheld: bool) {
        let decision = DisputeDecision { by: staff(), upheld, reason: "seen".to_owned() };
        accepted(self.checkouts.decide_dispute(dispute, fresh(), decision).await.unwrap());
    }

    /// Cleo buys what she was quoted. Of her results one fails its schema, one waits for its verifier,
    /// and of her charges one goes back by a dispute, one stays, and one is disputed once more.
    pub async fn trade(&self) {
        self.list_fact().await;
        let cleo = self.sign_up("Cleo", vec![]).await;
        let (account, key) = (cleo.account, cleo.key_id);
        self.quote(account, key, &[("lead", 1)]).await;
        let quote = self.quote(account, key, &[("fact", 4), ("page", 6)]).await;
        let order = self.accept(account, key, quote).await;
        self.deliver(order, 1, "asked about", 1).await;
        let empty = ResultSubmission {
            result_id: "empty".to_owned(),
            item: 1,
            quantity: 1,
            evidence: json!({}),
        };
        accepted(self.checkouts.submit(order, fresh(), staff(), vec![empty]).await.unwrap());
        let mut charges = Vec::new();
        for name in ["returned", "kept", "doubted"] {
            self.deliver(order, 2, name, 1).await;
            charges.push(self.judge(order, name, 1).await);
        }
        let upheld = self.dispute((account, key), charges[0], None).await;
        self.decide(upheld, true).await;
        let denied = self.dispute((account, key), charges[1], Some("0.50")).await;
        self.decide(denied, false).await;
        self.reverse(charges[2], Some("0.25")).await;
        self.dispute((account, key), charges[2], Some("0.75")).await;
        self.reverse(charges[2], Some("0.25")).await;
    }
}

/// Rows that nothing leads to: no transfer and no event. A lap finds them, whole or in parts, and the
/// full check finds the same.
fn stray(sql: &'static str, expected: &'static [&'static str]) {
    run(|db| async {
        let scene = Scene::play(db).await;
        scene.trade().await;
        let checkers = [DriftSettings::default(), TINY].map(|settings| scene.checker(settings));
        for checker in &checkers {
            lap(checker).await;
            let honest = lap(checker).await;
            assert!(honest.passed(), "{honest}");
        }
        breaks(&scene, sql).await;
        let full = scene.check().await;
        assert_eq!(failed(&full).into_iter().collect::<Vec<_>>(), expected, "{full}");
        for checker in &checkers {
            lap(checker).await;
            let found = lap(checker).await;
            assert_eq!(failed(&found).into_iter().collect::<Vec<_>>(), expected, "{found}");
            sqlx::query("delete from proof_finding").execute(&scene.db.service).await.unwrap();
        }
    });
}

macro_rules! strays {
    ($($test:ident: $sql:expr => $expected:expr;)*) => {
        $(#[test]
        fn $test() {
            stray($sql, &$expected);
        })*
    };
}

strays! {
    a_hold_under_the_id_of_a_charge:
        "insert into hold (slot, book_id, hold_id, spender_id, transaction_id, amount, released, \
           draw_lots, draw_amounts, placed_at) \
         select h.slot, h.book_id, c.charge_id, h.spender_id, h.transaction_id, h.amount, h.amount, \
           h.draw_lots, h.draw_amounts, h.placed_at \
         from charge c join checkout_item i using (slot, book_id, checkout_id, item) \
         join hold h using (slot, book_id, hold_id) where c.result_id = 'mixed'"
        => ["draws_match_transfers", "holds_match_transfers", "items_match_holds"];

    a_dispute_of_no_charge:
        "insert into dispute (slot, book_id, dispute_id, charge_id, sku, amount, reason, disputed_by, \
           disputed_at, decide_by) \
         select slot, book_id, book_id, book_id, sku, amount, reason, disputed_by, disputed_at, \
           decide_by \
         from dispute where state = 'open'"
        => ["disputes_match_reversals", "events_match_acts"];

    a_question_about_no_checkout:
        "insert into verification (slot, book_id, checkout_id, result_id, verifier_id, \
           queued_at) \
         select slot, book_id, book_id, result_id, verifier_id, now() from verification"
        => ["verifications_match_results"];

    a_grant_that_nobody_booked:
        "insert into credit_grant (slot, book_id, grant_id, amount, priority, effective_at, \
           expires_at, reason, granted_by, granted_at, credited_at, lot_id) \
         select slot, book_id, book_id, amount, priority, effective_at, expires_at, reason, \
           granted_by, granted_at, credited_at, lot_id from credit_grant"
        => ["grants_match_transfers"];

    a_quote_of_no_checkout:
        "update quote set checkout_id = book_id where checkout_id is null"
        => ["quotes_match_checkouts"];

    a_quote_of_somebody_elses_checkout:
        "update quote set checkout_id = (select checkout_id from checkout \
           where checkout.book_id <> quote.book_id limit 1) where checkout_id is null"
        => ["quotes_match_checkouts"];
}
