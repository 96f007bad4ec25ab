//! Results that wait for a verdict: who reads them, in which order, and by which criteria they are
//! judged.

use chrono::TimeDelta;
use serde_json::{Value, json};

use super::Api;
use crate::support::postgres::run;

/// The names on a page, and where to read on.
fn names(page: &Value) -> (Vec<&str>, Option<&str>) {
    let data = page["data"].as_array().unwrap();
    let names = data.iter().map(|result| result["result_id"].as_str().unwrap());
    (names.collect(), page["next_cursor"].as_str())
}

#[test]
fn a_verifier_reads_what_it_is_to_judge() {
    run(|db| async move {
        let api = Api::start(db).await;
        api.list("lead", "2.00").await;
        api.list("page", "1.00").await;
        let leads = api.staff("verifier", &["lead"]).await;
        let pages = api.staff("verifier", &["page"]).await;
        let nobodys = api.staff("verifier", &["else"]).await;
        let fulfiller = api.staff("fulfiller", &["lead", "page"]).await;
        let customer = api.signup(json!([])).await;
        let items = json!([{"sku": "lead", "quantity": 3}, {"sku": "page", "quantity": 2}]);
        let checkout = api.checkout(&customer, "c", items).await;
        for (name, item, quantity) in [("l1", 1, 2), ("p1", 2, 1), ("l2", 1, 1), ("p2", 2, 1)] {
            api.deliver(&fulfiller, &checkout, name, item, quantity).await;
        }
        let read = async |path: &str, key: &str| api.get(path, key).await.json(200);
        let first = read("/api/v1/results?limit=1", &leads).await;
        let (found, next) = names(&first);
        assert_eq!(found, ["l1"]);
        let result = &first["data"][0];
        assert_eq!((&result["checkout_id"], &result["item"]), (&json!(checkout), &json!(1)));
        assert_eq!((&result["sku"], &result["quantity"]), (&json!("lead"), &json!(2)));
        assert_eq!(
            (&result["unit_price"], &result["criteria_version"]),
            (&json!("2.00"), &json!(1))
        );
        assert_eq!(result["verification"], "push");
        assert!(result["criteria"].is_object() && result["verify_by"].is_string());
        let path = format!("/api/v1/checkouts/{checkout}/results/l1");
        let delivered = read(&path, &customer.key).await;
        for member in ["evidence", "evidence_sha256", "submitted_at", "verify_by"] {
            assert_eq!(result[member], delivered[member], "{member}");
        }
        assert!(!first.to_string().contains(&customer.account), "whose it is is not said");
        let last = read(&format!("/api/v1/results?limit=1&after={}", next.unwrap()), &leads).await;
        assert_eq!(names(&last), (vec!["l2"], None));
        let all = read("/api/v1/results", &api.operator).await;
        assert_eq!(names(&all), (vec!["l1", "p1", "l2", "p2"], None));
        assert_eq!(names(&read("/api/v1/results", &nobodys).await), (vec![], None));
        for key in [&customer.key, &fulfiller] {
            api.get("/api/v1/results", key).await.problem(403, "scope_missing");
        }
        for bad in ["x", "1~x~r", "%00"] {
            let refused = api.get(&format!("/api/v1/results?after={bad}"), &leads).await;
            assert_eq!(refused.problem(422, "validation_failed")["field"], "after");
        }
        // What has its verdict waits no more, and neither does what is past its deadline.
        api.judge(&pages, &checkout, "p1", json!({"verdict": "accepted"})).await.json(200);
        assert_eq!(names(&read("/api/v1/results", &pages).await), (vec!["p2"], None));
        api.clock.advance(TimeDelta::hours(2));
        assert_eq!(names(&read("/api/v1/results", &pages).await), (vec![], None));
    });
}

/// However much waits for others, no page looks through more than a thousand results.
#[test]
fn a_verifier_finds_its_own_among_thousands() {
    run(|db| async move {
        let api = Api::start(db).await;
        api.list("many", "0.01").await;
        api.list("rare", "0.01").await;
        let verifier = api.staff("verifier", &["rare"]).await;
        let customer = api.signup(json!([])).await;
        let items = json!([{"sku": "many", "quantity": 1100}, {"sku": "rare", "quantity": 1}]);
        let checkout = api.checkout(&customer, "c", items).await;
        let path = format!("/api/v1/checkouts/{checkout}/results");
        for part in 0..11 {
            let result = |n| json!({"result_id": format!("{part}-{n}"), "item": 1, "quantity": 1, "evidence": n});
            let results: Vec<_> = (0..100).map(result).collect();
            let body = json!({ "results": results });
            api.post_once(&path, &api.operator, &format!("k{part}"), body).await.json(201);
        }
        api.deliver(&api.operator, &checkout, "rare", 2, 1).await;
        let page = api.get("/api/v1/results", &verifier).await;
        let link = page.header("link").unwrap().to_owned();
        let page = page.json(200);
        let (found, next) = names(&page);
        assert_eq!((found.len(), &page["has_more"]), (0, &json!(true)));
        assert!(link.contains(next.unwrap()), "{link}");
        let page = api.get(&format!("/api/v1/results?after={}", next.unwrap()), &verifier).await;
        assert_eq!(names(&page.json(200)), (vec!["rare"], None));
        // Whoever reads everything finds each once.
        let (mut path, mut all) = ("/api/v1/results?limit=100".to_owned(), Vec::new());
        loop {
            let page = api.get(&path, &api.operator).await.json(200);
            let (found, next) = names(&page);
            all.extend(found.into_iter().map(str::to_owned));
            let Some(next) = next else { break };
            path = format!("/api/v1/results?limit=100&after={next}");
        }
        assert_eq!(all.len(), 1101);
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 1101);
    });
}

#[test]
fn a_verdict_by_other_criteria_is_refused() {
    run(|db| async move {
        let api = Api::start(db).await;
        api.list("lead", "2.00").await;
        let customer = api.signup(json!([])).await;
        let items = json!([{"sku": "lead", "quantity": 1}]);
        let checkout = api.checkout(&customer, "c", items).await;
        // The terms change, but not those of what was sold.
        api.list("lead", "3.00").await;
        api.deliver(&api.operator, &checkout, "r", 1, 1).await;
        let verdict = |version: u32| json!({"verdict": "accepted", "criteria_version": version});
        let refused = api.judge(&api.operator, &checkout, "r", verdict(2)).await;
        let refused = refused.problem(409, "criteria_version_mismatch");
        assert_eq!(
            (&refused["field"], &refused["criteria_version"]),
            (&json!("criteria_version"), &json!(1))
        );
        assert_eq!(refused["next"]["url"], "/api/v1/results");
        let path = format!("/api/v1/checkouts/{checkout}/results/r/verdict");
        let judged = api.post_once(&path, &api.operator, "again", verdict(1)).await.json(200);
        assert_eq!(judged["captured"], "2.00");
        // What is decided is decided by whatever criteria.
        let late = api.post_once(&path, &api.operator, "late", verdict(2)).await;
        late.problem(409, "already_decided");
    });
}
