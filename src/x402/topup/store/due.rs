use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgPool;
use uuid::Uuid;

use crate::ground::{BookId, TopupId};
use crate::x402::Network;
use crate::x402::topup::case::{At, Case, instant};
use crate::x402::topup::resolver::{Due, Standing};
use crate::x402::topup::{OpenTopup, TopupState};

use super::{amount, version};

/// The columns that whoever works on a top-up needs.
struct Row {
    book_id: Uuid,
    topup_id: Uuid,
    state: String,
    attempt: i32,
    amount: i64,
    x402_version: i16,
    facilitator_url: String,
    asked_version: Option<i16>,
    network: String,
    asset: String,
    payer: String,
    nonce: String,
    pay_to: String,
    valid_before: i64,
    payload: Value,
    requirements: Value,
    sent_at: Option<DateTime<Utc>>,
    settlement_tx: Option<String>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl Row {
    /// Nothing when its network is in no table any more, so that nobody could work on it.
    fn due(self) -> Option<Due> {
        let state = TopupState::from_name(&self.state)?;
        let Some(network) = Network::by_caip2(&self.network) else {
            tracing::error!(
                topup.id = %self.topup_id, network = self.network,
                "an open top-up is of a network that is not configured any more"
            );
            return None;
        };
        let case = Case {
            id: TopupId(self.topup_id),
            account: BookId(self.book_id),
            version: version(self.x402_version),
            network,
            asset: self.asset,
            payer: self.payer,
            nonce: self.nonce,
            pay_to: self.pay_to,
            amount: amount(self.amount),
            valid_before: instant(self.valid_before),
            payload: self.payload,
            facilitator_url: self.facilitator_url,
            asked_version: version(self.asked_version.unwrap_or(self.x402_version)),
            requirements: self.requirements,
            sent: self.sent_at.is_some(),
            created_at: self.created_at,
            since: self.updated_at,
        };
        let at = At { state, attempt: self.attempt };
        Some(Due { case, at, settlement_tx: self.settlement_tx })
    }
}

/// Takes up top-ups that are due, each for as long as the lease: the attempt is counted before
/// anything is done about it. What is parked is taken up only where a chain is read.
pub(in crate::x402::topup) async fn take_due(
    pool: &PgPool,
    at: DateTime<Utc>,
    lease_end: DateTime<Utc>,
    read: &[String],
    limit: i64,
) -> Result<Vec<Due>, sqlx::Error> {
    let rows = sqlx::query_as!(
        Row,
        "with due as (
           select slot, book_id, topup_id from topup
           where next_at <= $1 and (state <> 'parked' or network = any ($3))
           order by next_at limit $4 for no key update skip locked)
         update topup t set attempt = t.attempt + 1, next_at = $2
         from due where t.slot = due.slot and t.book_id = due.book_id
           and t.topup_id = due.topup_id
         returning t.book_id, t.topup_id, t.state, t.attempt, t.amount, t.x402_version, t.network,
           t.asset, t.payer, t.nonce, t.pay_to, t.valid_before, t.payload, t.requirements,
           t.sent_at, t.settlement_tx, t.created_at, t.updated_at, t.facilitator_url,
           t.asked_version",
        at,
        lease_end,
        read,
        limit
    )
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().filter_map(Row::due).collect())
}

/// A top-up as somebody who does not take it up sees it.
pub(in crate::x402::topup) async fn case_of(
    pool: &PgPool,
    id: TopupId,
) -> Result<Option<Due>, sqlx::Error> {
    let row = sqlx::query_as!(
        Row,
        "select book_id, topup_id, state, attempt, amount, x402_version, network, asset, payer,
           nonce, pay_to, valid_before, payload, requirements, sent_at, settlement_tx, created_at,
           updated_at, facilitator_url, asked_version
         from topup where slot = $1 and topup_id = $2",
        id.slot().sql(),
        id.0
    )
    .fetch_optional(pool)
    .await?;
    Ok(row.and_then(Row::due))
}

/// The top-ups whose outcome is open, oldest first.
pub(in crate::x402::topup) async fn open(pool: &PgPool) -> Result<Vec<OpenTopup>, sqlx::Error> {
    let rows = sqlx::query!(
        "select topup_id, state, amount, network, asset, payer, nonce, pay_to, valid_before,
                created_at
         from topup where state in ('claimed', 'settling', 'settled', 'unknown', 'parked')
         order by created_at, topup_id"
    )
    .fetch_all(pool)
    .await?;
    let rows = rows.into_iter().filter_map(|row| {
        Some(OpenTopup {
            id: TopupId(row.topup_id),
            state: TopupState::from_name(&row.state)?,
            amount: amount(row.amount),
            network: row.network,
            asset: row.asset,
            payer: row.payer,
            nonce: row.nonce,
            pay_to: row.pay_to,
            valid_before: DateTime::from_timestamp(row.valid_before, 0),
            created_at: row.created_at,
        })
    });
    Ok(rows.collect())
}

/// Rejections that nobody has told of, the oldest first.
pub(in crate::x402::topup) async fn untold(
    pool: &PgPool,
    limit: i64,
) -> Result<Vec<(BookId, TopupId)>, sqlx::Error> {
    let rows = sqlx::query!(
        "select book_id, topup_id from topup where untold and state = 'rejected'
         order by updated_at limit $1",
        limit
    )
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(|row| (BookId(row.book_id), TopupId(row.topup_id))).collect())
}

/// How many top-ups stand in each state, and for how long the oldest of what is unknown or parked
/// has.
pub(in crate::x402::topup) async fn standing(
    pool: &PgPool,
    at: DateTime<Utc>,
) -> Result<Standing, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select state, count(*) as "count!", min(created_at) as "oldest!" from topup
           group by state"#
    )
    .fetch_all(pool)
    .await?;
    let mut standing = Standing::default();
    for row in rows {
        let Some(state) = TopupState::from_name(&row.state) else { continue };
        let age = at.signed_duration_since(row.oldest).num_seconds();
        match state {
            TopupState::Unknown => standing.oldest_unknown_s = age,
            TopupState::Parked => standing.oldest_parked_s = age,
            TopupState::Claimed
            | TopupState::Refused
            | TopupState::Settling
            | TopupState::Settled
            | TopupState::Credited
            | TopupState::Rejected => {}
        }
        standing.by_state.push((state, row.count));
    }
    Ok(standing)
}
