//! Verdicts that the ledger cannot take just now.

use std::time::Duration;

use bursar::db::managed::Role;
use serde_json::{Value, json};

use super::{QUICK, Scene, verdict};
use crate::support::postgres::{TestDatabase, run};
use crate::support::service::assert_checks;
use crate::webhooks::receiver::Reply;

/// From here on nothing moves.
async fn restore(db: &TestDatabase) {
    let restored = "insert into restoration values (gen_random_uuid(), now(), now())";
    sqlx::query(restored).execute(&db.owner).await.unwrap();
}

/// From here on everything does again.
async fn confirm(db: &TestDatabase) {
    let confirmed = "insert into restoration_confirmed
        select restoration_id, now(), 'a test', 'operator', 'all is well' from restoration";
    sqlx::query(confirmed).execute(&db.owner).await.unwrap();
}

/// The last call about the first result, when it has ended.
async fn ended_call(scene: &Scene, checkout: &str) -> Value {
    for _ in 0..400 {
        let seen = scene.checkout(checkout).await;
        let call = &seen["results"][0]["last_call"];
        if call["ended_at"].is_string() {
            return call.clone();
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("the call does not end");
}

/// Whoever is asked in vain would have no calls left when it matters.
#[test]
fn nobody_is_asked_while_the_ledger_is_restored() {
    run(|db| async move {
        let scene = Scene::start(&db).await;
        scene.receiver.always(Reply::Status(500));
        let checkout = scene.deliver(&[1]).await;
        scene.receiver.wait_for(2).await;
        restore(&db).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        let calls = scene.receiver.calls().len();
        tokio::time::sleep(Duration::from_millis(1000)).await;
        assert_eq!(scene.receiver.calls().len(), calls);
        scene.receiver.always(Reply::Text(200, verdict(1)));
        confirm(&db).await;
        assert_eq!(scene.settled(&checkout).await["captured"], "0.10");
        assert_eq!(scene.receiver.calls().len(), calls + 1);
        assert_checks(&db.url(Role::Service));
    });
}

#[test]
fn a_verdict_is_carried_out_as_soon_as_the_ledger_takes_it() {
    run(|db| async move {
        let scene = Scene::start(&db).await;
        scene.receiver.always(Reply::Late(Duration::from_millis(200), verdict(3)));
        let checkout = scene.deliver(&[3]).await;
        scene.receiver.wait_for(1).await;
        restore(&db).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        confirm(&db).await;
        assert_eq!(scene.settled(&checkout).await["captured"], "0.30");
        assert_eq!(scene.receiver.calls().len(), 1, "there was a verdict already");
        assert_checks(&db.url(Role::Service));
    });
}

/// It is no fault of the verifier, which may be called a single time here.
#[test]
fn a_verdict_that_the_ledger_does_not_take_counts_for_nothing() {
    run(|db| async move {
        let settings = [&QUICK[..], &[("BURSAR_VERIFIER_ATTEMPTS", "1")]].concat();
        let scene = Scene::with(&db, &settings, 3600).await;
        scene.receiver.always(Reply::Late(Duration::from_millis(200), verdict(3)));
        let checkout = scene.deliver(&[3]).await;
        scene.receiver.wait_for(1).await;
        restore(&db).await;
        let call = ended_call(&scene, &checkout).await;
        let why = "the ledger did not take it";
        assert_eq!((&call["status"], &call["unknown"]), (&json!(200), &json!(why)));
        assert_eq!(scene.standing().await["failures"], 0);
        confirm(&db).await;
        assert_eq!(scene.settled(&checkout).await["captured"], "0.30");
        let calls = scene.receiver.calls();
        assert_eq!(calls.len(), 2);
        assert_eq!(calls[0].header("webhook-id"), calls[1].header("webhook-id"));
        let attempts: Vec<i32> =
            sqlx::query_scalar("select attempt from verification_call order by attempt")
                .fetch_all(&db.owner)
                .await
                .unwrap();
        assert_eq!(attempts, [1, 2]);
        assert_checks(&db.url(Role::Service));
    });
}

/// What is still under way may be taken: nobody says that it was not.
#[test]
fn a_verdict_whose_fate_is_not_known_is_not_called_refused() {
    run(|db| async move {
        let scene = Scene::start(&db).await;
        scene.receiver.always(Reply::Late(Duration::from_millis(200), verdict(3)));
        let checkout = scene.deliver(&[3]).await;
        scene.receiver.wait_for(1).await;
        let mut lock = db.owner.begin().await.unwrap();
        sqlx::query("select from book for update").execute(&mut *lock).await.unwrap();
        let call = ended_call(&scene, &checkout).await;
        let why = "it is not known whether the ledger took it";
        assert_eq!((&call["status"], &call["unknown"]), (&json!(200), &json!(why)));
        lock.rollback().await.unwrap();
        assert_eq!(scene.settled(&checkout).await["captured"], "0.30");
        assert_checks(&db.url(Role::Service));
    });
}
