use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::{Builder, Uuid};

use super::Entropy;

/// The shard of a book, 0 to 255: the last byte of its id, and of the id of every row it owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u8);

impl Slot {
    /// The slot of an id.
    pub const fn of(id: Uuid) -> Self {
        Self(id.as_bytes()[15])
    }

    /// The slot of a SHA-256.
    pub const fn of_hash(hash: &[u8; 32]) -> Self {
        Self(hash[31])
    }

    /// As the database has it.
    pub fn sql(self) -> i16 {
        i16::from(self.0)
    }
}

/// A fresh UUIDv7 (RFC 9562) whose last byte is the slot.
pub fn mint_uuid(entropy: &dyn Entropy, at: DateTime<Utc>, slot: Slot) -> Uuid {
    let mut random: [u8; 10] = entropy.array();
    random[9] = slot.0;
    let millis = u64::try_from(at.timestamp_millis()).unwrap_or(0);
    Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
}

/// A fresh UUIDv7 that sorts after those of the same millisecond with a lower order. The order counts
/// to 2^26 and begins again.
pub fn mint_ordered_uuid(entropy: &dyn Entropy, at: DateTime<Utc>, slot: Slot, order: u64) -> Uuid {
    let [.., a, b, c, d] = (order & 0x03ff_ffff).to_be_bytes();
    // 12 bits before the variant and 14 after it: `rand_a` and the beginning of `rand_b`.
    let random: [u8; 6] = entropy.array();
    let [r0, r1, r2, r3, r4, _] = random;
    let packed = [a << 2 | b >> 6, b << 2 | c >> 6, c & 0x3f, d, r0, r1, r2, r3, r4, slot.0];
    let millis = u64::try_from(at.timestamp_millis()).unwrap_or(0);
    Builder::from_unix_timestamp_millis(millis, &packed).into_uuid()
}

/// Why a text is not an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an id of this kind is \"{prefix}_\" and 32 hexadecimal digits")]
pub struct IdError {
    /// What the id must begin with.
    pub prefix: &'static str,
}

macro_rules! typed_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub Uuid);

        impl $name {
            /// What the public form begins with.
            pub const PREFIX: &'static str = $prefix;

            /// A fresh id in a book's slot.
            pub fn mint(entropy: &dyn Entropy, at: DateTime<Utc>, slot: Slot) -> Self {
                Self(mint_uuid(entropy, at, slot))
            }

            /// The shard this id leads to.
            pub const fn slot(self) -> Slot {
                Slot::of(self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}_{}", $prefix, self.0.simple())
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                let error = IdError { prefix: $prefix };
                let digits = text
                    .strip_prefix($prefix)
                    .and_then(|rest| rest.strip_prefix('_'))
                    .filter(|rest| rest.len() == 32)
                    // An id has one spelling, so that equal ids are equal texts.
                    .filter(|rest| !rest.bytes().any(|b| b.is_ascii_uppercase()))
                    .ok_or(error)?;
                Uuid::try_parse(digits).map(Self).map_err(|_| error)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

typed_id!(
    /// A book: everything of one customer. Outside it is called the account.
    BookId, "acc");
typed_id!(
    /// An API key, or whoever else may act.
    KeyId, "key");
typed_id!(
    /// Credits of one top-up or grant, with what is left of them.
    LotId, "lot");
typed_id!(
    /// Promotional credits as they were given; when they are credited they become a lot.
    GrantId, "grt");
typed_id!(
    /// Credits reserved for one checkout item.
    HoldId, "hld");
typed_id!(
    /// The transfers of one business act.
    TransactionId, "txn");
typed_id!(
    /// A cap.
    CapId, "cap");
typed_id!(
    /// A top-up.
    TopupId, "top");
typed_id!(
    /// A quote: prices that hold for a while.
    QuoteId, "quo");
typed_id!(
    /// A checkout.
    CheckoutId, "chk");
typed_id!(
    /// A charge: the capture of one accepted result.
    ChargeId, "chg");
typed_id!(
    /// A buyer's objection to a charge.
    DisputeId, "dsp");
typed_id!(
    /// The undoing of a charge, whole or part.
    ReversalId, "rev");
typed_id!(
    /// Something that happened in a book.
    EventId, "evt");
typed_id!(
    /// A webhook: where events of a book are sent.
    WebhookId, "whk");
typed_id!(
    /// A verifier that is called for verdicts. It belongs to no book.
    VerifierId, "vfr");

impl BookId {
    /// The house book, which holds what belongs to no customer.
    pub const HOUSE: Self = Self(Uuid::from_u128(0x0000_0000_0000_7000_8000_0000_0000_0000));

    /// A fresh book: its own random last byte is its slot.
    pub fn mint_book(entropy: &dyn Entropy, at: DateTime<Utc>) -> Self {
        let [slot] = entropy.array();
        Self::mint(entropy, at, Slot(slot))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ground::SeededEntropy;

    #[test]
    fn ordered_ids_sort_by_time_and_then_by_order() {
        let at = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let entropy = SeededEntropy::new(1);
        let orders = [0, 1, 63, 64, 255, 256, 16_383, 16_384, 4_194_304, 0x03ff_ffff];
        let ids = orders.map(|order| mint_ordered_uuid(&entropy, at, Slot(9), order));
        assert!(ids.is_sorted_by(|a, b| a < b));
        assert!(ids.iter().all(|id| Slot::of(*id) == Slot(9) && id.get_version_num() == 7));
        let later = at + chrono::TimeDelta::milliseconds(1);
        assert!(mint_ordered_uuid(&entropy, later, Slot(9), 0) > ids[9]);
    }

    #[test]
    fn ids_carry_prefix_and_slot() {
        let at = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let id = CheckoutId::mint(&SeededEntropy::new(1), at, Slot(77));
        assert_eq!(id.slot(), Slot(77));
        assert_eq!(id.0.get_version_num(), 7);
        let text = id.to_string();
        assert!(text.starts_with("chk_"));
        assert_eq!(text.parse::<CheckoutId>(), Ok(id));
        assert!(text.parse::<ChargeId>().is_err());
        assert!("chk_".parse::<CheckoutId>().is_err());
        assert!("chk_zz".parse::<CheckoutId>().is_err());
        let upper = format!("chk_{}", text["chk_".len()..].to_uppercase());
        assert!(upper.parse::<CheckoutId>().is_err());
        assert_eq!(BookId::HOUSE.slot(), Slot(0));
    }
}
