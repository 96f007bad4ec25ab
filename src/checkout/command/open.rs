use chrono::TimeDelta;

use crate::checkout::annex::{CheckoutRows, NewCheckout};
use crate::checkout::view::CheckoutView;
use crate::checkout::{Item, OrderFault};
use crate::ground::{Amount, BookId, CheckoutId, HoldId};
use crate::ledger::Wants;
use crate::ledger::{
    Annexes, Command, CommandIdentity, Decision, Desk, Fault, HoldRequest, Refusal,
};

use super::{Order, OrderLine};

/// Opens a checkout: one hold per item, all or none.
pub struct OpenCheckout {
    pub(in crate::checkout) account: BookId,
    pub(in crate::checkout) identity: CommandIdentity,
    pub(in crate::checkout) order: Order,
}

impl OpenCheckout {
    /// The items, with the terms that the catalogue has for them: those they are frozen with.
    fn items(&self, desk: &mut Desk<'_>) -> Result<Result<Vec<Item>, OrderFault>, Fault> {
        let mut items = Vec::with_capacity(self.order.lines.len());
        for (number, line) in (1..).zip(&self.order.lines) {
            match self.item(desk, number, line)? {
                Ok(item) => items.push(item),
                Err(fault) => return Ok(Err(fault)),
            }
        }
        Ok(Ok(items))
    }

    fn item(
        &self,
        desk: &mut Desk<'_>,
        number: i16,
        line: &OrderLine,
    ) -> Result<Result<Item, OrderFault>, Fault> {
        let now = desk.book.now();
        let Some(listing) = desk.annexes.of::<CheckoutRows>().catalog.get(&line.sku) else {
            return Ok(Err(OrderFault::SkuUnknown { sku: line.sku.clone() }));
        };
        if !listing.active {
            return Ok(Err(OrderFault::SkuInactive { sku: line.sku.clone() }));
        }
        let life = TimeDelta::seconds(i64::from(listing.delivery_deadline_s));
        Ok(Ok(Item {
            item: number,
            hold: HoldId::mint(desk.entropy, now, self.account.slot()),
            sku: line.sku.clone(),
            sku_version: listing.version,
            quantity: line.quantity,
            unit_price: listing.unit_price,
            submitted: 0,
            settled: 0,
            deliver_by: now.checked_add_signed(life).ok_or(Fault::Overflow)?,
            verification_deadline_s: listing.verification_deadline_s,
            dispute_window_s: listing.dispute_window_s,
            closed: false,
        }))
    }

    /// Why the key may not buy all of this.
    fn refusal(&self, desk: &Desk<'_>) -> Option<Refusal> {
        let Some(spender) = desk.book.spender(self.order.spender) else {
            return Some(Refusal::KeyRevoked);
        };
        let skus: Vec<&str> = self.order.lines.iter().map(|line| line.sku.as_str()).collect();
        spender.authorize(desk.book.now(), &skus).err()
    }
}

/// The price of every item, and of all of them.
fn prices(items: &[Item]) -> Option<(Vec<HoldRequest>, Amount)> {
    let price = |item: &Item| {
        let amount = item.price_of(item.quantity)?;
        Some(HoldRequest { id: item.hold, amount })
    };
    let holds = items.iter().map(price).collect::<Option<Vec<_>>>()?;
    let total = Amount::sum(holds.iter().map(|hold| hold.amount))?;
    Some((holds, total))
}

impl Command for OpenCheckout {
    fn book(&self) -> BookId {
        self.account
    }

    fn identity(&self) -> CommandIdentity {
        self.identity
    }

    fn want(&self, wants: &mut Wants, annexes: &mut Annexes) {
        let rows = annexes.of::<CheckoutRows>();
        for line in &self.order.lines {
            rows.want_sku(&line.sku);
        }
        wants.spender(self.account, self.order.spender);
    }

    fn decide(&self, desk: &mut Desk<'_>) -> Result<Decision, Fault> {
        let items = match self.items(desk)? {
            Ok(items) => items,
            Err(fault) => return Ok(Decision::turn_away(&fault)),
        };
        let Some((holds, total)) = prices(&items) else {
            return Ok(Decision::turn_away(&OrderFault::TotalOutOfRange));
        };
        if let Some(refusal) = self.refusal(desk) {
            return Ok(Decision::refuse(&refusal));
        }
        let placed =
            desk.book.place_holds(desk.entropy, self.order.spender, &holds, self.order.max_total);
        if let Err(stop) = placed {
            return Decision::stopped(stop);
        }
        let now = desk.book.now();
        let checkout = NewCheckout {
            account: self.account,
            id: CheckoutId::mint(desk.entropy, now, self.account.slot()),
            key: self.order.spender,
            max_total: self.order.max_total,
            total,
            created_at: now,
            items,
        };
        let view = CheckoutView::opened(&checkout);
        desk.book.emit("checkout.opened", checkout.id.0);
        desk.annexes.of::<CheckoutRows>().open(checkout);
        Ok(Decision::accept(&view))
    }
}
