//! The gauges of `/metrics`: read from the floors when somebody asks.

use std::sync::Arc;

use tokio::sync::watch;

use crate::accounts::Granter;
use crate::checkout::{Sweeper, Verifiers};
use crate::events::Events;
use crate::finance::{DriftChecker, Round, Rule};
use crate::http::{Gauge, Metrics};
use crate::ledger::Engine;
use crate::x402::facilitator::{Reach, Standing};
use crate::x402::topup::{SettlementStanding, TopUps, TopupState};

/// What the drift checker knows after its last round. It only alarms; nothing is repaired.
#[derive(Clone)]
pub struct Drift(Arc<watch::Sender<Known>>);

#[derive(Default)]
struct Known {
    /// How many violations each check has.
    violations: Vec<(&'static str, i64)>,
    checked_at: i64,
    lap_ended_at: i64,
    verified: i64,
    reverified: i64,
}

impl Default for Drift {
    fn default() -> Self {
        let violations = Rule::ALL.iter().map(|rule| (rule.name(), 0)).collect();
        Self(Arc::new(watch::Sender::new(Known { violations, ..Known::default() })))
    }
}

impl Drift {
    /// Keeps what a round found, and says so in the log when that is something else than before.
    pub fn note(&self, round: &Round) {
        let report = &round.report;
        let violations: Vec<_> =
            report.checks.iter().map(|check| (check.name, check.violation_count)).collect();
        let changed = self.0.borrow().violations != violations;
        self.0.send_modify(|known| {
            known.violations = violations;
            known.checked_at = report.as_of.timestamp();
            known.lap_ended_at = round.lap_ended_at.map_or(0, |at| at.timestamp());
            known.verified = known.verified.saturating_add(round.verified);
            known.reverified = known.reverified.saturating_add(round.reverified);
        });
        if changed && report.passed() {
            tracing::info!("what did not agree does again");
        } else if changed {
            let count = report.violation_count();
            tracing::error!(violations = count, "the checks found what does not agree:\n{report}");
        }
    }

    fn gauges(&self) -> Vec<Gauge> {
        let known = self.0.borrow();
        let gauge = |name, help, value| Gauge { name, help, label: None, value };
        let violations = known.violations.iter().map(|(check, count)| Gauge {
            label: Some(("check", (*check).to_owned())),
            ..gauge("bursar_drift_violations", "What is known not to agree, by check", *count)
        });
        let figures = [
            gauge(
                "bursar_drift_checked_timestamp_seconds",
                "When the checker last ended a round; 0 before the first time",
                known.checked_at,
            ),
            gauge(
                "bursar_drift_lap_timestamp_seconds",
                "When everything had been verified again for the last time; 0 before that",
                known.lap_ended_at,
            ),
            gauge(
                "bursar_drift_transfers_verified",
                "New transfers that this process has verified",
                known.verified,
            ),
            gauge(
                "bursar_drift_transfers_reverified",
                "Transfers that this process has verified again",
                known.reverified,
            ),
        ];
        violations.chain(figures).collect()
    }
}

/// What is asked for the gauges.
pub struct Sources {
    pub topups: TopUps,
    pub sweeper: Sweeper,
    pub engine: Engine,
    pub events: Events,
    pub verifiers: Verifiers,
    pub granter: Granter,
    pub drift: Drift,
    pub checker: DriftChecker,
}

/// Everything that `/metrics` shows.
pub fn metrics(sources: Sources) -> Metrics {
    let Sources { topups, sweeper, engine, events, verifiers, granter, drift, checker } = sources;
    let (facilitators, networks) =
        (topups.facilitators().clone(), topups.settings().networks.clone());
    Metrics::of_process()
        .with(move || {
            let events = events.clone();
            async move { webhooks_standing(&events).await }
        })
        .with(move || {
            let verifiers = verifiers.clone();
            async move { verifiers_standing(&verifiers).await }
        })
        .with(move || {
            let granter = granter.clone();
            async move { grants_standing(&granter).await }
        })
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
                Some(vec![
                    gauge("delivery", overdue.items),
                    gauge("verification", overdue.results),
                    gauge("dispute", overdue.disputes),
                ])
            }
        })
        .with(move || {
            let queued = i64::try_from(engine.queued()).unwrap_or(i64::MAX);
            let help = "Commands that wait for the ledger";
            let gauge = Gauge { name: "bursar_engine_queue", help, label: None, value: queued };
            async move { Some(vec![gauge]) }
        })
        .with(move || {
            let gauges = reach(&facilitators.standing(&networks));
            async move { Some(gauges) }
        })
        .with(move || {
            let (mut gauges, checker) = (drift.gauges(), checker.clone());
            async move {
                let behind = checker.behind().await.ok();
                gauges.extend(behind.map(|transfers| Gauge {
                    name: "bursar_drift_transfers_behind",
                    help: "Transfers that are booked and not verified yet",
                    label: None,
                    value: transfers,
                }));
                Some(gauges)
            }
        })
}

async fn webhooks_standing(events: &Events) -> Option<Vec<Gauge>> {
    let standing = events.standing().await.ok()?;
    let gauge = |name, help, value| Gauge { name, help, label: None, value };
    Some(vec![
        gauge(
            "bursar_webhook_deliveries_pending",
            "Deliveries to webhooks that wait, for the first attempt or for another",
            standing.pending,
        ),
        gauge(
            "bursar_webhook_deliveries_dead",
            "Deliveries to webhooks that were given up and not sent again since",
            standing.dead,
        ),
        gauge(
            "bursar_webhook_oldest_pending_seconds",
            "How long the oldest delivery has waited",
            standing.oldest_pending_s,
        ),
    ])
}

async fn verifiers_standing(verifiers: &Verifiers) -> Option<Vec<Gauge>> {
    let standing = verifiers.standing().await.ok()?;
    let gauge = |name, help, value| Gauge { name, help, label: None, value };
    Some(vec![
        gauge(
            "bursar_verifications_pending",
            "Open results that a verifier is to be asked about, for the first time or again",
            standing.pending,
        ),
        gauge(
            "bursar_verification_oldest_pending_seconds",
            "How long the oldest of them has waited",
            standing.oldest_pending_s,
        ),
        gauge(
            "bursar_verifiers_resting",
            "Verifiers with such results that failed too often and have not answered since",
            standing.resting,
        ),
        gauge(
            "bursar_verifications_given_up",
            "Open results that no verifier is asked about any more",
            standing.given_up,
        ),
    ])
}

async fn grants_standing(granter: &Granter) -> Option<Vec<Gauge>> {
    let overdue = granter.overdue().await.ok()?;
    let gauge = |name, help, value| Gauge { name, help, label: None, value };
    Some(vec![
        gauge(
            "bursar_grants_overdue",
            "Grants whose time has come and that are not credited yet",
            overdue.count,
        ),
        gauge(
            "bursar_grant_oldest_overdue_seconds",
            "How long the oldest of them could have been credited",
            overdue.oldest_s,
        ),
    ])
}

fn reach(standing: &Standing) -> Vec<Gauge> {
    let gauge = |(network, reach): &(&'static str, Reach)| Gauge {
        name: "bursar_network_payable",
        help: "Whether a facilitator that serves the network answers: 1 or 0",
        label: Some(("network", (*network).to_owned())),
        value: i64::from(*reach == Reach::Ok),
    };
    standing.networks.iter().map(gauge).collect()
}

async fn topups_standing(topups: &TopUps) -> Option<Vec<Gauge>> {
    let standing = topups.standing().await.ok()?;
    let doubtful = topups.doubtful_settlements().await.ok()?;
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
    let parked = standing.by_state.iter().find(|(of, _)| *of == TopupState::Parked);
    let alone = |name, help, value| Gauge { name, help, label: None, value };
    gauges.extend([
        alone(
            "bursar_topup_oldest_unknown_seconds",
            "How long the oldest top-up of unknown outcome has been open",
            standing.oldest_unknown_s,
        ),
        alone(
            "bursar_topups_parked",
            "Top-ups that wait for the operator; each one is a reason for an alarm",
            parked.map_or(0, |(_, count)| *count),
        ),
        alone(
            "bursar_topup_oldest_parked_seconds",
            "How long the oldest top-up that waits for the operator has been open",
            standing.oldest_parked_s,
        ),
    ]);
    let usual = [SettlementStanding::Seen, SettlementStanding::Confirmed];
    for standing in SettlementStanding::ALL.into_iter().filter(|of| !usual.contains(of)) {
        let found = doubtful.iter().find(|(of, _)| *of == standing);
        gauges.push(Gauge {
            name: "bursar_settlements",
            help: "Settlements that the chain showed and then did not, by how they stand",
            label: Some(("standing", standing.name().to_owned())),
            value: found.map_or(0, |(_, count)| *count),
        });
    }
    Some(gauges)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finance::{Check, CheckReport, Violation};

    fn round(count: i64) -> Round {
        let check = |rule: &Rule| Check {
            name: rule.name(),
            what: rule.what(),
            passed: *rule != Rule::CapUsage || count == 0,
            violation_count: if *rule == Rule::CapUsage { count } else { 0 },
            violations: Vec::<Violation>::new(),
        };
        let as_of = chrono::DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let report = CheckReport { as_of, checks: Rule::ALL.iter().map(check).collect() };
        Round {
            verified: 3,
            reverified: 2,
            caught_up: true,
            lap_ended_at: None,
            busy: false,
            report,
        }
    }

    #[test]
    fn gauges_tell_what_the_last_round_knows() {
        let drift = Drift::default();
        let value = |name: &str, check: Option<&str>| {
            let label = check.map(|check| ("check", check.to_owned()));
            let gauges = drift.gauges();
            gauges.iter().find(|g| g.name == name && g.label == label).unwrap().value
        };
        assert_eq!(value("bursar_drift_violations", Some("cap_usage")), 0);
        drift.note(&round(2));
        drift.note(&round(2));
        assert_eq!(value("bursar_drift_violations", Some("cap_usage")), 2);
        assert_eq!(value("bursar_drift_violations", Some("trial_balance")), 0);
        assert_eq!(value("bursar_drift_checked_timestamp_seconds", None), 1_800_000_000);
        assert_eq!(value("bursar_drift_lap_timestamp_seconds", None), 0);
        assert_eq!(value("bursar_drift_transfers_verified", None), 6);
        assert_eq!(value("bursar_drift_transfers_reverified", None), 4);
        drift.note(&round(0));
        assert_eq!(value("bursar_drift_violations", Some("cap_usage")), 0);
    }
}
