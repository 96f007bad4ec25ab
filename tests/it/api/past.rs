//! Balances and statements of past moments, over HTTP.

use bursar::ground::Clock;
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde_json::{Value, json};

use super::{Api, Customer};
use crate::support::postgres::run;

fn text(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Micros, true)
}

/// The database's clock, which says what is over.
async fn present(api: &Api) -> DateTime<Utc> {
    sqlx::query_scalar("select clock_timestamp()").fetch_one(&api.pool).await.unwrap()
}

/// A customer with 25.00, of which 1.00 is on hold and 1.00 was captured; and the moments before
/// anything, after the grant, and after everything.
async fn scene(api: &Api) -> (Customer, [String; 3]) {
    api.list("lead", "1.00").await;
    let start = present(api).await;
    let customer = api.signup(json!([])).await;
    let granted = present(api).await;
    let checkout = api.checkout(&customer, "c1", json!([{"sku": "lead", "quantity": 2}])).await;
    api.deliver(&api.operator, &checkout, "r1", 1, 1).await;
    api.judge(&api.operator, &checkout, "r1", json!({"verdict": "accepted"})).await.json(200);
    (customer, [start, granted, present(api).await].map(text))
}

fn row<'a>(answer: &'a Value, account: &str) -> &'a Value {
    let rows = answer["rows"].as_array().unwrap();
    rows.iter().find(|row| row["account"] == account).unwrap()
}

#[test]
fn balances_are_those_of_the_moment_for_the_customer_and_the_operator() {
    run(|db| async move {
        let api = Api::start(db).await;
        let (customer, [start, granted, end]) = scene(&api).await;
        let account = &customer.account;
        for (moment, promo, held, seq) in [
            (&start, "0.00", "0.00", 0),
            (&granted, "25.00", "0.00", 1),
            (&end, "23.00", "1.00", 3),
        ] {
            let path = format!("/api/v1/ledger/balances?as_of={moment}");
            let own = api.get(&path, &customer.key).await.json(200);
            assert_eq!((row(&own, "promo")["balance"].as_str()), Some(promo), "{own}");
            assert_eq!((row(&own, "promo_held")["balance"].as_str()), Some(held), "{own}");
            assert_eq!((&own["seq"], &own["account_id"]), (&json!(seq), &json!(account)));
            let path = format!("{path}&account_id={account}");
            assert_eq!(api.get(&path, &api.operator).await.json(200), own);
            assert_eq!(api.get(&path, &customer.key).await.json(200), own);
        }
    });
}

#[test]
fn a_statement_follows_its_link_and_meets_the_next_one() {
    run(|db| async move {
        let api = Api::start(db).await;
        let (customer, [start, granted, end]) = scene(&api).await;
        let read = async |from: &str, to: &str| {
            let path = format!("/api/v1/ledger/statement?from={from}&to={to}&limit=1");
            let (mut answers, mut next) = (Vec::new(), Some(path));
            while let Some(path) = next {
                let answer = api.get(&path, &customer.key).await;
                let link = answer.header("link").map(str::to_owned);
                let body = answer.json(200);
                assert_eq!(body["has_more"], link.is_some());
                next = link.map(|link| link[1..].split('>').next().unwrap().to_owned());
                answers.push(body);
            }
            answers
        };
        let first = read(&start, &granted).await;
        let second = read(&granted, &end).await;
        assert_eq!((first.len(), second.len()), (1, 2));
        for (n, answer) in first.iter().chain(&second).enumerate() {
            let entries = answer["data"].as_array().unwrap();
            assert_eq!((entries.len(), &entries[0]["seq"]), (1, &json!(n + 1)));
        }
        assert_eq!(second[0]["rows"], second[1]["rows"], "pages are of one statement");
        for role in 0..9 {
            assert_eq!(first[0]["rows"][role]["closing"], second[0]["rows"][role]["opening"]);
        }
        let promo = row(&second[0], "promo");
        let moved = ["opening", "debits", "credits", "closing"].map(|name| promo[name].as_str());
        assert_eq!(moved, [Some("25.00"), Some("2.00"), Some("0.00"), Some("23.00")]);
        assert_eq!(second[0]["transfers"], 2);
        let history = api.get("/api/v1/credits/history", &customer.key).await.json(200);
        assert_eq!(history["data"][0], second[1]["data"][0], "entries are those of the history");
        let path = format!(
            "/api/v1/ledger/statement?from={start}&to={end}&limit=1&account_id={}",
            customer.account
        );
        let link = api.get(&path, &api.operator).await.header("link").unwrap().to_owned();
        assert!(link.contains(&customer.account), "{link}");
    });
}

#[test]
fn what_cannot_be_asked_is_refused() {
    run(|db| async move {
        let api = Api::start(db).await;
        let (customer, [start, _, end]) = scene(&api).await;
        let other = api.signup(json!([])).await;
        let balances = |query: &str| format!("/api/v1/ledger/balances?{query}");
        let statement = |query: &str| format!("/api/v1/ledger/statement?{query}");
        let future = text(api.clock.now() + TimeDelta::seconds(90));

        let refused = api.get(&balances(&format!("as_of={future}")), &customer.key).await;
        let problem = refused.problem(409, "moment_not_over");
        let wait = problem["retry_after"].as_u64().unwrap();
        assert!((60..=91).contains(&wait), "{problem}");
        assert_eq!(refused.header("retry-after"), Some(wait.to_string().as_str()));
        let open = statement(&format!("from={start}&to={future}"));
        api.get(&open, &customer.key).await.problem(409, "moment_not_over");

        let others = balances(&format!("as_of={end}&account_id={}", other.account));
        let problem = api.get(&others, &customer.key).await.problem(404, "not_found");
        assert_eq!(problem["field"], "account_id");
        let nobody = balances(&format!("as_of={end}&account_id=acc_{}", "0".repeat(31) + "1"));
        api.get(&nobody, &api.operator).await.problem(404, "not_found");
        let problem = api.get(&balances(&format!("as_of={end}")), &api.operator).await;
        assert_eq!(problem.problem(422, "validation_failed")["field"], "account_id");
        let turned = statement(&format!("from={end}&to={start}"));
        let problem = api.get(&turned, &customer.key).await.problem(422, "validation_failed");
        assert_eq!(problem["field"], "from");
    });
}
