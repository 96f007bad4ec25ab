//! Grants as the operator sees them, and those that are withdrawn.

use std::collections::BTreeMap;

use bursar::ground::Clock;
use chrono::TimeDelta;
use futures_util::future::{join, join_all};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Executor, PgPool};

use super::{give, granter, whole};
use crate::api::{Answer, Api, Customer};
use crate::support::postgres::run;

/// Gives 1.00 for the next day and returns the grant.
async fn promise(api: &Api, customer: &Customer, once: &str) -> Value {
    let later = (api.clock.now() + TimeDelta::days(1)).to_rfc3339();
    give(api, customer, once, json!({"amount": "1.00", "effective_at": later})).await.json(201)
}

async fn cancel(api: &Api, grant: &Value, once: &str) -> Answer {
    let path = format!("/api/v1/admin/grants/{}/cancel", grant.as_str().unwrap());
    api.post_once(&path, &api.operator, once, json!({})).await
}

/// The states of the listed grants, each with its id.
async fn list(api: &Api, query: &str) -> Vec<(String, String)> {
    let page = api.get(&format!("/api/v1/admin/grants?{query}"), &api.operator).await.json(200);
    let text = |grant: &Value, name: &str| grant[name].as_str().unwrap().to_owned();
    let grants = page["data"].as_array().unwrap().iter();
    grants.map(|grant| (text(grant, "grant_id"), text(grant, "state"))).collect()
}

/// The constraint with which the database refuses a statement.
async fn refusal(pool: &PgPool, sql: &str) -> String {
    let error = pool.execute(AssertSqlSafe(sql.to_owned())).await.expect_err(sql);
    error.as_database_error().and_then(|error| error.constraint()).unwrap_or_default().to_owned()
}

#[test]
fn a_grant_that_waits_can_be_canceled_and_then_counts_nowhere() {
    run(|db| async move {
        let api = Api::start(db).await;
        let customer = api.signup(json!([])).await;
        let given = promise(&api, &customer, "k1").await;
        let canceled = cancel(&api, &given["grant_id"], "c1").await.json(200);
        let of_grant = ["grant_id", "account_id", "amount", "reason", "granted_by", "lot_id"];
        for name in of_grant {
            assert_eq!(canceled[name], given[name], "{name}");
        }
        assert_eq!([&given["state"], &canceled["state"]], ["scheduled", "canceled"]);
        assert_eq!(canceled["canceled_by"], given["granted_by"]);
        assert!(canceled["canceled_at"].is_string() && given["canceled_at"].is_null());
        let credits = api.credits(&customer).await;
        assert_eq!((&credits["pending"], &credits["scheduled"]), (&json!("0.00"), &json!([])));

        let again = cancel(&api, &given["grant_id"], "c1").await;
        assert_eq!(again.header("idempotent-replayed"), Some("true"));
        assert_eq!(again.json(200), canceled);
        assert_eq!(cancel(&api, &given["grant_id"], "c2").await.json(200), canceled);
        let credited = give(&api, &customer, "k2", json!({"amount": "1.00"})).await.json(201);
        let late = cancel(&api, &credited["grant_id"], "c3").await.problem(409, "grant_credited");
        assert_eq!(late["lot_id"], credited["lot_id"]);
        let nothing = json!("grt_00000000000070008000000000000001");
        cancel(&api, &nothing, "c4").await.problem(404, "not_found");

        api.clock.advance(TimeDelta::days(2));
        assert_eq!(granter(&api).step().await.unwrap(), 0);
        assert_eq!(granter(&api).overdue().await.unwrap().count, 0);
        assert_eq!(api.credits(&customer).await["available"], "26.00");
        let (service, owner) = (&api.database.service, &api.database.owner);
        for (pool, change, constraint) in [
            (
                service,
                "canceled_at = null, canceled_by = null where canceled_at is not null",
                "credit_grant_outcome_is_final",
            ),
            (
                service,
                "credited_at = effective_at, lot_id = book_id where canceled_at is not null",
                "credit_grant_one_outcome",
            ),
            (
                owner,
                "canceled_at = now(), canceled_by = book_id where credited_at is not null",
                "credit_grant_one_outcome",
            ),
        ] {
            let sql = format!("update credit_grant set {change}");
            assert_eq!(refusal(pool, &sql).await, constraint, "{change}");
        }
        whole(&api).await;
    });
}

#[test]
fn the_operator_sees_what_was_given_and_what_waits() {
    run(|db| async move {
        let api = Api::start(db).await;
        let (customer, other) = (api.signup(json!([])).await, api.signup(json!([])).await);
        let mut waiting = Vec::new();
        for n in 0..3 {
            waiting.push(promise(&api, &customer, &format!("k{n}")).await);
            // Ids of a millisecond have no order among them.
            api.clock.advance(TimeDelta::seconds(1));
        }
        let others = promise(&api, &other, "k").await;
        cancel(&api, &waiting[1]["grant_id"], "c").await.json(200);
        let id = |grant: &Value| grant["grant_id"].as_str().unwrap().to_owned();
        let row = |n: usize, state: &str| (id(&waiting[n]), state.to_owned());

        let of_account = format!("account_id={}", customer.account);
        let all = list(&api, &of_account).await;
        let operators = [row(2, "scheduled"), row(1, "canceled"), row(0, "scheduled")];
        assert_eq!(all[..3], operators);
        assert_eq!((all.len(), all[3].1.as_str()), (4, "credited"), "that of the signup");
        let open = list(&api, &format!("{of_account}&waiting=true")).await;
        assert_eq!(open, [row(2, "scheduled"), row(0, "scheduled")]);
        let everywhere = list(&api, "waiting=true").await;
        let of_other = (id(&others), "scheduled".to_owned());
        assert_eq!(everywhere, [of_other, row(2, "scheduled"), row(0, "scheduled")]);
        assert_eq!(list(&api, "").await.len(), 6);
        let path = format!("/api/v1/admin/grants?{of_account}&waiting=true&limit=1");
        let page = api.get(&path, &api.operator).await;
        let after = id(&waiting[2]);
        let next =
            format!("</api/v1/admin/grants?{of_account}&waiting=true&after={after}&limit=1>");
        assert_eq!(page.header("link"), Some(format!("{next}; rel=\"next\"").as_str()));
        assert_eq!(page.json(200)["data"], json!([waiting[2]]));
        let rest = list(&api, &format!("{of_account}&waiting=true&after={after}")).await;
        assert_eq!(rest, [row(0, "scheduled")]);
    });
}

#[test]
fn a_cancellation_makes_room_for_another_grant() {
    run(|db| async move {
        let api = Api::start(db).await;
        let customer = api.signup(json!([])).await;
        let mut last = Value::Null;
        for n in 0..100 {
            last = promise(&api, &customer, &format!("k{n}")).await;
        }
        let later = (api.clock.now() + TimeDelta::days(1)).to_rfc3339();
        let body = json!({"amount": "1.00", "effective_at": later});
        let full = give(&api, &customer, "full", body.clone()).await;
        full.problem(409, "too_many_grants_waiting");
        cancel(&api, &last["grant_id"], "c").await.json(200);
        give(&api, &customer, "room", body.clone()).await.json(201);
        give(&api, &customer, "full-again", body).await.problem(409, "too_many_grants_waiting");
    });
}

#[test]
fn a_grant_is_credited_or_canceled_and_never_both() {
    run(|db| async move {
        let api = Api::start(db).await;
        let customer = api.signup(json!([])).await;
        let mut grants = Vec::new();
        for n in 0..40 {
            grants.push(promise(&api, &customer, &format!("k{n}")).await["grant_id"].clone());
        }
        api.clock.advance(TimeDelta::days(1) + TimeDelta::minutes(1));
        let (one, other) = (granter(&api), granter(&api));
        let crediting = join(one.step(), other.step());
        let cancels =
            join_all(grants.iter().map(|grant| cancel(&api, grant, grant.as_str().unwrap())));
        let ((one, other), answers) = join(crediting, cancels).await;
        let credited = one.unwrap() + other.unwrap();
        let states: BTreeMap<_, _> =
            list(&api, &format!("account_id={}&limit=100", customer.account))
                .await
                .into_iter()
                .collect();
        let mut canceled = 0;
        for (grant, answer) in grants.iter().zip(answers) {
            let state = &states[grant.as_str().unwrap()];
            if answer.status == 200 {
                canceled += 1;
                assert_eq!(state, "canceled");
            } else {
                answer.problem(409, "grant_credited");
                assert_eq!(state, "credited");
            }
        }
        assert_eq!(credited + canceled, 40);
        assert_eq!(api.credits(&customer).await["available"], format!("{}.00", 25 + credited));
        assert_eq!(granter(&api).step().await.unwrap(), 0);
        whole(&api).await;
    });
}
