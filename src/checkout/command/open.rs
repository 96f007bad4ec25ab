use chrono::TimeDelta;

use crate::checkout::annex::{CheckoutRows, NewCheckout};
use crate::checkout::quote::PricedLine;
use crate::checkout::view::CheckoutView;
use crate::checkout::{Item, OrderFault};
use crate::ground::{Amount, BookId, CheckoutId, HoldId, KeyId};
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
        let Order { spender, lines, max_total } = &self.order;
        let (lines, total) = match priced(desk.annexes.of::<CheckoutRows>(), lines) {
            Ok(priced) => priced,
            Err(fault) => return Ok(Decision::turn_away(&fault)),
        };
        let sold = sell(desk, self.account, *spender, &lines, total, *max_total)?;
        Ok(sold.map_or_else(|refused| refused, |checkout| Decision::accept(&checkout)))
    }
}

/// The lines with the terms that the catalogue has for them, and the price of all.
pub(super) fn priced(
    rows: &CheckoutRows,
    lines: &[OrderLine],
) -> Result<(Vec<PricedLine>, Amount), OrderFault> {
    let priced = |line: &OrderLine| {
        let sku = line.sku.clone();
        match rows.catalog.get(&line.sku) {
            None => Err(OrderFault::SkuUnknown { sku }),
            Some(listing) if !listing.active => Err(OrderFault::SkuInactive { sku }),
            Some(listing) => Ok(PricedLine {
                sku,
                sku_version: listing.version,
                quantity: line.quantity,
                unit_price: listing.unit_price,
                delivery_deadline_s: listing.delivery_deadline_s,
                verification_deadline_s: listing.verification_deadline_s,
                dispute_window_s: listing.dispute_window_s,
                dispute_decision_s: listing.dispute_decision_s,
            }),
        }
    };
    let lines = lines.iter().map(priced).collect::<Result<Vec<_>, _>>()?;
    let total = total_of(&lines).ok_or(OrderFault::TotalOutOfRange)?;
    Ok((lines, total))
}

/// The price of all lines.
pub(super) fn total_of(lines: &[PricedLine]) -> Option<Amount> {
    let prices = lines.iter().map(PricedLine::amount).collect::<Option<Vec<_>>>()?;
    Amount::sum(prices)
}

/// Why the key may not buy all of this.
pub(super) fn refused_buyer(
    desk: &Desk<'_>,
    spender: KeyId,
    lines: &[PricedLine],
) -> Option<Refusal> {
    let Some(spender) = desk.book.spender(spender) else {
        return Some(Refusal::KeyRevoked);
    };
    let skus: Vec<&str> = lines.iter().map(|line| line.sku.as_str()).collect();
    spender.authorize(desk.book.now(), &skus).err()
}

/// Sells the lines on the terms that they have: holds their price and writes the checkout down, or
/// refuses and does nothing.
pub(super) fn sell(
    desk: &mut Desk<'_>,
    account: BookId,
    spender: KeyId,
    lines: &[PricedLine],
    total: Amount,
    max_total: Amount,
) -> Result<Result<CheckoutView, Decision>, Fault> {
    if let Some(refusal) = refused_buyer(desk, spender, lines) {
        return Ok(Err(Decision::refuse(&refusal)));
    }
    let numbered = (1..).zip(lines);
    let items: Vec<Item> = numbered
        .map(|(number, line)| item(desk, account, number, line))
        .collect::<Result<_, Fault>>()?;
    let request = |item: &Item| {
        let amount = item.price_of(item.quantity).ok_or(Fault::Overflow)?;
        Ok(HoldRequest { id: item.hold, amount })
    };
    let holds = items.iter().map(request).collect::<Result<Vec<_>, Fault>>()?;
    if let Err(stop) = desk.book.place_holds(desk.entropy, spender, &holds, max_total) {
        return Decision::stopped(stop).map(Err);
    }
    let now = desk.book.now();
    let checkout = NewCheckout {
        account,
        id: CheckoutId::mint(desk.entropy, now, account.slot()),
        key: spender,
        max_total,
        total,
        created_at: now,
        items,
    };
    let view = CheckoutView::opened(&checkout);
    desk.book.emit("checkout.opened", checkout.id.0);
    desk.annexes.of::<CheckoutRows>().open(checkout);
    Ok(Ok(view))
}

/// An item as it begins, with its terms frozen.
fn item(desk: &Desk<'_>, account: BookId, number: i16, line: &PricedLine) -> Result<Item, Fault> {
    let now = desk.book.now();
    let life = TimeDelta::seconds(i64::from(line.delivery_deadline_s));
    Ok(Item {
        item: number,
        hold: HoldId::mint(desk.entropy, now, account.slot()),
        sku: line.sku.clone(),
        sku_version: line.sku_version,
        quantity: line.quantity,
        unit_price: line.unit_price,
        submitted: 0,
        settled: 0,
        deliver_by: now.checked_add_signed(life).ok_or(Fault::Overflow)?,
        verification_deadline_s: line.verification_deadline_s,
        dispute_window_s: line.dispute_window_s,
        dispute_decision_s: line.dispute_decision_s,
        closed: false,
    })
}
