//! The buyer's own name for a purchase: `Idempotency-Key` and `payment-identifier` are the same.

use bursar::x402::Version::{V1, V2};
use futures_util::future::join_all;
use serde_json::{Value, json};

use super::buyer::Buyer;
use super::front::{Act, Says};
use super::{Stage, VERSIONS, assert_unknown, fund};
use crate::support::postgres::run;

const NAME: &str = "purchase-0123456789";
const BODY: &str = r#"{"amount":"1.00"}"#;

impl Stage {
    /// Whether an authorization was ever shown to the facilitator.
    fn was_sent(&self, nonce: &str) -> bool {
        let calls = self.front.seen("verify").into_iter().chain(self.front.seen("settle"));
        calls.map(|body| body.to_string()).any(|body| body.contains(nonce))
    }
}

#[test]
fn the_same_name_and_terms_pay_once_however_often_they_are_signed() {
    run(|db| async move {
        let stage = Stage::set(db).await;
        let customer = stage.api.signup(json!([])).await;
        for (key, name) in [(customer.key.as_str(), "k1"), ("", "k2")] {
            let first = stage.funded(V2, "1.00").await;
            let headers = [("idempotency-key", name)];
            let paid = stage.send(&first, key, BODY, &headers).await.json(200);
            let again = stage.send(&first, key, BODY, &headers).await.json(200);
            assert_eq!(again["topup_id"], paid["topup_id"]);
            // Quotes are the spelling of the standard that never was.
            let quoted = format!("\"{name}\"");
            let quoted = [("idempotency-key", quoted.as_str())];
            for version in VERSIONS {
                let second = stage.funded(version, "1.00").await;
                for headers in [&headers, &quoted] {
                    let answer = stage.send(&second, key, BODY, headers).await.json(200);
                    assert_eq!(answer["topup_id"], paid["topup_id"]);
                    // What brought no money is told no balance, unless by a key of the account.
                    let balance = if key.is_empty() { &Value::Null } else { &paid["balance"] };
                    assert_eq!(&answer["balance"], balance);
                }
                assert!(!stage.was_sent(second.nonce()), "it was paid for already");
            }
        }
        stage.holds("2.00").await;
    });
}

#[test]
fn the_extension_and_the_header_are_one_name() {
    run(|db| async move {
        let stage = Stage::set(db).await;
        let named = stage.funded(V2, "1.00").await.named(NAME);
        let paid = stage.send(&named, "", BODY, &[]).await.json(200);
        let by_header = stage.funded(V1, "1.00").await;
        let headers = [("idempotency-key", NAME)];
        let answer = stage.send(&by_header, "", BODY, &headers).await.json(200);
        assert_eq!(answer["topup_id"], paid["topup_id"]);
        let both = stage.funded(V2, "1.00").await.named(NAME);
        let answer = stage.send(&both, "", BODY, &headers).await.json(200);
        assert_eq!(answer["topup_id"], paid["topup_id"]);
        assert!(!stage.was_sent(by_header.nonce()) && !stage.was_sent(both.nonce()));
        stage.holds("1.00").await;

        let torn = stage.sign(V2, "1.00").await.named(NAME);
        let headers = [("idempotency-key", "another-0123456789")];
        let answer = stage.send(&torn, "", BODY, &headers).await;
        answer.problem(400, "idempotency_key_malformed");
        let short = stage.sign(V2, "1.00").await.named("short");
        stage.send(&short, "", BODY, &[]).await.problem(400, "payment_malformed");
        // By its own name alone it is a repetition.
        assert_eq!(stage.pay(&torn, "", "1.00").await.json(200)["topup_id"], paid["topup_id"]);
        stage.holds("1.00").await;
    });
}

#[test]
fn the_same_name_with_other_terms_is_refused_and_names_the_first() {
    run(|db| async move {
        let stage = Stage::set(db).await;
        let customer = stage.api.signup(json!([])).await;
        let headers = [("idempotency-key", NAME)];
        let first = stage.funded(V2, "1.00").await;
        let paid = stage.send(&first, &customer.key, BODY, &headers).await.json(200);
        for version in VERSIONS {
            let second = stage.funded(version, "2.00").await;
            let other = r#"{"amount":"2.00"}"#;
            let answer = stage.send(&second, &customer.key, other, &headers).await;
            let problem = answer.problem(409, "payment_key_conflict");
            assert_eq!(problem["topup_id"], paid["topup_id"]);
            assert!(!stage.was_sent(second.nonce()));
            // It was refused for its name only.
            stage.pay(&second, &customer.key, "2.00").await.json(200);
        }
        stage.holds("5.00").await;
    });
}

#[test]
fn a_name_is_its_principals_own() {
    run(|db| async move {
        let stage = Stage::set(db).await;
        let customer = stage.api.signup(json!([])).await;
        let other = stage.api.signup(json!([])).await;
        let headers = [("idempotency-key", NAME)];
        // A stranger pays into the account, under a name that its owner is going to use.
        let gift = stage.funded(V2, "1.00").await;
        let body = json!({ "amount": "1.00", "account_id": customer.account }).to_string();
        let gift = stage.send(&gift, "", &body, &headers).await.json(200);
        let mut ids = vec![gift["topup_id"].clone()];
        for key in [customer.key.as_str(), &other.key, ""] {
            let signed = stage.funded(V2, "1.00").await;
            let paid = stage.send(&signed, key, BODY, &headers).await.json(200);
            assert!(!ids.contains(&paid["topup_id"]), "{paid}");
            ids.push(paid["topup_id"].clone());
        }
        stage.holds("4.00").await;
    });
}

#[test]
fn while_the_first_is_open_a_second_is_not_sent() {
    run(|db| async move {
        let stage = Stage::set(db).await;
        let customer = stage.api.signup(json!([])).await;
        let headers = [("idempotency-key", NAME)];
        stage.front.next("settle", Act::twist(Says::Nothing));
        let first = stage.funded(V2, "1.00").await;
        let open = stage.send(&first, &customer.key, BODY, &headers).await;
        let open = assert_unknown(&open, V2);
        let second = stage.funded(V1, "1.00").await;
        let answer = stage.send(&second, &customer.key, BODY, &headers).await;
        assert_eq!(assert_unknown(&answer, V1)["topup_id"], open["topup_id"]);
        assert_eq!(stage.resolve().await, 1);
        let answer = stage.send(&second, &customer.key, BODY, &headers).await.json(200);
        assert_eq!(answer["topup_id"], open["topup_id"]);
        assert!(!stage.was_sent(second.nonce()));
        stage.holds("1.00").await;
    });
}

#[test]
fn of_many_signatures_under_one_name_at_once_one_is_sent() {
    run(|db| async move {
        let stage = Stage::set(db).await;
        let customer = stage.api.signup(json!([])).await;
        let headers = [("idempotency-key", NAME)];
        stage.fund("8.00").await;
        let mut signed = Vec::new();
        for turn in 0..8 {
            signed.push(stage.sign(VERSIONS[turn % 2], "1.00").await);
        }
        let all = signed.iter().map(|signed| stage.send(signed, &customer.key, BODY, &headers));
        let answers = join_all(all).await;
        let paid: Vec<_> = answers.iter().filter(|answer| answer.status == 200).collect();
        let id = &paid[0].json(200)["topup_id"];
        for answer in &answers {
            match answer.status {
                200 => assert_eq!(answer.json(200)["topup_id"], *id),
                _ => assert!(answer.problem(409, "idempotency_in_flight")["retryable"] == true),
            }
        }
        assert_eq!(stage.front.seen("settle").len(), 1);
        stage.holds("1.00").await;
    });
}

#[test]
fn a_name_whose_first_payment_was_never_sent_is_free_for_the_next() {
    run(|db| async move {
        let stage = Stage::set(db).await;
        let customer = stage.api.signup(json!([])).await;
        let headers = [("idempotency-key", NAME)];
        // Two that the wallet could not pay.
        let first = stage.sign(V2, "1.00").await;
        let refused = stage.send(&first, &customer.key, BODY, &headers).await.json(402);
        let second = stage.sign(V1, "1.00").await;
        let again = stage.send(&second, &customer.key, BODY, &headers).await.json(402);
        assert_ne!(again["topup_id"], refused["topup_id"]);
        // Other terms are another purchase, whatever became of the first.
        let other = stage.sign(V2, "2.00").await;
        let answer = stage.send(&other, &customer.key, r#"{"amount":"2.00"}"#, &headers).await;
        answer.problem(409, "payment_key_conflict");
        stage.fund("8.00").await;
        // Many at once, the old ones among them, with the name and without: one of them is sent.
        let mut signed = vec![first, second];
        for turn in 0..4 {
            signed.push(stage.sign(VERSIONS[turn % 2], "1.00").await);
        }
        let named = signed.iter().map(|signed| stage.send(signed, &customer.key, BODY, &headers));
        let answers = join_all(named).await;
        assert!(answers.iter().any(|answer| answer.status == 200), "{answers:?}");
        assert_eq!(stage.front.seen("settle").len(), 1);
        for signed in &signed[..2] {
            // Superseded for good: the answer is that of the one that took its place.
            let answer = stage.send(signed, &customer.key, BODY, &[]).await.json(200);
            assert_eq!(answer["credited"], "1.00");
        }
        for signed in &signed {
            stage.send(signed, &customer.key, BODY, &headers).await.json(200);
        }
        assert_eq!(stage.front.seen("settle").len(), 1);
        stage.holds("1.00").await;
    });
}

#[test]
fn two_payments_cannot_take_each_others_place() {
    run(|db| async move {
        let stage = Stage::set(db).await;
        let customer = stage.api.signup(json!([])).await;
        for round in 0..4 {
            let buyer = Buyer::new(20 + u8::try_from(round).unwrap());
            // Each has a name of its own, and the wallet could pay neither.
            let names = [0, 1].map(|one| format!("purchase-{round}-{one}"));
            let mut signed = Vec::new();
            for name in &names {
                let payment = stage.sign_by(&buyer, VERSIONS[round % 2], "1.00").await;
                let headers = [("idempotency-key", name.as_str())];
                stage.send(&payment, &customer.key, BODY, &headers).await.json(402);
                signed.push(payment);
            }
            fund(&stage.api, &buyer, "2.00").await;
            // Each comes again under the name of the other, and both at once.
            let (owner, service) = (&stage.api.database.owner, &stage.api.database.service);
            let mut held = owner.begin().await.unwrap();
            let lock = "select from topup where state = 'refused' for no key update";
            sqlx::query(lock).execute(&mut *held).await.unwrap();
            let crosswise = [(0, 1), (1, 0)].map(|(payment, name): (usize, usize)| {
                let (signed, name) = (&signed[payment], names[name].clone());
                let (stage, key) = (&stage, &customer.key);
                async move {
                    let headers = [("idempotency-key", name.as_str())];
                    stage.send(signed, key, BODY, &headers).await
                }
            });
            let let_go = async {
                let waiting = "select count(*) from pg_stat_activity
                               where datname = current_database() and wait_event_type = 'Lock'";
                while sqlx::query_scalar::<_, i64>(waiting).fetch_one(service).await.unwrap() < 2 {
                    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                }
                held.commit().await.unwrap();
            };
            let (answers, ()) = tokio::join!(join_all(crosswise), let_go);
            assert!(answers.iter().any(|answer| answer.status == 200), "{answers:?}");
            for answer in answers.iter().filter(|answer| answer.status != 200) {
                answer.problem(409, "idempotency_in_flight");
            }
            let mut ids = Vec::new();
            for payment in &signed {
                let paid = stage.pay(payment, &customer.key, "1.00").await.json(200);
                ids.push(paid["topup_id"].clone());
            }
            assert_eq!(ids[0], ids[1], "one took the place of the other");
            assert_eq!(stage.front.seen("settle").len(), round + 1);
        }
        let taken = "select count(*) from topup where superseded_by is not null";
        let taken: i64 =
            sqlx::query_scalar(taken).fetch_one(&stage.api.database.owner).await.unwrap();
        assert_eq!(taken, 4);
        stage.holds("4.00").await;
    });
}
