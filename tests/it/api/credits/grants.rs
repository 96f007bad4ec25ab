//! Promotional credits that the operator gives, at once and for later.

use bursar::ground::Clock;
use chrono::TimeDelta;
use serde_json::{Value, json};

use super::{give, granter, whole};
use crate::api::{Api, Customer};
use crate::support::postgres::run;

#[test]
fn a_grant_is_credited_once_with_its_terms_and_its_reason() {
    run(|db| async move {
        let api = Api::start(db).await;
        let customer = api.signup(json!([])).await;
        let expires = (api.clock.now() + TimeDelta::days(3)).to_rfc3339();
        let body = json!({"amount": "5.00", "priority": 10, "expires_at": expires});
        let given = give(&api, &customer, "k1", body.clone()).await.json(201);
        let again = give(&api, &customer, "k1", body).await;
        assert_eq!(again.header("idempotent-replayed"), Some("true"));
        assert_eq!(again.json(201), given);
        let other = give(&api, &customer, "k1", json!({"amount": "5.01"})).await;
        other.problem(422, "idempotency_conflict");
        let credits = api.credits(&customer).await;
        assert_eq!([&credits["promotional"], &credits["pending"]], ["30.00", "0.00"]);
        assert_eq!(credits["lots"][0]["lot_id"], given["lot_id"]);
        assert_eq!(credits["lots"][0]["priority"], 10);
        let history = api.get("/api/v1/credits/history", &customer.key).await.json(200);
        let [entry, signup] = [0, 1].map(|n| &history["data"][n]);
        assert_eq!([&entry["movement"], &entry["amount"]], ["grant", "5.00"]);
        assert_eq!(entry["subject_id"], given["grant_id"]);
        assert_eq!([&entry["reason"], &signup["reason"]], ["goodwill: late delivery", "signup"]);
        let events = api.get("/api/v1/events?type=grant.credited", &customer.key).await.json(200);
        let data = &events["data"][1]["data"];
        assert_eq!([&data["grant_id"], &data["amount"]], [&given["grant_id"], &json!("5.00")]);
        whole(&api).await;
    });
}

#[test]
fn a_grant_for_later_is_no_lot_before_and_credited_once_when_its_time_comes() {
    run(|db| async move {
        let api = Api::start(db).await;
        api.list("lead", "1.00").await;
        let customer = api.signup(json!([])).await;
        let later = api.clock.now() + TimeDelta::days(2);
        let body = json!({"amount": "5.00", "priority": 0, "effective_at": later.to_rfc3339()});
        let given = give(&api, &customer, "k1", body.clone()).await.json(201);
        assert_eq!(given["lot_id"], Value::Null);
        assert_eq!(granter(&api).step().await.unwrap(), 0);
        let credits = api.credits(&customer).await;
        let facts = ["available", "pending", "posted"].map(|name| &credits[name]);
        assert_eq!(facts, ["25.00", "5.00", "25.00"]);
        assert_eq!(credits["scheduled"][0]["grant_id"], given["grant_id"]);
        assert_eq!(credits["lots"].as_array().unwrap().len(), 1);
        let items = json!({"items": [{"sku": "lead", "quantity": 26}], "max_total": "26.00"});
        let refused = api.post_once("/api/v1/checkouts", &customer.key, "c1", items).await;
        refused.problem(409, "insufficient_credits");

        api.clock.advance(TimeDelta::days(2) + TimeDelta::minutes(1));
        // Two workers find it at once.
        let (one, other) = (granter(&api), granter(&api));
        let (one, other) = futures_util::future::join(one.step(), other.step()).await;
        assert_eq!(one.unwrap() + other.unwrap(), 1);
        assert_eq!(granter(&api).step().await.unwrap(), 0);
        let credits = api.credits(&customer).await;
        let facts = ["available", "pending", "posted"].map(|name| &credits[name]);
        assert_eq!(facts, ["30.00", "0.00", "30.00"]);
        assert_eq!(credits["scheduled"], json!([]));
        let lot = &credits["lots"][0];
        assert_eq!((&lot["origin"], &lot["priority"]), (&given["grant_id"], &json!(0)));
        assert_eq!(lot["effective_at"], given["effective_at"]);
        assert_eq!(lot["expires_at"], given["expires_at"]);
        // Its first answer is its answer, whatever has become of it.
        assert_eq!(give(&api, &customer, "k1", body).await.json(201), given);
        whole(&api).await;
    });
}

#[test]
fn a_grant_that_was_due_for_too_long_is_credited_and_expires() {
    run(|db| async move {
        let api = Api::start(db).await;
        let customer = api.signup(json!([])).await;
        let [from, to] = [1, 2].map(|days| (api.clock.now() + TimeDelta::days(days)).to_rfc3339());
        let body = json!({"amount": "5.00", "effective_at": from, "expires_at": to});
        give(&api, &customer, "k1", body).await.json(201);
        api.clock.advance(TimeDelta::days(3));
        assert_eq!(granter(&api).step().await.unwrap(), 1);
        let credits = api.credits(&customer).await;
        assert_eq!([&credits["available"], &credits["pending"]], ["25.00", "0.00"]);
        let events = api.get("/api/v1/events", &customer.key).await.json(200);
        let kinds: Vec<_> = events["data"].as_array().unwrap().iter().map(|e| &e["type"]).collect();
        assert_eq!(kinds, ["grant.credited", "grant.credited", "lot.expired"]);
        whole(&api).await;
    });
}

#[test]
fn a_restored_ledger_waits_and_what_is_over_by_then_is_not_on_its_way() {
    run(|db| async move {
        let api = Api::start(db).await;
        let customer = api.signup(json!([])).await;
        let later = (api.clock.now() + TimeDelta::days(1)).to_rfc3339();
        let body = json!({"amount": "5.00", "effective_at": later});
        give(&api, &customer, "k1", body.clone()).await.json(201);
        api.clock.advance(TimeDelta::days(2));
        let owner = &api.database.owner;
        sqlx::query("insert into restoration values (gen_random_uuid(), now(), now())")
            .execute(owner)
            .await
            .unwrap();
        assert_eq!(granter(&api).step().await.unwrap(), 0);
        give(&api, &customer, "k2", body).await.problem(503, "ledger_restored");
        assert_eq!(api.credits(&customer).await["pending"], "5.00");
        api.clock.advance(TimeDelta::days(100));
        let over = api.credits(&customer).await;
        assert_eq!((&over["pending"], &over["scheduled"]), (&json!("0.00"), &json!([])));
        sqlx::query(
            "insert into restoration_confirmed
             select restoration_id, now(), 'me', 'operator', 'checked' from restoration",
        )
        .execute(owner)
        .await
        .unwrap();
        assert_eq!(granter(&api).step().await.unwrap(), 1);
        let credits = api.credits(&customer).await;
        assert_eq!([&credits["available"], &credits["pending"]], ["0.00", "0.00"]);
        let history = api.get("/api/v1/credits/history", &customer.key).await.json(200);
        let moved = ["movement", "amount"].map(|name| &history["data"][0][name]);
        assert_eq!(moved, ["expiry", "5.00"]);
        whole(&api).await;
    });
}

#[test]
fn what_cannot_be_given_is_refused() {
    run(|db| async move {
        let api = Api::start(db).await;
        let customer = api.signup(json!([])).await;
        let day = |days| (api.clock.now() + TimeDelta::days(days)).to_rfc3339();
        for (body, field) in [
            (json!({"amount": "0.00"}), "amount"),
            (json!({"amount": "1000000.000001"}), "amount"),
            (json!({"amount": "1.00", "priority": 101}), "priority"),
            (json!({"amount": "1.00", "priority": -1}), "priority"),
            (json!({"amount": "1.00", "expires_at": day(-1)}), "expires_at"),
            (json!({"amount": "1.00", "effective_at": day(2), "expires_at": day(1)}), "expires_at"),
            // The year 10000 in UTC: as it is written, and after the usual life.
            (
                json!({"amount": "1.00", "effective_at": "9999-12-31T23:30:00-01:00"}),
                "effective_at",
            ),
            (json!({"amount": "1.00", "effective_at": "9999-12-01T00:00:00Z"}), "expires_at"),
            (json!({"amount": "1.00", "expires_at": "9999-12-31T23:30:00-01:00"}), "expires_at"),
        ] {
            let refused = give(&api, &customer, "odd", body).await;
            assert_eq!(refused.problem(422, "validation_failed")["field"], field);
        }
        for account in
            ["acc_00000000000070008000000000000000", "acc_00000000000070008000000000000001"]
        {
            let nobody = Customer { account: account.to_owned(), key: String::new() };
            let refused = give(&api, &nobody, "k", json!({"amount": "1.00"})).await;
            assert_eq!(refused.problem(422, "validation_failed")["field"], "account_id");
        }
        let later = json!({"amount": "0.01", "effective_at": day(1)});
        for n in 0..100 {
            give(&api, &customer, &format!("w{n}"), later.clone()).await.json(201);
        }
        let refused = give(&api, &customer, "one-more", later).await;
        assert_eq!(refused.problem(409, "too_many_grants_waiting")["max"], 100);
        assert_eq!(api.credits(&customer).await["pending"], "1.00");
        let last = json!({"amount": "1000000.00", "expires_at": "9999-12-31T23:59:59Z"});
        let given = give(&api, &customer, "at-once", last).await.json(201);
        assert_eq!(given["expires_at"], "9999-12-31T23:59:59Z");
        whole(&api).await;
    });
}
