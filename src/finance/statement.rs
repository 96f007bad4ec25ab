//! What an account had at a past moment, and what moved between two.
//!
//! Both are final: the same question gets the same answer for ever ([`crate::ledger::close_past`]).

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use rust_decimal::Decimal;
use serde::Serialize;
use sqlx::{PgPool, Postgres, Transaction};
use utoipa::ToSchema;

use crate::ground::BookId;
use crate::ledger::{PastError, close_past};

use super::money::dollars;
use super::store::past::{self, RoleTotal};
use super::{FinanceError, HistoryEntry, store};

/// An account as it stood at a past moment. Amounts are decimal strings in dollars.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct PastBalances {
    pub account_id: BookId,
    /// Everything that was recorded up to this moment, and at it, is in the balances.
    pub as_of: DateTime<Utc>,
    /// The number of the last transfer that is in them; 0 before the first.
    pub seq: i64,
    pub rows: Vec<PastBalance>,
}

/// One role of the chart of accounts at a past moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct PastBalance {
    pub account: String,
    pub kind: String,
    pub normal_side: String,
    /// On the normal side.
    pub balance: String,
}

/// What moved in an account from one moment on and before another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Statement {
    pub account_id: BookId,
    /// What was recorded at this moment is in the statement.
    pub from: DateTime<Utc>,
    /// What was recorded at this moment is in the next statement.
    pub to: DateTime<Utc>,
    /// How many transfers lie between the two.
    pub transfers: i64,
    pub rows: Vec<StatementRow>,
    /// A page of the transfers, oldest first.
    #[serde(skip)]
    pub entries: Vec<HistoryEntry>,
}

/// One role of the chart of accounts over the time of a statement. Balances are on its normal side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct StatementRow {
    pub account: String,
    pub kind: String,
    pub normal_side: String,
    pub opening: String,
    pub debits: String,
    pub credits: String,
    pub closing: String,
}

/// Which statement, and which page of its transfers.
#[derive(Clone, Copy, Debug)]
pub struct Period {
    pub from: DateTime<Utc>,
    pub to: DateTime<Utc>,
    /// The number of the last transfer of the page before.
    pub after: Option<i64>,
    pub limit: i64,
}

/// The balances at a moment; none when there is no such account.
pub(super) async fn balances(
    pool: &PgPool,
    account: BookId,
    as_of: DateTime<Utc>,
) -> Result<Option<PastBalances>, FinanceError> {
    let as_of = as_of.trunc_subsecs(6);
    let end = as_of.checked_add_signed(TimeDelta::microseconds(1)).unwrap_or(as_of);
    let Some(mut snapshot) = final_before(pool, account, end).await? else { return Ok(None) };
    let seq = past::version_before(&mut snapshot, account, end).await?;
    let totals = past::totals(&mut snapshot, account, seq).await?;
    snapshot.rollback().await?;
    let row = |total: RoleTotal| PastBalance {
        balance: balance(&total),
        account: total.account,
        kind: total.kind,
        normal_side: total.normal_side,
    };
    let rows = totals.into_iter().map(row).collect();
    Ok(Some(PastBalances { account_id: account, as_of, seq, rows }))
}

/// The statement of a period; none when there is no such account.
pub(super) async fn statement(
    pool: &PgPool,
    account: BookId,
    period: Period,
) -> Result<Option<Statement>, FinanceError> {
    let (from, to) = (period.from.trunc_subsecs(6), period.to.trunc_subsecs(6));
    let Some(mut snapshot) = final_before(pool, account, to.max(from)).await? else {
        return Ok(None);
    };
    let first = past::version_before(&mut snapshot, account, from).await?;
    let last = past::version_before(&mut snapshot, account, to).await?.max(first);
    let opening = past::totals(&mut snapshot, account, first).await?;
    let closing = past::totals(&mut snapshot, account, last).await?;
    let after = period.after.unwrap_or(first).max(first);
    let entries = past::entries(&mut snapshot, account, after, last, period.limit).await?;
    snapshot.rollback().await?;
    Ok(Some(Statement {
        account_id: account,
        from,
        to,
        transfers: last.saturating_sub(first),
        rows: opening.into_iter().zip(closing).map(|(open, close)| row(&open, close)).collect(),
        entries: entries.into_iter().map(HistoryEntry::of).collect(),
    }))
}

/// A snapshot in which everything before a moment is final. The book itself has passed most
/// moments; any other is closed first, and the snapshot taken anew.
async fn final_before(
    pool: &PgPool,
    account: BookId,
    moment: DateTime<Utc>,
) -> Result<Option<Transaction<'static, Postgres>>, FinanceError> {
    let mut snapshot = store::snapshot(pool).await?;
    let Some(recorded) = past::last_recorded(&mut snapshot, account).await? else {
        return Ok(None);
    };
    if recorded < moment {
        snapshot.rollback().await?;
        close_past(pool, moment).await.map_err(|error| match error {
            PastError::NotOver { now } => FinanceError::NotOver { now, wanted: moment },
            PastError::StillWriting => FinanceError::StillWriting,
            PastError::Database(error) => FinanceError::Database(error),
        })?;
        snapshot = store::snapshot(pool).await?;
    }
    store::read_by_key(&mut snapshot).await?;
    Ok(Some(snapshot))
}

fn row(opening: &RoleTotal, closing: RoleTotal) -> StatementRow {
    let moved = |before: i64, after: i64| dollars(Decimal::from(after.saturating_sub(before)));
    StatementRow {
        opening: balance(opening),
        debits: moved(opening.debits, closing.debits),
        credits: moved(opening.credits, closing.credits),
        closing: balance(&closing),
        account: closing.account,
        kind: closing.kind,
        normal_side: closing.normal_side,
    }
}

fn balance(total: &RoleTotal) -> String {
    let net = Decimal::from(total.debits).saturating_sub(Decimal::from(total.credits));
    dollars(if total.normal_side == "debit" { net } else { -net })
}
