use std::collections::{BTreeMap, BTreeSet};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde_json::json;
use sqlx::PgConnection;

use crate::ground::{BookId, TopupId};
use crate::ledger::{Annex, Annexes, Command, CommandIdentity, Decision, Desk, Fault, Wants};

use super::SettlementStanding;
use super::store::{self, Step};

/// What a step does that the account is told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// Takes the credits back.
    Void,
    /// Gives them back.
    Reinstate,
    /// Leaves them taken for good. Nothing moves, but the account is told.
    Lose,
}

impl Act {
    /// What a step does that the account is told of; none for most.
    pub(super) fn of(step: &Step) -> Option<Self> {
        match (step.followed.standing.is_void(), step.after.is_void()) {
            (false, true) => Some(Self::Void),
            (true, false) => Some(Self::Reinstate),
            (true, true) if step.is_end() => Some(Self::Lose),
            (false, false) | (true, true) => None,
        }
    }

    /// What is said when it is done.
    pub(super) const fn alarm(self) -> &'static str {
        match self {
            Self::Void => "a settlement is void: its credits are taken back, the account is frozen",
            Self::Reinstate => {
                "the money of a void settlement is there: its credits are given back"
            }
            Self::Lose => "a void settlement can no longer be paid",
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Void => "void",
            Self::Reinstate => "reinstate",
            Self::Lose => "lose",
        }
    }
}

/// Takes a step, in the transaction that moves the money and tells of it.
pub(super) struct Turn {
    pub(super) act: Act,
    pub(super) step: Step,
}

impl Command for Turn {
    fn book(&self) -> BookId {
        self.step.followed.account
    }

    fn identity(&self) -> CommandIdentity {
        let (topup, act) = (self.step.followed.topup, self.act.name());
        CommandIdentity::of_effect(&format!("topup:{topup}:{act}"))
    }

    fn want(&self, wants: &mut Wants, annexes: &mut Annexes) {
        let of = &self.step.followed;
        wants.lots_of(of.account, of.topup.0);
        annexes.of::<Settlements>().wanted.insert((of.account, of.topup));
    }

    fn decide(&self, desk: &mut Desk<'_>) -> Result<Decision, Fault> {
        let of = &self.step.followed;
        let rows = desk.annexes.of::<Settlements>();
        let found = rows.found.get(&(of.account, of.topup)).ok_or(Fault::Annex("settlement"))?;
        // Somebody has looked at it since, or has seen more of the chain.
        if !found.is_before(&self.step) {
            return Ok(Decision::nothing_due());
        }
        let mut step = self.step.clone();
        step.at = desk.book.now();
        let (answer, event) = match self.act {
            Act::Void => {
                let voided = desk.book.void(desk.entropy, of.topup.0)?;
                let answer = json!({ "topup_id": of.topup, "taken": voided.taken,
                    "lost": voided.lost, "ledger_transaction_id": voided.transaction });
                (answer, "topup.voided")
            }
            Act::Reinstate => {
                let transaction = desk.book.reinstate(desk.entropy, of.topup.0)?;
                let answer = json!({ "topup_id": of.topup, "ledger_transaction_id": transaction });
                (answer, "topup.reinstated")
            }
            Act::Lose => (json!({ "topup_id": of.topup }), "topup.lost"),
        };
        desk.book.emit(event, of.topup.0);
        if let (Some(detail), Some(booked)) = (step.detail.as_object_mut(), answer.as_object()) {
            let booked = booked.iter().filter(|(name, _)| *name != "topup_id");
            detail.extend(booked.map(|(name, value)| (name.clone(), value.clone())));
        }
        desk.annexes.of::<Settlements>().steps.push(step);
        Ok(Decision::accept(&answer))
    }
}

/// How a settlement stands under the lock.
pub(super) struct Looked {
    pub(super) standing: SettlementStanding,
    pub(super) sightings: i32,
    pub(super) missing_since: Option<u64>,
    /// The highest block up to which it was looked at.
    pub(super) head: u64,
}

impl Looked {
    /// Whether a step begins where it stands, and has seen as much of the chain.
    fn is_before(&self, step: &Step) -> bool {
        let of = &step.followed;
        (self.standing, self.sightings, self.missing_since)
            == (of.standing, of.sightings, of.missing_since)
            && self.head <= step.head
    }
}

/// The rows of settlements in one batch.
#[derive(Default)]
pub(super) struct Settlements {
    pub(super) wanted: BTreeSet<(BookId, TopupId)>,
    pub(super) found: BTreeMap<(BookId, TopupId), Looked>,
    pub(super) steps: Vec<Step>,
}

impl Annex for Settlements {
    fn read<'a>(&'a mut self, tx: &'a mut PgConnection) -> BoxFuture<'a, Result<(), sqlx::Error>> {
        store::read_standings(tx, self).boxed()
    }

    fn write<'a>(&'a mut self, tx: &'a mut PgConnection) -> BoxFuture<'a, Result<(), sqlx::Error>> {
        async move {
            if !self.steps.is_empty() {
                let taken = store::take_steps(&mut *tx, &self.steps).await?;
                // What is booked is written, or neither is.
                if taken.len() < self.steps.len() {
                    return Err(sqlx::Error::RowNotFound);
                }
            }
            Ok(())
        }
        .boxed()
    }

    fn changes(&self) -> u64 {
        u64::try_from(self.steps.len()).unwrap_or(u64::MAX)
    }
}
