//! How a settlement stands on the chain after it was credited. Pure.

use serde::{Deserialize, Serialize};

/// How a settlement that the chain showed stands there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// In a block that is not deep enough yet to be sure to stay.
    Seen,
    /// In no block at last sight. It may be mined again.
    Missing,
    /// Deep enough. Final.
    Confirmed,
    /// Gone for good, as far as can be told: its credits are taken back.
    Void,
    /// In a block again after its credits had been taken back.
    Returned,
    /// Deep enough after that: its credits are given back. Final.
    Reinstated,
    /// Void, and its authorization has run out. Final.
    Lost,
}

/// What a look at the chain shows of a settlement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fact {
    /// It is in a block.
    There,
    /// It is in a block that is deep enough.
    Deep,
    /// It is in no block, and nothing else has used its authorization to pay us.
    Gone,
    /// So it was all the while, over as many blocks as a settlement must be deep.
    StillGone,
    /// So it was, and its authorization can no longer be used.
    Over,
}

impl Standing {
    /// Every standing.
    pub const ALL: [Self; 7] = [
        Self::Seen,
        Self::Missing,
        Self::Confirmed,
        Self::Void,
        Self::Returned,
        Self::Reinstated,
        Self::Lost,
    ];

    /// The name in the table `settlement`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Seen => "seen",
            Self::Missing => "missing",
            Self::Confirmed => "confirmed",
            Self::Void => "void",
            Self::Returned => "returned",
            Self::Reinstated => "reinstated",
            Self::Lost => "lost",
        }
    }

    /// The standing of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|standing| standing.name() == name)
    }

    /// Whether the ledger holds the credits of the settlement for void.
    pub const fn is_void(self) -> bool {
        match self {
            Self::Void | Self::Returned | Self::Lost => true,
            Self::Seen | Self::Missing | Self::Confirmed | Self::Reinstated => false,
        }
    }

    /// Where a fact leads. Nothing is void at first sight, and nothing that was void is given back at
    /// first sight.
    pub(super) const fn after(self, fact: Fact) -> Self {
        match (self, fact) {
            (Self::Seen | Self::Missing, Fact::There) => Self::Seen,
            (Self::Seen | Self::Missing, Fact::Deep) => Self::Confirmed,
            (Self::Seen, Fact::Gone | Fact::StillGone | Fact::Over) => Self::Missing,
            (Self::Missing, Fact::Gone) => Self::Missing,
            (Self::Missing, Fact::StillGone | Fact::Over) => Self::Void,
            (Self::Void, Fact::There | Fact::Deep) => Self::Returned,
            (Self::Void, Fact::Gone | Fact::StillGone) => Self::Void,
            (Self::Void, Fact::Over) => Self::Lost,
            (Self::Returned, Fact::There) => Self::Returned,
            (Self::Returned, Fact::Deep) => Self::Reinstated,
            (Self::Returned, Fact::Gone | Fact::StillGone | Fact::Over) => Self::Void,
            (
                Self::Confirmed | Self::Reinstated | Self::Lost,
                Fact::There | Fact::Deep | Fact::Gone | Fact::StillGone | Fact::Over,
            ) => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FACTS: [Fact; 5] = [Fact::There, Fact::Deep, Fact::Gone, Fact::StillGone, Fact::Over];

    #[test]
    fn every_standing_has_its_name_and_what_is_final_stays() {
        for standing in Standing::ALL {
            assert_eq!(Standing::from_name(standing.name()), Some(standing));
            let stays = FACTS.iter().all(|fact| standing.after(*fact) == standing);
            let last = [Standing::Confirmed, Standing::Reinstated, Standing::Lost];
            assert_eq!(stays, last.contains(&standing), "{standing:?}");
        }
        assert_eq!(Standing::from_name("Seen"), None);
    }

    proptest! {
        #[test]
        fn credits_are_taken_back_once_and_given_back_once_at_most(
            facts in prop::collection::vec(prop::sample::select(FACTS.to_vec()), 0..60),
        ) {
            let mut standing = Standing::Seen;
            let (mut taken, mut given) = (0, 0);
            for fact in facts {
                let next = standing.after(fact);
                if next == Standing::Void && standing != Standing::Void {
                    prop_assert!(matches!(standing, Standing::Missing | Standing::Returned));
                    prop_assert!(matches!(fact, Fact::Gone | Fact::StillGone | Fact::Over));
                }
                if !standing.is_void() && next.is_void() {
                    prop_assert_eq!(standing, Standing::Missing, "missed before");
                    prop_assert!(fact != Fact::Gone, "and for long enough");
                    taken += 1;
                }
                if standing.is_void() && !next.is_void() {
                    prop_assert_eq!((standing, next), (Standing::Returned, Standing::Reinstated));
                    prop_assert_eq!(fact, Fact::Deep);
                    given += 1;
                }
                standing = next;
            }
            prop_assert!(taken <= 1 && given <= taken);
            prop_assert_eq!(standing.is_void(), taken > given);
        }
    }
}
