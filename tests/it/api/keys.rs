//! Which key may do what: every role at every route.

use bursar::accounts::ApiKey;
use bursar::ground::{Clock, Mode, SystemEntropy};
use chrono::TimeDelta;
use reqwest::Method;
use serde_json::{Value, json};

use super::Api;
use crate::support::postgres::run;

const CUSTOMER: u8 = 1;
const FULFILLER: u8 = 2;
const VERIFIER: u8 = 4;
const OPERATOR: u8 = 8;

const CHECKOUT: &str = "/api/v1/checkouts/chk_00000000000070008000000000000001";
const WEBHOOK: &str = "/api/v1/webhooks/whk_00000000000070008000000000000001";
const CHARGE: &str = "/api/v1/charges/chg_00000000000070008000000000000001";
const DISPUTE: &str = "/api/v1/disputes/dsp_00000000000070008000000000000001";
const GRANT: &str = "/api/v1/admin/grants/grt_00000000000070008000000000000001";
const REVERSAL: &str = "rev_00000000000070008000000000000001";

/// Every route that asks for a key, and whose keys it takes. The requests are empty or name what
/// does not exist, so that whoever is let in gets some other answer.
fn guarded() -> Vec<(Method, String, u8)> {
    let (get, post, put) = (|| Method::GET, || Method::POST, || Method::PUT);
    vec![
        (get(), "/api/v1/credits".to_owned(), CUSTOMER),
        (get(), "/api/v1/credits/history".to_owned(), CUSTOMER),
        (get(), "/api/v1/credits/lots".to_owned(), CUSTOMER),
        (post(), "/api/v1/quotes".to_owned(), CUSTOMER),
        (post(), "/api/v1/checkouts".to_owned(), CUSTOMER),
        (get(), "/api/v1/checkouts".to_owned(), CUSTOMER),
        (get(), CHECKOUT.to_owned(), CUSTOMER | OPERATOR),
        (post(), format!("{CHECKOUT}/cancel"), CUSTOMER),
        (post(), format!("{CHECKOUT}/results"), FULFILLER | OPERATOR),
        (get(), format!("{CHECKOUT}/results"), CUSTOMER | OPERATOR),
        (get(), format!("{CHECKOUT}/results/r1"), CUSTOMER | OPERATOR),
        (post(), format!("{CHECKOUT}/results/r1/verdict"), VERIFIER | OPERATOR),
        (get(), "/api/v1/charges".to_owned(), CUSTOMER),
        (get(), CHARGE.to_owned(), CUSTOMER | OPERATOR),
        (post(), format!("{CHARGE}/reversals"), VERIFIER | OPERATOR),
        (post(), format!("{CHARGE}/disputes"), CUSTOMER),
        (get(), "/api/v1/disputes".to_owned(), VERIFIER | OPERATOR),
        (get(), "/api/v1/results".to_owned(), VERIFIER | OPERATOR),
        (post(), format!("{DISPUTE}/decision"), VERIFIER | OPERATOR),
        (get(), format!("{CHARGE}/receipt"), CUSTOMER | OPERATOR),
        (get(), format!("{CHARGE}/reversals/{REVERSAL}/receipt"), CUSTOMER | OPERATOR),
        (get(), format!("{CHECKOUT}/results/r1/receipt"), CUSTOMER | OPERATOR),
        (get(), "/api/v1/ledger/export".to_owned(), CUSTOMER | OPERATOR),
        (get(), "/api/v1/ledger/trial-balance".to_owned(), CUSTOMER | OPERATOR),
        (get(), "/api/v1/ledger/balances".to_owned(), CUSTOMER | OPERATOR),
        (get(), "/api/v1/ledger/statement".to_owned(), CUSTOMER | OPERATOR),
        (get(), "/api/v1/events".to_owned(), CUSTOMER | OPERATOR),
        (post(), "/api/v1/webhooks".to_owned(), CUSTOMER),
        (get(), "/api/v1/webhooks".to_owned(), CUSTOMER),
        (get(), WEBHOOK.to_owned(), CUSTOMER),
        (Method::DELETE, WEBHOOK.to_owned(), CUSTOMER),
        (post(), format!("{WEBHOOK}/rotate"), CUSTOMER),
        (get(), format!("{WEBHOOK}/deliveries"), CUSTOMER),
        (post(), format!("{WEBHOOK}/replay"), CUSTOMER),
        (put(), "/api/v1/admin/catalog/lead".to_owned(), OPERATOR),
        (post(), "/api/v1/admin/keys".to_owned(), OPERATOR),
        (post(), "/api/v1/admin/grants".to_owned(), OPERATOR),
        (get(), "/api/v1/admin/grants".to_owned(), OPERATOR),
        (post(), format!("{GRANT}/cancel"), OPERATOR),
        (post(), "/api/v1/admin/verifiers".to_owned(), OPERATOR),
        (get(), "/api/v1/admin/verifiers".to_owned(), OPERATOR),
    ]
}

#[test]
fn every_role_at_every_route() {
    run(|db| async move {
        let api = Api::start(db).await;
        let customer = api.signup(json!([])).await.key;
        let fulfiller = api.staff("fulfiller", &["lead"]).await;
        let verifier = api.staff("verifier", &["lead"]).await;
        let keys = [
            (CUSTOMER, &customer),
            (FULFILLER, &fulfiller),
            (VERIFIER, &verifier),
            (OPERATOR, &api.operator),
        ];
        for (method, path, admitted) in guarded() {
            let nobody = api.send(api.request(method.clone(), &path, "")).await;
            nobody.problem(401, "unauthenticated");
            for (role, key) in keys {
                let answer = api.send(api.request(method.clone(), &path, key)).await;
                let admits = admitted & role != 0;
                assert_eq!(answer.status != 403, admits, "{method} {path} {role}");
                assert_ne!(answer.status, 401, "{method} {path} {role}");
                if !admits {
                    let problem = answer.problem(403, "scope_missing");
                    assert!(problem["required_roles"].is_array(), "{problem}");
                }
            }
        }
    });
}

/// A route that asks for a key and is not in the table would be tested by nobody.
#[test]
fn the_table_is_complete() {
    let document: Value = serde_json::from_str(&bursar::http::api_document_json()).unwrap();
    let of_document = document["paths"].as_object().unwrap().iter().flat_map(|(path, methods)| {
        let guarded = methods.as_object().unwrap().iter().filter(|(_, o)| o["security"].is_array());
        guarded.map(move |(method, _)| format!("{} {path}", method.to_uppercase()))
    });
    let names = [
        ("chk_00000000000070008000000000000001", "{checkout_id}"),
        ("chg_00000000000070008000000000000001", "{charge_id}"),
        ("dsp_00000000000070008000000000000001", "{dispute_id}"),
        ("whk_00000000000070008000000000000001", "{webhook_id}"),
        ("grt_00000000000070008000000000000001", "{grant_id}"),
        (REVERSAL, "{reversal_id}"),
        ("results/r1", "results/{result_id}"),
        ("catalog/lead", "catalog/{sku}"),
    ];
    let mut of_table: Vec<_> = guarded()
        .into_iter()
        .map(|(method, path, _)| {
            let path = names.iter().fold(path, |path, (id, name)| path.replace(id, name));
            format!("{method} {path}")
        })
        .collect();
    // The top-up takes a key or none, and answers 402 to whoever does not pay.
    let mut of_document: Vec<_> = of_document.filter(|route| !route.contains("/top")).collect();
    of_table.sort();
    of_document.sort();
    assert_eq!(of_table, of_document);
}

fn results(id: &str, evidence: Value) -> Value {
    json!({"results": [{"result_id": id, "item": 1, "quantity": 1, "evidence": evidence}]})
}

#[test]
fn a_customer_never_delivers_judges_or_reverses_its_own_checkout() {
    run(|db| async move {
        let api = Api::start(db).await;
        api.list("lead", "2.00").await;
        let customer = api.signup(json!([])).await;
        let id = api.checkout(&customer, "c1", json!([{"sku": "lead", "quantity": 2}])).await;
        let path = format!("/api/v1/checkouts/{id}/results");
        let result = results("r1", json!(1));
        let refused = api.post_once(&path, &customer.key, "k1", result.clone()).await;
        refused.problem(403, "scope_missing");
        api.deliver(&api.operator, &id, "r1", 1, 1).await;
        let verdict = json!({"verdict": "accepted"});
        api.judge(&customer.key, &id, "r1", verdict.clone()).await.problem(403, "scope_missing");
        let judged = api.judge(&api.operator, &id, "r1", verdict).await.json(200);
        let charge = judged["charge_id"].as_str().unwrap();
        let reversals = format!("/api/v1/charges/{charge}/reversals");
        let refused =
            api.post_once(&reversals, &customer.key, "k2", json!({"reason": "mine"})).await;
        refused.problem(403, "scope_missing");
        assert_eq!(api.credits(&customer).await["available"], "21.00");
    });
}

#[test]
fn staff_serves_its_own_skus_only() {
    run(|db| async move {
        let api = Api::start(db).await;
        api.list("lead", "1.00").await;
        let customer = api.signup(json!([])).await;
        let id = api.checkout(&customer, "c1", json!([{"sku": "lead", "quantity": 1}])).await;
        let stranger = api.staff("fulfiller", &["page"]).await;
        let body = results("r1", json!(null));
        let path = format!("/api/v1/checkouts/{id}/results");
        let refused = api.post_once(&path, &stranger, "k", body).await;
        assert_eq!(refused.problem(403, "scope_missing")["sku"], "lead");
        api.deliver(&api.staff("fulfiller", &["lead"]).await, &id, "r1", 1, 1).await;
        let stranger = api.staff("verifier", &["page"]).await;
        let verdict = json!({"verdict": "rejected"});
        api.judge(&stranger, &id, "r1", verdict.clone()).await.problem(403, "scope_missing");
        let verifier = api.staff("verifier", &["lead", "page"]).await;
        assert_eq!(api.judge(&verifier, &id, "r1", verdict).await.json(200)["released"], "1.00");
    });
}

#[test]
fn keys_that_are_not_good_are_told_apart() {
    run(|db| async move {
        let api = Api::start(db).await;
        let customer = api.signup(json!([])).await;
        let credits = "/api/v1/credits";
        api.get(credits, "nonsense").await.problem(401, "unauthenticated");
        let mistyped = format!("{}A", &customer.key[..customer.key.len() - 1]);
        let mistyped =
            if mistyped == customer.key { mistyped.replace("_A", "_B") } else { mistyped };
        api.get(credits, &mistyped).await.problem(401, "unauthenticated");
        let unknown = ApiKey::generate(&SystemEntropy, Mode::Test);
        api.get(credits, unknown.reveal()).await.problem(401, "unauthenticated");
        let live = ApiKey::generate(&SystemEntropy, Mode::Live);
        api.get(credits, live.reveal()).await.problem(409, "mode_mismatch");
        let expires_at = api.clock.now() + TimeDelta::hours(1);
        let body = json!({
            "role": "customer", "name": "short", "account_id": customer.account,
            "expires_at": expires_at,
        });
        let issued = api.post("/api/v1/admin/keys", &api.operator, body).await.json(201);
        let short = issued["api_key"].as_str().unwrap();
        api.get(credits, short).await.json(200);
        api.clock.advance(TimeDelta::hours(2));
        api.get(credits, short).await.problem(401, "key_expired");
    });
}

#[test]
fn a_key_request_is_checked_by_role() {
    run(|db| async move {
        let api = Api::start(db).await;
        let customer = api.signup(json!([])).await;
        let nobody = "acc_00000000000070008000000000000042";
        for (body, field) in [
            (json!({"role": "verifier", "name": "v"}), "skus"),
            (json!({"role": "fulfiller", "name": "f", "skus": []}), "skus"),
            (json!({"role": "fulfiller", "name": "f", "skus": ["A"]}), "skus[0]"),
            (json!({"role": "operator", "name": "o", "skus": ["lead"]}), "skus"),
            (json!({"role": "customer", "name": "c"}), "account_id"),
            (json!({"role": "customer", "name": "c", "account_id": nobody}), "account_id"),
            (
                json!({"role": "operator", "name": "o", "account_id": customer.account}),
                "account_id",
            ),
            (
                json!({"role": "operator", "name": "o", "caps": [{"span": "day", "limit": "1"}]}),
                "caps",
            ),
            (
                json!({"role": "operator", "name": "o", "expires_at": "2020-01-01T00:00:00Z"}),
                "expires_at",
            ),
            (json!({"role": "boss", "name": "b"}), "role"),
        ] {
            let answer = api.post("/api/v1/admin/keys", &api.operator, body.clone()).await;
            assert_eq!(answer.problem(422, "validation_failed")["field"], field, "{body}");
        }
    });
}
