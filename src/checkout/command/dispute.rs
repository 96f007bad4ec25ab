use chrono::TimeDelta;

use crate::checkout::ChargeEvent;
use crate::checkout::annex::{CheckoutRows, DecidedDispute, NewDispute};
use crate::checkout::charge::ChargeStep;
use crate::checkout::store::ChargeTarget;
use crate::checkout::store::disputes::KnownDispute;
use crate::checkout::view::DisputeView;
use crate::ground::{BookId, ChargeId, DisputeId, KeyId};
use crate::ledger::{Annexes, Command, CommandIdentity, Decision, Desk, Fault, Wants};

use super::reverse::{Back, exceeds, want_charge};
use super::{DisputeDecision, DisputeRequest};

/// Puts a part of a charge under dispute. Nothing moves.
pub struct Dispute {
    pub charge: ChargeId,
    pub of: ChargeTarget,
    pub identity: CommandIdentity,
    pub request: DisputeRequest,
}

impl Command for Dispute {
    fn book(&self) -> BookId {
        self.of.account
    }

    fn identity(&self) -> CommandIdentity {
        self.identity
    }

    fn want(&self, wants: &mut Wants, annexes: &mut Annexes) {
        want_charge(wants, annexes, self.of.account, self.charge, self.of.hold);
    }

    fn decide(&self, desk: &mut Desk<'_>) -> Result<Decision, Fault> {
        let at = desk.book.now();
        let account = self.of.account;
        let charge = desk.annexes.of::<CheckoutRows>().charge_of(account, self.charge)?;
        let decision = TimeDelta::seconds(i64::from(self.of.dispute_decision_s));
        let decide_by = at.checked_add_signed(decision).ok_or(Fault::Overflow)?;
        let event = ChargeEvent::Dispute { amount: self.request.amount, at, decide_by };
        let (amount, decide_by) = match charge.step(event) {
            ChargeStep::Contest { amount, decide_by } => (amount, decide_by),
            ChargeStep::Exceeds { requested, left } => return Ok(exceeds(requested, left)),
            ChargeStep::Refuse(refusal) => return Ok(Decision::refuse(&refusal)),
            ChargeStep::GiveBack { .. }
            | ChargeStep::Uphold { .. }
            | ChargeStep::Deny
            | ChargeStep::Nothing => return Err(Fault::Annex("a dispute begins or is refused")),
        };
        let id = DisputeId::mint(desk.entropy, at, account.slot());
        let (sku, reason) = (self.of.sku.clone(), self.request.reason.clone());
        let (charge, by) = (self.charge, self.request.by);
        let new = NewDispute { account, charge, id, sku, amount, reason, by, at, decide_by };
        let view = DisputeView::begun(&new, &self.of);
        desk.annexes.of::<CheckoutRows>().dispute(new)?;
        desk.book.emit_part("charge.disputed", self.charge.0, id);
        Ok(Decision::accept(&view))
    }
}

/// Decides a dispute: what is upheld goes back at once.
pub struct DecideDispute {
    pub dispute: KnownDispute,
    pub identity: CommandIdentity,
    pub decision: DisputeDecision,
}

impl Command for DecideDispute {
    fn book(&self) -> BookId {
        self.dispute.account
    }

    fn identity(&self) -> CommandIdentity {
        self.identity
    }

    fn want(&self, wants: &mut Wants, annexes: &mut Annexes) {
        let KnownDispute { account, charge, hold, .. } = self.dispute;
        want_charge(wants, annexes, account, charge, hold);
    }

    fn decide(&self, desk: &mut Desk<'_>) -> Result<Decision, Fault> {
        let (dispute, upheld) = (self.dispute.id, self.decision.upheld);
        let event = ChargeEvent::Decide { dispute, upheld, at: desk.book.now() };
        let by = Some(self.decision.by.key);
        let decided = end(desk, &self.dispute, event, by, &self.decision.reason)?;
        decided.ok_or(Fault::Annex("a decision is taken or refused"))
    }
}

/// Upholds what nobody decided in time.
pub struct DisputeDeadline {
    pub dispute: KnownDispute,
}

impl Command for DisputeDeadline {
    fn book(&self) -> BookId {
        self.dispute.account
    }

    fn identity(&self) -> CommandIdentity {
        CommandIdentity::of_effect(&format!("dispute:{}:decision-timeout", self.dispute.id))
    }

    fn want(&self, wants: &mut Wants, annexes: &mut Annexes) {
        let KnownDispute { account, charge, hold, .. } = self.dispute;
        want_charge(wants, annexes, account, charge, hold);
    }

    fn decide(&self, desk: &mut Desk<'_>) -> Result<Decision, Fault> {
        let event = ChargeEvent::Deadline { dispute: self.dispute.id, at: desk.book.now() };
        let ended = end(desk, &self.dispute, event, None, "decision_timeout")?;
        Ok(ended.unwrap_or_else(Decision::nothing_due))
    }
}

/// Ends a dispute one way or the other. None when nothing is due.
fn end(
    desk: &mut Desk<'_>,
    of: &KnownDispute,
    event: ChargeEvent,
    by: Option<KeyId>,
    reason: &str,
) -> Result<Option<Decision>, Fault> {
    let rows = desk.annexes.of::<CheckoutRows>();
    let upheld = match rows.charge_of(of.account, of.charge)?.step(event) {
        ChargeStep::Uphold { amount } => Some(amount),
        ChargeStep::Deny => None,
        ChargeStep::Nothing => return Ok(None),
        ChargeStep::Refuse(refusal) => return Ok(Some(Decision::refuse(&refusal))),
        ChargeStep::GiveBack { .. } | ChargeStep::Contest { .. } | ChargeStep::Exceeds { .. } => {
            return Err(Fault::Annex("a dispute ends or stays"));
        }
    };
    let decided = DecidedDispute {
        account: of.account,
        charge: of.charge,
        id: of.id,
        upheld: upheld.is_some(),
        by,
        at: desk.book.now(),
        reason: reason.to_owned(),
    };
    let mut view = DisputeView::open(of).decided(&decided);
    desk.annexes.of::<CheckoutRows>().decide_dispute(decided)?;
    let (account, charge, dispute) = (of.account, of.charge, Some(of.id));
    match upheld {
        Some(amount) => {
            let reversal = Back { account, charge, amount, reason, by, dispute }.give(desk)?;
            view.reversal_id = Some(reversal.reversal_id);
            desk.book.emit_part("charge.dispute_upheld", charge.0, of.id);
        }
        None => desk.book.emit_part("charge.dispute_denied", charge.0, of.id),
    }
    Ok(Some(Decision::accept(&view)))
}
