//! Stub.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::Stream;
use serde::Serialize;
use sqlx::PgPool;
use uuid::Uuid;

use crate::ground::{Amount, BookId, LotId, TransactionId};
use crate::ledger::{Movement, Role};

#[derive(Clone)]
pub struct Finance {
    #[expect(dead_code, reason = "a stub")]
    pool: PgPool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    Book(BookId),
    All,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Csv,
    Jsonl,
}

#[derive(Debug, thiserror::Error)]
pub enum FinanceError {
    #[error("the database did not answer")]
    Database(#[from] sqlx::Error),
}

#[derive(Clone, Debug, Serialize)]
pub struct TrialBalance {
    pub stub: bool,
}

#[derive(Clone, Debug)]
pub struct HistoryEntry {
    pub seq: i64,
    pub transaction_id: TransactionId,
    pub movement: Movement,
    pub debit: Role,
    pub credit: Role,
    pub amount: Amount,
    pub subject: Uuid,
    pub lot_id: LotId,
    pub recorded_at: DateTime<Utc>,
    pub effective_at: DateTime<Utc>,
    pub balance_after: Amount,
}

impl Finance {
    pub fn new(pool: PgPool) -> Self {
        Self { pool }
    }

    pub fn journal(
        &self,
        _: Scope,
        _: Format,
    ) -> impl Stream<Item = Result<Bytes, FinanceError>> + Send + 'static {
        futures_util::stream::iter([Ok(Bytes::from_static(b"stub\n"))])
    }

    pub async fn trial_balance(&self, _: Scope) -> Result<TrialBalance, FinanceError> {
        Ok(TrialBalance { stub: true })
    }

    pub async fn history(
        &self,
        _: BookId,
        _: Option<i64>,
        _: i64,
    ) -> Result<Vec<HistoryEntry>, FinanceError> {
        Ok(Vec::new())
    }
}
