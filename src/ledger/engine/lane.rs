use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use crate::ledger::{Command, Outcome, SubmitError};

use super::Workshop;
use super::batch::{self, BatchError};
use super::counter::{self, Lane};
use super::failure::{Failure, classify};

type Reply = Result<Outcome, SubmitError>;

/// Takes what has queued, never waiting for a full batch, and answers after the commit.
pub(super) async fn run(lane: Lane) {
    let workshop = lane.workshop();
    while let Some((jobs, books)) = counter::next(workshop).await {
        metrics::histogram!("bursar_engine_batch_size").record(count(jobs.len()));
        let (commands, replies): (Vec<_>, Vec<_>) =
            jobs.into_iter().map(|job| (job.command, job.reply)).unzip();
        let answers = settle(workshop, &commands).await;
        drop(books);
        for (reply, answer) in replies.into_iter().zip(answers) {
            // A caller that hung up does not undo what was decided.
            let _ = reply.send(answer);
        }
    }
}

#[expect(clippy::as_conversions, reason = "a batch has far fewer commands than 2^52")]
fn count(commands: usize) -> f64 {
    commands as f64
}

/// Runs a batch until every command has an answer. Boxed, because it halves by calling itself.
fn settle<'a>(
    workshop: &'a Workshop,
    commands: &'a [Arc<dyn Command>],
) -> BoxFuture<'a, Vec<Reply>> {
    Box::pin(attempts(workshop, commands))
}

async fn attempts(workshop: &Workshop, commands: &[Arc<dyn Command>]) -> Vec<Reply> {
    let mut attempt = 0;
    loop {
        // A panic must not take the lane with it. The transaction is rolled back as it unwinds.
        let failure = match AssertUnwindSafe(batch::run(workshop, commands)).catch_unwind().await {
            Ok(Ok(replies)) => return replies,
            Ok(Err(failure)) => failure,
            Err(_) => BatchError::Panicked,
        };
        attempt += 1;
        let again = match &failure {
            BatchError::Fault(_) | BatchError::Panicked => Failure::Culprit,
            BatchError::Silent => Failure::Lost,
            BatchError::Database(error) => classify(error),
        };
        match again {
            Failure::Conflict | Failure::Lost if attempt < workshop.settings.attempts => {
                tracing::warn!(attempt, error = %failure, "batch runs again");
                tokio::time::sleep(pause(workshop, attempt)).await;
            }
            Failure::Culprit if commands.len() > 1 => {
                let (left, right) = commands.split_at(commands.len() / 2);
                let mut replies = settle(workshop, left).await;
                replies.extend(settle(workshop, right).await);
                return replies;
            }
            Failure::Conflict | Failure::Lost | Failure::Culprit | Failure::Broken => {
                tracing::error!(commands = commands.len(), error = %failure, "batch failed");
                return commands.iter().map(|_| Err(give_up(again, &failure))).collect();
            }
        }
    }
}

/// Doubles from 5 ms to at most 640 ms, with up to as much again at random, so that two processes
/// do not collide in step.
fn pause(workshop: &Workshop, attempt: u32) -> Duration {
    let base = 5_u64 << attempt.min(7);
    let [random] = workshop.entropy.array();
    Duration::from_millis(base.saturating_add(base.saturating_mul(u64::from(random)) / 256))
}

fn give_up(failure: Failure, error: &BatchError) -> SubmitError {
    match (failure, error) {
        (_, BatchError::Fault(fault)) => SubmitError::Fault(fault.clone()),
        (_, BatchError::Panicked) => SubmitError::Rejected(error.to_string()),
        (_, BatchError::Silent) => SubmitError::Unavailable,
        (Failure::Conflict | Failure::Lost, BatchError::Database(_)) => SubmitError::Unavailable,
        (Failure::Culprit | Failure::Broken, BatchError::Database(error)) => {
            SubmitError::Rejected(error.to_string())
        }
    }
}
