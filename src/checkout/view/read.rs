use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool};

use crate::checkout::store::{amount, detail, results, snapshot};
use crate::checkout::{ChargeFacts, ChargeRow, OpenDispute};
use crate::ground::{
    Amount, BookId, ChargeId, CheckoutId, DisputeId, KeyId, LotId, ReversalId, TransactionId,
};

use super::{
    CallView, ChargeView, CheckoutView, DisputeState, DisputeView, ItemView, LotDraw,
    RESULTS_SHOWN, ResultState, ResultView, ReversalView, status,
};

/// A checkout as it stands.
pub(in crate::checkout) async fn checkout(
    pool: &PgPool,
    account: BookId,
    id: CheckoutId,
) -> Result<Option<CheckoutView>, sqlx::Error> {
    let mut tx = snapshot(pool).await?;
    let Some(row) = detail::checkout(&mut tx, account, id).await? else { return Ok(None) };
    let items = detail::items(&mut tx, account, id).await?;
    let items: Vec<ItemView> = items.into_iter().map(ItemView::from).collect();
    let one_too_many = i64::try_from(RESULTS_SHOWN).unwrap_or(i64::MAX).saturating_add(1);
    let mut shown = results::page(&mut tx, account, id, "", one_too_many, false).await?;
    let has_more_results = shown.len() > RESULTS_SHOWN;
    shown.truncate(RESULTS_SHOWN);
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
        results: shown.into_iter().filter_map(result_view).collect(),
        has_more_results,
        items,
        created_at: row.created_at,
        canceled_at: row.canceled_at,
    }))
}

/// Results of a checkout, by their ids, with their evidence.
pub(in crate::checkout) async fn results(
    pool: &PgPool,
    account: BookId,
    checkout: CheckoutId,
    after: &str,
    limit: i64,
) -> Result<Vec<ResultView>, sqlx::Error> {
    let mut connection = pool.acquire().await?;
    let rows = results::page(&mut connection, account, checkout, after, limit, true).await?;
    Ok(rows.into_iter().filter_map(result_view).collect())
}

/// One result, with its evidence.
pub(in crate::checkout) async fn result(
    pool: &PgPool,
    account: BookId,
    checkout: CheckoutId,
    result_id: &str,
) -> Result<Option<ResultView>, sqlx::Error> {
    let mut connection = pool.acquire().await?;
    let row = results::one(&mut connection, account, checkout, result_id).await?;
    Ok(row.and_then(result_view))
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

fn result_view(row: results::ResultRow) -> Option<ResultView> {
    let last_call = row.attempt.zip(row.called_at).map(|(attempt, called_at)| CallView {
        attempt,
        called_at,
        ended_at: row.ended_at,
        status: row.status,
        unknown: row.fault,
    });
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
        last_call,
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
            dispute_id: row.dispute_id.map(DisputeId),
            remaining: None,
            reversed_by: row.reversed_by.map(KeyId),
        }
    }
}

/// The reversals of a charge, oldest first.
pub(in crate::checkout) async fn reversals(
    tx: &mut PgConnection,
    account: BookId,
    charge: ChargeId,
) -> Result<Vec<ReversalView>, sqlx::Error> {
    let rows = detail::reversals(tx, account, &[charge.0]).await?;
    Ok(rows.into_iter().map(ReversalView::from).collect())
}

/// One charge.
pub(in crate::checkout) async fn charge(
    pool: &PgPool,
    account: BookId,
    id: ChargeId,
    at: DateTime<Utc>,
) -> Result<Option<ChargeView>, sqlx::Error> {
    let mut tx = snapshot(pool).await?;
    let row = detail::charge(&mut tx, account, id).await?;
    let views = charge_views(&mut tx, account, row.into_iter().collect(), at).await?;
    Ok(views.into_iter().next())
}

/// Charges, newest first.
pub(in crate::checkout) async fn charges(
    pool: &PgPool,
    account: BookId,
    before: Option<ChargeId>,
    limit: i64,
    at: DateTime<Utc>,
) -> Result<Vec<ChargeView>, sqlx::Error> {
    let mut tx = snapshot(pool).await?;
    let rows = detail::charges(&mut tx, account, before, limit).await?;
    charge_views(&mut tx, account, rows, at).await
}

async fn charge_views(
    tx: &mut PgConnection,
    account: BookId,
    rows: Vec<ChargeRow>,
    at: DateTime<Utc>,
) -> Result<Vec<ChargeView>, sqlx::Error> {
    let ids: Vec<_> = rows.iter().map(|row| row.charge_id).collect();
    let mut lots: HashMap<_, Vec<LotDraw>> = HashMap::new();
    for lot in detail::charge_lots(&mut *tx, account, &ids).await? {
        lots.entry(lot.charge_id).or_default().push(LotDraw {
            lot_id: LotId(lot.lot_id),
            category: if lot.paid { "paid" } else { "promotional" }.to_owned(),
            amount: amount(lot.amount),
        });
    }
    let mut reversals: HashMap<_, Vec<ReversalView>> = HashMap::new();
    for row in detail::reversals(&mut *tx, account, &ids).await? {
        reversals.entry(row.charge_id).or_default().push(row.into());
    }
    let mut disputes: HashMap<_, Vec<detail::DisputeRow>> = HashMap::new();
    for row in detail::disputes(tx, account, &ids).await? {
        disputes.entry(row.charge_id).or_default().push(row);
    }
    let view = |row: ChargeRow| {
        let lots = lots.remove(&row.charge_id).unwrap_or_default();
        let reversals = reversals.remove(&row.charge_id).unwrap_or_default();
        let disputes = disputes.remove(&row.charge_id).unwrap_or_default();
        charge_view(row, at, lots, disputes, reversals)
    };
    Ok(rows.into_iter().map(view).collect())
}

fn charge_view(
    row: ChargeRow,
    at: DateTime<Utc>,
    lots: Vec<LotDraw>,
    disputes: Vec<detail::DisputeRow>,
    reversals: Vec<ReversalView>,
) -> ChargeView {
    let disputes: Vec<_> =
        disputes.into_iter().filter_map(|of| dispute_view(of, &row, &reversals)).collect();
    let open = disputes.iter().find(|dispute| dispute.status == DisputeState::Open);
    let facts =
        ChargeFacts {
            amount: amount(row.amount),
            reversed: amount(row.reversed),
            final_at: row.final_at,
            dispute: open.map(|&DisputeView { dispute_id: id, amount, decide_by, .. }| {
                OpenDispute { id, amount, decide_by }
            }),
            disputes: i64::try_from(disputes.len()).unwrap_or(i64::MAX),
        };
    ChargeView {
        charge_id: ChargeId(row.charge_id),
        checkout_id: CheckoutId(row.checkout_id),
        item: row.item,
        result_id: row.result_id,
        sku: row.sku,
        quantity: row.quantity,
        unit_price: amount(row.unit_price),
        amount: facts.amount,
        reversed: facts.reversed,
        status: facts.state(at),
        lots,
        evidence_sha256: hex::encode(row.evidence_hash),
        verdict: row.verdict,
        ledger_transaction_id: TransactionId(row.transaction_id),
        captured_at: row.captured_at,
        final_at: row.final_at,
        disputes,
        reversals,
    }
}

fn dispute_view(
    row: detail::DisputeRow,
    charge: &ChargeRow,
    reversals: &[ReversalView],
) -> Option<DisputeView> {
    let id = DisputeId(row.dispute_id);
    let reversal = reversals.iter().find(|reversal| reversal.dispute_id == Some(id));
    Some(DisputeView {
        dispute_id: id,
        charge_id: ChargeId(row.charge_id),
        checkout_id: CheckoutId(charge.checkout_id),
        result_id: charge.result_id.clone(),
        sku: charge.sku.clone(),
        amount: amount(row.amount),
        reason: row.reason,
        status: DisputeState::from_name(&row.state)?,
        disputed_at: row.disputed_at,
        decide_by: row.decide_by,
        decided_at: row.decided_at,
        decision_reason: row.decision_reason,
        reversal_id: reversal.map(|reversal| reversal.reversal_id),
    })
}
