use chrono::{DateTime, Utc};
use sqlx::PgPool;
use uuid::Uuid;

use crate::ground::{BookId, TopupId};
use crate::x402::topup::{AuditEntry, SettlementStanding, TopupRecord, TopupState};

use super::{amount, version};

/// How many entries of an audit trail are shown: the newest.
const ENTRIES_MAX: i64 = 200;

struct Row {
    topup_id: Uuid,
    book_id: Uuid,
    state: String,
    amount: i64,
    x402_version: i16,
    network: String,
    asset: String,
    payer: String,
    nonce: String,
    pay_to: String,
    valid_before: i64,
    keyed: bool,
    settlement_tx: Option<String>,
    reason: Option<String>,
    attempt: i32,
    sent_at: Option<DateTime<Utc>>,
    next_at: Option<DateTime<Utc>>,
    superseded_by: Option<Uuid>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    credited_at: Option<DateTime<Utc>>,
    standing: Option<String>,
}

impl Row {
    fn record(self) -> Option<TopupRecord> {
        Some(TopupRecord {
            id: TopupId(self.topup_id),
            account: BookId(self.book_id),
            state: TopupState::from_name(&self.state)?,
            amount: amount(self.amount),
            version: version(self.x402_version),
            network: self.network,
            asset: self.asset,
            payer: self.payer,
            nonce: self.nonce,
            pay_to: self.pay_to,
            valid_before: self.valid_before,
            keyed: self.keyed,
            settlement_tx: self.settlement_tx,
            reason: self.reason,
            attempt: self.attempt,
            sent_at: self.sent_at,
            next_at: self.next_at,
            superseded_by: self.superseded_by.map(TopupId),
            created_at: self.created_at,
            updated_at: self.updated_at,
            credited_at: self.credited_at,
            standing: self.standing.as_deref().and_then(SettlementStanding::from_name),
        })
    }
}

/// A query of top-ups: what comes after `where`, and its parameters.
macro_rules! records {
    ($condition:literal, $($parameter:expr),*) => {
        sqlx::query_as!(
            Row,
            "select topup_id, book_id, state, amount, x402_version, network, asset, payer, nonce,
                    pay_to, valid_before, keyed, settlement_tx, reason, attempt, sent_at, next_at,
                    superseded_by, created_at, updated_at, credited_at,
                    (select s.standing from settlement s where s.slot = topup.slot
                       and s.book_id = topup.book_id and s.topup_id = topup.topup_id) as standing
             from topup where " + $condition,
            $($parameter),*
        )
    };
}

/// A top-up by its id, which leads to its shard.
pub(in crate::x402::topup) async fn by_id(
    pool: &PgPool,
    id: TopupId,
) -> Result<Option<TopupRecord>, sqlx::Error> {
    let row =
        records!("slot = $1 and topup_id = $2", id.slot().sql(), id.0).fetch_optional(pool).await?;
    Ok(row.and_then(Row::record))
}

/// The top-up of a payment in one book.
pub(in crate::x402::topup) async fn of_payment(
    pool: &PgPool,
    account: BookId,
    network: &str,
    asset: &str,
    payer: &str,
    nonce: &str,
) -> Result<Option<TopupRecord>, sqlx::Error> {
    let row = records!(
        "slot = $1 and book_id = $2 and network = $3 and asset = $4
           and payer = $5 and nonce = $6",
        account.slot().sql(),
        account.0,
        network,
        asset,
        payer,
        nonce
    )
    .fetch_optional(pool)
    .await?;
    Ok(row.and_then(Row::record))
}

/// The top-ups that a transaction settled, newest first.
pub(in crate::x402::topup) async fn by_transaction(
    pool: &PgPool,
    transaction: &str,
    limit: i64,
) -> Result<Vec<TopupRecord>, sqlx::Error> {
    let rows = records!(
        "settlement_tx = $1 order by created_at desc, topup_id limit $2",
        transaction,
        limit
    )
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().filter_map(Row::record).collect())
}

/// The top-ups that stand in one of these states, oldest first.
pub(in crate::x402::topup) async fn listed(
    pool: &PgPool,
    states: &[String],
    limit: i64,
) -> Result<Vec<TopupRecord>, sqlx::Error> {
    let rows = records!(
        "state in ('claimed', 'settling', 'settled', 'unknown', 'parked')
           and state = any ($1) order by created_at, topup_id limit $2",
        states,
        limit
    )
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().filter_map(Row::record).collect())
}

/// The audit trail of a top-up, oldest first.
pub(in crate::x402::topup) async fn audit(
    pool: &PgPool,
    id: TopupId,
) -> Result<Vec<AuditEntry>, sqlx::Error> {
    let mut entries = sqlx::query_as!(
        AuditEntry,
        "select recorded_at, kind, detail from topup_event
         where slot = $1 and topup_id = $2 order by recorded_at desc, event_id desc limit $3",
        id.slot().sql(),
        id.0,
        ENTRIES_MAX
    )
    .fetch_all(pool)
    .await?;
    entries.reverse();
    Ok(entries)
}
