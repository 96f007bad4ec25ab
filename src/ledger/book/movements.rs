use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::ground::mint_ordered_uuid;
use crate::ground::{Amount, ChargeId, Entropy, HoldId, KeyId, LotId, TransactionId};
use crate::ledger::lot::{DEFAULT_PRIORITY, Fate, successor};
use crate::ledger::{Capture, Draw, Fault, GrantTerms, Hold, Lot, Movement, Refusal};

use super::{Act, Book, HoldRequest, Stop};

/// What can happen to a book. A verb either refuses and leaves nothing behind, or books the whole
/// act.
impl Book {
    /// Books a settled payment: paid credits, which never expire.
    pub fn top_up(
        &mut self,
        entropy: &dyn Entropy,
        origin: Uuid,
        amount: Amount,
        effective_at: DateTime<Utc>,
    ) -> Result<(TransactionId, LotId), Fault> {
        let movement = Movement::Topup;
        let act = self.opening(entropy, movement, origin, effective_at);
        self.open_lot(entropy, &act, amount, DEFAULT_PRIORITY, None)
    }

    /// Gives promotional credits. Those that are over on arrival expire at once.
    pub fn grant(
        &mut self,
        entropy: &dyn Entropy,
        origin: Uuid,
        terms: &GrantTerms,
    ) -> Result<(TransactionId, LotId), Fault> {
        let GrantTerms { amount, priority, expires_at, .. } = *terms;
        let effective_at = terms.effective_at.min(self.now);
        let act = self.opening(entropy, Movement::Grant, origin, effective_at);
        let granted = self.open_lot(entropy, &act, amount, priority, Some(expires_at))?;
        if expires_at <= self.now {
            self.expire_due(entropy)?;
        }
        Ok(granted)
    }

    fn opening(
        &self,
        entropy: &dyn Entropy,
        movement: Movement,
        origin: Uuid,
        effective_at: DateTime<Utc>,
    ) -> Act {
        let transaction = TransactionId::mint(entropy, self.now, self.id.slot());
        Act { movement, transaction, subject: origin, reverses: None, effective_at }
    }

    fn open_lot(
        &mut self,
        entropy: &dyn Entropy,
        act: &Act,
        amount: Amount,
        priority: i16,
        expires_at: Option<DateTime<Utc>>,
    ) -> Result<(TransactionId, LotId), Fault> {
        let lot = Lot {
            id: self.fresh_lot(entropy),
            paid: act.movement == Movement::Topup,
            priority,
            amount,
            remaining: amount,
            granted_at: self.now,
            effective_at: act.effective_at,
            expires_at,
            origin: act.subject,
            parent: None,
            lost: None,
        };
        self.post(act, lot.paid, Draw { lot: lot.id, amount })?;
        let id = lot.id;
        self.lots.open(lot);
        Ok((act.transaction, id))
    }

    /// Places holds, all or none.
    pub fn place_holds(
        &mut self,
        entropy: &dyn Entropy,
        spender: KeyId,
        requests: &[HoldRequest],
        max_total: Amount,
    ) -> Result<TransactionId, Stop> {
        let total = Amount::sum(requests.iter().map(|r| r.amount)).ok_or(Fault::Overflow)?;
        self.may_hold(spender, total, max_total)?;
        let transaction = TransactionId::mint(entropy, self.now, self.id.slot());
        for request in requests {
            self.place_hold(spender, transaction, request)?;
        }
        self.take_headroom(spender, total)?;
        Ok(transaction)
    }

    /// Whether so much could be put on hold now, and if not, why.
    pub fn may_hold(
        &self,
        spender: KeyId,
        total: Amount,
        max_total: Amount,
    ) -> Result<(), Refusal> {
        if self.frozen {
            return Err(Refusal::AccountFrozen);
        }
        let violations = self.violations(spender, total, max_total);
        if !violations.is_empty() {
            return Err(Refusal::CapExceeded { violations });
        }
        let available = self.available();
        if total > available {
            let shortfall = total.saturating_sub(available);
            return Err(Refusal::InsufficientCredits { required: total, available, shortfall });
        }
        Ok(())
    }

    fn place_hold(
        &mut self,
        spender: KeyId,
        transaction: TransactionId,
        request: &HoldRequest,
    ) -> Result<(), Fault> {
        let draws = self.lots.draw(request.amount)?;
        let act = self.act(Movement::Hold, transaction, request.id.0, None);
        for draw in &draws {
            let paid = self.lots.get(draw.lot).ok_or(Fault::LotUnknown(draw.lot))?.paid;
            self.post(&act, paid, *draw)?;
        }
        let hold = Hold {
            id: request.id,
            spender,
            transaction,
            amount: request.amount,
            captured: Amount::ZERO,
            released: Amount::ZERO,
            reversed: Amount::ZERO,
            draws,
            placed_at: self.now,
        };
        self.holds.insert(hold.id, (hold, Fate::New));
        Ok(())
    }

    /// Takes a part of a hold for good.
    pub fn capture(
        &mut self,
        entropy: &dyn Entropy,
        hold_id: HoldId,
        capture_id: ChargeId,
        amount: Amount,
    ) -> Result<TransactionId, Fault> {
        let hold = self.hold(hold_id).ok_or(Fault::HoldUnknown(hold_id))?.clone();
        let draws = hold.draws_to_capture(amount)?;
        let transaction = TransactionId::mint(entropy, self.now, self.id.slot());
        let act = self.act(Movement::Capture, transaction, capture_id.0, None);
        for draw in draws {
            let paid = self.lots.get(draw.lot).ok_or(Fault::LotUnknown(draw.lot))?.paid;
            self.post(&act, paid, draw)?;
        }
        let capture = Capture {
            id: capture_id,
            hold: hold_id,
            transaction,
            offset: hold.captured,
            amount,
            reversed: Amount::ZERO,
            captured_at: self.now,
        };
        self.captures.insert(capture_id, (capture, Fate::New));
        self.change_hold(hold_id, |hold| {
            hold.captured = hold.captured.checked_add(amount).ok_or(Fault::Overflow)?;
            Ok(())
        })?;
        Ok(transaction)
    }

    /// Gives a part of a hold back to the lots it was drawn from.
    pub fn release(
        &mut self,
        entropy: &dyn Entropy,
        hold_id: HoldId,
        amount: Amount,
    ) -> Result<TransactionId, Fault> {
        let hold = self.hold(hold_id).ok_or(Fault::HoldUnknown(hold_id))?.clone();
        let draws = hold.draws_to_release(amount)?;
        let transaction = TransactionId::mint(entropy, self.now, self.id.slot());
        let act = self.act(Movement::Release, transaction, hold_id.0, Some(hold.transaction));
        self.restore(entropy, &act, &draws)?;
        self.change_hold(hold_id, |hold| {
            hold.released = hold.released.checked_add(amount).ok_or(Fault::Overflow)?;
            Ok(())
        })?;
        self.give_headroom_back(hold.spender, hold.placed_at, amount)?;
        Ok(transaction)
    }

    /// Gives a part of a capture back, by a linked transaction.
    pub fn reverse(
        &mut self,
        entropy: &dyn Entropy,
        capture_id: ChargeId,
        subject: Uuid,
        amount: Amount,
    ) -> Result<TransactionId, Stop> {
        let capture = self.capture_of(capture_id).ok_or(Fault::CaptureUnknown(capture_id))?.clone();
        let left = capture.amount.saturating_sub(capture.reversed);
        if amount > left {
            return Err(Refusal::ReversalExceedsCharge { requested: amount, left }.into());
        }
        let hold = self.hold(capture.hold).ok_or(Fault::HoldUnknown(capture.hold))?.clone();
        let draws = hold.draws_to_reverse(&capture, amount)?;
        let transaction = TransactionId::mint(entropy, self.now, self.id.slot());
        let act = self.act(Movement::Reversal, transaction, subject, Some(capture.transaction));
        self.restore(entropy, &act, &draws)?;
        let entry = self.captures.get_mut(&capture_id).ok_or(Fault::CaptureUnknown(capture_id))?;
        entry.0.reversed = entry.0.reversed.checked_add(amount).ok_or(Fault::Overflow)?;
        entry.1 = entry.1.touched();
        self.change_hold(hold.id, |hold| {
            hold.reversed = hold.reversed.checked_add(amount).ok_or(Fault::Overflow)?;
            Ok(())
        })?;
        self.give_headroom_back(hold.spender, hold.placed_at, amount)?;
        Ok(transaction)
    }

    /// Takes the batch's time, which never runs backwards in a book.
    pub fn set_time(&mut self, at: DateTime<Utc>) {
        self.now = self.now.max(at);
    }

    /// Books the expiry of every lot whose time is over, before anything else is decided.
    pub fn expire_due(&mut self, entropy: &dyn Entropy) -> Result<(), Fault> {
        for lot in self.lots.due(self.now) {
            let transaction = TransactionId::mint(entropy, self.now, self.id.slot());
            let act = self.act(Movement::Expiry, transaction, lot.id.0, None);
            self.post(&act, lot.paid, Draw { lot: lot.id, amount: lot.remaining })?;
            self.lots.adjust(lot.id, |_| Some(Amount::ZERO))?;
            self.emit("lot.expired", lot.id.0);
        }
        Ok(())
    }

    /// The burn order ends with the id. Ids in the order in which the lots are opened make lots of
    /// one batch burn as if each had come in a batch of its own.
    fn fresh_lot(&self, entropy: &dyn Entropy) -> LotId {
        let order = u64::try_from(self.version).unwrap_or(0);
        LotId(mint_ordered_uuid(entropy, self.now, self.id.slot(), order))
    }

    /// Puts draws back into their lots; what belongs to an expired lot goes into a successor, and what
    /// belongs to a void payment makes up for its loss.
    fn restore(&mut self, entropy: &dyn Entropy, act: &Act, draws: &[Draw]) -> Result<(), Fault> {
        for draw in draws {
            let lot = self.lots.get(draw.lot).ok_or(Fault::LotUnknown(draw.lot))?.clone();
            if lot.lost.is_none() && lot.is_expired(self.now) {
                let id = self.fresh_lot(entropy);
                self.post(act, lot.paid, Draw { lot: id, amount: draw.amount })?;
                self.lots.open(successor(&lot, id, draw.amount, self.now));
            } else {
                self.post(act, lot.paid, *draw)?;
                self.lots.adjust(lot.id, |lot| lot.remaining.checked_add(draw.amount))?;
            }
        }
        self.recover(entropy, draws)
    }

    fn change_hold(
        &mut self,
        id: HoldId,
        change: impl FnOnce(&mut Hold) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let entry = self.holds.get_mut(&id).ok_or(Fault::HoldUnknown(id))?;
        change(&mut entry.0)?;
        entry.1 = entry.1.touched();
        Ok(())
    }
}
