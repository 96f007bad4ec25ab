//! A wallet claims its account by signing.

use base64::Engine;
use bursar::x402::Wallet;
use bursar::x402::siwx::{Challenge, SignedChallenge};
use chrono::TimeDelta;
use reqwest::Method;
use serde_json::json;

use super::{Answer, Api};
use crate::support::postgres::run;

fn wallet(n: u8) -> Wallet {
    Wallet::from_secret(&[n; 32]).unwrap()
}

async fn challenge(api: &Api) -> Challenge {
    let answer = api.send(api.request(Method::POST, "/api/v1/wallets/challenge", "")).await;
    serde_json::from_value(answer.json(200)).unwrap()
}

/// Sends a proof in the header of the protocol.
async fn claim(api: &Api, signed: &SignedChallenge) -> Answer {
    let json = serde_json::to_vec(signed).unwrap();
    let header = base64::engine::general_purpose::STANDARD.encode(json);
    let request = api.request(Method::POST, "/api/v1/wallets/claim", "");
    api.send(request.header("SIGN-IN-WITH-X", header)).await
}

#[test]
fn a_wallet_gets_a_key_as_often_as_it_signs() {
    run(|db| async move {
        let api = Api::start(db).await;
        let signed = challenge(&api).await.sign(&wallet(7)).unwrap();
        let first = claim(&api, &signed).await.json(201);
        assert_eq!(first["wallet"], wallet(7).address().lower());
        let key = first["api_key"].as_str().unwrap();
        let credits = api.get("/api/v1/credits", key).await.json(200);
        assert_eq!(credits["account_id"], first["account_id"]);
        assert_eq!(credits["available"], "0.00");
        claim(&api, &signed).await.problem(422, "challenge_invalid");
        // Again, as JSON.
        let signed = challenge(&api).await.sign(&wallet(7)).unwrap();
        let body = serde_json::to_value(&signed).unwrap();
        let second = api.post("/api/v1/wallets/claim", "", body).await.json(201);
        assert_eq!(second["account_id"], first["account_id"]);
        assert_ne!(second["api_key"], first["api_key"]);
        let other = challenge(&api).await.sign(&wallet(8)).unwrap();
        assert_ne!(claim(&api, &other).await.json(201)["account_id"], first["account_id"]);
    });
}

#[test]
fn only_a_good_proof_uses_the_nonce_up() {
    run(|db| async move {
        let api = Api::start(db).await;
        let good = challenge(&api).await.sign(&wallet(7)).unwrap();
        let forged = SignedChallenge { address: wallet(8).address().to_string(), ..good.clone() };
        let refused = claim(&api, &forged).await.problem(422, "signature_invalid");
        assert_eq!(refused["reason"], "invalid_siwx_signature");
        let elsewhere = SignedChallenge { uri: format!("{}/other", api.url), ..good.clone() };
        let refused = claim(&api, &elsewhere).await.problem(422, "challenge_invalid");
        assert_eq!(refused["reason"], "invalid_siwx_uri_mismatch");
        claim(&api, &good).await.json(201);
    });
}

#[test]
fn a_proof_is_ours_fresh_and_readable() {
    run(|db| async move {
        let api = Api::start(db).await;
        let mut invented = challenge(&api).await;
        invented.info.nonce = "0123456789abcdef0123456789abcdef".to_owned();
        let invented = invented.sign(&wallet(7)).unwrap();
        claim(&api, &invented).await.problem(422, "challenge_invalid");
        let stale = challenge(&api).await.sign(&wallet(7)).unwrap();
        api.clock.advance(TimeDelta::minutes(6));
        claim(&api, &stale).await.problem(422, "challenge_invalid");
        let path = "/api/v1/wallets/claim";
        let nothing = api.send(api.request(Method::POST, path, "")).await;
        assert_eq!(nothing.problem(422, "validation_failed")["field"], "SIGN-IN-WITH-X");
        let odd = api.request(Method::POST, path, "").header("SIGN-IN-WITH-X", "%%%");
        api.send(odd).await.problem(400, "malformed_request");
        api.post(path, "", json!({"domain": 1})).await.problem(422, "validation_failed");
        let both = api.request(Method::POST, path, "").header("SIGN-IN-WITH-X", "e30=");
        api.send(both.json(&stale)).await.problem(400, "malformed_request");
    });
}
