//! Caps, shortfalls, reversals and the journal.

use chrono::TimeDelta;
use serde_json::json;

use super::Api;
use crate::support::postgres::run;

#[test]
fn a_refusal_names_every_cap_and_moves_nothing() {
    run(|db| async move {
        let api = Api::start(db).await;
        api.list("lead", "1.00").await;
        let caps = json!([{"span": "day", "limit": "5.00"}, {"span": "total", "limit": "8.00"}]);
        let customer = api.signup(caps).await;
        let body = json!({
            "role": "customer", "name": "narrow", "account_id": customer.account,
            "caps": [{"span": "checkout", "limit": "2.00"}],
        });
        let key = api.post("/api/v1/admin/keys", &api.operator, body).await.json(201);
        let key = key["api_key"].as_str().unwrap();
        let body = json!({"items": [{"sku": "lead", "quantity": 9}], "max_total": "3.00"});
        let refused = api.post_once("/api/v1/checkouts", key, "k1", body).await;
        let problem = refused.problem(409, "cap_exceeded");
        let mut named: Vec<_> = problem["violations"]
            .as_array()
            .unwrap()
            .iter()
            .map(|v| format!("{}/{}/{}/{}", v["scope"], v["span"], v["limit"], v["requested"]))
            .map(|text| text.replace('"', ""))
            .collect();
        named.sort();
        let expected = [
            "account/day/5.00/9.00",
            "account/total/8.00/9.00",
            "key/checkout/2.00/9.00",
            "request/checkout/3.00/9.00",
        ];
        assert_eq!(named, expected);
        assert_eq!(api.credits(&customer).await["held"], "0.00");
        let body = json!({"items": [{"sku": "lead", "quantity": 2}], "max_total": "1.00"});
        let refused = api.post_once("/api/v1/checkouts", key, "k2", body).await;
        refused.problem(409, "max_total_exceeded");
    });
}

#[test]
fn a_shortfall_says_what_to_top_up() {
    run(|db| async move {
        let api = Api::start(db).await;
        api.list("lead", "3.333333").await;
        let customer = api.signup(json!([])).await;
        let body = json!({"items": [{"sku": "lead", "quantity": 10}], "max_total": "50.00"});
        let refused = api.post_once("/api/v1/checkouts", &customer.key, "k1", body.clone()).await;
        let problem = refused.problem(409, "insufficient_credits");
        assert_eq!(problem["required"], "33.33333");
        assert_eq!(problem["available"], "25.00");
        assert_eq!(problem["shortfall"], "8.33333");
        assert_eq!(problem["suggested_topup"], "8.34");
        let topup_url = format!("{}/api/v1/credits/topup", api.url);
        assert_eq!(problem["topup_url"], topup_url);
        assert_eq!(problem["next"]["url"], topup_url);
        assert!(problem["next"]["detail"].as_str().unwrap().contains("new Idempotency-Key"));
        let again = api.post_once("/api/v1/checkouts", &customer.key, "k1", body).await;
        again.problem(409, "insufficient_credits");
        assert_eq!(again.header("idempotent-replayed"), Some("true"));
    });
}

#[test]
fn a_charge_is_reversed_up_to_itself_and_in_time() {
    run(|db| async move {
        let api = Api::start(db).await;
        api.list("lead", "2.00").await;
        let verifier = api.staff("verifier", &["lead"]).await;
        let customer = api.signup(json!([])).await;
        let id = api.checkout(&customer, "c1", json!([{"sku": "lead", "quantity": 2}])).await;
        for result in ["r1", "r2"] {
            api.deliver(&api.operator, &id, result, 1, 1).await;
            api.judge(&verifier, &id, result, json!({"verdict": "accepted"})).await.json(200);
        }
        let charges = api.get("/api/v1/charges", &customer.key).await.json(200);
        let [late, charge] =
            [0, 1].map(|n| charges["data"][n]["charge_id"].as_str().unwrap().to_owned());
        let path = format!("/api/v1/charges/{charge}/reversals");
        let part = json!({"amount": "0.50", "reason": "half of it was wrong"});
        let reversed = api.post_once(&path, &verifier, "k1", part.clone()).await.json(201);
        assert_eq!([&reversed["amount"], &reversed["remaining"]], ["0.50", "1.50"]);
        let replay = api.post_once(&path, &verifier, "k1", part).await;
        assert_eq!(replay.json(201), reversed);
        let more = json!({"amount": "1.51", "reason": "too much"});
        let problem = api.post_once(&path, &verifier, "k2", more).await;
        assert_eq!(problem.problem(409, "reversal_exceeds_charge")["left"], "1.50");
        let rest = json!({"reason": "all of it was wrong"});
        let reversed = api.post_once(&path, &verifier, "k3", rest.clone()).await.json(201);
        assert_eq!([&reversed["amount"], &reversed["remaining"]], ["1.50", "0.00"]);
        let over = api.post_once(&path, &verifier, "k4", rest.clone()).await;
        over.problem(409, "already_reversed");
        let view = api.get(&format!("/api/v1/charges/{charge}"), &customer.key).await.json(200);
        assert_eq!([&view["status"], &view["reversed"]], ["reversed", "2.00"]);
        assert_eq!(view["reversals"].as_array().unwrap().len(), 2);
        assert_eq!(api.credits(&customer).await["available"], "23.00");
        api.clock.advance(TimeDelta::days(2));
        let path = format!("/api/v1/charges/{late}/reversals");
        api.post_once(&path, &verifier, "k5", rest.clone()).await.problem(409, "charge_final");
        let path = "/api/v1/charges/chg_00000000000070008000000000000001/reversals";
        api.post_once(path, &verifier, "k6", rest).await.problem(404, "not_found");
    });
}

#[test]
fn the_journal_is_exported_and_adds_up_to_something() {
    run(|db| async move {
        let api = Api::start(db).await;
        let customer = api.signup(json!([])).await;
        let other = api.signup(json!([])).await;
        for (format, media) in
            [("csv", "text/csv; charset=utf-8"), ("jsonl", "application/x-ndjson")]
        {
            let path = format!("/api/v1/ledger/export?format={format}");
            for (key, accounts) in [(&customer.key, 1), (&api.operator, 2)] {
                let export = api.get(&path, key).await;
                assert_eq!((export.status, export.header("content-type")), (200, Some(media)));
                let owners = [&customer.account, &other.account];
                let named = owners.iter().filter(|owner| export.body.contains(owner.as_str()));
                assert_eq!(named.count(), accounts, "{}", export.body);
            }
        }
        let odd = api.get("/api/v1/ledger/export?format=xml", &customer.key).await;
        assert_eq!(odd.problem(422, "validation_failed")["field"], "format");
        for key in [&customer.key, &api.operator] {
            let balance = api.get("/api/v1/ledger/trial-balance", key).await.json(200);
            assert!(!balance.as_object().unwrap().is_empty());
        }
        let history = api.get("/api/v1/credits/history", &customer.key).await.json(200);
        assert_eq!(
            (history["data"].as_array().unwrap().len(), &history["has_more"]),
            (1, &json!(false))
        );
        let grant = &history["data"][0];
        let facts = ["movement", "debit_account", "credit_account", "amount"];
        let expected = ["grant", "promo_issued", "promo", "25.00"];
        assert_eq!(facts.map(|name| &grant[name]), expected);
        assert_eq!(grant["seq"], 1);
        assert!(grant["subject_id"].as_str().unwrap().starts_with("grt_"), "{grant}");
    });
}
