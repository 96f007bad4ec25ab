//! Steps of the state machine, each with its entries in the audit trail, in one statement.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use crate::ground::mint_uuid;

use super::case::{At, Case};
use super::store::{self, Entry, Move};
use super::{Inner, PayError, TopupEvent, TopupState};

/// Something for the audit trail that is no step: what was said or found.
pub(super) struct Note {
    pub(super) kind: &'static str,
    pub(super) detail: Value,
    pub(super) at: DateTime<Utc>,
}

/// One step, with why it is taken.
pub(super) struct Step<'a> {
    pub(super) event: TopupEvent,
    pub(super) reason: Option<&'a str>,
    pub(super) transaction: Option<&'a str>,
    pub(super) detail: Value,
    /// What was heard before it and led to it.
    pub(super) notes: Vec<Note>,
}

impl<'a> Step<'a> {
    /// A step with a reason and nothing else to say.
    pub(super) fn because(event: TopupEvent, reason: &'a str, notes: Vec<Note>) -> Self {
        let detail = json!({ "reason": reason });
        Self { event, reason: Some(reason), transaction: None, detail, notes }
    }
}

impl Inner {
    pub(super) fn note(&self, kind: &'static str, detail: Value) -> Note {
        Note { kind, detail, at: self.clock.now() }
    }

    /// Moves a top-up from one state to the next. Nothing when it was not there any more: somebody
    /// else was faster, and what was heard is only noted.
    pub(super) async fn advance(
        &self,
        case: &Case,
        from: At,
        step: &Step<'_>,
    ) -> Result<Option<At>, PayError> {
        let Some(to) = from.state.after(step.event) else {
            tracing::error!(topup.id = %case.id, ?from, event = ?step.event, "no such step");
            return Ok(None);
        };
        let at = self.clock.now();
        let counts = matches!(step.event, TopupEvent::Send | TopupEvent::TakeUp);
        let attempt = from.attempt.saturating_add(i32::from(counts));
        let taken = self.entry(case, to.name(), &step.detail, at);
        let entries: Vec<_> = step
            .notes
            .iter()
            .map(|note| self.entry(case, note.kind, &note.detail, note.at))
            .chain([taken])
            .collect();
        let change = Move {
            from,
            to: At { state: to, attempt },
            reason: step.reason,
            transaction: step.transaction,
            next_at: self.next_look(case, from.state, to, at),
            entries: &entries,
            at,
        };
        if store::advance(&self.pool, case, &change).await? {
            return Ok(Some(change.to));
        }
        tracing::warn!(topup.id = %case.id, ?from, event = ?step.event, "somebody was faster");
        self.record(case, &step.notes).await?;
        Ok(None)
    }

    /// When a top-up that has come into a state is due.
    fn next_look(
        &self,
        case: &Case,
        from: TopupState,
        to: TopupState,
        at: DateTime<Utc>,
    ) -> Option<DateTime<Utc>> {
        let open_for =
            if from == to { at.signed_duration_since(case.since) } else { TimeDelta::zero() };
        let later = || after(at, self.settings.resolving.pause(open_for));
        let watched = self.chain_of(case.network).is_some();
        match to {
            TopupState::Claimed | TopupState::Settling => Some(self.lease_end(at)),
            TopupState::Settled => Some(at),
            // Nothing was asked yet.
            TopupState::Unknown if from == TopupState::Claimed => Some(at),
            TopupState::Unknown if watched && from == TopupState::Settling => {
                Some(after(at, self.settings.resolving.first_pause()))
            }
            TopupState::Unknown | TopupState::Parked => Some(later()),
            // What was given up without looking at the chain may be found there all the same.
            TopupState::Refused => watched.then(later),
            TopupState::Rejected => (watched && from == TopupState::Settling).then(later),
            TopupState::Credited => None,
        }
    }

    pub(super) fn lease_end(&self, at: DateTime<Utc>) -> DateTime<Utc> {
        after(at, TimeDelta::from_std(self.settings.lease).unwrap_or(TimeDelta::minutes(3)))
    }

    /// Leaves a top-up as it stands, to be looked at later, or not at all.
    pub(super) async fn postpone(
        &self,
        case: &Case,
        from: At,
        until: Option<DateTime<Utc>>,
        notes: &[Note],
    ) -> Result<(), PayError> {
        store::postpone(&self.pool, case, from, until).await?;
        self.record(case, notes).await
    }

    /// Has a top-up for another lease. False when that has ended and somebody else has it.
    pub(super) async fn renew(&self, case: &Case, from: At) -> Result<bool, PayError> {
        let end = self.lease_end(self.clock.now());
        Ok(store::postpone(&self.pool, case, from, Some(end)).await?)
    }

    /// When to look again at a top-up that stays as it stands.
    pub(super) fn later(&self, case: &Case) -> DateTime<Utc> {
        let at = self.clock.now();
        after(at, self.settings.resolving.pause(at.signed_duration_since(case.since)))
    }

    /// Writes notes that belong to no step.
    pub(super) async fn record(&self, case: &Case, notes: &[Note]) -> Result<(), PayError> {
        let entry = |note: &Note| self.entry(case, note.kind, &note.detail, note.at);
        let entries: Vec<_> = notes.iter().map(entry).collect();
        Ok(store::record(&self.pool, case, &entries).await?)
    }

    fn entry(&self, case: &Case, kind: &'static str, detail: &Value, at: DateTime<Utc>) -> Entry {
        let id = mint_uuid(self.entropy.as_ref(), at, case.id.slot());
        Entry { id, kind, detail: detail.clone(), at }
    }

    /// Takes a step after something was sent. What is learnt then exists nowhere else yet, so a
    /// database that is away is waited for, until the resolver may take the top-up up.
    pub(super) async fn keep(
        &self,
        case: &Case,
        from: At,
        step: &Step<'_>,
    ) -> Result<Option<At>, PayError> {
        let (event, pause) = (step.event, Duration::from_millis(500));
        let mut waited = Duration::ZERO;
        loop {
            let error = match self.advance(case, from, step).await {
                Ok(to) => return Ok(to),
                Err(error) => error,
            };
            let detail = &step.detail;
            tracing::error!(topup.id = %case.id, ?event, %detail, %error, "outcome is not on record yet");
            if waited >= self.settings.lease {
                return Err(error);
            }
            tokio::time::sleep(pause).await;
            waited = waited.saturating_add(pause);
        }
    }
}

fn after(at: DateTime<Utc>, by: TimeDelta) -> DateTime<Utc> {
    at.checked_add_signed(by).unwrap_or(at)
}
