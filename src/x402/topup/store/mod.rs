//! The rows of top-ups and their audit trail.

mod credit;
mod due;
mod lookup;

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::{PgExecutor, PgPool};
use uuid::Uuid;

use crate::ground::{Amount, TopupId};
use crate::x402::Version;

use super::case::{At, Case};

pub(super) use credit::{read_rows, write_credited, write_told};
pub(super) use due::{case_of, open, standing, take_due, untold};
pub(super) use lookup::{audit, by_id, by_transaction, listed, of_payment};

/// Amounts in tables are never negative: a CHECK holds it.
fn amount(micros: i64) -> Amount {
    Amount::from_micros(micros).unwrap_or_default()
}

/// A CHECK allows no other version.
fn version(number: i16) -> Version {
    if number == 1 { Version::V1 } else { Version::V2 }
}

/// What is written before anything is sent.
pub(super) struct Intent<'a> {
    pub(super) case: &'a Case,
    pub(super) keyed: bool,
    /// The end of the lease of whoever writes it.
    pub(super) next_at: DateTime<Utc>,
}

/// Writes an intent. False when the top-up has its row already; copies of a payment that come at once
/// may collide on any of the row's keys.
pub(super) async fn insert(pool: &PgPool, intent: &Intent<'_>) -> Result<bool, sqlx::Error> {
    let case = intent.case;
    let inserted = sqlx::query!(
        "insert into topup (slot, book_id, topup_id, state, amount, x402_version, network, asset,
           payer, nonce, pay_to, valid_before, facilitator_url, payload, requirements, keyed,
           next_at, created_at, updated_at, asked_version)
         values ($1, $2, $3, 'claimed', $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16,
           $17, $17, $18)
         on conflict do nothing",
        case.account.slot().sql(),
        case.account.0,
        case.id.0,
        case.amount.micros(),
        i16::from(case.version.number()),
        case.network.caip2,
        case.asset,
        case.payer,
        case.nonce,
        case.pay_to,
        case.valid_before.timestamp(),
        case.facilitator_url,
        case.payload,
        case.requirements,
        intent.keyed,
        intent.next_at,
        case.created_at,
        i16::from(case.asked_version.number())
    )
    .execute(pool)
    .await?;
    Ok(inserted.rows_affected() == 1)
}

/// Writes the intent of the same payment once more, for the account of the wallet that paid, unless
/// that has one already.
pub(super) async fn copy_for_wallet(
    pool: &PgPool,
    case: &Case,
    copy: TopupId,
    wallet: crate::ground::BookId,
    at: DateTime<Utc>,
    next_at: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into topup (slot, book_id, topup_id, state, amount, x402_version, network, asset,
           payer, nonce, pay_to, valid_before, facilitator_url, payload, requirements, keyed,
           next_at, created_at, updated_at, asked_version)
         select $4, $5, $6, 'claimed', amount, x402_version, network, asset, payer, nonce, pay_to,
           valid_before, facilitator_url, payload, requirements, false, $8, created_at, $7,
           asked_version
         from topup where slot = $1 and book_id = $2 and topup_id = $3
         on conflict do nothing",
        case.account.slot().sql(),
        case.account.0,
        case.id.0,
        wallet.slot().sql(),
        wallet.0,
        copy.0,
        at,
        next_at
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// One entry of the audit trail.
pub(super) struct Entry {
    pub(super) id: Uuid,
    pub(super) kind: &'static str,
    pub(super) detail: Value,
    pub(super) at: DateTime<Utc>,
}

/// One step of the state machine.
pub(super) struct Move<'a> {
    pub(super) from: At,
    pub(super) to: At,
    pub(super) reason: Option<&'a str>,
    pub(super) transaction: Option<&'a str>,
    pub(super) next_at: Option<DateTime<Utc>>,
    /// Never empty: the step itself is one of them.
    pub(super) entries: &'a [Entry],
    pub(super) at: DateTime<Utc>,
}

/// Takes a step and writes its audit entries, in one statement. False when the top-up was not there
/// any more, or is superseded and shall be taken up again. With the step after which bytes are sent
/// goes to whom they are sent.
pub(super) async fn advance(
    pool: &PgPool,
    case: &Case,
    step: &Move<'_>,
) -> Result<bool, sqlx::Error> {
    let moved = sqlx::query!(
        "with moved as (
           update topup set state = $6, attempt = $7, reason = $8,
             settlement_tx = case $6 when 'rejected' then null else coalesce($9, settlement_tx) end,
             sent_at = case $6 when 'settling' then $10 when 'refused' then null else sent_at end,
             updated_at = case when state = $6 then updated_at else $10 end, next_at = $11,
             untold = $6 = 'rejected' and sent_at is not null,
             facilitator_url = case $6 when 'settling' then $16 else facilitator_url end,
             asked_version = case $6 when 'settling' then $17 else asked_version end,
             requirements = case $6 when 'settling' then $18 else requirements end,
             payload = case $6 when 'claimed' then $19 else payload end,
             x402_version = case $6 when 'claimed' then $20 else x402_version end
           where slot = $1 and book_id = $2 and topup_id = $3 and state = $4 and attempt = $5
             and ($6 <> 'claimed' or superseded_by is null)
           returning slot, topup_id)
         insert into topup_event (slot, topup_id, event_id, recorded_at, kind, detail)
         select moved.slot, moved.topup_id, e.id, e.at, e.kind, e.detail from moved
         cross join unnest($12::uuid[], $13::timestamptz[], $14::text[], $15::jsonb[])
           as e(id, at, kind, detail)",
        case.account.slot().sql(),
        case.account.0,
        case.id.0,
        step.from.state.name(),
        step.from.attempt,
        step.to.state.name(),
        step.to.attempt,
        step.reason,
        step.transaction,
        step.at,
        step.next_at,
        &step.entries.iter().map(|e| e.id).collect::<Vec<_>>(),
        &step.entries.iter().map(|e| e.at).collect::<Vec<_>>(),
        &step.entries.iter().map(|e| e.kind.to_owned()).collect::<Vec<_>>(),
        &step.entries.iter().map(|e| e.detail.clone()).collect::<Vec<_>>(),
        case.facilitator_url,
        i16::from(case.asked_version.number()),
        case.requirements,
        case.payload,
        i16::from(case.version.number()),
    )
    .execute(pool)
    .await?;
    Ok(moved.rows_affected() > 0)
}

/// Leaves a top-up as it is and says when it is due. False when somebody else has it by then.
pub(super) async fn postpone(
    pool: &PgPool,
    case: &Case,
    from: At,
    until: Option<DateTime<Utc>>,
) -> Result<bool, sqlx::Error> {
    let moved = sqlx::query!(
        "update topup set next_at = $6
         where slot = $1 and book_id = $2 and topup_id = $3 and state = $4 and attempt = $5",
        case.account.slot().sql(),
        case.account.0,
        case.id.0,
        from.state.name(),
        from.attempt,
        until
    )
    .execute(pool)
    .await?;
    Ok(moved.rows_affected() == 1)
}

/// Writes entries of the audit trail that belong to no step.
pub(super) async fn record(
    executor: impl PgExecutor<'_>,
    case: &Case,
    entries: &[Entry],
) -> Result<(), sqlx::Error> {
    if entries.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "insert into topup_event (slot, topup_id, event_id, recorded_at, kind, detail)
         select $1, $2, e.id, e.at, e.kind, e.detail
         from unnest($3::uuid[], $4::timestamptz[], $5::text[], $6::jsonb[])
           as e(id, at, kind, detail)",
        case.id.slot().sql(),
        case.id.0,
        &entries.iter().map(|e| e.id).collect::<Vec<_>>(),
        &entries.iter().map(|e| e.at).collect::<Vec<_>>(),
        &entries.iter().map(|e| e.kind.to_owned()).collect::<Vec<_>>(),
        &entries.iter().map(|e| e.detail.clone()).collect::<Vec<_>>(),
    )
    .execute(executor)
    .await?;
    Ok(())
}

/// Lets a payment take the place of one that was refused, for good: that can never be sent any more.
/// False when it is not refused, or another one has its place already, or the payment's own.
///
/// Both rows are locked first, in one order: of two payments that would take each other's place at
/// once, one does. Longer rings cannot close either, since the place of the last one is taken.
pub(super) async fn supersede(
    pool: &PgPool,
    refused: &super::TopupRecord,
    by: TopupId,
) -> Result<bool, sqlx::Error> {
    let (slot, book) = (refused.account.slot().sql(), refused.account.0);
    let mut tx = pool.begin().await?;
    let both = sqlx::query_scalar!(
        "select topup_id from topup
         where slot = $1 and book_id = $2 and topup_id in ($3, $4) and superseded_by is null
         order by topup_id for no key update",
        slot,
        book,
        refused.id.0,
        by.0
    )
    .fetch_all(&mut *tx)
    .await?;
    if both.len() != 2 {
        return Ok(false);
    }
    let done = sqlx::query!(
        "update topup set superseded_by = $4
         where slot = $1 and book_id = $2 and topup_id = $3 and state = 'refused'",
        slot,
        book,
        refused.id.0,
        by.0
    )
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(done.rows_affected() == 1)
}
