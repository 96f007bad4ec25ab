//! The whole service over HTTP: a real server, a real engine, a database of its own, and time that
//! is moved by hand.

mod answer;
mod catalog;
mod checkout;
mod credits;
mod disputes;
mod documents;
mod evidence;
mod expiry;
mod keys;
mod lists;
mod moment;
mod money;
mod past;
mod quotes;
mod replay;
mod results;
mod sandbox;
mod signup;
mod waiting;
mod wallet;

pub use answer::Answer;

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use bursar::accounts::{Accounts, ApiKey, SignupSettings, key_hash};
use bursar::checkout::{Checkouts, Sweeper, Verifiers};
use bursar::db;
use bursar::events::Events;
use bursar::finance::Finance;
use bursar::ground::{
    Amount, BookId, Clock, Entropy, Mode, SecretCipher, ShiftedClock, SystemEntropy,
};
use bursar::http::{AppState, Gauge, HttpSettings, Metrics, routes, serve};
use bursar::ledger::{Engine, EngineSettings};
use bursar::outbound::{Caller, Reach};
use bursar::x402::chain::{Chain, RpcChain, RpcSettings};
use bursar::x402::facilitator::{Connector, FacilitatorSettings, Facilitators, Listing};
use bursar::x402::sandbox::Sandbox;
use bursar::x402::topup::{PayError, Resolving, TopUps, TopupSettings, Wallets};
use bursar::x402::{Address, Network};
use futures_util::future::BoxFuture;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use sqlx::PgPool;

use super::facilitator::install_tls;
use super::support::postgres::TestDatabase;

/// A running service. It stops with the test.
pub struct Api {
    pub url: String,
    pub clock: Arc<ShiftedClock>,
    pub sweeper: Sweeper,
    pub engine: Engine,
    /// A key of the operator whose hash the configuration names.
    pub operator: String,
    pub database: Arc<TestDatabase>,
    pub topups: TopUps,
    pub finance: Finance,
    /// The connections of the service.
    pub pool: PgPool,
    client: Client,
    server: ServerHandle,
}

/// How a service is set up.
pub struct Setup {
    pub sandbox: bool,
    pub metrics: Metrics,
    pub payments: Payments,
}

/// How a service is paid.
pub struct Payments {
    /// Who settles, the preferred one first: the service's own sandbox, unless others are named.
    pub facilitators: Vec<String>,
    pub settle_timeout: Duration,
    pub pay_to: Address,
    pub min_amount: Amount,
    /// A node, where the chain is read.
    pub rpc_url: Option<String>,
    pub resolving: Resolving,
}

impl Default for Setup {
    fn default() -> Self {
        Self { sandbox: true, metrics: Metrics::default(), payments: Payments::default() }
    }
}

impl Default for Payments {
    fn default() -> Self {
        Self {
            facilitators: Vec::new(),
            settle_timeout: Duration::from_secs(60),
            pay_to: Address::new([9; 20]),
            min_amount: dollars("0.01"),
            rpc_url: None,
            resolving: Resolving::default(),
        }
    }
}

/// A customer that has just signed up.
pub struct Customer {
    pub account: String,
    pub key: String,
}

pub fn dollars(text: &str) -> Amount {
    text.parse().unwrap()
}

/// The network that tests pay on.
pub fn network() -> &'static Network {
    Network::by_caip2("eip155:84532").unwrap()
}

impl Drop for Api {
    fn drop(&mut self) {
        // Stopping begins at the call; nobody needs its end.
        drop(self.server.stop(false));
    }
}

impl Api {
    /// Starts a service that gives 25.00 to whoever signs up.
    pub async fn start(database: TestDatabase) -> Self {
        Self::start_on(Arc::new(database), Setup::default()).await
    }

    pub async fn start_with(database: TestDatabase, sandbox: bool, metrics: Metrics) -> Self {
        Self::start_on(Arc::new(database), Setup { sandbox, metrics, ..Setup::default() }).await
    }

    pub async fn start_on(database: Arc<TestDatabase>, setup: Setup) -> Self {
        let Setup { sandbox, metrics, payments } = setup;
        install_tls();
        let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
        let shifted = Arc::new(ShiftedClock::default());
        let clock: Arc<dyn Clock> = shifted.clone();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let pool = db::service_pool(database.service_options(), 6);
        let lanes = EngineSettings::default();
        let engine = Engine::start(pool.clone(), clock.clone(), entropy.clone(), lanes);
        let operator = ApiKey::generate(entropy.as_ref(), Mode::Test);
        let accounts = Accounts::new(
            pool.clone(),
            engine.clone(),
            clock.clone(),
            entropy.clone(),
            Mode::Test,
            signup_settings(),
            Some(key_hash(operator.reveal())),
        );
        let checkouts =
            Checkouts::new(pool.clone(), engine.clone(), clock.clone(), entropy.clone());
        let test_dollars =
            || Sandbox::new(pool.clone(), clock.clone(), entropy.clone(), vec![network()]);
        let (queue, own_engine) = (engine.clone(), engine.clone());
        let topups = open_topups(&url, payments, &pool, &engine, &accounts, &clock, &entropy);
        let finance = Finance::new(db::report_pool(database.service_options(), 2));
        let caller = Caller::new(Reach::Loopback, true).unwrap();
        let cipher = Some(Arc::new(SecretCipher::new(&[7; 32])));
        let verifiers = {
            let (pool, engine) = (pool.clone(), engine.clone());
            let cipher = cipher.clone();
            Verifiers::new(pool, engine, clock.clone(), entropy.clone(), caller.clone(), cipher)
        };
        let events = Events::new(pool.clone(), clock.clone(), entropy.clone(), caller, cipher);
        let state = AppState {
            mode: Mode::Test,
            public_url: url.clone(),
            accounts,
            sandbox: sandbox.then(test_dollars),
            events,
            verifiers,
            finance: finance.clone(),
            checkouts: checkouts.clone(),
            topups: topups.clone(),
            pool: pool.clone(),
            engine,
            networks: vec![network()],
            clock,
            entropy: entropy.clone(),
            metrics: metrics.with(move || {
                let value = i64::try_from(queue.queued()).unwrap();
                let (name, help) = ("bursar_engine_queue_depth", "Commands that wait");
                async move { Some(vec![Gauge { name, help, label: None, value }]) }
            }),
        };
        let settings = HttpSettings {
            public_url: url.clone(),
            workers: Some(1),
            rate_per_address: None,
            ..HttpSettings::default()
        };
        let server = serve(listener, settings, entropy, routes(Arc::new(state))).unwrap();
        let handle = server.handle();
        tokio::spawn(server);
        Self {
            url,
            clock: shifted,
            sweeper: checkouts.sweeper(),
            engine: own_engine,
            operator: operator.reveal().to_owned(),
            database,
            topups,
            finance,
            pool,
            client: Client::builder().build().unwrap(),
            server: handle,
        }
    }

    pub async fn get(&self, path: &str, key: &str) -> Answer {
        self.send(self.request(Method::GET, path, key)).await
    }

    /// Sends JSON without an idempotency key.
    pub async fn post(&self, path: &str, key: &str, body: Value) -> Answer {
        self.send(self.request(Method::POST, path, key).json(&body)).await
    }

    pub async fn put(&self, path: &str, key: &str, body: Value) -> Answer {
        self.send(self.request(Method::PUT, path, key).json(&body)).await
    }

    /// Sends JSON under an idempotency key.
    pub async fn post_once(&self, path: &str, key: &str, once: &str, body: Value) -> Answer {
        let request = self.request(Method::POST, path, key).header("Idempotency-Key", once);
        self.send(request.json(&body)).await
    }

    /// A request with a key, unless that is empty.
    pub fn request(&self, method: Method, path: &str, key: &str) -> RequestBuilder {
        let request = self.client.request(method, format!("{}{path}", self.url));
        if key.is_empty() { request } else { request.bearer_auth(key) }
    }

    pub async fn send(&self, request: RequestBuilder) -> Answer {
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Answer { status, headers, body: response.text().await.unwrap() }
    }

    /// Opens an account with these caps.
    pub async fn signup(&self, caps: Value) -> Customer {
        let answer = self.post("/api/v1/accounts", "", json!({ "caps": caps })).await.json(201);
        let text = |name: &str| answer[name].as_str().unwrap().to_owned();
        Customer { account: text("account_id"), key: text("api_key") }
    }

    /// Issues a key for staff that serves these SKUs.
    pub async fn staff(&self, role: &str, skus: &[&str]) -> String {
        let body = json!({ "role": role, "name": role, "skus": skus });
        let answer = self.post("/api/v1/admin/keys", &self.operator, body).await.json(201);
        answer["api_key"].as_str().unwrap().to_owned()
    }

    /// Lists a SKU with an hour for each deadline, a day for disputes and two hours to decide one.
    pub async fn list(&self, sku: &str, price: &str) {
        let body = json!({
            "title": sku, "unit": "piece", "unit_price": price, "criteria": {"text": "complete"},
            "delivery_deadline_seconds": 3600, "verification_deadline_seconds": 3600,
            "dispute_window_seconds": 86400, "dispute_decision_seconds": 7200,
        });
        self.put(&format!("/api/v1/admin/catalog/{sku}"), &self.operator, body).await.json(200);
    }

    /// Opens a checkout and returns its id.
    pub async fn checkout(&self, customer: &Customer, once: &str, items: Value) -> String {
        let body = json!({ "items": items, "max_total": "25.00" });
        let answer = self.post_once("/api/v1/checkouts", &customer.key, once, body).await;
        answer.json(201)["checkout_id"].as_str().unwrap().to_owned()
    }

    /// Submits a result under its own id as idempotency key.
    pub async fn deliver(&self, key: &str, checkout: &str, result: &str, item: u8, quantity: u32) {
        let body = json!({"results": [{
            "result_id": result, "item": item, "quantity": quantity, "evidence": {"file": result},
        }]});
        let path = format!("/api/v1/checkouts/{checkout}/results");
        self.post_once(&path, key, result, body).await.json(201);
    }

    /// Posts a verdict.
    pub async fn judge(&self, key: &str, checkout: &str, result: &str, body: Value) -> Answer {
        let path = format!("/api/v1/checkouts/{checkout}/results/{result}/verdict");
        self.post_once(&path, key, &format!("judge-{result}"), body).await
    }

    /// The balance of a customer.
    pub async fn credits(&self, customer: &Customer) -> Value {
        self.get("/api/v1/credits", &customer.key).await.json(200)
    }
}

struct OpenWallets(Accounts);

impl Wallets for OpenWallets {
    fn open<'a>(&'a self, address: &'a str) -> BoxFuture<'a, Result<BookId, PayError>> {
        Box::pin(async move { Ok(self.0.open_wallet(address).await.unwrap()) })
    }
}

/// Top-ups that a facilitator settles, over HTTP.
fn open_topups(
    url: &str,
    payments: Payments,
    pool: &PgPool,
    engine: &Engine,
    accounts: &Accounts,
    clock: &Arc<dyn Clock>,
    entropy: &Arc<dyn Entropy>,
) -> TopUps {
    let own = || vec![format!("{url}/sandbox/facilitator")];
    let urls = if payments.facilitators.is_empty() { own() } else { payments.facilitators };
    let listing = |url: String| Listing { recorded: url.clone(), url, network: None };
    let listings: Vec<_> = urls.into_iter().map(listing).collect();
    let times = FacilitatorSettings {
        settle_timeout: payments.settle_timeout,
        verify_pause: Duration::from_millis(5),
        ..FacilitatorSettings::default()
    };
    let (clock_of, entropy_of) = (clock.clone(), entropy.clone());
    let connector = Connector { settings: times, cdp: None, clock: clock_of, entropy: entropy_of };
    let facilitators = Facilitators::open(&listings, connector).unwrap();
    let settings = TopupSettings {
        networks: vec![network()],
        pay_to: payments.pay_to,
        resource_url: format!("{url}/api/v1/credits/topup"),
        default_amount: dollars("1.00"),
        min_amount: payments.min_amount,
        max_amount: dollars("1000.00"),
        patience: Duration::from_secs(10),
        lease: Duration::from_secs(60),
        resolving: payments.resolving,
        confirm_interval: Duration::from_secs(5),
    };
    let chain = payments.rpc_url.map(|url| RpcChain::new(&url, RpcSettings::default()).unwrap());
    let chain = chain.map(|chain| -> (_, Arc<dyn Chain>) { (network().caip2, Arc::new(chain)) });
    let topups = TopUps::new(
        pool.clone(),
        engine.clone(),
        facilitators,
        chain.into_iter().collect(),
        clock.clone(),
        entropy.clone(),
        settings,
    );
    topups.with_wallets(Arc::new(OpenWallets(accounts.clone())))
}

fn signup_settings() -> SignupSettings {
    SignupSettings {
        grant: dollars("25"),
        grant_budget_per_day: dollars("1000"),
        grant_days: 90,
        signups_per_hour: 20,
        challenge_seconds: 300,
        challenges_per_hour: 20,
    }
}
