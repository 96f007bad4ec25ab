//! The running service: every floor, put together from the settings.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use sqlx::PgPool;
use tokio::task::JoinHandle;

use crate::accounts::{self, Accounts};
use crate::checkout::{Asker, CheckoutError, Checkouts};
use crate::config::{BaseUrl, Facilitator, ResolveSettings, Settings};
use crate::db;
use crate::db::managed::{ManagedError, ManagedPostgres};
use crate::events::{Courier, EventError, Watcher};
use crate::finance::{DriftChecker, DriftSettings, Finance};
use crate::ground::{CipherError, Clock, Entropy, SystemClock, SystemEntropy};
use crate::http::{self, AppState, ServerHandle};
use crate::ledger::{self, Engine};
use crate::x402::chain::ChainError;
use crate::x402::facilitator::FacilitatorError;
use crate::x402::sandbox::Sandbox;
use crate::x402::topup::{self, Chains, TopUps};

use super::database::{self, Database, DatabaseError, Missing};
use super::events::{open_events, secret_cipher};
use super::gauges::{self, Drift};
use super::payments::{check_nodes, open_chain, open_facilitators};
use super::verifiers::open_verifiers;
use super::wallets::OpenWallets;
use super::workers::{Tools, Workers};

/// How long a pool may take to close, when only reports are still running.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);

/// How many connections those have who send events and ask verifiers.
const SENDING_CONNECTIONS: u32 = 3;

/// Why the service did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the database is not ready")]
    Database(#[from] DatabaseError),
    #[error(
        "{address} is taken: another Bursar may be running there; stop it, or set BURSAR_BIND to \
         another address"
    )]
    AddressTaken { address: SocketAddr },
    #[error("cannot listen on {address}")]
    Listen { address: SocketAddr, source: io::Error },
    #[error("the facilitator cannot be used")]
    Facilitator(#[from] FacilitatorError),
    #[error("the chain cannot be used")]
    Chain(#[from] ChainError),
    #[error("the key for secrets cannot be kept")]
    SecretKey(#[from] ManagedError),
    #[error(
        "the secrets of webhooks or verifiers cannot be read with this key: set BURSAR_SECRET_KEY to \
         the key that they were encrypted with, or put secret.key back; if it is lost, delete the \
         webhooks, and take their secrets from the verifiers, as the README says"
    )]
    OtherKey(#[source] CipherError),
    #[error("webhooks cannot be read")]
    Webhooks(#[source] EventError),
    #[error("verifiers cannot be read")]
    Verifiers(#[source] CheckoutError),
    #[error("calls to webhooks and verifiers cannot be made")]
    Caller(#[from] reqwest::Error),
    #[error("the server did not start")]
    Server(#[from] io::Error),
}

/// A service that is up.
pub struct Service {
    /// Where it listens, as a local URL.
    pub local_url: String,
    /// Where clients reach it.
    pub public_url: String,
    pub clock: Arc<dyn Clock>,
    /// For reports of the process that runs the service.
    pub finance: Finance,
    topups: TopUps,
    courier: Courier,
    asker: Asker,
    handle: ServerHandle,
    server: JoinHandle<io::Result<()>>,
    workers: Workers,
    pools: Vec<PgPool>,
    managed: Option<ManagedPostgres>,
}

/// Why a service ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    #[error("the server ended")]
    Server,
    #[error("the database is gone")]
    Postgres(#[source] crate::db::managed::ManagedError),
}

impl Service {
    /// Starts everything, bottom up.
    pub async fn start(settings: &Settings, missing: Missing) -> Result<Self, StartError> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
        let bind = settings.http.bind;
        // Listen first: a second process must not touch the database of the one that is running.
        let listener = listen(bind)?;
        let bound = listener.local_addr()?;
        check_nodes(settings).await?;
        let Database { service, managed, .. } =
            database::open(&settings.database, settings.mode, missing).await?;
        let connections = settings.database.connections;
        // A connection lives on the runtime that opened it, and the server's threads have runtimes of
        // their own, which end with the server. The engine outlives it, so it has its own pool, and
        // so has whoever reads reports from the command line.
        let lanes = u32::try_from(settings.engine.lanes).unwrap_or(u32::MAX);
        let money = db::service_pool(service.clone(), lanes.saturating_add(1));
        let pool = db::service_pool(service.clone(), connections.saturating_sub(lanes).max(2));
        // What is sent to others must not take connections from those who ask.
        let sending = db::service_pool(service.clone(), SENDING_CONNECTIONS);
        let reports = db::report_pool(service.clone(), 4);
        let own_reports = db::report_pool(service.clone(), 1);
        let proofs = db::checker_pool(service);

        let local_url = BaseUrl::local(bound);
        let public_url = settings.http.public_url(bound).join("");
        let engine = start_engine(settings, &money, &clock, &entropy);
        let accounts = open_accounts(settings, &pool, &engine, &clock, &entropy);
        let checkouts =
            Checkouts::new(pool.clone(), engine.clone(), clock.clone(), entropy.clone())
                .with_quote_life(settings.quote_life);
        let topups =
            open_topups(settings, &local_url, &public_url, &pool, &engine, &clock, &entropy)?;
        let sandbox = (settings.payment.facilitator == Facilitator::Sandbox).then(|| {
            let networks = settings.payment.networks.clone();
            Sandbox::new(pool.clone(), clock.clone(), entropy.clone(), networks)
        });
        let cipher = secret_cipher(settings, managed.as_ref(), entropy.as_ref())?;
        let (events, courier) =
            open_events(settings, (&pool, &sending), cipher.clone(), &clock, &entropy)?;
        events.check_key().await.map_err(|error| match error {
            EventError::Secret(error) => StartError::OtherKey(error),
            error => StartError::Webhooks(error),
        })?;
        let (verifiers, asker) =
            open_verifiers(settings, (&pool, &sending), &engine, cipher, &clock, &entropy)?;
        verifiers.check_key().await.map_err(|error| match error {
            CheckoutError::Secret(error) => StartError::OtherKey(error),
            error => StartError::Verifiers(error),
        })?;
        let drift = Drift::default();
        let checker = DriftChecker::new(proofs.clone(), DriftSettings::default());
        let granter = accounts.granter();
        let workers = Workers::start(Tools {
            sweeper: checkouts.sweeper(),
            sweep_interval: settings.sweep_interval,
            topups: topups.clone(),
            resolve_interval: settings.resolve.interval,
            confirm_interval: settings.resolve.confirm_interval,
            accounts: accounts.clone(),
            granter: granter.clone(),
            courier: courier.clone(),
            watcher: Watcher::new(events.on(sending.clone()), engine.clone()),
            webhook_interval: settings.webhook.interval,
            asker: asker.clone(),
            ask_interval: settings.verifier.interval,
            pool: pool.clone(),
            engine: engine.clone(),
            clock: clock.clone(),
            checker: checker.clone(),
            drift: drift.clone(),
        });
        let state = Arc::new(AppState {
            mode: settings.mode,
            public_url: public_url.clone(),
            metrics: gauges::metrics(gauges::Sources {
                topups: topups.clone(),
                sweeper: checkouts.sweeper(),
                engine: engine.clone(),
                events: events.clone(),
                verifiers: verifiers.clone(),
                granter,
                drift,
                checker,
            }),
            accounts,
            checkouts,
            topups: topups.clone(),
            events,
            verifiers,
            finance: Finance::new(reports.clone()),
            pool: pool.clone(),
            engine,
            sandbox,
            networks: settings.payment.networks.clone(),
            clock: clock.clone(),
            entropy: entropy.clone(),
        });
        let server = http::serve(
            listener,
            http_settings(settings, &public_url),
            entropy,
            http::routes(state),
        )?;
        let handle = server.handle();
        let server = tokio::spawn(server);
        Ok(Self {
            local_url: local_url.join(""),
            public_url,
            clock,
            finance: Finance::new(own_reports.clone()),
            topups,
            courier,
            asker,
            handle,
            server,
            workers,
            pools: vec![pool, sending, reports, own_reports, proofs, money],
            managed,
        })
    }

    /// Waits until something ends that should not.
    pub async fn ended(&mut self) -> Ended {
        let postgres = async {
            match &self.managed {
                Some(managed) => managed.ended().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = &mut self.server => Ended::Server,
            error = postgres => Ended::Postgres(error),
        }
    }

    /// Stops everything, top down: requests finish, then the workers, which begin settlements too,
    /// then settlements and the database.
    pub async fn stop(self) {
        self.handle.stop(true).await;
        if !self.server.is_finished() {
            // The server says itself what it has to say, in the log.
            let _ = self.server.await;
        }
        self.workers.stop().await;
        self.courier.finish().await;
        self.topups.finish().await;
        self.asker.finish().await;
        for pool in self.pools {
            // A long report may still hold a connection, which ends with the process.
            let _ = tokio::time::timeout(CLOSE_WITHIN, pool.close()).await;
        }
        if let Some(managed) = self.managed
            && let Err(error) = managed.stop().await
        {
            tracing::error!(%error, "managed Postgres did not stop well");
        }
    }
}

fn listen(address: SocketAddr) -> Result<TcpListener, StartError> {
    http::listen(address).map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => StartError::AddressTaken { address },
        _ => StartError::Listen { address, source },
    })
}

pub(super) fn start_engine(
    settings: &Settings,
    pool: &PgPool,
    clock: &Arc<dyn Clock>,
    entropy: &Arc<dyn Entropy>,
) -> Engine {
    let engine = ledger::EngineSettings {
        lanes: settings.engine.lanes,
        queue: settings.engine.queue,
        ..ledger::EngineSettings::default()
    };
    Engine::start(pool.clone(), clock.clone(), entropy.clone(), engine)
}

pub(super) fn open_accounts(
    settings: &Settings,
    pool: &PgPool,
    engine: &Engine,
    clock: &Arc<dyn Clock>,
    entropy: &Arc<dyn Entropy>,
) -> Accounts {
    let signup = accounts::SignupSettings {
        grant: settings.signup.grant,
        grant_budget_per_day: settings.signup.grant_budget_per_day,
        grant_days: settings.signup.grant_days,
        signups_per_hour: settings.signup.per_hour,
        challenge_seconds: 300,
        challenges_per_hour: 120,
    };
    let operator = settings.admin_key_hash.as_ref().map(|hash| *hash.reveal());
    Accounts::new(
        pool.clone(),
        engine.clone(),
        clock.clone(),
        entropy.clone(),
        settings.mode,
        signup,
        operator,
    )
}

pub(super) fn open_topups(
    settings: &Settings,
    local_url: &BaseUrl,
    public_url: &str,
    pool: &PgPool,
    engine: &Engine,
    clock: &Arc<dyn Clock>,
    entropy: &Arc<dyn Entropy>,
) -> Result<TopUps, StartError> {
    let payment = &settings.payment;
    let facilitators = open_facilitators(settings, local_url, clock, entropy)?;
    let mut chains = Chains::new();
    for node in &payment.nodes {
        chains.push((node.network.caip2, Arc::new(open_chain(node)?)));
    }
    let verifying = u32::try_from(facilitators.count()).unwrap_or(u32::MAX);
    let verifying = payment.verify_timeout.saturating_mul(verifying);
    let terms = topup::TopupSettings {
        networks: payment.networks.clone(),
        pay_to: payment.pay_to,
        resource_url: format!("{public_url}/api/v1/credits/topup"),
        default_amount: settings.topup.default,
        min_amount: settings.topup.min,
        max_amount: settings.topup.max,
        patience: Duration::from_secs(10),
        lease: payment
            .settle_timeout
            .saturating_add(verifying)
            .saturating_mul(2)
            .saturating_add(settings.resolve.receipt_wait),
        resolving: resolving(&settings.resolve),
        confirm_interval: settings.resolve.confirm_interval,
    };
    let wallets = OpenWallets(open_accounts(settings, pool, engine, clock, entropy));
    let (pool, engine) = (pool.clone(), engine.clone());
    let topups =
        TopUps::new(pool, engine, facilitators, chains, clock.clone(), entropy.clone(), terms);
    Ok(topups.with_wallets(Arc::new(wallets)))
}

fn resolving(settings: &ResolveSettings) -> topup::Resolving {
    let delta = |span| TimeDelta::from_std(span).unwrap_or(TimeDelta::MAX);
    topup::Resolving {
        receipt_wait: settings.receipt_wait,
        first_look: settings.first_look,
        backoff: settings.backoff,
        margin: delta(settings.margin),
        park_after: delta(settings.park_after),
        confirmations: settings.confirmations,
    }
}

fn http_settings(settings: &Settings, public_url: &str) -> http::HttpSettings {
    let quota = |requests| Some(http::Quota { requests, window: Duration::from_secs(60) });
    let per_minute = settings.http.rate_per_minute;
    http::HttpSettings {
        public_url: public_url.to_owned(),
        mode: settings.mode,
        rate_per_key: quota(per_minute.saturating_mul(10)),
        rate_per_address: quota(per_minute),
        trusted_proxies: settings.http.trusted_proxies.clone(),
        ..http::HttpSettings::default()
    }
}
