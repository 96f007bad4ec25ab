//! What a top-up shows, and to whom: after settlement the payment is public on the chain.

use bursar::x402::Version;
use bursar::x402::siwx::Challenge;
use serde_json::{Value, json};

use super::discreet::assert_public;
use super::{Stage, VERSIONS, receipt};
use crate::api::Answer;
use crate::support::postgres::run;

/// Asserts that an answer says that the payment is credited, and what is public, and nothing else.
fn assert_discreet(answer: &Answer) -> Value {
    let body = answer.json(200);
    assert_public(&body, "credited");
    body
}

#[test]
fn a_replay_or_a_look_without_the_key_shows_neither_balance_nor_account() {
    run(|db| async move {
        let stage = Stage::set(db).await;
        let customer = stage.api.signup(json!([])).await;
        let stranger = stage.api.signup(json!([])).await;
        for version in VERSIONS {
            for key in [customer.key.as_str(), ""] {
                let signed = stage.funded(version, "1.00").await;
                let first = stage.pay(&signed, key, "1.00").await.json(200);
                assert!(first["balance"].is_string() && first["account_id"].is_string(), "{first}");
                let replay = stage.pay(&signed, "", "1.00").await;
                assert_eq!(assert_discreet(&replay)["topup_id"], first["topup_id"]);
                assert!(receipt(&replay, version).success);
                let path = format!("/api/v1/topups/{}", first["topup_id"].as_str().unwrap());
                assert_discreet(&stage.api.get(&path, "").await);
                assert_discreet(&stage.api.get(&path, &stranger.key).await);
                stage.api.get(&path, "nonsense").await.problem(401, "unauthenticated");
            }
        }
        for path in ["top_00000000000070008000000000000001", "top_1", "x"] {
            let answer = stage.api.get(&format!("/api/v1/topups/{path}"), "").await;
            answer.problem(404, "not_found");
        }
        stage.holds("4.00").await;
    });
}

#[test]
fn the_owner_and_the_operator_read_the_whole_story() {
    run(|db| async move {
        let stage = Stage::set(db).await;
        let customer = stage.api.signup(json!([])).await;
        let signed = stage.sign(Version::V2, "1.00").await;
        stage.pay(&signed, &customer.key, "1.00").await.json(402);
        stage.fund("1.00").await;
        let paid = stage.pay(&signed, &customer.key, "1.00").await.json(200);
        let path = format!("/api/v1/topups/{}", paid["topup_id"].as_str().unwrap());
        for key in [&customer.key, &stage.api.operator] {
            let answer = stage.api.get(&path, key).await;
            let body = answer.json(200);
            assert_eq!([&body["account_id"], &body["balance"]], [&customer.account, "26.00"]);
            let audit = body["audit"].as_array().unwrap();
            let kinds: Vec<_> = audit.iter().map(|entry| entry["kind"].as_str().unwrap()).collect();
            let told = ["verify", "refused", "claimed", "verify", "settling", "settle", "credited"];
            assert_eq!(kinds, told, "{body}");
            let poor = "invalid_exact_evm_insufficient_balance";
            let said = |n: usize| &audit[n]["detail"]["answer"];
            assert_eq!(
                (&said(0)["status"], &said(0)["body"]["invalidReason"]),
                (&json!(200), &json!(poor))
            );
            assert_eq!(audit[1]["detail"]["reason"], poor);
            assert_eq!(said(3)["body"]["isValid"], true);
            assert_eq!(
                (&said(5)["status"], &said(5)["body"]["success"]),
                (&json!(200), &json!(true))
            );
            assert_eq!(said(5)["body"]["transaction"], body["transaction"]);
            assert_eq!(audit[6]["detail"]["transaction"], body["transaction"]);
            assert!(audit.is_sorted_by_key(|entry| entry["recorded_at"].as_str().unwrap()));
            assert!(!answer.body.contains(signed.signature()), "{body}");
        }
    });
}

#[test]
fn a_wallet_that_claims_its_account_reads_it() {
    run(|db| async move {
        let stage = Stage::set(db).await;
        let signed = stage.funded(Version::V1, "1.00").await;
        let paid = stage.pay(&signed, "", "1.00").await.json(200);
        let challenge = stage.api.post("/api/v1/wallets/challenge", "", json!({})).await.json(200);
        let challenge: Challenge = serde_json::from_value(challenge).unwrap();
        let proof = serde_json::to_value(challenge.sign(stage.buyer.wallet()).unwrap()).unwrap();
        let claimed = stage.api.post("/api/v1/wallets/claim", "", proof).await.json(201);
        assert_eq!(claimed["account_id"], paid["account_id"]);
        let key = claimed["api_key"].as_str().unwrap();
        let path = format!("/api/v1/topups/{}", paid["topup_id"].as_str().unwrap());
        let body = stage.api.get(&path, key).await.json(200);
        assert_eq!([&body["account_id"], &body["balance"]], [&paid["account_id"], &json!("1.00")]);
        // With its key the wallet pays for the same account as without.
        let signed = stage.funded(Version::V2, "1.00").await;
        let paid = stage.pay(&signed, key, "1.00").await.json(200);
        assert_eq!([&paid["account_id"], &paid["balance"]], [&body["account_id"], &json!("2.00")]);
        stage.holds("2.00").await;
    });
}

#[test]
fn a_top_up_is_found_by_every_name_it_has() {
    run(|db| async move {
        let stage = Stage::set(db).await;
        let customer = stage.api.signup(json!([])).await;
        let stranger = stage.api.signup(json!([])).await;
        let payer = stage.buyer.address();
        let find = async |query: String, key: &str| -> Vec<Value> {
            let answer = stage.api.get(&format!("/api/v1/topups?{query}"), key).await;
            let found = answer.json(200);
            assert_eq!(found["has_more"], false);
            found["data"].as_array().unwrap().clone()
        };
        for (turn, key) in [customer.key.as_str(), ""].into_iter().enumerate() {
            let name = format!("purchase-number-{turn}");
            let signed = stage.funded(Version::V2, "1.00").await.named(&name);
            let paid = stage.pay(&signed, key, "1.00").await.json(200);
            let transaction = paid["transaction"].as_str().unwrap().to_uppercase();
            let transaction = transaction.replace("0X", "0x");
            let nonce = signed.nonce();
            let mut names =
                vec![format!("payer={payer}&nonce={nonce}"), format!("transaction={transaction}")];
            let by_name = format!("payment_id={name}");
            if key.is_empty() {
                names.push(format!("{by_name}&payer={payer}"));
            } else {
                assert_eq!(find(format!("{by_name}&payer={payer}"), "").await, Vec::<Value>::new());
                assert_eq!(find(by_name.clone(), &stranger.key).await, Vec::<Value>::new());
                assert_eq!(find(by_name, key).await[0]["topup_id"], paid["topup_id"]);
            }
            for name in names {
                for (reader, whole) in [
                    (key, !key.is_empty()),
                    ("", false),
                    (&stranger.key, false),
                    (&stage.api.operator, true),
                ] {
                    let found = find(name.clone(), reader).await;
                    assert_eq!(found.len(), 1, "{name}");
                    assert_eq!(found[0]["topup_id"], paid["topup_id"]);
                    for field in ["balance", "account_id", "audit"] {
                        assert_eq!(found[0].get(field).is_some(), whole, "{field}: {}", found[0]);
                    }
                }
            }
        }
        // One that names an account, and is looked for by whoever paid it.
        let signed = stage.funded(Version::V2, "1.00").await.named("purchase-for-another");
        let body = json!({ "amount": "1.00", "account_id": customer.account }).to_string();
        let gift = stage.send(&signed, "", &body, &[]).await.json(200);
        let name = "payment_id=purchase-for-another";
        let query = format!("{name}&payer={payer}&account_id={}", customer.account);
        assert_eq!(find(query, "").await[0]["topup_id"], gift["topup_id"]);
        let nobody = format!("payer={payer}&nonce=0x{}", "12".repeat(32));
        assert_eq!(find(nobody, "").await, Vec::<Value>::new());
        for query in [
            "",
            name,
            "payer=0x1",
            &format!("payer={payer}"),
            &format!("{name}&transaction=0x{}", "12".repeat(32)),
        ] {
            let answer = stage.api.get(&format!("/api/v1/topups?{query}"), "").await;
            answer.problem(422, "validation_failed");
        }
        stage.holds("3.00").await;
    });
}
