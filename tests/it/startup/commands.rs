//! The commands that do one thing and end.

use std::process::Stdio;

use bursar::accounts::{ApiKey, key_hash};
use bursar::db::managed::Role;
use bursar::ground::{Mode, SystemEntropy};
use serde_json::{Value, json};
use sqlx::Executor;

use crate::support::postgres::{TestDatabase, test_database};
use crate::support::service::{SECRET_KEY, client};

use super::process::Bursar;

fn on_database(command: &[&str], database: &TestDatabase) -> Bursar {
    Bursar::new(command)
        .set("DATABASE_URL", &database.url(Role::Service))
        .set("BURSAR_MIGRATION_URL", &database.url(Role::Owner))
}

#[tokio::test]
async fn openapi_prints_the_committed_document() {
    let printed = Bursar::new(&["openapi"]).run().await.succeeded();
    assert_eq!(printed.err, "");
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi/openapi.json");
    let committed = std::fs::read_to_string(path).unwrap();
    assert!(printed.out == committed, "run `cargo run -- openapi > openapi/openapi.json`");
}

#[tokio::test]
async fn an_operator_key_authenticates_once_its_hash_is_set() {
    let database = test_database().await;
    let made = Bursar::new(&["admin", "key"]).run().await.succeeded();
    let other = Bursar::new(&["admin", "key"]).run().await.succeeded();
    let word = |out: &str, prefix: &str| {
        let word = out.split_whitespace().find(|word| word.starts_with(prefix)).unwrap();
        word.to_owned()
    };
    let (key, other) = (word(&made.out, "bur_test_"), word(&other.out, "bur_test_"));
    assert_ne!(key, other);
    let set = word(&made.out, "BURSAR_ADMIN_KEY_HASH=");
    let (name, hash) = set.split_once('=').unwrap();
    let (running, url) = on_database(&["serve"], &database).set(name, hash).serve().await;

    let body = serde_json::json!({ "role": "verifier", "name": "v", "skus": ["report"] });
    for (key, status) in [(&key, 201), (&other, 401)] {
        let request = client().post(format!("{url}/api/v1/admin/keys")).bearer_auth(key);
        let answer = request.json(&body).send().await.unwrap();
        assert_eq!(answer.status(), status, "{}", answer.text().await.unwrap());
    }
    running.stop("TERM").await;

    let shown = Bursar::new(&["admin", "key", "--role", "verifier", "--sku", "report"]);
    let shown = shown.run().await.succeeded();
    assert!(shown.out.contains(r#""role":"verifier""#), "{}", shown.out);
}

#[tokio::test]
async fn pay_buys_and_says_why_when_it_cannot() {
    let database = test_database().await;
    let (running, url) = on_database(&["serve"], &database).serve().await;
    let topup = format!("{url}/api/v1/credits/topup");
    let bought = Bursar::new(&["pay", &topup]).run().await.succeeded();
    for words in ["← 402", "eip155:84532", "→ paying 1.00", "← 200", "receipt: {", "credited"]
    {
        assert!(bought.out.contains(words), "{words:?} is missing in:\n{}", bought.out);
    }
    assert_eq!(bought.err, "");
    let large = [topup.as_str(), "--data", r#"{"amount":"5.00"}"#];
    let cases: [(&[&str], &[&str]); 6] = [
        (&large, &["the terms ask for 5.00, and at most 1.00 may be paid"]),
        (&[&topup, "--data", "{"], &["--data is not JSON"]),
        (&[&format!("{url}/api/v1/nothing")], &["refused with 404"]),
        (&["http://127.0.0.1:1/topup"], &["no answer from http://127.0.0.1:1", "refused"]),
        (&["localhost"], &["`localhost` is not a URL"]),
        (&["file:///etc/passwd"], &["is not a URL like http"]),
    ];
    for (arguments, words) in cases {
        let ended = Bursar::new(&[&["pay"], arguments].concat()).run().await;
        ended.refused(1, words);
    }
    let bought = Bursar::new(&[&["pay", "--max", "5.00"], &large[..]].concat()).run().await;
    assert!(bought.succeeded().out.contains("\"credited\":\"5.00\""));
    running.stop("TERM").await;
    let checked = on_database(&["check"], &database).run().await.succeeded();
    assert!(checked.out.contains("ok    sandbox_matches_topups"), "{}", checked.out);
    let checked = on_database(&["check", "--incremental"], &database).run().await.succeeded();
    assert!(checked.out.contains("ok    sandbox_matches_topups"), "{}", checked.out);
    assert!(checked.out.contains("new transfers verified"), "{}", checked.out);
}

#[tokio::test]
async fn check_fails_when_the_ledger_does_not_add_up() {
    let database = test_database().await;
    let (running, url) = on_database(&["serve"], &database).serve().await;
    let signed_up = client().post(format!("{url}/api/v1/accounts")).send().await.unwrap();
    assert_eq!(signed_up.status(), 201);
    running.stop("TERM").await;
    let widen =
        "update book set promo = promo + 1, promo_issued = promo_issued + 1 where promo > 0";
    database.owner.execute(widen).await.unwrap();
    for command in [&["check"][..], &["check", "--incremental"]] {
        let ended = on_database(command, &database).run().await;
        assert_eq!(ended.code, Some(1));
        assert!(ended.out.contains("FAIL  balances_match_transfers"), "{}", ended.out);
        assert!(ended.out.contains("checks failed"), "{}", ended.out);
    }
    // The service alarms, and serves on.
    let (running, url) = on_database(&["serve"], &database).serve().await;
    let alarm = "bursar_drift_violations{check=\"balances_match_transfers\"} 2";
    let metrics = loop {
        let answer = client().get(format!("{url}/metrics")).send().await.unwrap();
        let metrics = answer.text().await.unwrap();
        if !metrics.contains("bursar_drift_checked_timestamp_seconds 0") {
            break metrics;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    };
    assert!(metrics.contains(alarm), "{metrics}");
    assert!(metrics.contains("bursar_drift_transfers_behind 0"), "{metrics}");
    running.stop("TERM").await;
}

#[tokio::test]
async fn a_grant_that_cannot_be_credited_shows_in_the_metrics() {
    let database = test_database().await;
    let (running, url) = on_database(&["serve"], &database).serve().await;
    let signed_up = client().post(format!("{url}/api/v1/accounts")).send().await.unwrap();
    assert_eq!(signed_up.status(), 201);
    let metrics = async || {
        let answer = client().get(format!("{url}/metrics")).send().await.unwrap();
        answer.text().await.unwrap()
    };
    let none = metrics().await;
    for line in ["bursar_grants_overdue 0", "bursar_grant_oldest_overdue_seconds 0"] {
        assert!(none.lines().any(|shown| shown == line), "{none}");
    }
    let too_much = "insert into credit_grant (slot, book_id, grant_id, amount, priority,
        effective_at, expires_at, reason, granted_by, granted_at)
        select slot, book_id, gen_random_uuid(), 9223372036854775807, 50,
               now() - interval '1 hour', now() + interval '1 hour', 'too much', book_id, now()
        from book where promo > 0";
    database.owner.execute(too_much).await.unwrap();
    let one = metrics().await;
    assert!(one.lines().any(|shown| shown == "bursar_grants_overdue 1"), "{one}");
    assert!(one.contains("bursar_grant_oldest_overdue_seconds 36"), "{one}");
    running.stop("TERM").await;
}

#[tokio::test]
async fn a_test_database_is_brought_up_to_date_by_whoever_may() {
    let database = test_database().await;
    let migrated = on_database(&["migrate"], &database).run().await.succeeded();
    assert_eq!(migrated.out, "The schema is up to date (test mode).\n");
    // The service's role alone is enough for a database that needs nothing.
    let service = database.url(Role::Service);
    let (running, _) = Bursar::new(&["serve"]).set("DATABASE_URL", &service).serve().await;
    running.stop("TERM").await;
    let forget =
        "delete from _sqlx_migrations where version = (select max(version) from _sqlx_migrations)";
    database.owner.execute(forget).await.unwrap();
    let refused = Bursar::new(&["serve"]).set("DATABASE_URL", &service).run().await;
    refused.refused(1, &["BURSAR_MIGRATION_URL"]);
}

/// `bursar openapi | head` reads as much as it wants; that is no failure to talk about.
#[tokio::test]
async fn nobody_has_to_read_to_the_end() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_bursar"))
        .arg("openapi")
        .stdout(Stdio::from(writer))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
        .wait_with_output()
        .await
        .unwrap();
    assert_eq!(output.status.code(), Some(141));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

/// With another key nothing could be signed any more, and nobody would notice.
#[tokio::test]
async fn a_key_that_does_not_fit_the_kept_secrets_is_refused() {
    let database = test_database().await;
    let serve = |key: &str| on_database(&["serve"], &database).set("BURSAR_SECRET_KEY", key);
    let other = SECRET_KEY.replace("c3dv", "AAAA");
    let (running, url) = serve(SECRET_KEY).serve().await;
    let post = |path: &str| client().post(format!("{url}/api/v1/{path}"));
    let account: Value = post("accounts").send().await.unwrap().json().await.unwrap();
    let hook = post("webhooks").bearer_auth(account["api_key"].as_str().unwrap());
    let hook = hook.json(&json!({"url": "https://agent.example.com/"}));
    assert_eq!(hook.send().await.unwrap().status(), 201);
    running.stop("TERM").await;
    serve(&other).run().await.refused(1, &["BURSAR_SECRET_KEY", "secret.key"]);
    let (running, _) = serve(SECRET_KEY).serve().await;
    running.stop("TERM").await;
    // What nobody can read is deleted, and made anew.
    let truncate = "truncate webhook, webhook_low, webhook_ended, webhook_delivery";
    database.owner.execute(truncate).await.unwrap();
    let (running, _) = serve(&other).serve().await;
    running.stop("TERM").await;
}

/// Verifiers cannot be deleted, because terms name them: without its secret each is registered again.
#[tokio::test]
async fn a_key_that_does_not_fit_the_secrets_of_verifiers_is_refused() {
    let database = test_database().await;
    let operator = ApiKey::generate(&SystemEntropy, Mode::Test);
    let hash = hex::encode(key_hash(operator.reveal()));
    let serve = |key: &str| {
        let serve = on_database(&["serve"], &database).set("BURSAR_SECRET_KEY", key);
        serve.set("BURSAR_ADMIN_KEY_HASH", &hash)
    };
    let register = async |url: &str| -> Value {
        let request = client().post(format!("{url}/api/v1/admin/verifiers"));
        let request = request.bearer_auth(operator.reveal());
        let request = request.json(&json!({"url": "https://verifier.example.com/"}));
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 201);
        answer.json().await.unwrap()
    };
    let other = SECRET_KEY.replace("c3dv", "AAAA");
    let (running, url) = serve(SECRET_KEY).serve().await;
    let first = register(&url).await;
    running.stop("TERM").await;
    serve(&other).run().await.refused(1, &["verifiers", "BURSAR_SECRET_KEY", "secret.key"]);
    let forget = "update verifier
                  set secret = null, previous_secret = null, previous_until = null";
    database.owner.execute(forget).await.unwrap();
    let (running, url) = serve(&other).serve().await;
    let again = register(&url).await;
    assert_eq!(again["verifier_id"], first["verifier_id"]);
    assert_eq!(again["previous_secret_until"], Value::Null);
    running.stop("TERM").await;
}
