//! Top-ups: one signed payment becomes prepaid credits, once.
//!
//! The order is the promise. The payment's identity is claimed and the intent is written before
//! anything is sent; the attempt commits before the first byte of `/settle`; the credit commits in
//! the transaction that marks the top-up credited. Settling runs in a task of its own, so a client
//! that hangs up changes nothing. Whatever is not certain stays `unknown`, which is neither a
//! failure nor a reason to ask for a second payment.

mod case;
mod command;
mod confirm;
mod error;
mod facilitation;
mod lookup;
mod operator;
mod record;
mod recovery;
mod resolver;
mod settings;
mod settle;
mod state;
mod step;
pub(super) mod store;
mod taking;
mod tell;
mod verdict;
mod wallet;

use std::sync::Arc;

use sqlx::PgPool;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};

use crate::ground::{Amount, BookId, Clock, Entropy};
use crate::ledger::{Engine, is_restored};

use super::chain::Chain;
use super::classify::VerifyOutcome;
use super::facilitator::{Facilitators, Route};
use super::{Address, Matched, Payment, PaymentIdentity, Terms, Window, match_payment};

pub use confirm::{SettlementRecord, SettlementStanding, Sighting};
pub use error::PayError;
pub use operator::{Ruled, Ruling, RulingError};
pub use record::{AuditEntry, Outcome, TopupRecord};
pub use recovery::{OpenTopup, Recovered};
pub use resolver::Standing;
pub use settings::{Resolving, TopupSettings};
pub use state::{TopupEvent, TopupState};
pub use taking::Settled;
pub use wallet::Wallets;

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
    wallets: Option<Arc<dyn Wallets>>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    settings: TopupSettings,
    /// Where settlements run: not on the thread of a request, which ends with its server.
    runtime: Handle,
    /// How many run.
    running: watch::Sender<usize>,
    /// For as many as the resolver works on at once.
    room: Arc<Semaphore>,
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
    /// What makes it this payment and no other.
    pub fn identity(&self) -> PaymentIdentity {
        self.payment.identity()
    }

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
            wallets: None,
            clock,
            entropy,
            settings,
            runtime,
            running,
            room: Arc::new(Semaphore::new(Self::AT_ONCE)),
        }))
    }

    /// Lets payments that a top-up did not bring be credited to the wallets that paid. To be called
    /// before anything else.
    #[must_use]
    pub fn with_wallets(mut self, wallets: Arc<dyn Wallets>) -> Self {
        let inner = Arc::get_mut(&mut self.0).expect("nobody else has it before anything else");
        inner.wallets = Some(wallets);
        self
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

    /// Checks an unseen payment against the terms, and its signature: locally when a plain wallet
    /// signed, otherwise by asking the facilitator.
    pub async fn check(&self, payment: Payment, terms: &Terms) -> Result<Checked, PayError> {
        self.refuse_while_restored().await?;
        let matched = match_payment(terms, &payment, self.0.clock.now())?;
        let mut routes = self.0.routes_of(&payment).await?;
        if !payment.is_signed_by_payer() {
            let verified = self.0.verify_in_turn(&payment, &matched, &routes).await;
            match verified.outcome {
                VerifyOutcome::Valid { .. } => {}
                VerifyOutcome::Invalid { reason, .. } => {
                    return Err(PayError::Signature { reason });
                }
                VerifyOutcome::Unavailable { detail } => {
                    return Err(PayError::FacilitatorUnavailable { detail });
                }
            }
            // Whoever can tell of this wallet comes first.
            routes.rotate_left(verified.asked);
        }
        Ok(Checked { payment, matched, routes })
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
}
