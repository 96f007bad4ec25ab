//! The drift checker, incrementally: what the full check compares in one snapshot of everything, step
//! by step, at a cost that follows what was booked and not how much there is.
//!
//! Two walks go through every book. The *head* follows what is booked: of each book that has changed
//! it takes the transfers since the version that is proven, at most so many in one step, chains them
//! on to the balances that it has proven, and looks at everything that they belong to: a checkout
//! whole, with its items, results, holds, captures, charges, disputes and reversals, its quote and
//! whom its results are for, each recomputed from its own transfers; lots, caps, top-ups and the
//! book's row; and what was done at the times of the step, beside what events tell of. The *lap* goes
//! through all books from their first transfer, a bounded number in each round, with all their rows,
//! and begins again.
//!
//! What is found when:
//!
//! - In the next round: whatever is wrong with new transfers and with the rows that they touch, and
//!   any change of a book's row, touched or not.
//! - By the end of the next whole lap (one takes all transfers divided by `reverified_per_round`, in
//!   rounds, and begins `lap_every` after the last): whatever is wrong with rows that nothing has
//!   touched since, with old transfers, and with rows that no transfer leads to. A book with more
//!   transfers than a round takes is gone through in parts.
//! - By the full check alone: a transaction id that two books share, or that one book uses twice far
//!   apart; rows of a book that has lost its own row before it was proven; rows that lie in another
//!   slot than their book's; and, in a book that is gone through in parts, something done without
//!   money (a submission, a dispute) whose event was turned into one of a type that has no rule.
//!
//! Where only a part of a book is in sight, the check of a sum may be named beside those of the rows,
//! or not; the rows are. A checkout is always read whole, however little of it is new.
//!
//! What was found is kept, and reported in every round, until its book has been verified from the
//! first transfer once more without it. Books with findings have a turn in every round. Nothing is
//! repaired.
//!
//! What is proven is kept in tables that nothing else reads (`proof_*`). They may be deleted: the
//! checker begins again. Somebody who may write there can keep the head quiet about a book, or make it
//! cry wolf; the lap trusts none of it, compares the head's figures with its own and puts them right.
//! Only who also moves the lap's cursor, again and again, is found by the full check alone.
//!
//! A step reads one snapshot, locks no row of the ledger, and commits what it has proven with what it
//! has found: killed in between, the checker goes on where it was. One process steps at a time.

mod book;
mod caps;
mod chart;
mod disputes;
mod events;
mod examine;
mod finding;
mod grants;
mod holds;
mod lots;
mod orders;
mod sales;
mod step;
mod subjects;
mod topups;
mod window;

use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::PgPool;
use tokio::time::Instant;

use crate::finance::checks::{Check, Rule};
use crate::finance::store::checks::Found;
use crate::finance::store::proof::{cursor, findings};
use crate::finance::{CheckReport, FinanceError};

use step::Turn;

/// How many findings of each check are named.
const NAMED_MAX: i64 = 20;

/// How much the checker does at a time.
#[derive(Clone, Copy, Debug)]
pub struct DriftSettings {
    /// How many new transfers a step verifies at most.
    pub transfers_per_step: i64,
    /// How many books a step looks at, to find those that have changed.
    pub books_per_step: i64,
    /// How many steps with something to verify a round takes at most.
    pub steps_per_round: u32,
    /// How many transfers a round verifies again at most; none means that no lap is made.
    pub reverified_per_round: i64,
    /// How long it rests between two laps through everything.
    pub lap_every: Duration,
    /// How many times as long as a step has taken it rests before the next one.
    pub rest: u32,
}

impl Default for DriftSettings {
    fn default() -> Self {
        Self {
            // Money comes first. A step's snapshot keeps Postgres from clearing away the old versions
            // of busy rows, and money waits while it has the processor, so that steps are short and
            // take a tenth of the time.
            transfers_per_step: 100,
            books_per_step: 300,
            steps_per_round: 2,
            reverified_per_round: 100,
            lap_every: Duration::from_secs(600),
            rest: 9,
        }
    }
}

/// What a round has done, and what is known to be wrong after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Round {
    /// How many new transfers were verified.
    pub verified: i64,
    /// How many were verified again.
    pub reverified: i64,
    /// Whether everything is verified that was there when the round began.
    pub caught_up: bool,
    /// When everything had been verified again for the last time.
    pub lap_ended_at: Option<DateTime<Utc>>,
    /// Whether another process was at it, so that this one left the rest to it.
    pub busy: bool,
    /// All checks, with whatever is known to be wrong.
    pub report: CheckReport,
}

/// Verifies the ledger bit by bit.
#[derive(Clone)]
pub struct DriftChecker {
    pool: PgPool,
    settings: DriftSettings,
}

impl DriftChecker {
    /// Works on a pool that is made for it ([`crate::db::checker_pool`]).
    pub fn new(pool: PgPool, settings: DriftSettings) -> Self {
        Self { pool, settings }
    }

    /// Catches up with what was booked, as far as a round goes, and verifies some of the rest again.
    pub async fn round(&self) -> Result<Round, FinanceError> {
        let (mut verified, mut reverified) = (0, 0);
        let head = self.catch_up(&mut verified).await?;
        let mut busy = head == CaughtUp::Busy;
        for turn in [Turn::Suspects, Turn::Rolling] {
            if self.settings.reverified_per_round > 0 {
                let begun = Instant::now();
                let lap = unless_raced(step::lap(self, turn).await)?;
                self.rest(begun).await;
                match lap {
                    Some(count) => reverified += count,
                    None => busy = true,
                }
            }
        }
        let standing = cursor::standing(&self.pool).await?;
        let lap_ended_at = standing.lap_ended_at;
        let report = self.report(standing.at).await?;
        let caught_up = head == CaughtUp::Yes;
        Ok(Round { verified, reverified, caught_up, lap_ended_at, busy, report })
    }

    /// How many transfers are booked and not verified yet.
    pub async fn behind(&self) -> Result<i64, FinanceError> {
        Ok(cursor::behind(&self.pool).await?)
    }

    async fn rest(&self, begun: Instant) {
        tokio::time::sleep(begun.elapsed().saturating_mul(self.settings.rest)).await;
    }

    /// Steps until everything is verified that was there in the beginning, or until the round is
    /// over. Counts the transfers.
    async fn catch_up(&self, verified: &mut i64) -> Result<CaughtUp, FinanceError> {
        let (mut worked, mut whole) = (0, false);
        while worked < self.settings.steps_per_round.max(1) {
            let begun = Instant::now();
            let Some(step) = unless_raced(step::head(self).await)? else {
                return Ok(CaughtUp::Busy);
            };
            self.rest(begun).await;
            *verified += step.verified;
            worked += u32::from(step.worked);
            // Only a circle that began with the first book tells that nothing is left.
            whole = (whole || step.from_start) && !step.partial;
            if step.wrapped && whole {
                return Ok(CaughtUp::Yes);
            }
        }
        Ok(CaughtUp::No)
    }

    async fn report(&self, as_of: DateTime<Utc>) -> Result<CheckReport, FinanceError> {
        let mut found: HashMap<Rule, Vec<Found>> = HashMap::new();
        for row in findings::all(&self.pool, NAMED_MAX).await? {
            let Some(rule) = Rule::from_name(&row.check_name) else { continue };
            found.entry(rule).or_default().push(Found {
                book: Some(row.book_id),
                subject: row.subject,
                expected: row.expected,
                found: row.found,
                total: row.total,
            });
        }
        let checks = Rule::ALL
            .iter()
            .map(|rule| Check::of(*rule, found.remove(rule).unwrap_or_default()))
            .collect();
        Ok(CheckReport { as_of, checks })
    }
}

/// Whether a round has come to the end of what is new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CaughtUp {
    Yes,
    No,
    /// Another process is at it.
    Busy,
}

/// Another process stepped between this one's snapshot and its turn: that is no failure.
fn unless_raced<T>(step: Result<Option<T>, FinanceError>) -> Result<Option<T>, FinanceError> {
    match step {
        Err(FinanceError::Database(sqlx::Error::Database(error)))
            if error.code().as_deref() == Some("40001") =>
        {
            Ok(None)
        }
        step => step,
    }
}
