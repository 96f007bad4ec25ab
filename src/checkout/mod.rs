//! Money out: the catalogue, checkouts, results, verdicts, charges and reversals.
//!
//! A checkout holds its whole amount at once, one hold per item, or nothing. Each result takes a part
//! of its item's hold through its own states: `verifying`, then `captured` (whole or in part) or
//! `released`. What is captured is a charge, which can be disputed and reversed until it is final.
//! Unknown is never a pass: silence at a deadline gives the money back. The sweeper and the API go
//! through the same commands, so a race has one winner.
//!
//! What is decided here is decided under the book's lock, in the pure functions of `item`, `result`
//! and `charge`; the commands only carry rows to them and money to the ledger.

mod annex;
mod catalog;
mod charge;
mod command;
mod criteria;
mod delivery;
mod error;
mod item;
mod quote;
mod reading;
mod receipt;
mod result;
mod store;
mod sweeper;
mod verifier;
mod view;

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use sqlx::PgPool;

use crate::ground::{BookId, ChargeId, CheckoutId, Clock, DisputeId, Entropy, KeyId, QuoteId};
use crate::ledger::{Command, CommandIdentity, Engine, Outcome};

pub use catalog::{Sku, SkuTerms, Verification, VerificationMode};
pub use charge::{ChargeEvent, ChargeFacts, ChargeState, OpenDispute};
pub use command::{
    Acceptance, Check, DisputeDecision, DisputeRequest, Order, OrderLine, ResultSubmission,
    ReversalRequest, Staff, Verdict,
};
pub use criteria::{Criteria, EvidenceSchema, Mismatch, SchemaFault};
pub use error::{CheckoutError, CheckoutRefusal, OrderFault, RefusedResult};
pub use item::{Item, ItemEvent};
pub use quote::{CapHeadroom, QuoteLine, QuoteView};
pub use receipt::{Receipt, ReceiptKind, ReceiptLine, ReceiptResult, ReceiptTransaction};
pub use result::{ResultEvent, ResultFacts, ResultState};
pub use store::{ChargeRow, CheckoutSummary, Overdue, VerifierStanding};
pub use sweeper::Sweeper;
pub use verifier::{Asker, Verifier, VerifierSettings, Verifiers};
pub use view::{
    CallView, CancelView, ChargeView, CheckoutView, DisputeState, DisputeView, ItemView,
    ResultView, ReversalView, SubmissionView, VerdictView, WaitingPlace, WaitingResultView,
};

/// The verbs of this floor.
#[derive(Clone)]
pub struct Checkouts {
    pool: PgPool,
    engine: Engine,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    quote_life: TimeDelta,
}

impl Checkouts {
    pub fn new(
        pool: PgPool,
        engine: Engine,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        Self { pool, engine, clock, entropy, quote_life: quote::LIFE }
    }

    /// The same, with another life for quotes.
    pub fn with_quote_life(self, life: Duration) -> Self {
        let quote_life = TimeDelta::from_std(life).unwrap_or(self.quote_life);
        Self { quote_life, ..self }
    }

    /// The catalogue, by SKU: at most `limit` after the given one.
    pub async fn catalog(&self, after: &str, limit: i64) -> Result<Vec<Sku>, CheckoutError> {
        Ok(store::catalog::list(&self.pool, after, limit).await?)
    }

    /// A SKU as it is listed now, and the versions of its terms, newest first: at most `limit` older
    /// than the given one.
    pub async fn sku(
        &self,
        sku: &str,
        before: Option<i32>,
        limit: i64,
    ) -> Result<(Sku, Vec<Sku>), CheckoutError> {
        let mut tx = store::snapshot(&self.pool).await?;
        let found = store::catalog::get(&mut tx, sku).await?;
        let found = found.ok_or_else(|| CheckoutError::SkuUnlisted { sku: sku.to_owned() })?;
        let versions = store::catalog::versions(&mut tx, sku, before, limit).await?;
        Ok((found, versions))
    }

    /// Lists a SKU or changes its terms, which begins a version. Open checkouts keep the terms they
    /// were made with.
    pub async fn list_sku(&self, sku: &str, terms: &SkuTerms) -> Result<Sku, CheckoutError> {
        if let Some(schema) = terms.criteria.schema.clone() {
            tokio::task::spawn_blocking(move || EvidenceSchema::compile(&schema).map(drop))
                .await??;
        }
        if let Some(verifier) = terms.verification.verifier()
            && !store::verifiers::exists(&self.pool, verifier).await?
        {
            return Err(CheckoutError::VerifierUnknown);
        }
        Ok(store::catalog::put(&self.pool, sku, terms, self.clock.now()).await?)
    }

    /// Opens a checkout: everything is held, or nothing and the refusal names every cap.
    pub async fn open(
        &self,
        account: BookId,
        identity: CommandIdentity,
        order: Order,
    ) -> Result<Outcome, CheckoutError> {
        self.sell(command::OpenCheckout { account, identity, order }).await
    }

    /// Opens a checkout with what was quoted, at the quoted price.
    pub async fn accept(
        &self,
        account: BookId,
        identity: CommandIdentity,
        acceptance: Acceptance,
    ) -> Result<Outcome, CheckoutError> {
        self.sell(command::AcceptQuote { account, identity, acceptance }).await
    }

    /// Says what an order would cost, and what is in its way. Nothing is held.
    pub async fn quote(
        &self,
        account: BookId,
        spender: KeyId,
        lines: Vec<OrderLine>,
    ) -> Result<QuoteView, CheckoutError> {
        let asked_at = self.clock.now();
        // Each quote is one of its own.
        let once = QuoteId::mint(self.entropy.as_ref(), asked_at, account.slot());
        let identity = CommandIdentity::of_effect(&format!("quote:{once}"));
        let command =
            command::Quote { account, identity, spender, lines, asked_at, life: self.quote_life };
        let outcome = self.sell(command).await?;
        Ok(serde_json::from_str(&outcome.body).expect("it was written as a quote"))
    }

    async fn sell(&self, command: impl Command) -> Result<Outcome, CheckoutError> {
        let outcome = self.engine.submit(Arc::new(command)).await?;
        if outcome.accepted || outcome.kept {
            return Ok(outcome);
        }
        let fault: OrderFault =
            serde_json::from_str(&outcome.body).expect("only order faults are turned away");
        Err(fault.into())
    }

    /// Submits results for parts of items, all or none. Their evidence is checked before the lock.
    pub async fn submit(
        &self,
        checkout: CheckoutId,
        identity: CommandIdentity,
        by: Staff,
        results: Vec<ResultSubmission>,
    ) -> Result<Outcome, CheckoutError> {
        let mut names = HashSet::new();
        for (position, ResultSubmission { result_id, .. }) in results.iter().enumerate() {
            if !names.insert(result_id.as_str()) {
                let result_id = result_id.clone();
                return Err(CheckoutError::ResultRepeated { position, result_id });
            }
        }
        let numbers: BTreeSet<i16> = results.iter().map(|result| result.item).collect();
        let known = store::items(&self.pool, checkout, numbers).await?;
        let (account, items) = known.ok_or(CheckoutError::CheckoutUnknown)?;
        for item in items.values() {
            by.check_serves(&item.sku)?;
        }
        let (by, deliveries) = (by.key, delivery::examine(results, items).await?);
        let command = command::SubmitResults { account, checkout, identity, by, deliveries };
        Ok(self.engine.submit(Arc::new(command)).await?)
    }

    /// Posts a verdict: captures what was accepted and releases the rest.
    pub async fn judge(
        &self,
        checkout: CheckoutId,
        result_id: &str,
        identity: CommandIdentity,
        verdict: Verdict,
    ) -> Result<Outcome, CheckoutError> {
        let known = store::result(&self.pool, checkout, result_id).await?;
        let (account, known) = known.ok_or(CheckoutError::CheckoutUnknown)?;
        let known = known.ok_or(CheckoutError::ResultUnknown)?;
        verdict.by.check_serves(&known.sku)?;
        let ruling = verdict.about(known.quantity);
        let charge = ChargeId::mint(self.entropy.as_ref(), self.clock.now(), account.slot());
        let target = command::Target::new(account, checkout, result_id, &known);
        let command = command::Judge { target, identity, ruling, charge };
        Ok(self.engine.submit(Arc::new(command)).await?)
    }

    /// Cancels what has not been submitted. Results under verification run on.
    pub async fn cancel(
        &self,
        account: BookId,
        checkout: CheckoutId,
        identity: CommandIdentity,
    ) -> Result<Outcome, CheckoutError> {
        if self.account_of(checkout).await? != account {
            return Err(CheckoutError::CheckoutUnknown);
        }
        let holds = store::holds(&self.pool, account, checkout).await?;
        let command = command::Cancel { account, checkout, identity, holds };
        Ok(self.engine.submit(Arc::new(command)).await?)
    }

    /// Reverses a charge, whole or in part, within its dispute window.
    pub async fn reverse(
        &self,
        charge: ChargeId,
        identity: CommandIdentity,
        request: ReversalRequest,
    ) -> Result<Outcome, CheckoutError> {
        let known = store::charge_target(&self.pool, charge).await?;
        let known = known.ok_or(CheckoutError::ChargeUnknown)?;
        request.by.check_serves(&known.sku)?;
        let (account, hold) = (known.account, known.hold);
        let command = command::Reverse { account, charge, hold, identity, request };
        Ok(self.engine.submit(Arc::new(command)).await?)
    }

    /// Disputes a charge of the account, whole or in part, within its dispute window. Nothing moves.
    pub async fn dispute(
        &self,
        account: BookId,
        charge: ChargeId,
        identity: CommandIdentity,
        request: DisputeRequest,
    ) -> Result<Outcome, CheckoutError> {
        let known = store::charge_target(&self.pool, charge).await?;
        let of = known.filter(|known| known.account == account);
        let of = of.ok_or(CheckoutError::ChargeUnknown)?;
        let command = command::Dispute { charge, of, identity, request };
        Ok(self.engine.submit(Arc::new(command)).await?)
    }

    /// Decides a dispute. What is upheld goes back at once.
    pub async fn decide_dispute(
        &self,
        dispute: DisputeId,
        identity: CommandIdentity,
        decision: DisputeDecision,
    ) -> Result<Outcome, CheckoutError> {
        let known = store::disputes::known(&self.pool, dispute).await?;
        let dispute = known.ok_or(CheckoutError::DisputeUnknown)?;
        decision.by.check_serves(&dispute.sku)?;
        let command = command::DecideDispute { dispute, identity, decision };
        Ok(self.engine.submit(Arc::new(command)).await?)
    }

    /// The worker that enforces the deadlines.
    pub fn sweeper(&self) -> Sweeper {
        Sweeper::new(self.pool.clone(), self.engine.clone(), self.clock.clone())
    }
}
