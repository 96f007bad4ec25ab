//! Results, verdicts, and what ends without one.

use serde_json::json;

use super::op::{Part, recent};
use super::{Charged, Delivered, Life};
use crate::ledger::scene::{self, Call, TERMS};

impl Life {
    /// All results of a submission are taken, or the first that cannot be is why none is.
    pub(super) async fn submit(&mut self, pick: usize, parts: &[Part], again: bool) {
        let Some(checkout) = recent(pick, self.opened.len()) else { return };
        let among = self.opened[checkout].items.len();
        let taken = self.delivered.iter().find(|known| known.checkout == checkout);
        let duplicate = taken.filter(|_| again).map(|known| known.id.clone());
        let mut results = Vec::new();
        for (n, &Part { item, quantity, meets }) in parts.iter().enumerate() {
            let fresh = format!("result-{}-{n}", self.done.len());
            // The last one is the duplicate, so that those before it could be taken.
            let last = n + 1 == parts.len();
            let id = duplicate.clone().filter(|_| last).unwrap_or(fresh);
            results.push((id, Part { item: item % among, quantity, meets }));
        }
        let submissions = results.iter().map(|(id, part)| {
            let mut submission =
                scene::submission(id, i16::try_from(part.item + 1).unwrap(), part.quantity);
            if !part.meets {
                submission.evidence = json!({ "nothing": "of use" });
            }
            submission
        });
        let call = Call::SubmitAll(self.opened[checkout].id, submissions.collect());
        let outcome = self.send(call).await;
        let refused = self.refused_result(checkout, &results, duplicate.as_deref());
        if Self::is(&outcome, refused.map(|(_, code)| code)) {
            for (id, part) in results {
                self.take(checkout, id, part);
            }
        } else {
            let told: serde_json::Value = scene::body(&outcome);
            assert_eq!(told["position"], refused.unwrap().0);
        }
    }

    /// The position of the first result that cannot be taken after those before it, and why.
    fn refused_result(
        &self,
        checkout: usize,
        results: &[(String, Part)],
        duplicate: Option<&str>,
    ) -> Option<(usize, &'static str)> {
        let items = &self.opened[checkout].items;
        let mut left: Vec<_> = items.iter().map(|item| item.quantity - item.submitted).collect();
        for (n, (id, part)) in results.iter().enumerate() {
            let (of, left) = (&items[part.item], &mut left[part.item]);
            let code = if Some(id.as_str()) == duplicate {
                "result_conflict"
            } else if of.closed && *left > 0 {
                "item_closed"
            } else if *left > 0 && self.model.now >= of.deliver_by {
                "delivery_deadline_passed"
            } else if part.quantity > *left {
                "result_quantity_exceeded"
            } else {
                *left -= part.quantity;
                continue;
            };
            return Some((n, code));
        }
        None
    }

    /// The units go under verification, or back at once when the evidence is no evidence.
    fn take(&mut self, checkout: usize, id: String, part: Part) {
        let Part { item, quantity, meets } = part;
        let of = &mut self.opened[checkout].items[item];
        of.submitted += quantity;
        of.closed = of.submitted == of.quantity;
        if !meets {
            self.model.release(of.hold, quantity * of.price);
        }
        let verify_by = self.model.now + scene::half_hours(TERMS[of.sku].verify);
        self.delivered.push(Delivered { checkout, item, id, quantity, open: meets, verify_by });
    }

    pub(super) async fn judge(&mut self, n: usize, accepted: i64) {
        let checkout = self.opened[self.delivered[n].checkout].id;
        let id = self.delivered[n].id.clone();
        let outcome = self.send(Call::Judge(checkout, id, scene::verdict(accepted))).await;
        let of = &mut self.delivered[n];
        let refusal = if !of.open {
            Some("already_decided")
        } else if self.model.now >= of.verify_by {
            Some("verification_deadline_passed")
        } else {
            let fits = (0..=of.quantity).contains(&accepted);
            (!fits).then_some("accepted_quantity_exceeded")
        };
        if !Self::is(&outcome, refusal) {
            return;
        }
        of.open = false;
        let item = &self.opened[of.checkout].items[of.item];
        self.model.release(item.hold, (of.quantity - accepted) * item.price);
        let view: serde_json::Value = scene::body(&outcome);
        assert_eq!(view["charge_id"].is_string(), accepted > 0);
        if accepted > 0 {
            let capture = self.model.captures.len();
            self.model.capture(item.hold, accepted * item.price);
            let id = view["charge_id"].as_str().unwrap().parse().unwrap();
            let final_at = self.model.now + scene::half_hours(TERMS[item.sku].dispute);
            self.charged.push(Charged { id, capture, final_at, disputes: Vec::new() });
        }
    }

    pub(super) async fn cancel(&mut self, pick: usize) {
        let Some(n) = recent(pick, self.opened.len()) else { return };
        let outcome = self.send(Call::Cancel(self.opened[n].id)).await;
        let nothing = self.opened[n].items.iter().all(|item| item.closed);
        if Self::is(&outcome, nothing.then_some("checkout_not_cancelable")) {
            for item in self.opened[n].items.iter_mut().filter(|item| !item.closed) {
                self.model.release(item.hold, (item.quantity - item.submitted) * item.price);
                item.closed = true;
            }
        }
    }

    /// Everything that is due, in the order of the deadlines: results first, then items, then disputes.
    pub(super) async fn sweep(&mut self) {
        let settled = self.replica.checkouts.sweeper().step().await.unwrap();
        let due = self.results_due() + self.items_due() + self.disputes_due();
        assert_eq!(settled, due);
        let overdue = self.replica.checkouts.sweeper().overdue().await.unwrap();
        assert_eq!((overdue.items, overdue.results, overdue.disputes), (0, 0, 0));
    }

    fn results_due(&mut self) -> usize {
        let now = self.model.now;
        let mut due: Vec<_> =
            self.delivered.iter_mut().filter(|of| of.open && of.verify_by <= now).collect();
        due.sort_by_key(|of| of.verify_by);
        let count = due.len();
        for of in due {
            let item = &self.opened[of.checkout].items[of.item];
            self.model.release(item.hold, of.quantity * item.price);
            of.open = false;
        }
        count
    }

    fn items_due(&mut self) -> usize {
        let now = self.model.now;
        let items = self.opened.iter_mut().flat_map(|of| &mut of.items);
        let mut due: Vec<_> = items.filter(|of| !of.closed && of.deliver_by <= now).collect();
        due.sort_by_key(|of| of.deliver_by);
        let count = due.len();
        for item in due {
            self.model.release(item.hold, (item.quantity - item.submitted) * item.price);
            item.closed = true;
        }
        count
    }
}
