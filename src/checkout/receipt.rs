//! Receipts: for a charge, for a refusal to charge, and for a reversal, all that proves it in one
//! place. Nothing of it is kept: it is read from what never changes, so that it is the same for ever,
//! but for the list of reversals, which grows, and a call whose end follows.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgConnection;
use utoipa::ToSchema;

use crate::ground::{
    Amount, BookId, ChargeId, CheckoutId, LotId, ReversalId, TransactionId, VerifierId,
};

use super::store::{amount, receipt, snapshot, verification};
use super::view::{CallView, LotDraw, ReversalView};
use super::{CheckoutError, Checkouts, view};

/// What a receipt is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReceiptKind {
    /// Something was accepted and charged.
    Charge,
    /// Nothing was: the result was rejected, or nobody judged it in time.
    Refusal,
    /// A charge was given back, whole or in part.
    Reversal,
}

/// What happened to the credits for one result, and why.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Receipt {
    /// What it is for.
    pub receipt: ReceiptKind,
    /// When that happened.
    pub at: DateTime<Utc>,
    pub account_id: BookId,
    pub checkout_id: CheckoutId,
    pub charge_id: Option<ChargeId>,
    /// Of a reversal.
    pub reversal_id: Option<ReversalId>,
    /// What was bought.
    pub line: ReceiptLine,
    /// What was delivered.
    pub result: ReceiptResult,
    /// What was charged for the result.
    pub charged: Amount,
    /// What was given back without being charged.
    pub released: Amount,
    /// What was given back of the charge since; of a reversal, what was up to and with it.
    pub reversed: Amount,
    /// Who judged, by which criteria, and what was found.
    #[schema(value_type = Object)]
    pub verdict: serde_json::Value,
    /// The calls to the verifier, when it is one that is called. The one that brought the verdict is
    /// among them once its end is written down, a moment after. Any other without an end was cut off,
    /// or was under way when somebody else or the deadline decided: then its end follows.
    pub calls: Vec<CallView>,
    /// What the ledger did: of a reversal its transaction, else those of the verdict.
    pub transactions: Vec<ReceiptTransaction>,
    /// What was given back of the charge, oldest first; of a reversal only itself.
    pub reversals: Vec<ReversalView>,
}

/// A line of an order, as it was sold.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ReceiptLine {
    pub item: i16,
    pub sku: String,
    /// The version of the SKU's terms that it was sold under.
    pub sku_version: i32,
    pub title: String,
    pub unit: String,
    pub unit_price: Amount,
    /// Units of the whole item.
    pub ordered: i64,
}

/// A result, without its evidence.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ReceiptResult {
    pub result_id: String,
    /// Units delivered.
    pub quantity: i64,
    /// Units accepted.
    pub accepted: i64,
    pub submitted_at: DateTime<Utc>,
    /// SHA-256 of the evidence as JSON without spaces and with sorted keys.
    pub evidence_sha256: String,
}

/// A ledger transaction, and the lots that it took from or gave back to.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ReceiptTransaction {
    pub ledger_transaction_id: TransactionId,
    /// `capture`, `release` or `reversal`.
    pub movement: String,
    pub amount: Amount,
    pub lots: Vec<LotDraw>,
}

impl Checkouts {
    /// The receipt of a decided result: of its charge, or of the refusal to charge.
    pub async fn result_receipt(
        &self,
        account: BookId,
        checkout: CheckoutId,
        result_id: &str,
    ) -> Result<Receipt, CheckoutError> {
        let mut tx = snapshot(&self.pool).await?;
        of_result(&mut tx, account, checkout, result_id).await
    }

    /// The receipt of a charge.
    pub async fn charge_receipt(
        &self,
        account: BookId,
        charge: ChargeId,
    ) -> Result<Receipt, CheckoutError> {
        let mut tx = snapshot(&self.pool).await?;
        of_charge(&mut tx, account, charge).await
    }

    /// The receipt of a reversal.
    pub async fn reversal_receipt(
        &self,
        account: BookId,
        charge: ChargeId,
        reversal: ReversalId,
    ) -> Result<Receipt, CheckoutError> {
        let mut tx = snapshot(&self.pool).await?;
        of_reversal(&mut tx, account, charge, reversal).await
    }
}

/// The receipt of a decided result: of its charge, or of the refusal to charge.
async fn of_result(
    tx: &mut PgConnection,
    account: BookId,
    checkout: CheckoutId,
    result_id: &str,
) -> Result<Receipt, CheckoutError> {
    let row = receipt::result(&mut *tx, account, checkout, result_id).await?;
    let row = row.ok_or(CheckoutError::ResultUnknown)?;
    let (Some(verdict), Some(decided_at)) = (row.verdict, row.decided_at) else {
        return Err(CheckoutError::ReceiptNotYet);
    };
    let mut calls = verification::calls(&mut *tx, account, checkout, result_id).await?;
    if by_call(&verdict) {
        // It brought the verdict, or came too late for it; earlier ones without an end were cut off.
        calls.pop_if(|last| last.ended_at.is_none());
    }
    let charge = row.charge_id.map(ChargeId);
    let reversals = match charge {
        Some(charge) => view::reversals(&mut *tx, account, charge).await?,
        None => Vec::new(),
    };
    let accepted = row.accepted.unwrap_or(0);
    let price = |units: i64| amount(row.unit_price.saturating_mul(units));
    let (charged, released) = (price(accepted), price(row.quantity.saturating_sub(accepted)));
    let capture = row.capture_transaction_id.map(|id| (TransactionId(id), "capture", charged));
    let release = row.release_transaction_id.map(|id| (TransactionId(id), "release", released));
    let acts: Vec<_> = capture.into_iter().chain(release).collect();
    let subjects: Vec<_> = [Some(row.hold_id), row.charge_id].into_iter().flatten().collect();
    let transactions = transactions(&mut *tx, account, &subjects, &acts).await?;
    Ok(Receipt {
        receipt: if charge.is_some() { ReceiptKind::Charge } else { ReceiptKind::Refusal },
        at: decided_at,
        account_id: account,
        checkout_id: checkout,
        charge_id: charge,
        reversal_id: None,
        line: ReceiptLine {
            item: row.item,
            sku: row.sku,
            sku_version: row.sku_version,
            title: row.title,
            unit: row.unit,
            unit_price: amount(row.unit_price),
            ordered: row.ordered,
        },
        result: ReceiptResult {
            result_id: result_id.to_owned(),
            quantity: row.quantity,
            accepted,
            submitted_at: row.submitted_at,
            evidence_sha256: hex::encode(row.evidence_hash),
        },
        charged,
        released,
        reversed: Amount::sum(reversals.iter().map(|r| r.amount)).unwrap_or_default(),
        verdict,
        calls,
        transactions,
        reversals,
    })
}

/// Whether a verdict is that of a verifier that was called.
fn by_call(verdict: &serde_json::Value) -> bool {
    let by = verdict.get("verifier").and_then(serde_json::Value::as_str);
    by.is_some_and(|by| by.parse::<VerifierId>().is_ok())
}

/// The receipt of a charge.
async fn of_charge(
    tx: &mut PgConnection,
    account: BookId,
    charge: ChargeId,
) -> Result<Receipt, CheckoutError> {
    let known = receipt::charged_result(&mut *tx, account, charge).await?;
    let (checkout, result_id) = known.ok_or(CheckoutError::ChargeUnknown)?;
    of_result(&mut *tx, account, checkout, &result_id).await
}

/// The receipt of a reversal.
async fn of_reversal(
    tx: &mut PgConnection,
    account: BookId,
    charge: ChargeId,
    reversal: ReversalId,
) -> Result<Receipt, CheckoutError> {
    let of_charge = of_charge(&mut *tx, account, charge).await?;
    let mut reversals = of_charge.reversals;
    let position = reversals.iter().position(|one| one.reversal_id == reversal);
    let position = position.ok_or(CheckoutError::ReversalUnknown)?;
    // Those that came later are no part of what is proven here, which must not change.
    reversals.truncate(position.saturating_add(1));
    let reversed = Amount::sum(reversals.iter().map(|one| one.amount)).unwrap_or_default();
    let only = reversals.pop().ok_or(CheckoutError::ReversalUnknown)?;
    let acts = [(only.ledger_transaction_id, "reversal", only.amount)];
    Ok(Receipt {
        receipt: ReceiptKind::Reversal,
        at: only.reversed_at,
        reversal_id: Some(reversal),
        reversed,
        transactions: transactions(tx, account, &[charge.0], &acts).await?,
        reversals: vec![only],
        ..of_charge
    })
}

/// These transactions, each with its lots in the order in which it moved them.
async fn transactions(
    tx: &mut PgConnection,
    account: BookId,
    subjects: &[uuid::Uuid],
    acts: &[(TransactionId, &'static str, Amount)],
) -> Result<Vec<ReceiptTransaction>, sqlx::Error> {
    let ids: Vec<_> = acts.iter().map(|(id, ..)| id.0).collect();
    let mut lots: HashMap<_, Vec<LotDraw>> = HashMap::new();
    for row in receipt::moved(tx, account, subjects, &ids).await? {
        lots.entry(row.transaction_id).or_default().push(LotDraw {
            lot_id: LotId(row.lot_id),
            category: if row.paid { "paid" } else { "promotional" }.to_owned(),
            amount: amount(row.amount),
        });
    }
    let transaction =
        |&(id, movement, amount): &(TransactionId, &str, Amount)| ReceiptTransaction {
            ledger_transaction_id: id,
            movement: movement.to_owned(),
            amount,
            lots: lots.remove(&id.0).unwrap_or_default(),
        };
    Ok(acts.iter().map(transaction).collect())
}
