use std::collections::BTreeMap;

use chrono::TimeDelta;
use serde_json::json;

use crate::checkout::annex::{CheckoutRows, NewResult, ResultKey};
use crate::checkout::delivery::Delivery;
use crate::checkout::item::ItemStep;
use crate::checkout::view::{ResultView, SubmissionView};
use crate::checkout::{CheckoutRefusal, Item, ItemEvent, RefusedResult, ResultEvent};
use crate::ground::{BookId, CheckoutId, KeyId};
use crate::ledger::{Annexes, Command, CommandIdentity, Decision, Desk, Fault, Wants};

use super::judge::{Settled, Target, settle};

/// Puts results under verification, all or none. What does not meet its schema is rejected at once.
pub struct SubmitResults {
    pub(in crate::checkout) account: BookId,
    pub(in crate::checkout) checkout: CheckoutId,
    pub(in crate::checkout) identity: CommandIdentity,
    pub(in crate::checkout) by: KeyId,
    pub(in crate::checkout) deliveries: Vec<Delivery>,
}

impl Command for SubmitResults {
    fn book(&self) -> BookId {
        self.account
    }

    fn identity(&self) -> CommandIdentity {
        self.identity
    }

    fn want(&self, wants: &mut Wants, annexes: &mut Annexes) {
        let rows = annexes.of::<CheckoutRows>();
        for delivery in &self.deliveries {
            rows.want_item(self.account, self.checkout, delivery.item);
            rows.want_result(self.account, self.checkout, &delivery.result_id);
            if !delivery.mismatches.is_empty() {
                wants.hold(self.account, delivery.hold);
            }
        }
    }

    fn decide(&self, desk: &mut Desk<'_>) -> Result<Decision, Fault> {
        if let Some(refused) = self.refusal(desk)? {
            return Ok(Decision::refuse(&refused));
        }
        let results = self.deliveries.iter().map(|delivery| self.take(desk, delivery));
        let results = results.collect::<Result<Vec<_>, Fault>>()?;
        Ok(Decision::accept(&SubmissionView { checkout_id: self.checkout, results }))
    }
}

impl SubmitResults {
    fn key(&self, delivery: &Delivery) -> ResultKey {
        (self.account, self.checkout, delivery.result_id.clone())
    }

    /// The first result that cannot be taken, with those before it taken. Nothing is changed.
    fn refusal(&self, desk: &mut Desk<'_>) -> Result<Option<RefusedResult>, Fault> {
        let at = desk.book.now();
        let rows = desk.annexes.of::<CheckoutRows>();
        let mut items: BTreeMap<i16, Item> = BTreeMap::new();
        for (position, delivery) in self.deliveries.iter().enumerate() {
            let refused =
                |why| RefusedResult { why, position, result_id: delivery.result_id.clone() };
            if rows.result(&self.key(delivery)).is_some() {
                return Ok(Some(refused(CheckoutRefusal::ResultConflict)));
            }
            let row = rows.item(self.account, self.checkout, delivery.item)?;
            let item = items.entry(delivery.item).or_insert_with(|| row.clone());
            match item.step(ItemEvent::Submit { quantity: delivery.quantity, at }) {
                ItemStep::Take { quantity } => item.take(quantity),
                ItemStep::Refuse(why) => return Ok(Some(refused(why))),
                ItemStep::Close { .. } | ItemStep::Nothing => {
                    return Err(Fault::Annex("a submission is taken or refused"));
                }
            }
        }
        Ok(None)
    }

    fn take(&self, desk: &mut Desk<'_>, delivery: &Delivery) -> Result<ResultView, Fault> {
        let at = desk.book.now();
        let rows = desk.annexes.of::<CheckoutRows>();
        let item = rows.item(self.account, self.checkout, delivery.item)?.clone();
        let life = TimeDelta::seconds(i64::from(item.verification_deadline_s));
        let result = NewResult {
            item: item.item,
            quantity: delivery.quantity,
            evidence_hash: delivery.evidence_hash,
            evidence: delivery.evidence.clone(),
            submitted_by: self.by,
            submitted_at: at,
            verify_by: at.checked_add_signed(life).ok_or(Fault::Overflow)?,
        };
        let mut view = ResultView::submitted(&delivery.result_id, &item, &result);
        rows.change_item(self.account, self.checkout, item.item, |item| {
            item.take(delivery.quantity);
        })?;
        rows.submit(self.key(delivery), result);
        if let Some(verifier) = delivery.verifier {
            rows.ask(self.key(delivery), verifier, at);
        }
        desk.book.emit_part("result.submitted", self.checkout.0, &delivery.result_id);
        if !delivery.mismatches.is_empty() {
            self.reject(desk, delivery, &mut view)?;
        }
        Ok(view)
    }

    /// The schema's own verdict.
    fn reject(
        &self,
        desk: &mut Desk<'_>,
        delivery: &Delivery,
        view: &mut ResultView,
    ) -> Result<(), Fault> {
        let at = desk.book.now();
        let data = json!({
            "verifier": "schema",
            "accepted": 0,
            "reason": "schema_mismatch",
            "checks": [{ "name": "schema", "passed": false }],
            "mismatches": delivery.mismatches,
            "decided_at": at,
        });
        let Delivery { result_id, item, hold, .. } = delivery;
        let target = Target::fresh(self.account, self.checkout, result_id, *item, *hold);
        let event = ResultEvent::Verdict { accepted: 0, other_than: None, at };
        match settle(desk, &target, event, data, None)? {
            Settled::Done(verdict, data) => {
                view.status = verdict.status;
                view.accepted = Some(verdict.accepted);
                view.verdict = Some(data);
                Ok(())
            }
            Settled::Refused(_) | Settled::Nothing => Err(Fault::Annex("a new result is settled")),
        }
    }
}
