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

/// Whoever answers is up, whatever it says: only what fails in a row opens the circuit.
#[test]
fn an_answer_that_is_no_verdict_is_no_failure() {
    run(|db| async move {
        let mut settings = QUICK;
        settings[3].1 = "2";
        settings[4].1 = "60000";
        let scene = Scene::with(&db, &settings, 3600).await;
        scene.receiver.next([
            Reply::Status(500),
            Reply::Status(404),
            Reply::Status(429),
            Reply::Status(200),
            Reply::HangUp,
            Reply::Text(200, verdict(9)),
            Reply::Status(400),
            Reply::Text(200, verdict(1)),
        ]);
        let checkout = scene.deliver(&[1]).await;
        assert_eq!(scene.settled(&checkout).await["captured"], "0.10");
        assert_eq!(scene.receiver.calls().len(), 8);
        scene.receiver.next([Reply::Status(429), Reply::HangUp]);
        scene.deliver(&[1]).await;
        scene.receiver.wait_for(10).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(scene.standing().await["rests_until"].is_string());
        assert_eq!(scene.receiver.calls().len(), 10);
    });
}

/// Somebody has to notice what nobody is asked about any more.
#[test]
fn the_metrics_show_what_waits_and_for_whom() {
    run(|db| async move {
        let mut settings = QUICK.to_vec();
        settings[3].1 = "2";
        settings[4].1 = "60000";
        settings.push(("BURSAR_VERIFIER_ATTEMPTS", "2"));
        let scene = Scene::with(&db, &settings, 3600).await;
        let shows = async |wanted: [i64; 3]| {
            let names = ["verifications_pending", "verifiers_resting", "verifications_given_up"];
            let mut metrics = String::new();
            for _ in 0..200 {
                let url = format!("{}/metrics", scene.service.url);
                metrics = scene.service.client.get(url).send().await.unwrap().text().await.unwrap();
                let shown = |(name, value): (&str, i64)| {
                    metrics.lines().any(|line| line == format!("bursar_{name} {value}"))
                };
                if names.into_iter().zip(wanted).all(shown) {
                    return metrics;
                }
                tokio::time::sleep(Duration::from_millis(25)).await;
            }
            panic!("not {wanted:?}: {metrics}");
        };
        shows([0, 0, 0]).await;
        scene.receiver.always(Reply::Status(500));
        let checkout = scene.deliver(&[1]).await;
        // There is nothing to ask, and it does not matter how the verifier is.
        shows([0, 0, 1]).await;
        let second = scene.deliver(&[1]).await;
        shows([1, 1, 1]).await;
        let past = "update verification set queued_at = queued_at - interval '1 hour'";
        sqlx::query(past).execute(&db.owner).await.unwrap();
        let oldest = "bursar_verification_oldest_pending_seconds 36";
        assert!(shows([1, 1, 1]).await.contains(oldest));
        let path = format!("/api/v1/checkouts/{checkout}/results/r0/verdict");
        let body = json!({"verdict": "accepted"});
        let (status, judged) = scene.post(&scene.service.operator, &path, body).await;
        assert_eq!(status, 200, "{judged}");
        shows([1, 1, 0]).await;
        // What is decided waits for nobody, though its verifier may be away for ever.
        let path = format!("/api/v1/checkouts/{second}/results/r0/verdict");
        let body = json!({"verdict": "accepted"});
        let (status, judged) = scene.post(&scene.service.operator, &path, body).await;
        assert_eq!(status, 200, "{judged}");
        let waiting = "select count(*) from verification where next_at is not null";
        let waiting: i64 = sqlx::query_scalar(waiting).fetch_one(&db.owner).await.unwrap();
        assert_eq!(waiting, 0);
        // A caller that had it in hand may have said when to ask again.
        let again =
            "update verification set next_at = now() + interval '1 hour', given_up_until = null";
        sqlx::query(again).execute(&db.owner).await.unwrap();
        shows([0, 0, 0]).await;
    });
}

/// After an outage there may be many that somebody judged by hand meanwhile. None of them is worth a
/// probe, or a look of its own.
#[test]
fn what_was_settled_meanwhile_keeps_nobody_waiting() {
    run(|db| async move {
        let mut settings = QUICK;
        settings[2].1 = "1000";
        settings[3].1 = "2";
        let scene = Scene::with(&db, &settings, 3600).await;
        scene.receiver.always(Reply::Status(503));
        let checkout = scene.deliver(&[1; 41]).await;
        scene.receiver.wait_for(2).await;
        let body = json!({"verdict": "rejected"});
        for n in 1..41 {
            let path = format!("/api/v1/checkouts/{checkout}/results/r{n}/verdict");
            let (status, judged) = scene.post(&scene.service.operator, &path, body.clone()).await;
            assert_eq!(status, 200, "{judged}");
        }
        // As if callers had had all of them in hand.
        let again = "update verification set next_at = now() - interval '1 hour'
                     where result_id <> 'r0'";
        sqlx::query(again).execute(&db.owner).await.unwrap();
        scene.receiver.always(Reply::Text(200, verdict(1)));
        let begun = std::time::Instant::now();
        assert_eq!(scene.settled(&checkout).await["captured"], "0.10");
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
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
