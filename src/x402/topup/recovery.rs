//! What a restored ledger lacks: payments that were settled after its backup, as the chain tells.
//!
//! A payment that the ledger does not know is credited to the account of the wallet that paid: which
//! account had received it may be lost with the database, and that wallet can claim its account.
//! Everything goes through the same claim, states and command as a top-up that was just paid, so
//! that reading the same blocks again changes nothing.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde_json::json;

use crate::db::claims::{self, ClaimKind, Holder};
use crate::ground::{Amount, BookId, TopupId};
use crate::ledger::SubmitError;
use crate::x402::chain::Incoming;
use crate::x402::{Network, PaymentIdentity, Version};

use super::case::{Case, instant};
use super::command::CreditTopup;
use super::confirm::Sighting;
use super::settle::USED_BEFORE;
use super::step::Step;
use super::store::{self, Intent};
use super::{PayError, TopUps, TopupEvent, TopupRecord, TopupState};

/// What has become of a payment that is on the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recovered {
    /// It had been credited before the backup, or by an earlier reading.
    Known { topup: TopupId },
    /// It was credited, to this account.
    Credited { topup: TopupId, account: BookId },
    /// Only a person can say whose it is.
    Doubtful { topup: TopupId, why: &'static str },
}

/// A top-up whose outcome the ledger does not know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenTopup {
    pub id: TopupId,
    pub state: TopupState,
    pub amount: Amount,
    pub network: String,
    pub asset: String,
    pub payer: String,
    pub nonce: String,
    pub pay_to: String,
    pub valid_before: Option<DateTime<Utc>>,
    pub created_at: DateTime<Utc>,
}

impl TopUps {
    /// Credits a payment that the chain shows, unless it is credited. `wallet` is the account of the
    /// wallet that paid.
    pub async fn recover(
        &self,
        network: &'static Network,
        payment: &Incoming,
        nonce: &str,
        wallet: BookId,
        settled_at: DateTime<Utc>,
    ) -> Result<Recovered, PayError> {
        let inner = &self.0;
        let identity = PaymentIdentity {
            network: network.caip2,
            asset: network.usdc.lower(),
            payer: payment.from.clone(),
            nonce: nonce.to_owned(),
        };
        let at = inner.clock.now();
        let fresh = TopupId::mint(inner.entropy.as_ref(), at, wallet.slot());
        let wanted = Holder { book: wallet, subject: fresh.0 };
        let key = identity.claim_key();
        let holder = claims::claim(&inner.pool, ClaimKind::Payment, &key, wanted, at).await?;
        let id = TopupId(holder.subject);
        let record = match store::by_id(&inner.pool, id).await? {
            Some(record) => record,
            None => self.write_missing(id, holder.book, network, &identity, payment).await?,
        };
        let record = if is_strangers(&record, wallet) {
            self.leave_to_wallet(&record, wallet).await?
        } else {
            record
        };
        let id = record.id;
        if record.state == TopupState::Credited {
            return Ok(Recovered::Known { topup: id });
        }
        if record.amount != payment.amount {
            return Ok(Recovered::Doubtful { topup: id, why: "its top-up is of another amount" });
        }
        self.lead_to_credit(id, &payment.transaction).await?;
        let command = CreditTopup {
            account: record.account,
            topup: id,
            amount: payment.amount,
            settlement_tx: payment.transaction.clone(),
            sighting: Some(Sighting {
                transaction: payment.transaction.clone(),
                block_number: payment.block,
                block_hash: payment.block_hash.clone(),
                block_time: Some(settled_at),
                log_index: payment.log_index,
            }),
            recovers: true,
        };
        match inner.engine.submit(Arc::new(command)).await {
            Ok(_) => Ok(Recovered::Credited { topup: id, account: record.account }),
            Err(SubmitError::BookUnknown) => {
                Ok(Recovered::Doubtful { topup: id, why: "its account is not in the backup" })
            }
            Err(error) => Err(PayError::Ledger(error)),
        }
    }

    /// Writes the row of a payment that the backup lacks.
    async fn write_missing(
        &self,
        id: TopupId,
        account: BookId,
        network: &'static Network,
        identity: &PaymentIdentity,
        payment: &Incoming,
    ) -> Result<TopupRecord, PayError> {
        let inner = &self.0;
        let at = inner.clock.now();
        let case = Case {
            id,
            account,
            version: Version::V2,
            network,
            asset: identity.asset.clone(),
            payer: identity.payer.clone(),
            nonce: identity.nonce.clone(),
            pay_to: inner.settings.pay_to.lower(),
            amount: payment.amount,
            valid_before: instant(0),
            payload: json!({ "recovered_from": payment.transaction }),
            facilitator_url: String::new(),
            asked_version: Version::V2,
            requirements: json!({}),
            sent: false,
            created_at: at,
            since: at,
        };
        let next_at = inner.lease_end(at);
        let intent = Intent { case: &case, keyed: false, next_at };
        store::insert(&inner.pool, &intent).await?;
        store::by_id(&inner.pool, id).await?.ok_or(PayError::Interrupted)
    }

    /// Takes the step from the state in which the backup has it to one that can be credited. It
    /// stands in the audit trail.
    async fn lead_to_credit(&self, id: TopupId, transaction: &str) -> Result<(), PayError> {
        let due = store::case_of(&self.0.pool, id).await?.ok_or(PayError::Interrupted)?;
        let event = match due.at.state {
            TopupState::Refused | TopupState::Rejected | TopupState::Parked => TopupEvent::Settle,
            TopupState::Claimed => TopupEvent::Lose,
            TopupState::Settling
            | TopupState::Settled
            | TopupState::Unknown
            | TopupState::Credited => return Ok(()),
        };
        let step = Step {
            event,
            reason: Some("recovered"),
            transaction: Some(transaction),
            detail: json!({ "reason": "recovered", "transaction": transaction }),
            notes: vec![],
        };
        self.0.advance(&due.case, due.at, &step).await?;
        Ok(())
    }

    /// The wallet's own top-up of a payment that somebody else showed.
    async fn leave_to_wallet(
        &self,
        record: &TopupRecord,
        wallet: BookId,
    ) -> Result<TopupRecord, PayError> {
        let due = store::case_of(&self.0.pool, record.id).await?.ok_or(PayError::Interrupted)?;
        match due.at.state {
            TopupState::Unknown | TopupState::Parked => {
                self.0.divert(&due.case, due.at, wallet, vec![]).await?;
            }
            TopupState::Claimed
            | TopupState::Refused
            | TopupState::Settling
            | TopupState::Settled
            | TopupState::Credited
            | TopupState::Rejected => {}
        }
        self.0.top_up_of_wallet(&due.case, wallet).await
    }

    /// The top-ups whose outcome the ledger does not know, oldest first.
    pub async fn open_topups(&self) -> Result<Vec<OpenTopup>, PayError> {
        Ok(store::open(&self.0.pool).await?)
    }
}

/// Whether a top-up is of an account that showed a payment after it had been used, which proves
/// nothing: a used authorization is public.
fn is_strangers(record: &TopupRecord, wallet: BookId) -> bool {
    record.account != wallet
        && record.sent_at.is_none()
        && record.reason.as_deref() == Some(USED_BEFORE)
}
