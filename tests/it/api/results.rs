//! Results: several at once, judged by their schema first, and never more than was ordered.

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::{Answer, Api, Customer};
use crate::support::postgres::run;

/// Lists leads that have an address, at a dollar each.
async fn list_leads(api: &Api, schema: Value) {
    let body = json!({
        "title": "A lead", "unit": "lead", "unit_price": "1.00",
        "criteria": {"schema": schema, "text": "it answers"},
        "delivery_deadline_seconds": 3600, "verification_deadline_seconds": 3600,
        "dispute_window_seconds": 86400,
    });
    api.put("/api/v1/admin/catalog/lead", &api.operator, body).await.json(200);
}

fn with_email() -> Value {
    json!({
        "type": "object", "required": ["email"],
        "properties": {"email": {"type": "string", "format": "email"}},
    })
}

async fn submit(api: &Api, checkout: &str, once: &str, results: Value) -> Answer {
    let path = format!("/api/v1/checkouts/{checkout}/results");
    api.post_once(&path, &api.operator, once, json!({ "results": results })).await
}

/// A page of the results of a checkout, with their evidence.
async fn page(api: &Api, customer: &Customer, checkout: &str, query: &str) -> Value {
    let path = format!("/api/v1/checkouts/{checkout}/results?{query}");
    api.get(&path, &customer.key).await.json(200)
}

async fn read(api: &Api, customer: &Customer, checkout: &str) -> Value {
    api.get(&format!("/api/v1/checkouts/{checkout}"), &customer.key).await.json(200)
}

fn result(id: &str, item: u8, quantity: u32, evidence: Value) -> Value {
    json!({"result_id": id, "item": item, "quantity": quantity, "evidence": evidence})
}

#[test]
fn evidence_that_misses_the_schema_is_rejected_at_once() {
    run(|db| async move {
        let api = Api::start(db).await;
        list_leads(&api, with_email()).await;
        api.list("page", "2.00").await;
        let customer = api.signup(json!([])).await;
        let items = json!([{"sku": "lead", "quantity": 5}, {"sku": "page", "quantity": 1}]);
        let id = api.checkout(&customer, "c", items).await;
        let good = result("good", 1, 2, json!({"email": "ada@example.com"}));
        let bad = result("bad", 1, 3, json!({"email": 7, "note": "x"}));
        let free = result("free", 2, 1, json!("anything"));
        let submitted = submit(&api, &id, "k", json!([good, bad, free])).await;
        let answer = submitted.json(201);
        let states: Vec<_> = answer["results"].as_array().unwrap().iter().collect();
        let status = |n: usize| states[n]["status"].as_str().unwrap();
        assert_eq!([status(0), status(1), status(2)], ["verifying", "released", "verifying"]);
        let verdict = &states[1]["verdict"];
        assert_eq!((&verdict["verifier"], &verdict["accepted"]), (&json!("schema"), &json!(0)));
        assert_eq!(
            (&verdict["reason"], &verdict["criteria_version"]),
            (&json!("schema_mismatch"), &json!(1))
        );
        assert_eq!(verdict["mismatches"].as_array().unwrap().len(), 1, "{verdict}");
        assert_eq!(verdict["mismatches"][0]["path"], "/email");
        let checkout = read(&api, &customer, &id).await;
        assert_eq!((&checkout["held"], &checkout["released"]), (&json!("4.00"), &json!("3.00")));
        let recorded = page(&api, &customer, &id, "limit=1").await;
        assert_eq!(&recorded["data"][0], states[1], "what is answered is what is recorded");
        let one = format!("/api/v1/checkouts/{id}/results/bad");
        assert_eq!(&api.get(&one, &customer.key).await.json(200), states[1]);
        let mut without_evidence = states[1].clone();
        without_evidence.as_object_mut().unwrap().remove("evidence").unwrap();
        assert_eq!(checkout["results"][0], without_evidence);
        // It has its verdict; nobody gives it another.
        let late = api.judge(&api.operator, &id, "bad", json!({"verdict": "accepted"})).await;
        late.problem(409, "already_decided");
        let judged = api.judge(&api.operator, &id, "good", json!({"verdict": "accepted"})).await;
        assert_eq!(judged.json(200)["captured"], "2.00");
        let again = submit(&api, &id, "k", json!([good, bad, free])).await;
        assert_eq!((again.status, &again.body), (201, &submitted.body));
        assert!(api.finance.check().await.unwrap().passed());
    });
}

#[test]
fn the_criteria_are_those_of_the_version_that_was_sold() {
    run(|db| async move {
        let api = Api::start(db).await;
        list_leads(&api, json!({"required": ["name"]})).await;
        let customer = api.signup(json!([])).await;
        let items = json!([{"sku": "lead", "quantity": 2}]);
        let id = api.checkout(&customer, "c", items).await;
        list_leads(&api, with_email()).await;
        let named = result("named", 1, 1, json!({"name": "Ada"}));
        let mailed = result("mailed", 1, 1, json!({"email": "ada@example.com"}));
        let answer = submit(&api, &id, "k", json!([named, mailed])).await.json(201);
        assert_eq!(answer["results"][0]["status"], "verifying");
        assert_eq!(answer["results"][1]["status"], "released");
        assert_eq!(answer["results"][1]["verdict"]["criteria_version"], 1);
    });
}

#[test]
fn results_are_taken_together_or_not_at_all() {
    run(|db| async move {
        let api = Api::start(db).await;
        list_leads(&api, with_email()).await;
        let customer = api.signup(json!([])).await;
        let items = json!([{"sku": "lead", "quantity": 2}]);
        let id = api.checkout(&customer, "c", items).await;
        let before = read(&api, &customer, &id).await;
        let one = |name: &str, quantity| result(name, 1, quantity, json!({}));
        let over = json!([one("a", 1), one("b", 2)]);
        let refused = submit(&api, &id, "k1", over).await.problem(409, "result_quantity_exceeded");
        assert_eq!(refused["field"], "results[1].quantity");
        assert_eq!((&refused["result_id"], &refused["left"]), (&json!("b"), &json!(1)));
        let twice = submit(&api, &id, "k2", json!([one("a", 1), one("a", 1)])).await;
        let twice = twice.problem(422, "validation_failed");
        assert_eq!(twice["field"], "results[1].result_id");
        assert_eq!(read(&api, &customer, &id).await, before, "a refusal moves nothing");
        submit(&api, &id, "k3", json!([one("a", 1)])).await.json(201);
        let known = submit(&api, &id, "k4", json!([one("b", 1), one("a", 1)])).await;
        let known = known.problem(409, "result_conflict");
        assert_eq!(known["field"], "results[1].result_id");
        assert_eq!(read(&api, &customer, &id).await["results"].as_array().unwrap().len(), 1);
        submit(&api, &id, "k5", json!([one("b", 1)])).await.json(201);
        let full = submit(&api, &id, "k6", json!([one("c", 1)])).await;
        full.problem(409, "result_quantity_exceeded");
        assert_eq!(api.credits(&customer).await["available"], "25.00");
        assert!(api.finance.check().await.unwrap().passed());
    });
}

#[test]
fn however_many_deliver_at_once_no_more_is_taken_than_was_ordered() {
    run(|db| async move {
        let api = Api::start(db).await;
        list_leads(&api, with_email()).await;
        let customer = api.signup(json!([])).await;
        for round in 0..3 {
            let items = json!([{"sku": "lead", "quantity": 7}]);
            let id = api.checkout(&customer, &format!("c{round}"), items).await;
            let one = |n: u32| {
                let evidence =
                    if n.is_multiple_of(2) { json!({"email": "a@example.com"}) } else { json!({}) };
                let pair = json!([
                    result(&format!("{n}-a"), 1, 1, evidence),
                    result(&format!("{n}-b"), 1, 1, json!({"email": "b@example.com"})),
                ]);
                let (api, id) = (&api, &id);
                async move { submit(api, id, &format!("r{round}-{n}"), pair).await }
            };
            let answers = join_all((0..20).map(one)).await;
            let taken = answers.iter().filter(|answer| answer.status == 201).count();
            assert_eq!(taken, 3, "seven units are three pairs and one left over");
            for refused in answers.iter().filter(|answer| answer.status != 201) {
                refused.problem(409, "result_quantity_exceeded");
            }
            let checkout = read(&api, &customer, &id).await;
            assert_eq!(checkout["results"].as_array().unwrap().len(), 6);
            assert_eq!(checkout["items"][0]["submitted"], 6);
        }
        assert!(api.finance.check().await.unwrap().passed());
    });
}

#[test]
fn a_checkout_takes_a_thousand_results() {
    run(|db| async move {
        let api = Api::start(db).await;
        api.list("lead", "0.01").await;
        let customer = api.signup(json!([])).await;
        let items = json!([{"sku": "lead", "quantity": 1000}]);
        let id = api.checkout(&customer, "c", items).await;
        for part in 0..10 {
            let results: Vec<_> =
                (0..100).map(|n| result(&format!("{part}-{n}"), 1, 1, json!({"n": n}))).collect();
            submit(&api, &id, &format!("k{part}"), json!(results)).await.json(201);
        }
        let checkout = read(&api, &customer, &id).await;
        assert_eq!(checkout["items"][0]["closed"], true);
        assert_eq!(checkout["has_more_results"], true);
        let shown = checkout["results"].as_array().unwrap();
        assert_eq!(shown.len(), 100, "and the others are read in pages");
        assert!(shown.iter().all(|result| result.get("evidence").is_none()));
        let (mut ids, mut after) = (Vec::new(), String::new());
        loop {
            let next = page(&api, &customer, &id, &format!("limit=100{after}")).await;
            let results = next["data"].as_array().unwrap();
            assert!(results.iter().all(|result| result["evidence"]["n"].is_u64()));
            ids.extend(results.iter().map(|result| result["result_id"].clone()));
            let Some(cursor) = next["next_cursor"].as_str() else { break };
            after = format!("&after={cursor}");
        }
        assert_eq!(ids.iter().collect::<std::collections::HashSet<_>>().len(), 1000);
        assert_eq!(ids.len(), 1000);
        assert!(shown.iter().map(|result| &result["result_id"]).eq(&ids[..100]));
        assert_eq!(page(&api, &customer, &id, "").await["data"].as_array().unwrap().len(), 20);
        assert_eq!(page(&api, &customer, &id, "after=zz").await["data"], json!([]));
        let stranger = api.signup(json!([])).await;
        for path in ["results", "results?after=zz", "results/0-0"] {
            let path = format!("/api/v1/checkouts/{id}/{path}");
            api.get(&path, &api.operator).await.json(200);
            api.get(&path, &stranger.key).await.problem(404, "not_found");
        }
        let path = format!("/api/v1/checkouts/{id}/results/none");
        api.get(&path, &customer.key).await.problem(404, "not_found");
        assert!(api.finance.check().await.unwrap().passed());
    });
}
