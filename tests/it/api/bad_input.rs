//! What no route takes: every route that the document lists, with requests that are wrong in every
//! general way. Each gets a problem with its own code, and nothing changes.

use reqwest::Method;
use serde_json::{Value, json};

use super::Api;
use crate::support::postgres::run;

const IDS: [(&str, &str); 5] = [
    ("{checkout_id}", "chk_00000000000070008000000000000001"),
    ("{charge_id}", "chg_00000000000070008000000000000001"),
    ("{result_id}", "r1"),
    ("{sku}", "lead"),
    ("{topup_id}", "top_00000000000070008000000000000001"),
];

/// A route with a JSON body, and a key that it takes.
struct Route {
    method: Method,
    path: String,
    key: String,
    keyed: bool,
    required: bool,
}

/// The routes with JSON bodies. The top-up answers everything with its terms, and the facilitator
/// speaks its own protocol.
fn routes(document: &Value, customer: &str, operator: &str) -> Vec<Route> {
    let mut routes = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        let own = path.starts_with("/sandbox/facilitator") || path == "/api/v1/credits/topup";
        let bodied =
            methods.as_object().unwrap().iter().filter(|(_, o)| o["requestBody"].is_object());
        for (method, operation) in bodied.filter(|_| !own) {
            let buyer = path == "/api/v1/checkouts" || path.ends_with("/cancel");
            let names = operation["parameters"].as_array().into_iter().flatten();
            routes.push(Route {
                method: method.to_uppercase().parse().unwrap(),
                path: IDS.iter().fold(path.clone(), |path, (name, id)| path.replace(name, id)),
                key: if buyer { customer } else { operator }.to_owned(),
                keyed: names.into_iter().any(|parameter| parameter["name"] == "Idempotency-Key"),
                required: operation["requestBody"]["required"] == true,
            });
        }
    }
    routes
}

#[test]
fn bodies_that_no_route_takes() {
    run(|db| async move {
        let api = Api::start(db).await;
        api.list("lead", "1.00").await;
        let customer = api.signup(json!([])).await;
        let before = api.get("/api/v1/ledger/export", &api.operator).await.body;
        let document = api.get("/openapi.json", "").await.json(200);
        let routes = routes(&document, &customer.key, &api.operator);
        assert!(routes.len() >= 8, "the document lists routes with bodies");
        for route in &routes {
            let json = "application/json";
            let large = format!("{{\"name\":\"{}\"}}", "x".repeat(70_000));
            for (media, body, status, code) in [
                (json, "{", 400, "malformed_request"),
                (json, "\u{1}", 400, "malformed_request"),
                (json, "[]", 422, "validation_failed"),
                (json, "null", 422, "validation_failed"),
                (json, "\"text\"", 422, "validation_failed"),
                (json, "{\"surprise\":1}", 422, "validation_failed"),
                (json, large.as_str(), 413, "payload_too_large"),
                ("text/plain", "{}", 415, "unsupported_media_type"),
            ] {
                let request = api.request(route.method.clone(), &route.path, &route.key);
                let request = request.header("Content-Type", media).header("Idempotency-Key", "k");
                let answer = api.send(request.body(body.to_owned())).await;
                assert_eq!(answer.status, status, "{} {body:.20} {}", route.path, answer.body);
                answer.problem(status, code);
            }
            if route.required {
                let request = api.request(route.method.clone(), &route.path, &route.key);
                let empty = request.header("Content-Type", json).header("Idempotency-Key", "k");
                api.send(empty).await.problem(400, "malformed_request");
            }
            if route.keyed {
                let request = api.request(route.method.clone(), &route.path, &route.key);
                let keyless = api.send(request.json(&json!({}))).await;
                keyless.problem(400, "idempotency_key_missing");
                let request = api.request(route.method.clone(), &route.path, &route.key);
                let long = request.header("Idempotency-Key", "k".repeat(256)).json(&json!({}));
                api.send(long).await.problem(400, "idempotency_key_malformed");
            }
        }
        let after = api.get("/api/v1/ledger/export", &api.operator).await.body;
        assert_eq!(after, before);
    });
}

#[test]
fn ids_of_nothing_and_ids_that_are_none() {
    run(|db| async move {
        let api = Api::start(db).await;
        let customer = api.signup(json!([])).await;
        let (result, verdict, reversal) = (
            json!({"result_id": "r1", "item": 1, "quantity": 1, "evidence": {}}),
            json!({"verdict": "accepted"}),
            json!({"reason": "none"}),
        );
        let nothing = ["chk_00000000000070008000000000000001", "chk_1", "x%2fy", "%00", "%FF"];
        for id in nothing {
            let base = format!("/api/v1/checkouts/{id}");
            api.get(&base, &customer.key).await.problem(404, "not_found");
            api.get(&base, &api.operator).await.problem(404, "not_found");
            for (path, key, body) in [
                (format!("{base}/cancel"), &customer.key, json!({})),
                (format!("{base}/results"), &api.operator, result.clone()),
                (format!("{base}/results/r1/verdict"), &api.operator, verdict.clone()),
            ] {
                api.post_once(&path, key, "k", body).await.problem(404, "not_found");
            }
            let charge = format!("/api/v1/charges/{}", id.replace("chk", "chg"));
            api.get(&charge, &customer.key).await.problem(404, "not_found");
            let path = format!("{charge}/reversals");
            let answer = api.post_once(&path, &api.operator, "k", reversal.clone()).await;
            answer.problem(404, "not_found");
        }
        let result = "/api/v1/checkouts/chk_00000000000070008000000000000001/results/a%20b/verdict";
        let answer = api.post_once(result, &api.operator, "k", verdict).await;
        answer.problem(404, "not_found");
    });
}

/// Texts that Postgres cannot keep, and numbers that no column holds, are the client's fault.
#[test]
fn values_that_cannot_be_stored() {
    run(|db| async move {
        let api = Api::start(db).await;
        api.list("lead", "999999999999.99").await;
        let customer = api.signup(json!([])).await;
        let body = json!({
            "items": [{"sku": "lead", "quantity": 1_000_000}], "max_total": "999999999999",
        });
        let answer = api.post_once("/api/v1/checkouts", &customer.key, "k1", body).await;
        assert_eq!(answer.problem(422, "validation_failed")["field"], "items");
        api.list("page", "1.00").await;
        let id = api.checkout(&customer, "c1", json!([{"sku": "page", "quantity": 2}])).await;
        let path = format!("/api/v1/checkouts/{id}/results");
        for evidence in [json!("a\u{0}b"), json!({"a\u{0}": 1}), json!([["\u{0}"]])] {
            let body = json!({"result_id": "r1", "item": 1, "quantity": 1, "evidence": evidence});
            let answer = api.post_once(&path, &api.operator, "k2", body).await;
            assert_eq!(answer.problem(422, "validation_failed")["field"], "evidence");
        }
        // Anything else that JSON can say is kept as it is.
        let evidence = json!({
            "text": "é\u{1F600}\u{7f}\n", "number": 1e300, "small": -0.25, "none": null,
            "large": u64::MAX, "": [true, {}],
        });
        let body = json!({"result_id": "r1", "item": 1, "quantity": 1, "evidence": evidence});
        let submitted = api.post_once(&path, &api.operator, "k3", body).await.json(201);
        let path = format!("/api/v1/checkouts/{id}");
        let read = api.get(&path, &customer.key).await.json(200);
        assert_eq!(read["results"][0], submitted);
        assert_eq!(submitted["evidence"], evidence);
    });
}
