//! Accounts without any human.

use serde_json::json;

use super::Api;
use crate::support::postgres::run;

#[test]
fn anybody_gets_an_account_with_credits_to_begin_with() {
    run(|db| async move {
        let api = Api::start(db).await;
        let answer = api.send(api.request(reqwest::Method::POST, "/api/v1/accounts", "")).await;
        let account = answer.json(201);
        assert!(account["api_key"].as_str().unwrap().starts_with("bur_test_"), "{account}");
        assert_eq!(account["mode"], "test");
        assert_eq!(account["promotional_credits"], "25.00");
        assert_eq!(account["next"]["action"], "choose_sku");
        let credits = api.get("/api/v1/credits", account["api_key"].as_str().unwrap()).await;
        let credits = credits.json(200);
        assert_eq!(credits["account_id"], account["account_id"]);
        let balance = ["available", "paid", "promotional", "held"].map(|name| &credits[name]);
        assert_eq!(balance, ["25.00", "0.00", "25.00", "0.00"]);
        assert_eq!(credits["lots"][0]["category"], "promotional");
        assert_eq!(credits["next_expiry"]["at"], account["promotional_expires_at"]);
        assert_eq!(credits["next_expiry"]["amount"], "25.00");
        assert_eq!(credits["frozen"], false);
    });
}

#[test]
fn a_request_that_does_not_fit_is_told_where() {
    run(|db| async move {
        let api = Api::start(db).await;
        for (body, field) in [
            (json!({"name": ""}), "name"),
            (json!({"name": "a\u{0}b"}), "name"),
            (json!({"tip": 1}), "tip"),
            (json!({"caps": [{"span": "year", "limit": "1"}]}), "caps[0].span"),
            (json!({"caps": [{"span": "day", "limit": 1}]}), "caps[0].limit"),
            (
                json!({"caps": [{"span": "day", "limit": "1"}, {"span": "day", "limit": "2"}]}),
                "caps[1].span",
            ),
        ] {
            let answer = api.post("/api/v1/accounts", "", body).await;
            assert_eq!(answer.problem(422, "validation_failed")["field"], field);
        }
    });
}

#[test]
fn one_address_cannot_take_accounts_without_end() {
    run(|db| async move {
        let api = Api::start(db).await;
        for _ in 0..20 {
            api.post("/api/v1/accounts", "", json!({})).await.json(201);
        }
        let refused = api.post("/api/v1/accounts", "", json!({})).await;
        let problem = refused.problem(429, "signup_quota_exhausted");
        assert_eq!(problem["next"]["action"], "top_up");
        api.clock.advance(chrono::TimeDelta::hours(1));
        api.post("/api/v1/accounts", "", json!({})).await.json(201);
    });
}
