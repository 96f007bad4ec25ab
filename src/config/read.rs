use std::collections::HashMap;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::ground::Mode;
use crate::outbound::Reach;
use crate::telemetry::LogSettings;

use super::error::ConfigError;
use super::live;
use super::payment;
use super::reader::Reader;
use super::secret::Secret;
use super::settings::{
    Basics, CallSettings, DatabaseSettings, EngineSettings, HttpSettings, Need, ResolveSettings,
    Settings, SignupSettings, TopupSettings, WebhookSettings,
};
use super::url::postgres as postgres_url;
use super::values::{key_hash, proxies, secret_key};
use super::variables::{
    ADMIN_KEY_HASH, ALLOW_PRIVATE_ADDRESSES, BIND, CONFIRM_INTERVAL_MS, CONFIRMATIONS, DATA_DIR,
    DATABASE_URL, DB_CONNECTIONS, DEFAULT_TOPUP, FIRST_LOOK_MS, GRANT_BUDGET_PER_DAY, GRANT_DAYS,
    LANES, LOG, LOG_FORMAT, MAX_TOPUP, MIGRATION_URL, MIN_TOPUP, PARK_AFTER_S, PG_BIN, PUBLIC_URL,
    QUEUE, QUOTE_LIFE_S, RATE_PER_MINUTE, RECEIPT_WAIT_MS, RESOLVE_BACKOFF_MS, RESOLVE_INTERVAL_MS,
    SECRET_KEY, SETTLE_MARGIN_S, SIGNUP_GRANT, SIGNUPS_PER_HOUR, SWEEP_INTERVAL_MS,
    TRUSTED_PROXIES, VERIFIER_ADDRESSES, VERIFIER_ATTEMPTS, VERIFIER_BACKOFF_MS, VERIFIER_FAILURES,
    VERIFIER_INTERVAL_MS, VERIFIER_REST_MS, VERIFIER_TIMEOUT_MS, Variable, WEBHOOK_ATTEMPTS,
    WEBHOOK_BACKOFF_MS, WEBHOOK_INTERVAL_MS, WEBHOOK_TIMEOUT_MS,
};

/// The mode in these variables, for what depends on nothing else.
pub(super) fn mode(vars: &HashMap<String, String>) -> Result<Mode, ConfigError> {
    let reader = Reader::new(vars);
    let mode = reader.mode().unwrap_or(Mode::Test);
    reader.finish(mode)
}

impl Settings {
    /// The settings in these variables, or everything that is wrong with them.
    pub fn from_map(vars: &HashMap<String, String>) -> Result<Self, ConfigError> {
        let mut reader = Reader::new(vars);
        let http = http(&mut reader);
        let settings = Self {
            mode: reader.mode().unwrap_or(Mode::Test),
            database: database(&mut reader, vars),
            payment: payment::read(&mut reader),
            resolve: resolve(&mut reader),
            topup: topup(&mut reader),
            signup: signup(&mut reader),
            engine: EngineSettings {
                lanes: reader.number(&LANES, 1..=64),
                queue: reader.number(&QUEUE, 1..=1_000_000),
            },
            webhook: webhook(&mut reader, http.bind),
            verifier: verifier(&mut reader),
            http,
            quote_life: Duration::from_secs(reader.number(&QUOTE_LIFE_S, 1..=86_400)),
            sweep_interval: Duration::from_millis(reader.number(&SWEEP_INTERVAL_MS, 10..=60_000)),
            admin_key_hash: reader.optional(&ADMIN_KEY_HASH, key_hash).map(Secret::new),
            log: log(&mut reader),
        };
        check_relations(&mut reader, &settings);
        live::check(&mut reader, &settings);
        reader.finish(settings)
    }
}

impl Basics {
    /// The settings in these variables, or everything that is wrong with them.
    pub fn from_map(vars: &HashMap<String, String>, need: Need) -> Result<Self, ConfigError> {
        let mut reader = Reader::new(vars);
        let mode = reader.mode();
        let basics = Self {
            mode: mode.unwrap_or(Mode::Test),
            database: database(&mut reader, vars),
            log: log(&mut reader),
        };
        let unset = match need {
            Need::Service => basics.database.url.is_none().then_some(&DATABASE_URL),
            Need::Owner => basics.database.migration_url.is_none().then_some(&MIGRATION_URL),
        };
        let managed = basics.database.is_managed() && mode == Some(Mode::Test);
        if let Some(variable) = unset.filter(|_| !managed && mode.is_some()) {
            reader.refuse(variable, "this command needs it");
        }
        reader.finish(basics)
    }
}

fn database(reader: &mut Reader<'_>, vars: &HashMap<String, String>) -> DatabaseSettings {
    let path = |text: &str| Ok::<_, String>(PathBuf::from(text));
    DatabaseSettings {
        url: reader.optional(&DATABASE_URL, postgres_url).map(Secret::new),
        migration_url: reader.optional(&MIGRATION_URL, postgres_url).map(Secret::new),
        data_dir: reader.optional(&DATA_DIR, path),
        pg_bin: reader.optional(&PG_BIN, path),
        search_path: vars.get("PATH").map(OsString::from),
        home: vars.get("HOME").map(PathBuf::from),
        connections: reader.number(&DB_CONNECTIONS, 2..=1000),
    }
}

fn http(reader: &mut Reader<'_>) -> HttpSettings {
    HttpSettings {
        bind: reader.parsed(&BIND),
        public_url: reader.optional(&PUBLIC_URL, str::parse),
        trusted_proxies: reader.optional(&TRUSTED_PROXIES, proxies).unwrap_or_default(),
        rate_per_minute: reader.number(&RATE_PER_MINUTE, 1..=1_000_000),
    }
}

fn resolve(reader: &mut Reader<'_>) -> ResolveSettings {
    ResolveSettings {
        interval: Duration::from_millis(reader.number(&RESOLVE_INTERVAL_MS, 10..=60_000)),
        receipt_wait: Duration::from_millis(reader.number(&RECEIPT_WAIT_MS, 0..=120_000)),
        first_look: Duration::from_millis(reader.number(&FIRST_LOOK_MS, 0..=600_000)),
        backoff: Duration::from_millis(reader.number(&RESOLVE_BACKOFF_MS, 10..=600_000)),
        margin: Duration::from_secs(reader.number(&SETTLE_MARGIN_S, 0..=86_400)),
        park_after: Duration::from_secs(reader.number(&PARK_AFTER_S, 0..=2_592_000)),
        confirmations: reader.number(&CONFIRMATIONS, 1..=10_000),
        confirm_interval: Duration::from_millis(reader.number(&CONFIRM_INTERVAL_MS, 10..=600_000)),
    }
}

fn topup(reader: &mut Reader<'_>) -> TopupSettings {
    TopupSettings {
        default: reader.parsed(&DEFAULT_TOPUP),
        min: reader.parsed(&MIN_TOPUP),
        max: reader.parsed(&MAX_TOPUP),
    }
}

fn signup(reader: &mut Reader<'_>) -> SignupSettings {
    SignupSettings {
        grant: reader.parsed(&SIGNUP_GRANT),
        grant_budget_per_day: reader.parsed(&GRANT_BUDGET_PER_DAY),
        grant_days: reader.number(&GRANT_DAYS, 1..=3650),
        per_hour: reader.number(&SIGNUPS_PER_HOUR, 1..=1_000_000),
    }
}

/// Whoever reaches the service from elsewhere could have it call this machine. So that is the preset
/// only where nobody can.
fn webhook(reader: &mut Reader<'_>, bind: SocketAddr) -> WebhookSettings {
    let test = reader.mode() == Some(Mode::Test);
    let preset = if test && bind.ip().is_loopback() { Reach::Loopback } else { Reach::Public };
    let reach = reader.optional(&ALLOW_PRIVATE_ADDRESSES, str::parse).unwrap_or(preset);
    WebhookSettings {
        secret_key: reader.optional(&SECRET_KEY, secret_key).map(Secret::new),
        reach,
        http: test && reach > Reach::Public,
        timeout: Duration::from_millis(reader.number(&WEBHOOK_TIMEOUT_MS, 100..=60_000)),
        backoff: Duration::from_millis(reader.number(&WEBHOOK_BACKOFF_MS, 10..=600_000)),
        attempts_max: reader.number(&WEBHOOK_ATTEMPTS, 1..=20),
        interval: Duration::from_millis(reader.number(&WEBHOOK_INTERVAL_MS, 10..=60_000)),
    }
}

fn verifier(reader: &mut Reader<'_>) -> CallSettings {
    let millis = Duration::from_millis;
    CallSettings {
        reach: reader.parsed(&VERIFIER_ADDRESSES),
        timeout: millis(reader.number(&VERIFIER_TIMEOUT_MS, 100..=60_000)),
        backoff: millis(reader.number(&VERIFIER_BACKOFF_MS, 10..=600_000)),
        attempts_max: reader.number(&VERIFIER_ATTEMPTS, 1..=50),
        failures_max: reader.number(&VERIFIER_FAILURES, 1..=1000),
        rest: millis(reader.number(&VERIFIER_REST_MS, 10..=3_600_000)),
        interval: millis(reader.number(&VERIFIER_INTERVAL_MS, 10..=60_000)),
    }
}

fn log(reader: &mut Reader<'_>) -> LogSettings {
    LogSettings { filter: reader.parsed(&LOG), format: reader.parsed(&LOG_FORMAT) }
}

/// What must hold between settings. Judged only where each of them is right by itself.
fn check_relations(reader: &mut Reader<'_>, settings: &Settings) {
    let Settings { database, topup, signup, engine, .. } = settings;
    let mut relate = |holds: bool, blamed: &Variable, others: &[&Variable], fault: &str| {
        if !holds && !others.iter().any(|other| reader.has_problem(other)) {
            reader.refuse(blamed, fault);
        }
    };
    let owner_alone = database.url.is_none() && database.migration_url.is_some();
    relate(
        !owner_alone,
        &DATABASE_URL,
        &[&MIGRATION_URL],
        "BURSAR_MIGRATION_URL needs it beside itself",
    );
    relate(!topup.min.is_zero(), &MIN_TOPUP, &[], "it is zero");
    relate(topup.min <= topup.max, &MAX_TOPUP, &[&MIN_TOPUP], "it is below BURSAR_MIN_TOPUP");
    relate(
        (topup.min..=topup.max).contains(&topup.default),
        &DEFAULT_TOPUP,
        &[&MIN_TOPUP, &MAX_TOPUP],
        "it is not between BURSAR_MIN_TOPUP and BURSAR_MAX_TOPUP",
    );
    relate(
        signup.grant <= signup.grant_budget_per_day,
        &GRANT_BUDGET_PER_DAY,
        &[&SIGNUP_GRANT],
        "it does not pay for one BURSAR_SIGNUP_GRANT",
    );
    relate(
        usize::try_from(database.connections).is_ok_and(|count| count > engine.lanes),
        &DB_CONNECTIONS,
        &[&LANES],
        "the lanes leave no connection for anything else",
    );
}
