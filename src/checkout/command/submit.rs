use chrono::TimeDelta;
use sha2::{Digest, Sha256};

use crate::checkout::annex::{CheckoutRows, NewResult};
use crate::checkout::item::ItemStep;
use crate::checkout::view::ResultView;
use crate::checkout::{CheckoutRefusal, ItemEvent};
use crate::ground::{BookId, CheckoutId, canonical_json};
use crate::ledger::{Annexes, Command, CommandIdentity, Decision, Desk, Fault, Wants};

use super::ResultSubmission;

/// Puts a result under verification.
pub struct SubmitResult {
    pub account: BookId,
    pub checkout: CheckoutId,
    pub identity: CommandIdentity,
    pub submission: ResultSubmission,
}

impl Command for SubmitResult {
    fn book(&self) -> BookId {
        self.account
    }

    fn identity(&self) -> CommandIdentity {
        self.identity
    }

    fn want(&self, _: &mut Wants, annexes: &mut Annexes) {
        let rows = annexes.of::<CheckoutRows>();
        rows.want_item(self.account, self.checkout, self.submission.item);
        rows.want_result(self.account, self.checkout, &self.submission.result_id);
    }

    fn decide(&self, desk: &mut Desk<'_>) -> Result<Decision, Fault> {
        let at = desk.book.now();
        let rows = desk.annexes.of::<CheckoutRows>();
        let key = (self.account, self.checkout, self.submission.result_id.clone());
        if rows.result(&key).is_some() {
            let result_id = self.submission.result_id.clone();
            return Ok(Decision::refuse(&CheckoutRefusal::ResultConflict { result_id }));
        }
        let item = rows.item(self.account, self.checkout, self.submission.item)?.clone();
        let event = ItemEvent::Submit { quantity: self.submission.quantity, at };
        let quantity = match item.step(event) {
            ItemStep::Take { quantity } => quantity,
            ItemStep::Refuse(refusal) => return Ok(Decision::refuse(&refusal)),
            ItemStep::Close { .. } | ItemStep::Nothing => {
                return Err(Fault::Annex("a submission is taken or refused"));
            }
        };
        let life = TimeDelta::seconds(i64::from(item.verification_deadline_s));
        let evidence = canonical_json(&self.submission.evidence);
        let result = NewResult {
            item: item.item,
            quantity,
            evidence_hash: Sha256::digest(evidence.as_bytes()).into(),
            evidence: self.submission.evidence.clone(),
            submitted_by: self.submission.by.key,
            submitted_at: at,
            verify_by: at.checked_add_signed(life).ok_or(Fault::Overflow)?,
        };
        let view = ResultView::submitted(&self.submission.result_id, &item, &result);
        rows.change_item(self.account, self.checkout, item.item, |item| {
            item.submitted = item.submitted.saturating_add(quantity);
            item.closed = item.submitted == item.quantity;
        })?;
        rows.submit(key, result);
        desk.book.emit("result.submitted", self.checkout.0);
        Ok(Decision::accept(&view))
    }
}
