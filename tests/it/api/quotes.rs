//! Quotes: what they tell, and that they are sold once, at their price.

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::future::join_all;
use serde_json::{Value, json};

use super::{Api, Customer};
use crate::support::postgres::run;
use crate::support::service::Service;

async fn quote(api: &Api, customer: &Customer, quantity: u32) -> Value {
    let body = json!({"items": [{"sku": "lead", "quantity": quantity}]});
    api.post("/api/v1/quotes", &customer.key, body).await.json(201)
}

async fn accept(api: &Api, customer: &Customer, once: &str, id: &Value) -> super::Answer {
    let body = json!({ "quote_id": id });
    api.post_once("/api/v1/checkouts", &customer.key, once, body).await
}

async fn count(api: &Api, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(&api.database.owner).await.unwrap()
}

#[test]
fn a_quote_tells_what_a_checkout_would_and_moves_nothing() {
    run(|db| async move {
        let api = Api::start(db).await;
        api.list("lead", "2.50").await;
        let caps =
            json!([{"span": "checkout", "limit": "30.00"}, {"span": "day", "limit": "40.00"}]);
        let customer = api.signup(caps).await;
        let rows = "select (select count(*) from transfer) + (select count(*) from hold)
                  + (select count(*) from outcome) + (select count(*) from outbox)";
        let before = count(&api, rows).await;
        let fits = quote(&api, &customer, 4).await;
        assert_eq!((&fits["allowed"], &fits["refusal"]), (&json!(true), &Value::Null));
        assert_eq!((&fits["total"], &fits["shortfall"]), (&json!("10.00"), &json!("0.00")));
        assert_eq!((&fits["topup"], &fits["available"]), (&Value::Null, &json!("25.00")));
        assert_eq!(fits["lines"][0]["amount"], "10.00");
        assert_eq!(
            fits["caps"],
            json!([
                {"scope": "account", "span": "checkout", "limit": "30.00", "used": "0.00",
                 "headroom_before": "30.00", "headroom_after": "20.00"},
                {"scope": "account", "span": "day", "limit": "40.00", "used": "0.00",
                 "headroom_before": "40.00", "headroom_after": "30.00"},
            ])
        );
        let over = quote(&api, &customer, 13).await;
        assert_eq!((&over["allowed"], &over["shortfall"]), (&json!(false), &json!("7.50")));
        assert_eq!(over["refusal"]["code"], "cap_exceeded");
        assert_eq!(over["caps"][0]["headroom_after"], Value::Null);
        assert_eq!(over["topup"]["body"], json!({"amount": "7.50"}));
        let short = quote(&api, &customer, 12).await;
        assert_eq!(short["refusal"]["code"], "insufficient_credits");
        let hint = &short["topup"];
        assert_eq!((&hint["method"], &hint["body"]["amount"]), (&json!("POST"), &json!("5.00")));
        assert_eq!(hint["url"], format!("{}/api/v1/credits/topup", api.url));
        assert_eq!(count(&api, rows).await, before, "nothing was written but the quotes");
        let refused = accept(&api, &customer, "short", &short["quote_id"]).await;
        let refused = refused.problem(409, "insufficient_credits");
        assert_eq!(refused["detail"], short["refusal"]["detail"]);
        // What it was refused for is gone; the quote is not.
        let opened = accept(&api, &customer, "fits", &fits["quote_id"]).await.json(201);
        assert_eq!((&opened["total"], &opened["max_total"]), (&json!("10.00"), &json!("10.00")));
        let after = quote(&api, &customer, 1).await;
        assert_eq!(after["caps"][1]["headroom_before"], "30.00");
        for (body, code, field) in [
            (json!({"items": []}), "validation_failed", "items"),
            (json!({"items": [{"sku": "none", "quantity": 1}]}), "sku_unknown", "items"),
        ] {
            let answer = api.post("/api/v1/quotes", &customer.key, body).await;
            assert_eq!(answer.problem(422, code)["field"], field);
        }
    });
}

#[test]
fn a_quote_is_sold_at_its_price_once_in_its_life_and_to_its_account() {
    run(|db| async move {
        let api = Api::start(db).await;
        api.list("lead", "1.00").await;
        let (customer, other) = (api.signup(json!([])).await, api.signup(json!([])).await);
        let id = quote(&api, &customer, 3).await["quote_id"].clone();
        let late = quote(&api, &customer, 3).await["quote_id"].clone();
        api.list("lead", "9.00").await;
        accept(&api, &other, "o", &id).await.problem(404, "not_found");
        let body = json!({"quote_id": id, "max_total": "2.99"});
        let low = api.post_once("/api/v1/checkouts", &customer.key, "low", body).await;
        low.problem(409, "max_total_exceeded");
        let opened = accept(&api, &customer, "k1", &id).await.json(201);
        let item = &opened["items"][0];
        assert_eq!((&item["unit_price"], &item["sku_version"]), (&json!("1.00"), &json!(1)));
        let again = accept(&api, &customer, "k1", &id).await;
        assert_eq!(again.header("idempotent-replayed"), Some("true"));
        assert_eq!(again.json(201)["checkout_id"], opened["checkout_id"]);
        let used = accept(&api, &customer, "k2", &id).await.problem(409, "quote_used");
        assert_eq!(used["checkout_id"], opened["checkout_id"]);
        api.clock.advance(TimeDelta::minutes(15));
        let over = accept(&api, &customer, "k3", &late).await.problem(409, "quote_expired");
        assert_eq!(over["next"]["action"], "quote_again");
        assert_eq!(api.credits(&customer).await["held"], "3.00");
        for (body, field) in [
            (json!({"quote_id": id, "items": [{"sku": "lead", "quantity": 1}]}), "quote_id"),
            (json!({"items": [{"sku": "lead", "quantity": 1}]}), "max_total"),
            (json!({"max_total": "1.00"}), "items"),
            (json!({"quote_id": "quo_1"}), "quote_id"),
        ] {
            let answer = api.post_once("/api/v1/checkouts", &customer.key, "k9", body).await;
            assert_eq!(answer.problem(422, "validation_failed")["field"], field);
        }
        // What was not accepted is forgotten some time after it ran out; what was stays.
        assert!(!api.sweeper.forget_quotes().await.unwrap());
        assert_eq!(count(&api, "select count(*) from quote").await, 2);
        api.clock.advance(TimeDelta::hours(2));
        assert!(!api.sweeper.forget_quotes().await.unwrap());
        assert_eq!(count(&api, "select count(*) from quote").await, 1);
        accept(&api, &customer, "k4", &late).await.problem(404, "not_found");
        accept(&api, &customer, "k5", &id).await.problem(409, "quote_used");
        assert!(api.finance.check().await.unwrap().passed());
    });
}

#[test]
fn of_many_who_accept_a_quote_at_once_one_gets_it() {
    run(|db| async move {
        let api = Api::start(db).await;
        api.list("lead", "1.00").await;
        let customer = api.signup(json!([])).await;
        for round in 0..5 {
            let id = quote(&api, &customer, 1).await["quote_id"].clone();
            let one = |n: u32| {
                let (api, customer, id) = (&api, &customer, &id);
                async move { accept(api, customer, &format!("r{round}-{n}"), id).await }
            };
            let answers = join_all((0..20).map(one)).await;
            let won = answers.iter().filter(|answer| answer.status == 201).count();
            assert_eq!(won, 1, "round {round}");
            for lost in answers.iter().filter(|answer| answer.status != 201) {
                lost.problem(409, "quote_used");
            }
        }
        assert_eq!(api.credits(&customer).await["held"], "5.00");
        assert!(api.finance.check().await.unwrap().passed());
    });
}

#[test]
fn a_price_that_changes_meanwhile_changes_no_quote() {
    run(|db| async move {
        let api = Api::start(db).await;
        api.list("lead", "0.50").await;
        let customer = api.signup(json!([])).await;
        let mut quotes = Vec::new();
        for _ in 0..10 {
            quotes.push(quote(&api, &customer, 2).await["quote_id"].clone());
        }
        let changes = (0..10).map(|n| {
            let api = &api;
            async move { api.list("lead", &format!("7.{n:02}")).await }
        });
        let accepted = quotes.iter().enumerate().map(|(n, id)| {
            let (api, customer) = (&api, &customer);
            async move { accept(api, customer, &format!("q{n}"), id).await.json(201) }
        });
        let (_, opened) = futures_util::future::join(join_all(changes), join_all(accepted)).await;
        assert!(opened.iter().all(|checkout| checkout["total"] == "1.00"));
        assert_eq!(api.credits(&customer).await["held"], "10.00");
        assert!(api.finance.check().await.unwrap().passed());
    });
}

#[test]
fn an_account_has_so_many_open_quotes_and_no_more() {
    run(|db| async move {
        let api = Api::start(db).await;
        api.list("lead", "0.50").await;
        let customer = api.signup(json!([])).await;
        let body = json!({"items": [{"sku": "lead", "quantity": 1}]});
        let one = |_| api.post("/api/v1/quotes", &customer.key, body.clone());
        let answers = join_all((0..60).map(one)).await;
        assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 50);
        for refused in answers.iter().filter(|answer| answer.status != 201) {
            refused.problem(429, "rate_limited");
            let seconds: u32 = refused.header("retry-after").unwrap().parse().unwrap();
            assert!((840..=901).contains(&seconds), "when the first one is over: {seconds}");
        }
        let other = api.signup(json!([])).await;
        quote(&api, &other, 1).await;
        api.clock.advance(TimeDelta::minutes(16));
        quote(&api, &customer, 1).await;
    });
}

#[test]
fn an_accepted_quote_is_changed_and_deleted_by_nobody() {
    run(|db| async move {
        let api = Api::start(db).await;
        api.list("lead", "0.50").await;
        let customer = api.signup(json!([])).await;
        let id = quote(&api, &customer, 1).await["quote_id"].clone();
        accept(&api, &customer, "k", &id).await.json(201);
        for sql in ["update quote set checkout_id = null", "delete from quote"] {
            let refused = sqlx::query(sql).execute(&api.pool).await.unwrap_err();
            let code = refused.as_database_error().unwrap().code().unwrap().into_owned();
            assert_eq!(code, "23001", "{sql}");
        }
    });
}

#[test]
fn the_operator_says_how_long_prices_hold() {
    run(|db| async move {
        let service = Service::start(&db, &[("BURSAR_QUOTE_LIFE_S", "60")]);
        service.list("lead", "1.00").await;
        let (_, key) = service.sign_up().await;
        let body = json!({"items": [{"sku": "lead", "quantity": 1}]});
        let asked = service.ask("POST", "/api/v1/quotes", Some(&key), None, Some(body));
        let (status, quote) = asked.await;
        assert_eq!(status, 201, "{quote}");
        let moment = |name: &str| quote[name].as_str().unwrap().parse::<DateTime<Utc>>().unwrap();
        assert_eq!(moment("expires_at") - moment("created_at"), TimeDelta::seconds(60));
    });
}
