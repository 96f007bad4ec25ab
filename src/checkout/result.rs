//! The states of a result. Pure.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::CheckoutRefusal;

/// Where a result stands. A captured result may be reversed later; that is the charge's story.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ResultState {
    /// Submitted, and waiting for a verdict.
    Verifying,
    /// Accepted, whole or in part; the accepted part is charged.
    Captured,
    /// Rejected, or nobody judged it in time; nothing is charged.
    Released,
}

impl ResultState {
    /// The name in the table `result`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Verifying => "verifying",
            Self::Captured => "captured",
            Self::Released => "released",
        }
    }

    /// The state of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Verifying, Self::Captured, Self::Released].into_iter().find(|s| s.name() == name)
    }
}

/// What a decision about a result depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResultFacts {
    pub state: ResultState,
    pub quantity: i64,
    pub verify_by: DateTime<Utc>,
}

/// What can happen to a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResultEvent {
    /// A verdict accepts so many units, none meaning that it was rejected. If it judged by other criteria
    /// than those that the item was sold under, `other_than` is the version of the latter.
    Verdict { accepted: i64, other_than: Option<i32>, at: DateTime<Utc> },
    /// The verification deadline is enforced.
    Deadline { at: DateTime<Utc> },
}

/// What follows from an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResultStep {
    /// The result is settled: so many units are captured, so many released.
    Settle { state: ResultState, captured: i64, released: i64 },
    /// Nothing happens.
    Nothing,
    /// The event is refused.
    Refuse(CheckoutRefusal),
}

impl ResultFacts {
    /// What follows from an event: a total function of state and event. A verdict after its deadline
    /// is refused, swept or not.
    pub fn step(self, event: ResultEvent) -> ResultStep {
        match (self.state, event) {
            (ResultState::Verifying, ResultEvent::Verdict { at, .. }) if at >= self.verify_by => {
                let deadline = self.verify_by;
                ResultStep::Refuse(CheckoutRefusal::VerificationDeadlinePassed { deadline })
            }
            (ResultState::Verifying, ResultEvent::Verdict { other_than: Some(version), .. }) => {
                let criteria_version = version;
                ResultStep::Refuse(CheckoutRefusal::CriteriaVersionMismatch { criteria_version })
            }
            (ResultState::Verifying, ResultEvent::Verdict { accepted, .. })
                if accepted < 0 || accepted > self.quantity =>
            {
                let quantity = self.quantity;
                ResultStep::Refuse(CheckoutRefusal::AcceptedQuantityExceeded { accepted, quantity })
            }
            (ResultState::Verifying, ResultEvent::Verdict { accepted, .. }) => {
                self.settle(accepted)
            }
            (ResultState::Verifying, ResultEvent::Deadline { at }) if at >= self.verify_by => {
                self.settle(0)
            }
            (ResultState::Verifying, ResultEvent::Deadline { .. }) => ResultStep::Nothing,
            (ResultState::Captured | ResultState::Released, ResultEvent::Verdict { .. }) => {
                ResultStep::Refuse(CheckoutRefusal::AlreadyDecided)
            }
            (ResultState::Captured | ResultState::Released, ResultEvent::Deadline { .. }) => {
                ResultStep::Nothing
            }
        }
    }

    fn settle(self, captured: i64) -> ResultStep {
        let state = if captured > 0 { ResultState::Captured } else { ResultState::Released };
        ResultStep::Settle { state, captured, released: self.quantity.saturating_sub(captured) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    proptest! {
        #[test]
        fn a_result_settles_once_and_whole(
            quantity in 1_i64..1000,
            events in prop::collection::vec(
                (any::<bool>(), -5_i64..1010, prop::option::of(Just(1)), 0_i64..200),
                1..20,
            ),
        ) {
            let verify_by = at(100);
            let mut facts = ResultFacts { state: ResultState::Verifying, quantity, verify_by };
            let mut settled = 0;
            for (verdict, accepted, other_than, time) in events {
                let at = at(time);
                let event = if verdict {
                    ResultEvent::Verdict { accepted, other_than, at }
                } else {
                    ResultEvent::Deadline { at }
                };
                if let ResultStep::Settle { state, captured, released } = facts.step(event) {
                    settled += 1;
                    prop_assert_eq!(captured + released, quantity);
                    prop_assert!(captured >= 0 && released >= 0);
                    prop_assert_eq!(state == ResultState::Captured, captured > 0);
                    prop_assert!(captured == 0 || at < verify_by, "captured only before the deadline");
                    prop_assert!(!verdict || other_than.is_none(), "judged by its own criteria only");
                    facts.state = state;
                }
            }
            prop_assert!(settled <= 1);
        }
    }
}
