//! Sums of micro-dollars as texts: they may be larger than an amount, and in a report of something
//! broken even negative.

use rust_decimal::Decimal;

/// A number of micro-dollars as dollars, with at least two decimals.
pub(super) fn dollars(micros: Decimal) -> String {
    let mut sum = micros.trunc();
    if sum.set_scale(6).is_err() {
        return micros.to_string();
    }
    let mut sum = sum.normalize();
    if sum.scale() < 2 {
        sum.rescale(2);
    }
    sum.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ground::Amount;

    #[test]
    fn sums_are_written_like_amounts() {
        for micros in [0_i64, 1, 10, 10_000, 1_234_500, 5_000_000, 100_000_000, i64::MAX] {
            let amount = Amount::from_micros(micros).unwrap();
            assert_eq!(dollars(Decimal::from(micros)), amount.to_string());
        }
        assert_eq!(dollars(Decimal::from(-1_500_000)), "-1.50");
        let beyond = Decimal::from(i64::MAX).checked_mul(Decimal::from(1000)).unwrap();
        assert_eq!(dollars(beyond), "9223372036854775.807");
    }
}
