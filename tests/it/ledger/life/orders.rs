//! Quotes and orders.

use bursar::checkout::{Acceptance, CheckoutError, CheckoutView, OrderFault, OrderLine, SkuTerms};
use bursar::ground::Clock;
use bursar::ledger::{Outcome, Refusal};
use chrono::TimeDelta;

use super::{Item, Life, Opened, Quoted};
use crate::ledger::model::{amount, sorted};
use crate::ledger::scene::{self, Call, Request, TERMS};

impl Life {
    pub(super) async fn relist(&mut self, sku: usize, price: i64, active: bool) {
        let listed = self.replica.checkouts.sku(TERMS[sku].sku, None, 1).await.unwrap().0.terms;
        let terms = SkuTerms { unit_price: amount(price), active, ..listed };
        self.replica.checkouts.list_sku(TERMS[sku].sku, &terms).await.unwrap();
        self.catalog[sku] = (price, active);
    }

    /// SKU, quantity and today's price of each line, or that one of them is not sold.
    fn priced(&self, quantities: [i64; 3]) -> Option<Vec<[i64; 3]>> {
        let lines = (0..3).zip(quantities).zip(self.catalog);
        let ordered = lines.filter(|((_, quantity), _)| *quantity > 0);
        ordered
            .map(|((sku, quantity), (price, active))| active.then_some([sku, quantity, price]))
            .collect()
    }

    pub(super) async fn open(&mut self, key: usize, quantities: [i64; 3], slack: i64) {
        let ordered = (0..3).zip(quantities).filter(|(_, n)| *n > 0).collect::<Vec<_>>();
        let priced = self.priced(quantities);
        let total: i64 = priced.iter().flatten().map(|[_, quantity, price]| quantity * price).sum();
        let max_total = (total + slack).max(0);
        let call = Call::Open(scene::order(self.keys[key], &ordered, max_total));
        let Some(lines) = priced else {
            let request = Request::new(self.account, format!("request {}", self.done.len()), call);
            return not_sold(self.replica.send(&request).await.unwrap_err());
        };
        let outcome = self.send(call).await;
        self.sold(&outcome, key, &lines, max_total);
    }

    /// A checkout of these lines was opened, or refused with what the model refuses it with.
    fn sold(&mut self, outcome: &Outcome, key: usize, lines: &[[i64; 3]], max_total: i64) -> bool {
        let total = lines.iter().map(|[_, quantity, price]| quantity * price).sum();
        if let Some(expected) = self.model.refusal(key, total, max_total) {
            assert!(!outcome.accepted, "{} {expected:?}", outcome.body);
            assert_eq!(sorted(scene::body::<Refusal>(outcome)), sorted(expected));
            return false;
        }
        assert!(outcome.accepted, "{}", outcome.body);
        let view: CheckoutView = scene::body(outcome);
        assert_eq!(view.total, amount(total));
        let mut items = Vec::new();
        for &[sku, quantity, price] in lines {
            let (hold, sku) = (self.model.holds.len(), usize::try_from(sku).unwrap());
            self.model.hold(key, price * quantity);
            let deliver_by = self.model.now + scene::half_hours(TERMS[sku].deliver);
            let (submitted, closed) = (0, false);
            items.push(Item { hold, sku, quantity, price, submitted, closed, deliver_by });
        }
        self.opened.push(Opened { id: view.checkout_id, items });
        true
    }

    /// A quote says what a checkout would be told now, and moves nothing.
    pub(super) async fn quote(&mut self, key: usize, quantities: [i64; 3]) {
        let ordered = (0..3).zip(quantities).filter(|(_, n)| *n > 0);
        let line =
            |(sku, quantity): (usize, i64)| OrderLine { sku: TERMS[sku].sku.into(), quantity };
        let ordered = ordered.map(line).collect();
        let checkouts = self.replica.checkouts.clone();
        let quote = checkouts.quote(self.account, self.keys[key], ordered).await;
        let Some(lines) = self.priced(quantities) else { return not_sold(quote.unwrap_err()) };
        let view = quote.unwrap();
        let total = lines.iter().map(|[_, quantity, price]| quantity * price).sum();
        let expected = self.model.refusal(key, total, total).map(sorted);
        assert_eq!((view.total, view.refusal.map(sorted)), (amount(total), expected));
        // What its holder is told, to the second that the test takes.
        let expires = self.model.now + TimeDelta::minutes(15);
        assert!((view.expires_at - self.replica.clock.now()) <= TimeDelta::minutes(15));
        self.quoted.push(Quoted { id: view.quote_id, lines, expires, accepted: false });
    }

    pub(super) async fn accept(&mut self, n: usize, key: usize, slack: Option<i64>) {
        let quoted = &self.quoted[n];
        let (quote, lines) = (quoted.id, quoted.lines.clone());
        let total: i64 = lines.iter().map(|[_, quantity, price]| quantity * price).sum();
        let named = slack.map(|slack| (total + slack).max(0));
        let (spender, max_total) = (self.keys[key], named.map(amount));
        let refusal = if quoted.accepted {
            Some("quote_used")
        } else {
            (self.model.now >= quoted.expires).then_some("quote_expired")
        };
        let call = Call::Accept(Acceptance { spender, quote, max_total });
        let outcome = self.send(call).await;
        if refusal.is_some() {
            Self::is(&outcome, refusal);
        } else {
            let max_total = named.unwrap_or(total);
            self.quoted[n].accepted = self.sold(&outcome, key, &lines, max_total);
        }
    }
}

fn not_sold(error: CheckoutError) {
    let inactive = matches!(&error, CheckoutError::Order(OrderFault::SkuInactive { .. }));
    assert!(inactive, "{error}");
}
