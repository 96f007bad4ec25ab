//! The worker that takes up what a crash or a lost answer left open.

use chrono::TimeDelta;
use serde_json::json;

use super::settle::Case;
use super::store;
use super::{PayError, TopUps, TopupEvent, TopupState};

/// How many top-ups one step takes up.
const STEP_MAX: i64 = 20;

/// How top-ups stand, for metrics.
#[derive(Clone, Debug, Default)]
pub struct Standing {
    /// How many top-ups are in each state.
    pub by_state: Vec<(TopupState, i64)>,
    /// How long the oldest unknown one has been open, in seconds.
    pub oldest_unknown_s: i64,
}

impl TopUps {
    /// Takes up what is due: repeats `/settle` with the identical payload for what is unknown,
    /// credits what is settled, and lets go of what was never sent. Replicas share the work: taking
    /// a row up moves its time on, in one statement. Returns how many it took up.
    pub async fn resolve_step(&self) -> Result<usize, PayError> {
        let inner = &self.0;
        let lease = TimeDelta::from_std(inner.settings.lease).unwrap_or(TimeDelta::minutes(3));
        let at = inner.clock.now();
        let stale = at.checked_sub_signed(lease).unwrap_or(at);
        let due = store::take_due(&inner.pool, at, stale, STEP_MAX).await?;
        let count = due.len();
        for (state, case, settlement_tx) in due {
            self.resolve(state, case, settlement_tx).await?;
        }
        Ok(count)
    }

    async fn resolve(
        &self,
        state: TopupState,
        case: Case,
        settlement_tx: Option<String>,
    ) -> Result<(), PayError> {
        let inner = &self.0;
        match (state, settlement_tx) {
            (TopupState::Settled, Some(transaction)) => {
                inner.credit(&case, state, transaction, None).await
            }
            (TopupState::Claimed, _) => {
                let why = Some(("interrupted", None));
                let (id, account) = (case.id, case.account);
                inner.advance(id, account, state, TopupEvent::Refuse, why, json!({})).await?;
                Ok(())
            }
            (TopupState::Settling, _) => {
                // Whoever sent it is gone. From here on only a success counts.
                let why = Some(("interrupted", None));
                let (id, account) = (case.id, case.account);
                inner.advance(id, account, state, TopupEvent::Lose, why, json!({})).await?;
                self.settle_again(case).await
            }
            (TopupState::Unknown, _) => self.settle_again(case).await,
            (
                TopupState::Settled
                | TopupState::Refused
                | TopupState::Credited
                | TopupState::Rejected,
                _,
            ) => Ok(()),
        }
    }

    async fn settle_again(&self, case: Case) -> Result<(), PayError> {
        let inner = &self.0;
        let outcome = inner
            .facilitator
            .settle(case.version, &case.payload, &case.requirements, &case.expected(), false)
            .await;
        inner.conclude(&case, TopupState::Unknown, outcome).await
    }

    /// How top-ups stand.
    pub async fn standing(&self) -> Result<Standing, PayError> {
        Ok(store::standing(&self.0.pool, self.0.clock.now()).await?)
    }
}
