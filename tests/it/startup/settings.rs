//! Wrong settings in test mode, which need no database to be refused.

use super::process::Bursar;
use crate::peer::{Act, Peer};

#[tokio::test]
async fn test_mode_takes_no_real_money() {
    let ended = Bursar::new(&["serve"]).set("BURSAR_NETWORKS", "eip155:8453").run().await;
    ended.refused(2, &["BURSAR_NETWORKS=\"eip155:8453\"", "mainnet", "test mode", "eip155:84532"]);
    let mixed = "eip155:84532,eip155:8453";
    Bursar::new(&["demo"]).set("BURSAR_NETWORKS", mixed).run().await.refused(2, &["a mainnet"]);
}

#[tokio::test]
async fn misspelled_settings_are_refused_with_a_suggestion() {
    for (name, meant) in [
        ("BURSAR_MAX_TOPUPS", "did you mean BURSAR_MAX_TOPUP?"),
        ("BURSAR_DATABASE_URL", "did you mean DATABASE_URL?"),
        ("BURSAR_SOMETHING_ELSE", "`bursar serve --help` lists the settings"),
    ] {
        for command in ["serve", "check"] {
            let ended = Bursar::new(&[command]).set(name, "swordfish").run().await;
            let ended = ended.refused(2, &[name, "there is no such setting", meant]);
            assert!(!ended.err.contains("swordfish"), "it may be a secret: {}", ended.err);
        }
    }
}

#[tokio::test]
async fn everything_wrong_is_said_at_once_and_secrets_are_not() {
    let secret = "swordfish";
    let ended = Bursar::new(&["serve"])
        .set("BURSAR_MODE", "prod")
        .set("DATABASE_URL", &format!("mysql://me:{secret}@127.0.0.1/db"))
        .set("BURSAR_ADMIN_KEY_HASH", secret)
        .set("BURSAR_RPC_URL", secret)
        .set("BURSAR_BIND", "8402")
        .set("BURSAR_MIN_TOPUP", "1e-2")
        .set("BURSAR_LOG", "chatty")
        .set("BURSAR_TRUSTED_PROXIES", "0.0.0.0/0")
        .run()
        .await
        .refused(
            2,
            &[
                "8 settings are wrong",
                "BURSAR_MODE=\"prod\": there is no such mode; right: test or live",
                "DATABASE_URL (hidden)",
                "postgres://user:password@host:5432/database",
                "BURSAR_ADMIN_KEY_HASH (hidden)",
                "`bursar admin key`",
                "BURSAR_RPC_URL (hidden)",
                "BURSAR_BIND=\"8402\"",
                "127.0.0.1:8402",
                "BURSAR_MIN_TOPUP=\"1e-2\"",
                "BURSAR_LOG=\"chatty\"",
                "BURSAR_TRUSTED_PROXIES=\"0.0.0.0/0\"",
            ],
        );
    assert!(!ended.err.contains(secret), "{}", ended.err);
    assert_eq!(ended.out, "");
}

#[tokio::test]
async fn a_database_that_does_not_answer_is_named_with_the_reason() {
    let nowhere = "postgres://bursar_service:swordfish@127.0.0.1:1/bursar";
    for command in ["serve", "check", "export"] {
        let ended = Bursar::new(&[command]).set("DATABASE_URL", nowhere).run().await;
        let ended = ended.refused(1, &["the database cannot be reached", "Connection refused"]);
        assert!(!ended.err.contains("swordfish"), "{}", ended.err);
    }
}

#[tokio::test]
async fn the_demo_is_for_test_money() {
    let ended = Bursar::new(&["demo"]).set("BURSAR_MODE", "live").run().await;
    ended.refused(1, &["BURSAR_MODE=live", "test money"]);
}

#[tokio::test]
async fn an_address_that_is_taken_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for command in ["serve", "demo"] {
        let ended = Bursar::new(&[command]).set("BURSAR_BIND", &address).run().await;
        ended.refused(1, &[&address, "is taken", "set BURSAR_BIND"]);
    }
}

#[tokio::test]
async fn a_node_of_another_chain_is_refused_before_anything_is_touched() {
    let peer = Peer::start(vec![Act::Answer(200, r#"{"result":"0x2105"}"#.to_owned())]).await;
    let nowhere = "postgres://bursar_service@127.0.0.1:1/bursar";
    let serve = Bursar::new(&["serve"]).set("DATABASE_URL", nowhere);
    let ended = serve.set("BURSAR_RPC_URL", &peer.url).run().await;
    ended.refused(1, &["the node is of chain 8453, and chain 84532 is wanted"]);
    assert_eq!(peer.requests().len(), 1);
}
