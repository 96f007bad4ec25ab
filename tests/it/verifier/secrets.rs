//! The secrets that sign questions: put in each other's place, lost and repeated.

use std::time::Duration;

use serde_json::json;

use super::{QUICK, Scene, register, verdict};
use crate::support::postgres::run;
use crate::support::service::{SECRET_KEY, Service};
use crate::webhooks::receiver::Reply;

/// Whoever registers again because the answer was lost still knows the first secret only.
#[test]
fn a_repeated_registration_locks_nobody_out() {
    run(|db| async move {
        let scene = Scene::start(&db).await;
        scene.receiver.always(Reply::Text(200, verdict(1)));
        let secret =
            |registered: &serde_json::Value| registered["secret"].as_str().unwrap().to_owned();
        let first = secret(&scene.verifier);
        let (_, lost) = register(&scene.service, &scene.receiver.url).await;
        let (_, fresh) = register(&scene.service, &scene.receiver.url).await;
        assert_eq!(fresh["previous_secret_until"], lost["previous_secret_until"]);
        let (lost, fresh) = (secret(&lost), secret(&fresh));
        scene.deliver(&[1]).await;
        let call = scene.receiver.wait_for(1).await[0].clone();
        assert!(call.is_signed_with(&first) && call.is_signed_with(&fresh));
        assert!(!call.is_signed_with(&lost));
        // A day later, as far as the database knows.
        let past = "update verifier set previous_until = now() - interval '1 second'";
        sqlx::query(past).execute(&db.owner).await.unwrap();
        scene.deliver(&[1]).await;
        let call = scene.receiver.wait_for(2).await[1].clone();
        assert!(call.is_signed_with(&fresh) && !call.is_signed_with(&first));
        let kept: i64 =
            sqlx::query_scalar("select count(*) from verifier where previous_secret is not null")
                .fetch_one(&db.owner)
                .await
                .unwrap();
        assert_eq!(kept, 0, "it is of no use any more");
    });
}

/// A turn may be long: each round of it signs with what is kept by then.
#[test]
fn a_new_secret_signs_from_the_next_round_on() {
    run(|db| async move {
        let scene = Scene::start(&db).await;
        scene.receiver.always(Reply::Late(Duration::from_millis(300), verdict(1)));
        let checkout = scene.deliver(&[1; 12]).await;
        scene.receiver.wait_for(8).await;
        let (_, fresh) = register(&scene.service, &scene.receiver.url).await;
        scene.settled(&checkout).await;
        let fresh = fresh["secret"].as_str().unwrap();
        let signed =
            scene.receiver.calls().iter().filter(|call| call.is_signed_with(fresh)).count();
        assert_eq!(signed, 4, "all that were asked after the first eight");
    });
}

/// A secret that nobody can read is no secret to sign with beside the new one.
#[test]
fn what_cannot_be_read_is_replaced_by_registering_again() {
    run(|db| async move {
        let other = SECRET_KEY.replace("c3dv", "AAAA");
        let settings = [&QUICK[..], &[("BURSAR_SECRET_KEY", &*other)]].concat();
        // It starts while there is no secret that it could not read.
        let second = Service::start(&db, &settings);
        let scene = Scene::start(&db).await;
        let (status, again) = register(&second, &scene.receiver.url).await;
        assert_eq!((status, &again["verifier_id"]), (201, &scene.verifier["verifier_id"]));
        assert_eq!(again["previous_secret_until"], json!(null));
        scene.receiver.always(Reply::Text(200, verdict(1)));
        let checkout = scene.deliver(&[1]).await;
        assert_eq!(scene.settled(&checkout).await["captured"], "0.10");
        let calls = scene.receiver.calls();
        assert_eq!(calls.len(), 1);
        assert!(calls[0].is_signed_with(again["secret"].as_str().unwrap()));
    });
}

/// A turn that breaks off at once is not begun again at once, and uses up nothing.
#[test]
fn a_verifier_whose_secret_cannot_be_read_is_left_alone_for_a_while() {
    run(|db| async move {
        let scene = Scene::start(&db).await;
        let broken = "update verifier set secret = set_byte(secret, 40, get_byte(secret, 40) # 1)";
        sqlx::query(broken).execute(&db.owner).await.unwrap();
        scene.deliver(&[1]).await;
        tokio::time::sleep(Duration::from_millis(1500)).await;
        let broke_off = scene.service.log.lock().unwrap().matches("a turn broke off").count();
        assert_eq!(broke_off, 1);
        let attempts: i32 = sqlx::query_scalar("select attempts from verification")
            .fetch_one(&db.owner)
            .await
            .unwrap();
        assert_eq!(attempts, 0);
        let (_, again) = register(&scene.service, &scene.receiver.url).await;
        scene.receiver.always(Reply::Text(200, verdict(1)));
        let call = &scene.receiver.wait_for(1).await[0];
        assert!(call.is_signed_with(again["secret"].as_str().unwrap()));
        assert!(!call.header("webhook-signature").contains(' '));
    });
}

/// What waits for a long pause is asked about as soon as there is a new secret, which may have been
/// what was missing.
#[test]
fn registering_again_asks_at_once() {
    run(|db| async move {
        let mut settings = QUICK;
        settings[1].1 = "600000";
        let scene = Scene::with(&db, &settings, 3600).await;
        scene.receiver.next([Reply::Status(500)]);
        scene.receiver.always(Reply::Text(200, verdict(1)));
        let checkout = scene.deliver(&[1]).await;
        scene.receiver.wait_for(1).await;
        while scene.checkout(&checkout).await["results"][0]["last_call"]["ended_at"].is_null() {
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        register(&scene.service, &scene.receiver.url).await;
        assert_eq!(scene.settled(&checkout).await["captured"], "0.10");
        assert_eq!(scene.receiver.calls().len(), 2);
    });
}

/// A verifier that knew another secret answered every call with 401, until there were calls enough.
#[test]
fn what_was_given_up_is_asked_again_under_a_new_secret() {
    run(|db| async move {
        let settings = [&QUICK[..], &[("BURSAR_VERIFIER_ATTEMPTS", "2")]].concat();
        let scene = Scene::with(&db, &settings, 3600).await;
        scene.receiver.always(Reply::Status(401));
        let checkout = scene.deliver(&[1]).await;
        let given_up = async || {
            let open = "select count(*) from verification where given_up_until is null";
            while sqlx::query_scalar::<_, i64>(open).fetch_one(&db.owner).await.unwrap() > 0 {
                tokio::time::sleep(Duration::from_millis(25)).await;
            }
        };
        given_up().await;
        // The wrong one again, and another time.
        for calls in [4, 6] {
            register(&scene.service, &scene.receiver.url).await;
            scene.receiver.wait_for(calls).await;
            given_up().await;
            assert_eq!(scene.receiver.calls().len(), calls);
        }
        scene.receiver.next([Reply::Status(401)]);
        scene.receiver.always(Reply::Text(200, verdict(1)));
        register(&scene.service, &scene.receiver.url).await;
        assert_eq!(scene.settled(&checkout).await["captured"], "0.10");
        let attempts: Vec<i32> =
            sqlx::query_scalar("select attempt from verification_call order by attempt")
                .fetch_all(&db.owner)
                .await
                .unwrap();
        assert_eq!(attempts, [1, 2, 3, 4, 5, 6, 7, 8]);
    });
}

/// It was signed with the old secret, and its answer says nothing about the new one.
#[test]
fn a_call_under_way_at_the_rotation_is_repeated_at_once() {
    run(|db| async move {
        let mut settings = QUICK.to_vec();
        settings[0].1 = "2000";
        settings[1].1 = "600000";
        settings.push(("BURSAR_VERIFIER_ATTEMPTS", "1"));
        let scene = Scene::with(&db, &settings, 3600).await;
        scene.receiver.next([Reply::Late(Duration::from_millis(700), "unknown secret".to_owned())]);
        scene.receiver.always(Reply::Text(200, verdict(1)));
        let checkout = scene.deliver(&[1]).await;
        scene.receiver.wait_for(1).await;
        let (_, fresh) = register(&scene.service, &scene.receiver.url).await;
        assert_eq!(scene.settled(&checkout).await["captured"], "0.10");
        let calls = scene.receiver.calls();
        assert_eq!(calls.len(), 2);
        let fresh = fresh["secret"].as_str().unwrap();
        assert!(!calls[0].is_signed_with(fresh) && calls[1].is_signed_with(fresh));
    });
}
