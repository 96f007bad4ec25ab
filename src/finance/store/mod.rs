//! All SQL of finance. Every statement runs in the caller's snapshot and reads, except that `proof`
//! keeps what the drift checker has proven.

pub(super) mod checks;
pub(super) mod credits;
pub(super) mod journal;
pub(super) mod past;
pub(super) mod proof;
pub(super) mod reports;

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool, Postgres, Transaction};
use uuid::Uuid;

use super::Scope;

/// A transaction that sees one state of the database, whatever is written meanwhile.
pub async fn snapshot(pool: &PgPool) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
    pool.begin_with("begin isolation level repeatable read read only").await
}

/// Makes a snapshot one that is read page by page, by key.
///
/// It ends when nobody reads on for a while: it holds a connection, and keeps the database from
/// clearing away old rows. And its plans must not depend on the statistics of a young table: with
/// scans and sorts priced out, pages come from the primary key and everything else by lookups.
pub async fn read_by_key(tx: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "select set_config(s.name, s.value, true) as done
         from (values ('idle_in_transaction_session_timeout', '2min'), ('enable_seqscan', 'off'),
           ('enable_bitmapscan', 'off'), ('enable_hashjoin', 'off'), ('enable_mergejoin', 'off'),
           ('enable_sort', 'off'), ('enable_incremental_sort', 'off')) as s(name, value)"
    )
    .fetch_all(tx)
    .await?;
    Ok(())
}

/// The time of the snapshot; never before anything that is in it.
pub async fn as_of(tx: &mut PgConnection) -> Result<DateTime<Utc>, sqlx::Error> {
    sqlx::query_scalar!(r#"select greatest(now(), max(recorded_at)) as "at!" from book"#)
        .fetch_one(tx)
        .await
}

/// A scope as a range of (slot, book id), both ends included.
struct Range {
    from: (i16, Uuid),
    to: (i16, Uuid),
}

impl Range {
    fn of(scope: Scope) -> Self {
        match scope {
            Scope::Book(book) => {
                let key = (book.slot().sql(), book.0);
                Self { from: key, to: key }
            }
            Scope::All => Self { from: (i16::MIN, Uuid::nil()), to: (i16::MAX, Uuid::max()) },
        }
    }
}
