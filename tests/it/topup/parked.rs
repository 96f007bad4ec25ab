//! What nobody tells of: parked, in plain sight, and decided by the operator.

use bursar::x402::Version;
use bursar::x402::topup::{Ruled, Ruling, RulingError, TopupState};
use chrono::TimeDelta;
use serde_json::{Value, json};

use super::front::{Act, Says};
use super::{Stage, assert_unknown};
use crate::support::postgres::run;

fn ruled() -> Ruled {
    Ruled { by: "user id 7".to_owned(), why: "the explorer shows it".to_owned() }
}

impl Stage {
    /// A payment that is parked: whether it moved, nobody says.
    async fn parked(&self, act: Act) -> Value {
        let signed = self.funded(Version::V2, "1.00").await;
        self.front.next("settle", act);
        let open = assert_unknown(&self.pay(&signed, "", "1.00").await, Version::V2);
        self.front.next("settle", Act::say(Says::Nothing));
        self.api.clock.advance(TimeDelta::hours(12));
        assert_eq!(self.resolve().await, 1);
        assert_unknown(&self.pay(&signed, "", "1.00").await, Version::V2);
        self.front.next("settle", Act::say(Says::Nothing));
        self.api.clock.advance(TimeDelta::hours(1));
        assert_eq!(self.resolve().await, 1);
        let answer = self.pay(&signed, "", "1.00").await;
        let body = answer.json(202);
        assert_eq!(body["status"], "parked", "{body}");
        assert!(answer.header("retry-after").is_some());
        assert_eq!(answer.header("payment-required"), None);
        assert_eq!(self.resolve().await, 0, "nobody is asked any more");
        assert_eq!(body["topup_id"], open["topup_id"]);
        body
    }
}

#[test]
fn what_nobody_tells_of_is_parked_and_only_the_operator_decides() {
    run(|db| async move {
        let stage = Stage::set(db).await;
        let topups = &stage.api.topups;
        let id = |body: &Value| body["topup_id"].as_str().unwrap().parse().unwrap();
        let moved = stage.parked(Act::twist(Says::Nothing)).await;
        let lost = stage.parked(Act::say(Says::Nothing)).await;
        let standing = topups.standing().await.unwrap();
        assert!(standing.by_state.contains(&(TopupState::Parked, 2)), "{standing:?}");
        assert!(standing.oldest_parked_s > 13 * 3600, "{standing:?}");
        assert_eq!(topups.listed(true).await.unwrap().len(), 2);

        let garbage = Ruling::Settled { transaction: "0x12".to_owned() };
        let refused = topups.rule(id(&moved), &garbage, &ruled()).await.unwrap_err();
        assert!(matches!(refused, RulingError::Transaction(_)), "{refused}");
        let sql = "select transaction from sandbox_settlement";
        let owner = &stage.api.database.owner;
        let transaction: String = sqlx::query_scalar(sql).fetch_one(owner).await.unwrap();
        let settled = Ruling::Settled { transaction };
        let record = topups.rule(id(&moved), &settled, &ruled()).await.unwrap();
        assert_eq!(record.state, TopupState::Credited);
        let record = topups.rule(id(&lost), &Ruling::Rejected, &ruled()).await.unwrap();
        assert_eq!(record.state, TopupState::Rejected);

        // Who said so, and why, is told to the operator and the credited account.
        for (body, kind) in [(&moved, "settled"), (&lost, "rejected")] {
            let path = format!("/api/v1/topups/{}", body["topup_id"].as_str().unwrap());
            let told = stage.api.get(&path, &stage.api.operator).await.json(200);
            let audit = told["audit"].as_array().unwrap();
            let entry = audit.iter().find(|entry| entry["kind"] == kind).unwrap();
            assert_eq!(entry["detail"]["by"], "user id 7");
            assert_eq!(entry["detail"]["why"], "the explorer shows it");
            assert!(audit.iter().any(|entry| entry["kind"] == "parked"), "{told}");
        }
        // Nothing is decided twice, and without a chain nothing is taken back.
        for (body, ruling) in
            [(&moved, Ruling::Rejected), (&lost, settled.clone()), (&lost, Ruling::Rejected)]
        {
            let refused = topups.rule(id(body), &ruling, &ruled()).await.unwrap_err();
            assert!(matches!(refused, RulingError::State { .. }), "{refused}");
        }
        stage.holds("1.00").await;
    });
}

#[test]
fn what_is_still_unknown_is_not_the_operators_to_decide() {
    run(|db| async move {
        let stage = Stage::set(db).await;
        let signed = stage.funded(Version::V1, "1.00").await;
        stage.front.next("settle", Act::twist(Says::Nothing));
        let open = assert_unknown(&stage.pay(&signed, "", "1.00").await, Version::V1);
        let id = open["topup_id"].as_str().unwrap().parse().unwrap();
        let settled = Ruling::Settled { transaction: format!("0x{}", "ab".repeat(32)) };
        for ruling in [Ruling::Rejected, settled] {
            let refused = stage.api.topups.rule(id, &ruling, &ruled()).await.unwrap_err();
            assert!(matches!(refused, RulingError::State { state: "unknown", .. }), "{refused}");
        }
        assert_eq!(stage.resolve().await, 1);
        stage.pay(&signed, "", "1.00").await.json(200);
        stage.holds("1.00").await;
    });
}

#[test]
fn a_worker_that_comes_back_late_writes_over_nothing() {
    run(|db| async move {
        let stage = Stage::set(db).await;
        let signed = stage.funded(Version::V2, "1.00").await;
        // The first attempt hangs past its lease, and is to be told a refusal in the end.
        stage.front.next(
            "settle",
            Act::hold_and_say(Says::json(
                &json!({ "success": false, "errorReason": "insufficient_funds" }),
            )),
        );
        let first = stage.pay(&signed, "", "1.00");
        let meanwhile = async {
            stage.front.arrived("settle", 1).await;
            // The repetition is not heard either: the outcome is open.
            stage.front.next("settle", Act::say(Says::Nothing));
            assert_eq!(stage.resolve().await, 1);
            stage.front.release();
        };
        let (answer, ()) = tokio::join!(first, meanwhile);
        assert_unknown(&answer, Version::V2);
        stage.api.topups.finish().await;
        assert_unknown(&stage.pay(&signed, "", "1.00").await, Version::V2);
        let id = answer.json(202)["topup_id"].as_str().unwrap().parse().unwrap();
        let audit = stage.api.topups.audit(id).await.unwrap();
        let heard: Vec<_> = audit.iter().filter(|entry| entry.kind == "settle").collect();
        assert_eq!(heard.len(), 2, "what it heard is on record all the same: {audit:?}");
        assert_eq!(stage.resolve().await, 1);
        stage.pay(&signed, "", "1.00").await.json(200);
        stage.holds("1.00").await;
    });
}

#[test]
fn two_replicas_never_work_on_one_at_once() {
    run(|db| async move {
        let stage = Stage::set(db).await;
        let setup = crate::api::Setup {
            payments: crate::api::Payments {
                facilitator_url: Some(stage.front.url.clone()),
                ..Default::default()
            },
            ..Default::default()
        };
        let other =
            crate::api::Api::start_on(std::sync::Arc::clone(&stage.api.database), setup).await;
        for _ in 0..6 {
            let signed = stage.funded(Version::V2, "1.00").await;
            stage.front.next("settle", Act::say(Says::Nothing));
            assert_unknown(&stage.pay(&signed, "", "1.00").await, Version::V2);
        }
        stage.api.clock.advance(TimeDelta::minutes(11));
        other.clock.advance(TimeDelta::minutes(11));
        let (one, two) = tokio::join!(stage.api.topups.resolve_step(), other.topups.resolve_step());
        assert_eq!(one.unwrap() + two.unwrap(), 6);
        assert_eq!(stage.front.seen("settle").len(), 12, "each was asked for once");
        stage.holds("6.00").await;
    });
}
