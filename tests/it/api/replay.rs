//! The same request under the same key.

use futures_util::future::join_all;
use serde_json::json;

use super::Api;
use crate::support::postgres::run;

#[test]
fn the_same_request_gets_the_same_answer() {
    run(|db| async move {
        let api = Api::start(db).await;
        api.list("lead", "2.00").await;
        let customer = api.signup(json!([])).await;
        let checkouts = "/api/v1/checkouts";
        let body = json!({"items": [{"sku": "lead", "quantity": 1}], "max_total": "2.00"});
        let first = api.post_once(checkouts, &customer.key, "k1", body.clone()).await;
        assert_eq!((first.status, first.header("idempotent-replayed")), (201, None));
        // Other spelling, same request.
        let spelled = json!({"max_total": "2", "items": [{"quantity": 1, "sku": "lead"}]});
        let second = api.post_once(checkouts, &customer.key, "\"k1\"", spelled).await;
        assert_eq!((second.status, second.header("idempotent-replayed")), (201, Some("true")));
        assert_eq!(second.body, first.body);
        let other = json!({"items": [{"sku": "lead", "quantity": 2}], "max_total": "4.00"});
        let conflict = api.post_once(checkouts, &customer.key, "k1", other).await;
        conflict.problem(422, "idempotency_conflict");
        assert_eq!(api.credits(&customer).await["held"], "2.00");
        // The key is this principal's own.
        let stranger = api.signup(json!([])).await;
        let own = api.post_once(checkouts, &stranger.key, "k1", body).await;
        assert_eq!((own.status, own.header("idempotent-replayed")), (201, None));
    });
}

#[test]
fn an_answer_outlives_the_sku() {
    run(|db| async move {
        let api = Api::start(db).await;
        api.list("lead", "2.00").await;
        let customer = api.signup(json!([])).await;
        let checkouts = "/api/v1/checkouts";
        let body = json!({"items": [{"sku": "lead", "quantity": 1}], "max_total": "2.00"});
        let first = api.post_once(checkouts, &customer.key, "k1", body.clone()).await;
        let terms = json!({
            "title": "lead", "unit": "piece", "unit_price": "9.00", "criteria": {},
            "delivery_deadline_seconds": 60, "verification_deadline_seconds": 60,
            "dispute_window_seconds": 0, "active": false,
        });
        api.put("/api/v1/admin/catalog/lead", &api.operator, terms).await.json(200);
        let second = api.post_once(checkouts, &customer.key, "k1", body.clone()).await;
        assert_eq!((second.status, second.header("idempotent-replayed")), (201, Some("true")));
        assert_eq!(second.body, first.body);
        let fresh = api.post_once(checkouts, &customer.key, "k2", body).await;
        fresh.problem(409, "sku_inactive");
        let other = json!({"items": [{"sku": "lead", "quantity": 2}], "max_total": "2.00"});
        let conflict = api.post_once(checkouts, &customer.key, "k1", other).await;
        conflict.problem(422, "idempotency_conflict");
    });
}

#[test]
fn concurrent_copies_hold_once() {
    run(|db| async move {
        let api = Api::start(db).await;
        api.list("lead", "2.00").await;
        let customer = api.signup(json!([])).await;
        let body = json!({"items": [{"sku": "lead", "quantity": 1}], "max_total": "2.00"});
        let copies = (0..16)
            .map(|_| api.post_once("/api/v1/checkouts", &customer.key, "same", body.clone()));
        let answers = join_all(copies).await;
        assert!(answers.iter().all(|a| a.status == 201 && a.body == answers[0].body));
        let fresh = answers.iter().filter(|a| a.header("idempotent-replayed").is_none());
        assert_eq!(fresh.count(), 1);
        assert_eq!(api.credits(&customer).await["held"], "2.00");
    });
}

#[test]
fn every_act_on_a_checkout_is_replayed() {
    run(|db| async move {
        let api = Api::start(db).await;
        api.list("lead", "2.00").await;
        let customer = api.signup(json!([])).await;
        let id = api.checkout(&customer, "c1", json!([{"sku": "lead", "quantity": 3}])).await;
        let checkout = format!("/api/v1/checkouts/{id}");
        let result = json!({"results": [
            {"result_id": "r1", "item": 1, "quantity": 1, "evidence": {"a": 1}},
        ]});
        let verdict = json!({"verdict": "accepted", "reason": "fine"});
        for (once, path, key, body) in [
            ("k1", format!("{checkout}/results"), &api.operator, result),
            ("k2", format!("{checkout}/results/r1/verdict"), &api.operator, verdict),
            ("k3", format!("{checkout}/cancel"), &customer.key, json!({})),
        ] {
            let first = api.post_once(&path, key, once, body.clone()).await;
            let second = api.post_once(&path, key, once, body).await;
            assert!((200..300).contains(&first.status), "{path} {}", first.body);
            assert_eq!((second.status, &second.body), (first.status, &first.body), "{path}");
            assert_eq!(second.header("idempotent-replayed"), Some("true"), "{path}");
        }
        assert_eq!(api.credits(&customer).await["available"], "23.00");
    });
}
