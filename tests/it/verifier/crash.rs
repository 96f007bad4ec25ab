use std::time::Duration;

use bursar::db::managed::Role;
use serde_json::json;

use super::{QUICK, Scene, verdict};
use crate::support::postgres::run;
use crate::support::service::{Service, assert_checks};
use crate::webhooks::receiver::Reply;

/// Killed when the answer has come and its verdict is not carried out: it is asked again, and what is
/// answered then is the one outcome.
#[test]
fn a_verdict_that_was_lost_is_asked_for_again() {
    run(|db| async move {
        let mut scene = Scene::start(&db).await;
        scene.receiver.always(Reply::Late(Duration::from_millis(200), verdict(3)));
        let checkout = scene.deliver(&[3]).await;
        scene.receiver.wait_for(1).await;
        // Nobody changes the account now, so that the verdict waits for its lock.
        let mut lock = db.owner.begin().await.unwrap();
        sqlx::query("select from book for update").execute(&mut *lock).await.unwrap();
        tokio::time::sleep(Duration::from_millis(500)).await;
        let (again, operator) = (Service::start(&db, &QUICK), scene.service.operator.clone());
        // Dropped, it ends as `kill -9` does.
        scene.service = again;
        assert_ne!(scene.service.operator, operator);
        lock.rollback().await.unwrap();
        let seen = scene.checkout(&checkout).await;
        assert_eq!(seen["results"][0]["status"], "verifying", "the verdict was lost");
        assert_eq!(seen["results"][0]["last_call"]["ended_at"], json!(null));
        scene.receiver.always(Reply::Text(200, verdict(1)));
        let settled = scene.settled(&checkout).await;
        assert_eq!((&settled["captured"], &settled["released"]), (&json!("0.10"), &json!("0.20")));
        let calls = scene.receiver.calls();
        assert_eq!(calls.len(), 2);
        assert_eq!(calls[0].header("webhook-id"), calls[1].header("webhook-id"));
        assert_checks(&db.url(Role::Service));
    });
}

/// Killed when the verdict is carried out and the call is not marked: nothing is asked again.
#[test]
fn a_verdict_that_was_carried_out_is_not_asked_for_again() {
    run(|db| async move {
        let mut scene = Scene::start(&db).await;
        scene.receiver.always(Reply::Late(Duration::from_millis(200), verdict(3)));
        // The mark waits for this lock, the verdict does not.
        let checkout = scene.deliver(&[3]).await;
        scene.receiver.wait_for(1).await;
        let mut lock = db.owner.begin().await.unwrap();
        sqlx::query("select from verification for update").execute(&mut *lock).await.unwrap();
        let settled = scene.settled(&checkout).await;
        assert_eq!(settled["captured"], "0.30");
        scene.service = Service::start(&db, &QUICK);
        lock.rollback().await.unwrap();
        tokio::time::sleep(Duration::from_millis(6500)).await;
        assert_eq!(scene.receiver.calls().len(), 1);
        let waiting: i64 =
            sqlx::query_scalar("select count(*) from verification where next_at is not null")
                .fetch_one(&db.owner)
                .await
                .unwrap();
        assert_eq!(waiting, 0, "the lease ran out, and there was nothing to ask");
        assert_eq!(scene.checkout(&checkout).await["captured"], "0.30");
        assert_checks(&db.url(Role::Service));
    });
}
