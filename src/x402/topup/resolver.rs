//! The worker that takes up what a crash or a lost answer left open.

use chrono::TimeDelta;
use futures_util::future::join_all;
use serde_json::json;

use crate::db::claims;
use crate::ledger::is_restored;

use super::settle::{Case, USED_BEFORE};
use super::store;
use super::{PayError, TopUps, TopupEvent, TopupState};

/// How many top-ups one step takes up.
const STEP_MAX: i64 = 20;

/// A top-up that is taken up.
pub(super) struct Due {
    pub(super) state: TopupState,
    pub(super) case: Case,
    pub(super) settlement_tx: Option<String>,
    pub(super) reason: Option<String>,
}

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
    /// a row up moves its time on, in one statement. Returns how many it took up; none while a
    /// restored ledger is not confirmed.
    pub async fn resolve_step(&self) -> Result<usize, PayError> {
        let inner = &self.0;
        if is_restored(&inner.pool).await? {
            return Ok(0);
        }
        let lease = TimeDelta::from_std(inner.settings.lease).unwrap_or(TimeDelta::minutes(3));
        let at = inner.clock.now();
        let stale = at.checked_sub_signed(lease).unwrap_or(at);
        let due = store::take_due(&inner.pool, at, stale, STEP_MAX).await?;
        let count = due.len();
        // At once, so that one that waits for the facilitator keeps nobody else waiting.
        let steps = due.into_iter().map(|due| self.resolve(due));
        let results = join_all(steps).await;
        results.into_iter().collect::<Result<(), _>>()?;
        Ok(count)
    }

    async fn resolve(&self, due: Due) -> Result<(), PayError> {
        let Due { state, case, settlement_tx, reason } = due;
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
            (TopupState::Unknown, _) if reason.as_deref() == Some(USED_BEFORE) => {
                // Showing a used authorization proves nothing: it is public. Only the account of
                // the wallet that signed it may be credited without the money's history.
                if self.is_of_payer(&case).await? { self.settle_again(case).await } else { Ok(()) }
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

    /// Whether the account is the paying wallet's own.
    async fn is_of_payer(&self, case: &Case) -> Result<bool, PayError> {
        let holder = claims::find(&self.0.pool, &claims::wallet_key(&case.payer)).await?;
        Ok(holder.is_some_and(|holder| holder.book == case.account))
    }

    async fn settle_again(&self, case: Case) -> Result<(), PayError> {
        let inner = &self.0;
        let outcome = inner.ask_to_settle(&case, false).await;
        inner.conclude(&case, TopupState::Unknown, outcome).await
    }

    /// How top-ups stand.
    pub async fn standing(&self) -> Result<Standing, PayError> {
        Ok(store::standing(&self.0.pool, self.0.clock.now()).await?)
    }
}
