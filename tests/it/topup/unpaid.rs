//! Without a payment the answer is a 402 with terms: always, and before anything else is looked at.

use bursar::x402::header;
use reqwest::Method;
use serde_json::{Value, json};

use super::{Stage, TOPUP};
use crate::api::Answer;
use crate::support::postgres::run;

/// Asserts that this is a 402 that stock clients of both versions can pay, for that much.
fn assert_terms(answer: &Answer, atomic: &str) -> Value {
    let body = answer.json(402);
    let text = answer.header("payment-required").unwrap();
    assert!(text.len() < 4096, "{} characters", text.len());
    let v2: Value = header::decode(text).unwrap();
    assert_eq!((&v2["x402Version"], &body["x402Version"]), (&json!(2), &json!(1)));
    let ([chosen], [v1]) = (entries(&v2), entries(&body)) else { panic!("{v2} {body}") };
    assert_eq!([&chosen["amount"], &v1["maxAmountRequired"]], [atomic, atomic]);
    assert_eq!([&chosen["network"], &v1["network"]], ["eip155:84532", "base-sepolia"]);
    for same in ["payTo", "asset", "extra", "maxTimeoutSeconds"] {
        assert_eq!(chosen[same], v1[same], "{same}");
    }
    assert_eq!(v2["resource"]["url"], v1["resource"]);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert!(body["next"]["action"].is_string() && body["next"]["detail"].is_string(), "{body}");
    body
}

fn entries(terms: &Value) -> &[Value] {
    terms["accepts"].as_array().unwrap()
}

async fn ask(stage: &Stage, body: impl Into<reqwest::Body>, headers: &[(&str, &str)]) -> Answer {
    let request = stage.api.request(Method::POST, TOPUP, "").body(body);
    let request = headers.iter().fold(request, |request, (n, v)| request.header(*n, *v));
    stage.api.send(request).await
}

#[test]
fn whatever_comes_without_a_payment_gets_terms() {
    run(|db| async move {
        let stage = Stage::set(db).await;
        for (body, atomic) in [
            ("", "1000000"),
            (" \n", "1000000"),
            ("{}", "1000000"),
            (r#"{"amount":null}"#, "1000000"),
            (r#"{"amount":"5.00"}"#, "5000000"),
            (r#"{"amount":"0.01"}"#, "10000"),
            (r#"{"amount":"0.010001"}"#, "10001"),
            (r#"{"amount":"1000"}"#, "1000000000"),
        ] {
            let body = assert_terms(&ask(&stage, body, &[]).await, atomic);
            assert_eq!(
                (body.get("code"), &body["next"]["action"]),
                (None, &json!("pay")),
                "{body}"
            );
        }
        for content_type in ["text/plain", "application/x-www-form-urlencoded", "nonsense"] {
            let headers = [("content-type", content_type)];
            assert_terms(&ask(&stage, r#"{"amount":"5"}"#, &headers).await, "5000000");
        }
        for credentials in ["Bearer nonsense", "Bearer bur_test_x", "Basic eDp5", ""] {
            let headers = [("authorization", credentials)];
            let body = assert_terms(&ask(&stage, r#"{"amount":"5"}"#, &headers).await, "5000000");
            assert_eq!(body.get("code"), None);
        }
    });
}

#[test]
fn an_unreadable_request_gets_the_default_terms_and_is_told_why() {
    run(|db| async move {
        let stage = Stage::set(db).await;
        let large = format!(r#"{{"amount":"5.00","account_id":"{}"}}"#, "x".repeat(70_000));
        for (body, code, field) in [
            ("nonsense", "malformed_request", None),
            (r#"{"amount":"5.00""#, "malformed_request", None),
            ("\u{0}", "malformed_request", None),
            ("[]", "validation_failed", None),
            ("7", "validation_failed", None),
            (r#"{"amount":5}"#, "validation_failed", Some("amount")),
            (r#"{"amount":5.5}"#, "validation_failed", Some("amount")),
            (r#"{"amount":"-5"}"#, "validation_failed", Some("amount")),
            (r#"{"amount":"5,00"}"#, "validation_failed", Some("amount")),
            (r#"{"amount":"1.0000001"}"#, "validation_failed", Some("amount")),
            (r#"{"amount":"05"}"#, "validation_failed", Some("amount")),
            (r#"{"amount":""}"#, "validation_failed", Some("amount")),
            (r#"{"amount":"0"}"#, "topup_below_minimum", Some("amount")),
            (r#"{"amount":"0.009999"}"#, "topup_below_minimum", Some("amount")),
            (r#"{"amount":"1000.000001"}"#, "topup_above_maximum", Some("amount")),
            (r#"{"amount":"999999999999.999999"}"#, "topup_above_maximum", Some("amount")),
            (r#"{"amonut":"5"}"#, "validation_failed", Some("amonut")),
            (r#"{"account_id":"acc_1"}"#, "validation_failed", Some("account_id")),
            (large.as_str(), "payload_too_large", None),
        ] {
            let body = assert_terms(&ask(&stage, body.to_owned(), &[]).await, "1000000");
            assert_eq!(
                (body["code"].as_str(), body["field"].as_str()),
                (Some(code), field),
                "{body}"
            );
            assert_ne!(body["next"]["action"], "pay", "{body}");
            match code {
                "topup_below_minimum" => assert_eq!(body["minimum"], "0.01"),
                "topup_above_maximum" => assert_eq!(body["maximum"], "1000.00"),
                _ => assert!(body["detail"].is_string() || field.is_some(), "{body}"),
            }
        }
        assert!(stage.front.seen("verify").is_empty());
    });
}

#[test]
fn terms_are_a_pure_function_and_touch_no_database() {
    run(|db| async move {
        let stage = Stage::set(db).await;
        let before = ask(&stage, r#"{"amount":"5.00"}"#, &[]).await;
        stage.api.pool.close().await;
        stage.api.clock.advance(chrono::TimeDelta::days(1));
        // Not even for a key that looks right.
        let headers = [("authorization", format!("Bearer {}", stage.api.operator))];
        let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
        let after = ask(&stage, r#"{"amount":"5.00"}"#, &headers).await;
        assert_terms(&after, "5000000");
        assert_eq!(after.body, before.body);
        assert_eq!(after.header("payment-required"), before.header("payment-required"));
        // The database is gone indeed.
        let broken = stage.api.post("/api/v1/accounts", "", json!({})).await;
        broken.problem(503, "unavailable");
        let signed = stage.buyer.sign(bursar::x402::Version::V2, &after, bursar_now(&stage));
        let refused = stage.pay(&signed, "", "5.00").await;
        refused.problem(503, "unavailable");
        assert!(stage.front.seen("verify").is_empty());
    });
}

fn bursar_now(stage: &Stage) -> chrono::DateTime<chrono::Utc> {
    use bursar::ground::Clock;
    stage.api.clock.now()
}
