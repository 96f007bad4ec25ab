use serde_json::json;

use super::*;

const PAYER: &str = "0x14791697260e4c9a71f18484c9f997b308e59325";
const EXPECTED: Expected<'_> =
    Expected { network: "eip155:84532", network_v1: Some("base-sepolia"), payer: PAYER };

fn hash() -> String {
    format!("0x{}", "aB".repeat(32))
}

fn settled() -> SettleOutcome {
    SettleOutcome::Settled {
        transaction: hash().to_lowercase(),
        payer: PAYER.to_owned(),
        network: "eip155:84532".to_owned(),
    }
}

fn unknown(reason: &str, transaction: Option<String>) -> SettleOutcome {
    SettleOutcome::Unknown { reason: reason.to_owned(), transaction }
}

fn rejected(reason: &str) -> SettleOutcome {
    SettleOutcome::Rejected { reason: reason.to_owned(), message: None }
}

#[test]
fn a_settlement_is_settled_rejected_or_unknown() {
    let success = json!({"success": true, "transaction": hash(), "network": "eip155:84532"});
    let with = |key: &str, value: Value| {
        let mut answer = success.clone();
        answer[key] = value;
        answer.to_string()
    };
    let low = Some(hash().to_lowercase());
    let failure = |reason: &str| {
        json!({"success": false, "errorReason": reason, "transaction": "", "network": ""})
            .to_string()
    };
    let pending = json!({"success": false, "errorReason": "settlement_pending",
                         "transaction": hash(), "network": "eip155:84532"});
    let balance = "invalid_exact_evm_insufficient_balance";
    let table = [
        // Success, and successes that are not believed.
        (200, success.to_string(), true, settled()),
        (200, success.to_string(), false, settled()),
        (200, with("network", json!("base-sepolia")), true, settled()),
        (200, with("payer", json!(PAYER.to_uppercase().replace("0X", "0x"))), true, settled()),
        (200, with("payer", Value::Null), true, settled()),
        (200, with("unheard", json!({"of": 1})), true, settled()),
        (200, with("payer", json!("0x01")), true, unknown("payer_mismatch", low.clone())),
        (
            200,
            with("network", json!("eip155:8453")),
            true,
            unknown("network_mismatch", low.clone()),
        ),
        (200, with("network", Value::Null), true, unknown("network_mismatch", low.clone())),
        (200, with("transaction", json!("")), true, unknown("transaction_malformed", None)),
        (200, with("transaction", Value::Null), true, unknown("transaction_malformed", None)),
        (200, with("transaction", json!("0x1234")), true, unknown("transaction_malformed", None)),
        (
            200,
            with("transaction", json!(format!("0x{}", "0".repeat(64)))),
            true,
            unknown("transaction_malformed", None),
        ),
        (
            200,
            with("transaction", json!("é".repeat(33))),
            true,
            unknown("transaction_malformed", None),
        ),
        (500, success.to_string(), true, unknown("success_with_status_500", low.clone())),
        (302, success.to_string(), true, unknown("success_with_status_302", low.clone())),
        // Known refusals are final on the first attempt only, and not as a server's error.
        (200, failure(balance), true, rejected(balance)),
        (400, failure(balance), true, rejected(balance)),
        (500, failure(balance), true, unknown(balance, None)),
        (503, failure(balance), true, unknown(balance, None)),
        (
            400,
            json!({"success": false, "errorReason": balance, "transaction": {"hash": hash()}})
                .to_string(),
            true,
            unknown(balance, None),
        ),
        (307, failure(balance), true, unknown(balance, None)),
        (200, failure(balance), false, unknown(balance, None)),
        (
            400,
            r#"{"success":false,"errorReason":"kyt_risk_detected"}"#.into(),
            true,
            rejected("kyt_risk_detected"),
        ),
        (
            400,
            r#"{"success":false,"error_reason":"recipient_mismatch","errorReason":null}"#.into(),
            true,
            rejected("recipient_mismatch"),
        ),
        (
            200,
            json!({"success": false, "errorReason": balance, "transaction": hash()}).to_string(),
            true,
            unknown(balance, low.clone()),
        ),
        (
            200,
            json!({"success": false, "errorReason": balance, "transaction": "?"}).to_string(),
            true,
            unknown(balance, None),
        ),
        // Everything that may hide a transfer.
        (200, pending.to_string(), true, unknown("settlement_pending", low.clone())),
        (500, pending.to_string(), true, unknown("settlement_pending", low)),
        (
            200,
            failure("invalid_exact_evm_nonce_already_used"),
            true,
            unknown("invalid_exact_evm_nonce_already_used", None),
        ),
        (200, failure("nonce_already_used"), true, unknown("nonce_already_used", None)),
        (
            200,
            failure("invalid_exact_evm_transaction_simulation_failed"),
            true,
            unknown("invalid_exact_evm_transaction_simulation_failed", None),
        ),
        (
            200,
            failure("invalid_transaction_state"),
            true,
            unknown("invalid_transaction_state", None),
        ),
        (200, failure("unexpected_settle_error"), true, unknown("unexpected_settle_error", None)),
        (200, failure("brand_new_reason"), true, unknown("brand_new_reason", None)),
        (200, failure(""), true, unknown("no_reason", None)),
        (200, r#"{"success":false}"#.into(), true, unknown("no_reason", None)),
        // No answer at all.
        (200, String::new(), true, unknown("unreadable_answer", None)),
        (200, "{\"success\":tr".into(), true, unknown("unreadable_answer", None)),
        (200, "[true]".into(), true, unknown("unreadable_answer", None)),
        (
            200,
            r#"{"success":"false","errorReason":"insufficient_funds"}"#.into(),
            true,
            unknown("unreadable_answer", None),
        ),
        (200, "<html>ok</html>".into(), true, unknown("unreadable_answer", None)),
        (502, "<html>Bad gateway</html>".into(), true, unknown("http_502", None)),
        (400, r#"{"error":"insufficient_funds"}"#.into(), true, unknown("http_400", None)),
        (500, String::new(), true, unknown("http_500", None)),
    ];
    for (status, body, first, outcome) in table {
        let found = classify_settle(status, body.as_bytes(), first, &EXPECTED);
        assert_eq!(found, outcome, "{status} {body} first={first}");
    }
    assert_eq!(
        classify_settle(200, &[0xff, 0xfe], true, &EXPECTED),
        unknown("unreadable_answer", None)
    );
}

#[test]
fn no_refusal_is_believed_after_the_first_attempt() {
    for reason in REFUSED_BEFORE_BROADCAST {
        let body = json!({"success": false, "errorReason": reason}).to_string();
        assert_eq!(classify_settle(400, body.as_bytes(), true, &EXPECTED), rejected(reason));
        assert_eq!(classify_settle(400, body.as_bytes(), false, &EXPECTED), unknown(reason, None));
    }
}

#[test]
fn names_outside_the_evm_are_compared_exactly() {
    let expected = Expected { network: "solana:x", network_v1: None, payer: "AbC" };
    let answer = |payer: &str| {
        json!({"success": true, "transaction": "5".repeat(88), "network": "solana:x", "payer": payer})
            .to_string()
    };
    let found = |payer| classify_settle(200, answer(payer).as_bytes(), true, &expected);
    assert!(matches!(found("AbC"), SettleOutcome::Settled { .. }));
    assert!(matches!(found("abc"), SettleOutcome::Unknown { .. }));
}

#[test]
fn a_verification_is_valid_invalid_or_not_given() {
    let unavailable = |detail: &str| VerifyOutcome::Unavailable { detail: detail.to_owned() };
    let invalid = |reason: &str, message: Option<&str>| VerifyOutcome::Invalid {
        reason: reason.to_owned(),
        message: message.map(str::to_owned),
    };
    let table = [
        (
            200,
            r#"{"isValid":true,"payer":"0xAB"}"#,
            VerifyOutcome::Valid { payer: Some("0xab".into()) },
        ),
        (200, r#"{"isValid":true,"payer":null}"#, VerifyOutcome::Valid { payer: None }),
        (500, r#"{"isValid":true}"#, unavailable("valid_with_status_500")),
        (
            200,
            r#"{"isValid":false,"invalidReason":"invalid_scheme"}"#,
            invalid("invalid_scheme", None),
        ),
        (
            400,
            r#"{"isValid":false,"invalidReason":"x","invalidMessage":"no\nway"}"#,
            invalid("x", Some("no way")),
        ),
        (200, r#"{"isValid":false}"#, invalid("no_reason", None)),
        (
            500,
            r#"{"isValid":false,"invalidReason":"unexpected_verify_error"}"#,
            unavailable("unexpected_verify_error"),
        ),
        (200, "", unavailable("unreadable_answer")),
        (200, r#"{"isValid":"true"}"#, unavailable("unreadable_answer")),
        (503, "<html>", unavailable("http_503")),
    ];
    for (status, body, outcome) in table {
        assert_eq!(classify_verify(status, body.as_bytes()), outcome, "{status} {body}");
    }
}

#[test]
fn a_facilitators_words_carry_no_signature() {
    let signature = format!("0x{}1b", "5d".repeat(64));
    let address = format!("0x{}", "ab".repeat(20));
    let words = legible(&format!("reverted: {address}\n(sig {signature}) {}", "x, ".repeat(500)));
    assert!(words.starts_with(&format!("reverted: {address} (sig …) x, ")), "{words}");
    assert!(words.chars().count() <= 200);
    assert_eq!(legible(&signature), "…");
}
