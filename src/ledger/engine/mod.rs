//! Group commit: commands queue at one counter, and a lane writes whatever has queued in one
//! transaction.
//!
//! A book is in one batch of a process at a time, so that its commands run in their order and do not
//! wait for each other's locks; several processes stay correct, because the locks and constraints are
//! in Postgres. The queue is bounded: beyond it a command is refused before anything happened to it.
//!
//! # Why it is shaped so
//!
//! Measured with `cargo bench --bench checkout` and `pg_stat_statements`, on two cores:
//!
//! - *What a checkout costs is its rows.* Of the time that Postgres spends on a batch, three quarters
//!   go into the inserts and updates, about evenly over the tables; the locks and reads before them
//!   are a quarter; the decisions do not show. So a row that is not needed is worth more than any
//!   cleverness, and balances are columns of the one book row, updated in place (HOT).
//! - *Nothing asks the database once per checkout.* Looking up the key and the catalogue for each
//!   request cost a sixth of the writing, before its round trips, and, worse, the requests that
//!   waited for a connection were in no batch: it held 30 commands of 256 in flight. Whose a key is
//!   is remembered, the rest is read once per batch under the locks.
//! - *Plans cannot go wrong.* Every lookup joins `unnest` to a `lateral` subquery, and the sessions
//!   price scans, hash and merge joins out ([`crate::db::service_pool`]): the statistics of a young
//!   table lag behind, and one hash join over a table that had grown under a cached plan would cost
//!   more than all the rest.
//! - *`unnest`, not `COPY`.* Into the same table, 500 rows take 1.3 times as long by `COPY`, which
//!   needs a round trip more and cannot update.
//! - *The answer's JSON stays in its row.* It is a quarter of the bytes and a few hundredths of the
//!   time. Making it again from other rows would save that and break the promise that the same key
//!   gets the same bytes for ever.
//! - *What nearly every batch does is few statements.* A statement costs a round trip and the start
//!   of its plan whether it writes one row or five hundred, and at half load batches are small. The
//!   ledger's own everyday tables are written by one statement, each other floor's by another.
//! - *CHECKs are short.* Postgres reads the text of every CHECK anew for each statement. The list of
//!   movements as rows of three took about 30 µs each time; as one number it takes 7.
//! - *One batch, until there is enough for another.* Half of what a small batch costs is the start of
//!   its statements. When each of four lanes owned a quarter of the books and took whatever was there,
//!   batches at half load were of seven, and a checkout cost twice the processor time that it costs at
//!   full load. Now what comes while a batch runs waits for the next, unless it is enough for a batch
//!   beside it, or has waited while nothing begins. Enough are 16: when 64 were, batches of 40 took
//!   turns at half load, and the slowest hundredth waited half as long again.
//! - *One lane more than the database has cores.* While lanes decide or wait for their commits, Postgres
//!   works for another: in process a third lane on two cores brings about a seventh more. With four no
//!   more gets through, and at half load the slowest hundredth waits a quarter longer, because batches
//!   share the processor instead of growing.
//! - *The log's segments are small.* Each new one is filled with zeros while every commit waits; at
//!   16 MB that was 70 ms once a second, and all of the slowest hundredth.
//! - *Random and book-led keys touch many pages.* After each checkpoint the first change of a page
//!   goes into the log whole. With small buffers and frequent checkpoints the log of a checkout grew
//!   from 3 to 28 kB at 2.5 million transfers, and compressing those pages by `pglz` took as much of
//!   the processor as all the rest: a checkout at 5 million transfers took twice as long as at first.
//!   With `lz4` and rarer checkpoints it takes a fifth longer. The managed Postgres therefore has room
//!   for the hot pages, checkpoints rarely and compresses by `lz4`; a command's name is 16 bytes, not
//!   32; and what nothing lists by book, holds and items, is keyed by slot and id, whose new rows all
//!   go to 256 pages.

mod batch;
mod counter;
mod failure;
mod lane;
mod queue;

use std::sync::Arc;
use std::time::Duration;

use sqlx::PgPool;
use tokio::sync::oneshot;

use crate::ground::{BookId, Clock, Entropy};

use super::{Command, Fault, Outcome};

use counter::{Counter, Lane};
use queue::OfBook;

/// How the engine is built.
#[derive(Clone, Debug)]
pub struct EngineSettings {
    /// How many transactions may run at once.
    pub lanes: usize,
    /// How many commands may wait, over all lanes.
    pub queue: usize,
    /// The largest batch.
    pub batch_max: usize,
    /// How many commands are worth a batch beside one that runs.
    pub batch_beside: usize,
    /// How long fewer than that wait while no batch begins.
    pub patience: Duration,
    /// How often a batch is tried again after a conflict or a lost connection.
    pub attempts: u32,
    /// How long a batch may take before its connection counts as lost: more than Postgres lets a
    /// statement take.
    pub silence: Duration,
}

impl Default for EngineSettings {
    fn default() -> Self {
        Self {
            lanes: 3,
            queue: 4096,
            batch_max: 500,
            batch_beside: 16,
            patience: Duration::from_millis(3),
            attempts: 5,
            silence: Duration::from_secs(20),
        }
    }
}

/// Why a command has no outcome.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// The queue is full; nothing happened.
    #[error("too much is waiting")]
    Overloaded,
    /// The database cannot be reached, or its answer was lost. Sending the same command again is
    /// safe and tells what became of it.
    #[error("the database is not available")]
    Unavailable,
    /// The same key came before with another request.
    #[error("the idempotency key belongs to another request")]
    Conflict,
    /// There is no such book.
    #[error("the account does not exist")]
    BookUnknown,
    /// The ledger came out of a backup, and nothing moves until it is confirmed. Nothing happened.
    #[error("the ledger was restored from a backup and is not confirmed yet")]
    Restored,
    /// Code and database disagree; nothing was written.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// The command cannot be carried out: the database refused its rows, or it panicked. Nothing was
    /// written.
    #[error("the command was abandoned: {0}")]
    Rejected(String),
}

/// The one door for money.
#[derive(Clone)]
pub struct Engine {
    door: Arc<Door>,
}

/// Closes the counter when the last handle is gone.
struct Door(Arc<Workshop>);

impl Drop for Door {
    fn drop(&mut self) {
        self.0.counter.close();
    }
}

/// A command on its way.
struct Job {
    book: BookId,
    command: Arc<dyn Command>,
    reply: oneshot::Sender<Result<Outcome, SubmitError>>,
}

impl OfBook for Job {
    fn book(&self) -> BookId {
        self.book
    }
}

/// What every lane works with.
struct Workshop {
    counter: Counter,
    pool: PgPool,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    settings: EngineSettings,
}

impl Engine {
    /// Starts the lanes. They end when the last handle is dropped and nothing waits any more.
    pub fn start(
        pool: PgPool,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        settings: EngineSettings,
    ) -> Self {
        let counter = Counter::new(&settings);
        let workshop = Arc::new(Workshop { counter, pool, clock, entropy, settings });
        for _ in 0..workshop.settings.lanes.max(1) {
            tokio::spawn(lane::run(Lane::open(workshop.clone())));
        }
        Self { door: Arc::new(Door(workshop)) }
    }

    /// Runs a command and returns its outcome: this time's, or the one it had before.
    pub async fn submit(&self, command: Arc<dyn Command>) -> Result<Outcome, SubmitError> {
        let (reply, answer) = oneshot::channel();
        let job = Job { book: command.book(), command, reply };
        self.door.0.counter.push(job)?;
        answer.await.unwrap_or(Err(SubmitError::Unavailable))
    }

    /// How many commands are waiting.
    pub fn queued(&self) -> usize {
        self.door.0.counter.waiting()
    }
}
