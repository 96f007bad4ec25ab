//! What is measured on: a durable Postgres, ten thousand funded accounts under caps, one SKU.

use std::path::PathBuf;
use std::sync::Arc;

use bursar::accounts::{Accounts, CapSetting, SignupSettings};
use bursar::checkout::{Checkouts, Criteria, SkuTerms, Verification};
use bursar::db::managed::{ManagedPostgres, Role, Surroundings};
use bursar::db::{self};
use bursar::ground::{
    Amount, BookId, CheckoutId, Clock, Entropy, KeyId, Mode, SystemClock, SystemEntropy,
};
use bursar::ledger::{Engine, EngineSettings, Span};
use chrono::{DateTime, Utc};
use futures_util::{StreamExt, stream};
use serde_json::json;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection, PgPool};

/// What is bought.
pub const SKU: &str = "unit";
/// What one costs: a ten-thousandth of a dollar.
pub const ITEM_PRICE_MICROS: i64 = 100;
/// How many accounts buy.
const ACCOUNTS: usize = 10_000;
/// Signups at a time.
const AT_ONCE: usize = 256;

/// One account with one key.
pub struct Buyer {
    pub account: BookId,
    pub key_id: KeyId,
    pub key: String,
}

/// Everything that the measurements share.
pub struct World {
    pub root: PathBuf,
    pub service: PgConnectOptions,
    pub owner: PgConnectOptions,
    admin: PgConnectOptions,
    pub service_url: String,
    pub clock: Arc<dyn Clock>,
    pub buyers: Vec<Buyer>,
    pub postgres_pid: u32,
    pub pool: PgPool,
    pub checkouts: Checkouts,
}

impl World {
    /// Has Postgres write everything to the disk.
    pub async fn checkpoint(&self) -> Result<(), sqlx::Error> {
        let mut admin = PgConnection::connect_with(&self.admin).await?;
        sqlx::query("checkpoint").execute(&mut admin).await?;
        admin.close().await
    }
}

/// Starts Postgres as the service does and opens the accounts through the engine.
pub async fn open() -> (Arc<World>, ManagedPostgres) {
    let root = std::env::temp_dir().join(format!("bursar-bench-{}", std::process::id()));
    let managed = ManagedPostgres::start(&root, &surroundings()).await.expect("Postgres starts");
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let owner = managed.connect_options(Role::Owner);
    db::migrate(&owner, Mode::Test).await.expect("the schema is made");
    let service = managed.connect_options(Role::Service);
    let pool = db::service_pool(service.clone(), 10);
    let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
    let money = db::service_pool(service.clone(), 5);
    let engine = Engine::start(money, clock.clone(), entropy.clone(), EngineSettings::default());
    let checkouts = Checkouts::new(pool.clone(), engine.clone(), clock.clone(), entropy.clone());
    let buyers = sign_up(&pool, &engine, &clock, &entropy).await;
    list_sku(&checkouts).await;
    let world = World {
        root,
        service,
        owner,
        admin: managed.connect_options(Role::Admin),
        service_url: managed.url(Role::Service),
        clock,
        buyers,
        postgres_pid: managed.pid(),
        pool,
        checkouts,
    };
    (Arc::new(world), managed)
}

async fn sign_up(
    pool: &PgPool,
    engine: &Engine,
    clock: &Arc<dyn Clock>,
    entropy: &Arc<dyn Entropy>,
) -> Vec<Buyer> {
    let dollars = |dollars: i64| Amount::from_micros(dollars * 1_000_000).expect("positive");
    let settings = SignupSettings {
        grant: dollars(10_000),
        grant_budget_per_day: dollars(1_000_000_000),
        grant_days: 90,
        signups_per_hour: 10,
        challenge_seconds: 300,
        challenges_per_hour: 10,
    };
    let accounts = Accounts::new(
        pool.clone(),
        engine.clone(),
        clock.clone(),
        entropy.clone(),
        Mode::Test,
        settings,
        None,
    );
    let caps = [Span::Day, Span::Total].map(|span| CapSetting { span, limit: dollars(9_000) });
    let signups = stream::iter(0..ACCOUNTS).map(|n| {
        let (accounts, caps) = (&accounts, caps.to_vec());
        async move {
            let new = accounts.sign_up(&n.to_string(), "bench", caps).await.expect("signs up");
            assert!(!new.granted.is_zero());
            Buyer { account: new.account, key_id: new.key_id, key: new.key.reveal().to_owned() }
        }
    });
    signups.buffer_unordered(AT_ONCE).collect().await
}

async fn list_sku(checkouts: &Checkouts) {
    let terms = SkuTerms {
        title: "A unit".to_owned(),
        unit: "unit".to_owned(),
        unit_price: Amount::from_micros(ITEM_PRICE_MICROS).expect("positive"),
        criteria: Criteria::default(),
        verification: Verification::Push,
        delivery_deadline_s: 86_400,
        verification_deadline_s: 86_400,
        dispute_window_s: 86_400,
        dispute_decision_s: 86_400,
        active: true,
    };
    checkouts.list_sku(SKU, &terms).await.expect("is listed");
}

/// An answer of the size and shape that the service stores with a checkout.
pub fn stored_body(checkout: CheckoutId, account: BookId, at: DateTime<Utc>) -> String {
    let deliver_by = at + chrono::TimeDelta::days(1);
    let item = json!({
        "item": 1, "sku": SKU, "quantity": 1, "unit_price": "0.0001", "amount": "0.0001",
        "held": "0.0001", "captured": "0", "released": "0", "reversed": "0", "submitted": 0,
        "deliver_by": deliver_by, "closed": false,
    });
    json!({
        "checkout_id": checkout, "account_id": account, "status": "open", "max_total": "0.001",
        "total": "0.0001", "held": "0.0001", "captured": "0", "released": "0", "reversed": "0",
        "items": [item], "results": [], "created_at": at, "canceled_at": null,
    })
    .to_string()
}

fn surroundings() -> Surroundings {
    #[expect(clippy::disallowed_methods, reason = "a bench is not the product")]
    let home = std::env::var("HOME").ok().map(PathBuf::from);
    Surroundings { path: std::env::var_os("PATH"), home, explicit_bin: None }
}
