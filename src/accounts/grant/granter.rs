use std::sync::Arc;

use chrono::{DateTime, Utc};
use futures_util::future::join_all;
use sqlx::PgPool;
use tokio::sync::watch;

use crate::accounts::{AccountError, store};
use crate::ground::{BookId, Clock, GrantId};
use crate::ledger::{self, Engine, Outcome, SubmitError};

use super::command::CreditDue;

/// How many grants one step takes up.
const DUE_MAX: usize = 100;

/// Credits grants whose time has come. It goes round all of them, so that those that cannot be
/// credited do not keep others waiting.
#[derive(Clone)]
pub struct Granter {
    pool: PgPool,
    engine: Engine,
    clock: Arc<dyn Clock>,
    /// How far this round has come: the last grant that was taken up.
    round: Arc<watch::Sender<Option<DueGrant>>>,
}

/// A grant whose time has come.
#[derive(Clone, Copy, Debug)]
pub struct DueGrant {
    pub account: BookId,
    pub grant: GrantId,
    pub effective_at: DateTime<Utc>,
}

/// The grants whose time has come and that are neither credited nor canceled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OverdueGrants {
    pub count: i64,
    /// Since when the oldest of them could have been credited, in seconds; 0 when there is none.
    pub oldest_s: i64,
}

impl Granter {
    pub(super) fn new(pool: PgPool, engine: Engine, clock: Arc<dyn Clock>) -> Self {
        Self { pool, engine, clock, round: Arc::new(watch::Sender::new(None)) }
    }

    /// Takes up the next grants of this round, and returns how many it credited. The effect is named
    /// after the grant, so that several processes may do it at once. A restored ledger waits.
    pub async fn step(&self) -> Result<usize, AccountError> {
        if ledger::is_restored(&self.pool).await? {
            return Ok(0);
        }
        let after = *self.round.borrow();
        let limit = i64::try_from(DUE_MAX).unwrap_or(i64::MAX);
        let due = store::grants::due(&self.pool, self.clock.now(), after, limit).await?;
        let commands = due.iter().map(|due| {
            let DueGrant { account, grant, .. } = *due;
            self.engine.submit(Arc::new(CreditDue { account, grant }))
        });
        let outcomes = join_all(commands).await;
        let mut credited: usize = 0;
        for (due, outcome) in due.iter().zip(outcomes) {
            credited = credited.saturating_add(usize::from(was_credited(due.grant, outcome)?));
        }
        self.round.send_replace(due.last().filter(|_| due.len() == DUE_MAX).copied());
        Ok(credited)
    }

    /// What should have been credited by now.
    pub async fn overdue(&self) -> Result<OverdueGrants, AccountError> {
        Ok(store::grants::overdue(&self.pool, self.clock.now()).await?)
    }
}

fn was_credited(
    grant: GrantId,
    outcome: Result<Outcome, SubmitError>,
) -> Result<bool, AccountError> {
    match outcome {
        Ok(outcome) => Ok(outcome.accepted && !outcome.replayed),
        // A full queue: it is for the next round.
        Err(SubmitError::Overloaded) => Ok(false),
        Err(error @ (SubmitError::Unavailable | SubmitError::Restored)) => Err(error.into()),
        Err(
            error @ (SubmitError::Conflict
            | SubmitError::BookUnknown
            | SubmitError::Fault(_)
            | SubmitError::Rejected(_)),
        ) => {
            tracing::error!(%grant, %error, "a grant whose time has come cannot be credited");
            Ok(false)
        }
    }
}
