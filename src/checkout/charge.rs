//! A charge after its capture: it can be disputed and reversed until it is final. Pure.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::ground::{Amount, DisputeId};

use super::CheckoutRefusal;

/// How often one charge can be disputed: a denied dispute may be followed by a better one, but not by
/// any number of them.
pub(super) const DISPUTES_MAX: i64 = 5;

/// Where a charge stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChargeState {
    /// Within its dispute window: it can be disputed and reversed.
    Open,
    /// Under dispute: what is disputed does not become final before that is decided.
    Disputed,
    /// Nothing changes it any more.
    Final,
    /// All of it was given back.
    Reversed,
}

/// A dispute that is not decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenDispute {
    pub id: DisputeId,
    pub amount: Amount,
    pub decide_by: DateTime<Utc>,
}

/// What a decision about a charge depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChargeFacts {
    pub amount: Amount,
    pub reversed: Amount,
    pub final_at: DateTime<Utc>,
    pub dispute: Option<OpenDispute>,
    /// How many disputes there have been, decided ones too.
    pub disputes: i64,
}

/// What can happen to a charge. No amount means all that is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChargeEvent {
    /// A verifier or the operator gives back a part.
    Reverse { amount: Option<Amount>, at: DateTime<Utc> },
    /// The buyer disputes a part, to be decided before that time.
    Dispute { amount: Option<Amount>, at: DateTime<Utc>, decide_by: DateTime<Utc> },
    /// A verifier or the operator decides a dispute.
    Decide { dispute: DisputeId, upheld: bool, at: DateTime<Utc> },
    /// The deadline of a dispute is enforced.
    Deadline { dispute: DisputeId, at: DateTime<Utc> },
}

/// What follows from an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChargeStep {
    /// So much goes back.
    GiveBack { amount: Amount },
    /// So much is under dispute, to be decided before that time.
    Contest { amount: Amount, decide_by: DateTime<Utc> },
    /// The dispute is upheld, and so much goes back.
    Uphold { amount: Amount },
    /// The dispute is denied.
    Deny,
    /// Nothing happens.
    Nothing,
    /// More is asked for than is left.
    Exceeds { requested: Amount, left: Amount },
    /// The event is refused.
    Refuse(CheckoutRefusal),
}

impl ChargeFacts {
    /// Where the charge stands at a time.
    pub fn state(self, at: DateTime<Utc>) -> ChargeState {
        match (self.dispute, self.left().is_zero(), at >= self.final_at) {
            (Some(_), _, _) => ChargeState::Disputed,
            (None, true, _) => ChargeState::Reversed,
            (None, false, true) => ChargeState::Final,
            (None, false, false) => ChargeState::Open,
        }
    }

    /// What is not given back yet.
    pub fn left(self) -> Amount {
        self.amount.saturating_sub(self.reversed)
    }

    /// What follows from an event: a total function of state and event. Past its final time nothing
    /// of a charge goes back but what was disputed before; a dispute that nobody decides in time is
    /// upheld, swept or not.
    pub fn step(self, event: ChargeEvent) -> ChargeStep {
        match (self.dispute, event) {
            (None, ChargeEvent::Dispute { at, .. }) | (_, ChargeEvent::Reverse { at, .. })
                if at >= self.final_at =>
            {
                let dispute_id = self.dispute.map(|open| open.id);
                let final_at = self.final_at;
                ChargeStep::Refuse(CheckoutRefusal::ChargeFinal { final_at, dispute_id })
            }
            (None, ChargeEvent::Reverse { .. } | ChargeEvent::Dispute { .. })
                if self.left().is_zero() =>
            {
                ChargeStep::Refuse(CheckoutRefusal::AlreadyReversed { amount: self.amount })
            }
            (None, ChargeEvent::Reverse { amount, .. }) => match self.part(amount) {
                Ok(amount) => ChargeStep::GiveBack { amount },
                Err(exceeds) => exceeds,
            },
            (None, ChargeEvent::Dispute { amount, decide_by, .. }) => {
                self.contest(amount, decide_by)
            }
            (None, ChargeEvent::Decide { .. }) => {
                ChargeStep::Refuse(CheckoutRefusal::DisputeDecided)
            }
            (None, ChargeEvent::Deadline { .. }) => ChargeStep::Nothing,
            (Some(open), ChargeEvent::Reverse { amount, .. }) => self.reverse_beside(open, amount),
            (Some(open), ChargeEvent::Dispute { .. }) => ChargeStep::Refuse(open.in_the_way()),
            (Some(open), ChargeEvent::Decide { dispute, .. }) if dispute != open.id => {
                ChargeStep::Refuse(CheckoutRefusal::DisputeDecided)
            }
            (Some(open), ChargeEvent::Decide { at, .. }) if at >= open.decide_by => {
                let deadline = open.decide_by;
                ChargeStep::Refuse(CheckoutRefusal::DisputeDeadlinePassed { deadline })
            }
            (Some(open), ChargeEvent::Decide { upheld: true, .. }) => {
                ChargeStep::Uphold { amount: open.amount }
            }
            (Some(_), ChargeEvent::Decide { upheld: false, .. }) => ChargeStep::Deny,
            (Some(open), ChargeEvent::Deadline { dispute, at })
                if dispute == open.id && at >= open.decide_by =>
            {
                ChargeStep::Uphold { amount: open.amount }
            }
            (Some(_), ChargeEvent::Deadline { .. }) => ChargeStep::Nothing,
        }
    }

    /// The part that is asked for, if there is as much.
    fn part(self, asked: Option<Amount>) -> Result<Amount, ChargeStep> {
        let left = self.left();
        let requested = asked.unwrap_or(left);
        if requested > left { Err(ChargeStep::Exceeds { requested, left }) } else { Ok(requested) }
    }

    fn contest(self, asked: Option<Amount>, decide_by: DateTime<Utc>) -> ChargeStep {
        if self.disputes >= DISPUTES_MAX {
            return ChargeStep::Refuse(CheckoutRefusal::TooManyDisputes { max: DISPUTES_MAX });
        }
        match self.part(asked) {
            Ok(amount) => ChargeStep::Contest { amount, decide_by },
            Err(exceeds) => exceeds,
        }
    }

    /// What is under dispute goes back only by its decision, so that it goes back once.
    fn reverse_beside(self, open: OpenDispute, asked: Option<Amount>) -> ChargeStep {
        match self.part(asked) {
            Ok(amount) if amount > self.left().saturating_sub(open.amount) => {
                ChargeStep::Refuse(open.in_the_way())
            }
            Ok(amount) => ChargeStep::GiveBack { amount },
            Err(exceeds) => exceeds,
        }
    }
}

impl OpenDispute {
    fn in_the_way(self) -> CheckoutRefusal {
        CheckoutRefusal::ChargeDisputed { dispute_id: self.id, amount: self.amount }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use uuid::Uuid;

    const FINAL: i64 = 100;
    /// How long a decision may take.
    const DECISION: i64 = 40;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    fn micros(amount: u32) -> Amount {
        Amount::micros_of(amount)
    }

    /// The same life told by units: each is kept, disputed or gone.
    struct Model {
        kept: u32,
        disputed: u32,
        gone: u32,
        deadline: i64,
        current: u128,
    }

    impl Model {
        fn can_be_disputed(&self, now: i64) -> bool {
            self.disputed == 0 && now < FINAL && self.kept > 0
        }

        fn follow(&mut self, event: ChargeEvent, now: i64) -> &'static str {
            let left = self.kept + self.disputed;
            match event {
                ChargeEvent::Reverse { amount, .. } => {
                    let part = amount.map_or(left, |a| u32::try_from(a.micros()).unwrap());
                    // Units that nobody disputes are as final as if there were no dispute.
                    if now >= FINAL || part == 0 || part > self.kept {
                        return "no";
                    }
                    self.kept -= part;
                    self.gone += part;
                    "give back"
                }
                ChargeEvent::Dispute { amount, .. } => {
                    let part = amount.map_or(left, |a| u32::try_from(a.micros()).unwrap());
                    let often = self.current >= u128::try_from(DISPUTES_MAX).unwrap();
                    if !self.can_be_disputed(now) || part > self.kept || often {
                        return "no";
                    }
                    self.kept -= part;
                    self.disputed = part;
                    self.deadline = now + DECISION;
                    self.current += 1;
                    "contest"
                }
                ChargeEvent::Decide { dispute, upheld, .. } => {
                    let current = dispute.0.as_u128() == self.current && self.disputed > 0;
                    match (current && now < self.deadline, upheld) {
                        (false, _) => "no",
                        (true, true) => self.uphold(),
                        (true, false) => {
                            self.kept += self.disputed;
                            self.disputed = 0;
                            "deny"
                        }
                    }
                }
                ChargeEvent::Deadline { dispute, .. } => {
                    let current = dispute.0.as_u128() == self.current && self.disputed > 0;
                    if current && now >= self.deadline { self.uphold() } else { "nothing" }
                }
            }
        }

        fn uphold(&mut self) -> &'static str {
            self.gone += self.disputed;
            self.disputed = 0;
            "uphold"
        }

        fn state(&self, now: i64) -> ChargeState {
            if self.disputed > 0 {
                ChargeState::Disputed
            } else if self.kept == 0 {
                ChargeState::Reversed
            } else if now >= FINAL {
                ChargeState::Final
            } else {
                ChargeState::Open
            }
        }
    }

    fn apply(facts: &mut ChargeFacts, step: &ChargeStep) -> &'static str {
        let back = |facts: &mut ChargeFacts, amount: Amount| {
            facts.reversed = facts.reversed.checked_add(amount).unwrap();
        };
        match step {
            ChargeStep::GiveBack { amount } => {
                back(facts, *amount);
                "give back"
            }
            ChargeStep::Contest { amount, decide_by } => {
                facts.disputes += 1;
                let id = DisputeId(Uuid::from_u128(u128::try_from(facts.disputes).unwrap()));
                facts.dispute = Some(OpenDispute { id, amount: *amount, decide_by: *decide_by });
                "contest"
            }
            ChargeStep::Uphold { amount } => {
                back(facts, *amount);
                facts.dispute = None;
                "uphold"
            }
            ChargeStep::Deny => {
                facts.dispute = None;
                "deny"
            }
            ChargeStep::Nothing => "nothing",
            ChargeStep::Exceeds { .. } | ChargeStep::Refuse(_) => "no",
        }
    }

    proptest! {
        #[test]
        fn a_charge_lives_as_the_model_says_and_never_gives_back_more_than_itself(
            amount in 1_u32..50,
            events in prop::collection::vec(
                (0..4, prop::option::of(1_u32..60), 0_u128..7, any::<bool>(), 0_i64..30),
                1..40,
            ),
        ) {
            let mut facts = ChargeFacts {
                amount: micros(amount),
                reversed: Amount::ZERO,
                final_at: at(FINAL),
                dispute: None,
                disputes: 0,
            };
            let mut model = Model { kept: amount, disputed: 0, gone: 0, deadline: 0, current: 0 };
            let mut now = 0;
            for (kind, part, dispute, upheld, pause) in events {
                now += pause;
                let (at, amount, decide_by) = (at(now), part.map(micros), at(now + DECISION));
                // Mostly the dispute that there is.
                let id = if dispute > 1 { model.current } else { dispute };
                let dispute = DisputeId(Uuid::from_u128(id));
                let event = match kind {
                    0 => ChargeEvent::Reverse { amount, at },
                    1 => ChargeEvent::Dispute { amount, at, decide_by },
                    2 => ChargeEvent::Decide { dispute, upheld, at },
                    _ => ChargeEvent::Deadline { dispute, at },
                };
                let state = facts.state(at);
                let step = facts.step(event);
                prop_assert_eq!(apply(&mut facts, &step), model.follow(event, now), "{:?}", event);
                prop_assert_eq!(facts.reversed, micros(model.gone));
                prop_assert_eq!(facts.state(at), model.state(now));
                prop_assert!(facts.reversed <= facts.amount);
                if matches!(state, ChargeState::Final | ChargeState::Reversed) {
                    prop_assert_eq!(facts.state(at), state, "an end is an end");
                }
            }
        }
    }
}
