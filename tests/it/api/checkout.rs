//! Checkouts from opening to their end.

use chrono::TimeDelta;
use serde_json::json;

use super::Api;
use crate::support::postgres::run;

#[test]
fn accepted_is_charged_and_rejected_or_late_goes_back() {
    run(|db| async move {
        let api = Api::start(db).await;
        for (sku, price) in [("lead", "2.50"), ("page", "1.00"), ("call", "4.00")] {
            api.list(sku, price).await;
        }
        let (fulfiller, verifier) = (
            api.staff("fulfiller", &["lead", "page"]).await,
            api.staff("verifier", &["lead", "page"]).await,
        );
        let customer = api.signup(json!([])).await;
        let items = json!([
            {"sku": "lead", "quantity": 2}, {"sku": "page", "quantity": 3},
            {"sku": "call", "quantity": 1},
        ]);
        let id = api.checkout(&customer, "c1", items).await;
        let credits = api.credits(&customer).await;
        assert_eq!([&credits["available"], &credits["held"]], ["13.00", "12.00"]);
        api.deliver(&fulfiller, &id, "leads", 1, 2).await;
        api.deliver(&fulfiller, &id, "pages", 2, 3).await;
        let verdict = json!({
            "verdict": "accepted", "reason": "complete",
            "checks": [{"name": "complete", "passed": true}],
        });
        let judged = api.judge(&verifier, &id, "leads", verdict).await.json(200);
        assert_eq!([&judged["status"], &judged["captured"]], ["captured", "5.00"]);
        let verdict = json!({"verdict": "rejected", "reason": "blank"});
        let judged = api.judge(&verifier, &id, "pages", verdict).await.json(200);
        assert_eq!([&judged["status"], &judged["released"]], ["released", "3.00"]);
        // The third item is never delivered.
        api.clock.advance(TimeDelta::hours(2));
        assert_eq!(api.sweeper.step().await.unwrap(), 1);
        let path = format!("/api/v1/checkouts/{id}");
        let checkout = api.get(&path, &customer.key).await.json(200);
        let ends = ["status", "total", "held", "captured", "released"].map(|name| &checkout[name]);
        assert_eq!(ends, ["completed", "12.00", "0.00", "5.00", "7.00"]);
        assert_eq!(checkout["results"][0]["verdict"]["checks"][0]["name"], "complete");
        assert_eq!(api.get(&path, &api.operator).await.json(200), checkout);
        let credits = api.credits(&customer).await;
        assert_eq!([&credits["available"], &credits["held"]], ["20.00", "0.00"]);
        let charges = api.get("/api/v1/charges", &customer.key).await.json(200);
        let charge = &charges["data"][0];
        assert_eq!(charges["data"].as_array().unwrap().len(), 1);
        assert_eq!([&charge["sku"], &charge["amount"]], ["lead", "5.00"]);
        assert_eq!(charge["lots"][0]["category"], "promotional");
        assert_eq!(charge["charge_id"], checkout["results"][0]["charge_id"]);
        let one = format!("/api/v1/charges/{}", charge["charge_id"].as_str().unwrap());
        assert_eq!(api.get(&one, &customer.key).await.json(200), *charge);
        assert_eq!(api.get(&one, &api.operator).await.json(200), *charge);
    });
}

#[test]
fn a_verdict_may_accept_a_part_and_comes_once_and_in_time() {
    run(|db| async move {
        let api = Api::start(db).await;
        api.list("lead", "1.00").await;
        let verifier = api.staff("verifier", &["lead"]).await;
        let customer = api.signup(json!([])).await;
        let id = api.checkout(&customer, "c1", json!([{"sku": "lead", "quantity": 9}])).await;
        api.deliver(&api.operator, &id, "r1", 1, 5).await;
        api.deliver(&api.operator, &id, "r2", 1, 4).await;
        for body in [
            json!({"verdict": "partially_accepted"}),
            json!({"verdict": "accepted", "accepted_quantity": 5}),
            json!({"verdict": "partially_accepted", "accepted_quantity": 0}),
        ] {
            let answer = api.judge(&verifier, &id, "r1", body).await;
            let problem = answer.problem(422, "validation_failed");
            assert_eq!(problem["field"], "accepted_quantity");
        }
        let part = json!({"verdict": "partially_accepted", "accepted_quantity": 3});
        let judged = api.judge(&verifier, &id, "r1", part.clone()).await.json(200);
        assert_eq!([&judged["captured"], &judged["released"]], ["3.00", "2.00"]);
        let path = format!("/api/v1/checkouts/{id}/results/r1/verdict");
        let again = api.post_once(&path, &verifier, "other", part).await;
        again.problem(409, "already_decided");
        api.clock.advance(TimeDelta::hours(2));
        let late = api.judge(&verifier, &id, "r2", json!({"verdict": "accepted"})).await;
        late.problem(409, "verification_deadline_passed");
        assert_eq!(api.credits(&customer).await["held"], "4.00", "a refusal moves nothing");
        assert_eq!(api.sweeper.step().await.unwrap(), 1);
        let credits = api.credits(&customer).await;
        assert_eq!([&credits["available"], &credits["held"]], ["22.00", "0.00"]);
        let unknown = api.judge(&verifier, &id, "r9", json!({"verdict": "accepted"})).await;
        unknown.problem(404, "not_found");
    });
}

#[test]
fn results_are_bounded_by_the_item() {
    run(|db| async move {
        let api = Api::start(db).await;
        api.list("lead", "1.00").await;
        let customer = api.signup(json!([])).await;
        let id = api.checkout(&customer, "c1", json!([{"sku": "lead", "quantity": 2}])).await;
        let path = format!("/api/v1/checkouts/{id}/results");
        let send = async |once: &str, result: &str, item: u8, quantity: u8| {
            let body = json!({"results": [{
                "result_id": result, "item": item, "quantity": quantity, "evidence": [1, "x"],
            }]});
            api.post_once(&path, &api.operator, once, body).await
        };
        let problem = send("a", "r1", 1, 3).await.problem(409, "result_quantity_exceeded");
        assert_eq!([&problem["requested"], &problem["left"]], [3, 2]);
        let unknown = send("b", "r1", 2, 1).await.problem(422, "validation_failed");
        assert_eq!(unknown["field"], "results[0].item");
        send("c", "r1", 1, 1).await.json(201);
        send("d", "r1", 1, 1).await.problem(409, "result_conflict");
        let cancel = format!("/api/v1/checkouts/{id}/cancel");
        let canceled = api.post_once(&cancel, &customer.key, "e", json!({})).await.json(200);
        assert_eq!(canceled["released"], "1.00");
        send("f", "r2", 1, 1).await.problem(409, "item_closed");
        let again = api.post_once(&cancel, &customer.key, "g", json!({})).await;
        again.problem(409, "checkout_not_cancelable");
        let other = api.signup(json!([])).await;
        let foreign = api.post_once(&cancel, &other.key, "h", json!({})).await;
        foreign.problem(404, "not_found");
        api.get(&format!("/api/v1/checkouts/{id}"), &other.key).await.problem(404, "not_found");
    });
}

#[test]
fn what_cannot_be_bought_is_refused_before_anything_is_held() {
    run(|db| async move {
        let api = Api::start(db).await;
        api.list("lead", "1.00").await;
        let customer = api.signup(json!([])).await;
        let open = async |items: serde_json::Value, max_total: serde_json::Value| {
            let body = json!({"items": items, "max_total": max_total});
            api.post_once("/api/v1/checkouts", &customer.key, "k", body).await
        };
        let one = |sku: &str, quantity: i64| json!([{"sku": sku, "quantity": quantity}]);
        for (answer, field) in [
            (open(json!([]), json!("1")).await, "items"),
            (open(one("Lead", 1), json!("1")).await, "items[0].sku"),
            (open(one("lead", 0), json!("1")).await, "items[0].quantity"),
            (open(one("lead", 1_000_001), json!("1")).await, "items[0].quantity"),
            (open(one("lead", 1), json!(1)).await, "max_total"),
            (open(json!([{"sku": "lead"}]), json!("1")).await, "items[0]"),
        ] {
            assert_eq!(answer.problem(422, "validation_failed")["field"], field);
        }
        let answer = open(one("none", 1), json!("1")).await;
        assert_eq!(answer.problem(422, "sku_unknown")["sku"], "none");
        let body = json!({"items": one("lead", 1), "max_total": "1"});
        let keyless = api.post("/api/v1/checkouts", &customer.key, body).await;
        keyless.problem(400, "idempotency_key_missing");
        assert_eq!(api.credits(&customer).await["held"], "0.00");
        let list = api.get("/api/v1/checkouts", &customer.key).await.json(200);
        assert_eq!(list, json!({"data": [], "next_cursor": null, "has_more": false}));
    });
}

#[test]
fn lists_come_in_pages() {
    run(|db| async move {
        let api = Api::start(db).await;
        for sku in ["a", "b", "c"] {
            api.list(sku, "0.10").await;
        }
        let catalog = api.get("/api/v1/catalog?limit=2", "").await;
        let page = catalog.json(200);
        assert_eq!([&page["data"][0]["sku"], &page["data"][1]["sku"]], ["a", "b"]);
        assert_eq!(catalog.header("link"), Some("</api/v1/catalog?after=b&limit=2>; rel=\"next\""));
        let page = api.get("/api/v1/catalog?after=b&limit=2", "").await.json(200);
        assert_eq!((&page["data"][0]["sku"], &page["has_more"]), (&json!("c"), &json!(false)));
        let customer = api.signup(json!([])).await;
        let mut opened = Vec::new();
        for n in 0..3 {
            let items = json!([{"sku": "a", "quantity": 1}]);
            opened.insert(0, api.checkout(&customer, &format!("c{n}"), items).await);
        }
        let first = api.get("/api/v1/checkouts?limit=2", &customer.key).await.json(200);
        let after = first["next_cursor"].as_str().unwrap();
        let path = format!("/api/v1/checkouts?limit=2&after={after}");
        let second = api.get(&path, &customer.key).await.json(200);
        let seen = [&first["data"][0], &first["data"][1], &second["data"][0]];
        let seen = seen.map(|line| line["checkout_id"].as_str().unwrap());
        assert_eq!(seen, [&*opened[0], &*opened[1], &*opened[2]]);
        for (query, field) in
            [("limit=0", "limit"), ("limit=101", "limit"), ("after=x", "after"), ("by=x", "by")]
        {
            let answer = api.get(&format!("/api/v1/checkouts?{query}"), &customer.key).await;
            assert_eq!(answer.problem(422, "validation_failed")["field"], field);
        }
    });
}
