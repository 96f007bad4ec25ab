//! Tells an account that a payment of its was rejected: whoever was answered `unknown` waits for it.
//!
//! No money moves with a rejection, so the ledger is no part of it. The step that rejects marks the
//! row, and the event is written here, by a command that takes the mark away: once, and never lost.

use std::sync::Arc;

use futures_util::future::join_all;

use crate::ground::{BookId, TopupId};
use crate::ledger::{Annexes, Command, CommandIdentity, Decision, Desk, Fault, Wants, is_restored};

use super::command::{TopupRow, TopupRows};
use super::{PayError, TopUps, TopupState, store};

/// How many are told of in a step.
const STEP_MAX: i64 = 32;

struct TellRejected {
    account: BookId,
    topup: TopupId,
}

impl Command for TellRejected {
    fn book(&self) -> BookId {
        self.account
    }

    fn identity(&self) -> CommandIdentity {
        CommandIdentity::of_effect(&format!("topup:{}:rejected", self.topup))
    }

    fn want(&self, _: &mut Wants, annexes: &mut Annexes) {
        annexes.of::<TopupRows>().wanted.insert((self.account, self.topup));
    }

    fn decide(&self, desk: &mut Desk<'_>) -> Result<Decision, Fault> {
        let rows = desk.annexes.of::<TopupRows>();
        let key = (self.account, self.topup);
        let &TopupRow { state, .. } = rows.found.get(&key).ok_or(Fault::Annex("topup"))?;
        // The chain or the operator may have proven otherwise since.
        if state != TopupState::Rejected {
            return Ok(Decision::nothing_due());
        }
        rows.told.push(key);
        desk.book.emit("topup.rejected", self.topup.0);
        Ok(Decision::accept(&serde_json::json!({ "topup_id": self.topup })))
    }
}

impl TopUps {
    /// Tells of rejections that nobody has told of. Whether there may be more; none while a restored
    /// ledger is not confirmed.
    pub async fn tell_step(&self) -> Result<bool, PayError> {
        let inner = &self.0;
        if is_restored(&inner.pool).await? {
            return Ok(false);
        }
        let untold = store::untold(&inner.pool, STEP_MAX).await?;
        let more = i64::try_from(untold.len()).is_ok_and(|count| count >= STEP_MAX);
        let told = untold
            .into_iter()
            .map(|(account, topup)| inner.engine.submit(Arc::new(TellRejected { account, topup })));
        for outcome in join_all(told).await {
            outcome.map_err(PayError::Ledger)?;
        }
        Ok(more)
    }
}
