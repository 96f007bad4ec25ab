//! The catalogue: versions of terms, and criteria that a machine can check.

use serde_json::{Value, json};

use super::Api;
use crate::support::postgres::run;

fn terms(price: &str, criteria: Value) -> Value {
    json!({
        "title": "A lead", "unit": "lead", "unit_price": price, "criteria": criteria,
        "delivery_deadline_seconds": 3600, "verification_deadline_seconds": 3600,
        "dispute_window_seconds": 86400,
    })
}

const LEAD: &str = "/api/v1/admin/catalog/lead";

#[test]
fn every_change_of_terms_is_a_version_and_checkouts_keep_theirs() {
    run(|db| async move {
        let api = Api::start(db).await;
        api.get("/api/v1/catalog/lead", "").await.problem(404, "not_found");
        let customer = api.signup(json!([])).await;
        for (n, price) in ["1.00", "2.00", "2.00", "3.00"].into_iter().enumerate() {
            let body = terms(price, json!({"text": "it answers"}));
            api.put(LEAD, &api.operator, body).await.json(200);
            let items = json!([{"sku": "lead", "quantity": 1}]);
            api.checkout(&customer, &format!("order-{n}"), items).await;
        }
        let answer = api.get("/api/v1/catalog/lead?limit=2", "").await;
        let page = answer.json(200);
        assert_eq!((&page["version"], &page["unit_price"]), (&json!(3), &json!("3.00")));
        let versions = |page: &Value| -> Vec<(i64, String)> {
            let rows = page["data"].as_array().unwrap().iter();
            let facts = |row: &Value| {
                (row["version"].as_i64().unwrap(), row["unit_price"].as_str().unwrap().to_owned())
            };
            rows.map(facts).collect()
        };
        assert_eq!(versions(&page), [(3, "3.00".to_owned()), (2, "2.00".to_owned())]);
        let next = "</api/v1/catalog/lead?after=2&limit=2>; rel=\"next\"";
        assert_eq!(answer.header("link"), Some(next));
        let page = api.get("/api/v1/catalog/lead?limit=2&after=2", "").await.json(200);
        assert_eq!(versions(&page), [(1, "1.00".to_owned())]);
        assert_eq!((&page["version"], &page["has_more"]), (&json!(3), &json!(false)));
        let opened = api.get("/api/v1/checkouts", &customer.key).await.json(200);
        let mut sold = Vec::new();
        for line in opened["data"].as_array().unwrap() {
            let path = format!("/api/v1/checkouts/{}", line["checkout_id"].as_str().unwrap());
            let item = api.get(&path, &customer.key).await.json(200)["items"][0].clone();
            sold.push((item["sku_version"].as_i64().unwrap(), item["unit_price"].clone()));
        }
        let two = || (2, json!("2.00"));
        assert_eq!(sold, [(3, json!("3.00")), two(), two(), (1, json!("1.00"))]);
        assert!(api.finance.check().await.unwrap().passed());
    });
}

#[test]
fn operators_who_list_at_once_begin_one_version_each() {
    run(|db| async move {
        let api = Api::start(db).await;
        let put = |n: u8| {
            let body = terms(&format!("1.{n:02}"), json!({}));
            let api = &api;
            async move { api.put(LEAD, &api.operator, body).await.json(200)["version"].clone() }
        };
        let versions = futures_util::future::join_all((0..20).map(put)).await;
        let mut versions: Vec<_> = versions.iter().map(|v| v.as_i64().unwrap()).collect();
        versions.sort_unstable();
        assert_eq!(versions, (1..=20).collect::<Vec<_>>());
        let page = api.get("/api/v1/catalog/lead?limit=100", "").await.json(200);
        assert_eq!(page["data"].as_array().unwrap().len(), 20);
        assert_eq!(page["data"][0]["unit_price"], page["unit_price"]);
    });
}

#[test]
fn a_schema_that_cannot_be_used_is_not_listed() {
    run(|db| async move {
        let api = Api::start(db).await;
        for schema in [
            json!({"type": "strin"}),
            json!({"$ref": "https://example.com/schema.json"}),
            json!({"$ref": "#"}),
        ] {
            let body = terms("1.00", json!({ "schema": schema }));
            let problem = api.put(LEAD, &api.operator, body).await.problem(422, "criteria_invalid");
            assert_eq!(problem["field"], "criteria.schema");
        }
        for criteria in [json!([]), json!({"must": []}), json!({"text": ""}), json!({"schema": []})]
        {
            let body = terms("1.00", criteria);
            api.put(LEAD, &api.operator, body).await.problem(422, "validation_failed");
        }
        api.get("/api/v1/catalog/lead", "").await.problem(404, "not_found");
        let criteria = json!({"schema": {"type": "object"}, "text": "whole"});
        let body = terms("1.00", criteria.clone());
        assert_eq!(api.put(LEAD, &api.operator, body).await.json(200)["criteria"], criteria);
        assert_eq!(api.get("/api/v1/catalog/lead", "").await.json(200)["criteria"], criteria);
    });
}
