//! The order of the checks: decode, key, record, and only then the request's own terms.

use std::sync::Arc;

use bursar::x402::{Address, header};
use chrono::TimeDelta;
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::PgPool;

use super::{Stage, TOPUP, VERSIONS, receipt};
use crate::api::{Answer, Api, Payments, Setup, dollars};
use crate::support::postgres::run;

async fn claims(pool: &PgPool) -> i64 {
    let sql = "select count(*) from claim where kind in ('payment', 'payment_key')";
    sqlx::query_scalar(sql).fetch_one(pool).await.unwrap()
}

impl Stage {
    /// Asserts that no payment was claimed and none was shown to the facilitator.
    async fn is_untouched(&self) {
        assert_eq!(claims(&self.api.database.owner).await, 0);
        assert!(self.front.seen("verify").is_empty() && self.front.seen("settle").is_empty());
    }
}

#[test]
fn a_header_that_cannot_be_read_comes_first() {
    run(|db| async move {
        let stage = Stage::set(db).await;
        let good = stage.sign(VERSIONS[0], "1.00").await;
        let v1 = stage.sign(VERSIONS[1], "1.00").await;
        let mut cases = vec![
            ("PAYMENT-SIGNATURE", "%%%".to_owned()),
            ("PAYMENT-SIGNATURE", String::new()),
            ("PAYMENT-SIGNATURE", header::encode(&json!([]))),
            ("PAYMENT-SIGNATURE", v1.header().1),
            ("X-PAYMENT", good.header().1),
            ("X-PAYMENT", "e30".to_owned()),
        ];
        let broken: [fn(&mut Value); 5] = [
            |payment| payment["payload"]["signature"] = json!("0x"),
            |payment| payment["payload"]["authorization"]["nonce"] = json!("0x11"),
            |payment| payment["accepted"]["network"] = json!("eip155:999999"),
            |payment| payment["accepted"]["scheme"] = json!("upto"),
            |payment| payment["Payload"] = json!({}),
        ];
        cases.extend(broken.map(|change| good.with(change).header()));
        for (name, value) in cases {
            // Before the key and the body are looked at.
            let request = stage.api.request(Method::POST, TOPUP, "nonsense").body("nonsense");
            let answer = stage.api.send(request.header(name, &value)).await;
            let problem = answer.problem(400, "payment_malformed");
            assert!(problem["reason"].is_string(), "{problem}");
        }
        stage.is_untouched().await;
        stage.holds("0").await;
    });
}

#[test]
fn a_key_that_is_not_good_leaves_the_payment_usable() {
    run(|db| async move {
        let stage = Stage::set(db).await;
        let customer = stage.api.signup(json!([])).await;
        stage.api.list("lead", "1.00").await;
        let fulfiller = stage.api.staff("fulfiller", &["lead"]).await;
        let verifier = stage.api.staff("verifier", &["lead"]).await;
        for version in VERSIONS {
            let signed = stage.funded(version, "1.00").await;
            let before = stage.front.seen("verify").len();
            let mistyped = format!("{}x", customer.key);
            for key in ["nonsense", mistyped.as_str(), "bur_test_0000"] {
                stage.pay(&signed, key, "1.00").await.problem(401, "unauthenticated");
            }
            for key in [&stage.api.operator, &fulfiller, &verifier] {
                stage.pay(&signed, key, "1.00").await.problem(403, "scope_missing");
            }
            assert_eq!(stage.front.seen("verify").len(), before);
            assert_eq!(
                stage.pay(&signed, &customer.key, "1.00").await.json(200)["credited"],
                "1.00"
            );
            // Not even a known payment is shown to a bad key.
            stage.pay(&signed, "nonsense", "1.00").await.problem(401, "unauthenticated");
            stage.pay(&signed, &verifier, "1.00").await.problem(403, "scope_missing");
        }
        stage.holds("2.00").await;
    });
}

#[test]
fn an_unseen_payment_is_judged_before_anything_is_sent() {
    run(|db| async move {
        let stage = Stage::set(db).await;
        for version in VERSIONS {
            let signed = stage.sign(version, "1.00").await;
            let five = r#"{"amount":"5.00"}"#;
            let mismatch = stage.send(&signed, "", five, &[]).await;
            let problem = mismatch.problem(422, "payment_mismatch");
            assert!(problem["reason"].is_string(), "{problem}");
            for (body, status, code) in [
                (r#"{"amount":1}"#, 422, "validation_failed"),
                ("nonsense", 400, "malformed_request"),
                (r#"{"amount":"0"}"#, 422, "topup_below_minimum"),
                (r#"{"amount":"2000"}"#, 422, "topup_above_maximum"),
            ] {
                stage.send(&signed, "", body, &[]).await.problem(status, code);
            }
            let bad_key = [("idempotency-key", "two words")];
            let answer = stage.send(&signed, "", "", &bad_key).await;
            answer.problem(400, "idempotency_key_malformed");
            for (field, value, code) in [
                ("to", json!(stage.buyer.address()), "payment_mismatch"),
                ("value", json!("999999"), "payment_mismatch"),
                ("value", json!("1000001"), "payment_mismatch"),
                ("validBefore", json!("1"), "payment_expired"),
                ("validBefore", json!("99999999999"), "payment_expired"),
                ("validAfter", json!("99999999999"), "payment_expired"),
            ] {
                let changed = signed.with_signed(field, value);
                stage.pay(&changed, "", "1.00").await.problem(422, code);
            }
        }
        stage.is_untouched().await;
        // Whether a contract wallet signed it only the facilitator can tell.
        let forged = stage.sign(VERSIONS[0], "1.00").await;
        let forged = forged.with_signed("nonce", json!(format!("0x{}", "11".repeat(32))));
        let refused = stage.pay(&forged, "", "1.00").await.problem(422, "payment_invalid");
        assert_eq!(refused["reason"], "invalid_exact_evm_signature");
        assert_eq!(claims(&stage.api.database.owner).await, 0);
        assert!(stage.front.seen("settle").is_empty());
        stage.holds("0").await;
    });
}

#[test]
fn a_known_payment_is_answered_from_its_record() {
    run(|db| async move {
        let stage = Stage::set(db).await;
        let customer = stage.api.signup(json!([])).await;
        // Another replica, with other settings.
        let payments = Payments {
            pay_to: Address::new([8; 20]),
            min_amount: dollars("50"),
            ..Payments::default()
        };
        let setup = Setup { payments, ..Setup::default() };
        let other = Api::start_on(Arc::clone(&stage.api.database), setup).await;
        for version in VERSIONS {
            let signed = stage.funded(version, "1.00").await;
            let first = stage.pay(&signed, &customer.key, "1.00").await.json(200);
            let same = |answer: Answer| {
                let body = answer.json(200);
                assert_eq!(
                    (&body["topup_id"], &body["credited"]),
                    (&first["topup_id"], &json!("1.00"))
                );
                assert!(receipt(&answer, version).success);
            };
            let large = "x".repeat(70_000);
            for body in ["", "nonsense", r#"{"amount":"7"}"#, r#"{"amount":"0"}"#, &large] {
                same(stage.send(&signed, &customer.key, body, &[]).await);
            }
            let bad_key = [("idempotency-key", "two words")];
            same(stage.send(&signed, &customer.key, "", &bad_key).await);
            let (name, value) = signed.header();
            let request = other.request(Method::POST, TOPUP, &customer.key);
            same(other.send(request.header(name, value)).await);
            stage.api.clock.advance(TimeDelta::days(2));
            same(stage.pay(&signed, &customer.key, "1.00").await);
        }
        assert_eq!((stage.front.seen("verify").len(), stage.front.seen("settle").len()), (2, 2));
        stage.holds("2.00").await;
    });
}
