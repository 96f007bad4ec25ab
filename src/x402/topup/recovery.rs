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

use super::command::CreditTopup;
use super::settle::{Case, USED_BEFORE};
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
        if record.state == TopupState::Credited {
            return Ok(Recovered::Known { topup: id });
        }
        if let Some(why) = doubt(&record, payment, wallet) {
            return Ok(Recovered::Doubtful { topup: id, why });
        }
        self.lead_to_credit(&record).await?;
        let command = CreditTopup {
            account: record.account,
            topup: id,
            settlement_tx: payment.transaction.clone(),
            effective_at: Some(settled_at),
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
        let case = Case {
            id,
            account,
            version: Version::V2,
            network,
            payer: identity.payer.clone(),
            nonce: identity.nonce.clone(),
            pay_to: inner.settings.pay_to.lower(),
            amount: payment.amount,
            payload: json!({ "recovered_from": payment.transaction }),
            facilitator_url: String::new(),
            asked_version: Version::V2,
            requirements: json!({}),
        };
        let intent = Intent {
            case: &case,
            keyed: false,
            asset: identity.asset.clone(),
            valid_before: 0,
            at: inner.clock.now(),
        };
        store::insert(&inner.pool, &intent).await?;
        store::by_id(&inner.pool, id).await?.ok_or(PayError::Interrupted)
    }

    /// Takes the steps from the state in which the backup has it to one that can be credited. Each
    /// stands in the audit trail.
    async fn lead_to_credit(&self, record: &TopupRecord) -> Result<(), PayError> {
        let why = || Some(("recovered", None));
        let detail = || json!({ "reason": "recovered" });
        let steps: &[(TopupState, TopupEvent)] = match record.state {
            TopupState::Refused => &[
                (TopupState::Refused, TopupEvent::TakeUp),
                (TopupState::Claimed, TopupEvent::Lose),
            ],
            TopupState::Claimed => &[(TopupState::Claimed, TopupEvent::Lose)],
            TopupState::Settling
            | TopupState::Settled
            | TopupState::Unknown
            | TopupState::Credited
            | TopupState::Rejected => &[],
        };
        for (from, event) in steps {
            self.0.advance(record.id, record.account, *from, *event, why(), detail()).await?;
        }
        Ok(())
    }

    /// The top-ups whose outcome the ledger does not know, oldest first.
    pub async fn open_topups(&self) -> Result<Vec<OpenTopup>, PayError> {
        Ok(store::open(&self.0.pool).await?)
    }
}

/// Why a payment is not simply credited to the account that its top-up names.
fn doubt(record: &TopupRecord, payment: &Incoming, wallet: BookId) -> Option<&'static str> {
    if record.state == TopupState::Rejected {
        return Some("its top-up had been rejected");
    }
    if record.amount != payment.amount {
        return Some("its top-up is of another amount");
    }
    // Showing a used authorization proves nothing, because it is public.
    if record.reason.as_deref() == Some(USED_BEFORE) && record.account != wallet {
        return Some("it was shown by another account than the payer's after it had been used");
    }
    None
}
