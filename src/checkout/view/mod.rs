//! What answers say about checkouts. The same shapes are frozen as outcomes and read from the rows.

mod dispute;
mod read;
mod waiting;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::ground::{
    Amount, BookId, ChargeId, CheckoutId, DisputeId, KeyId, LotId, ReversalId, TransactionId,
};

use super::annex::{NewCharge, NewCheckout, NewResult, NewReversal};
use super::{ChargeState, CheckoutSummary, Item, ResultState};

pub use dispute::{DisputeState, DisputeView};
pub use waiting::{WaitingPlace, WaitingResultView};

pub(super) use read::{charge, charges, checkout, result, results, reversals};

/// How many results a checkout is shown with.
const RESULTS_SHOWN: usize = 100;

/// A checkout: its items, and once there are any, its results.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct CheckoutView {
    pub checkout_id: CheckoutId,
    pub account_id: BookId,
    /// `open` while anything is on hold; then `completed`, or `released` when nothing was charged.
    pub status: String,
    pub max_total: Amount,
    pub total: Amount,
    pub held: Amount,
    pub captured: Amount,
    pub released: Amount,
    pub reversed: Amount,
    pub items: Vec<ItemView>,
    /// The first 100 by their ids, without their evidence.
    pub results: Vec<ResultView>,
    /// Whether there are more than are shown here.
    pub has_more_results: bool,
    pub created_at: DateTime<Utc>,
    pub canceled_at: Option<DateTime<Utc>>,
}

/// One item, with what has become of its hold.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ItemView {
    pub item: i16,
    pub sku: String,
    /// The version of the SKU's terms that it was sold under.
    pub sku_version: i32,
    pub quantity: i64,
    pub unit_price: Amount,
    pub amount: Amount,
    pub held: Amount,
    pub captured: Amount,
    pub released: Amount,
    pub reversed: Amount,
    /// Units of all results submitted so far.
    pub submitted: i64,
    pub deliver_by: DateTime<Utc>,
    /// Nothing more may be submitted.
    pub closed: bool,
}

/// One result, with its evidence and, once decided, its verdict.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ResultView {
    pub result_id: String,
    pub item: i16,
    pub sku: String,
    pub quantity: i64,
    pub status: ResultState,
    /// Left out of a checkout that shows its results: each has its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Value>)]
    pub evidence: Option<serde_json::Value>,
    /// SHA-256 of the evidence as JSON without spaces and with sorted keys.
    pub evidence_sha256: String,
    pub submitted_at: DateTime<Utc>,
    pub verify_by: DateTime<Utc>,
    pub accepted: Option<i64>,
    #[schema(value_type = Option<Object>)]
    pub verdict: Option<serde_json::Value>,
    pub charge_id: Option<ChargeId>,
    /// The last call to the verifier, when it is one that is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_call: Option<CallView>,
}

/// A call to the verifier of a result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CallView {
    /// Counts the calls about the result.
    pub attempt: i32,
    pub called_at: DateTime<Utc>,
    /// None while it is under way, or when it was cut off.
    pub ended_at: Option<DateTime<Utc>>,
    /// The HTTP status of the answer.
    pub status: Option<i16>,
    /// Why it brought no verdict.
    pub unknown: Option<String>,
}

/// Results that were submitted, in the order of the request.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct SubmissionView {
    pub checkout_id: CheckoutId,
    pub results: Vec<ResultView>,
}

/// What a verdict did.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct VerdictView {
    pub checkout_id: CheckoutId,
    pub result_id: String,
    pub status: ResultState,
    pub accepted: i64,
    pub rejected: i64,
    pub captured: Amount,
    pub released: Amount,
    pub charge_id: Option<ChargeId>,
    pub ledger_transaction_id: Option<TransactionId>,
}

/// What a cancellation gave back.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct CancelView {
    pub checkout_id: CheckoutId,
    pub released: Amount,
    pub canceled_at: DateTime<Utc>,
}

/// An itemised charge.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ChargeView {
    pub charge_id: ChargeId,
    pub checkout_id: CheckoutId,
    pub item: i16,
    pub result_id: String,
    pub sku: String,
    pub quantity: i64,
    pub unit_price: Amount,
    pub amount: Amount,
    pub reversed: Amount,
    pub status: ChargeState,
    pub lots: Vec<LotDraw>,
    pub evidence_sha256: String,
    #[schema(value_type = Option<Object>)]
    pub verdict: Option<serde_json::Value>,
    pub ledger_transaction_id: TransactionId,
    pub captured_at: DateTime<Utc>,
    /// Until then the charge can be disputed and reversed.
    pub final_at: DateTime<Utc>,
    pub disputes: Vec<DisputeView>,
    pub reversals: Vec<ReversalView>,
}

/// A part of a lot that a charge took.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct LotDraw {
    pub lot_id: LotId,
    /// `paid` or `promotional`.
    pub category: String,
    pub amount: Amount,
}

/// The undoing of a charge, whole or part.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ReversalView {
    pub reversal_id: ReversalId,
    pub charge_id: ChargeId,
    pub amount: Amount,
    pub reason: String,
    pub ledger_transaction_id: TransactionId,
    pub reversed_at: DateTime<Utc>,
    /// The dispute that it upholds.
    pub dispute_id: Option<DisputeId>,
    /// What is left of the charge; only in the answer to the reversal itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remaining: Option<Amount>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reversed_by: Option<KeyId>,
}

impl CheckoutView {
    pub(super) fn opened(new: &NewCheckout) -> Self {
        Self {
            checkout_id: new.id,
            account_id: new.account,
            status: "open".to_owned(),
            max_total: new.max_total,
            total: new.total,
            held: new.total,
            captured: Amount::ZERO,
            released: Amount::ZERO,
            reversed: Amount::ZERO,
            items: new.items.iter().map(ItemView::opened).collect(),
            results: Vec::new(),
            has_more_results: false,
            created_at: new.created_at,
            canceled_at: None,
        }
    }
}

impl ItemView {
    fn opened(item: &Item) -> Self {
        let amount = item.price_of(item.quantity).unwrap_or_default();
        Self {
            item: item.item,
            sku: item.sku.clone(),
            sku_version: item.sku_version,
            quantity: item.quantity,
            unit_price: item.unit_price,
            amount,
            held: amount,
            captured: Amount::ZERO,
            released: Amount::ZERO,
            reversed: Amount::ZERO,
            submitted: 0,
            deliver_by: item.deliver_by,
            closed: false,
        }
    }
}

impl ResultView {
    pub(super) fn submitted(result_id: &str, item: &Item, new: &NewResult) -> Self {
        Self {
            result_id: result_id.to_owned(),
            item: item.item,
            sku: item.sku.clone(),
            quantity: new.quantity,
            status: ResultState::Verifying,
            evidence: Some(new.evidence.clone()),
            evidence_sha256: hex::encode(new.evidence_hash),
            submitted_at: new.submitted_at,
            verify_by: new.verify_by,
            accepted: None,
            verdict: None,
            charge_id: None,
            last_call: None,
        }
    }
}

impl VerdictView {
    pub(super) fn of(
        checkout: CheckoutId,
        result_id: &str,
        status: ResultState,
        accepted: i64,
        rejected: i64,
    ) -> Self {
        Self {
            checkout_id: checkout,
            result_id: result_id.to_owned(),
            status,
            accepted,
            rejected,
            captured: Amount::ZERO,
            released: Amount::ZERO,
            charge_id: None,
            ledger_transaction_id: None,
        }
    }

    pub(super) fn charged(&mut self, charge: &NewCharge) {
        self.captured = charge.amount;
        self.charge_id = Some(charge.id);
        self.ledger_transaction_id = Some(charge.transaction);
    }
}

impl ReversalView {
    pub(super) fn of(new: &NewReversal, remaining: Amount) -> Self {
        Self {
            reversal_id: new.id,
            charge_id: new.charge,
            amount: new.amount,
            reason: new.reason.clone(),
            ledger_transaction_id: new.transaction,
            reversed_at: new.at,
            remaining: Some(remaining),
            dispute_id: new.dispute,
            reversed_by: new.by,
        }
    }
}

impl CheckoutSummary {
    /// `open`, `completed` or `released`.
    pub fn status(&self) -> &'static str {
        status(self.open, self.captured)
    }

    /// What was charged and not reversed.
    pub fn charged(&self) -> Amount {
        self.captured.saturating_sub(self.reversed)
    }
}

fn status(open: bool, captured: Amount) -> &'static str {
    match (open, captured.is_zero()) {
        (true, _) => "open",
        (false, false) => "completed",
        (false, true) => "released",
    }
}
