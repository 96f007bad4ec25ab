//! What one customer can take up, and what is cleared away.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bursar::events::{Courier, CourierSettings, Events};
use bursar::ground::{SecretCipher, SystemClock, SystemEntropy};
use bursar::outbound::{Caller, Reach};
use serde_json::{Value, json};
use sqlx::PgPool;

use super::receiver::{Receiver, Reply};
use super::{QUICK, Scene};
use crate::support::postgres::run;
use crate::support::service::{SECRET_KEY, Service};

async fn count(owner: &PgPool, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(owner).await.unwrap()
}

/// Waits until a count is so much.
async fn counts(owner: &PgPool, sql: &'static str, wanted: i64) {
    for _ in 0..400 {
        if count(owner, sql).await == wanted {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("{sql} is {} and not {wanted}", count(owner, sql).await);
}

/// A step that did all there was to do is followed by a rest; one that left something is not.
#[test]
fn a_courier_rests_when_nothing_is_left() {
    run(|db| async move {
        let idle = [("BURSAR_WEBHOOK_INTERVAL_MS", "60000")];
        let scene = Scene::at(Service::start(&db, &idle)).await;
        let receiver = Receiver::start().await;
        let hook = scene.hook(json!({"url": receiver.url})).await;
        let key: [u8; 32] = STANDARD.decode(SECRET_KEY).unwrap().try_into().unwrap();
        let events = Events::new(
            db.service.clone(),
            Arc::new(SystemClock),
            Arc::new(SystemEntropy),
            Caller::new(Reach::Loopback, true).unwrap(),
            Some(Arc::new(SecretCipher::new(&key))),
        );
        let courier = Courier::new(events, CourierSettings::default());
        assert!(!courier.step().await.unwrap());
        scene.happen().await;
        assert!(!courier.step().await.unwrap(), "one event is no reason to go on at once");
        receiver.wait_for(1).await;
        scene.settled(&hook, "delivered", 1).await;
        assert!(!courier.step().await.unwrap());
        // More events than are queued in a step.
        let sql = "update webhook set spread_seq = spread_seq - 250";
        sqlx::query(sql).execute(&db.owner).await.unwrap();
        assert!(courier.step().await.unwrap(), "there is more to queue");
        assert!(!courier.step().await.unwrap());
        assert_eq!(receiver.calls().len(), 1);
    });
}

#[test]
fn of_one_account_two_webhooks_are_called_at_a_time() {
    run(|db| async move {
        let scene = Scene::start(&db).await;
        let receiver = Receiver::start().await;
        receiver.always(Reply::Slow(Duration::from_millis(200)));
        let mut hooks = Vec::new();
        for _ in 0..6 {
            hooks.push(scene.hook(json!({"url": receiver.url})).await);
        }
        scene.happen().await;
        for hook in &hooks {
            scene.settled(hook, "delivered", 1).await;
        }
        assert_eq!(receiver.calls().len(), 6);
        assert_eq!(receiver.most_at_once(), 2);
    });
}

/// What does not fit stays in the outbox, and is queued when there is room.
#[test]
fn no_more_is_queued_for_a_webhook_with_thousands_waiting() {
    run(|db| async move {
        let scene = Scene::start(&db).await;
        let receiver = Receiver::start().await;
        let hook = scene.hook(json!({"url": receiver.url})).await;
        let fill = "insert into webhook_delivery
                      (slot, book_id, webhook_id, seq, queued_at, next_at)
                    select slot, book_id, webhook_id, 1000000 + n, now(), now() + interval '1 day'
                    from webhook cross join generate_series(1, 5000) as n";
        sqlx::query(fill).execute(&db.owner).await.unwrap();
        scene.happen().await;
        counts(&db.owner, "select count(*) from webhook where crowded", 1).await;
        let path = format!("/api/v1/webhooks/{}", hook.id);
        assert_eq!(scene.get(&path).await["queued_seq"], 1);
        assert_eq!(receiver.calls().len(), 0);
        for sql in [
            "delete from webhook_delivery where seq = 1000001",
            "update webhook set next_at = now()",
        ] {
            sqlx::query(sql).execute(&db.owner).await.unwrap();
        }
        receiver.wait_for(1).await;
        assert_eq!(scene.get(&path).await["queued_seq"], 2);
    });
}

#[test]
fn one_replay_at_a_time() {
    run(|db| async move {
        let scene = Scene::start(&db).await;
        let receiver = Receiver::start().await;
        let hook = scene.hook(json!({"url": receiver.url})).await;
        for _ in 0..4 {
            scene.happen().await;
        }
        scene.settled(&hook, "delivered", 4).await;
        let path = format!("/api/v1/webhooks/{}/replay", hook.id);
        let crowd = |crowded: bool| {
            let sql = if crowded {
                "update webhook set crowded = true"
            } else {
                "update webhook set crowded = false"
            };
            sqlx::query(sql).execute(&db.owner)
        };
        crowd(true).await.unwrap();
        let ask = |body: Value| scene.ask("POST", &path, Some(body));
        let some = json!({"from_seq": 2, "to_seq": 3});
        for _ in 0..2 {
            let (status, answer) = ask(some.clone()).await;
            assert_eq!((status, &answer["from_seq"]), (200, &json!(2)), "{answer}");
            assert_eq!(answer["to_seq"], 3);
        }
        for other in [
            json!({"from_seq": 1, "to_seq": 3}),
            json!({"from_seq": 2, "to_seq": 4}),
            json!({"from_seq": 5}),
        ] {
            let (status, problem) = ask(other).await;
            assert_eq!((status, &problem["code"]), (409, &json!("replay_under_way")));
        }
        crowd(false).await.unwrap();
        receiver.wait_for(6).await;
        scene.settled(&hook, "delivered", 4).await;
        // From each event's own time on, once what was asked before has been queued.
        let page = scene.get("/api/v1/events").await;
        for event in page["data"].as_array().unwrap() {
            let body = json!({"since": event["timestamp"]});
            let mut answer = ask(body.clone()).await;
            while answer.0 == 409 {
                tokio::time::sleep(Duration::from_millis(25)).await;
                answer = ask(body.clone()).await;
            }
            assert_eq!((answer.0, &answer.1["from_seq"]), (200, &event["seq"]));
        }
        let (_, none) = ask(json!({"since": "2999-01-01T00:00:00Z"})).await;
        assert_eq!(none["from_seq"], Value::Null);
    });
}

#[test]
fn a_receiver_that_asks_for_time_gets_it() {
    run(|db| async move {
        let scene = Scene::start(&db).await;
        let receiver = Receiver::start().await;
        let hook = scene.hook(json!({"url": receiver.url})).await;
        receiver.next([Reply::Busy(503, 1000), Reply::Busy(500, 1000)]);
        scene.happen().await;
        let asleep = "select count(*) from webhook where leased_until is null
                      and not_before between now() + interval '15 min' and now() + interval '17 min'";
        counts(&db.owner, asleep, 1).await;
        assert_eq!(receiver.calls().len(), 1);
        let wake = "update webhook set not_before = now(), next_at = now()";
        sqlx::query(wake).execute(&db.owner).await.unwrap();
        // Only those who are overloaded may ask for it.
        scene.settled(&hook, "delivered", 1).await;
        assert_eq!(receiver.calls().len(), 3);
    });
}

#[test]
fn what_has_ended_is_cleared_in_the_background() {
    run(|db| async move {
        let scene = Scene::start(&db).await;
        let (gone, away) = (Receiver::start().await, Receiver::start().await);
        gone.always(Reply::Status(410));
        away.always(Reply::HangUp);
        let deleted = scene.hook(json!({"url": away.url})).await;
        let disabled = scene.hook(json!({"url": gone.url})).await;
        let fill = "insert into webhook_delivery
                      (slot, book_id, webhook_id, seq, queued_at, next_at)
                    select slot, book_id, webhook_id, 1000000 + n, now(), now() + interval '1 day'
                    from webhook cross join generate_series(1, 1500) as n";
        sqlx::query(fill).execute(&db.owner).await.unwrap();
        scene.happen().await;
        let off = "select count(*) from webhook where disabled_at is not null";
        counts(&db.owner, off, 1).await;
        let path = format!("/api/v1/webhooks/{}", deleted.id);
        assert_eq!(scene.ask("DELETE", &path, None).await.0, 200);
        assert_eq!(count(&db.owner, "select count(*) from webhook_ended").await, 2);
        assert_eq!(scene.ask("GET", &format!("{path}/deliveries"), None).await.0, 404);
        // Whoever clears begins at the start.
        let Scene { service, account, key, once } = scene;
        drop(service);
        let scene = Scene { service: Service::start(&db, &QUICK), account, key, once };
        counts(&db.owner, "select count(*) from webhook_ended", 0).await;
        let pending = "select count(*) from webhook_delivery where state = 'pending'";
        assert_eq!(count(&db.owner, pending).await, 0);
        assert_eq!(count(&db.owner, "select count(*) from webhook_delivery").await, 1501);
        let dead = "select count(*) from webhook_delivery where last_error = 'disabled'";
        assert_eq!(count(&db.owner, dead).await, 1500);
        assert_eq!(scene.deliveries(&disabled).await[0]["last_status"], 410);
    });
}

/// A restored ledger tells nobody anything until it is confirmed.
#[test]
fn nothing_is_sent_while_the_ledger_is_restored() {
    run(|db| async move {
        let scene = Scene::start(&db).await;
        let receiver = Receiver::start().await;
        let hook = scene.hook(json!({"url": receiver.url})).await;
        let restored = "insert into restoration values (gen_random_uuid(), now(), now())";
        sqlx::query(restored).execute(&db.owner).await.unwrap();
        let path = format!("/api/v1/webhooks/{}/replay", hook.id);
        assert_eq!(scene.ask("POST", &path, Some(json!({"from_seq": 1}))).await.0, 200);
        tokio::time::sleep(Duration::from_millis(400)).await;
        assert_eq!(receiver.calls().len(), 0);
        let confirmed = "insert into restoration_confirmed
            select restoration_id, now(), 'a test', 'operator', 'all is well' from restoration";
        sqlx::query(confirmed).execute(&db.owner).await.unwrap();
        receiver.wait_for(1).await;
    });
}
