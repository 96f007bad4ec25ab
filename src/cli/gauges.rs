//! The gauges of `/metrics`: read from the floors when somebody asks.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use crate::checkout::Checkouts;
use crate::finance::CheckReport;
use crate::http::{Gauge, Metrics};
use crate::ledger::Engine;
use crate::x402::topup::{TopUps, TopupState};

/// What the last run of the checks found. They only alarm; nothing is repaired.
#[derive(Clone, Default)]
pub struct Drift(Arc<[AtomicI64; 2]>);

impl Drift {
    /// Keeps what a run found, and says so in the log when that is anything.
    pub fn note(&self, report: &CheckReport) {
        let [violations, checked_at] = &*self.0;
        let count = report.violation_count();
        violations.store(count, Ordering::Relaxed);
        checked_at.store(report.as_of.timestamp(), Ordering::Relaxed);
        if !report.passed() {
            tracing::error!(violations = count, "the checks found what does not agree:\n{report}");
        }
    }

    fn gauges(&self) -> Vec<Gauge> {
        let [violations, checked_at] = &*self.0;
        let gauge = |name, help, value: &AtomicI64| Gauge {
            name,
            help,
            label: None,
            value: value.load(Ordering::Relaxed),
        };
        vec![
            gauge("bursar_drift_violations", "What the last run of the checks found", violations),
            gauge(
                "bursar_drift_checked_timestamp_seconds",
                "When the checks last ran; 0 before the first time",
                checked_at,
            ),
        ]
    }
}

/// Everything that `/metrics` shows.
pub fn metrics(topups: &TopUps, checkouts: &Checkouts, engine: &Engine, drift: &Drift) -> Metrics {
    let drift = drift.clone();
    let (topups, sweeper, engine) = (topups.clone(), checkouts.sweeper(), engine.clone());
    Metrics::of_process()
        .with(move || {
            let topups = topups.clone();
            async move { topups_standing(&topups).await }
        })
        .with(move || {
            let sweeper = sweeper.clone();
            async move {
                let overdue = sweeper.overdue().await.ok()?;
                let gauge = |kind: &str, value| Gauge {
                    name: "bursar_overdue_deadlines",
                    help: "Deadlines that have passed and are not enforced yet",
                    label: Some(("kind", kind.to_owned())),
                    value,
                };
                Some(vec![gauge("delivery", overdue.items), gauge("verification", overdue.results)])
            }
        })
        .with(move || {
            let queued = i64::try_from(engine.queued()).unwrap_or(i64::MAX);
            let help = "Commands that wait for the ledger";
            let gauge = Gauge { name: "bursar_engine_queue", help, label: None, value: queued };
            async move { Some(vec![gauge]) }
        })
        .with(move || {
            let gauges = drift.gauges();
            async move { Some(gauges) }
        })
}

async fn topups_standing(topups: &TopUps) -> Option<Vec<Gauge>> {
    let standing = topups.standing().await.ok()?;
    let count = |state: TopupState| {
        let found = standing.by_state.iter().find(|(of, _)| *of == state);
        Gauge {
            name: "bursar_topups",
            help: "Top-ups by state",
            label: Some(("state", state.name().to_owned())),
            value: found.map_or(0, |(_, count)| *count),
        }
    };
    let mut gauges: Vec<Gauge> = TopupState::ALL.into_iter().map(count).collect();
    gauges.push(Gauge {
        name: "bursar_topup_oldest_unknown_seconds",
        help: "How long the oldest top-up of unknown outcome has been open",
        label: None,
        value: standing.oldest_unknown_s,
    });
    Some(gauges)
}
