use crate::checkout::annex::CheckoutRows;
use crate::checkout::item::ItemStep;
use crate::checkout::view::CancelView;
use crate::checkout::{CheckoutRefusal, ItemEvent};
use crate::ground::{Amount, BookId, CheckoutId, HoldId};
use crate::ledger::{Annexes, Command, CommandIdentity, Decision, Desk, Fault, Wants};

/// Cancels what has not been submitted.
pub struct Cancel {
    pub account: BookId,
    pub checkout: CheckoutId,
    pub identity: CommandIdentity,
    /// The checkout's items and holds, which never change.
    pub holds: Vec<(i16, HoldId)>,
}

impl Command for Cancel {
    fn book(&self) -> BookId {
        self.account
    }

    fn identity(&self) -> CommandIdentity {
        self.identity
    }

    fn want(&self, wants: &mut Wants, annexes: &mut Annexes) {
        let rows = annexes.of::<CheckoutRows>();
        for (item, hold) in &self.holds {
            rows.want_item(self.account, self.checkout, *item);
            wants.hold(self.account, *hold);
        }
    }

    fn decide(&self, desk: &mut Desk<'_>) -> Result<Decision, Fault> {
        let mut released = Amount::ZERO;
        let mut closed = false;
        for (item, _) in &self.holds {
            if let Some(amount) =
                close(desk, self.account, self.checkout, *item, ItemEvent::Cancel)?
            {
                closed = true;
                released = released.checked_add(amount).ok_or(Fault::Overflow)?;
            }
        }
        if !closed {
            return Ok(Decision::refuse(&CheckoutRefusal::CheckoutNotCancelable));
        }
        let at = desk.book.now();
        desk.annexes.of::<CheckoutRows>().cancel(self.account, self.checkout, at);
        desk.book.emit("checkout.canceled", self.checkout.0);
        let view = CancelView { checkout_id: self.checkout, released, canceled_at: at };
        Ok(Decision::accept(&view))
    }
}

/// Gives back what was never submitted in time.
pub struct DeliveryDeadline {
    pub account: BookId,
    pub checkout: CheckoutId,
    pub item: i16,
    pub hold: HoldId,
}

impl Command for DeliveryDeadline {
    fn book(&self) -> BookId {
        self.account
    }

    fn identity(&self) -> CommandIdentity {
        let Self { checkout, item, .. } = self;
        CommandIdentity::of_effect(&format!("item:{checkout}:{item}:delivery-timeout"))
    }

    fn want(&self, wants: &mut Wants, annexes: &mut Annexes) {
        annexes.of::<CheckoutRows>().want_item(self.account, self.checkout, self.item);
        wants.hold(self.account, self.hold);
    }

    fn decide(&self, desk: &mut Desk<'_>) -> Result<Decision, Fault> {
        let event = ItemEvent::Deadline { at: desk.book.now() };
        match close(desk, self.account, self.checkout, self.item, event)? {
            Some(amount) => {
                desk.book.emit_part("item.expired", self.checkout.0, self.item);
                Ok(Decision::accept(&serde_json::json!({ "released": amount })))
            }
            None => Ok(Decision::nothing_due()),
        }
    }
}

/// Closes an item and releases what was not submitted. None when there was nothing to close.
fn close(
    desk: &mut Desk<'_>,
    account: BookId,
    checkout: CheckoutId,
    number: i16,
    event: ItemEvent,
) -> Result<Option<Amount>, Fault> {
    let rows = desk.annexes.of::<CheckoutRows>();
    let item = rows.item(account, checkout, number)?.clone();
    let units = match item.step(event) {
        ItemStep::Close { released } => released,
        ItemStep::Nothing => return Ok(None),
        ItemStep::Take { .. } | ItemStep::Refuse(_) => {
            return Err(Fault::Annex("an item closes or stays"));
        }
    };
    rows.change_item(account, checkout, number, |item| {
        item.closed = true;
        item.settled = item.settled.saturating_add(units);
    })?;
    let amount = item.price_of(units).ok_or(Fault::Overflow)?;
    if !amount.is_zero() {
        desk.book.release(desk.entropy, item.hold, amount)?;
    }
    Ok(Some(amount))
}
