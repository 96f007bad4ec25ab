use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A non-negative amount of money in micro-dollars (scale 6, the scale of USDC).
///
/// Arithmetic is checked and there are no floats. In JSON it is a decimal string matching
/// `^(0|[1-9][0-9]{0,11})(\.[0-9]{1,6})?$`, read exactly and never rounded. It is written with at
/// least two decimals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Amount(i64);

/// Why a text is not an [`Amount`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AmountError {
    /// The text does not match the pattern of amounts.
    #[error(
        "an amount is a decimal string like \"5.00\": up to 12 digits, up to 6 decimals, no sign"
    )]
    Malformed,
    /// The number is negative or does not fit.
    #[error("the amount is out of range")]
    OutOfRange,
}

const MICROS_PER_DOLLAR: i64 = 1_000_000;

impl Amount {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// The largest amount there is.
    pub const MAX: Self = Self(i64::MAX);

    /// From micro-dollars; `None` when negative.
    pub const fn from_micros(micros: i64) -> Option<Self> {
        if micros < 0 { None } else { Some(Self(micros)) }
    }

    /// From whole micro-dollars known to be non-negative.
    pub const fn micros_of(micros: u32) -> Self {
        #[expect(clippy::as_conversions, reason = "u32 always fits into i64; From is not const")]
        Self(micros as i64)
    }

    /// The amount in micro-dollars: atomic units of USDC.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Whether this is nothing.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// The sum; `None` when it does not fit.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// The difference; `None` when it would be negative.
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).and_then(Self::from_micros)
    }

    /// The difference, or nothing when `other` is larger.
    pub fn saturating_sub(self, other: Self) -> Self {
        self.checked_sub(other).unwrap_or(Self::ZERO)
    }

    /// The product with a count of units; `None` when it does not fit or the count is negative.
    pub fn checked_mul(self, count: i64) -> Option<Self> {
        self.0.checked_mul(count).and_then(Self::from_micros)
    }

    /// The sum of many; `None` when it does not fit.
    pub fn sum(amounts: impl IntoIterator<Item = Self>) -> Option<Self> {
        amounts.into_iter().try_fold(Self::ZERO, Self::checked_add)
    }
}

impl FromStr for Amount {
    type Err = AmountError;

    fn from_str(text: &str) -> Result<Self, AmountError> {
        let (whole, fraction) = match text.split_once('.') {
            Some((whole, fraction)) => (whole, Some(fraction)),
            None => (text, None),
        };
        let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
        let whole_ok =
            digits(whole) && whole.len() <= 12 && (whole == "0" || !whole.starts_with('0'));
        let fraction_ok = fraction.is_none_or(|f| digits(f) && f.len() <= 6);
        if !whole_ok || !fraction_ok {
            return Err(AmountError::Malformed);
        }
        let dollars: i64 = whole.parse().map_err(|_| AmountError::OutOfRange)?;
        let micros: i64 = match fraction {
            None => 0,
            Some(f) => format!("{f:0<6}").parse().map_err(|_| AmountError::OutOfRange)?,
        };
        dollars
            .checked_mul(MICROS_PER_DOLLAR)
            .and_then(|m| m.checked_add(micros))
            .map(Self)
            .ok_or(AmountError::OutOfRange)
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dollars = self.0.checked_div(MICROS_PER_DOLLAR).unwrap_or_default();
        let micros = self.0.checked_rem(MICROS_PER_DOLLAR).unwrap_or_default();
        let mut fraction = format!("{micros:06}");
        while fraction.len() > 2 && fraction.ends_with('0') {
            fraction.pop();
        }
        write!(f, "{dollars}.{fraction}")
    }
}

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_exactly() {
        for (text, micros, back) in [
            ("0", 0, "0.00"),
            ("5", 5_000_000, "5.00"),
            ("5.00", 5_000_000, "5.00"),
            ("0.01", 10_000, "0.01"),
            ("0.000001", 1, "0.000001"),
            ("12.345", 12_345_000, "12.345"),
            ("999999999999.999999", 999_999_999_999_999_999, "999999999999.999999"),
        ] {
            let amount: Amount = text.parse().unwrap();
            assert_eq!(amount.micros(), micros);
            assert_eq!(amount.to_string(), back);
        }
    }

    #[test]
    fn refuses_what_the_pattern_refuses() {
        for text in [
            "",
            ".",
            "1.",
            ".5",
            "-1",
            "+1",
            "01",
            "00",
            "1e3",
            "1,00",
            " 1",
            "1 ",
            "1.0000001",
            "1000000000000",
            "١",
            "0x1",
            "NaN",
            "1.-1",
        ] {
            assert_eq!(text.parse::<Amount>(), Err(AmountError::Malformed), "{text:?}");
        }
        assert!(serde_json::from_str::<Amount>("1.5").is_err(), "a JSON number is refused");
    }

    #[test]
    fn arithmetic_is_checked() {
        let one = Amount::micros_of(1);
        assert_eq!(Amount::MAX.checked_add(one), None);
        assert_eq!(Amount::ZERO.checked_sub(one), None);
        assert_eq!(one.checked_mul(-1), None);
        assert_eq!(Amount::MAX.checked_mul(2), None);
    }
}
