use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use crate::ground::{Amount, LotId, TransactionId};

use super::line::subject;
use super::store::reports::HistoryRow;

/// One transfer, as the owner of the account sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct HistoryEntry {
    /// Counts the account's transfers, without gaps.
    pub seq: i64,
    pub transaction_id: TransactionId,
    pub movement: String,
    pub debit_account: String,
    pub credit_account: String,
    pub amount: Amount,
    /// The top-up, grant, hold, charge, reversal or lot that it belongs to.
    pub subject_id: String,
    pub lot_id: LotId,
    pub recorded_at: DateTime<Utc>,
    pub effective_at: DateTime<Utc>,
    /// The transaction that it undoes.
    pub reverses_transaction_id: Option<TransactionId>,
    /// Why a grant was given; of other transfers what they belong to says why.
    pub reason: Option<String>,
}

impl HistoryEntry {
    pub(super) fn of(row: HistoryRow) -> Self {
        Self {
            seq: row.version,
            transaction_id: TransactionId(row.transaction_id),
            subject_id: subject(&row.movement, row.subject_id),
            movement: row.movement,
            debit_account: row.debit,
            credit_account: row.credit,
            amount: Amount::from_micros(row.amount).unwrap_or_default(),
            lot_id: LotId(row.lot_id),
            recorded_at: row.recorded_at,
            effective_at: row.effective_at,
            reverses_transaction_id: row.reverses_id.map(TransactionId),
            reason: row.reason,
        }
    }
}
