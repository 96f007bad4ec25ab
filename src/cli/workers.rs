//! The workers of the service: each repeats a step that is safe to repeat, until it is told to stop.

use std::future::Future;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::accounts::Accounts;
use crate::checkout::Sweeper;
use crate::x402::topup::TopUps;

/// How long a worker rests after a step that failed.
const AFTER_FAILURE: Duration = Duration::from_secs(2);
const RESOLVE_INTERVAL: Duration = Duration::from_secs(1);
const FORGET_INTERVAL: Duration = Duration::from_secs(3600);

/// The running workers.
pub struct Workers {
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Workers {
    /// Starts the sweeper, the resolver and the forgetting of old counters.
    pub fn start(
        sweeper: Sweeper,
        sweep_interval: Duration,
        topups: TopUps,
        accounts: Accounts,
    ) -> Self {
        let (stop, stopped) = watch::channel(false);
        let sweep = work("sweeper", sweep_interval, stopped.clone(), move || {
            let sweeper = sweeper.clone();
            async move { sweeper.step().await.map(|settled| settled > 0).map_err(|e| e.to_string()) }
        });
        let resolve = work("resolver", RESOLVE_INTERVAL, stopped.clone(), move || {
            let topups = topups.clone();
            async move { topups.resolve_step().await.map(|_| false).map_err(|e| e.to_string()) }
        });
        let forget = work("forgetter", FORGET_INTERVAL, stopped, move || {
            let accounts = accounts.clone();
            async move { accounts.forget_old().await.map(|()| false).map_err(|e| e.to_string()) }
        });
        Self { stop, tasks: vec![sweep, resolve, forget] }
    }

    /// Lets every worker finish its step.
    pub async fn stop(self) {
        // Workers that have ended do not listen any more.
        let _ = self.stop.send(true);
        for task in self.tasks {
            if let Err(error) = task.await {
                tracing::error!(%error, "worker did not end well");
            }
        }
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
