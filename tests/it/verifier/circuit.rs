use std::time::Duration;

use bursar::db::managed::Role;
use serde_json::json;

use super::{QUICK, Scene, verdict};
use crate::support::postgres::run;
use crate::support::service::{Service, assert_checks};
use crate::webhooks::receiver::Reply;

/// After some failures in a row there is a rest, then one call, then a rest, until it answers.
#[test]
fn a_verifier_that_fails_is_given_a_rest() {
    run(|db| async move {
        let mut settings = QUICK;
        settings[3].1 = "3";
        let scene = Scene::with(&db, &settings, 3600).await;
        scene.receiver.always(Reply::Status(503));
        let checkout = scene.deliver(&[1; 12]).await;
        // At most eight calls are under way when the circuit opens.
        scene.receiver.wait_for(3).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        let first = scene.receiver.calls().len();
        assert!((3..=8).contains(&first), "{first}");
        let standing = scene.standing().await;
        assert!(standing["failures"].as_i64().unwrap() >= 3, "{standing}");
        assert!(standing["rests_until"].is_string(), "{standing}");
        assert!(standing.get("secret").is_none());
        // Without a rest of half a second, pauses of 20 milliseconds would have made dozens of calls.
        tokio::time::sleep(Duration::from_millis(1700)).await;
        let probes = scene.receiver.calls().len() - first;
        assert!((1..=4).contains(&probes), "{probes} probes");
        scene.receiver.always(Reply::Text(200, verdict(1)));
        let settled = scene.settled(&checkout).await;
        assert_eq!(settled["captured"], "1.20");
        let standing = scene.standing().await;
        assert_eq!((&standing["failures"], &standing["rests_until"]), (&json!(0), &json!(null)));
        assert_checks(&db.url(Role::Service));
    });
}

/// A verifier that never answers does not keep others waiting, and replicas do not ask twice at once.
#[test]
fn two_replicas_ask_once() {
    run(|db| async move {
        let scene = Scene::start(&db).await;
        let _second = Service::start(&db, &QUICK);
        scene.receiver.always(Reply::Late(Duration::from_millis(150), verdict(1)));
        let checkout = scene.deliver(&[1; 40]).await;
        let settled = scene.settled(&checkout).await;
        assert_eq!(settled["captured"], "4.00");
        let mut ids: Vec<_> = scene
            .receiver
            .calls()
            .iter()
            .map(|call| call.header("webhook-id").to_owned())
            .collect();
        assert_eq!(ids.len(), 40, "nobody was asked twice");
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 40);
        assert!(scene.receiver.most_at_once() <= 16, "eight of each replica");
        assert_checks(&db.url(Role::Service));
    });
}
