//! The states of a top-up. Pure.

use serde::{Deserialize, Serialize};

/// Where a top-up stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TopupState {
    /// The payment is claimed and the intent written; nothing was sent.
    Claimed,
    /// Never sent to `/settle`. The same account may present the payment again.
    Refused,
    /// Sent, or about to be: a restart is never "first" again.
    Settling,
    /// The payment is there, and the credit has not committed yet.
    Settled,
    /// The credits are in the account. Final.
    Credited,
    /// Nothing was paid by it. Only the chain can prove otherwise.
    Rejected,
    /// The money may have moved or may move yet.
    Unknown,
    /// Unknown, and nobody tells: left to the operator, or to a chain once there is one to read.
    Parked,
}

/// What can happen to a top-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopupEvent {
    /// The facilitator will not settle it, or could not be reached before anything was sent.
    Refuse,
    /// The account presents a refused payment again.
    TakeUp,
    /// The first `/settle` is about to be sent.
    Send,
    /// No byte of it left after all.
    Unsent,
    /// It is certain that nothing was paid by it: the facilitator refused the first attempt before
    /// broadcasting, or the chain shows it, or the operator says so.
    Reject,
    /// Nobody knows.
    Lose,
    /// Nobody knows, and nobody is left to be asked.
    Park,
    /// The payment is there: by the facilitator's word where no chain is read, else by the chain, or
    /// by the operator's.
    Settle,
    /// The credit commits.
    Credit,
}

impl TopupState {
    /// Every state.
    pub const ALL: [Self; 8] = [
        Self::Claimed,
        Self::Refused,
        Self::Settling,
        Self::Settled,
        Self::Credited,
        Self::Rejected,
        Self::Unknown,
        Self::Parked,
    ];

    /// The name in the table `topup`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Claimed => "claimed",
            Self::Refused => "refused",
            Self::Settling => "settling",
            Self::Settled => "settled",
            Self::Credited => "credited",
            Self::Rejected => "rejected",
            Self::Unknown => "unknown",
            Self::Parked => "parked",
        }
    }

    /// The state of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }

    /// Whether its outcome is open.
    pub const fn is_open(self) -> bool {
        match self {
            Self::Claimed | Self::Settling | Self::Settled | Self::Unknown | Self::Parked => true,
            Self::Refused | Self::Credited | Self::Rejected => false,
        }
    }

    /// The state after an event; `None` when the event does not belong to this state.
    pub const fn after(self, event: TopupEvent) -> Option<Self> {
        use TopupEvent as E;
        match (self, event) {
            (Self::Claimed, E::Refuse) | (Self::Settling, E::Unsent) => Some(Self::Refused),
            (Self::Claimed, E::Send) => Some(Self::Settling),
            (Self::Refused, E::TakeUp) => Some(Self::Claimed),
            // From `claimed`: somebody else has used the authorization before we sent anything.
            (Self::Claimed | Self::Settling | Self::Unknown, E::Lose) => Some(Self::Unknown),
            (Self::Unknown, E::Park) => Some(Self::Parked),
            (Self::Settling | Self::Unknown | Self::Parked, E::Reject) => Some(Self::Rejected),
            (
                Self::Settling | Self::Unknown | Self::Parked | Self::Refused | Self::Rejected,
                E::Settle,
            ) => Some(Self::Settled),
            (Self::Settling | Self::Settled | Self::Unknown, E::Credit) => Some(Self::Credited),
            (
                Self::Claimed,
                E::TakeUp | E::Unsent | E::Reject | E::Park | E::Settle | E::Credit,
            )
            | (
                Self::Refused,
                E::Refuse | E::Send | E::Unsent | E::Reject | E::Lose | E::Park | E::Credit,
            )
            | (Self::Settling, E::Refuse | E::TakeUp | E::Send | E::Park)
            | (Self::Unknown, E::Refuse | E::TakeUp | E::Send | E::Unsent)
            | (
                Self::Parked,
                E::Refuse | E::TakeUp | E::Send | E::Unsent | E::Lose | E::Park | E::Credit,
            )
            | (
                Self::Settled,
                E::Refuse
                | E::TakeUp
                | E::Send
                | E::Unsent
                | E::Reject
                | E::Lose
                | E::Park
                | E::Settle,
            )
            | (
                Self::Rejected,
                E::Refuse
                | E::TakeUp
                | E::Send
                | E::Unsent
                | E::Reject
                | E::Lose
                | E::Park
                | E::Credit,
            )
            | (
                Self::Credited,
                E::Refuse
                | E::TakeUp
                | E::Send
                | E::Unsent
                | E::Reject
                | E::Lose
                | E::Park
                | E::Settle
                | E::Credit,
            ) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const EVENTS: [TopupEvent; 9] = [
        TopupEvent::Refuse,
        TopupEvent::TakeUp,
        TopupEvent::Send,
        TopupEvent::Unsent,
        TopupEvent::Reject,
        TopupEvent::Lose,
        TopupEvent::Park,
        TopupEvent::Settle,
        TopupEvent::Credit,
    ];

    /// The states that one event leads to.
    fn next_of(state: TopupState) -> Vec<TopupState> {
        let mut next: Vec<_> = EVENTS.iter().filter_map(|event| state.after(*event)).collect();
        next.sort_by_key(|state| state.name());
        next.dedup();
        next
    }

    #[test]
    fn the_machine_is_the_one_that_was_designed() {
        use TopupState::{
            Claimed, Credited, Parked, Refused, Rejected, Settled, Settling, Unknown,
        };
        for (state, next) in [
            (Claimed, vec![Refused, Settling, Unknown]),
            (Refused, vec![Claimed, Settled]),
            (Settling, vec![Credited, Refused, Rejected, Settled, Unknown]),
            (Settled, vec![Credited]),
            (Credited, vec![]),
            (Rejected, vec![Settled]),
            (Unknown, vec![Credited, Parked, Rejected, Settled, Unknown]),
            (Parked, vec![Rejected, Settled]),
        ] {
            assert_eq!(next_of(state), next, "{state:?}");
            assert_eq!(TopupState::from_name(state.name()), Some(state));
        }
        assert_eq!(TopupState::from_name("Credited"), None);
    }

    #[test]
    fn only_what_nobody_sent_can_be_sent_as_first() {
        let sends = |state: &TopupState| state.after(TopupEvent::Send).is_some();
        let sendable: Vec<_> = TopupState::ALL.into_iter().filter(sends).collect();
        assert_eq!(sendable, [TopupState::Claimed]);
        let leads = |state: &TopupState| next_of(*state).contains(&TopupState::Claimed);
        let back: Vec<_> = TopupState::ALL.into_iter().filter(leads).collect();
        assert_eq!(back, [TopupState::Refused]);
    }

    /// The least that is known of a top-up: what its states must agree with.
    #[derive(Default)]
    struct Model {
        /// Bytes of a first `/settle` may have left.
        sent: bool,
        /// Somebody vouches that the payment is there.
        paid: bool,
        /// Somebody vouches that it is not.
        void: bool,
        credits: u32,
    }

    impl Model {
        fn happens(&mut self, event: TopupEvent) {
            match event {
                TopupEvent::Send => {
                    assert!(!self.sent, "first but once");
                    self.sent = true;
                }
                TopupEvent::Unsent => self.sent = false,
                TopupEvent::Reject => self.void = true,
                TopupEvent::Settle => (self.paid, self.void) = (true, false),
                TopupEvent::Credit => {
                    (self.paid, self.void) = (true, false);
                    self.credits += 1;
                }
                TopupEvent::Refuse | TopupEvent::TakeUp | TopupEvent::Lose | TopupEvent::Park => {}
            }
        }

        /// Whether the model may be in that state.
        fn allows(&self, state: TopupState) -> bool {
            let Self { sent, paid, void, credits } = *self;
            match state {
                TopupState::Claimed | TopupState::Refused => !sent && !paid && !void,
                TopupState::Settling => sent && !paid && !void,
                TopupState::Settled => paid && credits == 0,
                TopupState::Credited => paid && credits == 1,
                TopupState::Rejected => void && !paid,
                TopupState::Unknown | TopupState::Parked => !paid && !void,
            }
        }
    }

    proptest! {
        #[test]
        fn every_state_agrees_with_what_happened(
            events in prop::collection::vec(prop::sample::select(EVENTS.to_vec()), 0..60),
        ) {
            let (mut state, mut model) = (TopupState::Claimed, Model::default());
            for event in events {
                let Some(next) = state.after(event) else { continue };
                model.happens(event);
                prop_assert!(model.allows(next), "{:?} by {:?} to {:?}", state, event, next);
                let may_be_paid = matches!(state, TopupState::Unknown | TopupState::Parked);
                let certain = matches!(event, TopupEvent::Reject | TopupEvent::Settle | TopupEvent::Credit);
                prop_assert!(!may_be_paid || next.is_open() || certain, "thrown away");
                state = next;
            }
            prop_assert!(model.credits <= 1);
        }
    }
}
