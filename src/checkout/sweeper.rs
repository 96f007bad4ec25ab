//! The worker that enforces deadlines, through the same commands as the API.

use std::sync::Arc;

use futures_util::future::join_all;
use sqlx::PgPool;

use crate::ground::Clock;
use crate::ledger::{Command, Engine, SubmitError};

use super::command::{DeliveryDeadline, DisputeDeadline, Target, VerificationDeadline};
use super::{CheckoutError, Overdue, quote, store};

/// How many deadlines of a kind one step takes up. They share a few batches of the engine.
const STEP_MAX: i64 = 500;

/// Enforces deadlines. A step is safe to repeat and to run in several replicas at once.
#[derive(Clone)]
pub struct Sweeper {
    pool: PgPool,
    engine: Engine,
    clock: Arc<dyn Clock>,
}

impl Sweeper {
    pub(super) fn new(pool: PgPool, engine: Engine, clock: Arc<dyn Clock>) -> Self {
        Self { pool, engine, clock }
    }

    /// Enforces what is due and returns how many deadlines it settled.
    pub async fn step(&self) -> Result<usize, CheckoutError> {
        let at = self.clock.now();
        let mut commands: Vec<Arc<dyn Command>> = Vec::new();
        for due in store::due_results(&self.pool, at, STEP_MAX).await? {
            let target = Target::new(due.account, due.checkout, &due.result_id, &due.known);
            commands.push(Arc::new(VerificationDeadline { target }));
        }
        for due in store::due_items(&self.pool, at, STEP_MAX).await? {
            commands.push(Arc::new(DeliveryDeadline {
                account: due.account,
                checkout: due.checkout,
                item: due.item,
                hold: due.hold,
            }));
        }
        for dispute in store::disputes::due(&self.pool, at, STEP_MAX).await? {
            commands.push(Arc::new(DisputeDeadline { dispute }));
        }
        let outcomes = join_all(commands.into_iter().map(|c| self.engine.submit(c))).await;
        let mut settled = 0_usize;
        for outcome in outcomes {
            match outcome {
                Ok(outcome) if outcome.accepted && !outcome.replayed => {
                    settled = settled.saturating_add(1);
                }
                // Somebody else settled it first, or the queue is full: the next step sees.
                Ok(_) | Err(SubmitError::Overloaded) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(settled)
    }

    /// Forgets quotes that ran out some time ago and returns whether there may be more.
    pub async fn forget_quotes(&self) -> Result<bool, CheckoutError> {
        let before = self.clock.now() - quote::KEPT;
        let forgotten = store::quotes::forget(&self.pool, before, STEP_MAX).await?;
        Ok(i64::try_from(forgotten).is_ok_and(|forgotten| forgotten >= STEP_MAX))
    }

    /// Deadlines that have passed and wait to be enforced.
    pub async fn overdue(&self) -> Result<Overdue, CheckoutError> {
        Ok(store::overdue(&self.pool, self.clock.now()).await?)
    }
}
