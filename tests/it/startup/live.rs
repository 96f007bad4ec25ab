//! Live mode: what a start needs, one by one, and what a live service does not do.

use bursar::accounts::ApiKey;
use bursar::db::managed::{ManagedPostgres, Role};
use bursar::ground::{Mode, SystemEntropy};
use reqwest::Client;
use serde_json::Value;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, PgConnection};

use crate::support::postgres::{surroundings, test_database};
use crate::support::service::client;

use super::process::{Bursar, DataDir, Ended};

const PAY_TO: &str = "0x209693Bc6afc0C5328bA36FaF03C514EF312287C";

/// A durable server, as an operator has one, with databases to choose from.
struct Durable {
    postgres: ManagedPostgres,
    hash: String,
    operator: String,
}

impl Durable {
    async fn start(dir: &DataDir) -> Self {
        let postgres = ManagedPostgres::start(&dir.0, &surroundings()).await.unwrap();
        let (operator, hash) = operator_key().await;
        Self { postgres, hash, operator }
    }

    fn url(&self, role: Role, database: &str) -> String {
        self.postgres.connect_options(role).database(database).to_url_lossy().into()
    }

    async fn create(&self, database: &str) {
        let mut admin = self.connect(Role::Admin, "postgres").await;
        let sql = format!("create database {database} owner bursar_owner");
        admin.execute(AssertSqlSafe(sql)).await.unwrap();
    }

    async fn connect(&self, role: Role, database: &str) -> PgConnection {
        let options = self.postgres.connect_options(role).database(database);
        PgConnection::connect_with(&options).await.unwrap()
    }

    async fn migrate(&self, database: &str, mode: &str) -> Ended {
        let owner = self.url(Role::Owner, database);
        migrate(&owner, mode).await
    }

    /// Everything that live mode needs, on this database.
    fn live(&self, command: &str, database: &str) -> Bursar {
        Bursar::new(&[command]).all(&[
            ("BURSAR_MODE", "live"),
            ("DATABASE_URL", &self.url(Role::Service, database)),
            ("BURSAR_PUBLIC_URL", "https://pay.example.com"),
            ("BURSAR_PAY_TO", PAY_TO),
            ("BURSAR_ADMIN_KEY_HASH", &self.hash),
            ("BURSAR_FACILITATOR_URL", "https://facilitator.example.com"),
            ("BURSAR_TRUST_FACILITATOR", "1"),
        ])
    }
}

async fn migrate(owner: &str, mode: &str) -> Ended {
    let command = Bursar::new(&["migrate"]).set("BURSAR_MODE", mode);
    command.set("BURSAR_MIGRATION_URL", owner).run().await
}

/// An operator key for live mode and its hash, made before anything else is set.
async fn operator_key() -> (String, String) {
    let made = Bursar::new(&["admin", "key"]).set("BURSAR_MODE", "live").run().await.succeeded();
    let words: Vec<&str> = made.out.split_whitespace().collect();
    let key = words.iter().find(|word| word.starts_with("bur_live_")).unwrap();
    let hash = words.iter().find_map(|word| word.strip_prefix("BURSAR_ADMIN_KEY_HASH=")).unwrap();
    ((*key).to_owned(), hash.to_owned())
}

#[tokio::test]
async fn live_mode_starts_only_when_everything_holds() {
    let dir = DataDir::new("live");
    let durable = Durable::start(&dir).await;

    durable.live("serve", "bursar").run().await.refused(1, &["no schema", "run `bursar migrate`"]);
    let mut owner = durable.connect(Role::Owner, "bursar").await;
    let tables = "select count(*) from pg_tables where schemaname = 'public'";
    let tables: i64 = sqlx::query_scalar(tables).fetch_one(&mut owner).await.unwrap();
    assert_eq!(tables, 0, "a live service does not migrate");
    for _ in 0..2 {
        let migrated = durable.migrate("bursar", "live").await.succeeded();
        assert_eq!(migrated.out, "The schema is up to date (live mode).\n");
    }

    refuses_wrong_settings(&durable).await;
    refuses_wrong_databases(&durable).await;
    serves(&durable).await;
    durable.live("check", "bursar").run().await.succeeded();
    durable.postgres.stop().await.unwrap();
}

/// What a live service answers, and what it does not.
async fn serves(durable: &Durable) {
    let (running, url) = durable.live("serve", "bursar").serve().await;
    let client = client();
    for path in ["/sandbox/faucet", "/sandbox/facilitator/verify", "/sandbox/facilitator/settle"] {
        let (status, _) = ask(client.post(format!("{url}{path}"))).await;
        assert_eq!(status, 404, "{path}");
    }
    let (status, _) = ask(client.get(format!("{url}/sandbox/facilitator/supported"))).await;
    assert_eq!(status, 404);
    let (status, document) = ask(client.get(format!("{url}/openapi.json"))).await;
    assert_eq!(status, 200);
    let sandbox = document["paths"].as_object().unwrap().keys().find(|p| p.contains("sandbox"));
    assert_eq!(sandbox, None);

    let (status, account) = ask(client.post(format!("{url}/api/v1/accounts"))).await;
    assert_eq!(status, 201, "{account}");
    let key = account["api_key"].as_str().unwrap();
    assert!(key.starts_with("bur_live_"), "{key}");
    let credits = client.get(format!("{url}/api/v1/credits"));
    let (status, balance) = ask(credits.try_clone().unwrap().bearer_auth(key)).await;
    assert_eq!(status, 200, "{balance}");
    assert_eq!(balance["available"], "0.00", "no promotion: {balance}");

    let test_key = ApiKey::generate(&SystemEntropy, Mode::Test);
    let (status, refusal) = ask(credits.bearer_auth(test_key.reveal())).await;
    assert_eq!((status, &refusal["code"]), (409, &Value::from("mode_mismatch")));

    let (status, terms) = ask(client.post(format!("{url}/api/v1/credits/topup"))).await;
    assert_eq!(status, 402);
    let offer = &terms["accepts"][0];
    assert_eq!(offer["network"], "base", "V1 names the mainnet: {terms}");
    assert_eq!(offer["payTo"], PAY_TO);
    assert!(offer["resource"].as_str().unwrap().starts_with("https://pay.example.com/"));

    administers(&client, &url, &durable.operator).await;
    running.stop("TERM").await;
}

async fn administers(client: &Client, url: &str, operator: &str) {
    let request = client.put(format!("{url}/api/v1/admin/catalog/report"));
    let listing = serde_json::json!({
        "title": "Report", "unit": "report", "unit_price": "1.00", "criteria": {},
        "delivery_deadline_seconds": 60, "verification_deadline_seconds": 60,
        "dispute_window_seconds": 60,
    });
    let (status, listed) = ask(request.json(&listing).bearer_auth(operator)).await;
    assert_eq!(status, 200, "{listed}");
}

/// Sends a request. Every answer says that this is no test.
async fn ask(request: reqwest::RequestBuilder) -> (u16, Value) {
    let answer = request.send().await.unwrap();
    assert_eq!(answer.headers()["bursar-mode"], "live");
    let status = answer.status().as_u16();
    let text = answer.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or(Value::Null))
}

/// Each setting missing or wrong in turn, all others being right: nothing else is complained of.
async fn refuses_wrong_settings(durable: &Durable) {
    const NEEDED: &str = "is not set: live mode needs it; right: ";
    let unset = |name: &str| format!("{name} {NEEDED}");
    for (name, value, words) in [
        ("DATABASE_URL", "", unset("DATABASE_URL")),
        ("DATABASE_URL", "host=db", "DATABASE_URL (hidden): it is not a URL".to_owned()),
        ("BURSAR_PUBLIC_URL", "", unset("BURSAR_PUBLIC_URL")),
        (
            "BURSAR_PUBLIC_URL",
            "http://pay.example.com",
            "BURSAR_PUBLIC_URL=\"http://pay.example.com\": live mode needs https".to_owned(),
        ),
        ("BURSAR_PAY_TO", "", unset("BURSAR_PAY_TO")),
        ("BURSAR_PAY_TO", "0x209693", "BURSAR_PAY_TO=\"0x209693\": ".to_owned()),
        (
            "BURSAR_PAY_TO",
            bursar::config::TEST_PAY_TO,
            "nobody holds the key of the test address".to_owned(),
        ),
        (
            "BURSAR_PAY_TO",
            "0x0000000000000000000000000000000000000000",
            "nobody holds the key of the zero address".to_owned(),
        ),
        ("BURSAR_ADMIN_KEY_HASH", "", unset("BURSAR_ADMIN_KEY_HASH")),
        ("BURSAR_ADMIN_KEY_HASH", &durable.operator, "BURSAR_ADMIN_KEY_HASH (hidden)".to_owned()),
        ("BURSAR_FACILITATOR_URL", "", unset("BURSAR_FACILITATOR_URL")),
        (
            "BURSAR_FACILITATOR_URL",
            "http://facilitator.example.com",
            "BURSAR_FACILITATOR_URL (hidden): live mode needs https".to_owned(),
        ),
        (
            "BURSAR_FACILITATOR_URL",
            "https://other.example.com/sandbox/facilitator",
            "live mode takes no sandbox's word".to_owned(),
        ),
        (
            "BURSAR_FACILITATOR_URL",
            "https://pay.example.com/facilitator",
            "live mode takes no sandbox's word".to_owned(),
        ),
        (
            "BURSAR_TRUST_FACILITATOR",
            "",
            "BURSAR_TRUST_FACILITATOR is not set: live mode needs proof or trust".to_owned(),
        ),
        ("BURSAR_TRUST_FACILITATOR", "0", "BURSAR_TRUST_FACILITATOR=\"0\"".to_owned()),
        ("BURSAR_NETWORKS", "eip155:84532", "eip155:84532 is a testnet".to_owned()),
        ("BURSAR_NETWORKS", "eip155:8453,eip155:84532", "is a testnet".to_owned()),
    ] {
        let ended = durable.live("serve", "bursar").set(name, value).run().await;
        let ended = ended.refused(2, &["a setting is wrong:", name, &words, "right: "]);
        assert!(!ended.err.contains(&durable.operator), "{}", ended.err);
        assert!(!ended.err.contains("serving"), "{}", ended.err);
    }
    // A node proves what it settles, so that trust is not needed.
    let proven = durable.live("serve", "bursar").set("BURSAR_TRUST_FACILITATOR", "");
    let (running, _) = proven.set("BURSAR_RPC_URL", "https://rpc.example.com").serve().await;
    running.stop("TERM").await;

    let bare = Bursar::new(&["serve"]).set("BURSAR_MODE", "live").run().await;
    bare.refused(2, &["6 settings are wrong:", "DATABASE_URL is not set"]);
    let ownerless = Bursar::new(&["migrate"]).set("BURSAR_MODE", "live").run().await;
    ownerless.refused(2, &["BURSAR_MIGRATION_URL is not set"]);
}

/// Databases that are not fit for real money, or not for this process.
async fn refuses_wrong_databases(durable: &Durable) {
    let owner = durable.url(Role::Owner, "bursar");
    let strong = durable.live("serve", "bursar").set("DATABASE_URL", &owner).run().await;
    strong.refused(1, &["may change the journal", "bursar_service", "BURSAR_MIGRATION_URL"]);

    let service = durable.url(Role::Service, "bursar");
    let test = Bursar::new(&["serve"]).set("DATABASE_URL", &service);
    let test = test.set("BURSAR_MIGRATION_URL", &owner).run().await;
    test.refused(1, &["this is a live database", "test mode"]);
    durable.migrate("bursar", "test").await.refused(1, &["this is a live database"]);

    durable.create("tested").await;
    durable.migrate("tested", "test").await.succeeded();
    let live = durable.live("serve", "tested").run().await;
    live.refused(1, &["this is a test database", "live mode"]);

    durable.create("forgetful").await;
    durable.migrate("forgetful", "live").await.succeeded();
    let mut admin = durable.connect(Role::Admin, "postgres").await;
    let off = "alter database forgetful set synchronous_commit = off";
    admin.execute(off).await.unwrap();
    let live = durable.live("serve", "forgetful").run().await;
    live.refused(1, &["synchronous_commit = off", "forget committed money"]);
}

#[tokio::test]
async fn live_mode_refuses_a_server_that_forgets_in_a_crash() {
    let database = test_database().await;
    let fsync: String = sqlx::query_scalar("select current_setting('fsync')")
        .fetch_one(&database.owner)
        .await
        .unwrap();
    if fsync == "on" {
        return; // A server that somebody else set up for the tests.
    }
    migrate(&database.url(Role::Owner), "live").await.succeeded();
    let hash = "ab".repeat(32);
    let ended = Bursar::new(&["serve"]).all(&[
        ("BURSAR_MODE", "live"),
        ("DATABASE_URL", &database.url(Role::Service)),
        ("BURSAR_PUBLIC_URL", "https://pay.example.com"),
        ("BURSAR_PAY_TO", PAY_TO),
        ("BURSAR_ADMIN_KEY_HASH", &hash),
        ("BURSAR_FACILITATOR_URL", "https://facilitator.example.com"),
        ("BURSAR_TRUST_FACILITATOR", "1"),
    ]);
    ended.run().await.refused(1, &["fsync = off", "forget committed money"]);
}
