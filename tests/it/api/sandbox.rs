//! The sandbox facilitator and its faucet over HTTP.

use bursar::ground::{Clock, Entropy, SystemEntropy};
use bursar::http::Metrics;
use bursar::x402::eip712::transfer_digest;
use bursar::x402::{Authorization, Nonce, Wallet};
use reqwest::Method;
use serde_json::{Value, json};

use super::{Api, network};
use crate::support::postgres::run;

/// A signed payment of one test dollar, with its requirements, as a facilitator is asked.
fn payment(api: &Api, payer: &Wallet) -> Value {
    let mut nonce = [0; 32];
    SystemEntropy.fill(&mut nonce);
    let now = u64::try_from(api.clock.now().timestamp()).unwrap();
    let authorization = Authorization {
        from: payer.address(),
        to: Wallet::from_secret(&[9; 32]).unwrap().address(),
        value: 1_000_000,
        valid_after: now - 60,
        valid_before: now + 60,
        nonce: Nonce::new(nonce),
    };
    let signature = payer.sign_digest(&transfer_digest(network(), &authorization));
    let requirements = json!({
        "scheme": "exact", "network": network().caip2, "amount": "1000000",
        "asset": network().usdc, "payTo": authorization.to, "maxTimeoutSeconds": 60,
        "extra": {"name": network().domain_name, "version": network().domain_version},
    });
    json!({
        "x402Version": 2,
        "paymentPayload": {
            "x402Version": 2, "accepted": requirements,
            "payload": {
                "signature": format!("0x{}", hex::encode(signature)),
                "authorization": {
                    "from": authorization.from, "to": authorization.to,
                    "value": authorization.value.to_string(),
                    "validAfter": authorization.valid_after.to_string(),
                    "validBefore": authorization.valid_before.to_string(),
                    "nonce": format!("0x{}", hex::encode(nonce)),
                },
            },
        },
        "paymentRequirements": requirements,
    })
}

#[test]
fn a_funded_wallet_pays() {
    run(|db| async move {
        let api = Api::start(db).await;
        let payer = Wallet::from_secret(&[7; 32]).unwrap();
        let supported = api.get("/sandbox/facilitator/supported", "").await.json(200);
        assert_eq!(supported["kinds"][0]["network"], network().caip2);
        let body = payment(&api, &payer);
        let (verify, settle) = ("/sandbox/facilitator/verify", "/sandbox/facilitator/settle");
        let poor = api.post(verify, "", body.clone()).await.json(200);
        assert_eq!(poor["isValid"], false, "{poor}");
        let address = payer.address();
        let funded = json!({"address": address, "amount": "3.00"});
        let funded = api.post("/sandbox/faucet", "", funded).await.json(200);
        assert_eq!([&funded["balance"], &funded["network"]], ["3.00", network().caip2]);
        assert_eq!(api.post(verify, "", body.clone()).await.json(200)["isValid"], true);
        let settled = api.post(settle, "", body.clone()).await.json(200);
        assert_eq!(settled["success"], true, "{settled}");
        assert_eq!(api.post(settle, "", body).await.json(200), settled);
        let balance = api.get(&format!("/sandbox/balance/{address}"), "").await.json(200);
        assert_eq!(balance["balance"], "2.00");
    });
}

#[test]
fn odd_requests_are_refused_in_the_right_words() {
    run(|db| async move {
        let api = Api::start(db).await;
        let raw = api.request(Method::POST, "/sandbox/facilitator/verify", "").body("nonsense");
        let refused = api.send(raw).await.json(400);
        assert_eq!(refused["isValid"], false);
        let address = Wallet::from_secret(&[7; 32]).unwrap().address();
        for (body, field) in [
            (json!({"address": "0x1", "amount": "1"}), "address"),
            (json!({"address": address, "amount": "0"}), "amount"),
            (json!({"address": address, "amount": "1000.01"}), "amount"),
            (json!({"address": address, "amount": "1", "network": "eip155:1"}), "network"),
        ] {
            let answer = api.post("/sandbox/faucet", "", body).await;
            assert_eq!(answer.problem(422, "validation_failed")["field"], field);
        }
        api.get("/sandbox/balance/0x1", "").await.problem(404, "not_found");
    });
}

#[test]
fn without_a_sandbox_there_are_no_such_routes() {
    run(|db| async move {
        let api = Api::start_with(db, false, Metrics::default()).await;
        api.get("/sandbox/facilitator/supported", "").await.problem(404, "not_found");
        let faucet = api.post("/sandbox/faucet", "", json!({})).await;
        faucet.problem(404, "not_found");
        let document = api.get("/openapi.json", "").await.json(200);
        let paths = document["paths"].as_object().unwrap();
        assert!(paths.keys().all(|path| !path.starts_with("/sandbox")));
    });
}
