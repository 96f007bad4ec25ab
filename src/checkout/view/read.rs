use std::collections::HashMap;

use sqlx::PgPool;

use crate::checkout::ChargeRow;
use crate::checkout::store::{amount, detail, verification};
use crate::ground::{Amount, BookId, ChargeId, CheckoutId, LotId, ReversalId, TransactionId};

use super::{
    ChargeView, CheckoutView, ItemView, LotDraw, ResultState, ResultView, ReversalView, status,
};

/// A checkout as it stands.
pub(in crate::checkout) async fn checkout(
    pool: &PgPool,
    account: BookId,
    id: CheckoutId,
) -> Result<Option<CheckoutView>, sqlx::Error> {
    let Some(row) = detail::checkout(pool, account, id).await? else { return Ok(None) };
    let items: Vec<ItemView> =
        detail::items(pool, account, id).await?.into_iter().map(ItemView::from).collect();
    let results = detail::results(pool, account, id).await?;
    let calls = verification::calls(pool, account, id, None).await?;
    let mut calls: HashMap<_, _> = calls.into_iter().collect();
    let result = |row| {
        let mut view = result_view(row)?;
        view.last_call = calls.remove(&view.result_id);
        Some(view)
    };
    let sum =
        |part: fn(&ItemView) -> Amount| Amount::sum(items.iter().map(part)).unwrap_or_default();
    let (held, captured) = (sum(|i| i.held), sum(|i| i.captured));
    Ok(Some(CheckoutView {
        checkout_id: id,
        account_id: account,
        status: status(!held.is_zero(), captured).to_owned(),
        max_total: amount(row.max_total),
        total: amount(row.total),
        held,
        captured,
        released: sum(|i| i.released),
        reversed: sum(|i| i.reversed),
        results: results.into_iter().filter_map(result).collect(),
        items,
        created_at: row.created_at,
        canceled_at: row.canceled_at,
    }))
}

impl From<detail::ItemRow> for ItemView {
    fn from(row: detail::ItemRow) -> Self {
        let (total, captured, released) =
            (amount(row.amount), amount(row.captured), amount(row.released));
        Self {
            item: row.item,
            sku: row.sku,
            sku_version: row.sku_version,
            quantity: row.quantity,
            unit_price: amount(row.unit_price),
            amount: total,
            held: total.saturating_sub(captured).saturating_sub(released),
            captured,
            released,
            reversed: amount(row.reversed),
            submitted: row.submitted,
            deliver_by: row.deliver_by,
            closed: row.closed,
        }
    }
}

fn result_view(row: detail::ResultRow) -> Option<ResultView> {
    Some(ResultView {
        result_id: row.result_id,
        item: row.item,
        sku: row.sku,
        quantity: row.quantity,
        status: ResultState::from_name(&row.state)?,
        evidence: row.evidence,
        evidence_sha256: hex::encode(row.evidence_hash),
        submitted_at: row.submitted_at,
        verify_by: row.verify_by,
        accepted: row.accepted,
        verdict: row.verdict,
        charge_id: row.charge_id.map(ChargeId),
        last_call: None,
    })
}

impl From<detail::ReversalRow> for ReversalView {
    fn from(row: detail::ReversalRow) -> Self {
        Self {
            reversal_id: ReversalId(row.reversal_id),
            charge_id: ChargeId(row.charge_id),
            amount: amount(row.amount),
            reason: row.reason,
            ledger_transaction_id: TransactionId(row.transaction_id),
            reversed_at: row.reversed_at,
            remaining: None,
            reversed_by: None,
        }
    }
}

/// The reversals of a charge, oldest first.
pub(in crate::checkout) async fn reversals(
    pool: &PgPool,
    account: BookId,
    charge: ChargeId,
) -> Result<Vec<ReversalView>, sqlx::Error> {
    let rows = detail::reversals(pool, account, &[charge.0]).await?;
    Ok(rows.into_iter().map(ReversalView::from).collect())
}

/// One charge.
pub(in crate::checkout) async fn charge(
    pool: &PgPool,
    account: BookId,
    id: ChargeId,
) -> Result<Option<ChargeView>, sqlx::Error> {
    let rows = detail::charges(pool, account, Some(id), None, 1).await?;
    Ok(charge_views(pool, account, rows).await?.pop())
}

/// Charges, newest first.
pub(in crate::checkout) async fn charges(
    pool: &PgPool,
    account: BookId,
    before: Option<ChargeId>,
    limit: i64,
) -> Result<Vec<ChargeView>, sqlx::Error> {
    let rows = detail::charges(pool, account, None, before, limit).await?;
    charge_views(pool, account, rows).await
}

async fn charge_views(
    pool: &PgPool,
    account: BookId,
    rows: Vec<ChargeRow>,
) -> Result<Vec<ChargeView>, sqlx::Error> {
    let ids: Vec<_> = rows.iter().map(|row| row.charge_id).collect();
    let mut lots: HashMap<_, Vec<LotDraw>> = HashMap::new();
    for lot in detail::charge_lots(pool, account, &ids).await? {
        lots.entry(lot.charge_id).or_default().push(LotDraw {
            lot_id: LotId(lot.lot_id),
            category: if lot.paid { "paid" } else { "promotional" }.to_owned(),
            amount: amount(lot.amount),
        });
    }
    let mut reversals: HashMap<_, Vec<ReversalView>> = HashMap::new();
    for row in detail::reversals(pool, account, &ids).await? {
        reversals.entry(row.charge_id).or_default().push(row.into());
    }
    let view = |row: ChargeRow| {
        let status = match (row.reversed == 0, row.reversed == row.amount) {
            (true, _) => "captured",
            (false, true) => "reversed",
            (false, false) => "partially_reversed",
        };
        ChargeView {
            charge_id: ChargeId(row.charge_id),
            checkout_id: CheckoutId(row.checkout_id),
            item: row.item,
            result_id: row.result_id,
            sku: row.sku,
            quantity: row.quantity,
            unit_price: amount(row.unit_price),
            amount: amount(row.amount),
            reversed: amount(row.reversed),
            status: status.to_owned(),
            lots: lots.remove(&row.charge_id).unwrap_or_default(),
            evidence_sha256: hex::encode(row.evidence_hash),
            verdict: row.verdict,
            ledger_transaction_id: TransactionId(row.transaction_id),
            captured_at: row.captured_at,
            final_at: row.final_at,
            reversals: reversals.remove(&row.charge_id).unwrap_or_default(),
        }
    };
    Ok(rows.into_iter().map(view).collect())
}
