use uuid::Uuid;

use crate::ground::{Amount, Entropy, LotId, TransactionId};
use crate::ledger::{Draw, Fault, Lot, Movement};

use super::{Act, Book};

/// What has become of the credits of a payment that is not on the chain after all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Voided {
    pub transaction: TransactionId,
    /// What was left of them, and was taken back.
    pub taken: Amount,
    /// What was on hold or spent.
    pub lost: Amount,
}

/// Payments whose money turns out not to be there.
///
/// The lot keeps what was spent of it as `lost`, which is what can still come back: from a hold that
/// is released or a charge that is reversed. Whatever does is taken at once, in the same batch, to make
/// up for the loss, so that it can never be spent. `settlement_loss` is the sum over all lots.
impl Book {
    /// Takes the credits of a top-up back as far as they are unspent, books the rest as lost, and
    /// freezes the account. The lots of the top-up must have been wanted (`Wants::lots_of`).
    pub fn void(&mut self, entropy: &dyn Entropy, origin: Uuid) -> Result<Voided, Fault> {
        let lots = self.lots.of_origin(origin);
        if lots.is_empty() || lots.iter().any(|lot| !lot.paid || lot.lost.is_some()) {
            return Err(Fault::LotsDisagree);
        }
        let act = self.act_of(entropy, Movement::Void, origin);
        let (mut taken, mut lost) = (Amount::ZERO, Amount::ZERO);
        for lot in &lots {
            let spent = own(lot, &lots)?.checked_sub(lot.remaining).ok_or(Fault::LotsDisagree)?;
            self.post_parts(&act, lot, lot.remaining, spent)?;
            taken = taken.checked_add(lot.remaining).ok_or(Fault::Overflow)?;
            lost = lost.checked_add(spent).ok_or(Fault::Overflow)?;
            self.lots.change(lot.id, |lot| {
                (lot.remaining, lot.lost) = (Amount::ZERO, Some(spent));
                Ok(())
            })?;
        }
        self.set_frozen(true);
        Ok(Voided { transaction: act.transaction, taken, lost })
    }

    /// Undoes a void: the money is there after all. What was spent meanwhile stays spent. The account
    /// stays as frozen as it is.
    pub fn reinstate(
        &mut self,
        entropy: &dyn Entropy,
        origin: Uuid,
    ) -> Result<TransactionId, Fault> {
        let lots = self.lots.of_origin(origin);
        if lots.is_empty() {
            return Err(Fault::LotsDisagree);
        }
        let act = self.act_of(entropy, Movement::Reinstatement, origin);
        for lot in &lots {
            let lost = lot.lost.ok_or(Fault::LotsDisagree)?;
            let left = own(lot, &lots)?.checked_sub(lost).ok_or(Fault::LotsDisagree)?;
            self.post_parts(&act, lot, left, lost)?;
            self.lots.change(lot.id, |lot| {
                (lot.remaining, lot.lost) = (left, None);
                Ok(())
            })?;
        }
        Ok(act.transaction)
    }

    /// Takes what has just come back to lots of void payments.
    pub(super) fn recover(&mut self, entropy: &dyn Entropy, draws: &[Draw]) -> Result<(), Fault> {
        let of = |book: &Self, id: LotId| book.lots.get(id).cloned().ok_or(Fault::LotUnknown(id));
        let mut acts: Vec<Act> = Vec::new();
        for draw in draws {
            let lot = of(self, draw.lot)?;
            let Some(lost) = lot.lost else { continue };
            if !acts.iter().any(|act| act.subject == lot.origin) {
                acts.push(self.act_of(entropy, Movement::Recovery, lot.origin));
            }
            let act = acts.iter().find(|act| act.subject == lot.origin);
            self.post(act.ok_or(Fault::LotsDisagree)?, lot.paid, *draw)?;
            let lost = lost.checked_sub(draw.amount).ok_or(Fault::LotsDisagree)?;
            self.lots.change(lot.id, |lot| {
                let left = lot.remaining.checked_sub(draw.amount).ok_or(Fault::LotsDisagree)?;
                (lot.remaining, lot.lost) = (left, Some(lost));
                Ok(())
            })?;
        }
        Ok(())
    }

    fn act_of(&self, entropy: &dyn Entropy, movement: Movement, origin: Uuid) -> Act {
        let transaction = TransactionId::mint(entropy, self.now, self.id.slot());
        self.act(movement, transaction, origin, None)
    }

    fn post_parts(
        &mut self,
        act: &Act,
        lot: &Lot,
        available: Amount,
        lost: Amount,
    ) -> Result<(), Fault> {
        let loss = act.movement.loss_roles().ok_or(Fault::LotsDisagree)?;
        for (roles, amount) in [(act.movement.roles(true), available), (loss, lost)] {
            if !amount.is_zero() {
                self.post_between(act, roles, Draw { lot: lot.id, amount })?;
            }
        }
        Ok(())
    }
}

/// The part of a lot's amount that has not moved on into successors.
fn own(lot: &Lot, all: &[Lot]) -> Result<Amount, Fault> {
    let moved = all.iter().filter(|of| of.parent == Some(lot.id)).map(|of| of.amount);
    let moved = Amount::sum(moved).ok_or(Fault::Overflow)?;
    lot.amount.checked_sub(moved).ok_or(Fault::LotsDisagree)
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, TimeDelta};

    use super::*;
    use crate::ground::{BookId, SeededEntropy};
    use crate::ledger::Role;

    #[test]
    fn what_has_moved_on_into_a_successor_is_taken_there() {
        let (entropy, origin) = (SeededEntropy::new(1), Uuid::from_u128(7));
        let start = DateTime::UNIX_EPOCH;
        let mut book = Book::new(BookId(Uuid::from_u128(0x0700)), start);
        let (_, id) = book.top_up(&entropy, origin, Amount::micros_of(10), start).unwrap();
        let mut lot = book.lots.get(id).unwrap().clone();
        // Three are left, five came back after it had expired, and two are spent.
        let spent = Amount::micros_of(2);
        let act = book.act_of(&entropy, Movement::Hold, origin);
        book.post(&act, true, Draw { lot: id, amount: spent }).unwrap();
        lot.remaining = Amount::micros_of(3);
        let later = start + TimeDelta::days(1);
        let next = LotId(Uuid::from_u128(9));
        let next = crate::ledger::lot::successor(&lot, next, Amount::micros_of(5), later);
        book.lots
            .change(id, |of| {
                of.remaining = lot.remaining;
                Ok(())
            })
            .unwrap();
        book.lots.open(next);
        let voided = book.void(&entropy, origin).unwrap();
        assert_eq!((voided.taken, voided.lost), (Amount::micros_of(8), spent));
        assert!(book.frozen);
        assert!(book.lots().all(|lot| lot.remaining.is_zero() && lot.lost.is_some()));
        let balances = [Role::SettledUsdc, Role::Prepaid, Role::SettlementLoss];
        let zero = Amount::ZERO;
        assert_eq!(balances.map(|role| book.balance(role)), [zero, zero, spent]);

        book.recover(&entropy, &[]).unwrap();
        book.reinstate(&entropy, origin).unwrap();
        let left: Vec<_> = book.lots().map(|lot| (lot.remaining.micros(), lot.lost)).collect();
        assert!(left.contains(&(3, None)) && left.contains(&(5, None)), "{left:?}");
        assert_eq!(book.balance(Role::SettledUsdc), Amount::micros_of(10));
    }
}
