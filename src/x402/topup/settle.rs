//! One settlement, step by step. Every step commits before the next one begins.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use crate::x402::chain::{Chain, Evidence};
use crate::x402::classify::{SettleOutcome, VerifyOutcome};
use crate::x402::{Heard, Network};

use super::case::{At, Case, Paid};
use super::command::CreditTopup;
use super::facilitation::Verified;
use super::step::{Note, Step};
use super::store::{self, Intent};
use super::{Checked, Inner, PayError, Payee, TopupEvent, TopupState};

/// Why a payment that we never sent is unknown: its authorization had been used already.
pub(super) const USED_BEFORE: &str = "used_before";

impl Inner {
    /// The chain that a payment is read from, where one is read.
    pub(super) fn chain_of(&self, network: &Network) -> Option<&Arc<dyn Chain>> {
        let found = self.chains.iter().find(|(caip2, _)| *caip2 == network.caip2);
        found.map(|(_, chain)| chain)
    }

    /// Writes the intent. Nothing when the top-up has its row already.
    pub(super) async fn intend(&self, case: &Case, payee: Payee) -> Result<Option<At>, PayError> {
        let intent = Intent { case, keyed: payee.keyed, next_at: self.lease_end(self.clock.now()) };
        let inserted = store::insert(&self.pool, &intent).await?;
        Ok(inserted.then_some(At { state: TopupState::Claimed, attempt: 0 }))
    }

    /// Verifies, settles and credits a claimed payment. Whether it was sent.
    pub(super) async fn run(
        &self,
        mut case: Case,
        from: At,
        checked: &Checked,
    ) -> Result<bool, PayError> {
        let Some(verified) = self.may_be_sent(&mut case, from, checked).await? else {
            return Ok(false);
        };
        // The attempt commits before bytes are sent, so that a restart is never "first"; and with it
        // to whom they are sent.
        let step = Step {
            event: TopupEvent::Send,
            reason: None,
            transaction: None,
            detail: json!({
                "attempt": from.attempt.saturating_add(1),
                "facilitator": self.facilitators.host_of_record(&case.facilitator_url),
                "x402_version": case.asked_version.number(),
            }),
            notes: verified,
        };
        let Some(at) = self.advance(&case, from, &step).await? else { return Ok(false) };
        case.sent = true;
        self.settle(&case, at, true).await?;
        Ok(true)
    }

    /// Sends a payment to `/settle`, whose attempt is on record, and does what the answer means.
    pub(super) async fn settle(&self, case: &Case, at: At, first: bool) -> Result<(), PayError> {
        let Heard { outcome, kept } = self.ask_to_settle(case, first).await;
        let note = self.note("settle", json!({ "attempt": at.attempt, "answer": kept }));
        self.conclude(case, at, first, outcome, note).await
    }

    /// Asks the facilitator, and the chain where it is read, whether the payment can be settled. A
    /// `no` leaves it refused: nothing was sent, and the same payment may come again.
    async fn may_be_sent(
        &self,
        case: &mut Case,
        from: At,
        checked: &Checked,
    ) -> Result<Option<Vec<Note>>, PayError> {
        if let Some(chain) = self.chain_of(case.network) {
            match chain.authorization_used(&case.asset, &case.payer, &case.nonce).await {
                Ok(false) => {}
                Ok(true) => {
                    let found = self.note("chain", json!({ "authorization": "used" }));
                    return self.used_before(case, from, vec![found]).await;
                }
                Err(error) => {
                    tracing::warn!(topup.id = %case.id, %error, "chain cannot be read");
                    let failed = self.note("chain", json!({ "error": error.reason() }));
                    return self.refuse(case, from, "chain_unavailable", vec![failed]).await;
                }
            }
        }
        let Checked { payment, matched, routes } = checked;
        let Verified { outcome, asked, notes } =
            self.verify_in_turn(payment, matched, routes).await;
        if let Some(route) = routes.get(asked) {
            case.go_by(route, checked);
        }
        match outcome {
            VerifyOutcome::Valid { .. } => Ok(Some(notes)),
            VerifyOutcome::Invalid { reason, .. } if reason.contains("already_used") => {
                self.used_before(case, from, notes).await
            }
            VerifyOutcome::Invalid { reason, .. } => self.refuse(case, from, &reason, notes).await,
            VerifyOutcome::Unavailable { detail } => {
                tracing::warn!(topup.id = %case.id, detail, "facilitator cannot be asked");
                self.refuse(case, from, "facilitator_unavailable", notes).await
            }
        }
    }

    async fn refuse(
        &self,
        case: &Case,
        from: At,
        reason: &str,
        notes: Vec<Note>,
    ) -> Result<Option<Vec<Note>>, PayError> {
        let step = Step::because(TopupEvent::Refuse, reason, notes);
        self.advance(case, from, &step).await?;
        Ok(None)
    }

    /// The money moved, if at all, without this request. Who is credited is for the resolver.
    async fn used_before(
        &self,
        case: &Case,
        from: At,
        notes: Vec<Note>,
    ) -> Result<Option<Vec<Note>>, PayError> {
        let step = Step::because(TopupEvent::Lose, USED_BEFORE, notes);
        self.advance(case, from, &step).await?;
        Ok(None)
    }

    /// Carries out what the facilitator's answer means.
    async fn conclude(
        &self,
        case: &Case,
        from: At,
        first: bool,
        outcome: SettleOutcome,
        note: Note,
    ) -> Result<(), PayError> {
        let (event, reason, transaction) = match outcome {
            SettleOutcome::Settled { transaction, .. } => {
                match self.prove(case, &transaction).await {
                    Ok(evidence) => {
                        // Before anything else: the answer exists nowhere else yet.
                        self.note_at_once(case, &[note]).await;
                        return self.credit(case, from, Paid { transaction, evidence }).await;
                    }
                    Err(reason) => (TopupEvent::Lose, reason, Some(transaction)),
                }
            }
            SettleOutcome::Rejected { reason, .. } if first => (TopupEvent::Reject, reason, None),
            // After an unknown outcome no refusal is believed, whoever classified it.
            SettleOutcome::Rejected { reason, .. } => (TopupEvent::Lose, reason, None),
            SettleOutcome::Unknown { reason, transaction } => {
                (TopupEvent::Lose, reason, transaction)
            }
            SettleOutcome::NotSent { detail } => {
                tracing::warn!(topup.id = %case.id, detail, "nothing was sent");
                let event = if first { TopupEvent::Unsent } else { TopupEvent::Lose };
                (event, "facilitator_unavailable".to_owned(), None)
            }
        };
        let event = if self.is_to_be_parked(case, from, event) { TopupEvent::Park } else { event };
        let step = Step {
            event,
            reason: Some(&reason),
            transaction: transaction.as_deref(),
            detail: json!({ "reason": reason, "transaction": transaction }),
            notes: vec![note],
        };
        if self.keep(case, from, &step).await?.is_some() && event == TopupEvent::Park {
            tracing::error!(
                topup.id = %case.id, reason,
                "a top-up is parked: neither facilitator nor chain tells of it; see `bursar topup show`"
            );
        }
        Ok(())
    }

    /// Whether nobody is left to be asked about what is lost: no chain is read, and the facilitator
    /// has not said for long after the payment's window.
    fn is_to_be_parked(&self, case: &Case, from: At, event: TopupEvent) -> bool {
        event == TopupEvent::Lose
            && from.state == TopupState::Unknown
            && self.chain_of(case.network).is_none()
            && case.is_over(self.clock.now(), self.settings.resolving.park_after)
    }

    /// Reads the chain for the payment, within bounds. Without a chain the facilitator's word is
    /// final.
    pub(super) async fn prove(
        &self,
        case: &Case,
        transaction: &str,
    ) -> Result<Option<Evidence>, String> {
        let Some(chain) = self.chain_of(case.network) else { return Ok(None) };
        let payment = case.on_chain();
        let pause = Duration::from_millis(250);
        let end = Instant::now() + self.settings.resolving.receipt_wait;
        loop {
            let missing = match chain.settlement(&payment, transaction).await {
                Ok(evidence @ Evidence::Confirmed { .. }) => return Ok(Some(evidence)),
                Ok(Evidence::Missing) => "receipt_missing".to_owned(),
                Ok(Evidence::Reverted) => return Err("transaction_reverted".to_owned()),
                Ok(Evidence::Mismatch(mismatch)) => return Err(mismatch.to_string()),
                Err(error) => {
                    tracing::warn!(topup.id = %case.id, %error, "receipt cannot be read");
                    "chain_unavailable".to_owned()
                }
            };
            if Instant::now() >= end {
                return Err(missing);
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// Notes what was heard, and goes on even where it cannot be written.
    pub(super) async fn note_at_once(&self, case: &Case, notes: &[Note]) {
        if let Err(error) = self.record(case, notes).await {
            for Note { kind, detail, .. } in notes {
                tracing::error!(topup.id = %case.id, kind, %detail, %error, "note cannot be kept");
            }
        }
    }

    /// Credits the account. When the ledger cannot commit, the success is kept, and the resolver
    /// takes it up.
    pub(super) async fn credit(&self, case: &Case, from: At, paid: Paid) -> Result<(), PayError> {
        let command = CreditTopup {
            account: case.account,
            topup: case.id,
            amount: case.amount,
            settlement_tx: paid.transaction.clone(),
            sighting: paid.sighting(),
            recovers: false,
        };
        let error = match self.engine.submit(Arc::new(command)).await {
            Ok(outcome) => {
                if !outcome.accepted {
                    let transaction = &paid.transaction;
                    tracing::error!(topup.id = %case.id, transaction, "paid, and not to be credited");
                }
                return Ok(());
            }
            Err(error) => error,
        };
        tracing::error!(topup.id = %case.id, %error, "credit did not commit; it is kept");
        if from.state == TopupState::Settled {
            return self.postpone(case, from, Some(self.later(case)), &[]).await;
        }
        let step = Step {
            event: TopupEvent::Settle,
            reason: Some("credit_pending"),
            transaction: Some(&paid.transaction),
            detail: json!({ "transaction": paid.transaction }),
            notes: vec![],
        };
        self.keep(case, from, &step).await?;
        Ok(())
    }
}
