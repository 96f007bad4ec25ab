//! What an account has, and what is on its way to it.

mod grants;

use bursar::ground::{BookId, Clock};
use bursar::ledger;
use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use serde_json::{Value, json};

use super::{Answer, Api, Customer, dollars};
use crate::support::postgres::run;

/// Gives credits as the operator does.
async fn give(api: &Api, customer: &Customer, once: &str, mut terms: Value) -> Answer {
    terms["account_id"] = json!(customer.account);
    terms["reason"] = json!("goodwill: late delivery");
    api.post_once("/api/v1/admin/grants", &api.operator, once, terms).await
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
