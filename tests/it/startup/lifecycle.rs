//! Starts, ends of every kind, and what outlives them.

use std::time::{Duration, Instant};

use bursar::db::managed::Role;
use reqwest::Client;
use serde_json::Value;
use sqlx::Executor;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::postgres::{TestDatabase, test_database};
use crate::support::service::client;

use super::process::{Bursar, DataDir, is_running};

fn on_database(command: &[&str], database: &TestDatabase) -> Bursar {
    Bursar::new(command)
        .set("DATABASE_URL", &database.url(Role::Service))
        .set("BURSAR_MIGRATION_URL", &database.url(Role::Owner))
}

async fn sign_up(client: &Client, url: &str) -> String {
    let answer = client.post(format!("{url}/api/v1/accounts")).send().await.unwrap();
    assert_eq!(answer.status(), 201);
    let account: Value = answer.json().await.unwrap();
    account["api_key"].as_str().unwrap().to_owned()
}

async fn available(client: &Client, url: &str, key: &str) -> String {
    let request = client.get(format!("{url}/api/v1/credits")).bearer_auth(key);
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let credits: Value = answer.json().await.unwrap();
    credits["available"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn data_outlives_every_kind_of_end() {
    let dir = DataDir::new("ends");
    let client = client();
    let serve = || Bursar::new(&["serve"]).on(&dir);
    let run = |command: &[&str]| Bursar::new(command).on(&dir).run();

    // Told to stop while it makes its cluster.
    let running = serve().start();
    let began = Instant::now();
    while dir.entries("data").is_empty() {
        assert!(began.elapsed() < Duration::from_secs(60), "no cluster is begun");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    running.stop("TERM").await;
    assert_eq!(dir.postgres(), None);

    // SIGTERM, and what the operator's commands do before and after it.
    let (running, url) = serve().serve().await;
    let (holder, postgres) = (running.id(), dir.postgres().unwrap());
    let first = sign_up(&client, &url).await;
    for command in ["serve", "demo", "migrate"] {
        let refused = run(&[command]).await;
        refused.refused(1, &["already in use by", &holder.to_string(), "BURSAR_DATA_DIR"]);
    }
    let joined = journals(&dir).await;
    assert!(joined[0].lines().count() > 1 && joined[0].contains(",grant,"), "{}", joined[0]);
    let pay = format!("{url}/api/v1/credits/topup");
    let bought = Bursar::new(&["pay", &pay, "--data", r#"{"amount":"0.50"}"#]).run().await;
    assert!(bought.succeeded().out.contains("\"status\":\"credited\""));
    let joined = journals(&dir).await;
    assert!(dir.socket().exists());
    let ended = running.stop("TERM").await;
    assert!(!is_running(postgres).await && !dir.socket().exists(), "Postgres is gone");
    for noise in ["actix_server", "already exists"] {
        assert!(!ended.err.contains(noise), "{}", ended.err);
    }
    assert_eq!(journals(&dir).await, joined, "they are the same without a service");

    // SIGINT.
    let (running, url) = serve().serve().await;
    let postgres = dir.postgres().unwrap();
    assert_eq!(available(&client, &url, &first).await, "25.00");
    let second = sign_up(&client, &url).await;
    running.stop("INT").await;
    assert!(!is_running(postgres).await && !dir.socket().exists(), "Postgres is gone");

    // SIGKILL.
    let (running, url) = serve().serve().await;
    let postgres = dir.postgres().unwrap();
    let third = sign_up(&client, &url).await;
    running.signal("KILL").await;
    assert_eq!(running.end().await.code, None);
    let (running, url) = serve().serve().await;
    assert!(!is_running(postgres).await, "the old Postgres is gone");
    for key in [&first, &second, &third] {
        assert_eq!(available(&client, &url, key).await, "25.00");
    }

    // Its Postgres is killed: it cannot go on, and says so.
    let line = format!("kill -s KILL {}", dir.postgres().unwrap());
    std::process::Command::new("/bin/sh").args(["-c", &line]).status().unwrap();
    let ended = running.end().await;
    assert_eq!(ended.code, Some(1), "{}", ended.err);
    assert!(ended.err.contains("bursar: the database is gone: Postgres ended"), "{}", ended.err);
    let checked = run(&["check"]).await.succeeded();
    assert!(checked.out.contains("checks passed"), "{}", checked.out);
    assert_eq!(dir.postgres(), None);
}

/// The journal in both formats, after a check that passes.
async fn journals(dir: &DataDir) -> [String; 2] {
    let run = |command: &[&str]| Bursar::new(command).on(dir).run();
    let checked = run(&["check"]).await.succeeded();
    assert!(checked.out.contains("checks passed") && checked.out.ends_with('\n'));
    let csv = run(&["export", "--format", "csv"]).await.succeeded();
    let jsonl = run(&["export", "--format", "jsonl"]).await.succeeded();
    for quiet in [&checked, &csv, &jsonl] {
        assert_eq!(quiet.err, "");
    }
    assert!(csv.out.starts_with("book_id,"), "{}", csv.out);
    for line in jsonl.out.lines() {
        assert!(serde_json::from_str::<Value>(line).unwrap().is_object());
    }
    assert_eq!(csv.out.lines().count(), jsonl.out.lines().count() + 1, "one line per transfer");
    [csv.out, jsonl.out]
}

/// A request whose head has been read when the signal comes, and whose body comes after it.
#[tokio::test]
async fn a_request_under_way_is_answered() {
    let database = test_database().await;
    let (mut running, url) = on_database(&["serve"], &database).serve().await;
    let address = url.strip_prefix("http://").unwrap();
    // A client that stays connected and asks for nothing does not hold up the end.
    let idle = client();
    assert_eq!(idle.get(format!("{url}/healthz")).send().await.unwrap().status(), 200);

    let mut stream = TcpStream::connect(address).await.unwrap();
    let body = r#"{"name":"late"}"#;
    let head = format!(
        "POST /api/v1/accounts HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\nexpect: 100-continue\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 25];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, b"HTTP/1.1 100 Continue\r\n\r\n");

    running.signal("TERM").await;
    let told = Instant::now();
    running.line_with("stopping").await;
    stream.write_all(body.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 201 Created\r\n"), "{answer}");
    let ended = running.end().await;
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    let took = told.elapsed();
    assert!(took < Duration::from_secs(10), "the idle client held it up for {took:?}");
    let journal = on_database(&["export"], &database).run().await.succeeded();
    assert_eq!(journal.out.lines().count(), 2, "the account has its grant: {}", journal.out);
}

/// The checker goes on from wherever it is stopped; an end does not wait for its step.
#[tokio::test]
async fn a_step_of_the_checker_does_not_hold_up_the_end() {
    let database = test_database().await;
    let (running, _) = on_database(&["serve"], &database).serve().await;
    running.stop("TERM").await;
    let mut blocker = database.owner.begin().await.unwrap();
    blocker.execute("lock table proof_cursor in access exclusive mode").await.unwrap();
    let (running, _) = on_database(&["serve"], &database).serve().await;
    let waiting = "select count(*) from pg_stat_activity where datname = current_database() \
                   and application_name = 'bursar-checker' and wait_event_type = 'Lock'";
    while sqlx::query_scalar::<_, i64>(waiting).fetch_one(&database.service).await.unwrap() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let told = Instant::now();
    running.stop("TERM").await;
    assert!(told.elapsed() < Duration::from_secs(10), "it took {:?}", told.elapsed());
    blocker.rollback().await.unwrap();
}
