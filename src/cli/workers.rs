//! The workers of the service: each repeats a step that is safe to repeat, until it is told to stop.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use sqlx::PgPool;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::accounts::{Accounts, Granter};
use crate::checkout::{Asker, Sweeper};
use crate::events::{Courier, Watcher};
use crate::finance::DriftChecker;
use crate::ground::Clock;
use crate::ledger::{self, Engine};
use crate::x402::facilitator::Facilitators;
use crate::x402::topup::TopUps;

use super::gauges::Drift;

/// How long a worker rests after a step that failed.
const AFTER_FAILURE: Duration = Duration::from_secs(2);
/// How often it is looked whether a facilitator is due to be asked what it supports.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
const FORGET_INTERVAL: Duration = Duration::from_secs(3600);
const TIDY_INTERVAL: Duration = Duration::from_secs(60);
const EXPIRE_INTERVAL: Duration = Duration::from_secs(60);
/// How late a grant for later may be.
const GRANT_INTERVAL: Duration = Duration::from_secs(5);
/// How long the checker rests when it has caught up, and when it has not.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);
const CHECK_ON: Duration = Duration::from_millis(50);

/// What the workers work with.
pub struct Tools {
    pub sweeper: Sweeper,
    pub sweep_interval: Duration,
    pub topups: TopUps,
    pub resolve_interval: Duration,
    pub confirm_interval: Duration,
    pub accounts: Accounts,
    pub granter: Granter,
    pub courier: Courier,
    pub watcher: Watcher,
    pub webhook_interval: Duration,
    pub asker: Asker,
    pub ask_interval: Duration,
    pub pool: PgPool,
    pub engine: Engine,
    pub clock: Arc<dyn Clock>,
    pub checker: DriftChecker,
    pub drift: Drift,
}

/// The running workers.
pub struct Workers {
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
    /// Those that may be stopped in the middle of a step.
    careless: [JoinHandle<()>; 2],
}

impl Workers {
    /// Starts them all: deadlines, open settlements, those that are not deep yet, what facilitators
    /// support, expiring lots, grants for later, webhooks, verifiers, old counters and quotes, and the checks.
    pub fn start(tools: Tools) -> Self {
        let Tools { sweeper, sweep_interval, topups, accounts, pool, engine, clock, .. } = tools;
        let resolve_interval = tools.resolve_interval;
        let (follower, teller) = (topups.clone(), topups.clone());
        let checker = tokio::spawn(check(tools.checker, tools.drift));
        let look = tokio::spawn(look(topups.facilitators().clone()));
        let (stop, stopped) = watch::channel(false);
        let quotes = sweeper.clone();
        let sweep = work("sweeper", sweep_interval, stopped.clone(), move || {
            let sweeper = sweeper.clone();
            async move { sweeper.step().await.map(|settled| settled > 0).map_err(|e| e.to_string()) }
        });
        let resolve = work("resolver", resolve_interval, stopped.clone(), move || {
            let topups = topups.clone();
            async move {
                // They go on by themselves; there may be room for more.
                let taken = topups.take_up_due().await.map_err(|e| e.to_string())?;
                Ok(!taken.is_empty())
            }
        });
        let tell = work("teller", resolve_interval, stopped.clone(), move || {
            let topups = teller.clone();
            async move { topups.tell_step().await.map_err(|e| e.to_string()) }
        });
        let confirm = work("confirmer", tools.confirm_interval, stopped.clone(), move || {
            let topups = follower.clone();
            async move { topups.confirm_step().await.map_err(|e| e.to_string()) }
        });
        let expire = work("expirer", EXPIRE_INTERVAL, stopped.clone(), move || {
            let (pool, engine, at) = (pool.clone(), engine.clone(), clock.now());
            async move {
                let books = ledger::expire_lots(&pool, &engine, at).await;
                books.map(|books| books > 0).map_err(|e| e.to_string())
            }
        });
        let (courier, tidier) = (tools.courier.clone(), tools.courier);
        let deliver = work("courier", tools.webhook_interval, stopped.clone(), move || {
            let courier = courier.clone();
            async move { courier.step().await.map_err(|e| e.to_string()) }
        });
        let watcher = tools.watcher;
        let watch = work("watcher", tools.webhook_interval, stopped.clone(), move || {
            let watcher = watcher.clone();
            async move { watcher.step().await.map_err(|e| e.to_string()) }
        });
        let asker = tools.asker;
        let ask = work("asker", tools.ask_interval, stopped.clone(), move || {
            let asker = asker.clone();
            async move { asker.step().await.map_err(|e| e.to_string()) }
        });
        let tidy = work("webhook tidier", TIDY_INTERVAL, stopped.clone(), move || {
            let courier = tidier.clone();
            async move { courier.forget_old().await.map_err(|e| e.to_string()) }
        });
        let granter = tools.granter;
        let grant = work("granter", GRANT_INTERVAL, stopped.clone(), move || {
            let granter = granter.clone();
            async move {
                let credited = granter.step().await;
                credited.map(|grants| grants > 0).map_err(|e| e.to_string())
            }
        });
        let forget = work("forgetter", FORGET_INTERVAL, stopped, move || {
            let (accounts, quotes) = (accounts.clone(), quotes.clone());
            async move {
                accounts.forget_old().await.map_err(|e| e.to_string())?;
                quotes.forget_quotes().await.map_err(|e| e.to_string())
            }
        });
        let tasks =
            vec![sweep, resolve, tell, confirm, expire, deliver, watch, ask, tidy, grant, forget];
        Self { stop, tasks, careless: [checker, look] }
    }

    /// Lets every worker finish its step, except the checker, which goes on from wherever it is
    /// stopped, and the one that only asks.
    pub async fn stop(self) {
        self.careless.iter().for_each(JoinHandle::abort);
        // Workers that have ended do not listen any more.
        let _ = self.stop.send(true);
        for task in self.tasks {
            if let Err(error) = task.await {
                tracing::error!(%error, "worker did not end well");
            }
        }
    }
}

/// Keeps up what facilitators are known to support. Each has its own time for it.
async fn look(facilitators: Facilitators) {
    loop {
        facilitators.refresh().await;
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

/// Verifies the ledger round by round.
async fn check(checker: DriftChecker, drift: Drift) {
    loop {
        tokio::time::sleep(match checker.round().await {
            Ok(round) => {
                drift.note(&round);
                if round.caught_up { CHECK_INTERVAL } else { CHECK_ON }
            }
            Err(error) => {
                tracing::warn!(worker = "checker", %error, "round failed");
                CHECK_INTERVAL
            }
        })
        .await;
    }
}

/// Repeats a step: at once while there is more to do, else after the interval.
fn work<F, R>(
    name: &'static str,
    interval: Duration,
    mut stopped: watch::Receiver<bool>,
    step: F,
) -> JoinHandle<()>
where
    F: Fn() -> R + Send + 'static,
    R: Future<Output = Result<bool, String>> + Send,
{
    tokio::spawn(async move {
        while !*stopped.borrow() {
            let rest = match step().await {
                Ok(true) => Duration::ZERO,
                Ok(false) => interval,
                Err(error) => {
                    tracing::warn!(worker = name, error, "step failed");
                    interval.max(AFTER_FAILURE)
                }
            };
            // Ends early when the stop is announced, or when its sender is gone.
            let _ = tokio::time::timeout(rest, stopped.changed()).await;
        }
    })
}
