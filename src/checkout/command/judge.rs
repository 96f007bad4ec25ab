use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;

use crate::checkout::annex::{CheckoutRows, Decided, NewCharge, ResultKey};
use crate::checkout::result::ResultStep;
use crate::checkout::store::KnownResult;
use crate::checkout::view::VerdictView;
use crate::checkout::{CheckoutRefusal, Item, ResultEvent, ResultState};
use crate::ground::{BookId, ChargeId, CheckoutId, HoldId};
use crate::ledger::{Annexes, Command, CommandIdentity, Decision, Desk, Fault, Wants};

use super::Ruling;

/// The result that is judged, with what never changes about it.
#[derive(Clone, Debug)]
pub struct Target {
    account: BookId,
    checkout: CheckoutId,
    result_id: String,
    item: i16,
    hold: HoldId,
    /// Whether a verifier was to be asked about it.
    asked: bool,
}

impl Target {
    pub fn new(account: BookId, checkout: CheckoutId, result_id: &str, of: &KnownResult) -> Self {
        Self { asked: of.asked, ..Self::fresh(account, checkout, result_id, of.item, of.hold) }
    }

    /// A result that is judged in the batch that it is submitted in.
    pub(super) fn fresh(
        account: BookId,
        checkout: CheckoutId,
        result_id: &str,
        item: i16,
        hold: HoldId,
    ) -> Self {
        Self { account, checkout, result_id: result_id.to_owned(), item, hold, asked: false }
    }

    fn want(&self, wants: &mut Wants, annexes: &mut Annexes) {
        let rows = annexes.of::<CheckoutRows>();
        rows.want_item(self.account, self.checkout, self.item);
        rows.want_result(self.account, self.checkout, &self.result_id);
        wants.hold(self.account, self.hold);
    }

    fn key(&self) -> ResultKey {
        (self.account, self.checkout, self.result_id.clone())
    }
}

/// Carries a verdict out.
pub struct Judge {
    pub target: Target,
    pub identity: CommandIdentity,
    pub ruling: Ruling,
    pub charge: ChargeId,
}

impl Command for Judge {
    fn book(&self) -> BookId {
        self.target.account
    }

    fn identity(&self) -> CommandIdentity {
        self.identity
    }

    fn want(&self, wants: &mut Wants, annexes: &mut Annexes) {
        self.target.want(wants, annexes);
    }

    fn decide(&self, desk: &mut Desk<'_>) -> Result<Decision, Fault> {
        let at = desk.book.now();
        let Ruling { verifier, name, criteria_version, accepted, reason, checks } = &self.ruling;
        let Target { account, checkout, item, .. } = self.target;
        let sold_under =
            desk.annexes.of::<CheckoutRows>().item(account, checkout, item)?.sku_version;
        let other_than = criteria_version.filter(|by| *by != sold_under).map(|_| sold_under);
        let event = ResultEvent::Verdict { accepted: *accepted, other_than, at };
        let mut data = json!({
            "verifier": verifier,
            "accepted": accepted,
            "reason": reason,
            "checks": checks,
            "decided_at": at,
        });
        if let (Some(name), Some(members)) = (name, data.as_object_mut()) {
            members.insert("verifier_name".to_owned(), name.as_str().into());
        }
        match settle(desk, &self.target, event, data, Some(self.charge))? {
            Settled::Done(view, _) => Ok(Decision::accept(&view)),
            Settled::Refused(refusal) => Ok(Decision::refuse(&refusal)),
            Settled::Nothing => Err(Fault::Annex("a verdict settles or is refused")),
        }
    }
}

/// Gives back what nobody judged in time.
pub struct VerificationDeadline {
    pub target: Target,
}

impl Command for VerificationDeadline {
    fn book(&self) -> BookId {
        self.target.account
    }

    fn identity(&self) -> CommandIdentity {
        let Target { checkout, result_id, .. } = &self.target;
        CommandIdentity::of_effect(&format!("result:{checkout}:{result_id}:verification-timeout"))
    }

    fn want(&self, wants: &mut Wants, annexes: &mut Annexes) {
        self.target.want(wants, annexes);
    }

    fn decide(&self, desk: &mut Desk<'_>) -> Result<Decision, Fault> {
        let at = desk.book.now();
        let data = json!({
            "verifier": null,
            "accepted": 0,
            "reason": "verification_timeout",
            "checks": [],
            "decided_at": at,
        });
        match settle(desk, &self.target, ResultEvent::Deadline { at }, data, None)? {
            Settled::Done(view, _) => Ok(Decision::accept(&view)),
            Settled::Refused(_) | Settled::Nothing => Ok(Decision::nothing_due()),
        }
    }
}

/// What became of an event.
pub(super) enum Settled {
    /// What the verdict did, and the verdict as it is recorded.
    Done(VerdictView, serde_json::Value),
    Refused(CheckoutRefusal),
    Nothing,
}

/// Captures what was accepted, releases the rest, and writes both down.
pub(super) fn settle(
    desk: &mut Desk<'_>,
    target: &Target,
    event: ResultEvent,
    mut verdict: serde_json::Value,
    charge: Option<ChargeId>,
) -> Result<Settled, Fault> {
    let rows = desk.annexes.of::<CheckoutRows>();
    let facts = *rows.result(&target.key()).ok_or(Fault::Annex("result"))?;
    let item = rows.item(target.account, target.checkout, target.item)?.clone();
    let (state, captured, released) = match facts.step(event) {
        ResultStep::Settle { state, captured, released } => (state, captured, released),
        ResultStep::Refuse(refusal) => return Ok(Settled::Refused(refusal)),
        ResultStep::Nothing => return Ok(Settled::Nothing),
    };
    let at = desk.book.now();
    let mut view = VerdictView::of(target.checkout, &target.result_id, state, captured, released);
    let mut release = None;
    if released > 0 {
        let amount = item.price_of(released).ok_or(Fault::Overflow)?;
        release = Some(desk.book.release(desk.entropy, item.hold, amount)?);
        view.released = amount;
    }
    let charge = charge.filter(|_| captured > 0);
    if let Some(id) = charge {
        let amount = item.price_of(captured).ok_or(Fault::Overflow)?;
        let transaction = desk.book.capture(desk.entropy, item.hold, id, amount)?;
        let charge = new_charge(target, &item, id, captured, at, transaction)?;
        view.charged(&charge);
        desk.annexes.of::<CheckoutRows>().charge(target.account, charge);
        desk.book.emit("charge.captured", id.0);
    }
    // What the criteria say, they say for ever in this version of the SKU.
    if let Some(members) = verdict.as_object_mut() {
        members.insert("criteria_version".to_owned(), item.sku_version.into());
    }
    let rows = desk.annexes.of::<CheckoutRows>();
    let recorded = verdict.clone();
    rows.decide(
        &target.key(),
        Decided { state, accepted: captured, verdict, at, charge, release, asked: target.asked },
    )?;
    rows.change_item(target.account, target.checkout, target.item, |item| {
        item.settled = item.settled.saturating_add(facts.quantity);
    })?;
    let kind = if state == ResultState::Captured { "result.accepted" } else { "result.released" };
    desk.book.emit_part(kind, target.checkout.0, &target.result_id);
    Ok(Settled::Done(view, recorded))
}

fn new_charge(
    target: &Target,
    item: &Item,
    id: ChargeId,
    quantity: i64,
    at: DateTime<Utc>,
    transaction: crate::ground::TransactionId,
) -> Result<NewCharge, Fault> {
    let window = TimeDelta::seconds(i64::from(item.dispute_window_s));
    Ok(NewCharge {
        id,
        checkout: target.checkout,
        item: item.item,
        result_id: target.result_id.clone(),
        sku: item.sku.clone(),
        quantity,
        unit_price: item.unit_price,
        amount: item.price_of(quantity).ok_or(Fault::Overflow)?,
        reversed: crate::ground::Amount::ZERO,
        transaction,
        captured_at: at,
        final_at: at.checked_add_signed(window).ok_or(Fault::Overflow)?,
    })
}
