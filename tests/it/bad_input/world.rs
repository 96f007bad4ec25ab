//! A service in which there is something to break: two customers, staff, a checkout with results, a
//! charge and a top-up.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bursar::accounts::ApiKey;
use bursar::db;
use bursar::finance::Finance;
use bursar::ground::{Clock, Entropy, Mode, SystemEntropy};
use bursar::http::Code;
use bursar::x402::eip712::transfer_digest;
use bursar::x402::{Authorization, Nonce, Wallet};
use chrono::{SecondsFormat, TimeDelta};
use futures_util::FutureExt;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Row};

use super::ask::{Ask, Case, Part, Shown};
use super::document::{Document, Key, Operation};
use super::made::{caller, object, promise, reverse, spend};
use super::rows::{query, row};
use crate::api::{Api, Customer, network};
use crate::http_wire::{Answer, Connection};
use crate::support::postgres::TestDatabase;

/// How long an answer may take before the service counts as hanging.
const PATIENCE: Duration = Duration::from_secs(20);

pub const TOPUP: &str = "POST /api/v1/credits/topup";

pub struct World {
    pub api: Api,
    pub document: Document,
    pub customer: Customer,
    /// Keys by what they are for.
    pub keys: BTreeMap<&'static str, String>,
    /// Keys that open nothing, with the code of their refusal.
    pub bad_keys: Vec<(&'static str, String, &'static str)>,
    pub checkout: String,
    pub charge: String,
    /// About a charge of its own.
    pub dispute: String,
    pub reversal: String,
    pub verifier: String,
    /// It waits.
    pub grant: String,
    pub others_checkout: String,
    pub others_charge: String,
    pub webhook: String,
    pub others_webhook: String,
    pub topup: String,
    pub wallet: Wallet,
    /// Which operation has answered with which status.
    pub seen: Mutex<BTreeSet<(String, u16)>>,
    address: SocketAddr,
}

impl World {
    pub async fn start(database: TestDatabase) -> Self {
        let api = Api::start(database).await;
        db::migrate(&api.database.owner_options(), Mode::Test).await.unwrap();
        for (sku, price) in [("lead", "1.00"), ("page", "0.50"), ("gold", "999999999999.99")] {
            api.list(sku, price).await;
        }
        let (customer, other) = (api.signup(json!([])).await, api.signup(json!([])).await);
        let (checkout, charge) = spend(&api, &customer).await;
        let dispute = object(&api, &customer, &checkout).await;
        let (others_checkout, others_charge) = spend(&api, &other).await;
        let (reversal, verifier) = (
            reverse(&api, &charge).await,
            caller(&api, "/api/v1/admin/verifiers", &api.operator, "verifier_id").await,
        );
        let grant = promise(&api, &customer).await;
        let hook = |key| caller(&api, "/api/v1/webhooks", key, "webhook_id");
        let (webhook, others_webhook) = (hook(&customer.key).await, hook(&other.key).await);
        let keys = BTreeMap::from([
            ("customer", customer.key.clone()),
            ("operator", api.operator.clone()),
            ("fulfiller", api.staff("fulfiller", &["lead"]).await),
            ("verifier", api.staff("verifier", &["lead"]).await),
            ("strange fulfiller", api.staff("fulfiller", &["page"]).await),
            ("strange verifier", api.staff("verifier", &["page"]).await),
        ]);
        let bad_keys = bad_keys(&api).await;
        let wallet = Wallet::from_secret(&[7; 32]).unwrap();
        let address = api.url.strip_prefix("http://").unwrap().parse().unwrap();
        let document = Document::new(api.get("/openapi.json", "").await.json(200));
        let mut world = Self {
            api,
            document,
            customer,
            keys,
            bad_keys,
            checkout,
            charge,
            dispute,
            reversal,
            verifier,
            grant,
            others_checkout,
            others_charge,
            webhook,
            others_webhook,
            topup: String::new(),
            wallet,
            seen: Mutex::default(),
            address,
        };
        world.topup = world.buy().await;
        world
    }

    /// Pays for a top-up of the customer.
    async fn buy(&self) -> String {
        let body = json!({"address": self.wallet.address(), "amount": "100.00"});
        self.api.post("/sandbox/faucet", "", body).await.json(200);
        let ask = Ask::new("POST", "/api/v1/credits/topup").key(&self.customer.key);
        let payment = self.payment("1.00", |_| {}).await;
        let paid = self.send("top-up", &ask.header(signature_header(&payment))).await;
        assert_eq!(paid.status, 200, "{}", paid.body);
        paid.json()["topup_id"].as_str().unwrap().to_owned()
    }

    /// A signed payment of that amount, after something about it was changed before signing.
    pub async fn payment(&self, amount: &str, change: impl FnOnce(&mut Authorization)) -> Value {
        let ask = Ask::new("POST", "/api/v1/credits/topup").json(&json!({ "amount": amount }));
        let terms = self.send("terms", &ask).await;
        let terms = STANDARD.decode(terms.header("payment-required").unwrap()).unwrap();
        let terms: Value = serde_json::from_slice(&terms).unwrap();
        let accepted = &terms["accepts"][0];
        let now = u64::try_from(self.api.clock.now().timestamp()).unwrap();
        let mut nonce = [0; 32];
        SystemEntropy.fill(&mut nonce);
        let mut authorization = Authorization {
            from: self.wallet.address(),
            to: accepted["payTo"].as_str().unwrap().parse().unwrap(),
            value: accepted["amount"].as_str().unwrap().parse().unwrap(),
            valid_after: 0,
            valid_before: now + 200,
            nonce: Nonce::new(nonce),
        };
        change(&mut authorization);
        let signature = self.wallet.sign_digest(&transfer_digest(network(), &authorization));
        json!({
            "x402Version": 2, "resource": terms["resource"], "accepted": accepted,
            "payload": {
                "signature": format!("0x{}", hex::encode(signature)),
                "authorization": authorization.to_value(),
            },
        })
    }

    /// Fills in the parameters of a path.
    pub fn fill(&self, path: &str) -> String {
        let address = self.wallet.address().to_string();
        // One is decided and has a receipt, and one can be judged.
        let result = if path.ends_with("/receipt") { "r1" } else { "r2" };
        let values = [
            ("{checkout_id}", self.checkout.as_str()),
            ("{charge_id}", self.charge.as_str()),
            ("{dispute_id}", self.dispute.as_str()),
            ("{webhook_id}", self.webhook.as_str()),
            ("{reversal_id}", self.reversal.as_str()),
            ("{grant_id}", self.grant.as_str()),
            ("{result_id}", result),
            ("{topup_id}", self.topup.as_str()),
            ("{sku}", "lead"),
            ("{address}", address.as_str()),
        ];
        values.iter().fold(path.to_owned(), |path, (name, value)| path.replace(name, value))
    }

    /// A good request to an operation, with the right key.
    pub fn good(&self, operation: &Operation) -> Ask {
        let row = row(self, &operation.name);
        let query: Vec<_> =
            query(&operation.name).iter().map(|(name, value)| format!("{name}={value}")).collect();
        let query = if query.is_empty() { String::new() } else { format!("?{}", query.join("&")) };
        let path = self.fill(&operation.path) + &query;
        let mut ask = Ask::new(&operation.method, &path);
        if operation.key() != Key::None {
            ask = ask.key(&self.keys[row.roles[0]]);
        }
        if operation.is_keyed() {
            ask = ask.header(format!("Idempotency-Key: good-{}", operation.name.replace(' ', "-")));
        }
        match row.body {
            Some(body) => ask.json(&body),
            None => ask,
        }
    }

    pub async fn send(&self, what: &str, ask: &Ask) -> Answer {
        let _shown = Shown(what, ask);
        let headers: Vec<&str> = ask.headers.iter().map(String::as_str).collect();
        let answered = tokio::time::timeout(PATIENCE, async {
            let mut connection = Connection::open(self.address).await;
            connection.request(&ask.line(), &headers, &ask.body).await
        });
        answered.await.expect("the service answers in time")
    }

    /// Sends a bad request and asserts that it is refused as it should be. Returns the body.
    pub async fn refused(&self, operation: Option<&Operation>, case: &Case) -> Value {
        let answer = self.send(&case.what, &case.ask).await;
        let _shown = Shown(&case.what, &case.ask);
        if let Some(operation) = operation {
            self.judge(operation, &answer);
        }
        let pays = |line: &String| line.starts_with("PAYMENT-SIGNATURE") || line.starts_with("X-P");
        let name = operation.map(|operation| operation.name.as_str());
        let body = match name {
            Some(TOPUP) if !case.ask.headers.iter().any(pays) => {
                return terms(&answer, case);
            }
            Some("POST /sandbox/facilitator/verify") => return refusal(&answer, "isValid"),
            Some("POST /sandbox/facilitator/settle") => return refusal(&answer, "success"),
            _ => self.problem(&answer, &case.codes),
        };
        if let Some(field) = &case.field {
            let named = body["field"].as_str().unwrap_or_default();
            assert!(named.starts_with(field.as_str()), "{field} is to be named: {body}");
        }
        body
    }

    /// Sends all of them, and fails at the end, so that every wrong row is shown.
    pub async fn refuses_all(&self, operation: &Operation, cases: &[Case]) {
        assert!(cases.iter().all(|case| !case.codes.is_empty()));
        let mut failed = 0;
        for case in cases {
            let refused = AssertUnwindSafe(self.refused(Some(operation), case)).catch_unwind();
            failed += usize::from(refused.await.is_err());
        }
        assert_eq!(failed, 0, "{}: of {} requests", operation.name, cases.len());
    }

    /// Asserts that the document lists this answer.
    pub fn judge(&self, operation: &Operation, answer: &Answer) {
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert((operation.name.clone(), answer.status));
        assert!(answer.status < 500, "{}", answer.body);
        if let Err(why) = self.document.allows(operation, answer) {
            panic!("{} is not documented: {why}: {}", operation.name, answer.body);
        }
    }

    /// Asserts that this is a problem with one of these codes, complete and as documented.
    pub fn problem(&self, answer: &Answer, codes: &[&str]) -> Value {
        let body = answer.json();
        let code = body["code"].as_str().unwrap_or_default();
        assert!(codes.contains(&code), "{code:?} is not one of {codes:?}: {body}");
        let known = Code::ALL.iter().find(|known| known.as_str() == code).unwrap();
        let body = answer.problem(known.facts().status, code);
        self.document.is_problem(&body).unwrap();
        assert_eq!(body["type"], format!("/docs#error-{code}"));
        assert_eq!(body["retryable"], known.facts().retryable);
        assert!(body["instance"].is_string() && body["title"].is_string(), "{body}");
        let said = ["action", "detail"].map(|name| body["next"][name].as_str().unwrap_or_default());
        assert!(said.iter().all(|text| !text.is_empty()), "{body}");
        let wait = body["retry_after"].as_u64().map(|seconds| seconds.to_string());
        assert_eq!(answer.header("retry-after"), wait.as_deref());
        assert_eq!(answer.status == 401, answer.header("www-authenticate").is_some());
        for (name, value) in [
            ("bursar-mode", "test"),
            ("cache-control", "no-store"),
            ("x-content-type-options", "nosniff"),
            ("access-control-allow-origin", "*"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{name}");
        }
        body
    }

    /// Every row of every table, as one digest per table.
    pub async fn digest(&self) -> BTreeMap<String, String> {
        let pool = &self.api.database.owner;
        let tables = "select tablename::text from pg_tables where schemaname = 'public'";
        let tables: Vec<String> = sqlx::query_scalar(tables).fetch_all(pool).await.unwrap();
        let one = |table: &String| {
            format!(
                "select '{table}' as name, count(*) || ' rows ' || \
                 md5(coalesce(string_agg(x::text, '|' order by x::text), '')) as digest \
                 from {table} x"
            )
        };
        let sql = tables.iter().map(one).collect::<Vec<_>>().join(" union all ");
        let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(pool).await.unwrap();
        rows.iter().map(|row| (row.get("name"), row.get("digest"))).collect()
    }

    /// Asserts that the books add up.
    pub async fn check(&self) {
        let pool = db::report_pool(self.api.database.service_options(), 2);
        let report = Finance::new(pool).check().await.unwrap();
        let failed: Vec<_> = report.checks.iter().filter(|check| !check.passed).collect();
        assert!(!report.checks.is_empty() && failed.is_empty(), "{failed:#?}");
    }
}

/// A payment as `PAYMENT-SIGNATURE`.
pub fn signature_header(payment: &Value) -> String {
    format!("PAYMENT-SIGNATURE: {}", STANDARD.encode(payment.to_string()))
}

/// Keys that are garbled, unknown, of the other mode, revoked or expired.
async fn bad_keys(api: &Api) -> Vec<(&'static str, String, &'static str)> {
    let fresh = |mode| ApiKey::generate(&SystemEntropy, mode).reveal().to_owned();
    let soon = api.clock.now() + TimeDelta::seconds(3);
    let soon = soon.to_rfc3339_opts(SecondsFormat::Secs, true);
    let body = json!({"role": "operator", "name": "short", "expires_at": soon});
    let expired = api.post("/api/v1/admin/keys", &api.operator, body).await.json(201);
    api.clock.advance(TimeDelta::seconds(5));
    let body = json!({"role": "operator", "name": "gone"});
    let revoked = api.post("/api/v1/admin/keys", &api.operator, body).await.json(201);
    sqlx::query("update api_key set revoked_at = now() where name = 'gone'")
        .execute(&api.database.service)
        .await
        .unwrap();
    let key = |answer: &Value| answer["api_key"].as_str().unwrap().to_owned();
    let mut mistyped = api.operator.clone();
    let last = mistyped.pop().unwrap();
    mistyped.push(if last == 'A' { 'B' } else { 'A' });
    vec![
        ("garbage", "garbage".to_owned(), "unauthenticated"),
        ("no key but é", "bur_test_é".to_owned(), "unauthenticated"),
        ("long key", format!("bur_test_{}", "x".repeat(5_000)), "unauthenticated"),
        ("mistyped key", mistyped, "unauthenticated"),
        ("unknown key", fresh(Mode::Test), "unauthenticated"),
        ("live key", fresh(Mode::Live), "mode_mismatch"),
        ("revoked key", key(&revoked), "key_revoked"),
        ("expired key", key(&expired), "key_expired"),
    ]
}

/// Asserts that an unpaid top-up is answered with its terms, and says what is wrong beside them.
fn terms(answer: &Answer, case: &Case) -> Value {
    assert_eq!(answer.status, 402, "{}", answer.body);
    let body = answer.json();
    let header = STANDARD.decode(answer.header("payment-required").unwrap()).unwrap();
    let header: Value = serde_json::from_slice(&header).unwrap();
    for (version, terms) in [(1, &body), (2, &header)] {
        assert_eq!(terms["x402Version"], version, "{terms}");
        assert_eq!(terms["accepts"].as_array().map(Vec::len), Some(1), "{terms}");
    }
    assert!(body["next"]["action"].is_string() && body["next"]["detail"].is_string(), "{body}");
    if case.part == Part::Body {
        assert_eq!(body["amount"], "1.00", "the default: {body}");
        let code = body["code"].as_str().unwrap_or_default();
        assert!(case.codes.contains(&code), "{code:?} is not one of {:?}: {body}", case.codes);
        let field = body["field"].as_str().unwrap_or_default();
        let wanted = case.field.as_deref().unwrap_or_default();
        assert!(field.starts_with(wanted), "{wanted} is to be named: {body}");
    }
    body
}

/// Asserts that the facilitator refuses in the words of its protocol.
fn refusal(answer: &Answer, verb: &str) -> Value {
    assert!([200, 400, 405].contains(&answer.status), "{}", answer.body);
    let body = answer.json();
    assert_eq!(body[verb], false, "{body}");
    body
}
