//! Disputes: the buyer objects, a verifier or the operator decides, and silence is for the buyer.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use super::{Answer, Api, Customer};
use crate::support::postgres::run;

/// Charges so many results of two dollars each and returns the charges.
async fn charged(api: &Api, customer: &Customer, once: &str, results: u32) -> Vec<String> {
    let items = json!([{"sku": "lead", "quantity": results}]);
    let checkout = api.checkout(customer, once, items).await;
    let mut charges = Vec::new();
    for n in 0..results {
        let result = format!("{once}-{n}");
        api.deliver(&api.operator, &checkout, &result, 1, 1).await;
        let verdict = json!({"verdict": "accepted"});
        let judged = api.judge(&api.operator, &checkout, &result, verdict).await.json(200);
        charges.push(judged["charge_id"].as_str().unwrap().to_owned());
    }
    charges
}

async fn dispute(api: &Api, key: &str, charge: &str, once: &str, amount: Option<&str>) -> Answer {
    let mut body = json!({"reason": "it is not what I ordered"});
    if let Some(amount) = amount {
        body["amount"] = json!(amount);
    }
    api.post_once(&format!("/api/v1/charges/{charge}/disputes"), key, once, body).await
}

async fn decide(api: &Api, key: &str, dispute: &Value, once: &str, decision: &str) -> Answer {
    let path = format!("/api/v1/disputes/{}/decision", dispute.as_str().unwrap());
    api.post_once(&path, key, once, json!({"decision": decision, "reason": "so it is"})).await
}

async fn reverse(api: &Api, key: &str, charge: &str, once: &str, body: Value) -> Answer {
    api.post_once(&format!("/api/v1/charges/{charge}/reversals"), key, once, body).await
}

async fn read(api: &Api, customer: &Customer, charge: &str) -> Value {
    api.get(&format!("/api/v1/charges/{charge}"), &customer.key).await.json(200)
}

#[test]
fn what_is_disputed_goes_back_when_it_is_upheld_and_stays_when_it_is_denied() {
    run(|db| async move {
        let api = Api::start(db).await;
        api.list("lead", "2.00").await;
        let verifier = api.staff("verifier", &["lead"]).await;
        let customer = api.signup(json!([])).await;
        let charges = charged(&api, &customer, "c", 1).await;
        let charge = charges[0].as_str();
        let begun = dispute(&api, &customer.key, charge, "d1", Some("0.50")).await;
        let begun_again = dispute(&api, &customer.key, charge, "d1", Some("0.50")).await;
        assert_eq!(begun.body, begun_again.body);
        let begun = begun.json(201);
        assert_eq!([&begun["status"], &begun["amount"]], ["open", "0.50"]);
        let view = read(&api, &customer, charge).await;
        assert_eq!([&view["status"], &view["reversed"]], ["disputed", "0.00"]);
        assert_eq!(view["disputes"], json!([begun]));
        assert_eq!(api.credits(&customer).await["available"], "23.00", "nothing moves by it");

        let denied = decide(&api, &verifier, &begun["dispute_id"], "k1", "denied").await.json(200);
        assert_eq!([&denied["status"], &denied["decision_reason"]], ["denied", "so it is"]);
        let again = decide(&api, &verifier, &begun["dispute_id"], "k2", "upheld").await;
        again.problem(409, "dispute_decided");
        assert_eq!(read(&api, &customer, charge).await["status"], "open");
        assert_eq!(api.credits(&customer).await["available"], "23.00");

        let begun = dispute(&api, &customer.key, charge, "d2", Some("1.25")).await.json(201);
        let upheld = decide(&api, &verifier, &begun["dispute_id"], "k3", "upheld").await;
        let replay = decide(&api, &verifier, &begun["dispute_id"], "k3", "upheld").await;
        assert_eq!(upheld.body, replay.body);
        let upheld = upheld.json(200);
        let view = read(&api, &customer, charge).await;
        assert_eq!([&view["status"], &view["reversed"]], ["open", "1.25"]);
        assert_eq!(view["disputes"], json!([denied, upheld]), "what is told is what is kept");
        let reversals = view["reversals"].as_array().unwrap();
        assert_eq!(reversals.len(), 1);
        assert_eq!(reversals[0]["reversal_id"], upheld["reversal_id"]);
        assert_eq!(reversals[0]["dispute_id"], upheld["dispute_id"]);
        assert_eq!([&reversals[0]["amount"], &reversals[0]["reason"]], ["1.25", "so it is"]);
        assert_eq!(api.credits(&customer).await["available"], "24.25");

        // All that is left; after that nothing is.
        let begun = dispute(&api, &customer.key, charge, "d3", None).await.json(201);
        assert_eq!(begun["amount"], "0.75");
        decide(&api, &verifier, &begun["dispute_id"], "k4", "upheld").await.json(200);
        assert_eq!(read(&api, &customer, charge).await["status"], "reversed");
        dispute(&api, &customer.key, charge, "d4", None).await.problem(409, "already_reversed");
        let feed = api.get("/api/v1/events?limit=100", &customer.key).await.json(200);
        let told = |kind: &str| {
            feed["data"].as_array().unwrap().iter().filter(|event| event["type"] == kind).count()
        };
        let kinds = ["disputed", "dispute_denied", "dispute_upheld", "reversed"];
        assert_eq!(kinds.map(|kind| told(&format!("charge.{kind}"))), [3, 1, 2, 2]);
        assert!(api.finance.check().await.unwrap().passed());
    });
}

#[test]
fn a_dispute_is_the_buyers_and_its_decision_is_not() {
    run(|db| async move {
        let api = Api::start(db).await;
        api.list("lead", "2.00").await;
        api.list("page", "1.00").await;
        let (verifier, strange) =
            (api.staff("verifier", &["lead"]).await, api.staff("verifier", &["page"]).await);
        let fulfiller = api.staff("fulfiller", &["lead"]).await;
        let (customer, other) = (api.signup(json!([])).await, api.signup(json!([])).await);
        let charges = charged(&api, &customer, "c", 3).await;
        let [first, second, third] = [0, 1, 2].map(|n| charges[n].as_str());
        for key in [&verifier, &fulfiller, &api.operator] {
            dispute(&api, key, first, "d0", None).await.problem(403, "scope_missing");
        }
        dispute(&api, &other.key, first, "d1", None).await.problem(404, "not_found");
        let over = dispute(&api, &customer.key, first, "d2", Some("2.01")).await;
        assert_eq!(over.problem(409, "reversal_exceeds_charge")["left"], "2.00");
        let begun = dispute(&api, &customer.key, first, "d3", Some("1.50")).await.json(201);
        let twice = dispute(&api, &customer.key, first, "d4", Some("0.10")).await;
        assert_eq!(twice.problem(409, "charge_disputed")["dispute_id"], begun["dispute_id"]);
        for key in [&customer.key, &fulfiller] {
            let refused = decide(&api, key, &begun["dispute_id"], "k1", "upheld").await;
            refused.problem(403, "scope_missing");
            let body = json!({"reason": "mine"});
            reverse(&api, key, first, "r1", body).await.problem(403, "scope_missing");
        }
        let refused = decide(&api, &strange, &begun["dispute_id"], "k2", "upheld").await;
        refused.problem(403, "scope_missing");
        let nothing = json!("dsp_00000000000070008000000000000001");
        decide(&api, &verifier, &nothing, "k3", "upheld").await.problem(404, "not_found");

        // Whoever decides finds what waits, oldest first and only what it serves.
        let last = dispute(&api, &customer.key, second, "d5", None).await.json(201);
        let open = api.get("/api/v1/disputes?limit=1", &verifier).await.json(200);
        assert_eq!((&open["data"], &open["has_more"]), (&json!([begun]), &json!(true)));
        let next = format!("/api/v1/disputes?after={}", open["next_cursor"].as_str().unwrap());
        assert_eq!(api.get(&next, &verifier).await.json(200)["data"], json!([last]));
        assert_eq!(api.get("/api/v1/disputes", &strange).await.json(200)["data"], json!([]));
        let all = api.get("/api/v1/disputes", &api.operator).await.json(200);
        assert_eq!(all["data"], json!([begun, last]));
        api.get("/api/v1/disputes", &customer.key).await.problem(403, "scope_missing");

        // A late failure beside a dispute takes nothing of what is disputed.
        let body = |amount: &str| json!({"amount": amount, "reason": "late failure"});
        let refused = reverse(&api, &verifier, first, "r2", body("0.51")).await;
        refused.problem(409, "charge_disputed");
        let all = reverse(&api, &verifier, first, "r3", json!({"reason": "late failure"})).await;
        all.problem(409, "charge_disputed");
        let part = reverse(&api, &verifier, first, "r4", body("0.50")).await.json(201);
        assert_eq!((&part["remaining"], &part["dispute_id"]), (&json!("1.50"), &json!(null)));
        decide(&api, &api.operator, &begun["dispute_id"], "k4", "upheld").await.json(200);
        assert_eq!(read(&api, &customer, first).await["status"], "reversed");

        // The verifier declares a failure by itself, as the operator may; one that does not serve
        // the SKU may not.
        let refused = reverse(&api, &strange, third, "r5", body("1.00")).await;
        refused.problem(403, "scope_missing");
        reverse(&api, &verifier, third, "r6", body("1.00")).await.json(201);
        assert_eq!(api.credits(&customer).await["available"], "22.00");
        for n in 0..5 {
            let begun = dispute(&api, &customer.key, third, &format!("e{n}"), None).await.json(201);
            let once = format!("m{n}");
            decide(&api, &verifier, &begun["dispute_id"], &once, "denied").await.json(200);
        }
        let often = dispute(&api, &customer.key, third, "e5", None).await;
        assert_eq!(often.problem(409, "too_many_disputes")["max"], 5);
        assert!(api.finance.check().await.unwrap().passed());
    });
}

#[test]
fn a_disputed_charge_is_not_final_and_silence_is_for_the_buyer() {
    run(|db| async move {
        let api = Api::start(db).await;
        api.list("lead", "2.00").await;
        let verifier = api.staff("verifier", &["lead"]).await;
        let customer = api.signup(json!([])).await;
        let charges = charged(&api, &customer, "c", 3).await;
        let [silent, decided, quiet] = [0, 1, 2].map(|n| charges[n].as_str());
        // A minute before the end of the window of a day.
        api.clock.advance(TimeDelta::hours(24) - TimeDelta::minutes(1));
        let left = dispute(&api, &customer.key, silent, "d1", Some("1.50")).await.json(201);
        let denied = dispute(&api, &customer.key, decided, "d2", None).await.json(201);
        api.clock.advance(TimeDelta::hours(1));
        assert_eq!(read(&api, &customer, quiet).await["status"], "final");
        dispute(&api, &customer.key, quiet, "d3", None).await.problem(409, "charge_final");
        let body = json!({"reason": "too late"});
        reverse(&api, &verifier, quiet, "r1", body).await.problem(409, "charge_final");
        assert_eq!(read(&api, &customer, silent).await["status"], "disputed");
        decide(&api, &verifier, &denied["dispute_id"], "k1", "denied").await.json(200);
        assert_eq!(read(&api, &customer, decided).await["status"], "final");
        assert_eq!(api.sweeper.step().await.unwrap(), 0, "its time is not over");
        assert_eq!(api.sweeper.overdue().await.unwrap().disputes, 0);

        api.clock.advance(TimeDelta::hours(24));
        assert_eq!(api.sweeper.overdue().await.unwrap().disputes, 1);
        let late = decide(&api, &verifier, &left["dispute_id"], "k2", "denied").await;
        late.problem(409, "dispute_deadline_passed");
        assert_eq!(api.sweeper.step().await.unwrap(), 1);
        assert_eq!(api.sweeper.step().await.unwrap(), 0);
        let view = read(&api, &customer, silent).await;
        assert_eq!([&view["status"], &view["reversed"]], ["final", "1.50"]);
        let dispute = &view["disputes"][0];
        assert_eq!(
            [&dispute["status"], &dispute["decision_reason"]],
            ["upheld", "decision_timeout"]
        );
        assert_eq!(dispute["reversal_id"], view["reversals"][0]["reversal_id"]);
        assert_eq!(api.credits(&customer).await["available"], "20.50");
        let again = decide(&api, &verifier, &left["dispute_id"], "k3", "upheld").await;
        again.problem(409, "dispute_decided");
        assert!(api.finance.check().await.unwrap().passed());
    });
}

#[test]
fn what_is_not_disputed_is_final_all_the_same() {
    run(|db| async move {
        let api = Api::start(db).await;
        api.list("lead", "2.00").await;
        let customer = api.signup(json!([])).await;
        let charges = charged(&api, &customer, "c", 1).await;
        let charge = charges[0].as_str();
        api.clock.advance(TimeDelta::hours(24) - TimeDelta::minutes(1));
        let begun = dispute(&api, &customer.key, charge, "d1", Some("0.000001")).await.json(201);
        api.clock.advance(TimeDelta::minutes(1));
        for (once, body) in [
            ("r1", json!({"reason": "all of it"})),
            ("r2", json!({"reason": "the rest", "amount": "1.999999"})),
            ("r3", json!({"reason": "a part", "amount": "0.000001"})),
        ] {
            let refused = reverse(&api, &api.operator, charge, once, body).await;
            let refused = refused.problem(409, "charge_final");
            assert_eq!(refused["dispute_id"], begun["dispute_id"]);
            let (detail, decision) = (&refused["detail"], begun["dispute_id"].as_str().unwrap());
            assert!(detail.as_str().unwrap().contains(decision), "{detail}");
            assert_eq!(refused["next"]["action"], "decide_dispute");
            let url = format!("/api/v1/disputes/{decision}/decision");
            assert_eq!(refused["next"]["url"], url);
        }
        assert_eq!(read(&api, &customer, charge).await["status"], "disputed");
        decide(&api, &api.operator, &begun["dispute_id"], "k1", "upheld").await.json(200);
        let view = read(&api, &customer, charge).await;
        assert_eq!([&view["status"], &view["reversed"]], ["final", "0.000001"]);
        let body = json!({"reason": "the rest"});
        let refused = reverse(&api, &api.operator, charge, "r4", body).await;
        let refused = refused.problem(409, "charge_final");
        assert_eq!(refused["next"]["action"], "contact_operator");
        assert!(refused.get("dispute_id").is_none(), "{refused}");
        assert!(api.finance.check().await.unwrap().passed());
    });
}

/// However short the time to dispute, whoever decides has a time of its own, and the one that was sold.
#[test]
fn a_decision_has_its_own_time() {
    run(|db| async move {
        let api = Api::start(db).await;
        let path = "/api/v1/admin/catalog/lead";
        let mut terms = json!({
            "title": "A lead", "unit": "lead", "unit_price": "2.00", "criteria": {},
            "delivery_deadline_seconds": 3600, "verification_deadline_seconds": 3600,
            "dispute_window_seconds": 60,
        });
        let listed = api.put(path, &api.operator, terms.clone()).await.json(200);
        assert_eq!(listed["dispute_decision_seconds"], 604_800, "a week unless said otherwise");
        let customer = api.signup(json!([])).await;
        let charges = charged(&api, &customer, "c", 1).await;
        terms["dispute_decision_seconds"] = json!(3599);
        let short = api.put(path, &api.operator, terms.clone()).await;
        assert_eq!(short.problem(422, "validation_failed")["field"], "dispute_decision_seconds");
        terms["dispute_decision_seconds"] = json!(3600);
        let listed = api.put(path, &api.operator, terms).await.json(200);
        assert_eq!(
            (&listed["version"], &listed["dispute_decision_seconds"]),
            (&json!(2), &json!(3600))
        );
        let later = charged(&api, &customer, "e", 1).await;
        for (charge, seconds) in [(&charges[0], 604_800), (&later[0], 3600)] {
            let begun = dispute(&api, &customer.key, charge, charge, None).await.json(201);
            let time = |name: &str| begun[name].as_str().unwrap().parse::<DateTime<Utc>>().unwrap();
            let given = time("decide_by") - time("disputed_at");
            assert_eq!(given, TimeDelta::seconds(seconds));
        }
        api.clock.advance(TimeDelta::hours(1));
        assert_eq!(api.sweeper.step().await.unwrap(), 1, "the second was not decided");
        assert_eq!(read(&api, &customer, &charges[0]).await["status"], "disputed");
        assert_eq!(read(&api, &customer, &later[0]).await["status"], "reversed");
        assert!(api.finance.check().await.unwrap().passed());
    });
}
