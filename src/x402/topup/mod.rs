//! Top-ups: one signed payment becomes prepaid credits, once.
//!
//! The order is the promise. The payment's identity is claimed and the intent is written before
//! anything is sent; the attempt commits before the first byte of `/settle`; the credit commits in
//! the transaction that marks the top-up credited. Settling runs in a task of its own, so a client
//! that hangs up changes nothing. Whatever is not certain stays `unknown`, which is neither a
//! failure nor a reason to ask for a second payment.

mod command;
mod error;
mod facilitation;
mod record;
mod recovery;
mod resolver;
mod settle;
mod state;
pub(super) mod store;

use std::sync::Arc;
use std::time::Duration;

use sqlx::PgPool;
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::db::claims::{self, ClaimKind, Holder};
use crate::ground::{Amount, BookId, Clock, Entropy, IdempotencyKey, TopupId, sha256};
use crate::ledger::{Engine, is_restored};

use super::chain::Chain;
use super::classify::VerifyOutcome;
use super::facilitator::{Facilitators, Route};
use super::{Address, Matched, Network, Payment, Terms, Window, match_payment};

pub use error::PayError;
pub use record::{AuditEntry, TopupRecord};
pub use recovery::{OpenTopup, Recovered};
pub use resolver::Standing;
pub use state::{TopupEvent, TopupState};

/// On what terms credits are sold, and how long anything may take.
#[derive(Clone, Debug)]
pub struct TopupSettings {
    pub networks: Vec<&'static Network>,
    pub pay_to: Address,
    /// The public URL of the top-up route.
    pub resource_url: String,
    /// What a request without an amount buys.
    pub default_amount: Amount,
    pub min_amount: Amount,
    pub max_amount: Amount,
    /// How long a request waits for a settlement that another request has begun.
    pub patience: Duration,
    /// A settlement that has not reported for so long is taken up by the resolver: longer than
    /// verifying and settling may take together.
    pub lease: Duration,
    /// How long the chain is asked for a receipt before the outcome counts as unknown.
    pub receipt_wait: Duration,
}

/// The nodes from which chains are read, each with the CAIP-2 id of its network.
pub type Chains = Vec<(&'static str, Arc<dyn Chain>)>;

/// The verbs of top-ups.
#[derive(Clone)]
pub struct TopUps(Arc<Inner>);

struct Inner {
    pool: PgPool,
    engine: Engine,
    facilitators: Facilitators,
    chains: Chains,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    settings: TopupSettings,
    /// Where settlements run: not on the thread of a request, which ends with its server.
    runtime: Handle,
    /// How many run.
    running: watch::Sender<usize>,
}

/// A payment that answers our terms and was signed by its payer, as far as can be known before it
/// is settled.
#[derive(Clone, Debug)]
pub struct Checked {
    payment: Payment,
    matched: Matched,
    /// Where it may be sent, the first choice first; never empty.
    routes: Vec<Route>,
}

impl Checked {
    /// The paying wallet.
    pub fn payer(&self) -> Address {
        self.matched.payer
    }
}

/// One settlement that runs, for as long as this lives.
struct Running(watch::Sender<usize>);

impl Running {
    fn begin(count: &watch::Sender<usize>) -> Self {
        count.send_modify(|count| *count = count.saturating_add(1));
        Self(count.clone())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count = count.saturating_sub(1));
    }
}

/// Who is credited.
#[derive(Clone, Copy, Debug)]
pub struct Payee {
    pub account: BookId,
    /// Whether an API key of the account came with the request.
    pub keyed: bool,
    /// Whether only the request's body names the account: nothing shows that it is the payer's.
    pub named: bool,
}

impl TopUps {
    /// To be called on the runtime that settlements shall run on.
    pub fn new(
        pool: PgPool,
        engine: Engine,
        facilitators: Facilitators,
        chains: Chains,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        settings: TopupSettings,
    ) -> Self {
        let (runtime, running) = (Handle::current(), watch::Sender::new(0));
        Self(Arc::new(Inner {
            pool,
            engine,
            facilitators,
            chains,
            clock,
            entropy,
            settings,
            runtime,
            running,
        }))
    }

    pub fn settings(&self) -> &TopupSettings {
        &self.0.settings
    }

    /// The terms for an amount: a pure function of it and the configuration.
    pub fn terms(&self, amount: Amount) -> Terms {
        let settings = &self.0.settings;
        Terms {
            networks: settings.networks.clone(),
            pay_to: settings.pay_to,
            amount,
            resource_url: settings.resource_url.clone(),
            description: format!("{amount} US dollars of prepaid credits"),
            max_timeout_seconds: 300,
            window: Window::default(),
        }
    }

    /// Who settles.
    pub fn facilitators(&self) -> &Facilitators {
        &self.0.facilitators
    }

    /// Refuses while the ledger is a restored one that is not confirmed: nobody shall be asked to
    /// pay, and nothing is sent to a facilitator.
    pub async fn refuse_while_restored(&self) -> Result<(), PayError> {
        if is_restored(&self.0.pool).await? { Err(PayError::Restored) } else { Ok(()) }
    }

    /// Whether an amount can be bought.
    pub fn check_amount(&self, amount: Amount) -> Result<(), PayError> {
        let settings = &self.0.settings;
        if amount < settings.min_amount {
            return Err(PayError::BelowMinimum { minimum: settings.min_amount });
        }
        if amount > settings.max_amount {
            return Err(PayError::AboveMaximum { maximum: settings.max_amount });
        }
        Ok(())
    }

    /// What is known of a payment. To be asked before anything else is checked: a known payment is
    /// answered from its record, whatever today's terms, body or clock say.
    pub async fn known(&self, payment: &Payment) -> Result<Option<TopupRecord>, PayError> {
        let key = payment.identity().claim_key();
        let Some(holder) = claims::find(&self.0.pool, &key).await? else { return Ok(None) };
        self.of_holder(holder).await
    }

    /// A top-up by its id.
    pub async fn record(&self, id: TopupId) -> Result<Option<TopupRecord>, PayError> {
        Ok(store::by_id(&self.0.pool, id).await?)
    }

    /// What the facilitator and the chain said, and what was decided, oldest first.
    pub async fn audit(&self, id: TopupId) -> Result<Vec<AuditEntry>, PayError> {
        Ok(store::audit(&self.0.pool, id).await?)
    }

    /// Checks an unseen payment against the terms, and its signature: locally when a plain wallet
    /// signed, otherwise by asking the facilitator.
    pub async fn check(&self, payment: Payment, terms: &Terms) -> Result<Checked, PayError> {
        self.refuse_while_restored().await?;
        let matched = match_payment(terms, &payment, self.0.clock.now())?;
        let mut routes = self.0.routes_of(&payment).await?;
        if !payment.is_signed_by_payer() {
            let (verified, asked) = self.0.verify_in_turn(&payment, &matched, &routes).await;
            match verified {
                VerifyOutcome::Valid { .. } => {}
                VerifyOutcome::Invalid { reason, .. } => {
                    return Err(PayError::Signature { reason });
                }
                VerifyOutcome::Unavailable { detail } => {
                    return Err(PayError::FacilitatorUnavailable { detail });
                }
            }
            // Whoever can tell of this wallet comes first.
            routes.rotate_left(asked);
        }
        Ok(Checked { payment, matched, routes })
    }

    /// Settles a checked payment and credits it, or follows whoever does so already. Returns the
    /// top-up in the state that it has reached.
    pub async fn settle(
        &self,
        checked: Checked,
        payee: Payee,
        key: Option<IdempotencyKey>,
    ) -> Result<TopupRecord, PayError> {
        let (topups, running) = (self.clone(), Running::begin(&self.0.running));
        // From the claim on, nothing depends on this request, whose client may hang up: an intent
        // that nobody works on would keep the payment waiting for the resolver.
        let task = self.0.runtime.spawn(async move {
            let _running = running;
            topups.take(checked, payee, key).await
        });
        let id = task.await.map_err(|_| PayError::Interrupted)??;
        self.follow(id).await
    }

    /// Waits until no settlement runs any more, also of clients that have hung up: what a facilitator
    /// says to a process that has ended is lost. No longer than a settlement may take.
    pub async fn finish(&self) {
        let mut running = self.0.running.subscribe();
        let all = tokio::time::timeout(self.0.settings.lease, running.wait_for(|n| *n == 0)).await;
        if all.is_err() {
            tracing::warn!("settlements are cut short; the resolver takes them up");
        }
    }

    /// Claims a payment, writes its intent and settles it, unless that has been done. Returns the
    /// top-up whose answer is the answer.
    async fn take(
        &self,
        checked: Checked,
        payee: Payee,
        key: Option<IdempotencyKey>,
    ) -> Result<TopupId, PayError> {
        let at = self.0.clock.now();
        let fresh = TopupId::mint(self.0.entropy.as_ref(), at, payee.account.slot());
        let wanted = Holder { book: payee.account, subject: fresh.0 };
        let identity = checked.payment.identity().claim_key();
        let holder = claims::claim(&self.0.pool, ClaimKind::Payment, &identity, wanted, at).await?;
        if holder.book != payee.account {
            return Err(PayError::BoundElsewhere);
        }
        let id = TopupId(holder.subject);
        // The intent is written before the key is claimed: a key never leads to a top-up that a
        // crash has kept from being written.
        let inserted = self.0.intend(id, payee, &checked).await?;
        if let Some(key) = key {
            let first = self.first_of_key(&key, payee, holder, &checked).await;
            if inserted && !matches!(first, Ok(None)) {
                self.0.set_aside(id, payee.account).await?;
            }
            if let Some(first) = first? {
                return Ok(first);
            }
        }
        let retry = !inserted && self.0.take_up_refused(id, payee).await?;
        if inserted || retry {
            self.0.run(id, payee.account, checked).await?;
        }
        Ok(id)
    }

    /// The top-up that a client's own key names already, if it is another one than ours. Same key
    /// and same terms: the first top-up's answer, and this authorization is never sent.
    async fn first_of_key(
        &self,
        key: &IdempotencyKey,
        payee: Payee,
        ours: Holder,
        checked: &Checked,
    ) -> Result<Option<TopupId>, PayError> {
        let tag = b"bursar-payment-key-v1".as_slice();
        // Whoever merely names an account has keys of its own, and cannot use up the account's.
        let payer = if payee.named { checked.payer().lower() } else { String::new() };
        let scope = [ours.book.0.as_bytes(), payer.as_bytes(), key.as_str().as_bytes()];
        let claim = sha256([tag].into_iter().chain(scope));
        let at = self.0.clock.now();
        let holder = claims::claim(&self.0.pool, ClaimKind::PaymentKey, &claim, ours, at).await?;
        if holder.subject == ours.subject {
            return Ok(None);
        }
        let first = self.of_holder(holder).await?.ok_or(PayError::KeyInFlight)?;
        let same_terms = first.amount == checked.matched.amount
            && first.network == checked.matched.network.caip2;
        if !same_terms {
            return Err(PayError::KeyConflict { first: first.id });
        }
        Ok(Some(first.id))
    }

    async fn of_holder(&self, holder: Holder) -> Result<Option<TopupRecord>, PayError> {
        Ok(store::by_id(&self.0.pool, TopupId(holder.subject)).await?)
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
                | TopupState::Unknown => false,
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
