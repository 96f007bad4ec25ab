use futures_util::future::join_all;
use serde_json::{Value, json};

use super::Scene;
use super::receiver::Receiver;
use crate::support::postgres::run;

/// While many write, a reader who always asks from where it was sees every number once, in order.
#[test]
fn the_cursor_leaves_nothing_out_while_others_write() {
    run(|db| async move {
        let scene = Scene::start(&db).await;
        let write = |writer: usize| {
            let scene = &scene;
            async move {
                for n in 0..15 {
                    let items = json!([{"sku": "lead", "quantity": 1}]);
                    let body = json!({"items": items, "max_total": "0.10"});
                    let (once, path) = (format!("{writer}-{n}"), "/api/v1/checkouts");
                    let key = Some(scene.key.as_str());
                    let asked = scene.service.ask("POST", path, key, Some(&once), Some(body));
                    assert_eq!(asked.await.0, 201);
                }
            }
        };
        let writers = join_all((0..8).map(write));
        let wanted = 1 + 8 * 15;
        let read = async {
            let (mut cursor, mut seen) = ("0".to_owned(), Vec::new());
            while seen.len() < wanted {
                let page = scene.get(&format!("/api/v1/events?limit=7&after={cursor}")).await;
                seen.extend(page["data"].as_array().unwrap().iter().map(|e| e["seq"].clone()));
                cursor = page["next_cursor"].as_str().unwrap().to_owned();
            }
            seen
        };
        let (_, seen) = futures_util::future::join(writers, read).await;
        let expected: Vec<Value> = (1..=wanted).map(Value::from).collect();
        assert_eq!(seen, expected);
    });
}

#[test]
fn events_say_what_happened_and_belong_to_their_account() {
    run(|db| async move {
        let scene = Scene::start(&db).await;
        scene.happen().await;
        let page = scene.get("/api/v1/events").await;
        let (grant, opened) = (&page["data"][0], &page["data"][1]);
        assert_eq!(grant["type"], "grant.credited");
        assert_eq!(grant["data"]["amount"], "25.00");
        assert_eq!(opened["type"], "checkout.opened");
        let checkout = opened["data"]["checkout_id"].as_str().unwrap();
        scene.get(&format!("/api/v1/checkouts/{checkout}")).await;
        assert_eq!(opened["account_id"], scene.account.as_str());
        assert_eq!((&page["next_cursor"], &page["has_more"]), (&json!("2"), &json!(false)));
        let only = scene.get("/api/v1/events?type=checkout.opened&limit=1").await;
        assert_eq!((&only["data"][0], &only["next_cursor"]), (opened, &json!("2")));
        let none = scene.get("/api/v1/events?type=lot.expired").await;
        assert_eq!((&none["data"], &none["next_cursor"]), (&json!([]), &json!("2")));
        let by_operator = format!("/api/v1/events?account_id={}", scene.account);
        assert_eq!(scene.service.get(&by_operator, &scene.service.operator).await, page);
        let (_, other) = scene.service.sign_up().await;
        let asked = scene.service.ask("GET", &by_operator, Some(&other), None, None).await;
        assert_eq!(asked.0, 404);
    });
}

/// Of what has several parts an event names the part.
#[test]
fn events_name_the_part_of_a_checkout_or_charge_that_they_are_about() {
    run(|db| async move {
        let scene = Scene::start(&db).await;
        let service = &scene.service;
        let (fulfiller, verifier) = (
            service.staff("fulfiller", &["lead"]).await,
            service.staff("verifier", &["lead"]).await,
        );
        let said = async |path: &str, key: &str, once: &str, body: Value| {
            let (status, answer) =
                service.ask("POST", path, Some(key), Some(once), Some(body)).await;
            assert!((200..300).contains(&status), "{path}: {answer}");
            answer
        };
        let items = json!([{"sku": "lead", "quantity": 4}]);
        let order = json!({"items": items, "max_total": "1.00"});
        let opened = said("/api/v1/checkouts", &scene.key, "order", order).await;
        let checkout = format!("/api/v1/checkouts/{}", opened["checkout_id"].as_str().unwrap());
        let results: Vec<_> = ["good", "bad"]
            .map(|name| json!({"result_id": name, "item": 1, "quantity": 2, "evidence": {}}))
            .into();
        let path = format!("{checkout}/results");
        said(&path, &fulfiller, "results", json!({ "results": results })).await;
        for (name, verdict) in [("good", "accepted"), ("bad", "rejected")] {
            let path = format!("{checkout}/results/{name}/verdict");
            said(&path, &verifier, name, json!({"verdict": verdict, "reason": "seen"})).await;
        }
        let events = scene.get("/api/v1/events?type=charge.captured").await;
        let charge = events["data"][0]["data"]["charge_id"].as_str().unwrap().to_owned();
        let path = format!("/api/v1/charges/{charge}/reversals");
        let back = json!({"amount": "0.01", "reason": "late"});
        let reversal = said(&path, &verifier, "back", back).await;
        let path = format!("/api/v1/charges/{charge}/disputes");
        let doubt = json!({"amount": "0.01", "reason": "half is missing"});
        let dispute = said(&path, &scene.key, "doubt", doubt).await;
        let parts = [
            ("result.submitted", "result_id", json!(["good", "bad"])),
            ("result.accepted", "result_id", json!(["good"])),
            ("result.released", "result_id", json!(["bad"])),
            ("charge.reversed", "reversal_id", json!([reversal["reversal_id"]])),
            ("charge.disputed", "dispute_id", json!([dispute["dispute_id"]])),
        ];
        for (kind, member, expected) in parts {
            let events = scene.get(&format!("/api/v1/events?type={kind}")).await;
            let data = events["data"].as_array().unwrap().iter();
            let named: Vec<_> = data.map(|event| event["data"][member].clone()).collect();
            assert_eq!(json!(named), expected, "{kind}");
        }
    });
}

/// A webhook gets what happens from its beginning on, of the types it asked for; the same as the feed.
#[test]
fn a_webhook_gets_what_the_feed_has() {
    run(|db| async move {
        let scene = Scene::start(&db).await;
        let (all, some) = (Receiver::start().await, Receiver::start().await);
        let hook = scene.hook(json!({"url": all.url})).await;
        scene.hook(json!({"url": some.url, "types": ["checkout.canceled"]})).await;
        scene.happen().await;
        let page = scene.get("/api/v1/events?after=1").await;
        let checkout = page["data"][0]["data"]["checkout_id"].as_str().unwrap();
        let path = format!("/api/v1/checkouts/{checkout}/cancel");
        let canceled = scene.service.ask("POST", &path, Some(&scene.key), Some("c"), None).await;
        assert_eq!(canceled.0, 200);
        let mut calls: Vec<Value> = all.wait_for(2).await.iter().map(|c| c.event()).collect();
        calls.sort_by_key(|event| event["seq"].as_i64());
        let page = scene.get("/api/v1/events?after=1").await;
        assert_eq!(Value::from(calls), page["data"]);
        let call = some.wait_for(1).await[0].clone();
        assert_eq!(call.event(), page["data"][1]);
        assert_eq!(call.header("webhook-id"), page["data"][1]["id"].as_str().unwrap());
        scene.settled(&hook, "delivered", 2).await;
        assert_eq!((all.calls().len(), some.calls().len()), (2, 1));
    });
}
