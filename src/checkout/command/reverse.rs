use crate::checkout::ChargeEvent;
use crate::checkout::annex::{CheckoutRows, NewReversal};
use crate::checkout::charge::ChargeStep;
use crate::checkout::view::ReversalView;
use crate::ground::{Amount, BookId, ChargeId, DisputeId, HoldId, KeyId, ReversalId};
use crate::ledger::{
    Annexes, Command, CommandIdentity, Decision, Desk, Fault, Refusal, Stop, Wants,
};

use super::ReversalRequest;

/// Gives back a part of a charge.
pub struct Reverse {
    pub account: BookId,
    pub charge: ChargeId,
    pub hold: HoldId,
    pub identity: CommandIdentity,
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
        want_charge(wants, annexes, self.account, self.charge, self.hold);
    }

    fn decide(&self, desk: &mut Desk<'_>) -> Result<Decision, Fault> {
        let at = desk.book.now();
        let charge = desk.annexes.of::<CheckoutRows>().charge_of(self.account, self.charge)?;
        let event = ChargeEvent::Reverse { amount: self.request.amount, at };
        match charge.step(event) {
            ChargeStep::GiveBack { amount } => {
                let back = Back {
                    account: self.account,
                    charge: self.charge,
                    amount,
                    reason: &self.request.reason,
                    by: Some(self.request.by.key),
                    dispute: None,
                };
                Ok(Decision::accept(&back.give(desk)?))
            }
            ChargeStep::Exceeds { requested, left } => Ok(exceeds(requested, left)),
            ChargeStep::Refuse(refusal) => Ok(Decision::refuse(&refusal)),
            ChargeStep::Contest { .. }
            | ChargeStep::Uphold { .. }
            | ChargeStep::Deny
            | ChargeStep::Nothing => Err(Fault::Annex("a reversal gives back or is refused")),
        }
    }
}

/// What whoever changes a charge must see.
pub(super) fn want_charge(
    wants: &mut Wants,
    annexes: &mut Annexes,
    account: BookId,
    charge: ChargeId,
    hold: HoldId,
) {
    annexes.of::<CheckoutRows>().want_charge(account, charge);
    wants.capture(account, charge);
    wants.hold(account, hold);
}

/// The refusal of what is more than the charge has left, in the ledger's own words.
pub(super) fn exceeds(requested: Amount, left: Amount) -> Decision {
    Decision::refuse(&Refusal::ReversalExceedsCharge { requested, left })
}

/// A part of a charge that goes back.
pub(super) struct Back<'a> {
    pub(super) account: BookId,
    pub(super) charge: ChargeId,
    pub(super) amount: Amount,
    pub(super) reason: &'a str,
    pub(super) by: Option<KeyId>,
    pub(super) dispute: Option<DisputeId>,
}

impl Back<'_> {
    /// Gives it back and writes it down. That there is as much has been decided.
    pub(super) fn give(self, desk: &mut Desk<'_>) -> Result<ReversalView, Fault> {
        let Self { account, charge, amount, by, dispute, .. } = self;
        let at = desk.book.now();
        let left = desk.annexes.of::<CheckoutRows>().charge_of(account, charge)?.left();
        // A reversal belongs to its charge, so that all transfers of a charge are found by its id.
        let done = desk.book.reverse(desk.entropy, charge, charge.0, amount);
        let transaction = done.map_err(|stop| match stop {
            Stop::Fault(fault) => fault,
            Stop::Refused(_) => Fault::Annex("a charge is its capture"),
        })?;
        let reversal = NewReversal {
            account,
            charge,
            id: ReversalId::mint(desk.entropy, at, account.slot()),
            amount,
            reason: self.reason.to_owned(),
            transaction,
            by,
            at,
            dispute,
        };
        let view = ReversalView::of(&reversal, left.saturating_sub(amount));
        desk.annexes.of::<CheckoutRows>().reverse(reversal)?;
        desk.book.emit_part("charge.reversed", charge.0, view.reversal_id);
        Ok(view)
    }
}
