//! One settlement, step by step. Every step commits before the next one begins.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use crate::ground::{Amount, BookId, TopupId, mint_uuid};
use crate::x402::chain::{Chain, ChainPayment, Evidence};
use crate::x402::classify::{Expected, SettleOutcome, VerifyOutcome};
use crate::x402::{Network, Version};

use super::command::CreditTopup;
use super::store::{self, Intent, Move};
use super::{Checked, Inner, PayError, Payee, TopupEvent, TopupState};

/// Why a payment that we never sent is unknown: its authorization had been used already.
pub(super) const USED_BEFORE: &str = "used_before";

/// What a settlement needs of a top-up, whether it comes from a request or from its row.
pub(super) struct Case {
    pub(super) id: TopupId,
    pub(super) account: BookId,
    pub(super) version: Version,
    pub(super) network: &'static Network,
    pub(super) payer: String,
    pub(super) nonce: String,
    pub(super) pay_to: String,
    pub(super) amount: Amount,
    pub(super) payload: Value,
    /// The facilitator that it goes to, as it is on record, and to no other once it was sent.
    pub(super) facilitator_url: String,
    /// The version of the protocol in which that one is asked.
    pub(super) asked_version: Version,
    /// Our terms in that version.
    pub(super) requirements: Value,
}

impl Case {
    fn of(id: TopupId, account: BookId, checked: &Checked) -> Self {
        let identity = checked.payment.identity();
        Self {
            id,
            account,
            version: checked.payment.version,
            network: checked.matched.network,
            payer: identity.payer,
            nonce: identity.nonce,
            pay_to: checked.payment.authorization.to.lower(),
            amount: checked.matched.amount,
            payload: checked.payment.payload.clone(),
            facilitator_url: String::new(),
            asked_version: checked.payment.version,
            requirements: checked.matched.requirements.clone(),
        }
    }

    pub(super) fn expected(&self) -> Expected<'_> {
        Expected {
            network: self.network.caip2,
            network_v1: self.network.v1_name,
            payer: &self.payer,
        }
    }
}

impl Inner {
    /// The chain that a payment is read from, where one is read.
    pub(super) fn chain_of(&self, network: &Network) -> Option<&Arc<dyn Chain>> {
        let found = self.chains.iter().find(|(caip2, _)| *caip2 == network.caip2);
        found.map(|(_, chain)| chain)
    }

    /// Writes the intent. False when the top-up has its row already.
    pub(super) async fn intend(
        &self,
        id: TopupId,
        payee: Payee,
        checked: &Checked,
    ) -> Result<bool, PayError> {
        let mut case = Case::of(id, payee.account, checked);
        if let Some(route) = checked.routes.first() {
            case.go_by(route, checked);
        }
        let intent = Intent {
            case: &case,
            keyed: payee.keyed,
            asset: checked.payment.identity().asset,
            valid_before: i64::try_from(checked.matched.valid_before).unwrap_or(i64::MAX),
            at: self.clock.now(),
        };
        Ok(store::insert(&self.pool, &intent).await?)
    }

    /// Takes a refused payment up again, for the account it is bound to. False when it is in another
    /// state, or another request was faster.
    pub(super) async fn take_up_refused(
        &self,
        id: TopupId,
        payee: Payee,
    ) -> Result<bool, PayError> {
        let detail = json!({});
        self.advance(id, payee.account, TopupState::Refused, TopupEvent::TakeUp, None, detail).await
    }

    /// Leaves a claimed payment unsent, because its idempotency key names another top-up.
    pub(super) async fn set_aside(&self, id: TopupId, account: BookId) -> Result<bool, PayError> {
        let why = Some(("idempotency_key_used", None));
        self.advance(id, account, TopupState::Claimed, TopupEvent::Refuse, why, json!({})).await
    }

    /// Verifies, settles and credits a claimed payment.
    pub(super) async fn run(
        &self,
        id: TopupId,
        account: BookId,
        checked: Checked,
    ) -> Result<(), PayError> {
        let mut case = Case::of(id, account, &checked);
        if !self.may_be_sent(&mut case, &checked).await? {
            return Ok(());
        }
        // The attempt commits before bytes are sent, so that a restart is never "first"; and with it
        // to whom they are sent.
        if !self.begin_to_send(&case).await? {
            return Ok(());
        }
        let outcome = self.ask_to_settle(&case, true).await;
        self.conclude(&case, TopupState::Settling, outcome).await
    }

    /// Asks the facilitator, and the chain where it is read, whether the payment can be settled. A
    /// `no` leaves it refused: nothing was sent, and the same payment may come again.
    async fn may_be_sent(&self, case: &mut Case, checked: &Checked) -> Result<bool, PayError> {
        if let Some(chain) = self.chain_of(case.network) {
            let asset = case.network.usdc.lower();
            match chain.authorization_used(&asset, &case.payer, &case.nonce).await {
                Ok(false) => {}
                Ok(true) => return self.used_before(case, "authorization_used").await,
                Err(error) => {
                    tracing::warn!(topup.id = %case.id, %error, "chain cannot be read");
                    return self.refuse(case, "chain_unavailable").await;
                }
            }
        }
        let Checked { payment, matched, routes } = checked;
        let (verified, asked) = self.verify_in_turn(payment, matched, routes).await;
        if let Some(route) = routes.get(asked) {
            case.go_by(route, checked);
        }
        match verified {
            VerifyOutcome::Valid { .. } => Ok(true),
            VerifyOutcome::Invalid { reason, .. } if reason.contains("already_used") => {
                self.used_before(case, &reason).await
            }
            VerifyOutcome::Invalid { reason, .. } => self.refuse(case, &reason).await,
            VerifyOutcome::Unavailable { detail } => {
                tracing::warn!(topup.id = %case.id, detail, "facilitator cannot be asked");
                self.refuse(case, "facilitator_unavailable").await
            }
        }
    }

    async fn refuse(&self, case: &Case, reason: &str) -> Result<bool, PayError> {
        let (from, why) = (TopupState::Claimed, Some((reason, None)));
        let detail = json!({ "reason": reason });
        self.advance(case.id, case.account, from, TopupEvent::Refuse, why, detail).await?;
        Ok(false)
    }

    /// The money moved, if at all, without this request. Who is credited is for the resolver.
    async fn used_before(&self, case: &Case, said: &str) -> Result<bool, PayError> {
        let (from, why) = (TopupState::Claimed, Some((USED_BEFORE, None)));
        let detail = json!({ "reason": USED_BEFORE, "said": said });
        self.advance(case.id, case.account, from, TopupEvent::Lose, why, detail).await?;
        Ok(false)
    }

    /// Carries out what the facilitator's answer means.
    pub(super) async fn conclude(
        &self,
        case: &Case,
        from: TopupState,
        outcome: SettleOutcome,
    ) -> Result<(), PayError> {
        let (event, reason, transaction) = match outcome {
            SettleOutcome::Settled { transaction, .. } => {
                match self.prove(case, &transaction).await {
                    Ok(effective_at) => {
                        return self.credit(case, from, transaction, effective_at).await;
                    }
                    Err(reason) => (TopupEvent::Lose, reason, Some(transaction)),
                }
            }
            SettleOutcome::Rejected { reason, .. } => (TopupEvent::Reject, reason, None),
            SettleOutcome::Unknown { reason, transaction } => {
                (TopupEvent::Lose, reason, transaction)
            }
            SettleOutcome::NotSent { detail } => {
                tracing::warn!(topup.id = %case.id, detail, "nothing was sent");
                let event = if from == TopupState::Settling {
                    TopupEvent::Unsent
                } else {
                    TopupEvent::Lose
                };
                (event, "facilitator_unavailable".to_owned(), None)
            }
        };
        let detail = json!({ "reason": reason, "transaction": transaction });
        let why = Some((reason.as_str(), transaction.as_deref()));
        self.keep(case, from, event, why, detail).await
    }

    /// Takes a step after something was sent. What is learnt then exists nowhere else yet, so a
    /// database that is away is waited for, until the resolver may take the top-up up.
    async fn keep(
        &self,
        case: &Case,
        from: TopupState,
        event: TopupEvent,
        why: Option<(&str, Option<&str>)>,
        detail: Value,
    ) -> Result<(), PayError> {
        let (id, pause) = (case.id, Duration::from_millis(500));
        let mut waited = Duration::ZERO;
        while let Err(error) =
            self.advance(id, case.account, from, event, why, detail.clone()).await
        {
            tracing::error!(topup.id = %id, ?event, %detail, %error, "outcome is not on record yet");
            if waited >= self.settings.lease {
                return Err(error);
            }
            tokio::time::sleep(pause).await;
            waited = waited.saturating_add(pause);
        }
        Ok(())
    }

    /// Reads the chain for the payment, within bounds. Without a chain the facilitator's word is
    /// final. Returns when the money moved, where that is known.
    async fn prove(&self, case: &Case, transaction: &str) -> Result<Option<DateTime<Utc>>, String> {
        let Some(chain) = self.chain_of(case.network) else { return Ok(None) };
        let asset = case.network.usdc.lower();
        let payment = ChainPayment {
            asset: &asset,
            payer: &case.payer,
            nonce: &case.nonce,
            pay_to: &case.pay_to,
            amount: case.amount,
        };
        let mut waited = Duration::ZERO;
        let pause = Duration::from_millis(250);
        loop {
            let missing = match chain.settlement(&payment, transaction).await {
                Ok(Evidence::Confirmed { block_time, .. }) => return Ok(block_time),
                Ok(Evidence::Missing) => "receipt_missing".to_owned(),
                Ok(Evidence::Reverted) => return Err("transaction_reverted".to_owned()),
                Ok(Evidence::Mismatch(mismatch)) => return Err(mismatch.to_string()),
                Err(error) => {
                    tracing::warn!(topup.id = %case.id, %error, "receipt cannot be read");
                    "chain_unavailable".to_owned()
                }
            };
            if waited >= self.settings.receipt_wait {
                return Err(missing);
            }
            tokio::time::sleep(pause).await;
            waited = waited.saturating_add(pause);
        }
    }

    /// Credits the account. When the ledger cannot commit, the facilitator's success is kept, and
    /// the resolver takes it up.
    pub(super) async fn credit(
        &self,
        case: &Case,
        from: TopupState,
        settlement_tx: String,
        effective_at: Option<DateTime<Utc>>,
    ) -> Result<(), PayError> {
        let (topup, account) = (case.id, case.account);
        let tx = settlement_tx.clone();
        let command =
            CreditTopup { account, topup, settlement_tx: tx, effective_at, recovers: false };
        match self.engine.submit(Arc::new(command)).await {
            Ok(_) => Ok(()),
            Err(error) => {
                tracing::error!(topup.id = %topup, %error, "credit did not commit; it is kept");
                if from == TopupState::Settled {
                    return Ok(());
                }
                let why = Some(("credit_pending", Some(settlement_tx.as_str())));
                let detail = json!({ "transaction": settlement_tx });
                self.keep(case, from, TopupEvent::Settle, why, detail).await
            }
        }
    }

    /// Moves a top-up from one state to the next, with its entry in the audit trail. False when it
    /// was not in that state: somebody else was faster.
    pub(super) async fn advance(
        &self,
        id: TopupId,
        account: BookId,
        from: TopupState,
        event: TopupEvent,
        why: Option<(&str, Option<&str>)>,
        detail: Value,
    ) -> Result<bool, PayError> {
        let Some(to) = from.after(event) else {
            tracing::error!(topup.id = %id, ?from, ?event, "event does not belong to the state");
            return Ok(false);
        };
        let at = self.clock.now();
        let step = Move {
            id,
            account,
            from,
            to,
            attempt: match event {
                TopupEvent::Send => 1,
                TopupEvent::Unsent => -1,
                TopupEvent::Refuse
                | TopupEvent::TakeUp
                | TopupEvent::Reject
                | TopupEvent::Lose
                | TopupEvent::Settle
                | TopupEvent::Credit => 0,
            },
            reason: why.map(|(reason, _)| reason),
            settlement_tx: why.and_then(|(_, transaction)| transaction),
            event_id: mint_uuid(self.entropy.as_ref(), at, id.slot()),
            detail,
            at,
        };
        Ok(store::advance(&self.pool, &step).await?)
    }
}
