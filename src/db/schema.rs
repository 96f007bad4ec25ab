//! Migrations, and what a process checks about its database before it serves.

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection, PgPool};

use crate::ground::Mode;

static MIGRATOR: Migrator = sqlx::migrate!("./migrations");

/// Why a database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    #[error("the database cannot be reached")]
    Database(#[from] sqlx::Error),
    #[error("a migration failed")]
    Migration(#[source] MigrateError),
    #[error(
        "the database was made by other migrations than this version's (migration {version} \
         differs); it is not touched"
    )]
    Differs { version: i64 },
    #[error("the database has no schema of this version yet: run `bursar migrate`")]
    Missing,
    #[error("this is a {database} database and this process runs in {process} mode")]
    ModeMismatch { database: Mode, process: Mode },
    #[error("the database runs with {setting} = off, and would forget committed money in a crash")]
    NotDurable { setting: &'static str },
    #[error(
        "the service connects as a role that may change the journal; DATABASE_URL must name a \
         member of bursar_service that owns nothing, and BURSAR_MIGRATION_URL the owner"
    )]
    RoleTooStrong,
}

/// Brings the schema up to this version, as its owner, and stamps the mode. Doing it again is
/// harmless. A database whose applied migrations differ from this version's is refused untouched.
pub async fn migrate(owner: &PgConnectOptions, mode: Mode) -> Result<(), SchemaError> {
    let mut connection = PgConnection::connect_with(owner).await?;
    match MIGRATOR.run(&mut connection).await {
        Ok(()) => {}
        Err(MigrateError::VersionMismatch(version) | MigrateError::VersionMissing(version)) => {
            return Err(SchemaError::Differs { version });
        }
        Err(error) => return Err(SchemaError::Migration(error)),
    }
    sqlx::raw_sql("grant select on _sqlx_migrations to bursar_service")
        .execute(&mut connection)
        .await?;
    sqlx::query!(
        "insert into deployment (mode) values ($1) on conflict (one) do nothing",
        mode.as_str()
    )
    .execute(&mut connection)
    .await?;
    let stamped = sqlx::query_scalar!("select mode from deployment").fetch_one(&mut connection);
    let stamped = parse_mode(&stamped.await?);
    connection.close().await?;
    same_mode(stamped, mode)
}

/// Checks, as the service, that the schema is this version's, that the mode is this process's, and,
/// in live mode, that the database is durable and the role holds no more than it needs.
pub async fn check(service: &PgPool, mode: Mode) -> Result<(), SchemaError> {
    // A pool tries until its time is up and then says only that; one connection says why.
    PgConnection::connect_with(&service.connect_options()).await?.close().await?;
    let exists =
        sqlx::query_scalar!(r#"select to_regclass('_sqlx_migrations') is not null as "x!""#)
            .fetch_one(service)
            .await?;
    if !exists {
        return Err(SchemaError::Missing);
    }
    let applied: Vec<(i64, Vec<u8>)> =
        sqlx::query_as("select version, checksum from _sqlx_migrations where success")
            .fetch_all(service)
            .await?;
    for migration in MIGRATOR.iter() {
        match applied.iter().find(|(version, _)| *version == migration.version) {
            Some((_, checksum)) if *checksum == *migration.checksum => {}
            Some((version, _)) => return Err(SchemaError::Differs { version: *version }),
            None => return Err(SchemaError::Missing),
        }
    }
    let stamped =
        sqlx::query_scalar!("select mode from deployment").fetch_optional(service).await?;
    same_mode(parse_mode(&stamped.ok_or(SchemaError::Missing)?), mode)?;
    if mode == Mode::Live { check_live(service).await } else { Ok(()) }
}

async fn check_live(service: &PgPool) -> Result<(), SchemaError> {
    for setting in ["fsync", "full_page_writes", "synchronous_commit"] {
        let value = sqlx::query_scalar!(r#"select current_setting($1) as "value!""#, setting)
            .fetch_one(service)
            .await?;
        if value == "off" {
            return Err(SchemaError::NotDurable { setting });
        }
    }
    let strong = sqlx::query_scalar!(
        r#"select has_table_privilege('transfer', 'UPDATE, DELETE, TRUNCATE') as "strong!""#
    )
    .fetch_one(service)
    .await?;
    if strong { Err(SchemaError::RoleTooStrong) } else { Ok(()) }
}

/// The mode that a database was made for.
pub async fn stamped_mode(connection: &mut PgConnection) -> Result<Mode, SchemaError> {
    let exists = sqlx::query_scalar!(r#"select to_regclass('deployment') is not null as "x!""#);
    if !exists.fetch_one(&mut *connection).await? {
        return Err(SchemaError::Missing);
    }
    let stamped = sqlx::query_scalar!("select mode from deployment").fetch_optional(connection);
    Ok(parse_mode(&stamped.await?.ok_or(SchemaError::Missing)?))
}

/// Whether no restore was cut off in the middle.
pub async fn is_whole(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(r#"select to_regclass('public.restoration_pending') is null as "x!""#)
        .fetch_one(connection)
        .await
}

/// Whether a database holds nothing: no table, view or sequence that is not an extension's.
/// What only says that a restore is under way does not count.
pub async fn is_empty(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select not exists (
             select from pg_class c join pg_namespace n on n.oid = c.relnamespace
             where c.relkind in ('r', 'p', 'v', 'm', 'S', 'f')
               and n.nspname <> 'information_schema' and n.nspname !~ '^pg_'
               and c.relname <> 'restoration_pending'
               and not exists (select from pg_depend d
                               where d.classid = 'pg_class'::regclass and d.objid = c.oid
                                 and d.deptype = 'e')) as "empty!""#
    )
    .fetch_one(connection)
    .await
}

/// Makes the role that the grants name, where it is missing and the owner may make it.
pub async fn ensure_service_role(owner: &mut PgConnection) -> Result<(), sqlx::Error> {
    let exists = "select from pg_roles where rolname = 'bursar_service'";
    if sqlx::query(exists).fetch_optional(&mut *owner).await?.is_none() {
        sqlx::raw_sql("create role bursar_service nologin").execute(owner).await?;
    }
    Ok(())
}

fn parse_mode(stamped: &str) -> Mode {
    // A CHECK allows nothing else.
    stamped.parse().unwrap_or(Mode::Live)
}

fn same_mode(database: Mode, process: Mode) -> Result<(), SchemaError> {
    if database == process { Ok(()) } else { Err(SchemaError::ModeMismatch { database, process }) }
}
