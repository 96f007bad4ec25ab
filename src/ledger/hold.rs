use chrono::{DateTime, Utc};

use crate::ground::{Amount, ChargeId, HoldId, KeyId, LotId, TransactionId};

use super::Fault;

/// A part of a lot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draw {
    pub lot: LotId,
    pub amount: Amount,
}

/// Credits reserved for one checkout item.
///
/// The draws are in burn order and never change. A capture takes from their front and a release from
/// their back, so `captured` and `released` alone say what has become of each draw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    pub id: HoldId,
    pub spender: KeyId,
    pub transaction: TransactionId,
    pub amount: Amount,
    pub captured: Amount,
    pub released: Amount,
    pub reversed: Amount,
    pub draws: Vec<Draw>,
    pub placed_at: DateTime<Utc>,
}

/// The part of a hold that was taken for one accepted result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capture {
    pub id: ChargeId,
    pub hold: HoldId,
    pub transaction: TransactionId,
    /// Where it begins in the hold's draws.
    pub offset: Amount,
    pub amount: Amount,
    pub reversed: Amount,
    pub captured_at: DateTime<Utc>,
}

impl Hold {
    /// What is neither captured nor released.
    pub fn open(&self) -> Amount {
        self.amount.saturating_sub(self.captured).saturating_sub(self.released)
    }

    /// The draws of the next capture of that amount.
    pub fn draws_to_capture(&self, amount: Amount) -> Result<Vec<Draw>, Fault> {
        if amount.is_zero() || amount > self.open() {
            return Err(Fault::HoldExceeded(self.id));
        }
        Ok(slice(&self.draws, self.captured, amount))
    }

    /// The draws of the next release of that amount, from the back.
    pub fn draws_to_release(&self, amount: Amount) -> Result<Vec<Draw>, Fault> {
        if amount.is_zero() || amount > self.open() {
            return Err(Fault::HoldExceeded(self.id));
        }
        let end = self.amount.saturating_sub(self.released);
        Ok(slice(&self.draws, end.saturating_sub(amount), amount))
    }

    /// The draws that a reversal of a capture gives back: the last captured first.
    pub fn draws_to_reverse(&self, capture: &Capture, amount: Amount) -> Result<Vec<Draw>, Fault> {
        let left = capture.amount.saturating_sub(capture.reversed);
        if amount.is_zero() || amount > left {
            return Err(Fault::CaptureExceeded(capture.id));
        }
        let start = capture.offset.checked_add(left).ok_or(Fault::Overflow)?.saturating_sub(amount);
        Ok(slice(&self.draws, start, amount))
    }
}

/// The part `[from, from + length)` of a list of draws laid end to end.
fn slice(draws: &[Draw], from: Amount, length: Amount) -> Vec<Draw> {
    let mut skip = from;
    let mut left = length;
    let mut parts = Vec::with_capacity(1);
    for draw in draws {
        let skipped = skip.min(draw.amount);
        skip = skip.saturating_sub(skipped);
        let take = left.min(draw.amount.saturating_sub(skipped));
        if !take.is_zero() {
            left = left.saturating_sub(take);
            parts.push(Draw { lot: draw.lot, amount: take });
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn draws(parts: &[(u128, u32)]) -> Vec<Draw> {
        parts
            .iter()
            .map(|&(lot, amount)| Draw {
                lot: LotId(Uuid::from_u128(lot)),
                amount: Amount::micros_of(amount),
            })
            .collect()
    }

    fn hold(captured: u32, released: u32) -> Hold {
        Hold {
            id: HoldId(Uuid::nil()),
            spender: KeyId(Uuid::nil()),
            transaction: TransactionId(Uuid::nil()),
            amount: Amount::micros_of(10),
            captured: Amount::micros_of(captured),
            released: Amount::micros_of(released),
            reversed: Amount::ZERO,
            draws: draws(&[(1, 4), (2, 3), (3, 3)]),
            placed_at: DateTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn captures_take_the_front_and_releases_the_back() {
        let amount = Amount::micros_of(5);
        assert_eq!(hold(0, 0).draws_to_capture(amount), Ok(draws(&[(1, 4), (2, 1)])));
        assert_eq!(hold(3, 0).draws_to_capture(amount), Ok(draws(&[(1, 1), (2, 3), (3, 1)])));
        assert_eq!(hold(0, 0).draws_to_release(amount), Ok(draws(&[(2, 2), (3, 3)])));
        assert_eq!(hold(2, 2).draws_to_release(amount), Ok(draws(&[(1, 1), (2, 3), (3, 1)])));
        assert!(hold(3, 3).draws_to_capture(amount).is_err());
        assert!(hold(3, 3).draws_to_release(amount).is_err());
        assert!(hold(0, 0).draws_to_capture(Amount::ZERO).is_err());
    }

    #[test]
    fn a_reversal_gives_back_the_last_captured_first() {
        let hold = hold(8, 0);
        let mut capture = Capture {
            id: ChargeId(Uuid::nil()),
            hold: hold.id,
            transaction: hold.transaction,
            offset: Amount::micros_of(2),
            amount: Amount::micros_of(6),
            reversed: Amount::ZERO,
            captured_at: DateTime::UNIX_EPOCH,
        };
        let two = Amount::micros_of(2);
        assert_eq!(hold.draws_to_reverse(&capture, two), Ok(draws(&[(2, 1), (3, 1)])));
        capture.reversed = two;
        let four = Amount::micros_of(4);
        assert_eq!(hold.draws_to_reverse(&capture, four), Ok(draws(&[(1, 2), (2, 2)])));
        capture.reversed = Amount::micros_of(6);
        assert!(hold.draws_to_reverse(&capture, Amount::micros_of(1)).is_err());
    }
}
