//! What a top-up shows, and to whom: after settlement the payment is public on the chain.

use bursar::x402::Version;
use bursar::x402::siwx::Challenge;
use serde_json::{Value, json};

use super::{Stage, VERSIONS, receipt};
use crate::api::Answer;
use crate::support::postgres::run;

/// Asserts that an answer says what became of the payment and nothing of the account.
fn assert_discreet(answer: &Answer) -> Value {
    let body = answer.json(200);
    assert_eq!((&body["status"], &body["amount"]), (&json!("credited"), &json!("1.00")), "{body}");
    for field in ["topup_id", "network", "payer", "transaction"] {
        assert!(body[field].is_string(), "{body}");
    }
    for field in ["balance", "account_id", "audit"] {
        assert_eq!(body.get(field), None, "{body}");
    }
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
            assert_eq!(kinds, ["refused", "claimed", "settling", "credited"], "{body}");
            assert_eq!(audit[0]["detail"]["reason"], "invalid_exact_evm_insufficient_balance");
            assert_eq!(audit[3]["detail"]["transaction"], body["transaction"]);
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
