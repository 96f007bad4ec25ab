use std::time::Duration;

use bursar::db::managed::Role;
use serde_json::json;

use super::{Scene, list, register, verdict};
use crate::support::postgres::run;
use crate::support::service::assert_checks;
use crate::webhooks::receiver::Reply;

#[test]
fn what_the_verifier_accepts_is_charged_and_the_rest_goes_back() {
    run(|db| async move {
        let scene = Scene::start(&db).await;
        for (accepted, status, captured, released) in [
            (3, "captured", "0.30", "0.00"),
            (2, "captured", "0.20", "0.10"),
            (0, "released", "0.00", "0.30"),
        ] {
            scene.receiver.next([Reply::Text(200, verdict(accepted))]);
            let checkout = scene.deliver(&[3]).await;
            let settled = scene.settled(&checkout).await;
            let result = &settled["results"][0];
            assert_eq!(
                (&result["status"], &result["accepted"]),
                (&json!(status), &json!(accepted))
            );
            assert_eq!(
                (&settled["captured"], &settled["released"]),
                (&json!(captured), &json!(released))
            );
            let said = &result["verdict"];
            assert_eq!(said["verifier"], scene.verifier["verifier_id"]);
            assert_eq!(said["verifier_name"], "mail-check 7");
            assert_eq!(said["reason"], "asked the server");
            assert_eq!(said["criteria_version"], 1);
            assert_eq!(said["checks"], json!([{"name": "smtp", "passed": accepted > 0}]));
        }
        let calls = scene.receiver.calls();
        assert_eq!(calls.len(), 3);
        let question = calls[0].event();
        assert_eq!(question["evidence"], json!({"email": "ada+0@example.com"}));
        assert_eq!(question["criteria"]["text"], "it takes mail");
        assert_eq!((&question["criteria_version"], &question["quantity"]), (&json!(1), &json!(3)));
        let line = json!({"item": 1, "sku": "lead", "unit": "lead", "unit_price": "0.10"});
        assert_eq!(question["line"], line);
        assert!(!calls[0].body.contains(&scene.account), "whose it is is not said");
        let secret = scene.verifier["secret"].as_str().unwrap();
        assert!(calls.iter().all(|call| call.is_signed_with(secret)));
        assert_checks(&db.url(Role::Service));
    });
}

/// What does not meet the schema is nobody's work.
#[test]
fn the_schema_judges_before_the_verifier() {
    run(|db| async move {
        let scene = Scene::start(&db).await;
        let body = json!({"items": [{"sku": "lead", "quantity": 1}], "max_total": "0.10"});
        let (_, opened) = scene.post(&scene.key, "/api/v1/checkouts", body).await;
        let checkout = opened["checkout_id"].as_str().unwrap();
        let path = format!("/api/v1/checkouts/{checkout}/results");
        let evidence = json!({"phone": "none"});
        let body = json!({"results": [
            {"result_id": "r", "item": 1, "quantity": 1, "evidence": evidence}
        ]});
        let (status, submitted) = scene.post(&scene.service.operator, &path, body).await;
        assert_eq!((status, &submitted["results"][0]["status"]), (201, &json!("released")));
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(scene.receiver.calls().is_empty());
    });
}

/// Whatever is no verdict is unknown, is written down, and is asked again under the same id.
#[test]
fn what_is_no_verdict_is_asked_again() {
    run(|db| async move {
        let scene = Scene::start(&db).await;
        let other = verdict(1).replace("\"criteria_version\":1", "\"criteria_version\":2");
        for (reply, fault) in [
            (Reply::Text(500, verdict(1)), "the answer has status 500"),
            (Reply::Text(201, verdict(1)), "the answer has status 201"),
            (Reply::Status(200), "the answer is not a verdict"),
            (Reply::Text(200, "x".repeat(200_000)), "the answer has more than 131072 bytes"),
            (Reply::Endless, "the answer has more than 131072 bytes"),
            (Reply::Text(200, verdict(4)), "the accepted quantity is not between nothing and what"),
            (Reply::Text(200, other), "the verdict is about other criteria"),
            (Reply::Redirect("http://10.0.0.1/".to_owned()), "the answer has status 307"),
            (Reply::Redirect(scene.receiver.url.clone()), "the answer has status 307"),
            (Reply::Silence, "no answer in time"),
            (Reply::Late(Duration::from_secs(2), verdict(3)), "no answer in time"),
            (Reply::HangUp, "the connection was lost"),
        ] {
            let before = scene.receiver.calls().len();
            scene.receiver.next([reply.clone(), Reply::Text(200, verdict(1))]);
            let checkout = scene.deliver(&[3]).await;
            let settled = scene.settled(&checkout).await;
            let result = &settled["results"][0];
            assert_eq!((&result["accepted"], &settled["captured"]), (&json!(1), &json!("0.10")));
            let calls = &scene.receiver.calls()[before..];
            assert_eq!(calls.len(), 2, "{reply:?}");
            assert_eq!(calls[0].header("webhook-id"), calls[1].header("webhook-id"));
            assert_eq!(calls[0].body, calls[1].body);
            let found: Option<String> = sqlx::query_scalar(
                "select fault from verification_call where attempt = 1 order by called_at desc",
            )
            .fetch_one(&db.owner)
            .await
            .unwrap();
            assert!(found.as_ref().is_some_and(|found| found.starts_with(fault)), "{found:?}");
        }
        assert_checks(&db.url(Role::Service));
    });
}

#[test]
fn unknown_at_the_deadline_releases() {
    run(|db| async move {
        let scene = Scene::with(&db, &super::QUICK, 2).await;
        scene.receiver.always(Reply::Status(500));
        let checkout = scene.deliver(&[3]).await;
        let settled = scene.settled(&checkout).await;
        let result = &settled["results"][0];
        assert_eq!(result["verdict"]["reason"], "verification_timeout");
        assert_eq!((&result["status"], &settled["released"]), (&json!("released"), &json!("0.30")));
        assert_eq!(result["last_call"]["status"], 500);
        assert_eq!(result["last_call"]["unknown"], "the answer has status 500");
        let calls = scene.receiver.calls().len();
        // Seven pauses, each twice as long, and then each half of what is left.
        assert!((3..=16).contains(&calls), "{calls} calls");
        tokio::time::sleep(Duration::from_millis(1500)).await;
        assert_eq!(scene.receiver.calls().len(), calls, "what is settled is not asked about");
        assert_checks(&db.url(Role::Service));
    });
}

/// However long the pauses have become, the last of them ends before the deadline.
#[test]
fn a_verifier_that_comes_back_is_asked_before_the_deadline() {
    run(|db| async move {
        let mut settings = super::QUICK;
        settings[1].1 = "1000";
        let scene = Scene::with(&db, &settings, 6).await;
        // Doubled, the third pause would end after the deadline.
        scene.receiver.next(vec![Reply::Status(500); 3]);
        scene.receiver.always(Reply::Text(200, verdict(3)));
        let checkout = scene.deliver(&[3]).await;
        assert_eq!(scene.settled(&checkout).await["captured"], "0.30");
        assert_eq!(scene.receiver.calls().len(), 4);
    });
}

/// A posted verdict and one that is answered: the first one counts.
#[test]
fn a_posted_verdict_may_come_first() {
    run(|db| async move {
        let scene = Scene::start(&db).await;
        scene.receiver.always(Reply::Late(Duration::from_millis(300), verdict(3)));
        let checkout = scene.deliver(&[3]).await;
        scene.receiver.wait_for(1).await;
        let path = format!("/api/v1/checkouts/{checkout}/results/r0/verdict");
        let body = json!({"verdict": "rejected", "reason": "the operator knows better"});
        let (status, judged) = scene.post(&scene.service.operator, &path, body).await;
        assert_eq!(status, 200, "{judged}");
        tokio::time::sleep(Duration::from_millis(600)).await;
        let seen = scene.checkout(&checkout).await;
        let result = &seen["results"][0];
        assert_eq!(result["verdict"]["reason"], "the operator knows better");
        assert_eq!((&seen["captured"], &seen["released"]), (&json!("0.00"), &json!("0.30")));
        let unknown = result["last_call"]["unknown"].as_str().unwrap();
        assert!(unknown.contains("had been decided"), "{unknown}");
        assert_eq!(scene.receiver.calls().len(), 1);
    });
}

#[test]
fn who_is_called_is_known() {
    run(|db| async move {
        let scene = Scene::start(&db).await;
        let terms = |verification: &str, verifier: Option<&str>| {
            let mut body = json!({
                "title": "lead", "unit": "lead", "unit_price": "0.10", "criteria": {},
                "verification": verification, "delivery_deadline_seconds": 60,
                "verification_deadline_seconds": 60, "dispute_window_seconds": 60,
            });
            if let Some(verifier) = verifier {
                body["verifier_id"] = json!(verifier);
            }
            body
        };
        let known = scene.verifier["verifier_id"].as_str().unwrap();
        let nobody = format!("vfr_{}", "0".repeat(32));
        for body in [terms("http", None), terms("http", Some(&nobody)), terms("push", Some(known))]
        {
            let (status, problem) = list(&scene.service, body).await;
            assert_eq!((status, &problem["field"]), (422, &json!("verifier_id")), "{problem}");
        }
        // The same terms with another verifier begin a version.
        let (_, second) = register(&scene.service, "http://127.0.0.1:9999/other").await;
        let (_, before) = list(&scene.service, terms("http", Some(known))).await;
        let second = second["verifier_id"].as_str().unwrap();
        let (_, after) = list(&scene.service, terms("http", Some(second))).await;
        assert_eq!(
            (before["version"].clone(), after["version"].clone()),
            (json!(2), json!(3)),
            "{after}"
        );
        let (_, again) = list(&scene.service, terms("http", Some(second))).await;
        assert_eq!(again, after, "the same terms do nothing");
        let (_, push) = list(&scene.service, terms("push", None)).await;
        assert_eq!((&push["version"], &push["verifier_id"]), (&json!(4), &json!(null)));
        // Only the operator registers, and sees URLs.
        let path = "/api/v1/admin/verifiers";
        let (status, _) = scene.service.ask("GET", path, Some(&scene.key), None, None).await;
        assert_eq!(status, 403);
        // Registered again, it has a new secret, and both sign for a while.
        let (status, again) = register(&scene.service, &scene.receiver.url).await;
        assert_eq!((status, &again["verifier_id"]), (201, &scene.verifier["verifier_id"]));
        assert!(again["previous_secret_until"].is_string());
        let (status, _) = list(&scene.service, terms("http", Some(known))).await;
        assert_eq!(status, 200);
        scene.receiver.always(Reply::Status(500));
        scene.deliver(&[1]).await;
        let call = &scene.receiver.wait_for(1).await[0];
        for secret in [&again["secret"], &scene.verifier["secret"]] {
            assert!(call.is_signed_with(secret.as_str().unwrap()));
        }
        assert_ne!(again["secret"], scene.verifier["secret"]);
    });
}
