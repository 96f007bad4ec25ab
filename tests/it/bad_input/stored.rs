//! Values at the edge of what can be kept: refused, or kept exactly.

use serde_json::{Value, json};

use crate::api::Api;
use crate::support::postgres::run;

fn result(evidence: &Value) -> Value {
    json!({"results": [{"result_id": "r1", "item": 1, "quantity": 1, "evidence": evidence}]})
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
            let body = result(&evidence);
            let answer = api.post_once(&path, &api.operator, "k2", body).await;
            assert_eq!(answer.problem(422, "validation_failed")["field"], "results[0].evidence");
        }
        // Anything else that JSON can say is kept as it is.
        let evidence = json!({
            "text": "é\u{1F600}\u{7f}\n", "number": 1e300, "small": -0.25, "none": null,
            "large": u64::MAX, "tiny": 5e-324, "whole": 1.0, "long": 1e22, "": [true, {}],
        });
        let body = result(&evidence);
        let submitted = api.post_once(&path, &api.operator, "k3", body).await.json(201);
        let submitted = &submitted["results"][0];
        let path = format!("/api/v1/checkouts/{id}/results/r1");
        assert_eq!(&api.get(&path, &customer.key).await.json(200), submitted);
        assert_eq!(submitted["evidence"], evidence);
    });
}

/// What Postgres would spell differently is spelled its way before it is hashed and answered.
#[test]
fn a_negative_zero_is_one_value_everywhere() {
    run(|db| async move {
        let api = Api::start(db).await;
        api.list("page", "1.00").await;
        let customer = api.signup(json!([])).await;
        let id = api.checkout(&customer, "c1", json!([{"sku": "page", "quantity": 1}])).await;
        let evidence = json!({"zero": -0.0, "list": [-0.0]});
        let body = result(&evidence);
        let path = format!("/api/v1/checkouts/{id}/results");
        let submitted = api.post_once(&path, &api.operator, "k1", body).await.json(201);
        let read = api.get(&format!("{path}/r1"), &customer.key).await.json(200);
        assert_eq!(submitted["results"][0]["evidence"].to_string(), read["evidence"].to_string());
    });
}
