//! The demo, as somebody sees it who runs it for the first time, again, and after an update.

use bursar::db::managed::{ManagedPostgres, Role};
use serde_json::Value;
use sqlx::{Connection, Executor, PgConnection};

use crate::support::postgres::surroundings;
use crate::support::service::client;

use super::process::{Bursar, DataDir, is_running};

#[tokio::test]
async fn the_demo_can_be_run_again_also_after_an_update() {
    let dir = DataDir::new("demo");
    for run in ["first", "second"] {
        let told = Bursar::new(&["demo", "--exit"]).on(&dir).run().await.succeeded();
        assert_eq!(told.err, "", "the story is all there is to read");
        assert!(told.out.contains("━━ 18. The checks"), "{run}: {}", told.out);
        assert!(told.out.contains("checks passed"), "{run}: {}", told.out);
        assert!(!told.out.contains("kept as"), "{run}: {}", told.out);
        assert_eq!(dir.postgres(), None);
    }
    stops_in_the_middle(&dir).await;
    alter_a_migration(&dir).await;

    let refused = Bursar::new(&["check"]).on(&dir).run().await;
    refused.refused(1, &["other migrations than this version's", "migration 1 differs"]);
    assert_eq!(dir.entries("data.before-").len(), 0, "only a service makes room for itself");
    let mut running = Bursar::new(&["demo"]).on(&dir).start();
    let aside = running.line_with("is kept as").await;
    assert_eq!(dir.entries("data.before-").len(), 1);
    assert!(aside.contains(&dir.entries("data.before-")[0]), "{aside}");
    goes_on_serving(&mut running).await;
    let ended = running.stop("INT").await;
    assert!(ended.out.contains("migration 1 differs"), "it says why: {}", ended.out);
    assert_eq!(ended.err, "");
}

/// Ctrl-C in the middle of the story ends it in order.
async fn stops_in_the_middle(dir: &DataDir) {
    let mut running = Bursar::new(&["demo"]).on(dir).start();
    running.line_with("━━ 2.").await;
    let postgres = dir.postgres().unwrap();
    running.stop("INT").await;
    assert!(!is_running(postgres).await);
}

/// As if the directory had been made by a version with another first migration.
async fn alter_a_migration(dir: &DataDir) {
    let postgres = ManagedPostgres::start(&dir.0, &surroundings()).await.unwrap();
    let options = postgres.connect_options(Role::Owner);
    let mut owner = PgConnection::connect_with(&options).await.unwrap();
    let alter = "update _sqlx_migrations set checksum = '\\x00' where version = 1";
    owner.execute(alter).await.unwrap();
    owner.close().await.unwrap();
    postgres.stop().await.unwrap();
}

/// The order that it proposes to send by hand works as it stands.
async fn goes_on_serving(running: &mut super::process::Running) {
    let url = running.line_with("curl -s ").await;
    let url = url.split_whitespace().find(|word| word.starts_with("http")).unwrap().to_owned();
    let key = running.line_with("Authorization: Bearer").await;
    let key = key.split(['\'', ' ']).find(|word| word.starts_with("bur_test_")).unwrap().to_owned();
    let body = running.line_with("-d '").await;
    let body = body.split('\'').nth(1).unwrap();
    let body: Value = serde_json::from_str(body).unwrap();
    let request = client().post(&url).bearer_auth(key).header("idempotency-key", "my-first-order");
    let answer = request.json(&body).send().await.unwrap();
    let status = answer.status();
    let text = answer.text().await.unwrap();
    assert_eq!(status, 201, "{text}");
    running.line_with("Ctrl-C stops it").await;
}
