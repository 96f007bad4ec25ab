use std::time::Duration;

use serde_json::{Value, json};

use super::Scene;
use super::receiver::{Receiver, Reply};
use crate::support::postgres::run;
use crate::support::service::Service;

/// Whatever goes wrong, the same event comes again under the same id, newly signed, until it is taken.
#[test]
fn what_fails_comes_again_until_it_is_taken() {
    run(|db| async move {
        let scene = Scene::start(&db).await;
        for reply in [
            Reply::Status(500),
            Reply::Status(404),
            Reply::Redirect("http://127.0.0.1:9/".to_owned()),
            Reply::Silence,
            Reply::HangUp,
        ] {
            let receiver = Receiver::start().await;
            let hook = scene.hook(json!({"url": receiver.url})).await;
            receiver.next([reply.clone()]);
            scene.happen().await;
            let calls = receiver.wait_for(2).await;
            assert_eq!(calls[0].header("webhook-id"), calls[1].header("webhook-id"), "{reply:?}");
            assert_eq!(calls[0].body, calls[1].body);
            assert!(calls.iter().all(|call| call.is_signed_with(&hook.secret)), "{reply:?}");
            let delivery = &scene.settled(&hook, "delivered", 1).await[0];
            assert_eq!((&delivery["attempts"], &delivery["last_status"]), (&json!(2), &json!(200)));
            assert_eq!(delivery["event_id"], calls[0].header("webhook-id"));
            let (status, _) =
                scene.ask("DELETE", &format!("/api/v1/webhooks/{}", hook.id), None).await;
            assert_eq!(status, 200);
        }
    });
}

/// A 2xx is a success whatever comes with it, and nothing is read of it.
#[test]
fn the_status_alone_counts() {
    run(|db| async move {
        let scene = Scene::start(&db).await;
        let receiver = Receiver::start().await;
        let hook = scene.hook(json!({"url": receiver.url})).await;
        receiver.next([Reply::Endless, Reply::Status(204)]);
        scene.happen().await;
        scene.happen().await;
        let settled = scene.settled(&hook, "delivered", 2).await;
        assert!(settled.iter().all(|delivery| delivery["attempts"] == 1), "{settled:?}");
    });
}

#[test]
fn what_is_never_taken_is_dead_and_can_be_sent_again() {
    run(|db| async move {
        let scene = Scene::start(&db).await;
        let receiver = Receiver::start().await;
        let hook = scene.hook(json!({"url": receiver.url})).await;
        receiver.always(Reply::Status(500));
        scene.happen().await;
        scene.happen().await;
        let dead = scene.settled(&hook, "dead", 2).await;
        for delivery in &dead {
            let told = (&delivery["attempts"], &delivery["last_status"]);
            assert_eq!(told, (&json!(4), &json!(500)), "{delivery}");
            assert!(delivery["ended_at"].is_string() && delivery["next_attempt_at"].is_null());
        }
        assert_eq!(receiver.calls().len(), 8);
        let path = format!("/api/v1/webhooks/{}/deliveries?dead=true&limit=1", hook.id);
        let page = scene.get(&path).await;
        assert_eq!((&page["data"][0], &page["next_cursor"]), (&dead[0], &json!("3")));
        let metrics = reqwest::get(format!("{}/metrics", scene.service.url)).await.unwrap();
        let metrics = metrics.text().await.unwrap();
        assert!(metrics.contains("bursar_webhook_deliveries_dead 2"), "{metrics}");
        // One of them; then everything since the signup, which was before the webhook.
        receiver.always(Reply::Status(200));
        let path = format!("/api/v1/webhooks/{}/replay", hook.id);
        let one = Some(json!({"from_seq": 3, "to_seq": 3}));
        let (status, answer) = scene.ask("POST", &path, one).await;
        assert_eq!((status, &answer["from_seq"], &answer["to_seq"]), (200, &json!(3), &json!(3)));
        let again = receiver.wait_for(9).await;
        assert_eq!(again[8].header("webhook-id"), dead[0]["event_id"].as_str().unwrap());
        let since = Some(json!({"since": "2026-01-01T00:00:00Z"}));
        let (status, answer) = scene.ask("POST", &path, since).await;
        assert_eq!((status, &answer["from_seq"], &answer["to_seq"]), (200, &json!(1), &json!(3)));
        receiver.wait_for(12).await;
        let all = scene.settled(&hook, "delivered", 3).await;
        assert_eq!(all.iter().map(|one| one["seq"].clone()).collect::<Vec<_>>(), [3, 2, 1]);
        let future = Some(json!({"from_seq": 4}));
        let (status, answer) = scene.ask("POST", &path, future).await;
        assert_eq!((status, &answer["from_seq"]), (200, &Value::Null));
    });
}

#[test]
fn a_rotated_secret_signs_beside_the_new_one() {
    run(|db| async move {
        let scene = Scene::start(&db).await;
        let receiver = Receiver::start().await;
        let hook = scene.hook(json!({"url": receiver.url})).await;
        scene.happen().await;
        let first = receiver.wait_for(1).await[0].clone();
        assert!(first.is_signed_with(&hook.secret));
        assert!(!first.header("webhook-signature").contains(' '));
        let path = format!("/api/v1/webhooks/{}/rotate", hook.id);
        let (status, rotated) = scene.ask("POST", &path, None).await;
        assert_eq!(status, 200, "{rotated}");
        let fresh = rotated["secret"].as_str().unwrap();
        assert!(fresh != hook.secret && rotated["previous_secret_until"].is_string());
        scene.happen().await;
        let second = receiver.wait_for(2).await[1].clone();
        assert!(second.is_signed_with(fresh) && second.is_signed_with(&hook.secret));
        assert!(!first.is_signed_with(fresh));
        // Whoever asks again because the answer was lost still knows the first secret only.
        let until = rotated["previous_secret_until"].clone();
        let (_, rotated) = scene.ask("POST", &path, None).await;
        assert_eq!(rotated["previous_secret_until"], until);
        let (lost, fresh) = (fresh, rotated["secret"].as_str().unwrap());
        scene.happen().await;
        let again = receiver.wait_for(3).await[2].clone();
        assert!(again.is_signed_with(fresh) && again.is_signed_with(&hook.secret));
        assert!(!again.is_signed_with(lost));
        // A day later, as far as the database knows.
        let past = "update webhook set previous_until = now() - interval '1 second'";
        sqlx::query(past).execute(&db.owner).await.unwrap();
        scene.happen().await;
        let last = receiver.wait_for(4).await[3].clone();
        assert!(last.is_signed_with(fresh) && !last.is_signed_with(&hook.secret));
    });
}

#[test]
fn a_receiver_that_is_gone_is_called_no_more() {
    run(|db| async move {
        let scene = Scene::start(&db).await;
        let receiver = Receiver::start().await;
        let hook = scene.hook(json!({"url": receiver.url})).await;
        receiver.always(Reply::Status(410));
        scene.happen().await;
        scene.settled(&hook, "dead", 1).await;
        scene.happen().await;
        let read = scene.get(&format!("/api/v1/webhooks/{}", hook.id)).await;
        assert!(read["disabled_at"].is_string(), "{read}");
        let path = format!("/api/v1/webhooks/{}/replay", hook.id);
        let (status, problem) = scene.ask("POST", &path, Some(json!({"from_seq": 1}))).await;
        assert_eq!((status, &problem["code"]), (409, &json!("webhook_disabled")));
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(receiver.calls().len(), 1);
    });
}

/// One that stalls does not hold up another, and is given a rest itself.
#[test]
fn whoever_stalls_holds_up_nobody_else() {
    run(|db| async move {
        let scene = Scene::start(&db).await;
        let (stalling, good) = (Receiver::start().await, Receiver::start().await);
        stalling.always(Reply::Silence);
        scene.hook(json!({"url": stalling.url})).await;
        let hook = scene.hook(json!({"url": good.url})).await;
        for _ in 0..40 {
            scene.happen().await;
        }
        scene.settled(&hook, "delivered", 40).await;
        assert!(stalling.most_at_once() <= 8, "{}", stalling.most_at_once());
    });
}

#[test]
fn secrets_are_neither_in_the_database_nor_in_logs() {
    run(|db| async move {
        let scene = Scene::at(Service::start(&db, &[("BURSAR_LOG", "trace")])).await;
        let receiver = Receiver::start().await;
        let hook = scene.hook(json!({"url": receiver.url})).await;
        scene.happen().await;
        scene.settled(&hook, "delivered", 1).await;
        let base64 = hook.secret.strip_prefix("whsec_").unwrap();
        let bytes = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, base64);
        let hex = hex::encode(bytes.unwrap());
        let sql = "select row_to_json(w)::text from webhook w";
        let row: String = sqlx::query_scalar(sql).fetch_one(&db.owner).await.unwrap();
        let log = scene.service.log.lock().unwrap().clone();
        for place in [&row, &log] {
            assert!(!place.is_empty() && !place.contains(base64) && !place.contains(&hex));
        }
        let listed = scene.get("/api/v1/webhooks").await.to_string();
        assert!(!listed.contains("secret\"") && listed.contains(&receiver.url), "{listed}");
    });
}

#[test]
fn sixteen_webhooks_are_enough_and_none_without_a_key() {
    run(|db| async move {
        let scene = Scene::start(&db).await;
        let body = json!({"url": "http://127.0.0.1:9999/"});
        let many = (0..20).map(|_| scene.ask("POST", "/api/v1/webhooks", Some(body.clone())));
        let answers = futures_util::future::join_all(many).await;
        let made = answers.iter().filter(|(status, _)| *status == 201).count();
        assert!(made <= 16, "{made}");
        for _ in made..16 {
            scene.hook(body.clone()).await;
        }
        let (status, problem) = scene.ask("POST", "/api/v1/webhooks", Some(body.clone())).await;
        assert_eq!((status, &problem["code"]), (409, &json!("too_many_webhooks")));
        let keyless = Service::start(&db, &[("BURSAR_SECRET_KEY", "")]);
        let path = "/api/v1/webhooks";
        let (status, problem) = keyless.ask("POST", path, Some(&scene.key), None, Some(body)).await;
        assert_eq!((status, &problem["code"]), (409, &json!("webhooks_unavailable")));
    });
}

/// What is not to be called is not called, whatever the name says: the address is looked at when it is
/// known.
#[test]
fn a_name_that_leads_inside_is_not_called() {
    run(|db| async move {
        let mut variables = super::QUICK.to_vec();
        variables.push(("BURSAR_ALLOW_PRIVATE_ADDRESSES", "none"));
        let scene = Scene::at(Service::start(&db, &variables)).await;
        let receiver = Receiver::start().await;
        let refused = scene.ask("POST", "/api/v1/webhooks", Some(json!({"url": receiver.url})));
        let (status, problem) = refused.await;
        assert_eq!((status, &problem["field"]), (422, &json!("url")));
        let named = receiver.url.replace("http://127.0.0.1", "https://localhost");
        let hook = scene.hook(json!({"url": named})).await;
        scene.happen().await;
        let dead = &scene.settled(&hook, "dead", 1).await[0];
        assert_eq!(dead["last_error"], "not_allowed", "{dead}");
        assert_eq!(receiver.calls().len(), 0);
    });
}
