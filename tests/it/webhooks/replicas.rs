use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;

use super::receiver::{Receiver, Reply};
use super::{QUICK, Scene};
use crate::support::postgres::run;
use crate::support::service::Service;

/// Two processes deliver for the same webhook: everything arrives, and nothing twice, because each
/// waits for the other's lease.
#[test]
fn two_processes_send_each_event_once() {
    run(|db| async move {
        let scene = Scene::start(&db).await;
        let _other = Service::start(&db, &QUICK);
        let receiver = Receiver::start().await;
        receiver.always(Reply::Slow(Duration::from_millis(30)));
        let hook = scene.hook(json!({"url": receiver.url})).await;
        for _ in 0..60 {
            scene.happen().await;
        }
        scene.settled(&hook, "delivered", 60).await;
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for call in receiver.calls() {
            *counts.entry(call.header("webhook-id").to_owned()).or_default() += 1;
        }
        assert_eq!(counts.len(), 60);
        assert!(counts.values().all(|count| *count == 1), "{counts:?}");
        assert!(receiver.most_at_once() <= 8, "{}", receiver.most_at_once());
    });
}

/// Killed after it has sent and before it has written that down, a process leaves an event that comes
/// again, under the same id, from whoever is there when the lease is over.
#[test]
fn what_was_sent_and_not_marked_comes_again() {
    run(|db| async move {
        let scene = Scene::start(&db).await;
        let receiver = Receiver::start().await;
        let hook = scene.hook(json!({"url": receiver.url})).await;
        receiver.next([Reply::Slow(Duration::from_secs(20))]);
        scene.happen().await;
        let first = receiver.wait_for(1).await[0].clone();
        let Scene { service, account, key, .. } = scene;
        drop(service);
        let scene = Scene { service: Service::start(&db, &QUICK), account, key, once: 9.into() };
        scene.happen().await;
        let calls = receiver.wait_for(3).await;
        let again =
            calls[1..].iter().filter(|c| c.header("webhook-id") == first.header("webhook-id"));
        let again: Vec<_> = again.collect();
        assert_eq!(again.len(), 1);
        assert_eq!(again[0].body, first.body);
        assert!(again[0].is_signed_with(&hook.secret));
        scene.settled(&hook, "delivered", 2).await;
    });
}

/// An address where nobody listens gets what happened meanwhile when it is back.
#[test]
fn whoever_was_away_gets_everything() {
    run(|db| async move {
        let variables = [("BURSAR_WEBHOOK_BACKOFF_MS", "20"), ("BURSAR_WEBHOOK_TIMEOUT_MS", "400")];
        let scene = Scene::at(Service::start(&db, &variables)).await;
        let receiver = Receiver::start().await;
        let hook = scene.hook(json!({"url": receiver.url})).await;
        receiver.always(Reply::HangUp);
        for _ in 0..40 {
            scene.happen().await;
        }
        receiver.wait_for(10).await;
        receiver.always(Reply::Status(200));
        scene.settled(&hook, "delivered", 40).await;
    });
}
