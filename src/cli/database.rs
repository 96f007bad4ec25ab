//! Opening the database: the one that is named, or a managed one.

use std::path::PathBuf;

use sqlx::migrate::MigrateError;
use sqlx::postgres::PgConnectOptions;

use crate::config::DatabaseSettings;
use crate::db::managed::{self, ManagedError, ManagedPostgres, Role, Surroundings};
use crate::db::{self, SchemaError};
use crate::ground::{Clock, Mode, SystemClock};

use super::output::tell;

/// A database that is ready, and the server behind it when Bursar runs that itself.
pub struct Database {
    pub service: PgConnectOptions,
    pub owner: PgConnectOptions,
    pub managed: Option<ManagedPostgres>,
}

/// Why there is no database.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    #[error("{name} is not a Postgres URL")]
    Url { name: &'static str, source: sqlx::Error },
    #[error(
        "the role of DATABASE_URL cannot bring the schema up to date; set BURSAR_MIGRATION_URL to \
         the same database as the role that owns its tables"
    )]
    MayNotMigrate(#[source] MigrateError),
    #[error(transparent)]
    Managed(#[from] ManagedError),
    #[error(transparent)]
    Schema(#[from] SchemaError),
}

/// Whether missing Postgres binaries are installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// With the system's package manager.
    Install,
    /// No: the error says what to install.
    Refuse,
}

/// Opens the database for serving. In test mode its schema is brought up to date; a live database is
/// only looked at.
pub async fn open(
    settings: &DatabaseSettings,
    mode: Mode,
    missing: Missing,
) -> Result<Database, DatabaseError> {
    let database = connect(settings, missing).await?;
    let database = match (mode, prepare(&database, mode).await) {
        (_, Ok(())) => database,
        // A managed test directory of another version is moved aside, never deleted.
        (Mode::Test, Err(error @ SchemaError::Differs { .. })) if database.managed.is_some() => {
            announce(&error.to_string());
            start_afresh(database, settings, missing).await?
        }
        (Mode::Test, Err(SchemaError::Migration(error)))
            if database.managed.is_none() && settings.migration_url.is_none() =>
        {
            return Err(DatabaseError::MayNotMigrate(error));
        }
        (_, Err(error)) => return Err(error.into()),
    };
    Ok(database)
}

/// Opens the database as it is, without looking at its schema. A managed server that another process
/// runs is joined: looking at a ledger does not need it stopped.
pub async fn join(settings: &DatabaseSettings) -> Result<Database, DatabaseError> {
    match connect(settings, Missing::Refuse).await {
        Err(DatabaseError::Managed(ManagedError::InUse { root, .. })) => Ok(Database {
            service: ManagedPostgres::of_another_process(&root, Role::Service)?,
            owner: ManagedPostgres::of_another_process(&root, Role::Owner)?,
            managed: None,
        }),
        opened => opened,
    }
}

/// Opens the database as it is, without looking at its schema.
pub async fn connect(
    settings: &DatabaseSettings,
    missing: Missing,
) -> Result<Database, DatabaseError> {
    let parse = |name, url: &str| {
        url.parse::<PgConnectOptions>().map_err(|source| DatabaseError::Url { name, source })
    };
    let service = settings.url.as_ref().map(|url| parse("DATABASE_URL", url.reveal()));
    let owner = settings.migration_url.as_ref();
    let owner = owner.map(|url| parse("BURSAR_MIGRATION_URL", url.reveal()));
    match (service.transpose()?, owner.transpose()?) {
        (Some(service), owner) => {
            let owner = owner.unwrap_or_else(|| service.clone());
            Ok(Database { service, owner, managed: None })
        }
        (None, Some(owner)) => Ok(Database { service: owner.clone(), owner, managed: None }),
        (None, None) => {
            let managed = start(settings, missing).await?;
            Ok(Database {
                service: managed.connect_options(Role::Service),
                owner: managed.connect_options(Role::Owner),
                managed: Some(managed),
            })
        }
    }
}

async fn prepare(database: &Database, mode: Mode) -> Result<(), SchemaError> {
    // One that somebody else keeps and that lacks nothing can be served without the owner's role.
    let given = database.managed.is_none();
    match (mode, check(database, mode).await) {
        (Mode::Test, Err(SchemaError::Missing)) => {}
        (Mode::Test, Ok(())) if !given => {}
        (_, checked) => return checked,
    }
    db::migrate(&database.owner, mode).await?;
    check(database, mode).await
}

async fn check(database: &Database, mode: Mode) -> Result<(), SchemaError> {
    let pool = db::service_pool(database.service.clone(), 1);
    let checked = db::check(&pool, mode).await;
    pool.close().await;
    checked
}

async fn start_afresh(
    old: Database,
    settings: &DatabaseSettings,
    missing: Missing,
) -> Result<Database, DatabaseError> {
    if let Some(managed) = old.managed {
        managed.stop().await?;
    }
    managed::move_aside(&root(settings)?, SystemClock.now(), &announce)?;
    let database = connect(settings, missing).await?;
    prepare(&database, Mode::Test).await?;
    Ok(database)
}

async fn start(
    settings: &DatabaseSettings,
    missing: Missing,
) -> Result<ManagedPostgres, ManagedError> {
    let surroundings = Surroundings {
        path: settings.search_path.clone(),
        home: settings.home.clone(),
        explicit_bin: settings.pg_bin.clone(),
    };
    let root = root(settings)?;
    match ManagedPostgres::start(&root, &surroundings).await {
        Err(ManagedError::NotFound { .. }) if missing == Missing::Install => {
            managed::install(&surroundings, &announce)?;
            ManagedPostgres::start(&root, &surroundings).await
        }
        started => started,
    }
}

fn root(settings: &DatabaseSettings) -> Result<PathBuf, ManagedError> {
    match &settings.data_dir {
        Some(root) => Ok(root.clone()),
        None => Ok(managed::default_root(managed::is_root()?)),
    }
}

fn announce(words: &str) {
    tell!("{words}");
}
