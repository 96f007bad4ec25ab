//! A facilitator that refuses, is away, or answers what nobody can read.

use bursar::x402::{Version, header};
use serde_json::{Value, json};

use super::front::{Act, Says};
use super::{Stage, TOPUP, VERSIONS, assert_unknown, network_name, receipt};
use crate::api::Answer;
use crate::support::postgres::run;
use bursar::ground::Clock;

/// A transaction that never happened.
fn invented() -> String {
    format!("0x{}", "ab".repeat(32))
}

/// What a facilitator of that version says of a settlement.
fn settled(version: Version, payer: &str, transaction: &str) -> Value {
    json!({
        "success": true, "transaction": transaction, "network": network_name(version),
        "payer": payer,
    })
}

fn failed(version: Version, reason: &str, transaction: &str) -> Value {
    json!({
        "success": false, "errorReason": reason, "transaction": transaction,
        "network": network_name(version),
    })
}

/// Asserts a refusal after which the client may pay again, and returns its body.
fn assert_refused(answer: &Answer, version: Version, reason: &str) -> Value {
    let body = answer.json(402);
    assert_eq!([&body["error"], &body["code"]], [reason, "payment_rejected"]);
    assert!(body["topup_id"].as_str().unwrap().starts_with("top_"), "{body}");
    assert_eq!(body["accepts"][0]["maxAmountRequired"], "1000000");
    let terms: Value = header::decode(answer.header("payment-required").unwrap()).unwrap();
    assert_eq!(terms["error"], reason);
    assert_eq!(terms["accepts"][0]["amount"], "1000000");
    let receipt = receipt(answer, version);
    assert_eq!((receipt.success, receipt.transaction.as_str()), (false, ""));
    assert_eq!(receipt.error_reason.as_deref(), Some(reason));
    body
}

fn assert_away(answer: &Answer) {
    let problem = answer.problem(503, "facilitator_unavailable");
    assert_eq!(problem["retryable"], true);
    assert!(answer.header("retry-after").is_some());
    assert_eq!(answer.header("payment-required"), None);
}

#[test]
fn what_verify_refuses_is_refused_and_may_come_again() {
    run(|db| async move {
        let stage = Stage::set(db).await;
        let customer = stage.api.signup(json!([])).await;
        for (version, key) in VERSIONS.into_iter().zip([customer.key.as_str(), ""]) {
            let signed = stage.sign(version, "1.00").await;
            let poor = "invalid_exact_evm_insufficient_balance";
            let refused = assert_refused(&stage.pay(&signed, key, "1.00").await, version, poor);
            let again = assert_refused(&stage.pay(&signed, key, "1.00").await, version, poor);
            assert_eq!(again["topup_id"], refused["topup_id"]);
            let path = format!("/api/v1/topups/{}", refused["topup_id"].as_str().unwrap());
            assert_eq!(stage.api.get(&path, "").await.json(200)["status"], "refused");
            stage.fund("1.00").await;
            let paid = stage.pay(&signed, key, "1.00").await.json(200);
            assert_eq!(paid["topup_id"], refused["topup_id"]);
        }
        assert_eq!((stage.front.seen("verify").len(), stage.front.seen("settle").len()), (6, 2));
        stage.holds("2.00").await;
    });
}

#[test]
fn a_refused_nonce_is_not_taken_up_for_another_amount() {
    run(|db| async move {
        let stage = Stage::set(db).await;
        for (version, [first, then]) in
            VERSIONS.into_iter().zip([["9.00", "1.00"], ["2.00", "10.00"]])
        {
            let signed = stage.sign(version, first).await;
            let refused = stage.pay(&signed, "", first).await.json(402);
            stage.fund(then).await;
            let terms = stage.api.post(TOPUP, "", json!({ "amount": then })).await;
            let nonce = signed.value["payload"]["authorization"]["nonce"].clone();
            let other = stage.buyer.sign_nonce(version, &terms, stage.api.clock.now(), &nonce);
            let problem = stage.pay(&other, "", then).await.problem(409, "payment_nonce_used");
            assert_eq!(problem["topup_id"], refused["topup_id"]);
            // The same with another end of the window.
            let terms = stage.api.post(TOPUP, "", json!({ "amount": first })).await;
            let now = stage.api.clock.now() + chrono::TimeDelta::seconds(60);
            let later = stage.buyer.sign_nonce(version, &terms, now, &nonce);
            stage.pay(&later, "", first).await.problem(409, "payment_nonce_used");
        }
        assert_eq!(stage.front.seen("settle").len(), 0);
        stage.holds("0").await;
    });
}

#[test]
fn a_facilitator_that_is_away_takes_nothing() {
    run(|db| async move {
        let stage = Stage::set(db).await;
        for version in VERSIONS {
            let signed = stage.funded(version, "1.00").await;
            stage.front.close().await;
            assert_away(&stage.pay(&signed, "", "1.00").await);
            stage.front.reopen().await;
            // Away for verify only, in its own words.
            for (status, text) in [(500, "oops"), (200, "<html>"), (200, ""), (404, "{}")] {
                let says = Says::This(status, text.to_owned());
                stage.front.next("verify", Act::say(says));
                assert_away(&stage.pay(&signed, "", "1.00").await);
            }
            let trouble = json!({ "isValid": false, "invalidReason": "unexpected_error" });
            stage.front.next("verify", Act::say(Says::json(&trouble)));
            assert_away(&stage.pay(&signed, "", "1.00").await);
            assert!(stage.front.seen("settle").len() == usize::from(version == Version::V1));
            // Gone between the two.
            stage.front.next("verify", Act::close());
            assert_away(&stage.pay(&signed, "", "1.00").await);
            stage.front.reopen().await;
            let paid = stage.pay(&signed, "", "1.00").await.json(200);
            assert_eq!(paid["status"], "credited");
        }
        assert_eq!(stage.front.seen("settle").len(), 2);
        stage.holds("2.00").await;
    });
}

#[test]
fn a_refusal_before_the_broadcast_is_final() {
    run(|db| async move {
        let stage = Stage::set(db).await;
        let reasons = ["insufficient_funds", "invalid_exact_evm_insufficient_balance"];
        for (version, reason) in VERSIONS.into_iter().zip(reasons) {
            let signed = stage.funded(version, "1.00").await;
            let refusal = failed(version, reason, "");
            stage.front.next("settle", Act::say(Says::This(400, refusal.to_string())));
            let sent = stage.front.seen("settle").len();
            let refused = assert_refused(&stage.pay(&signed, "", "1.00").await, version, reason);
            assert_eq!(refused["reason"], reason);
            let again = assert_refused(&stage.pay(&signed, "", "1.00").await, version, reason);
            assert_eq!(again, refused, "the same answer");
            let stranger = signed.with(|payment| {
                payment["payload"]["signature"] = json!(format!("0x{}", "5d".repeat(65)));
            });
            let told = stage.pay(&stranger, "", "1.00").await;
            assert_eq!(assert_refused(&told, version, "payment_rejected").get("reason"), None);
            assert_eq!(stage.resolve().await, 0);
            let known = stage.told(&refused).await;
            assert_eq!([&known["status"], &known["reason"]], ["rejected", reason]);
            assert_eq!(stage.front.seen("settle").len(), sent + 1);
            let fresh = stage.sign(version, "1.00").await;
            stage.pay(&fresh, "", "1.00").await.json(200);
        }
        stage.holds("2.00").await;
    });
}

#[test]
fn who_signed_for_a_contract_wallet_only_the_facilitator_can_tell() {
    run(|db| async move {
        let stage = Stage::set(db).await;
        for version in VERSIONS {
            let signed = stage.sign(version, "1.00").await;
            let signed = signed.with(|payment| {
                payment["payload"]["signature"] = json!(format!("0x{}", "5d".repeat(200)));
            });
            let sent = stage.front.seen("settle").len();
            let no = json!({ "isValid": false, "invalidReason": "invalid_exact_evm_signature" });
            stage.front.next("verify", Act::say(Says::json(&no)));
            let refused = stage.pay(&signed, "", "1.00").await.problem(422, "payment_invalid");
            assert_eq!(refused["reason"], "invalid_exact_evm_signature");
            stage.front.next("verify", Act::say(Says::This(500, String::new())));
            assert_away(&stage.pay(&signed, "", "1.00").await);
            assert_eq!(stage.front.seen("settle").len(), sent);
            let yes = json!({ "isValid": true, "payer": stage.buyer.address() });
            for _ in 0..2 {
                stage.front.next("verify", Act::say(Says::json(&yes)));
            }
            let done = settled(version, &stage.buyer.address(), &invented());
            stage.front.next("settle", Act::say(Says::json(&done)));
            let paid = stage.pay(&signed, "", "1.00").await.json(200);
            assert_eq!(paid["transaction"], invented());
            stage.pay(&signed, "", "1.00").await.json(200);
            assert_eq!(stage.front.seen("settle").len(), sent + 1);
        }
        // Its word is final where no chain is read, and the sandbox knows nothing of it.
        let report = stage.api.finance.check().await.unwrap();
        assert!(report.passed(), "{report}");
    });
}

/// What a facilitator may say after which nobody knows, and the reason that is recorded.
fn unclear(version: Version, payer: &str) -> Vec<(Says, &'static str)> {
    let hash = invented();
    let other = "0x2222222222222222222222222222222222222222";
    let this = |status, text: &str| Says::This(status, text.to_owned());
    let json = |status, body: Value| Says::This(status, body.to_string());
    let mut elsewhere = settled(version, payer, &hash);
    elsewhere["network"] = json!("eip155:8453");
    vec![
        (this(500, "oops"), "http_500"),
        (this(502, "<html>Bad gateway</html>"), "http_502"),
        (this(200, "<html>OK</html>"), "unreadable_answer"),
        (this(200, ""), "unreadable_answer"),
        (this(200, "{\"success\":\"true\"}"), "unreadable_answer"),
        (this(402, "{}"), "http_402"),
        (this(307, ""), "http_307"),
        (this(200, &"x".repeat(100_000)), "answer_too_long"),
        (Says::Nothing, "connection_lost"),
        (json(500, failed(version, "settlement_pending", &hash)), "settlement_pending"),
        (json(200, failed(version, "settlement_pending", "")), "settlement_pending"),
        (
            json(200, failed(version, "invalid_exact_evm_nonce_already_used", "")),
            "invalid_exact_evm_nonce_already_used",
        ),
        (json(200, failed(version, "a_reason_of_tomorrow", "")), "a_reason_of_tomorrow"),
        (json(200, failed(version, "", "")), "no_reason"),
        (json(200, failed(version, "insufficient_funds", &hash)), "insufficient_funds"),
        (json(200, settled(version, payer, "")), "transaction_malformed"),
        (json(200, settled(version, payer, "0x1234")), "transaction_malformed"),
        (json(200, settled(version, other, &hash)), "payer_mismatch"),
        (json(200, elsewhere), "network_mismatch"),
        (json(500, settled(version, payer, &hash)), "success_with_status_500"),
    ]
}

#[test]
fn what_is_unclear_is_unknown_and_credited_once_when_it_clears() {
    run(|db| async move {
        let stage = Stage::set(db).await;
        let customer = stage.api.signup(json!([])).await;
        let mut total = 0;
        for version in VERSIONS {
            for (turn, (says, reason)) in
                unclear(version, &stage.buyer.address()).into_iter().enumerate()
            {
                let signed = stage.funded(version, "1.00").await;
                // Every other time the money moved, and only the answer is odd.
                let (act, said) =
                    (if turn % 2 == 0 { Act::twist } else { Act::say }, format!("{says:?}"));
                stage.front.next("settle", act(says));
                let sent = stage.front.seen("settle").len();
                let answer = stage.pay(&signed, &customer.key, "1.00").await;
                let body = assert_unknown(&answer, version);
                assert_eq!(body["reason"], reason, "{said}");
                let again = stage.pay(&signed, &customer.key, "1.00").await;
                assert_eq!(assert_unknown(&again, version), body, "{said}");
                let bare = assert_unknown(&stage.pay(&signed, "", "1.00").await, version);
                assert_eq!(bare.get("account_id"), None);
                assert_eq!(stage.front.seen("settle").len(), sent + 1, "sent once: {said}");

                assert_eq!(stage.resolve().await, 1, "{said}");
                total += 1;
                let calls = stage.front.seen("settle");
                assert_eq!(calls.len(), sent + 2, "{said}");
                assert_eq!(calls[sent], calls[sent + 1], "repeated as it was");
                for _ in 0..2 {
                    let answer = stage.pay(&signed, &customer.key, "1.00").await;
                    let paid = answer.json(200);
                    assert_eq!(
                        [&paid["topup_id"], &paid["credited"]],
                        [&body["topup_id"], &json!("1.00")]
                    );
                    assert_eq!(paid.get("reason"), None);
                    let receipt = receipt(&answer, version);
                    assert!(receipt.success);
                    assert_ne!(receipt.transaction, invented(), "the one that happened");
                }
                assert_eq!(stage.resolve().await, 0);
            }
        }
        stage.holds(&total.to_string()).await;
    });
}

#[test]
fn a_silent_facilitator_is_not_waited_for_without_end() {
    run(|db| async move {
        let payments = crate::api::Payments {
            settle_timeout: std::time::Duration::from_millis(300),
            ..Default::default()
        };
        let stage = Stage::set_with(db, payments).await;
        for (version, act) in VERSIONS.into_iter().zip([Act::twist, Act::say]) {
            let signed = stage.funded(version, "1.00").await;
            stage.front.next("settle", act(Says::Silence));
            let body = assert_unknown(&stage.pay(&signed, "", "1.00").await, version);
            assert_eq!(body["reason"], "timeout");
            // Until the facilitator is heard again, everybody is told that it is open.
            for _ in 0..2 {
                stage.front.next("settle", Act::say(Says::Nothing));
                assert_eq!(stage.resolve().await, 1);
                assert_unknown(&stage.pay(&signed, "", "1.00").await, version);
            }
            let mut tries = 0;
            while stage.pay(&signed, "", "1.00").await.status == 202 {
                // The same 300 milliseconds may be too short for a busy machine.
                assert!(tries < 20);
                stage.resolve().await;
                tries += 1;
            }
            stage.pay(&signed, "", "1.00").await.json(200);
        }
        stage.holds("2.00").await;
    });
}
