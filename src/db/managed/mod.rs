//! The local Postgres of test mode: found or installed, private, durable, and gone with its owner.
//!
//! With no `DATABASE_URL`, Bursar makes a cluster of its own under its data directory and runs it as
//! a child process that listens on a Unix socket in a private directory, and nowhere else. One
//! process at a time holds a directory, by a file lock. When that process is killed, Linux stops the
//! server; on other systems the next start does.

mod account;
mod archive;
mod binaries;
mod cluster;
mod error;
mod install;
mod memory;
mod root;
mod secret;
mod server;

use std::fs;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{ConnectOptions, Connection, Executor, PgConnection};

use crate::ground::Entropy;

pub use account::{Account, effective_uid, is_root};
pub(in crate::db) use binaries::parse_version;
pub use binaries::{Binaries, Surroundings, find_binaries, program_dirs};
pub use cluster::{clean_command, initdb, required_major};
pub use error::ManagedError;
pub use install::install;
pub use root::{private_dir, socket_dir};

use root::Root;
use server::Server;

/// The oldest major version of PostgreSQL that Bursar's SQL works with.
pub const OLDEST_MAJOR: u32 = 15;
/// The superuser of the managed cluster.
pub const SUPERUSER: &str = "bursar_admin";
/// The database.
pub const DATABASE: &str = "bursar";

/// As whom to connect to the managed Postgres.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// `bursar_owner`: owns the schema and runs the migrations.
    Owner,
    /// `bursar_service`: owns nothing and has what the migrations grant.
    Service,
    /// The cluster's superuser: only for setting it up.
    Admin,
}

impl Role {
    /// The name in Postgres.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Owner => "bursar_owner",
            Self::Service => "bursar_service",
            Self::Admin => SUPERUSER,
        }
    }
}

fn options(socket: &Path, role: Role, database: &str) -> PgConnectOptions {
    PgConnectOptions::new_without_pgpass()
        .socket(socket)
        .port(5432)
        .username(role.name())
        .database(database)
        .ssl_mode(PgSslMode::Disable)
}

/// A running private Postgres. Dropping it stops it.
#[derive(Debug)]
pub struct ManagedPostgres {
    // Dropped in this order: the lock is given up after the server has ended.
    server: Server,
    socket: PathBuf,
    is_new: bool,
    root: Root,
}

impl ManagedPostgres {
    /// Starts the server of a directory, making the cluster, roles and database if there are none.
    ///
    /// Binaries have to be there: on [`ManagedError::NotFound`] the caller may [`install`] them.
    pub async fn start(dir: &Path, surroundings: &Surroundings) -> Result<Self, ManagedError> {
        let (dir, surroundings) = (dir.to_owned(), surroundings.clone());
        let prepared = tokio::task::spawn_blocking(move || prepare(&dir, &surroundings));
        let Prepared { root, binaries, account, is_new } =
            prepared.await.map_err(|error| ManagedError::Io {
                what: "the preparation of the cluster was interrupted".to_owned(),
                source: std::io::Error::other(error),
            })??;
        let socket = socket_dir(&root.dir, account.as_ref())?;
        let server = Server::start(&root, &binaries, account.as_ref(), &socket).await?;
        let managed = Self { server, socket, is_new, root };
        managed.ensure_database().await?;
        Ok(managed)
    }

    /// How to connect.
    pub fn connect_options(&self, role: Role) -> PgConnectOptions {
        self.options(role, DATABASE)
    }

    /// How to connect to the server that another process runs on a directory
    /// ([`ManagedError::InUse`]), to look at what it holds.
    pub fn of_another_process(dir: &Path, role: Role) -> Result<PgConnectOptions, ManagedError> {
        let dir = dir.canonicalize().map_err(|source| ManagedError::Io {
            what: format!("{} cannot be found", dir.display()),
            source,
        })?;
        let socket = socket_dir(&dir, Account::needed()?.as_ref())?;
        Ok(options(&socket, role, DATABASE))
    }

    fn options(&self, role: Role, database: &str) -> PgConnectOptions {
        options(&self.socket, role, database)
    }

    /// The same as a URL, for other programs.
    pub fn url(&self, role: Role) -> String {
        self.connect_options(role).to_url_lossy().into()
    }

    /// Whether this start made the cluster.
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    /// The server's process id.
    pub fn pid(&self) -> u32 {
        self.server.pid
    }

    /// The key that encrypts secrets in this database, made when there is none.
    pub fn secret_key(&self, entropy: &dyn Entropy) -> Result<[u8; 32], ManagedError> {
        secret::keep(&self.root.dir, entropy)
    }

    /// The directory with the data, the socket and the log.
    pub fn root(&self) -> &Path {
        &self.root.dir
    }

    /// Waits until the server has ended, which it does on its own only in trouble.
    pub async fn ended(&self) -> ManagedError {
        self.server.ended().await
    }

    /// Stops the server: clients are disconnected, a checkpoint is written. Close the pools first.
    pub async fn stop(self) -> Result<(), ManagedError> {
        self.server.stop().await
    }

    /// Roles and database, made one by one as they are missing: a first start may have been killed
    /// between any two.
    async fn ensure_database(&self) -> Result<(), ManagedError> {
        let sql = |what| move |source| ManagedError::Sql { what, source };
        let mut connection = PgConnection::connect_with(&self.options(Role::Admin, "postgres"))
            .await
            .map_err(sql("cannot connect to the managed Postgres"))?;
        let exists: bool =
            sqlx::query_scalar("select exists (select from pg_database where datname = $1)")
                .bind(DATABASE)
                .fetch_one(&mut connection)
                .await
                .map_err(sql("cannot look for the database"))?;
        if !exists {
            connection.execute(ROLES).await.map_err(sql("cannot make the roles"))?;
            connection
                .execute("create database bursar owner bursar_owner")
                .await
                .map_err(sql("cannot make the database"))?;
        }
        connection.execute(GRANTS).await.map_err(sql("cannot grant access to the database"))?;
        connection.close().await.map_err(sql("cannot leave the managed Postgres"))
    }
}

/// The roles of a cluster, each made when missing.
pub const ROLES: &str = "
do $$
begin
  if not exists (select from pg_roles where rolname = 'bursar_owner') then
    create role bursar_owner login createrole;
  end if;
  if not exists (select from pg_roles where rolname = 'bursar_service') then
    create role bursar_service login;
  end if;
end
$$";

/// Everybody may connect to a new database and make temporary tables in it, unless told otherwise.
const GRANTS: &str = "
do $$
begin
  if has_database_privilege('public', 'bursar', 'connect') then
    revoke all on database bursar from public;
    grant connect on database bursar to bursar_service;
  end if;
end
$$";

struct Prepared {
    root: Root,
    binaries: Binaries,
    account: Option<Account>,
    is_new: bool,
}

/// Everything before the server runs: the lock, leftovers, binaries, the cluster.
fn prepare(dir: &Path, surroundings: &Surroundings) -> Result<Prepared, ManagedError> {
    let account = Account::needed()?;
    let root = Root::claim(dir, account.as_ref())?;
    let data = root.data();
    let account = root::account_of(&data, account)?;
    cluster::stop_orphan(&data)?;
    let required = required_major(&data);
    let binaries = find_binaries(surroundings, required)?;
    if required.is_none() {
        initdb(&binaries, account.as_ref(), &data)?;
    }
    Ok(Prepared { root, binaries, account, is_new: required.is_none() })
}

/// Where the managed Postgres lives when `BURSAR_DATA_DIR` does not say.
///
/// Root's server runs as another user, who has to be able to enter every directory on the way, and
/// a checkout under /root is closed to it: hence /var/lib. Everybody else has it beside the checkout.
pub fn default_root(is_root: bool) -> PathBuf {
    PathBuf::from(if is_root { "/var/lib/bursar" } else { ".data" })
}

/// Renames the data of a directory out of the way and returns its new name, so that the next start
/// begins with an empty cluster. Nothing is deleted.
pub fn move_aside(
    dir: &Path,
    at: DateTime<Utc>,
    announce: &dyn Fn(&str),
) -> Result<PathBuf, ManagedError> {
    let account = Account::needed()?;
    let root = Root::claim(dir, account.as_ref())?;
    let data = root.data();
    cluster::stop_orphan(&data)?;
    let name = format!("data.before-{}", at.format("%Y%m%dT%H%M%SZ"));
    let mut aside = root.dir.join(&name);
    let mut copy = 2_u32;
    while aside.exists() {
        aside = root.dir.join(format!("{name}-{copy}"));
        copy = copy.saturating_add(1);
    }
    fs::rename(&data, &aside).map_err(ManagedError::io("move aside", &data))?;
    announce(&format!("The data directory {} is kept as {}", data.display(), aside.display()));
    Ok(aside)
}
