//! The Postgres that Bursar runs itself: backed up while it serves, restored into another directory.

use serde_json::{Value, json};

use super::Shelf;
use crate::startup::process::{Bursar, DataDir};
use crate::support::service::client;

#[tokio::test]
async fn a_serving_directory_is_backed_up_and_restored_into_another() {
    let (here, there) = (DataDir::new("backup-here"), DataDir::new("backup-there"));
    let shelf = Shelf::new("managed");
    let file = shelf.file("a.dump");
    let (running, url) = Bursar::new(&["serve"]).on(&here).serve().await;
    let client = client();
    let account: Value = client
        .post(format!("{url}/api/v1/accounts"))
        .json(&json!({}))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    Bursar::new(&["backup", &file]).on(&here).run().await.succeeded();
    let key = account["api_key"].as_str().unwrap();
    let credits = async |url: &str| -> Value {
        let request = client.get(format!("{url}/api/v1/credits")).bearer_auth(key);
        request.send().await.unwrap().json().await.unwrap()
    };
    let before = credits(&url).await;
    assert_eq!(before["account_id"], account["account_id"], "the service still serves");
    let taken = Bursar::new(&["restore", &file]).on(&here).run().await;
    taken.refused(1, &["is already in use"]);
    running.stop("TERM").await;

    Bursar::new(&["restore", &file]).on(&there).run().await.succeeded();
    Bursar::new(&["check"]).on(&there).run().await.succeeded();
    let (running, url) = Bursar::new(&["serve"]).on(&there).serve().await;
    assert_eq!(credits(&url).await, before);
    let signup = client.post(format!("{url}/api/v1/accounts")).json(&json!({}));
    assert_eq!(signup.send().await.unwrap().status(), 503);
    let confirm = ["restore", "--confirm", "--reason", "a test"];
    Bursar::new(&confirm).on(&there).run().await.succeeded();
    let signup = client.post(format!("{url}/api/v1/accounts")).json(&json!({}));
    assert_eq!(signup.send().await.unwrap().status(), 201);
    running.stop("TERM").await;
}
