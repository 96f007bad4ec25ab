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
    /// The facilitator reported success, and the credit has not committed yet.
    Settled,
    /// The credits are in the account. Final.
    Credited,
    /// Refused before anything reached the chain. Final.
    Rejected,
    /// The money may have moved or may move yet.
    Unknown,
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
    /// The facilitator refused it before broadcasting.
    Reject,
    /// Nobody knows.
    Lose,
    /// The facilitator reports success, and the chain, where it is read, agrees.
    Settle,
    /// The credit commits.
    Credit,
}

impl TopupState {
    /// Every state.
    pub const ALL: [Self; 7] = [
        Self::Claimed,
        Self::Refused,
        Self::Settling,
        Self::Settled,
        Self::Credited,
        Self::Rejected,
        Self::Unknown,
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
        }
    }

    /// The state of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }

    /// The state after an event; `None` when the event does not belong to this state.
    pub const fn after(self, event: TopupEvent) -> Option<Self> {
        use TopupEvent as E;
        match (self, event) {
            (Self::Claimed, E::Refuse) => Some(Self::Refused),
            (Self::Claimed, E::Send) => Some(Self::Settling),
            // Somebody else has used the authorization before we sent anything.
            (Self::Claimed, E::Lose) => Some(Self::Unknown),
            (Self::Claimed, E::TakeUp | E::Unsent | E::Reject | E::Settle | E::Credit) => None,
            (Self::Refused, E::TakeUp) => Some(Self::Claimed),
            (
                Self::Refused,
                E::Refuse | E::Send | E::Unsent | E::Reject | E::Lose | E::Settle | E::Credit,
            ) => None,
            (Self::Settling, E::Unsent) => Some(Self::Refused),
            (Self::Settling, E::Reject) => Some(Self::Rejected),
            (Self::Settling, E::Lose) => Some(Self::Unknown),
            (Self::Settling | Self::Unknown, E::Settle) => Some(Self::Settled),
            (Self::Settling | Self::Settled | Self::Unknown, E::Credit) => Some(Self::Credited),
            (Self::Settling, E::Refuse | E::TakeUp | E::Send) => None,
            (Self::Unknown, E::Lose) => Some(Self::Unknown),
            (Self::Unknown, E::Refuse | E::TakeUp | E::Send | E::Unsent | E::Reject) => None,
            (
                Self::Settled,
                E::Refuse | E::TakeUp | E::Send | E::Unsent | E::Reject | E::Lose | E::Settle,
            ) => None,
            (
                Self::Credited | Self::Rejected,
                E::Refuse
                | E::TakeUp
                | E::Send
                | E::Unsent
                | E::Reject
                | E::Lose
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

    const EVENTS: [TopupEvent; 8] = [
        TopupEvent::Refuse,
        TopupEvent::TakeUp,
        TopupEvent::Send,
        TopupEvent::Unsent,
        TopupEvent::Reject,
        TopupEvent::Lose,
        TopupEvent::Settle,
        TopupEvent::Credit,
    ];

    #[test]
    fn every_state_has_its_name_and_what_is_final_stays() {
        for state in TopupState::ALL {
            assert_eq!(TopupState::from_name(state.name()), Some(state));
            let moves = EVENTS.iter().filter_map(|event| state.after(*event)).count();
            let last = matches!(state, TopupState::Credited | TopupState::Rejected);
            assert_eq!(moves == 0, last, "{state:?}");
        }
        assert_eq!(TopupState::from_name("Credited"), None);
    }

    #[test]
    fn only_what_nobody_sent_can_be_sent_as_first() {
        let sends = |state: &TopupState| state.after(TopupEvent::Send).is_some();
        let sendable: Vec<_> = TopupState::ALL.into_iter().filter(sends).collect();
        assert_eq!(sendable, [TopupState::Claimed]);
        let leads = |state: &TopupState| {
            EVENTS.iter().any(|event| state.after(*event) == Some(TopupState::Claimed))
        };
        let back: Vec<_> = TopupState::ALL.into_iter().filter(leads).collect();
        assert_eq!(back, [TopupState::Refused]);
    }

    proptest! {
        #[test]
        fn a_sent_payment_is_never_forgotten_and_credited_once(
            events in prop::collection::vec(prop::sample::select(EVENTS.to_vec()), 0..40),
        ) {
            let mut state = TopupState::Claimed;
            let mut credits = 0;
            // How often it was sent and may have arrived.
            let mut under_way = 0;
            for event in events {
                let Some(next) = state.after(event) else { continue };
                let certain = event == TopupEvent::Unsent || event == TopupEvent::Reject;
                if state == TopupState::Unknown || state == TopupState::Settled {
                    prop_assert!(
                        matches!(next, TopupState::Unknown | TopupState::Settled | TopupState::Credited),
                        "what may have been paid is not thrown away: {state:?} {event:?}"
                    );
                }
                if state == TopupState::Settling {
                    let dropped = matches!(next, TopupState::Refused | TopupState::Rejected);
                    prop_assert_eq!(dropped, certain);
                }
                match event {
                    TopupEvent::Send => under_way += 1,
                    TopupEvent::Unsent => under_way -= 1,
                    TopupEvent::Refuse
                    | TopupEvent::TakeUp
                    | TopupEvent::Reject
                    | TopupEvent::Lose
                    | TopupEvent::Settle
                    | TopupEvent::Credit => {}
                }
                let again = state == TopupState::Refused || state == TopupState::Claimed;
                prop_assert!(!again || under_way <= i32::from(event == TopupEvent::Send));
                prop_assert!((0..=1).contains(&under_way), "sent as first at most once");
                credits += usize::from(next == TopupState::Credited);
                state = next;
            }
            prop_assert!(credits <= 1);
        }
    }
}
