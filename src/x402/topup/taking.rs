//! Taking a payment: claim, intent, settlement; or following whoever does so already.

use std::time::Duration;

use crate::db::claims::{self, ClaimKind, Holder};
use crate::ground::{BookId, IdempotencyKey, TopupId, sha256};

use serde_json::json;

use super::case::{At, Case};
use super::record::SET_ASIDE;
use super::step::Step;
use super::{
    Checked, PayError, Payee, Running, TopUps, TopupEvent, TopupRecord, TopupState, store,
};

/// How many refused payments under one idempotency key are gone through.
const SUPERSEDED_MAX: usize = 64;

/// What became of a payment that was to be settled.
#[derive(Clone, Debug)]
pub struct Settled {
    /// The top-up whose answer is the answer, in the state that it has reached.
    pub record: TopupRecord,
    /// Whether this call sent it, so that whoever asked for it brought the money.
    pub sent: bool,
}

impl TopUps {
    /// Settles a checked payment and credits it, or follows whoever does so already.
    pub async fn settle(
        &self,
        checked: Checked,
        payee: Payee,
        key: Option<IdempotencyKey>,
    ) -> Result<Settled, PayError> {
        let (topups, running) = (self.clone(), Running::begin(&self.0.running));
        // From the claim on, nothing depends on this request, whose client may hang up: an intent
        // that nobody works on would keep the payment waiting for the resolver.
        let task = self.0.runtime.spawn(async move {
            let _running = running;
            topups.take(checked, payee, key).await
        });
        let (id, sent) = task.await.map_err(|_| PayError::Interrupted)??;
        let record = self.follow(id).await?;
        Ok(Settled { record: self.whose_money(record).await?, sent })
    }

    /// Claims a payment, writes its intent and settles it, unless that has been done. Returns the
    /// top-up whose answer is the answer, and whether it was sent here.
    async fn take(
        &self,
        checked: Checked,
        payee: Payee,
        key: Option<IdempotencyKey>,
    ) -> Result<(TopupId, bool), PayError> {
        let inner = &self.0;
        let at = inner.clock.now();
        let fresh = TopupId::mint(inner.entropy.as_ref(), at, payee.account.slot());
        let wanted = Holder { book: payee.account, subject: fresh.0 };
        let identity = checked.payment.identity().claim_key();
        let holder = claims::claim(&inner.pool, ClaimKind::Payment, &identity, wanted, at).await?;
        if holder.book != payee.account {
            return Err(PayError::BoundElsewhere);
        }
        let case = Case::of(TopupId(holder.subject), payee.account, &checked, at);
        // The intent is written before the key is claimed: a key never leads to a top-up that a
        // crash has kept from being written.
        let intent = inner.intend(&case, payee).await?;
        if let Some(key) = key {
            let first = self.first_of_key(&key, payee, holder, &checked).await;
            if let Some(intent) = intent.filter(|_| !matches!(first, Ok(None))) {
                let step = Step::because(TopupEvent::Refuse, SET_ASIDE, vec![]);
                inner.advance(&case, intent, &step).await?;
            }
            if let Some(first) = first? {
                return Ok((first, false));
            }
        }
        let taken = match intent {
            Some(intent) => Some(intent),
            None => self.take_up_refused(&case).await?,
        };
        if let Some(taken) = taken {
            let sent = inner.run(case, taken, &checked).await?;
            return Ok((TopupId(holder.subject), sent));
        }
        let record = self.record(case.id).await?.ok_or(PayError::Interrupted)?;
        Ok((self.last_of(record).await?.id, false))
    }

    /// Takes a refused payment up again, for the account it is bound to. Nothing when it is in
    /// another state, another request was faster, or another payment has taken its place.
    ///
    /// A wallet can sign one nonce many times, for this and for that amount. What was claimed is one
    /// authorization: what is credited, looked for and waited for is that one's.
    async fn take_up_refused(&self, case: &Case) -> Result<Option<At>, PayError> {
        let Some(found) = store::case_of(&self.0.pool, case.id).await? else { return Ok(None) };
        if found.at.state != TopupState::Refused {
            return Ok(None);
        }
        if !case.is_as_claimed(&found.case) {
            return Err(PayError::OtherAuthorization { first: case.id });
        }
        let step = Step {
            event: TopupEvent::TakeUp,
            reason: None,
            transaction: None,
            detail: json!({}),
            notes: vec![],
        };
        self.0.advance(case, found.at, &step).await
    }

    /// The top-up that a client's own key names already, if it is another one than ours. Same key
    /// and same terms: the first top-up's answer, and this authorization is never sent. Only where
    /// the first was refused, so that it was never sent, ours takes its place, for good: under one
    /// key no two payments are ever sent.
    async fn first_of_key(
        &self,
        key: &IdempotencyKey,
        payee: Payee,
        ours: Holder,
        checked: &Checked,
    ) -> Result<Option<TopupId>, PayError> {
        // Whoever merely names an account has keys of its own, and cannot use up the account's.
        let payer = if payee.named { checked.payer().lower() } else { String::new() };
        let claim = key_claim(ours.book, &payer, key);
        let at = self.0.clock.now();
        let holder = claims::claim(&self.0.pool, ClaimKind::PaymentKey, &claim, ours, at).await?;
        if holder.subject == ours.subject {
            return Ok(None);
        }
        let mut first = self.of_holder(holder).await?.ok_or(PayError::KeyInFlight)?;
        let own = self.of_holder(ours).await?.ok_or(PayError::KeyInFlight)?;
        for _ in 0..SUPERSEDED_MAX {
            if let Some(next) = first.superseded_by {
                if next.0 == ours.subject {
                    return Ok(None);
                }
                first = self.record(next).await?.ok_or(PayError::KeyInFlight)?;
                continue;
            }
            let same_terms = first.amount == checked.matched.amount
                && first.network == checked.matched.network.caip2;
            if !same_terms {
                return Err(PayError::KeyConflict { first: first.id });
            }
            if first.state != TopupState::Refused {
                break;
            }
            if store::supersede(&self.0.pool, &first, TopupId(ours.subject)).await? {
                return Ok(None);
            }
            let again = self.record(first.id).await?.ok_or(PayError::KeyInFlight)?;
            if again == first {
                // It is ours that has been superseded: just now, so that whoever did it is about to
                // send the other one, or long ago.
                if own.superseded_by.is_none() {
                    return Err(PayError::KeyInFlight);
                }
                break;
            }
            first = again;
        }
        Ok(Some(first.id))
    }

    pub(super) async fn of_holder(&self, holder: Holder) -> Result<Option<TopupRecord>, PayError> {
        Ok(store::by_id(&self.0.pool, TopupId(holder.subject)).await?)
    }

    /// The payment that took this one's place under its idempotency key, or the one that took that
    /// one's.
    pub(super) async fn last_of(&self, mut record: TopupRecord) -> Result<TopupRecord, PayError> {
        for _ in 0..SUPERSEDED_MAX {
            // Paid by somebody else after all, it speaks for itself.
            let next = record.superseded_by.filter(|_| record.state == TopupState::Refused);
            let Some(next) = next else { break };
            record = self.record(next).await?.ok_or(PayError::Interrupted)?;
        }
        Ok(record)
    }

    /// Waits, within bounds, until a top-up has left the states in which somebody works on it.
    pub async fn follow(&self, id: TopupId) -> Result<TopupRecord, PayError> {
        let mut pause = Duration::from_millis(20);
        let mut waited = Duration::ZERO;
        loop {
            let record = store::by_id(&self.0.pool, id).await?.ok_or(PayError::Interrupted)?;
            let working = match record.state {
                TopupState::Claimed | TopupState::Settling => true,
                TopupState::Refused
                | TopupState::Settled
                | TopupState::Credited
                | TopupState::Rejected
                | TopupState::Unknown
                | TopupState::Parked => false,
            };
            if !working || waited >= self.0.settings.patience {
                return Ok(record);
            }
            tokio::time::sleep(pause).await;
            waited = waited.saturating_add(pause);
            pause = pause.saturating_mul(2).min(Duration::from_millis(500));
        }
    }
}

/// The claim of a client's own key: in its account and, where that is merely named, of its payer.
pub(super) fn key_claim(account: BookId, payer: &str, key: &IdempotencyKey) -> [u8; 32] {
    let tag = b"bursar-payment-key-v1".as_slice();
    sha256([tag, account.0.as_bytes(), payer.as_bytes(), key.as_str().as_bytes()])
}
