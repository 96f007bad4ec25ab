//! Faults on request: what an agent's developer can rehearse, and that each ends well.

use std::time::Duration;

use bursar::x402::Version;
use chrono::TimeDelta;
use serde_json::{Value, json};

use super::{Stage, VERSIONS, assert_unknown, receipt};
use crate::api::Payments;
use crate::support::postgres::run;

impl Stage {
    /// Has the buyer's next payment meet a fault, and returns how many wait.
    async fn arm(&self, fault: Value) -> i64 {
        let mut body = fault;
        body["address"] = json!(self.buyer.address());
        let armed = self.api.post("/sandbox/faults", "", body).await.json(200);
        armed["waiting"].as_i64().unwrap()
    }
}

#[test]
fn a_pending_settlement_is_credited_when_its_time_is_over() {
    run(|db| async move {
        let stage = Stage::set(db).await;
        for version in VERSIONS {
            assert_eq!(stage.arm(json!({"fault": "pending", "seconds": 120})).await, 1);
            let signed = stage.funded(version, "1.00").await;
            let answer = stage.pay(&signed, "", "1.00").await;
            let body = assert_unknown(&answer, version);
            assert_eq!(body["reason"], "settlement_pending");
            let transaction = receipt(&answer, version).transaction;
            assert!(transaction.starts_with("0x"), "it is named: {transaction}");
            // Other payments of the same wallet go through.
            let other = stage.funded(version, "1.00").await;
            stage.pay(&other, "", "1.00").await.json(200);
            stage.api.clock.advance(TimeDelta::seconds(60));
            stage.api.topups.resolve_step().await.unwrap();
            assert_unknown(&stage.pay(&signed, "", "1.00").await, version);
            assert_eq!(stage.resolve().await, 1);
            let paid = stage.pay(&signed, "", "1.00").await.json(200);
            assert_eq!(paid["transaction"], transaction.as_str());
        }
        stage.holds("4.00").await;
    });
}

#[test]
fn a_lost_answer_is_found_again() {
    run(|db| async move {
        let stage = Stage::set(db).await;
        for version in VERSIONS {
            stage.arm(json!({"fault": "lost"})).await;
            let signed = stage.funded(version, "1.00").await;
            let body = assert_unknown(&stage.pay(&signed, "", "1.00").await, version);
            assert_eq!(body["reason"], "connection_lost");
            assert_eq!(stage.resolve().await, 1);
            stage.pay(&signed, "", "1.00").await.json(200);
        }
        stage.holds("2.00").await;
    });
}

#[test]
fn a_refusal_takes_nothing_and_the_next_payment_goes_through() {
    run(|db| async move {
        let stage = Stage::set(db).await;
        for version in VERSIONS {
            stage.arm(json!({"fault": "refused"})).await;
            let signed = stage.funded(version, "1.00").await;
            for _ in 0..2 {
                let refused = stage.pay(&signed, "", "1.00").await.json(402);
                assert_eq!(
                    [&refused["code"], &refused["error"]],
                    ["payment_rejected", "insufficient_funds"]
                );
            }
            let fresh = stage.sign(version, "1.00").await;
            stage.pay(&fresh, "", "1.00").await.json(200);
        }
        stage.holds("2.00").await;
    });
}

#[test]
fn a_slow_answer_is_waited_for_and_one_that_is_too_slow_is_found_again() {
    run(|db| async move {
        let payments = Payments { settle_timeout: Duration::from_secs(2), ..Payments::default() };
        let stage = Stage::set_with(db, payments).await;
        for version in VERSIONS {
            stage.arm(json!({"fault": "slow", "seconds": 1})).await;
            let signed = stage.funded(version, "1.00").await;
            stage.pay(&signed, "", "1.00").await.json(200);
            assert_eq!(stage.arm(json!({"fault": "slow", "seconds": 3})).await, 1);
            let signed = stage.funded(version, "1.00").await;
            let body = assert_unknown(&stage.pay(&signed, "", "1.00").await, version);
            assert_eq!(body["reason"], "timeout");
            assert_eq!(stage.resolve().await, 1);
            stage.pay(&signed, "", "1.00").await.json(200);
        }
        stage.holds("4.00").await;
    });
}

#[test]
fn faults_wait_in_line_for_one_wallet_and_not_for_ever() {
    run(|db| async move {
        let stage = Stage::set(db).await;
        for count in 1..=10 {
            let fault = if count == 1 { "lost" } else { "refused" };
            assert_eq!(stage.arm(json!({ "fault": fault })).await, count);
        }
        let eleventh = json!({ "address": stage.buyer.address(), "fault": "slow" });
        let refused = stage.api.post("/sandbox/faults", "", eleventh).await;
        assert_eq!(refused.problem(422, "validation_failed")["field"], "address");
        // Somebody else's payments meet none.
        let other = super::Buyer::new(8);
        super::fund(&stage.api, &other, "1.00").await;
        let signed = stage.sign_by(&other, Version::V2, "1.00").await;
        stage.pay(&signed, "", "1.00").await.json(200);
        // The first in line is met by one payment and stays with it.
        let signed = stage.funded(Version::V2, "1.00").await;
        assert_unknown(&stage.pay(&signed, "", "1.00").await, Version::V2);
        assert_eq!(stage.resolve().await, 1);
        stage.pay(&signed, "", "1.00").await.json(200);
        let signed = stage.funded(Version::V2, "1.00").await;
        stage.pay(&signed, "", "1.00").await.json(402);
        assert_eq!(stage.arm(json!({ "fault": "none" })).await, 0);
        let signed = stage.sign(Version::V2, "1.00").await;
        stage.pay(&signed, "", "1.00").await.json(200);
        // One that nobody meets is let go of.
        assert_eq!(stage.arm(json!({ "fault": "refused" })).await, 1);
        stage.api.clock.advance(TimeDelta::minutes(61));
        let signed = stage.funded(Version::V2, "1.00").await;
        stage.pay(&signed, "", "1.00").await.json(200);
        stage.holds("4.00").await;
    });
}

#[test]
fn what_is_no_fault_is_named() {
    run(|db| async move {
        let stage = Stage::set(db).await;
        let address = stage.buyer.address();
        for (body, field) in [
            (json!({"address": address, "fault": "fire"}), "fault"),
            (json!({"address": "0x1", "fault": "lost"}), "address"),
            (json!({"address": address, "fault": "slow", "seconds": 0}), "seconds"),
            (json!({"address": address, "fault": "pending", "seconds": 121}), "seconds"),
            (json!({"address": address, "fault": "lost", "seconds": 5}), "seconds"),
            (json!({"address": address, "fault": "lost", "network": "eip155:1"}), "network"),
        ] {
            let answer = stage.api.post("/sandbox/faults", "", body).await;
            assert_eq!(answer.problem(422, "validation_failed")["field"], field);
        }
    });
}
