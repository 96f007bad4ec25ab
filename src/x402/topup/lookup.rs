//! What is known of a top-up, and by which of its names it is found.

use crate::db::claims;
use crate::ground::{BookId, IdempotencyKey, TopupId};
use crate::x402::{Network, Payment, PaymentIdentity};

use super::settle::USED_BEFORE;
use super::taking::key_claim;
use super::{AuditEntry, PayError, TopUps, TopupRecord, TopupState, store};

/// How many top-ups are shown of one transaction, and how many are listed.
const SHOWN_MAX: i64 = 100;

impl TopUps {
    /// What is known of a payment. To be asked before anything else is checked: a known payment is
    /// answered from its record, whatever today's terms, body or clock say.
    pub async fn known(&self, payment: &Payment) -> Result<Option<TopupRecord>, PayError> {
        self.of_payment(&payment.identity()).await
    }

    /// The top-up that answers for a payment: the one that it was presented for, or the one that
    /// took its place.
    async fn of_payment(
        &self,
        identity: &PaymentIdentity,
    ) -> Result<Option<TopupRecord>, PayError> {
        let Some(holder) = claims::find(&self.0.pool, &identity.claim_key()).await? else {
            return Ok(None);
        };
        let Some(record) = self.of_holder(holder).await? else { return Ok(None) };
        let record = self.last_of(record).await?;
        Ok(Some(self.whose_money(record).await?))
    }

    /// The top-up that answers for this one's money: where it was shown by somebody who had not
    /// brought it, that is the one of the wallet that paid.
    pub(super) async fn whose_money(&self, record: TopupRecord) -> Result<TopupRecord, PayError> {
        let diverted =
            record.state == TopupState::Rejected && record.reason.as_deref() == Some(USED_BEFORE);
        let wallet = if diverted { self.wallet_book(&record.payer).await? } else { None };
        let Some(wallet) = wallet else { return Ok(record) };
        let TopupRecord { network, asset, payer, nonce, .. } = &record;
        let paid = store::of_payment(&self.0.pool, wallet, network, asset, payer, nonce).await?;
        Ok(paid.unwrap_or(record))
    }

    /// The account of a wallet that has one.
    async fn wallet_book(&self, payer: &str) -> Result<Option<BookId>, PayError> {
        let holder = claims::find(&self.0.pool, &claims::wallet_key(payer)).await?;
        Ok(holder.map(|holder| holder.book))
    }

    /// A top-up by its id.
    pub async fn record(&self, id: TopupId) -> Result<Option<TopupRecord>, PayError> {
        Ok(store::by_id(&self.0.pool, id).await?)
    }

    /// What the facilitator and the chain said, and what was decided, oldest first.
    pub async fn audit(&self, id: TopupId) -> Result<Vec<AuditEntry>, PayError> {
        Ok(store::audit(&self.0.pool, id).await?)
    }

    /// The top-ups of an authorization, on whatever network; payer and nonce in lower case.
    pub async fn by_authorization(
        &self,
        payer: &str,
        nonce: &str,
    ) -> Result<Vec<TopupRecord>, PayError> {
        let mut found = Vec::new();
        for network in &self.0.settings.networks {
            let network: &'static Network = network;
            let identity = PaymentIdentity {
                network: network.caip2,
                asset: network.usdc.lower(),
                payer: payer.to_owned(),
                nonce: nonce.to_owned(),
            };
            found.extend(self.of_payment(&identity).await?);
        }
        Ok(found)
    }

    /// The top-ups that a transaction settled, newest first; its hash in lower case.
    pub async fn by_transaction(&self, transaction: &str) -> Result<Vec<TopupRecord>, PayError> {
        Ok(store::by_transaction(&self.0.pool, transaction, SHOWN_MAX).await?)
    }

    /// The top-up under a client's own name for its payment: of an account, or of the account of the
    /// wallet that pays, or of an account that a payer has merely named.
    pub async fn by_payment_id(
        &self,
        key: &IdempotencyKey,
        account: Option<BookId>,
        payer: Option<&str>,
    ) -> Result<Option<TopupRecord>, PayError> {
        let claim = match (account, payer) {
            (Some(account), payer) => key_claim(account, payer.unwrap_or_default(), key),
            (None, Some(payer)) => match self.wallet_book(payer).await? {
                Some(wallet) => key_claim(wallet, "", key),
                None => return Ok(None),
            },
            (None, None) => return Ok(None),
        };
        let Some(holder) = claims::find(&self.0.pool, &claim).await? else { return Ok(None) };
        match self.of_holder(holder).await? {
            Some(record) => {
                let record = self.last_of(record).await?;
                Ok(Some(self.whose_money(record).await?))
            }
            None => Ok(None),
        }
    }

    /// The top-ups whose outcome is open, or those of them that are parked; oldest first.
    pub async fn listed(&self, parked_only: bool) -> Result<Vec<TopupRecord>, PayError> {
        let wanted = |state: &TopupState| {
            if parked_only { *state == TopupState::Parked } else { state.is_open() }
        };
        let states =
            TopupState::ALL.into_iter().filter(wanted).map(|state| state.name().to_owned());
        let states: Vec<_> = states.collect();
        Ok(store::listed(&self.0.pool, &states, SHOWN_MAX).await?)
    }
}
