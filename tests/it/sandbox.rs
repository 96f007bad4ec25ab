//! The sandbox facilitator's books: money moves once, whole, and never from nothing.

use std::sync::Arc;

use bursar::ground::{Amount, Clock, Entropy, ShiftedClock, SystemEntropy};
use bursar::x402::eip712::{digest, transfer_hash};
use bursar::x402::sandbox::{Delivery, Sandbox, SandboxError, Spoken};
use bursar::x402::{Address, Authorization, Network, Nonce, Wallet};
use chrono::TimeDelta;
use futures_util::future::join_all;
use serde_json::{Value, json};

use super::support::postgres::{TestDatabase, run};

const USED: &str = "invalid_exact_evm_nonce_already_used";
const POOR: &str = "invalid_exact_evm_insufficient_balance";

fn network() -> &'static Network {
    Network::by_caip2("eip155:84532").unwrap()
}

fn wallet(n: u8) -> Wallet {
    Wallet::from_secret(&[n; 32]).unwrap()
}

/// A nonce of its own for each payment.
fn nonce() -> [u8; 32] {
    let mut bytes = [0; 32];
    SystemEntropy.fill(&mut bytes);
    bytes
}

fn dollars(text: &str) -> Amount {
    text.parse().unwrap()
}

/// A sandbox on the database of a test, and the clock that moves its time.
struct Scene {
    sandbox: Sandbox,
    clock: Arc<ShiftedClock>,
    database: TestDatabase,
}

impl Scene {
    fn new(database: TestDatabase) -> Self {
        let clock = Arc::new(ShiftedClock::default());
        let pool = database.service.clone();
        let sandbox = Sandbox::new(pool, clock.clone(), Arc::new(SystemEntropy), vec![network()]);
        Self { sandbox, clock, database }
    }

    async fn give(&self, to: &Wallet, amount: &str) {
        let given =
            self.sandbox.faucet(network().caip2, network().usdc, to.address(), dollars(amount));
        given.await.unwrap();
    }

    async fn balance(&self, of: &Wallet) -> Amount {
        self.sandbox.balance(network().caip2, network().usdc, of.address()).await.unwrap()
    }

    /// The body of `/verify` and `/settle` for a fresh payment valid for five minutes.
    fn payment(&self, from: &Wallet, to: &Wallet, amount: &str) -> Value {
        self.payment_with_nonce(from, to, amount, nonce())
    }

    fn payment_with_nonce(
        &self,
        from: &Wallet,
        to: &Wallet,
        amount: &str,
        nonce: [u8; 32],
    ) -> Value {
        let now = u64::try_from(self.clock.now().timestamp()).unwrap();
        let authorization = Authorization {
            from: from.address(),
            to: to.address(),
            value: u128::try_from(dollars(amount).micros()).unwrap(),
            valid_after: now - 1,
            valid_before: now + 300,
            nonce: Nonce::new(nonce),
        };
        let hash = transfer_hash(&authorization);
        let signature = from.sign_digest(&digest(&network().domain().separator(), &hash));
        let requirements = json!({
            "scheme": "exact", "network": network().caip2, "asset": network().usdc,
            "amount": authorization.value.to_string(), "payTo": to.address(),
            "maxTimeoutSeconds": 300, "extra": {"name": "USDC", "version": "2"},
        });
        let payload = json!({
            "authorization": authorization.to_value(),
            "signature": format!("0x{}", hex::encode(signature)),
        });
        json!({
            "x402Version": 2,
            "paymentPayload": {"x402Version": 2, "accepted": requirements, "payload": payload},
            "paymentRequirements": requirements,
        })
    }

    /// Status and body of a settlement that meets no fault.
    async fn said(&self, payment: &Value) -> (u16, Value) {
        let Spoken { status, body, delivery } = self.sandbox.settle(payment).await;
        assert_eq!(delivery, Delivery::AtOnce);
        (status, body)
    }

    /// The transaction of a settlement, or the reason why there is none.
    async fn settle(&self, payment: &Value) -> Result<String, String> {
        let (_, answer) = self.said(payment).await;
        let text = |key: &str| answer[key].as_str().unwrap().to_owned();
        if answer["success"] == true { Ok(text("transaction")) } else { Err(text("errorReason")) }
    }

    /// The reason why a payment is not valid, if it is not.
    async fn verify(&self, payment: &Value) -> Option<String> {
        let (_, answer) = self.sandbox.verify(payment).await;
        assert_eq!(answer["isValid"], answer["invalidReason"].is_null());
        answer["invalidReason"].as_str().map(str::to_owned)
    }
}

#[test]
fn a_payment_moves_the_money_once_and_stays_settled() {
    run(|database| async move {
        let scene = Scene::new(database);
        let (buyer, shop) = (wallet(1), wallet(2));
        scene.give(&buyer, "5.00").await;
        let payment = scene.payment(&buyer, &shop, "1.25");
        assert_eq!(scene.verify(&payment).await, None);
        assert_eq!(scene.balance(&shop).await, Amount::ZERO, "a verification moves nothing");

        let (status, first) = scene.said(&payment).await;
        assert_eq!((status, &first["success"]), (200, &json!(true)));
        assert_eq!(first["network"], "eip155:84532");
        assert_eq!(first["payer"], json!(buyer.address()));
        assert_eq!(first["transaction"].as_str().unwrap().len(), 66);
        scene.clock.advance(TimeDelta::days(1));
        assert_eq!(scene.said(&payment).await, (200, first));
        assert_eq!(scene.balance(&buyer).await, dollars("3.75"));
        assert_eq!(scene.balance(&shop).await, dollars("1.25"));
    });
}

#[test]
fn a_settlement_vouches_for_no_other_terms_and_no_other_signature() {
    run(|database| async move {
        let scene = Scene::new(database);
        let (buyer, shop) = (wallet(1), wallet(2));
        scene.give(&buyer, "5.00").await;
        let nonce = [3; 32];
        let payment = scene.payment_with_nonce(&buyer, &shop, "1.00", nonce);
        scene.settle(&payment).await.unwrap();
        assert_eq!(scene.verify(&payment).await.as_deref(), Some(USED));

        let other = scene.payment_with_nonce(&buyer, &shop, "1.01", nonce);
        assert_eq!(scene.settle(&other).await, Err(USED.to_owned()));
        let mut dearer = payment.clone();
        dearer["paymentRequirements"]["amount"] = json!("2000000");
        let mismatch = "invalid_exact_evm_payload_authorization_value_mismatch";
        assert_eq!(scene.settle(&dearer).await, Err(mismatch.to_owned()));
        let mut forged = payment.clone();
        forged["paymentPayload"]["payload"]["signature"] = json!(format!("0x{}", "11".repeat(65)));
        assert_eq!(scene.settle(&forged).await, Err("invalid_exact_evm_signature".to_owned()));
        assert_eq!(scene.balance(&shop).await, dollars("1.00"));
    });
}

#[test]
fn nobody_pays_what_he_has_not() {
    run(|database| async move {
        let scene = Scene::new(database);
        let (buyer, shop) = (wallet(1), wallet(2));
        let payment = scene.payment(&buyer, &shop, "1.00");
        assert_eq!(scene.verify(&payment).await.as_deref(), Some(POOR));
        assert_eq!(scene.settle(&payment).await, Err(POOR.to_owned()));
        scene.give(&buyer, "0.999999").await;
        assert_eq!(scene.settle(&payment).await, Err(POOR.to_owned()));
        assert_eq!(scene.balance(&buyer).await, dollars("0.999999"));
        assert_eq!(scene.balance(&shop).await, Amount::ZERO);
        scene.give(&buyer, "0.000001").await;
        scene.settle(&payment).await.expect("a refusal used up no nonce");
        assert_eq!(scene.balance(&buyer).await, Amount::ZERO);
    });
}

#[test]
fn a_payment_after_its_window_is_refused() {
    run(|database| async move {
        let scene = Scene::new(database);
        let (buyer, shop) = (wallet(1), wallet(2));
        scene.give(&buyer, "1.00").await;
        let payment = scene.payment(&buyer, &shop, "1.00");
        scene.clock.advance(TimeDelta::seconds(300));
        let expired = "invalid_exact_evm_payload_authorization_valid_before";
        assert_eq!(scene.verify(&payment).await.as_deref(), Some(expired));
        assert_eq!(scene.settle(&payment).await, Err(expired.to_owned()));
        assert_eq!(scene.balance(&buyer).await, dollars("1.00"));
    });
}

#[test]
fn copies_of_one_payment_at_once_are_one_settlement() {
    run(|database| async move {
        let scene = Scene::new(database);
        let (buyer, shop) = (wallet(1), wallet(2));
        scene.give(&buyer, "5.00").await;
        let payment = scene.payment(&buyer, &shop, "1.00");
        let answers = join_all((0..16).map(|_| scene.settle(&payment))).await;
        let first = answers[0].clone().unwrap();
        assert!(answers.iter().all(|answer| answer.as_ref() == Ok(&first)), "{answers:?}");
        assert_eq!(scene.balance(&shop).await, dollars("1.00"));

        let nonce = [4; 32];
        let rivals: Vec<_> = (1..=8)
            .map(|n| scene.payment_with_nonce(&buyer, &shop, &format!("0.0{n}"), nonce))
            .collect();
        let answers = join_all(rivals.iter().map(|payment| scene.settle(payment))).await;
        let refused = answers.iter().filter(|answer| answer.as_ref() == Err(&USED.to_owned()));
        assert_eq!((answers.iter().filter(|a| a.is_ok()).count(), refused.count()), (1, 7));
    });
}

#[test]
fn payments_at_once_never_spend_more_than_there_is() {
    run(|database| async move {
        let scene = Scene::new(database);
        let (buyer, shop) = (wallet(1), wallet(2));
        scene.give(&buyer, "10.00").await;
        let payments: Vec<_> = (0..24).map(|_| scene.payment(&buyer, &shop, "1.00")).collect();
        let answers = join_all(payments.iter().map(|payment| scene.settle(payment))).await;
        let refused = answers.iter().filter(|answer| answer.as_ref() == Err(&POOR.to_owned()));
        assert_eq!((answers.iter().filter(|a| a.is_ok()).count(), refused.count()), (10, 14));
        assert_eq!(scene.balance(&buyer).await, Amount::ZERO);
        assert_eq!(scene.balance(&shop).await, dollars("10.00"));
    });
}

#[test]
fn payments_that_cross_do_not_block_each_other() {
    run(|database| async move {
        let scene = Scene::new(database);
        let (one, other) = (wallet(1), wallet(2));
        scene.give(&one, "10.00").await;
        scene.give(&other, "10.00").await;
        let payments: Vec<_> = (0..20)
            .flat_map(|_| {
                [scene.payment(&one, &other, "0.10"), scene.payment(&other, &one, "0.20")]
            })
            .chain([scene.payment(&one, &one, "0.30")])
            .collect();
        let answers = join_all(payments.iter().map(|payment| scene.settle(payment))).await;
        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
        assert_eq!(scene.balance(&one).await, dollars("12.00"));
        assert_eq!(scene.balance(&other).await, dollars("8.00"));
    });
}

#[test]
fn the_faucet_gives_within_bounds_and_only_what_the_sandbox_knows() {
    run(|database| async move {
        let scene = Scene::new(database);
        let address = wallet(1).address();
        let (name, usdc) = ("base-sepolia", network().usdc);
        let ask = |name, asset, amount| scene.sandbox.faucet(name, asset, address, amount);
        assert_eq!(ask(name, usdc, Sandbox::FAUCET_MAX).await.unwrap(), Sandbox::FAUCET_MAX);
        let too_much = Sandbox::FAUCET_MAX.checked_add(Amount::micros_of(1)).unwrap();
        for amount in [Amount::ZERO, too_much] {
            assert!(matches!(ask(name, usdc, amount).await, Err(SandboxError::Faucet { .. })));
        }
        let five = dollars("5.00");
        assert!(matches!(ask("eip155:8453", usdc, five).await, Err(SandboxError::Network)));
        let nothing = Address::new([0; 20]);
        assert!(matches!(ask(name, nothing, five).await, Err(SandboxError::Asset)));
        assert_eq!(scene.balance(&wallet(1)).await, Sandbox::FAUCET_MAX);
    });
}

#[test]
fn what_cannot_be_read_or_done_is_no_refusal_of_the_payment() {
    run(|database| async move {
        let scene = Scene::new(database);
        let (status, answer) = scene.said(&json!({"x402Version": 2})).await;
        assert_eq!((status, &answer["errorReason"]), (400, &json!("invalid_payload")));
        assert_eq!((&answer["transaction"], &answer["network"]), (&json!(""), &json!("")));

        let payment = scene.payment(&wallet(1), &wallet(2), "1.00");
        scene.database.service.close().await;
        let (status, answer) = scene.said(&payment).await;
        assert_eq!((status, &answer["errorReason"]), (503, &json!("unexpected_settle_error")));
        let (status, answer) = scene.sandbox.verify(&payment).await;
        assert_eq!((status, &answer["invalidReason"]), (503, &json!("unexpected_verify_error")));
    });
}

#[test]
fn it_serves_both_versions() {
    run(|database| async move {
        let supported = Scene::new(database).sandbox.supported();
        let kinds = supported["kinds"].as_array().unwrap();
        for (version, name) in [(2, "eip155:84532"), (1, "base-sepolia")] {
            let kind = json!({"x402Version": version, "scheme": "exact", "network": name});
            assert!(kinds.contains(&kind), "{kind}");
        }
        assert_eq!(kinds.len(), 2);
    });
}
