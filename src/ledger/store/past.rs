//! What makes figures of a past moment final.
//!
//! A transfer's time is taken under its book's lock, and its transaction commits later. So a look
//! at a moment that has just passed can miss what commits a little later with a time before that
//! moment; and a clock that is set back would even record into a past that was told long ago.
//! Two things make a moment final:
//!
//! - *The book has passed it.* Times never go back within a book, so that nothing is recorded
//!   before the `recorded_at` of its row any more. This needs no clock and no lock.
//! - Otherwise [`close_past`] closes it, for all books at once, without any money waiting: it moves
//!   `past.closed_until` up, which the engine reads after its locks and never records before; then
//!   it waits for the transactions that were writing books at that time, since those may have read
//!   the earlier value.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::{Connection, PgConnection, PgPool};

/// How long open transactions are waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why a moment is not final.
#[derive(Debug, thiserror::Error)]
pub enum PastError {
    /// By the database's clock it is not over.
    #[error("that moment is not over: the ledger's time is {now}")]
    NotOver { now: DateTime<Utc> },
    /// A transaction that may have recorded before it has been open for too long.
    #[error("something that began before that moment is still being written")]
    StillWriting,
    #[error("the database did not answer")]
    Database(#[from] sqlx::Error),
}

/// Makes everything before a moment final: when this returns, whatever is recorded before it is
/// committed, and nothing more ever will be.
pub async fn close_past(pool: &PgPool, until: DateTime<Utc>) -> Result<(), PastError> {
    let mut connection = pool.acquire().await?;
    let past = sqlx::query!(
        r#"select greatest(clock_timestamp(), closed_until) as "now!", closed_until from past"#
    )
    .fetch_one(&mut *connection)
    .await?;
    if until > past.now {
        return Err(PastError::NotOver { now: past.now });
    }
    if past.closed_until < until {
        close(&mut connection, until).await?;
    }
    // Whoever closed it before may still be waiting for the same writers.
    wait_for_writers(&mut connection).await
}

/// Moves the end of the past up to the present, so that questions about other moments before it
/// need not move it again.
async fn close(connection: &mut PgConnection, until: DateTime<Utc>) -> Result<(), sqlx::Error> {
    // Reports read in transactions that cannot write, unless they say so.
    let mut tx = connection.begin_with("begin read write").await?;
    sqlx::query!(
        "update past set closed_until = greatest($1::timestamptz, clock_timestamp())
         where closed_until < $1",
        until
    )
    .execute(&mut *tx)
    .await?;
    tx.commit().await
}

/// Waits until every transaction has ended that is writing books at this time. One that reads the
/// earlier end of the past has its lock on the table by then: it locks a book first, and Postgres
/// locks the table before it takes a statement's snapshot.
async fn wait_for_writers(connection: &mut PgConnection) -> Result<(), PastError> {
    let writers = sqlx::query_scalar!(
        r#"select coalesce(array_agg(distinct virtualtransaction), '{}') as "writers!"
           from pg_locks
           where locktype = 'relation' and relation = 'book'::regclass
             and database = (select oid from pg_database where datname = current_database())
             and mode <> 'AccessShareLock' and pid <> pg_backend_pid()"#
    )
    .fetch_one(&mut *connection)
    .await?;
    let (mut pause, mut waited) = (Duration::from_millis(1), Duration::ZERO);
    loop {
        let writing = sqlx::query_scalar!(
            r#"select exists (select from pg_locks where virtualtransaction = any($1)) as "x!""#,
            &writers
        )
        .fetch_one(&mut *connection)
        .await?;
        if !writing {
            return Ok(());
        }
        if waited >= PATIENCE {
            return Err(PastError::StillWriting);
        }
        tokio::time::sleep(pause).await;
        waited = waited.saturating_add(pause);
        pause = pause.saturating_mul(2).min(Duration::from_millis(50));
    }
}
