use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use crate::ground::{Amount, Mode};
use crate::outbound::Reach;
use crate::telemetry::LogSettings;
use crate::x402::facilitator::CdpKey;
use crate::x402::{Address, Network};

use super::secret::Secret;
use super::url::BaseUrl;

/// Everything that the service needs to know before it starts.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whether real money is at stake.
    pub mode: Mode,
    /// Where the ledger is.
    pub database: DatabaseSettings,
    /// Where clients come in.
    pub http: HttpSettings,
    /// How payments are asked for and settled.
    pub payment: PaymentSettings,
    /// How the outcome of a payment is found out.
    pub resolve: ResolveSettings,
    /// How much one top-up may bring.
    pub topup: TopupSettings,
    /// What a new account gets.
    pub signup: SignupSettings,
    /// The ledger engine.
    pub engine: EngineSettings,
    /// How webhooks are called.
    pub webhook: WebhookSettings,
    /// How verifiers are called.
    pub verifier: CallSettings,
    /// How long the prices of a quote hold.
    pub quote_life: Duration,
    /// How long the sweeper waits between two looks for passed deadlines.
    pub sweep_interval: Duration,
    /// SHA-256 of the operator key.
    pub admin_key_hash: Option<Secret<[u8; 32]>>,
    /// Logs.
    pub log: LogSettings,
}

/// What commands need that only use the database.
#[derive(Clone, Debug)]
pub struct Basics {
    /// Whether real money is at stake.
    pub mode: Mode,
    /// Where the ledger is.
    pub database: DatabaseSettings,
    /// Logs.
    pub log: LogSettings,
}

/// As which role a command connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// The service's role.
    Service,
    /// The role that owns the tables.
    Owner,
}

/// Where the ledger is. With neither URL, in test mode, it is in a Postgres that Bursar runs.
#[derive(Clone, Debug)]
pub struct DatabaseSettings {
    /// The database as the service's role.
    pub url: Option<Secret<String>>,
    /// The database as the role that owns the tables.
    pub migration_url: Option<Secret<String>>,
    /// Where the managed Postgres keeps its files, if not in the usual place.
    pub data_dir: Option<PathBuf>,
    /// Where the managed Postgres has its binaries, if they need not be searched for.
    pub pg_bin: Option<PathBuf>,
    /// The process's `PATH`, along which binaries are searched for.
    pub search_path: Option<OsString>,
    /// The process's `HOME`, under which caches may be.
    pub home: Option<PathBuf>,
    /// Connections of this process.
    pub connections: u32,
}

/// Where clients come in.
#[derive(Clone, Debug)]
pub struct HttpSettings {
    /// Address and port to listen on.
    pub bind: SocketAddr,
    /// Where clients reach Bursar; `None` means where it listens.
    pub public_url: Option<BaseUrl>,
    /// Whose forwarding header names the client.
    pub trusted_proxies: Vec<IpNet>,
    /// Requests per minute and client address; a key has ten times as many.
    pub rate_per_minute: u32,
}

/// How payments are asked for and settled.
#[derive(Clone, Debug)]
pub struct PaymentSettings {
    /// Who receives the money.
    pub pay_to: Address,
    /// On which networks, most wanted first; never empty.
    pub networks: Vec<&'static Network>,
    /// Who settles.
    pub facilitator: Facilitator,
    /// Whether the facilitator's word alone may credit money in live mode.
    pub trust_facilitator: bool,
    /// Coinbase's key for its facilitator.
    pub cdp_key: Option<CdpKey>,
    /// The nodes to read chains from, one per network. Their URLs often carry a key.
    pub nodes: Vec<Node>,
    /// When a settlement without an answer counts as unknown.
    pub settle_timeout: Duration,
    /// How long to wait for a verification.
    pub verify_timeout: Duration,
}

/// How the outcome of a payment is found out when no answer told it.
#[derive(Clone, Copy, Debug)]
pub struct ResolveSettings {
    /// How long the resolver waits between two looks.
    pub interval: Duration,
    /// How long a request waits for the chain to show its settlement.
    pub receipt_wait: Duration,
    /// How soon the chain is looked at for what has just become unknown.
    pub first_look: Duration,
    /// The first pause between two looks at one top-up.
    pub backoff: Duration,
    /// How long after its window a payment without a trace on the chain is rejected.
    pub margin: Duration,
    /// How long after its window a payment that nobody tells of is left to the operator.
    pub park_after: Duration,
    /// How many blocks must lie above what counts as there to stay. Until then it is followed.
    pub confirmations: u64,
    /// How long to wait between two looks at a settlement that is followed.
    pub confirm_interval: Duration,
}

/// Who verifies and settles payments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Facilitator {
    /// The sandbox built in, at this server's own address; in test mode only.
    Sandbox,
    /// These, the preferred one first; never empty.
    Listed(Vec<ListedFacilitator>),
}

/// One facilitator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedFacilitator {
    /// Where it is.
    pub url: BaseUrl,
    /// The only network that it is meant for, if it is meant for one.
    pub network: Option<&'static Network>,
}

/// A node of a network.
#[derive(Clone, Debug)]
pub struct Node {
    /// The network.
    pub network: &'static Network,
    /// Where the node is.
    pub url: Secret<String>,
}

impl PaymentSettings {
    /// Whether payments on every network that is offered are read from the chain.
    pub fn reads_every_chain(&self) -> bool {
        let read = |network: &&Network| self.nodes.iter().any(|node| node.network == *network);
        self.networks.iter().all(read)
    }
}

/// How much one top-up may bring.
#[derive(Clone, Debug)]
pub struct TopupSettings {
    /// When the request names no amount.
    pub default: Amount,
    /// At least.
    pub min: Amount,
    /// At most.
    pub max: Amount,
}

/// What a new account gets.
#[derive(Clone, Debug)]
pub struct SignupSettings {
    /// Promotional credits per account; zero means none.
    pub grant: Amount,
    /// Promotional credits per UTC day over all accounts.
    pub grant_budget_per_day: Amount,
    /// Days until promotional credits expire.
    pub grant_days: u32,
    /// Signups per hour and client address.
    pub per_hour: u32,
}

/// How webhooks are called.
#[derive(Clone, Debug)]
pub struct WebhookSettings {
    /// What encrypts their secrets. With a managed Postgres one is made when there is none.
    pub secret_key: Option<Secret<[u8; 32]>>,
    /// Which addresses may be called.
    pub reach: Reach,
    /// Whether http may be called.
    pub http: bool,
    /// How long a receiver may take to answer.
    pub timeout: Duration,
    /// The first pause between two attempts.
    pub backoff: Duration,
    /// After how many attempts a delivery is given up.
    pub attempts_max: i32,
    /// How long to wait between two looks for events.
    pub interval: Duration,
}

/// How verifiers are called.
#[derive(Clone, Debug)]
pub struct CallSettings {
    /// Which addresses may be called.
    pub reach: Reach,
    /// How long a verifier may take to answer.
    pub timeout: Duration,
    /// The first pause between two calls about one result.
    pub backoff: Duration,
    /// After how many calls a result is not asked about any more.
    pub attempts_max: i32,
    /// After how many failed calls in a row the verifier is given a rest.
    pub failures_max: i32,
    /// How long that is.
    pub rest: Duration,
    /// How long to wait between two looks for results.
    pub interval: Duration,
}

/// The ledger engine.
#[derive(Clone, Debug)]
pub struct EngineSettings {
    /// Lanes, each with a connection.
    pub lanes: usize,
    /// Commands that may wait.
    pub queue: usize,
}

impl HttpSettings {
    /// Where clients reach Bursar, once it is known where it listens.
    pub fn public_url(&self, bound: SocketAddr) -> BaseUrl {
        self.public_url.clone().unwrap_or_else(|| BaseUrl::local(bound))
    }
}

impl DatabaseSettings {
    /// Whether the ledger is in a Postgres that Bursar runs itself.
    pub const fn is_managed(&self) -> bool {
        self.url.is_none() && self.migration_url.is_none()
    }
}
