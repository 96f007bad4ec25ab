use chrono::TimeDelta;

use crate::checkout::annex::{CheckoutRows, NewCheckout};
use crate::checkout::view::CheckoutView;
use crate::checkout::{CheckoutError, Item, Sku};
use crate::ground::{Amount, BookId, CheckoutId, HoldId};
use crate::ledger::Wants;
use crate::ledger::{
    Annexes, Command, CommandIdentity, Decision, Desk, Fault, HoldRequest, Refusal,
};

use super::Order;

/// Opens a checkout: one hold per item, all or none.
pub struct OpenCheckout {
    account: BookId,
    identity: CommandIdentity,
    id: CheckoutId,
    order: Order,
    lines: Vec<Line>,
}

/// One item with the terms that it is frozen with.
struct Line {
    hold: HoldId,
    quantity: i64,
    amount: Amount,
    sku: Sku,
}

impl OpenCheckout {
    /// Looks the prices up and adds the total up. Nothing is decided yet.
    pub fn plan(
        account: BookId,
        identity: CommandIdentity,
        id: CheckoutId,
        order: Order,
        skus: &[Sku],
        fresh: impl Fn() -> HoldId,
    ) -> Result<Self, CheckoutError> {
        let line = |wanted: &super::OrderLine| {
            let sku = skus.iter().find(|sku| sku.sku == wanted.sku);
            let sku = sku.ok_or_else(|| CheckoutError::SkuUnknown { sku: wanted.sku.clone() })?;
            if !sku.terms.active {
                return Err(CheckoutError::SkuInactive { sku: sku.sku.clone() });
            }
            let amount = sku.terms.unit_price.checked_mul(wanted.quantity);
            let amount = amount.ok_or(CheckoutError::TotalOutOfRange)?;
            Ok(Line { hold: fresh(), quantity: wanted.quantity, amount, sku: sku.clone() })
        };
        let lines = order.lines.iter().map(line).collect::<Result<Vec<_>, _>>()?;
        Amount::sum(lines.iter().map(|l| l.amount)).ok_or(CheckoutError::TotalOutOfRange)?;
        Ok(Self { account, identity, id, order, lines })
    }

    fn items(&self, desk: &Desk<'_>) -> Result<Vec<Item>, Fault> {
        let item = |(position, line): (usize, &Line)| {
            let number = i16::try_from(position.saturating_add(1)).map_err(|_| Fault::Overflow)?;
            let terms = &line.sku.terms;
            let life = TimeDelta::seconds(i64::from(terms.delivery_deadline_s));
            Ok(Item {
                item: number,
                hold: line.hold,
                sku: line.sku.sku.clone(),
                sku_version: line.sku.version,
                quantity: line.quantity,
                unit_price: terms.unit_price,
                submitted: 0,
                settled: 0,
                deliver_by: desk.book.now().checked_add_signed(life).ok_or(Fault::Overflow)?,
                verification_deadline_s: terms.verification_deadline_s,
                dispute_window_s: terms.dispute_window_s,
                closed: false,
            })
        };
        self.lines.iter().enumerate().map(item).collect()
    }
}

impl Command for OpenCheckout {
    fn book(&self) -> BookId {
        self.account
    }

    fn identity(&self) -> CommandIdentity {
        self.identity
    }

    fn want(&self, wants: &mut Wants, annexes: &mut Annexes) {
        annexes.of::<CheckoutRows>();
        wants.spender(self.account, self.order.spender);
    }

    fn decide(&self, desk: &mut Desk<'_>) -> Result<Decision, Fault> {
        let Some(spender) = desk.book.spender(self.order.spender) else {
            return Ok(Decision::refuse(&Refusal::KeyRevoked));
        };
        let skus: Vec<&str> = self.lines.iter().map(|line| line.sku.sku.as_str()).collect();
        if let Err(refusal) = spender.authorize(desk.book.now(), &skus) {
            return Ok(Decision::refuse(&refusal));
        }
        let holds: Vec<_> =
            self.lines.iter().map(|l| HoldRequest { id: l.hold, amount: l.amount }).collect();
        let items = self.items(desk)?;
        let placed =
            desk.book.place_holds(desk.entropy, self.order.spender, &holds, self.order.max_total);
        if let Err(stop) = placed {
            return Decision::stopped(stop);
        }
        let total = Amount::sum(holds.iter().map(|h| h.amount)).ok_or(Fault::Overflow)?;
        let checkout = NewCheckout {
            account: self.account,
            id: self.id,
            key: self.order.spender,
            max_total: self.order.max_total,
            total,
            created_at: desk.book.now(),
            items,
        };
        let view = CheckoutView::opened(&checkout);
        desk.annexes.of::<CheckoutRows>().open(checkout);
        desk.book.emit("checkout.opened", self.id.0);
        Ok(Decision::accept(&view))
    }
}
