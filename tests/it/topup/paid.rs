//! A payment that goes well.

use serde_json::{Value, json};

use super::{Stage, VERSIONS, network_name, receipt};
use crate::api::Answer;
use crate::support::postgres::run;

/// Asserts that an answer tells the truth about a payment of 5 dollars, and returns its body.
async fn assert_credited(stage: &Stage, answer: &Answer, version: bursar::x402::Version) -> Value {
    let body = answer.json(200);
    let sql = "select transaction from sandbox_settlement order by settled_at desc limit 1";
    let owner = &stage.api.database.owner;
    let transaction: String = sqlx::query_scalar(sql).fetch_one(owner).await.unwrap();
    for (field, value) in [
        ("status", "credited"),
        ("amount", "5.00"),
        ("credited", "5.00"),
        ("payer", &stage.buyer.address()),
        ("network", "eip155:84532"),
        ("transaction", &transaction),
        ("mode", "test"),
    ] {
        assert_eq!(body[field], value, "{field}: {body}");
    }
    let id = body["topup_id"].as_str().unwrap();
    assert_eq!(body["status_url"], format!("{}/api/v1/topups/{id}", stage.api.url));
    assert!(!answer.body.contains("bur_test_"), "never a key: {body}");
    let receipt = receipt(answer, version);
    assert!(receipt.success);
    assert_eq!(receipt.transaction, transaction);
    assert_eq!(receipt.network, network_name(version));
    assert_eq!(receipt.payer, Some(stage.buyer.address()));
    assert_eq!(receipt.amount.as_deref(), Some("5000000"));
    assert_eq!(receipt.error_reason, None);
    let known = stage.api.get(&format!("/api/v1/topups/{id}"), "").await.json(200);
    assert_eq!(known["transaction"], body["transaction"]);
    body
}

#[test]
fn the_account_of_the_key_is_credited() {
    run(|db| async move {
        let stage = Stage::set(db).await;
        let customer = stage.api.signup(json!([])).await;
        let other = stage.api.signup(json!([])).await;
        for (version, balance) in VERSIONS.into_iter().zip(["30.00", "35.00"]) {
            let signed = stage.funded(version, "5.00").await;
            // The key decides, whatever account the body names.
            let body = json!({ "amount": "5.00", "account_id": other.account }).to_string();
            let answer = stage.send(&signed, &customer.key, &body, &[]).await;
            let body = assert_credited(&stage, &answer, version).await;
            assert_eq!([&body["account_id"], &body["balance"]], [&customer.account, balance]);
            assert_eq!(body.get("claim_url"), None, "{body}");
        }
        assert_eq!(stage.paid_credits(&customer.key).await, "10.00");
        assert_eq!(stage.paid_credits(&other.key).await, "0.00");
        stage.holds("10.00").await;
    });
}

#[test]
fn a_named_account_is_credited_and_not_shown() {
    run(|db| async move {
        let stage = Stage::set(db).await;
        let customer = stage.api.signup(json!([])).await;
        for version in VERSIONS {
            let signed = stage.funded(version, "5.00").await;
            let body = json!({ "amount": "5", "account_id": customer.account }).to_string();
            let answer = stage.send(&signed, "", &body, &[]).await;
            let body = assert_credited(&stage, &answer, version).await;
            assert_eq!((body.get("account_id"), body.get("balance")), (None, None), "{body}");
        }
        assert_eq!(stage.paid_credits(&customer.key).await, "10.00");
        // Neither the house nor an account that does not exist can be named.
        for account in
            ["acc_00000000000070008000000000000000", "acc_00000000000070008000000000000001"]
        {
            let signed = stage.funded(VERSIONS[0], "5.00").await;
            let body = json!({ "amount": "5", "account_id": account }).to_string();
            let refused = stage.send(&signed, "", &body, &[]).await;
            assert_eq!(refused.problem(422, "validation_failed")["field"], "account_id");
        }
        stage.holds("10.00").await;
    });
}

#[test]
fn without_a_key_the_account_of_the_wallet_is_credited() {
    run(|db| async move {
        let stage = Stage::set(db).await;
        let mut accounts = Vec::new();
        for (version, balance) in VERSIONS.into_iter().zip(["5.00", "10.00"]) {
            let signed = stage.funded(version, "5.00").await;
            let answer = stage.pay(&signed, "", "5.00").await;
            let body = assert_credited(&stage, &answer, version).await;
            assert_eq!(body["balance"], balance);
            assert_eq!(body["claim_url"], format!("{}/api/v1/wallets/claim", stage.api.url));
            accounts.push(body["account_id"].as_str().unwrap().to_owned());
        }
        assert_eq!(accounts[0], accounts[1]);
        stage.holds("10.00").await;
    });
}

#[test]
fn the_body_is_read_whatever_its_content_type() {
    run(|db| async move {
        let stage = Stage::set(db).await;
        for content_type in ["text/plain", "application/x-www-form-urlencoded", "x", ""] {
            let signed = stage.funded(VERSIONS[0], "5.00").await;
            let headers = [("content-type", content_type)];
            let answer = stage.send(&signed, "", r#"{"amount":"5.00"}"#, &headers).await;
            assert_credited(&stage, &answer, VERSIONS[0]).await;
        }
        // Some clients lose the body's headers, none the body; an empty one buys the default.
        let signed = stage.funded(VERSIONS[1], "1.00").await;
        assert_eq!(stage.send(&signed, "", "", &[]).await.json(200)["credited"], "1.00");
        stage.holds("21.00").await;
    });
}

#[test]
fn the_facilitator_is_asked_to_enforce_our_own_terms() {
    run(|db| async move {
        let stage = Stage::set(db).await;
        for (version, amount) in VERSIONS.into_iter().zip(["amount", "maxAmountRequired"]) {
            let signed = stage.funded(version, "5.00").await;
            let signed = signed.with(|payment| {
                if payment["accepted"].is_object() {
                    payment["accepted"]["extra"]["memo"] = json!("the buyer's own");
                }
                payment["extensions"]["unheard_of"] = json!(null);
            });
            stage.pay(&signed, "", "5.00").await.json(200);
            for call in ["verify", "settle"] {
                let body = stage.front.seen(call).pop().unwrap();
                let terms = &body["paymentRequirements"];
                assert_eq!(body["x402Version"], version.number());
                assert_eq!(terms[amount], "5000000");
                assert_eq!(terms["payTo"], stage.api.topups.settings().pay_to.to_string());
                assert_eq!(terms["network"], network_name(version));
                assert_eq!(terms["extra"].get("memo"), None);
                assert_eq!(body["paymentPayload"]["payload"], signed.value["payload"]);
                assert!(!body.to_string().contains("null"), "{body}");
            }
        }
        stage.holds("10.00").await;
    });
}
