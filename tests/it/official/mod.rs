//! End to end with official, unmodified x402 parts on a local chain: the buyers `@x402/fetch` (V2),
//! `x402-fetch` (V1) and Python's `x402`, the official facilitator, and a USDC-like token. The
//! service is the real binary.

mod python;
mod recovery;
mod reorg;
mod system;
pub mod world;

use std::sync::Arc;

use bursar::x402::Wallet;
use serde_json::{Value, json};

use crate::support::postgres::{self, TestDatabase};
use crate::support::service::Service;

use world::World;

const PAY_TO: &str = "0x209693Bc6afc0C5328bA36FaF03C514EF312287C";
const TOPUP: &str = "/api/v1/credits/topup";

/// A world, a service that settles in it, and a wallet with 100 dollars.
struct Stage {
    world: Arc<World>,
    service: Service,
    secret: String,
    address: String,
}

impl Stage {
    async fn set(database: &TestDatabase) -> Self {
        Self::set_with(database, true).await
    }

    async fn set_with(database: &TestDatabase, reads_chain: bool) -> Self {
        let world = Arc::new(World::start().await);
        let facilitator = world.facilitator.clone();
        let mut variables =
            vec![("BURSAR_FACILITATOR_URL", facilitator.as_str()), ("BURSAR_PAY_TO", PAY_TO)];
        let rpc = world.rpc.clone();
        if reads_chain {
            variables.push(("BURSAR_RPC_URL", rpc.as_str()));
        }
        let service = Service::start(database, &variables);
        let secret = [7; 32];
        let address = Wallet::from_secret(&secret).unwrap().address().to_string();
        world.mint(&address, 100_000_000).await;
        let secret = format!("0x{}", hex::encode(secret));
        Self { world, service, secret, address }
    }

    /// A whole purchase by an official buyer.
    async fn buy(&mut self, version: u8, key: Option<&str>, amount: &str, more: Value) -> Value {
        let mut headers = json!({ "content-type": "application/json" });
        if let Some(key) = key {
            headers["authorization"] = json!(format!("Bearer {key}"));
        }
        let mut request = json!({
            "op": "buy", "version": version, "url": format!("{}{TOPUP}", self.service.url),
            "privateKey": self.secret, "headers": headers, "maxValue": "50000000",
            "body": json!({ "amount": amount }).to_string(),
        });
        for (name, value) in more.as_object().into_iter().flatten() {
            request[name] = value.clone();
        }
        self.world.ask(request).await.unwrap()
    }

    /// Sends a recorded request again, perhaps with another key.
    async fn replay(&mut self, sent: &Value, key: Option<&str>) -> Value {
        let mut request = sent.clone();
        request["op"] = json!("request");
        let headers = request["headers"].as_object_mut().unwrap();
        headers.remove("authorization");
        if let Some(key) = key {
            headers.insert("authorization".to_owned(), json!(format!("Bearer {key}")));
        }
        self.world.ask(request).await.unwrap()
    }

    /// What the service has received on the chain, in atomic units.
    async fn received(&mut self) -> i64 {
        self.world.balance(PAY_TO).await
    }

    /// What the ledger says that it has received, over all books, in dollars.
    async fn settled(&self) -> String {
        let path = "/api/v1/ledger/trial-balance";
        let balance = self.service.get(path, &self.service.operator).await;
        let rows = balance["rows"].as_array().unwrap();
        let row = rows.iter().find(|row| row["account"] == "settled_usdc").unwrap();
        row["debit"].as_str().unwrap().to_owned()
    }

    async fn paid_credits(&self, key: &str) -> String {
        let credits = self.service.get("/api/v1/credits", key).await;
        credits["paid"].as_str().unwrap().to_owned()
    }
}

fn body_of(answer: &Value) -> Value {
    serde_json::from_str(answer["body"].as_str().unwrap()).unwrap()
}

/// The request that carried the payment.
fn paid_request(bought: &Value) -> Value {
    bought["requests"].as_array().unwrap().last().unwrap().clone()
}

#[test]
fn official_buyers_of_both_versions_get_what_they_paid_for() {
    postgres::run(|database| async move {
        let mut stage = Stage::set(&database).await;
        let (account, key) = stage.service.sign_up().await;
        let v2 = stage.buy(2, Some(&key), "5.00", json!({})).await;
        assert_eq!(v2["status"], 200, "{v2}");
        let body = body_of(&v2);
        assert_eq!(body["status"], "credited");
        assert_eq!(body["credited"], "5.00");
        assert_eq!(body["account_id"], json!(account));
        assert_eq!(body["network"], "eip155:84532");
        assert_eq!(body["payer"], json!(stage.address.to_lowercase()));
        assert!(v2["headers"]["payment-response"].is_string(), "{v2}");
        assert_eq!(stage.received().await, 5_000_000);

        let v1 = stage.buy(1, Some(&key), "2.50", json!({})).await;
        assert_eq!(v1["status"], 200, "{v1}");
        assert_eq!(body_of(&v1)["credited"], "2.50");
        assert!(v1["headers"]["x-payment-response"].is_string(), "{v1}");
        assert_eq!(stage.received().await, 7_500_000);
        assert_eq!(stage.settled().await, "7.50");
        assert_eq!(stage.paid_credits(&key).await, "7.50");
        assert_eq!(stage.world.balance(&stage.address.clone()).await, 92_500_000);
    });
}

#[test]
fn a_facilitator_is_believed_where_no_chain_is_read() {
    postgres::run(|database| async move {
        let mut stage = Stage::set_with(&database, false).await;
        let (_, key) = stage.service.sign_up().await;
        let bought = stage.buy(2, Some(&key), "1.00", json!({})).await;
        assert_eq!(bought["status"], 200, "{bought}");
        assert_eq!((stage.received().await, stage.settled().await.as_str()), (1_000_000, "1.00"));
    });
}

#[test]
fn a_replayed_payment_credits_once_also_under_two_accounts_and_after_its_window() {
    postgres::run(|database| async move {
        let mut stage = Stage::set(&database).await;
        let (_, key) = stage.service.sign_up().await;
        let (_, other) = stage.service.sign_up().await;
        for version in [2, 1] {
            let bought = stage.buy(version, Some(&key), "1.00", json!({})).await;
            assert_eq!(bought["status"], 200, "{bought}");
            let id = body_of(&bought)["topup_id"].clone();
            let sent = paid_request(&bought);
            let received = stage.received().await;

            let again = stage.replay(&sent, Some(&key)).await;
            assert_eq!((&again["status"], &body_of(&again)["topup_id"]), (&json!(200), &id));
            let stolen = stage.replay(&sent, Some(&other)).await;
            assert_eq!(stolen["status"], 409, "{stolen}");
            assert_eq!(body_of(&stolen)["code"], "payment_bound_elsewhere");
            let bare = stage.replay(&sent, None).await;
            assert_eq!(bare["status"], 200, "{bare}");
            let told = body_of(&bare);
            assert_eq!(told["topup_id"], id);
            assert!(told.get("balance").is_none() && told.get("account_id").is_none(), "{told}");
            assert_eq!(stage.received().await, received, "nothing moved");
        }
        assert_eq!(stage.paid_credits(&key).await, "2.00");
        assert_eq!(stage.paid_credits(&other).await, "0.00");

        // The window is long over on the chain, and the record still answers.
        let bought = stage.buy(2, Some(&key), "1.00", json!({})).await;
        stage.world.ask(json!({ "op": "advance", "seconds": 3_600 })).await.unwrap();
        let late = stage.replay(&paid_request(&bought), Some(&key)).await;
        assert_eq!(late["status"], 200, "{late}");
        assert_eq!(stage.settled().await, "3.00");
    });
}

#[test]
fn one_payment_presented_under_two_accounts_at_once_gives_one_credit() {
    postgres::run(|database| async move {
        let mut stage = Stage::set(&database).await;
        let (_, one) = stage.service.sign_up().await;
        let (_, two) = stage.service.sign_up().await;
        for _ in 0..5 {
            let before = stage.received().await;
            let held = stage.buy(2, Some(&one), "1.00", json!({ "deliver": false })).await;
            let payment = paid_request(&held)["headers"]["payment-signature"].clone();
            let send = |key: String| {
                let request = stage.service.client.post(format!("{}{TOPUP}", stage.service.url));
                let request = request
                    .bearer_auth(key)
                    .header("payment-signature", payment.as_str().unwrap())
                    .header("content-type", "application/json")
                    .body(r#"{"amount":"1.00"}"#);
                async move { request.send().await.unwrap().status().as_u16() }
            };
            let both = tokio::join!(send(one.clone()), send(two.clone()), send(one.clone()));
            let mut statuses = [both.0, both.1, both.2];
            statuses.sort_unstable();
            assert!(
                statuses == [200, 200, 409] || statuses == [200, 409, 409],
                "one account has it: {statuses:?}"
            );
            assert_eq!(stage.received().await, before + 1_000_000);
        }
        assert_eq!(stage.settled().await, "5.00");
    });
}

#[test]
fn a_tampered_payment_credits_nothing_and_the_true_one_still_does() {
    postgres::run(|database| async move {
        let mut stage = Stage::set(&database).await;
        let (_, key) = stage.service.sign_up().await;
        let held = stage.buy(2, Some(&key), "1.00", json!({ "deliver": false })).await;
        let sent = paid_request(&held);
        let header = sent["headers"]["payment-signature"].as_str().unwrap();
        let payment: Value = bursar::x402::header::decode(header).unwrap();
        let authorization = "/payload/authorization";
        for (field, value) in [
            ("value", json!("1")),
            ("value", json!("2000000")),
            ("to", json!(stage.address)),
            ("from", json!(PAY_TO)),
            ("nonce", json!(format!("0x{}", "11".repeat(32)))),
            ("validBefore", json!("99999999999")),
            ("validBefore", json!("1")),
        ] {
            let mut tampered = payment.clone();
            tampered.pointer_mut(authorization).unwrap()[field] = value.clone();
            let mut request = sent.clone();
            request["headers"]["payment-signature"] =
                json!(bursar::x402::header::encode(&tampered));
            let answer = stage.replay(&request, Some(&key)).await;
            let status = answer["status"].as_u64().unwrap();
            assert!((400..500).contains(&status), "{field} = {value}: {answer}");
            assert_eq!(stage.received().await, 0);
        }
        assert_eq!(stage.paid_credits(&key).await, "0.00");
        let answer = stage.replay(&sent, Some(&key)).await;
        assert_eq!(answer["status"], 200, "{answer}");
        assert_eq!((stage.received().await, stage.settled().await.as_str()), (1_000_000, "1.00"));
    });
}

#[test]
fn a_wallet_without_the_money_gets_a_402_and_may_pay_later() {
    postgres::run(|database| async move {
        let mut stage = Stage::set(&database).await;
        let (_, key) = stage.service.sign_up().await;
        let poor = [9; 32];
        let address = Wallet::from_secret(&poor).unwrap().address().to_string();
        let secret = json!({ "privateKey": format!("0x{}", hex::encode(poor)) });
        for version in [2, 1] {
            let refused = stage.buy(version, Some(&key), "1.00", secret.clone()).await;
            assert_eq!(refused["status"], 402, "{refused}");
            assert_eq!(stage.received().await, i64::from(2 - version) * 1_000_000);
            stage.world.mint(&address, 1_000_000).await;
            let paid = stage.replay(&paid_request(&refused), Some(&key)).await;
            assert_eq!(paid["status"], 200, "the same payment, sent again: {paid}");
        }
        assert_eq!(stage.settled().await, "2.00");
    });
}

#[test]
fn a_buyer_without_a_key_can_pay_claim_and_spend() {
    postgres::run(|database| async move {
        let mut stage = Stage::set(&database).await;
        let bought = stage.buy(2, None, "1.00", json!({})).await;
        assert_eq!(bought["status"], 200, "{bought}");
        let topup = body_of(&bought);
        assert!(topup["claim_url"].is_string(), "{topup}");
        assert!(!bought["body"].as_str().unwrap().contains("bur_test_"), "never a key");

        let (status, challenge) =
            stage.service.ask("POST", "/api/v1/wallets/challenge", None, None, None).await;
        assert_eq!(status, 200, "{challenge}");
        let info = challenge.get("info").unwrap_or(&challenge).clone();
        let request = json!({
            "op": "sign_siwx", "challenge": info, "privateKey": stage.secret,
        });
        let signed = stage.world.ask(request).await.unwrap();
        let claim = |header: Value| {
            let request =
                stage.service.client.post(format!("{}/api/v1/wallets/claim", stage.service.url));
            let request = request.header("sign-in-with-x", header.as_str().unwrap().to_owned());
            async move {
                let response = request.send().await.unwrap();
                let status = response.status().as_u16();
                (status, response.json::<Value>().await.unwrap())
            }
        };
        let (status, claimed) = claim(signed["header"].clone()).await;
        assert_eq!(status, 201, "{claimed}");
        let (status, again) = claim(signed["header"].clone()).await;
        assert_eq!(status, 422, "a nonce is good once: {again}");
        assert_eq!(claimed["account_id"], topup["account_id"]);
        let key = claimed["api_key"].as_str().unwrap().to_owned();
        assert_eq!(stage.paid_credits(&key).await, "1.00");

        let terms = json!({
            "title": "A thing", "unit": "thing", "unit_price": "0.40", "criteria": {},
            "delivery_deadline_seconds": 60, "verification_deadline_seconds": 60, "dispute_window_seconds": 60,
        });
        let operator = stage.service.operator.clone();
        let path = "/api/v1/admin/catalog/thing";
        let (status, body) =
            stage.service.ask("PUT", path, Some(&operator), None, Some(terms)).await;
        assert_eq!(status, 200, "{body}");
        let order = json!({ "items": [{ "sku": "thing", "quantity": 2 }], "max_total": "1.00" });
        let (status, body) = stage
            .service
            .ask("POST", "/api/v1/checkouts", Some(&key), Some("o"), Some(order))
            .await;
        assert_eq!(status, 201, "{body}");
        assert_eq!(body["held"], "0.80");
    });
}

#[test]
fn official_validators_accept_the_402_and_the_openapi_document() {
    postgres::run(|database| async move {
        let stage = Stage::set(&database).await;
        let url = format!("{}{TOPUP}", stage.service.url);
        let response = stage.service.client.post(url).send().await.unwrap();
        assert_eq!(response.status().as_u16(), 402);
        let header = response.headers()["payment-required"].to_str().unwrap().to_owned();
        let body = response.text().await.unwrap();
        for request in [
            json!({ "op": "validate_402", "header": header }),
            json!({ "op": "validate_402", "body": body }),
        ] {
            let verdict = stage.world.ask(request).await.unwrap();
            assert_eq!(verdict["valid"], true, "{verdict}");
        }
        let (status, document) = stage.service.ask("GET", "/openapi.json", None, None, None).await;
        assert_eq!(status, 200);
        let request = json!({ "op": "validate_openapi", "document": document });
        let verdict = stage.world.ask(request).await.unwrap();
        assert_eq!(verdict["valid"], true, "{verdict}");
    });
}
