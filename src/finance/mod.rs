//! What finance reads: the journal, the trial balance, an account's history, statements, and the
//! checks.
//!
//! Nothing here writes the ledger: the drift checker keeps what it has proven in tables of its own, and
//! a question about the past has the ledger close it first. Every answer comes from one
//! repeatable-read snapshot, so that its figures belong together, however much is booked meanwhile.
//! The checks have queries of their own, apart from those of the floors that they check.

mod checks;
mod credits;
mod drift;
mod history;
mod journal;
mod line;
mod money;
mod statement;
mod store;
mod trial_balance;

use chrono::{DateTime, Utc};
use futures_util::stream::BoxStream;
use sqlx::PgPool;

use crate::ground::BookId;

pub use checks::{Check, CheckReport, Rule, Violation};
pub use credits::{CreditLot, Credits, WaitingGrant, credits, lots};
pub use drift::{DriftChecker, DriftSettings, Round};
pub use history::HistoryEntry;
pub use journal::JournalChunk;
pub use line::COLUMNS;
pub use statement::{PastBalance, PastBalances, Period, Statement, StatementRow};
pub use trial_balance::{TrialBalance, TrialBalanceRow};

/// Whose books a report covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// One account.
    Book(BookId),
    /// Every book, the house's too.
    All,
}

/// How a journal is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// RFC 4180: a header, then one record per transfer.
    Csv,
    /// One canonical JSON object per line: keys sorted, no spaces, every key in every line.
    Jsonl,
}

/// Why a report could not be made, or broke off.
#[derive(Debug, thiserror::Error)]
pub enum FinanceError {
    #[error("the reports' database failed")]
    Database(#[from] sqlx::Error),
    #[error("the moment is not over: it is {now} for the ledger")]
    NotOver { now: DateTime<Utc>, wanted: DateTime<Utc> },
    #[error("something that may belong to that time is still being written")]
    StillWriting,
}

/// The verbs of this floor.
#[derive(Clone)]
pub struct Finance {
    pool: PgPool,
}

impl Finance {
    /// Reads from a pool that is made for reports ([`crate::db::report_pool`]).
    pub fn new(pool: PgPool) -> Self {
        Self { pool }
    }

    /// The journal, streamed: one line per transfer, in the order of (slot, book, version), with
    /// the columns of [`COLUMNS`]. What goes wrong before the first line is told here; an error
    /// later ends the stream, and the reader must then discard what it has.
    ///
    /// The stream holds one connection and a page of rows, however long the journal is. Dropping it
    /// gives the connection back.
    pub async fn journal(
        &self,
        scope: Scope,
        format: Format,
    ) -> Result<BoxStream<'static, JournalChunk>, FinanceError> {
        journal::open(&self.pool, scope, format).await
    }

    /// The trial balance, from the balance rows and not from the transfers.
    pub async fn trial_balance(&self, scope: Scope) -> Result<TrialBalance, FinanceError> {
        let mut snapshot = store::snapshot(&self.pool).await?;
        let as_of = store::as_of(&mut snapshot).await?;
        let balances = store::reports::balances(&mut snapshot, scope).await?;
        snapshot.rollback().await?;
        Ok(TrialBalance::of(as_of, balances))
    }

    /// An account's transfers, newest first: at most `limit` before the given `seq`.
    pub async fn history(
        &self,
        account: BookId,
        before: Option<i64>,
        limit: i64,
    ) -> Result<Vec<HistoryEntry>, FinanceError> {
        let rows = store::reports::history(&self.pool, account, before, limit).await?;
        Ok(rows.into_iter().map(HistoryEntry::of).collect())
    }

    /// What an account had at a past moment; none when there is no such account. The answer is
    /// final, and costs no more for a longer history.
    pub async fn balances_at(
        &self,
        account: BookId,
        as_of: DateTime<Utc>,
    ) -> Result<Option<PastBalances>, FinanceError> {
        statement::balances(&self.pool, account, as_of).await
    }

    /// What moved in an account in a period; none when there is no such account. The answer is
    /// final, and but for the page of transfers it costs no more for a longer history or period.
    pub async fn statement(
        &self,
        account: BookId,
        period: Period,
    ) -> Result<Option<Statement>, FinanceError> {
        statement::statement(&self.pool, account, period).await
    }

    /// Recomputes everything that is stored twice in one snapshot, and compares. It repairs nothing.
    /// [`DriftChecker`] does the same bit by bit.
    pub async fn check(&self) -> Result<CheckReport, FinanceError> {
        checks::run(&self.pool).await
    }
}
