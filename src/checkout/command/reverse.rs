use crate::checkout::CheckoutRefusal;
use crate::checkout::annex::{CheckoutRows, NewReversal};
use crate::checkout::view::ReversalView;
use crate::ground::{BookId, ChargeId, HoldId, ReversalId};
use crate::ledger::{Annexes, Command, CommandIdentity, Decision, Desk, Fault, Wants};

use super::ReversalRequest;

/// Gives back a part of a charge.
pub struct Reverse {
    pub account: BookId,
    pub charge: ChargeId,
    pub hold: HoldId,
    pub identity: CommandIdentity,
    pub reversal: ReversalId,
    pub request: ReversalRequest,
}

impl Command for Reverse {
    fn book(&self) -> BookId {
        self.account
    }

    fn identity(&self) -> CommandIdentity {
        self.identity
    }

    fn want(&self, wants: &mut Wants, annexes: &mut Annexes) {
        annexes.of::<CheckoutRows>().want_charge(self.account, self.charge);
        wants.capture(self.account, self.charge);
        wants.hold(self.account, self.hold);
    }

    fn decide(&self, desk: &mut Desk<'_>) -> Result<Decision, Fault> {
        let at = desk.book.now();
        let rows = desk.annexes.of::<CheckoutRows>();
        let charge = rows.charge_of(self.account, self.charge).ok_or(Fault::Annex("charge"))?;
        let (total, reversed, final_at) = (charge.amount, charge.reversed, charge.final_at);
        if at >= final_at {
            return Ok(Decision::refuse(&CheckoutRefusal::ChargeFinal { final_at }));
        }
        let left = total.saturating_sub(reversed);
        if left.is_zero() {
            return Ok(Decision::refuse(&CheckoutRefusal::AlreadyReversed { amount: total }));
        }
        let amount = self.request.amount.unwrap_or(left);
        // A reversal belongs to its charge, so that all transfers of a charge are found by its id.
        let done = desk.book.reverse(desk.entropy, self.charge, self.charge.0, amount);
        let transaction = match done {
            Ok(transaction) => transaction,
            Err(stop) => return Decision::stopped(stop),
        };
        let reversal = NewReversal {
            account: self.account,
            charge: self.charge,
            id: self.reversal,
            amount,
            reason: self.request.reason.clone(),
            transaction,
            by: self.request.by.key,
            at,
        };
        let view = ReversalView::of(&reversal, left.saturating_sub(amount));
        desk.annexes.of::<CheckoutRows>().reverse(reversal)?;
        desk.book.emit("charge.reversed", self.charge.0);
        Ok(Decision::accept(&view))
    }
}
