//! The database: pools, migrations, the deployment's mode, claims, dumps, and the managed local
//! Postgres.
//! Knows nothing about money.

pub mod claims;
pub mod dump;
pub mod managed;
mod schema;

use std::time::Duration;

use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

pub use schema::{
    SchemaError, check, ensure_service_role, is_empty, is_whole, migrate, stamped_mode,
};

/// A pool for the service.
///
/// Money connections never wait without bound. Their plans are made once and must not depend on the
/// statistics of a young, fast-growing table: with sequential scans, hash and merge joins priced out,
/// every lookup by key is a nested loop over an index.
pub fn service_pool(options: PgConnectOptions, connections: u32) -> PgPool {
    let options = options.application_name("bursar").options([
        ("lock_timeout", "5s"),
        ("statement_timeout", "15s"),
        ("idle_in_transaction_session_timeout", "15s"),
        ("plan_cache_mode", "force_generic_plan"),
        ("enable_seqscan", "off"),
        ("enable_hashjoin", "off"),
        ("enable_mergejoin", "off"),
        ("jit", "off"),
    ]);
    PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(Duration::from_secs(2))
        .test_before_acquire(false)
        .connect_lazy_with(options)
}

/// A pool for the drift checker, which reads by key alone, in short transactions. What it keeps can be
/// made again, so that its commits need not wait for the disk.
pub fn checker_pool(options: PgConnectOptions) -> PgPool {
    let options = options.application_name("bursar-checker").options([
        ("lock_timeout", "5s"),
        ("statement_timeout", "60s"),
        ("idle_in_transaction_session_timeout", "60s"),
        ("synchronous_commit", "off"),
        ("enable_seqscan", "off"),
        ("jit", "off"),
    ]);
    PgPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(Duration::from_secs(5))
        .connect_lazy_with(options)
}

/// A pool for reports and checks, which scan whole tables and may take their time.
pub fn report_pool(options: PgConnectOptions, connections: u32) -> PgPool {
    let options = options.application_name("bursar-reports").options([
        ("statement_timeout", "10min"),
        ("default_transaction_read_only", "on"),
        ("jit", "off"),
    ]);
    PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(Duration::from_secs(5))
        .connect_lazy_with(options)
}
