//! What is decided from the chain, whatever the facilitator says.

use bursar::ground::TopupId;
use bursar::x402::Version;
use bursar::x402::topup::{Resolving, Ruled, Ruling, RulingError, TopupState};
use chrono::TimeDelta;
use serde_json::{Value, json};
use uuid::Uuid;

use super::buyer::Signed;
use super::front::{Act, Says};
use super::node::{Fate, Node};
use super::{Stage, VERSIONS, assert_unknown};
use crate::api::Payments;
use crate::support::postgres::{TestDatabase, run};

impl Stage {
    /// A stage whose service reads the chain that the sandbox settles on.
    async fn on_chain(database: TestDatabase) -> (Self, Node) {
        let node = Node::start(database.owner.clone()).await;
        let resolving =
            Resolving { receipt_wait: std::time::Duration::ZERO, ..Resolving::default() };
        let payments =
            Payments { rpc_url: Some(node.url.clone()), resolving, ..Payments::default() };
        let stage = Self::set_with(database, payments).await;
        node.follow(stage.api.clock.clone());
        (stage, node)
    }

    /// What a top-up shows to everybody.
    async fn shown(&self, answer: &Value) -> Value {
        let path = format!("/api/v1/topups/{}", answer["topup_id"].as_str().unwrap());
        self.api.get(&path, "").await.json(200)
    }

    /// Settles a payment past us.
    async fn settle_elsewhere(&self, signed: &Signed) {
        let terms = self.api.topups.terms(crate::api::dollars("1.00"));
        let network = crate::api::network();
        let requirements = match signed.version {
            Version::V1 => serde_json::to_value(terms.requirements_v1(network)),
            Version::V2 => serde_json::to_value(terms.requirements(network)),
        };
        let call = json!({
            "x402Version": signed.version.number(), "paymentPayload": signed.value,
            "paymentRequirements": requirements.unwrap(),
        });
        let settled = self.api.post("/sandbox/facilitator/settle", "", call).await;
        assert_eq!(settled.json(200)["success"], true, "{}", settled.body);
    }
}

#[test]
fn a_payment_on_the_chain_is_credited_whatever_the_facilitator_says() {
    run(|db| async move {
        let (stage, _) = Stage::on_chain(db).await;
        let customer = stage.api.signup(json!([])).await;
        let lies = [
            Says::Nothing,
            Says::This(500, "oops".to_owned()),
            Says::json(&json!({ "success": true, "transaction": format!("0x{}", "ab".repeat(32)),
                                "network": "eip155:84532" })),
            Says::json(&json!({ "success": false, "errorReason": "no_such_reason" })),
        ];
        for (turn, lie) in lies.into_iter().enumerate() {
            let version = VERSIONS[turn % 2];
            let signed = stage.funded(version, "1.00").await;
            stage.front.next("settle", Act::twist(lie));
            assert_unknown(&stage.pay(&signed, &customer.key, "1.00").await, version);
            let sent = stage.front.seen("settle").len();
            assert_eq!(stage.resolve().await, 1);
            let paid = stage.pay(&signed, &customer.key, "1.00").await.json(200);
            let sql = "select transaction from sandbox_settlement where nonce = $1";
            let owner = &stage.api.database.owner;
            let moved: String =
                sqlx::query_scalar(sql).bind(signed.nonce()).fetch_one(owner).await.unwrap();
            assert_eq!(paid["transaction"], moved, "the one that happened");
            assert_eq!(stage.front.seen("settle").len(), sent, "the facilitator was not asked");
        }
        stage.holds("4.00").await;
    });
}

#[test]
fn the_chain_is_looked_at_after_a_block_and_then_less_often() {
    run(|db| async move {
        let (stage, node) = Stage::on_chain(db).await;
        let pass = async |seconds: i64| {
            stage.api.clock.advance(TimeDelta::seconds(seconds));
            stage.api.topups.resolve_step().await.unwrap()
        };
        let lost = async || {
            let signed = stage.funded(Version::V2, "1.00").await;
            stage.front.next("settle", Act::twist(Says::Nothing));
            assert_unknown(&stage.pay(&signed, "", "1.00").await, Version::V2);
            signed
        };
        let signed = lost().await;
        assert_eq!(pass(3).await, 1, "well before the first pause");
        stage.pay(&signed, "", "1.00").await.json(200);
        let signed = lost().await;
        node.set_down(true);
        assert_eq!(pass(3).await, 1);
        assert_eq!(pass(3).await, 0, "it backs off");
        node.set_down(false);
        assert_eq!(pass(8).await, 1);
        stage.pay(&signed, "", "1.00").await.json(200);
        stage.holds("2.00").await;
    });
}

#[test]
fn what_a_node_says_of_its_failure_is_not_told_to_the_customer() {
    run(|db| async move {
        let (stage, node) = Stage::on_chain(db).await;
        let customer = stage.api.signup(json!([])).await;
        let signed = stage.funded(Version::V2, "1.00").await;
        node.set_down(true);
        let away = stage.pay(&signed, &customer.key, "1.00").await;
        let away = away.problem(503, "facilitator_unavailable");
        let path = format!("/api/v1/topups/{}", away["topup_id"].as_str().unwrap());
        let told = stage.api.get(&path, &customer.key).await.json(200);
        assert_eq!(told["audit"][0]["kind"], "chain");
        let reason = told["audit"][0]["detail"]["error"].as_str().unwrap();
        assert!(["node_unreachable", "node_refused"].contains(&reason), "{told}");
        assert_eq!(told["audit"][0]["detail"], json!({ "error": reason }));
        stage.holds("0").await;
    });
}

#[test]
fn a_rejection_that_the_chain_disproves_is_credited() {
    run(|db| async move {
        let (stage, _) = Stage::on_chain(db).await;
        let signed = stage.funded(Version::V2, "1.00").await;
        let refusal = json!({ "success": false, "errorReason": "insufficient_funds" });
        stage.front.next("settle", Act::twist(Says::json(&refusal)));
        stage.pay(&signed, "", "1.00").await.json(402);
        assert_eq!(stage.resolve().await, 1);
        stage.pay(&signed, "", "1.00").await.json(200);
        // And one that it does not: looked at once more when its window is over, and never again.
        let other = stage.funded(Version::V1, "1.00").await;
        stage.front.next("settle", Act::say(Says::json(&refusal)));
        stage.pay(&other, "", "1.00").await.json(402);
        assert_eq!((stage.resolve().await, stage.resolve().await), (1, 0));
        stage.api.clock.advance(TimeDelta::hours(13));
        assert_eq!((stage.resolve().await, stage.resolve().await), (1, 0));
        stage.pay(&other, "", "1.00").await.json(402);
        stage.holds("1.00").await;
    });
}

#[test]
fn what_left_no_trace_is_rejected_when_its_window_is_over_and_not_before() {
    run(|db| async move {
        let (stage, node) = Stage::on_chain(db).await;
        let signed = stage.funded(Version::V2, "1.00").await;
        let nothing = || Act::say(Says::Nothing);
        stage.front.next("settle", nothing());
        let open = assert_unknown(&stage.pay(&signed, "", "1.00").await, Version::V2);
        // A node that is away decides nothing, and nobody is asked meanwhile.
        node.set_down(true);
        stage.api.clock.advance(TimeDelta::hours(14));
        assert_eq!(stage.resolve().await, 1);
        assert_unknown(&stage.pay(&signed, "", "1.00").await, Version::V2);
        assert_eq!(stage.front.seen("settle").len(), 1);
        node.set_down(false);
        assert_eq!(stage.resolve().await, 1);
        assert_eq!(stage.front.seen("settle").len(), 1);
        let over = stage.told(&open).await;
        assert_eq!([&over["status"], &over["reason"]], ["rejected", "authorization_expired"]);
        assert_eq!(stage.pay(&signed, "", "1.00").await.json(402)["code"], "payment_rejected");
        // In its window it is sent again.
        let signed = stage.funded(Version::V1, "1.00").await;
        stage.front.next("settle", nothing());
        assert_unknown(&stage.pay(&signed, "", "1.00").await, Version::V1);
        assert_eq!(stage.resolve().await, 1);
        assert_eq!(stage.front.seen("settle").len(), 3);
        stage.pay(&signed, "", "1.00").await.json(200);
        stage.holds("1.00").await;
    });
}

#[test]
fn what_was_canceled_or_used_elsewhere_is_rejected_once_that_stays() {
    run(|db| async move {
        let (stage, node) = Stage::on_chain(db).await;
        let fates = [
            (Fate::Canceled, "authorization_canceled"),
            (Fate::Elsewhere, "authorization_used_elsewhere"),
        ];
        let mut rejected = Vec::new();
        for (fate, reason) in fates {
            let signed = stage.sign(Version::V2, "1.00").await;
            stage.fund("1.00").await;
            stage.front.next("settle", Act::say(Says::Nothing));
            let open = assert_unknown(&stage.pay(&signed, "", "1.00").await, Version::V2);
            node.decide(signed.nonce(), fate);
            node.set_above(11);
            assert_eq!(stage.resolve().await, 1);
            assert_eq!(stage.shown(&open).await["status"], "unknown", "too few confirmations");
            node.set_above(12);
            assert_eq!(stage.resolve().await, 1);
            let over = stage.told(&open).await;
            assert_eq!([&over["status"], &over["reason"]], ["rejected", reason]);
            stage.pay(&signed, "", "1.00").await.json(402);
            rejected.push(over["topup_id"].clone());
        }
        stage.holds("0").await;
        // The account is told of each by an event, once, whoever else tells at the same time.
        let topups = &stage.api.topups;
        let (one, other) = tokio::join!(topups.tell_step(), topups.tell_step());
        assert_eq!((one.unwrap(), other.unwrap()), (false, false));
        topups.tell_step().await.unwrap();
        let sql =
            "select subject_id from outbox where kind = 'topup.rejected' order by recorded_at";
        let told: Vec<Uuid> =
            sqlx::query_scalar(sql).fetch_all(&stage.api.database.owner).await.unwrap();
        let told: Vec<_> = told.into_iter().map(|id| json!(TopupId(id))).collect();
        assert_eq!(told, rejected);
    });
}

#[test]
fn what_the_chain_does_not_tell_is_parked_and_ruled_with_its_consent() {
    run(|db| async move {
        let (stage, node) = Stage::on_chain(db).await;
        let signed = stage.funded(Version::V2, "1.00").await;
        stage.front.next("settle", Act::twist(Says::Nothing));
        let open = assert_unknown(&stage.pay(&signed, "", "1.00").await, Version::V2);
        node.decide(signed.nonce(), Fate::Untold);
        assert_eq!(stage.resolve().await, 1);
        assert_eq!(stage.shown(&open).await["status"], "unknown");
        stage.api.clock.advance(TimeDelta::hours(14));
        assert_eq!(stage.resolve().await, 1);
        assert_eq!(stage.shown(&open).await["status"], "parked");
        assert_eq!(stage.pay(&signed, "", "1.00").await.json(202)["status"], "parked");
        let id = open["topup_id"].as_str().unwrap().parse().unwrap();
        let ruled = Ruled { by: "a test".to_owned(), why: "seen".to_owned() };
        let wrong = Ruling::Settled { transaction: format!("0x{}", "12".repeat(32)) };
        let refused = stage.api.topups.rule(id, &wrong, &ruled).await.unwrap_err();
        assert!(matches!(refused, RulingError::Chain(_)), "{refused}");
        let sql = "select transaction from sandbox_settlement";
        let owner = &stage.api.database.owner;
        let transaction: String = sqlx::query_scalar(sql).fetch_one(owner).await.unwrap();
        let right = Ruling::Settled { transaction };
        let record = stage.api.topups.rule(id, &right, &ruled).await.unwrap();
        assert_eq!(record.state, TopupState::Credited);
        let again = stage.api.topups.rule(id, &right, &ruled).await.unwrap_err();
        assert!(matches!(again, RulingError::State { state: "credited", .. }), "{again}");
        stage.pay(&signed, "", "1.00").await.json(200);
        stage.holds("1.00").await;
    });
}

#[test]
fn a_payment_that_somebody_else_brought_is_the_wallets_only() {
    run(|db| async move {
        let (stage, _) = Stage::on_chain(db).await;
        let thief = stage.api.signup(json!([])).await;
        // One that is shown after it was used, and one that was refused before.
        let shown = stage.funded(Version::V2, "1.00").await;
        stage.settle_elsewhere(&shown).await;
        let open = assert_unknown(&stage.pay(&shown, &thief.key, "1.00").await, Version::V2);
        assert_eq!(open["reason"], "used_before");
        let refused = stage.funded(Version::V1, "1.00").await;
        stage.front.close().await;
        stage.pay(&refused, &thief.key, "1.00").await.problem(503, "facilitator_unavailable");
        stage.front.reopen().await;
        stage.settle_elsewhere(&refused).await;
        while stage.resolve().await > 0 {}
        assert!(stage.front.seen("settle").is_empty());
        for signed in [&shown, &refused] {
            let paid = stage.pay(signed, "", "1.00").await.json(200);
            assert_eq!(paid["status"], "credited");
            let stolen = stage.pay(signed, &thief.key, "1.00").await;
            stolen.problem(409, "payment_bound_elsewhere");
        }
        assert_eq!(stage.paid_credits(&thief.key).await, "0.00");
        assert_eq!(stage.told(&open).await["reason"], "used_before");
        stage.holds("2.00").await;
    });
}
