//! What somebody without a key is told: exactly what becomes public anyway.

use bursar::x402::Version;
use serde_json::{Value, json};

use super::buyer::Signed;
use super::front::{Act, Says};
use super::{Stage, receipt};
use crate::support::postgres::run;

/// All that anybody may read of a top-up.
const PUBLIC: [&str; 8] =
    ["amount", "mode", "network", "payer", "status", "status_url", "topup_id", "transaction"];

/// The 402 to a payment that was rejected, shown again: the terms, and the protocol's `error`.
const TERMS: [&str; 9] =
    ["accepts", "amount", "code", "detail", "docs", "error", "next", "topup_id", "x402Version"];

fn assert_members(body: &Value, members: &[&str]) {
    let mut told: Vec<_> = body.as_object().unwrap().keys().collect();
    told.sort_unstable();
    assert_eq!(told, members, "{body}");
}

/// Asserts that a body says what became of a payment of one dollar, and not one word more.
pub fn assert_public(body: &Value, status: &str) {
    assert_members(body, &PUBLIC);
    assert_eq!((&body["status"], &body["amount"]), (&json!(status), &json!("1.00")), "{body}");
    for field in ["topup_id", "network", "payer", "mode", "status_url"] {
        assert!(body[field].is_string(), "{body}");
    }
    assert!(status != "credited" || body["transaction"].is_string(), "{body}");
}

impl Stage {
    /// Asserts that everybody who shows a payment again, or looks it up by any of its names, reads
    /// what is public.
    async fn assert_public_everywhere(&self, signed: &Signed, id: &str, status: &str, keyed: bool) {
        // Whoever has not its signature: with that, what was not taken is answered as at first.
        let stranger = signed.with(|payment| {
            payment["payload"]["signature"] = json!(format!("0x{}", "5d".repeat(65)));
        });
        let replay = self.pay(&stranger, "", "1.00").await;
        let body: Value = serde_json::from_str(&replay.body).unwrap();
        match status {
            "rejected" => assert_members(&body, &TERMS),
            _ => assert_public(&body, status),
        }
        assert_eq!(receipt(&replay, Version::V2).error_reason.is_some(), status != "credited");

        let payer = self.buyer.address();
        let by_id = self.api.get(&format!("/api/v1/topups/{id}"), "").await.json(200);
        assert_public(&by_id, status);
        let mut names = vec![format!("payer={payer}&nonce={}", signed.nonce())];
        if let Some(transaction) = by_id["transaction"].as_str() {
            names.push(format!("transaction={transaction}"));
        }
        // The names that are given with a key are the account's own.
        if !keyed {
            let name = signed.value["extensions"]["payment-identifier"]["info"]["id"].as_str();
            names.push(format!("payment_id={}&payer={payer}", name.unwrap()));
        }
        for name in names {
            let found = self.api.get(&format!("/api/v1/topups?{name}"), "").await.json(200);
            assert_eq!(found["data"], json!([by_id]), "{name}");
        }
    }
}

#[test]
fn without_the_key_the_public_members_are_told_and_no_others() {
    run(|db| async move {
        let stage = Stage::set(db).await;
        let customer = stage.api.signup(json!([])).await;
        let failed = |reason: &str, transaction: String| json!({ "success": false, "errorReason": reason, "transaction": transaction });
        for (turn, key) in ["", customer.key.as_str()].into_iter().enumerate() {
            let hash = format!("0x{}", ["ab", "cd"][turn].repeat(32));
            for (status, says) in [
                ("credited", None),
                ("unknown", Some(failed("settlement_pending", hash))),
                ("rejected", Some(failed("insufficient_funds", String::new()))),
            ] {
                let name = format!("{status}-payment-number-{turn}");
                let signed = stage.funded(Version::V2, "1.00").await.named(&name);
                if let Some(says) = says {
                    stage.front.next("settle", Act::say(Says::json(&says)));
                }
                let first = stage.pay(&signed, key, "1.00").await;
                let first: Value = serde_json::from_str(&first.body).unwrap();
                assert_eq!(first["reason"].is_string(), status != "credited", "{first}");
                let id = first["topup_id"].as_str().unwrap();
                stage.assert_public_everywhere(&signed, id, status, !key.is_empty()).await;
            }
        }
    });
}
