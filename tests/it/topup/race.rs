//! Copies of one payment at once, and clients that do not stay for the answer.

use std::time::Duration;

use bursar::ground::TopupId;
use bursar::x402::topup::{Payee, TopupState};
use bursar::x402::{Payment, Version};
use futures_util::future::join_all;
use serde_json::json;
use sqlx::PgPool;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use uuid::Uuid;

use super::front::Act;
use super::{Stage, TOPUP, VERSIONS, receipt};
use crate::api::dollars;
use crate::support::postgres::run;

/// The only top-up.
async fn the_topup(owner: &PgPool) -> TopupId {
    let id: Uuid = sqlx::query_scalar("select topup_id from topup").fetch_one(owner).await.unwrap();
    TopupId(id)
}

#[test]
fn copies_at_once_are_settled_once_and_all_get_the_answer() {
    run(|db| async move {
        let stage = Stage::set(db).await;
        let customer = stage.api.signup(json!([])).await;
        for (turn, (version, key)) in VERSIONS.into_iter().zip([&*customer.key, ""]).enumerate() {
            let signed = stage.funded(version, "1.00").await;
            stage.front.next("settle", Act::hold());
            let copies = join_all((0..8).map(|_| stage.pay(&signed, key, "1.00")));
            let release = async {
                stage.front.arrived("settle", turn + 1).await;
                stage.front.release();
            };
            let (answers, ()) = tokio::join!(copies, release);
            let id = answers[0].json(200)["topup_id"].clone();
            for answer in &answers {
                assert_eq!(answer.json(200)["topup_id"], id);
                assert!(receipt(answer, version).success);
            }
            assert_eq!(stage.front.seen("settle").len(), turn + 1);
        }
        stage.holds("2.00").await;
    });
}

#[test]
fn two_accounts_at_once_give_one_credit() {
    run(|db| async move {
        let stage = Stage::set(db).await;
        let one = stage.api.signup(json!([])).await;
        let two = stage.api.signup(json!([])).await;
        for version in VERSIONS {
            let signed = stage.funded(version, "1.00").await;
            let keys = [one.key.as_str(), &two.key, "", &one.key, &two.key, ""];
            let answers = join_all(keys.map(|key| stage.pay(&signed, key, "1.00"))).await;
            let mut ids: Vec<_> = answers
                .iter()
                .filter(|answer| answer.status == 200)
                .map(|answer| answer.json(200)["topup_id"].clone())
                .collect();
            ids.dedup();
            assert_eq!(ids.len(), 1);
            for answer in answers.iter().filter(|answer| answer.status != 200) {
                answer.problem(409, "payment_bound_elsewhere");
            }
        }
        assert_eq!(stage.front.seen("settle").len(), 2);
        stage.holds("2.00").await;
    });
}

#[test]
fn a_client_that_hangs_up_is_credited_all_the_same() {
    run(|db| async move {
        let stage = Stage::set(db).await;
        let signed = stage.funded(Version::V1, "1.00").await;
        stage.front.next("settle", Act::hold());
        let (name, value) = signed.header();
        let host = stage.api.url.strip_prefix("http://").unwrap();
        let mut client = TcpStream::connect(host).await.unwrap();
        let request = format!(
            "POST {TOPUP} HTTP/1.1\r\nhost: {host}\r\n{name}: {value}\r\ncontent-length: 0\r\n\r\n"
        );
        client.write_all(request.as_bytes()).await.unwrap();
        stage.front.arrived("settle", 1).await;
        // A reset rather than a goodbye.
        client.set_zero_linger().unwrap();
        drop(client);
        stage.front.release();
        let id = the_topup(&stage.api.database.owner).await;
        let record = stage.api.topups.follow(id).await.unwrap();
        assert_eq!(record.state, TopupState::Credited);
        let replay = stage.pay(&signed, "", "1.00").await.json(200);
        assert_eq!(replay["topup_id"], id.to_string());
        stage.holds("1.00").await;
    });
}

#[test]
fn a_request_that_is_dropped_before_its_intent_is_written_is_settled_all_the_same() {
    run(|db| async move {
        let stage = Stage::set(db).await;
        let customer = stage.api.signup(json!([])).await;
        let signed = stage.funded(Version::V2, "1.00").await;
        let payment = Payment::from_value(Version::V2, signed.value.clone()).unwrap();
        let topups = stage.api.topups.clone();
        let checked = topups.check(payment, &topups.terms(dollars("1.00"))).await.unwrap();
        let account = customer.account.parse().unwrap();
        let payee = Payee { account, keyed: true, named: false };

        let owner = &stage.api.database.owner;
        let mut lock = owner.begin().await.unwrap();
        let sql = "lock table topup in share row exclusive mode";
        sqlx::query(sql).execute(&mut *lock).await.unwrap();
        let request = tokio::spawn(async move { topups.settle(checked, payee, None).await });
        let waiting = "select exists (select from pg_locks where not granted
                         and relation = 'topup'::regclass)";
        while !sqlx::query_scalar::<_, bool>(waiting).fetch_one(owner).await.unwrap() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        request.abort();
        assert!(request.await.unwrap_err().is_cancelled());
        stage.front.next("settle", Act::hold());
        lock.rollback().await.unwrap();

        stage.front.arrived("settle", 1).await;
        // Whoever stops the service waits for it too.
        tokio::join!(stage.api.topups.finish(), async { stage.front.release() });
        let record = stage.api.topups.record(the_topup(owner).await).await.unwrap().unwrap();
        assert_eq!(record.state, TopupState::Credited);
        stage.pay(&signed, &customer.key, "1.00").await.json(200);
        stage.holds("1.00").await;
    });
}

#[test]
fn a_client_that_gives_up_early_gets_the_stored_answer_whenever_it_asks() {
    run(|db| async move {
        let stage = Stage::set(db).await;
        let customer = stage.api.signup(json!([])).await;
        for (turn, version) in VERSIONS.into_iter().enumerate() {
            let signed = stage.funded(version, "1.00").await;
            stage.front.next("settle", Act::hold());
            let (name, value) = signed.header();
            let hasty = stage.api.request(reqwest::Method::POST, TOPUP, &customer.key);
            let hasty = hasty.header(name, value).timeout(Duration::from_millis(200)).send();
            assert!(hasty.await.unwrap_err().is_timeout());
            stage.front.arrived("settle", turn + 1).await;
            let copies = join_all((0..8).map(|_| stage.pay(&signed, &customer.key, "1.00")));
            let (mut answers, ()) = tokio::join!(copies, async { stage.front.release() });
            answers.push(stage.pay(&signed, &customer.key, "1.00").await);
            for answer in &answers {
                assert_eq!(answer.json(200), answers[0].json(200));
                assert_eq!(receipt(answer, version), receipt(&answers[0], version));
                assert!(receipt(answer, version).success);
            }
            assert_eq!(stage.front.seen("settle").len(), turn + 1);
        }
        stage.holds("2.00").await;
    });
}
