//! What an account has, and what is on its way to it.

mod cancel;
mod grants;
mod overdue;

use std::sync::Arc;

use bursar::accounts::{Accounts, Granter};
use bursar::ground::{BookId, Clock, Mode, SystemEntropy};
use bursar::ledger;
use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use serde_json::{Value, json};

use super::{Answer, Api, Customer, dollars, signup_settings};
use crate::support::postgres::run;

/// Gives credits as the operator does.
async fn give(api: &Api, customer: &Customer, once: &str, mut terms: Value) -> Answer {
    terms["account_id"] = json!(customer.account);
    terms["reason"] = json!("goodwill: late delivery");
    api.post_once("/api/v1/admin/grants", &api.operator, once, terms).await
}

/// What books grants that are due, as in another process of the service.
fn granter(api: &Api) -> Granter {
    let (clock, entropy) = (api.clock.clone(), Arc::new(SystemEntropy));
    let (pool, engine) = (api.pool.clone(), api.engine.clone());
    Accounts::new(pool, engine, clock, entropy, Mode::Test, signup_settings(), None).granter()
}

async fn whole(api: &Api) {
    let report = api.finance.check().await.unwrap();
    assert!(report.passed(), "{report}");
}

fn facts(credits: &Value, names: &[&str]) -> Vec<String> {
    names.iter().map(|name| credits[name].as_str().unwrap().to_owned()).collect()
}

/// What is left and what is held of each lot.
async fn lots(api: &Api, customer: &Customer) -> Vec<(String, String)> {
    let credits = api.credits(customer).await;
    let lots = credits["lots"].as_array().unwrap().iter();
    let text = |lot: &Value, name: &str| lot[name].as_str().unwrap().to_owned();
    lots.map(|lot| (text(lot, "remaining"), text(lot, "held"))).collect()
}

#[test]
fn each_lot_says_what_open_checkouts_hold_of_it() {
    run(|db| async move {
        let api = Api::start(db).await;
        api.list("lead", "1.00").await;
        let verifier = api.staff("verifier", &["lead"]).await;
        let customer = api.signup(json!([])).await;
        let first = give(&api, &customer, "first", json!({"amount": "3.00", "priority": 1}))
            .await
            .json(201);
        let items = json!([{"sku": "lead", "quantity": 2}, {"sku": "lead", "quantity": 4}]);
        let id = api.checkout(&customer, "c1", items).await;
        assert_eq!(lots(&api, &customer).await, [pair("0.00", "3.00"), pair("22.00", "3.00")]);
        let credits = api.credits(&customer).await;
        let names = ["posted", "available", "held", "promotional_held", "pending"];
        assert_eq!(facts(&credits, &names), ["28.00", "22.00", "6.00", "6.00", "0.00"]);
        let lot = &credits["lots"][0];
        assert_eq!((&lot["lot_id"], &lot["origin"]), (&first["lot_id"], &first["grant_id"]));
        assert_eq!((&lot["priority"], &lot["parent_lot_id"]), (&json!(1), &Value::Null));

        // One unit of the second item is captured: from the front of its draws.
        api.deliver(&api.operator, &id, "r1", 2, 2).await;
        let verdict = json!({"verdict": "partially_accepted", "accepted_quantity": 1});
        api.judge(&verifier, &id, "r1", verdict).await.json(200);
        assert_eq!(lots(&api, &customer).await, [pair("0.00", "2.00"), pair("23.00", "2.00")]);
        api.post_once(&format!("/api/v1/checkouts/{id}/cancel"), &customer.key, "x", json!({}))
            .await
            .json(200);
        assert_eq!(lots(&api, &customer).await, [pair("2.00", "0.00"), pair("25.00", "0.00")]);
        assert_eq!(api.credits(&customer).await["posted"], "27.00");
    });
}

/// Checkouts of the customer that are over, with so many items, later than all that there are.
async fn fill(api: &Api, customer: &Customer, checkouts: i32, items: i32) {
    let account: BookId = customer.account.parse().unwrap();
    for statement in [
        "insert into checkout (slot, book_id, checkout_id, key_id, max_total, total, created_at)
         select $1, $2, ('ffffffff-ffff-7fff-bfff-' || lpad(to_hex(n), 12, '0'))::uuid,
                gen_random_uuid(), 1, 1, now() from generate_series(1, $3) n where $4 > 0",
        "insert into checkout_item (slot, book_id, checkout_id, item, hold_id, sku, sku_version,
           quantity, unit_price, settled, deliver_by, verification_deadline_s, dispute_window_s,
           dispute_decision_s, closed)
         select $1, $2, ('ffffffff-ffff-7fff-bfff-' || lpad(to_hex(n), 12, '0'))::uuid, i,
                gen_random_uuid(), 'lead', 1, 1, 1, 1, now(), 1, 1, 1, true
         from generate_series(1, $3) n cross join generate_series(1, $4) i",
    ] {
        let insert = sqlx::query(statement).bind(account.slot().sql()).bind(account.0);
        insert.bind(checkouts).bind(items).execute(&api.database.owner).await.unwrap();
    }
}

async fn held(api: &Api, customer: &Customer) -> [Value; 3] {
    let credits = api.credits(customer).await;
    let page = api.get("/api/v1/credits/lots", &customer.key).await.json(200);
    [&credits["promotional_held"], &credits["lots"][0]["held"], &page["data"][0]["held"]]
        .map(Value::clone)
}

#[test]
fn what_is_held_of_a_lot_is_looked_up_in_a_bounded_number_of_items() {
    run(|db| async move {
        let api = Api::start(db).await;
        api.list("lead", "1.00").await;
        let known = [json!("1.00"), json!("1.00"), json!("1.00")];
        let unknown = [json!("1.00"), Value::Null, Value::Null];
        for (checkouts, items, expected) in
            [(299, 1, &known), (300, 1, &unknown), (1, 999, &known), (1, 1000, &unknown)]
        {
            let customer = api.signup(json!([])).await;
            let lead = json!([{"sku": "lead", "quantity": 1}]);
            let id = api.checkout(&customer, "c1", lead).await;
            fill(&api, &customer, checkouts, items).await;
            assert_eq!(&held(&api, &customer).await, expected, "{checkouts} of {items} items");
            api.post_once(&format!("/api/v1/checkouts/{id}/cancel"), &customer.key, "x", json!({}))
                .await
                .json(200);
            assert_eq!(held(&api, &customer).await, ["0.00", "0.00", "0.00"]);
        }
    });
}

fn pair(left: &str, held: &str) -> (String, String) {
    (left.to_owned(), held.to_owned())
}

#[test]
fn what_is_past_its_expiry_does_not_count_before_anybody_has_booked_it() {
    run(|db| async move {
        let api = Api::start(db).await;
        api.list("lead", "1.00").await;
        let customer = api.signup(json!([])).await;
        let soon = (api.clock.now() + TimeDelta::days(1)).to_rfc3339();
        let terms = json!({"amount": "4.00", "priority": 0, "expires_at": soon});
        give(&api, &customer, "short", terms).await.json(201);
        let lead = json!([{"sku": "lead", "quantity": 1}]);
        api.checkout(&customer, "c1", lead.clone()).await;
        let credits = api.credits(&customer).await;
        let next = &credits["next_expiry"];
        assert_eq!(next["amount"], "3.00");
        assert_eq!(at(&next["at"]), at(&json!(soon)));

        api.clock.advance(TimeDelta::days(1) + TimeDelta::minutes(1));
        let overdue = api.credits(&customer).await;
        let names = ["posted", "available", "promotional", "held"];
        assert_eq!(facts(&overdue, &names), ["26.00", "25.00", "25.00", "1.00"]);
        assert_eq!(overdue["next_expiry"]["amount"], "25.00");
        assert_eq!(lots(&api, &customer).await, [pair("0.00", "1.00"), pair("25.00", "0.00")]);
        ledger::expire_lots(&api.pool, &api.engine, api.clock.now()).await.unwrap();
        assert_eq!(api.credits(&customer).await, overdue, "booking it changes nothing");
        let page = api.get("/api/v1/credits/lots", &customer.key).await.json(200);
        assert_eq!(page["data"].as_array().unwrap().len(), 2);
    });
}

fn at(text: &Value) -> DateTime<Utc> {
    let at: DateTime<Utc> = text.as_str().unwrap().parse().unwrap();
    at.trunc_subsecs(6)
}

#[test]
fn lots_come_page_by_page_and_the_next_expiry_is_that_of_all() {
    run(|db| async move {
        let api = Api::start(db).await;
        let customer = api.signup(json!([])).await;
        let first = (api.clock.now() + TimeDelta::days(2)).to_rfc3339();
        // The last to be spent is the first to expire.
        let terms = json!({"amount": "0.10", "priority": 100, "expires_at": first});
        give(&api, &customer, "last", terms).await.json(201);
        for n in 0..101 {
            give(&api, &customer, &format!("grant-{n}"), json!({"amount": "0.01"})).await.json(201);
        }
        let credits = api.credits(&customer).await;
        let shown = credits["lots"].as_array().unwrap();
        assert_eq!((shown.len(), &credits["has_more"]), (100, &json!(true)));
        assert_eq!(credits["next_expiry"]["amount"], "0.10");

        let (mut seen, mut path) = (Vec::new(), "/api/v1/credits/lots?limit=40".to_owned());
        loop {
            let page = api.get(&path, &customer.key).await.json(200);
            seen.extend(page["data"].as_array().unwrap().iter().map(|lot| lot["lot_id"].clone()));
            let Some(after) = page["next_cursor"].as_str() else { break };
            path = format!("/api/v1/credits/lots?limit=40&after={after}");
        }
        assert_eq!(seen.len(), 103);
        assert!(seen.is_sorted_by(|a, b| a.as_str() < b.as_str()));
        assert!(shown.iter().all(|lot| seen.contains(&lot["lot_id"])));
        let other = api.signup(json!([])).await;
        let page = api.get("/api/v1/credits/lots", &other.key).await.json(200);
        assert_eq!(page["data"].as_array().unwrap().len(), 1);
    });
}

#[test]
fn a_payment_without_an_outcome_is_pending() {
    run(|db| async move {
        let api = Api::start(db).await;
        let customer = api.signup(json!([])).await;
        let account: BookId = customer.account.parse().unwrap();
        for (n, state, sent) in
            [(1, "unknown", true), (2, "parked", true), (4, "rejected", true), (8, "parked", false)]
        {
            sqlx::query(
                "insert into topup (slot, book_id, topup_id, state, amount, x402_version, network,
                   asset, payer, nonce, pay_to, valid_before, facilitator_url, payload,
                   requirements, keyed, sent_at, created_at, updated_at)
                 values ($1, $2, gen_random_uuid(), $3, $4, 2, 'eip155:84532', 'a', 'p', $5, 't', 0,
                   'sandbox', '{}', '{}', true, case when $6 then now() end, now(), now())",
            )
            .bind(account.slot().sql())
            .bind(account.0)
            .bind(state)
            .bind(dollars("1.00").micros() * n)
            .bind(n.to_string())
            .bind(sent)
            .execute(&api.database.owner)
            .await
            .unwrap();
        }
        let later = (api.clock.now() + TimeDelta::days(1)).to_rfc3339();
        give(&api, &customer, "x", json!({"amount": "0.50", "effective_at": later}))
            .await
            .json(201);
        let credits = api.credits(&customer).await;
        assert_eq!(facts(&credits, &["pending", "posted"]), ["3.50", "25.00"]);
    });
}
