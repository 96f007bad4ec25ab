//! One authorization is one payment, however it is spelled and whoever shows it.

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::{Stage, VERSIONS, receipt};
use crate::support::postgres::run;

use super::buyer::Signed;

/// The same authorization in every spelling that facilitators accept.
fn spellings(signed: &Signed) -> Vec<Signed> {
    let loud = |field: &str| {
        let text = signed.value["payload"]["authorization"][field].as_str().unwrap();
        json!(text.to_uppercase().replace("0X", "0x"))
    };
    let lower = signed.value["payload"]["authorization"]["from"].as_str().unwrap().to_lowercase();
    let value = |value: Value| signed.with_signed("value", value);
    vec![
        signed.with_signed("nonce", loud("nonce")),
        signed.with_signed("from", loud("from")),
        signed.with_signed("from", json!(lower)),
        signed.with_signed("to", loud("to")),
        value(json!(1_000_000)),
        value(json!("0xf4240")),
        value(json!("0001000000")),
        signed.with_signed("memo", json!("not signed")),
        signed.with(|payment| {
            let signature = payment["payload"]["signature"].as_str().unwrap().to_uppercase();
            payment["payload"]["signature"] = json!(signature.replace("0X", "0x"));
        }),
        signed.as_v1(),
    ]
}

#[test]
fn another_spelling_is_the_same_payment() {
    run(|db| async move {
        let stage = Stage::set(db).await;
        let customer = stage.api.signup(json!([])).await;
        let signed = stage.funded(VERSIONS[0], "1.00").await;
        let first = stage.pay(&signed, &customer.key, "1.00").await.json(200);
        for spelled in spellings(&signed) {
            let answer = stage.pay(&spelled, &customer.key, "1.00").await;
            assert_eq!(answer.json(200)["topup_id"], first["topup_id"]);
            // The receipt is in the version that this client speaks.
            assert!(receipt(&answer, spelled.version).success);
        }
        assert_eq!(stage.front.seen("settle").len(), 1);
        stage.holds("1.00").await;
        // The other way round, and all at once.
        let signed = stage.funded(VERSIONS[0], "1.00").await;
        let spelled = spellings(&signed);
        let answers = spelled.iter().map(|signed| stage.pay(signed, &customer.key, "1.00"));
        let answers = join_all(answers).await;
        let id = answers[0].json(200)["topup_id"].clone();
        assert_ne!(id, first["topup_id"]);
        assert!(answers.iter().all(|answer| answer.json(200)["topup_id"] == id));
        assert_eq!(stage.front.seen("settle").len(), 2);
        stage.holds("2.00").await;
    });
}

#[test]
fn a_payment_belongs_to_the_account_that_brought_it() {
    run(|db| async move {
        let stage = Stage::set(db).await;
        let owner = stage.api.signup(json!([])).await;
        let thief = stage.api.signup(json!([])).await;
        for version in VERSIONS {
            let signed = stage.funded(version, "1.00").await;
            stage.pay(&signed, &owner.key, "1.00").await.json(200);
            let stolen = stage.pay(&signed, &thief.key, "1.00").await;
            let problem = stolen.problem(409, "payment_bound_elsewhere");
            for word in [&owner.account, "26.00", "balance"] {
                assert!(!stolen.body.contains(word), "{problem}");
            }
            // A key later does not make a wallet's payment its own.
            let signed = stage.funded(version, "1.00").await;
            stage.pay(&signed, "", "1.00").await.json(200);
            stage.pay(&signed, &thief.key, "1.00").await.problem(409, "payment_bound_elsewhere");
        }
        assert_eq!(stage.paid_credits(&thief.key).await, "0.00");
        assert_eq!(stage.paid_credits(&owner.key).await, "2.00");
        stage.holds("4.00").await;
    });
}

#[test]
fn a_payment_that_is_bound_but_open_is_nobody_elses_either() {
    run(|db| async move {
        let stage = Stage::set(db).await;
        let owner = stage.api.signup(json!([])).await;
        let thief = stage.api.signup(json!([])).await;
        // Refused for want of money: nothing was sent, and still it is the first one's.
        let signed = stage.sign(VERSIONS[0], "1.00").await;
        stage.pay(&signed, &owner.key, "1.00").await.json(402);
        stage.fund("1.00").await;
        stage.pay(&signed, &thief.key, "1.00").await.problem(409, "payment_bound_elsewhere");
        let bare = stage.pay(&signed, "", "1.00").await;
        assert_eq!(bare.status, 402, "{}", bare.body);
        assert!(stage.front.seen("settle").is_empty());
        stage.pay(&signed, &owner.key, "1.00").await.json(200);
        // Refused without a key: the wallet's, and not that of whoever names an account later.
        let signed = stage.sign(VERSIONS[1], "1.00").await;
        stage.pay(&signed, "", "1.00").await.json(402);
        stage.fund("1.00").await;
        let named = json!({ "amount": "1.00", "account_id": thief.account }).to_string();
        let answer = stage.send(&signed, "", &named, &[]).await;
        answer.problem(409, "payment_bound_elsewhere");
        stage.pay(&signed, &thief.key, "1.00").await.problem(409, "payment_bound_elsewhere");
        stage.pay(&signed, "", "1.00").await.json(200);
        assert_eq!(stage.paid_credits(&thief.key).await, "0.00");
        stage.holds("2.00").await;
    });
}
