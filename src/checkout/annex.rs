//! The rows of this floor in one batch.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::{DateTime, Utc};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use sqlx::PgConnection;

use crate::ground::{
    Amount, BookId, ChargeId, CheckoutId, DisputeId, KeyId, QuoteId, ReversalId, TransactionId,
    VerifierId,
};
use crate::ledger::{Annex, Fault};

use super::quote::{OpenQuotes, PricedLine, QuoteFacts};
use super::store::batch;
use super::{ChargeFacts, Item, OpenDispute, ResultFacts, ResultState};

pub(super) type ItemKey = (BookId, CheckoutId, i16);
pub(super) type ResultKey = (BookId, CheckoutId, String);

pub(super) type QuoteKey = (BookId, QuoteId);

/// A quote that is made in this batch.
pub(super) struct NewQuote {
    pub(super) account: BookId,
    pub(super) id: QuoteId,
    pub(super) lines: Vec<PricedLine>,
    pub(super) created_at: DateTime<Utc>,
    pub(super) expires_at: DateTime<Utc>,
}

/// A checkout that is opened in this batch.
pub(super) struct NewCheckout {
    pub(super) account: BookId,
    pub(super) id: CheckoutId,
    pub(super) key: KeyId,
    pub(super) max_total: Amount,
    pub(super) total: Amount,
    pub(super) created_at: DateTime<Utc>,
    pub(super) items: Vec<Item>,
}

/// A result that is submitted in this batch.
pub(super) struct NewResult {
    pub(super) item: i16,
    pub(super) quantity: i64,
    pub(super) evidence: serde_json::Value,
    /// SHA-256 of the evidence's canonical JSON.
    pub(super) evidence_hash: [u8; 32],
    pub(super) submitted_by: KeyId,
    pub(super) submitted_at: DateTime<Utc>,
    pub(super) verify_by: DateTime<Utc>,
}

/// How a result was settled in this batch.
pub(super) struct Decided {
    pub(super) state: ResultState,
    pub(super) accepted: i64,
    pub(super) verdict: serde_json::Value,
    pub(super) at: DateTime<Utc>,
    pub(super) charge: Option<ChargeId>,
    /// By which the part that was not accepted went back.
    pub(super) release: Option<TransactionId>,
    /// Whether a verifier was to be asked about it.
    pub(super) asked: bool,
}

/// A charge of this batch.
pub(super) struct NewCharge {
    pub(super) id: ChargeId,
    pub(super) checkout: CheckoutId,
    pub(super) item: i16,
    pub(super) result_id: String,
    pub(super) sku: String,
    pub(super) quantity: i64,
    pub(super) unit_price: Amount,
    pub(super) amount: Amount,
    pub(super) reversed: Amount,
    pub(super) transaction: TransactionId,
    pub(super) captured_at: DateTime<Utc>,
    pub(super) final_at: DateTime<Utc>,
}

/// A reversal of this batch.
pub(super) struct NewReversal {
    pub(super) account: BookId,
    pub(super) charge: ChargeId,
    pub(super) id: ReversalId,
    pub(super) amount: Amount,
    pub(super) reason: String,
    pub(super) transaction: TransactionId,
    /// Nobody when a deadline did it.
    pub(super) by: Option<KeyId>,
    pub(super) at: DateTime<Utc>,
    /// The dispute that it upholds.
    pub(super) dispute: Option<DisputeId>,
}

/// A dispute that begins in this batch.
pub(super) struct NewDispute {
    pub(super) account: BookId,
    pub(super) charge: ChargeId,
    pub(super) id: DisputeId,
    pub(super) sku: String,
    pub(super) amount: Amount,
    pub(super) reason: String,
    pub(super) by: KeyId,
    pub(super) at: DateTime<Utc>,
    pub(super) decide_by: DateTime<Utc>,
}

/// How a dispute was decided in this batch.
pub(super) struct DecidedDispute {
    pub(super) account: BookId,
    pub(super) charge: ChargeId,
    pub(super) id: DisputeId,
    pub(super) upheld: bool,
    /// Nobody when its deadline decided it.
    pub(super) by: Option<KeyId>,
    pub(super) at: DateTime<Utc>,
    pub(super) reason: String,
}

/// What a SKU is sold for, as the catalogue has it while the batch decides.
pub(super) struct Listing {
    pub(super) version: i32,
    pub(super) unit_price: Amount,
    pub(super) delivery_deadline_s: i32,
    pub(super) verification_deadline_s: i32,
    pub(super) dispute_window_s: i32,
    pub(super) dispute_decision_s: i32,
    pub(super) active: bool,
}

/// What a batch reads and writes of this floor.
#[derive(Default)]
pub(super) struct CheckoutRows {
    pub(super) wanted_skus: BTreeSet<String>,
    pub(super) wanted_quotes: BTreeSet<QuoteKey>,
    /// Whose open quotes are counted, and when.
    pub(super) wanted_open_quotes: BTreeMap<BookId, DateTime<Utc>>,
    pub(super) wanted_items: BTreeSet<ItemKey>,
    pub(super) wanted_results: BTreeSet<ResultKey>,
    pub(super) wanted_charges: BTreeSet<(BookId, ChargeId)>,
    pub(super) catalog: HashMap<String, Listing>,
    pub(super) quotes: BTreeMap<QuoteKey, QuoteFacts>,
    pub(super) open_quotes: BTreeMap<BookId, OpenQuotes>,
    pub(super) items: BTreeMap<ItemKey, (Item, bool)>,
    pub(super) results: BTreeMap<ResultKey, ResultFacts>,
    /// Charges, and whether more of them is reversed.
    pub(super) charges: BTreeMap<(BookId, ChargeId), (ChargeFacts, bool)>,
    pub(super) quoted: Vec<NewQuote>,
    pub(super) accepted_quotes: Vec<(QuoteKey, CheckoutId)>,
    pub(super) opened: Vec<NewCheckout>,
    pub(super) canceled: Vec<(BookId, CheckoutId, DateTime<Utc>)>,
    pub(super) submitted: Vec<(ResultKey, NewResult)>,
    pub(super) decided: Vec<(ResultKey, Decided)>,
    pub(super) charged: Vec<(BookId, NewCharge)>,
    pub(super) reversed: Vec<NewReversal>,
    pub(super) disputed: Vec<NewDispute>,
    pub(super) decided_disputes: Vec<DecidedDispute>,
    /// Results that a verifier is to be asked about, and since when.
    pub(super) asks: Vec<(ResultKey, VerifierId, DateTime<Utc>)>,
    changes: u64,
}

impl CheckoutRows {
    pub(super) fn want_sku(&mut self, sku: &str) {
        if !self.wanted_skus.contains(sku) {
            self.wanted_skus.insert(sku.to_owned());
        }
    }

    pub(super) fn want_quote(&mut self, account: BookId, quote: QuoteId) {
        self.wanted_quotes.insert((account, quote));
    }

    pub(super) fn want_open_quotes(&mut self, account: BookId, at: DateTime<Utc>) {
        self.wanted_open_quotes.insert(account, at);
    }

    pub(super) fn want_item(&mut self, account: BookId, checkout: CheckoutId, item: i16) {
        self.wanted_items.insert((account, checkout, item));
    }

    pub(super) fn want_result(&mut self, account: BookId, checkout: CheckoutId, id: &str) {
        self.wanted_results.insert((account, checkout, id.to_owned()));
    }

    pub(super) fn want_charge(&mut self, account: BookId, charge: ChargeId) {
        self.wanted_charges.insert((account, charge));
    }

    pub(super) fn quote_of(&self, account: BookId, quote: QuoteId) -> Option<&QuoteFacts> {
        self.quotes.get(&(account, quote))
    }

    pub(super) fn open_quotes(&self, account: BookId) -> OpenQuotes {
        self.open_quotes.get(&account).copied().unwrap_or_default()
    }

    pub(super) fn item(
        &self,
        account: BookId,
        checkout: CheckoutId,
        item: i16,
    ) -> Result<&Item, Fault> {
        let found = self.items.get(&(account, checkout, item));
        found.map(|(item, _)| item).ok_or(Fault::Annex("checkout item"))
    }

    pub(super) fn result(&self, key: &ResultKey) -> Option<&ResultFacts> {
        self.results.get(key)
    }

    pub(super) fn charge_of(
        &self,
        account: BookId,
        charge: ChargeId,
    ) -> Result<ChargeFacts, Fault> {
        let found = self.charges.get(&(account, charge));
        found.map(|(facts, _)| *facts).ok_or(Fault::Annex("charge"))
    }

    pub(super) fn quote(&mut self, quote: NewQuote) {
        self.changes = self.changes.saturating_add(1);
        let open = self.open_quotes.entry(quote.account).or_default();
        open.count = open.count.saturating_add(1);
        self.quoted.push(quote);
    }

    pub(super) fn accept_quote(
        &mut self,
        account: BookId,
        quote: QuoteId,
        checkout: CheckoutId,
    ) -> Result<(), Fault> {
        self.changes = self.changes.saturating_add(1);
        let facts = self.quotes.get_mut(&(account, quote)).ok_or(Fault::Annex("quote"))?;
        facts.checkout = Some(checkout);
        self.accepted_quotes.push(((account, quote), checkout));
        Ok(())
    }

    pub(super) fn open(&mut self, checkout: NewCheckout) {
        self.changes = self.changes.saturating_add(1);
        self.opened.push(checkout);
    }

    pub(super) fn change_item(
        &mut self,
        account: BookId,
        checkout: CheckoutId,
        item: i16,
        change: impl FnOnce(&mut Item),
    ) -> Result<(), Fault> {
        self.changes = self.changes.saturating_add(1);
        let entry = self.items.get_mut(&(account, checkout, item));
        let (item, changed) = entry.ok_or(Fault::Annex("checkout item"))?;
        change(item);
        *changed = true;
        Ok(())
    }

    pub(super) fn cancel(&mut self, account: BookId, checkout: CheckoutId, at: DateTime<Utc>) {
        self.changes = self.changes.saturating_add(1);
        self.canceled.push((account, checkout, at));
    }

    pub(super) fn submit(&mut self, key: ResultKey, result: NewResult) {
        self.changes = self.changes.saturating_add(1);
        let facts = ResultFacts {
            state: ResultState::Verifying,
            quantity: result.quantity,
            verify_by: result.verify_by,
        };
        self.results.insert(key.clone(), facts);
        self.submitted.push((key, result));
    }

    pub(super) fn ask(&mut self, key: ResultKey, verifier: VerifierId, at: DateTime<Utc>) {
        self.changes = self.changes.saturating_add(1);
        self.asks.push((key, verifier, at));
    }

    pub(super) fn decide(&mut self, key: &ResultKey, decided: Decided) -> Result<(), Fault> {
        self.changes = self.changes.saturating_add(1);
        let facts = self.results.get_mut(key).ok_or(Fault::Annex("result"))?;
        facts.state = decided.state;
        self.decided.push((key.clone(), decided));
        Ok(())
    }

    pub(super) fn charge(&mut self, account: BookId, charge: NewCharge) {
        self.changes = self.changes.saturating_add(1);
        self.charged.push((account, charge));
    }

    pub(super) fn reverse(&mut self, reversal: NewReversal) -> Result<(), Fault> {
        let entry = self.charge_mut(reversal.account, reversal.charge)?;
        let (facts, changed) = entry;
        facts.reversed = facts.reversed.checked_add(reversal.amount).ok_or(Fault::Overflow)?;
        *changed = true;
        self.reversed.push(reversal);
        Ok(())
    }

    pub(super) fn dispute(&mut self, new: NewDispute) -> Result<(), Fault> {
        let (facts, _) = self.charge_mut(new.account, new.charge)?;
        facts.disputes = facts.disputes.saturating_add(1);
        let NewDispute { id, amount, decide_by, .. } = new;
        facts.dispute = Some(OpenDispute { id, amount, decide_by });
        self.disputed.push(new);
        Ok(())
    }

    pub(super) fn decide_dispute(&mut self, decided: DecidedDispute) -> Result<(), Fault> {
        let (facts, _) = self.charge_mut(decided.account, decided.charge)?;
        facts.dispute = None;
        self.decided_disputes.push(decided);
        Ok(())
    }

    fn charge_mut(
        &mut self,
        account: BookId,
        charge: ChargeId,
    ) -> Result<&mut (ChargeFacts, bool), Fault> {
        self.changes = self.changes.saturating_add(1);
        self.charges.get_mut(&(account, charge)).ok_or(Fault::Annex("charge"))
    }
}

impl Annex for CheckoutRows {
    fn read<'a>(&'a mut self, tx: &'a mut PgConnection) -> BoxFuture<'a, Result<(), sqlx::Error>> {
        batch::read(tx, self).boxed()
    }

    fn write<'a>(&'a mut self, tx: &'a mut PgConnection) -> BoxFuture<'a, Result<(), sqlx::Error>> {
        batch::write(tx, self).boxed()
    }

    fn changes(&self) -> u64 {
        self.changes
    }
}
