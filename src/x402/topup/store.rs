use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::ground::{Amount, BookId, TopupId};
use crate::x402::{Network, Version};

use super::command::{TopupRow, TopupRows};
use super::resolver::{Due, Standing};
use super::settle::Case;
use super::{AuditEntry, OpenTopup, TopupRecord, TopupState};

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
    pub(super) asset: String,
    pub(super) valid_before: i64,
    pub(super) at: DateTime<Utc>,
}

/// Writes an intent. False when the top-up has its row already; copies of a payment that come at once
/// may collide on any of the row's keys.
pub(super) async fn insert(pool: &PgPool, intent: &Intent<'_>) -> Result<bool, sqlx::Error> {
    let case = intent.case;
    let inserted = sqlx::query!(
        "insert into topup (slot, book_id, topup_id, state, amount, x402_version, network, asset,
           payer, nonce, pay_to, valid_before, facilitator_url, payload, requirements, keyed,
           created_at, updated_at, asked_version)
         values ($1, $2, $3, 'claimed', $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16,
           $16, $17)
         on conflict do nothing",
        case.account.slot().sql(),
        case.account.0,
        case.id.0,
        case.amount.micros(),
        i16::from(case.version.number()),
        case.network.caip2,
        intent.asset,
        case.payer,
        case.nonce,
        case.pay_to,
        intent.valid_before,
        case.facilitator_url,
        case.payload,
        case.requirements,
        intent.keyed,
        intent.at,
        i16::from(case.asked_version.number())
    )
    .execute(pool)
    .await?;
    Ok(inserted.rows_affected() == 1)
}

/// One step of the state machine.
pub(super) struct Move<'a> {
    pub(super) id: TopupId,
    pub(super) account: BookId,
    pub(super) from: TopupState,
    pub(super) to: TopupState,
    /// What it adds to the count of attempts.
    pub(super) attempt: i32,
    pub(super) reason: Option<&'a str>,
    pub(super) settlement_tx: Option<&'a str>,
    pub(super) event_id: Uuid,
    pub(super) detail: Value,
    pub(super) at: DateTime<Utc>,
}

/// Takes a step and writes its audit entry, in one statement. False when the top-up was not in that
/// state.
pub(super) async fn advance(pool: &PgPool, step: &Move<'_>) -> Result<bool, sqlx::Error> {
    let moved = sqlx::query!(
        "with moved as (
           update topup set state = $5, attempt = attempt + $6, reason = $7,
             settlement_tx = coalesce($8, settlement_tx), updated_at = $9
           where slot = $1 and book_id = $2 and topup_id = $3 and state = $4
           returning slot, topup_id)
         insert into topup_event (slot, topup_id, event_id, recorded_at, kind, detail)
         select slot, topup_id, $10, $9, $5, $11 from moved",
        step.account.slot().sql(),
        step.account.0,
        step.id.0,
        step.from.name(),
        step.to.name(),
        step.attempt,
        step.reason,
        step.settlement_tx,
        step.at,
        step.event_id,
        step.detail
    )
    .execute(pool)
    .await?;
    Ok(moved.rows_affected() == 1)
}

/// Takes the step after which bytes are sent, and records to whom, in one statement: a payment that
/// may have been sent is on record with the facilitator that it was sent to.
pub(super) async fn begin_to_send(
    pool: &PgPool,
    step: &Move<'_>,
    case: &Case,
) -> Result<bool, sqlx::Error> {
    let moved = sqlx::query!(
        "with moved as (
           update topup set state = $5, attempt = attempt + 1, reason = null, updated_at = $6,
             facilitator_url = $7, asked_version = $8, requirements = $9
           where slot = $1 and book_id = $2 and topup_id = $3 and state = $4
           returning slot, topup_id)
         insert into topup_event (slot, topup_id, event_id, recorded_at, kind, detail)
         select slot, topup_id, $10, $6, $5, $11 from moved",
        step.account.slot().sql(),
        step.account.0,
        step.id.0,
        step.from.name(),
        step.to.name(),
        step.at,
        case.facilitator_url,
        i16::from(case.asked_version.number()),
        case.requirements,
        step.event_id,
        step.detail
    )
    .execute(pool)
    .await?;
    Ok(moved.rows_affected() == 1)
}

/// A top-up by its id, which leads to its shard.
pub(super) async fn by_id(pool: &PgPool, id: TopupId) -> Result<Option<TopupRecord>, sqlx::Error> {
    let row = sqlx::query!(
        "select book_id, state, amount, x402_version, network, asset, payer, nonce, pay_to, keyed,
                settlement_tx, reason, attempt, created_at, updated_at, credited_at
         from topup where slot = $1 and topup_id = $2",
        id.slot().sql(),
        id.0
    )
    .fetch_optional(pool)
    .await?;
    Ok(row.and_then(|row| {
        Some(TopupRecord {
            id,
            account: BookId(row.book_id),
            state: TopupState::from_name(&row.state)?,
            amount: amount(row.amount),
            version: version(row.x402_version),
            network: row.network,
            asset: row.asset,
            payer: row.payer,
            nonce: row.nonce,
            pay_to: row.pay_to,
            keyed: row.keyed,
            settlement_tx: row.settlement_tx,
            reason: row.reason,
            attempt: row.attempt,
            created_at: row.created_at,
            updated_at: row.updated_at,
            credited_at: row.credited_at,
        })
    }))
}

/// The top-ups that are in no final state, oldest first.
pub(super) async fn open(pool: &PgPool) -> Result<Vec<OpenTopup>, sqlx::Error> {
    let rows = sqlx::query!(
        "select topup_id, state, amount, network, asset, payer, nonce, pay_to, valid_before,
                created_at
         from topup where state in ('claimed', 'settling', 'settled', 'unknown')
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

/// The audit trail of a top-up, oldest first.
pub(super) async fn audit(pool: &PgPool, id: TopupId) -> Result<Vec<AuditEntry>, sqlx::Error> {
    sqlx::query_as!(
        AuditEntry,
        "select recorded_at, kind, detail from topup_event
         where slot = $1 and topup_id = $2 order by event_id limit 100",
        id.slot().sql(),
        id.0
    )
    .fetch_all(pool)
    .await
}

/// Takes up top-ups that nobody has worked on for long enough. What is unknown waits longer each
/// time: 2 s, 4 s, 8 s, up to 10 min.
pub(super) async fn take_due(
    pool: &PgPool,
    at: DateTime<Utc>,
    stale: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<Due>, sqlx::Error> {
    let rows = sqlx::query!(
        "with due as (
           select slot, book_id, topup_id from topup
           where (state in ('claimed', 'settling') and updated_at < $2)
              or (state = 'settled' and updated_at < $1::timestamptz - interval '1 second')
              or (state = 'unknown' and updated_at < $1::timestamptz - least(interval '10 minutes',
                    interval '1 second' * power(2, least(attempt, 10))))
           order by updated_at limit $3 for no key update skip locked)
         update topup t set attempt = t.attempt + 1, updated_at = $1
         from due where t.slot = due.slot and t.book_id = due.book_id
           and t.topup_id = due.topup_id
         returning t.book_id, t.topup_id, t.state, t.amount, t.x402_version, t.network, t.payer,
           t.nonce, t.pay_to, t.payload, t.requirements, t.settlement_tx, t.reason,
           t.facilitator_url, t.asked_version",
        at,
        stale,
        limit
    )
    .fetch_all(pool)
    .await?;
    let cases = rows.into_iter().filter_map(|row| {
        let case = Case {
            id: TopupId(row.topup_id),
            account: BookId(row.book_id),
            version: version(row.x402_version),
            network: Network::by_caip2(&row.network)?,
            payer: row.payer,
            nonce: row.nonce,
            pay_to: row.pay_to,
            amount: amount(row.amount),
            payload: row.payload,
            facilitator_url: row.facilitator_url,
            asked_version: version(row.asked_version.unwrap_or(row.x402_version)),
            requirements: row.requirements,
        };
        let state = TopupState::from_name(&row.state)?;
        Some(Due { state, case, settlement_tx: row.settlement_tx, reason: row.reason })
    });
    Ok(cases.collect())
}

/// How many top-ups stand in each state, and for how long the oldest unknown one has.
pub(super) async fn standing(pool: &PgPool, at: DateTime<Utc>) -> Result<Standing, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select state, count(*) as "count!", min(created_at) as "oldest!" from topup
           group by state"#
    )
    .fetch_all(pool)
    .await?;
    let mut standing = Standing::default();
    for row in rows {
        let Some(state) = TopupState::from_name(&row.state) else { continue };
        if state == TopupState::Unknown {
            standing.oldest_unknown_s = at.signed_duration_since(row.oldest).num_seconds();
        }
        standing.by_state.push((state, row.count));
    }
    Ok(standing)
}

/// Reads what credits depend on, under the books' locks.
pub(super) async fn read_rows(
    tx: &mut PgConnection,
    rows: &mut TopupRows,
) -> Result<(), sqlx::Error> {
    let keys: Vec<_> = rows.wanted.iter().collect();
    let found = sqlx::query!(
        r#"select t.book_id as "book_id!", t.topup_id as "topup_id!", t.state as "state!",
                  t.amount as "amount!"
           from unnest($1::smallint[], $2::uuid[], $3::uuid[]) as u(slot, book_id, topup_id)
           cross join lateral (
             select * from topup where slot = u.slot and book_id = u.book_id
               and topup_id = u.topup_id limit 1 for no key update) t"#,
        &keys.iter().map(|(book, _)| book.slot().sql()).collect::<Vec<_>>(),
        &keys.iter().map(|(book, _)| book.0).collect::<Vec<_>>(),
        &keys.iter().map(|(_, topup)| topup.0).collect::<Vec<_>>(),
    )
    .fetch_all(tx)
    .await?;
    for row in found {
        // A CHECK allows no other state.
        let Some(state) = TopupState::from_name(&row.state) else { continue };
        let key = (BookId(row.book_id), TopupId(row.topup_id));
        rows.found.insert(key, TopupRow { state, amount: amount(row.amount) });
    }
    Ok(())
}

/// Marks top-ups credited, with their entries in the audit trail, in the transaction that credits
/// them.
pub(super) async fn write_credited(
    tx: &mut PgConnection,
    rows: &mut TopupRows,
) -> Result<(), sqlx::Error> {
    let credited = &rows.credited;
    if credited.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "with credited as (
           update topup t set state = 'credited', settlement_tx = u.settlement_tx, reason = null,
             updated_at = u.at, credited_at = u.at
           from unnest($1::smallint[], $2::uuid[], $3::uuid[], $4::text[], $5::timestamptz[],
                  $6::uuid[]) as u(slot, book_id, topup_id, settlement_tx, at, event_id)
           where t.slot = u.slot and t.book_id = u.book_id and t.topup_id = u.topup_id
           returning t.slot, t.topup_id, u.event_id, u.at, u.settlement_tx)
         insert into topup_event (slot, topup_id, event_id, recorded_at, kind, detail)
         select slot, topup_id, event_id, at, 'credited',
                jsonb_build_object('transaction', settlement_tx)
         from credited",
        &credited.iter().map(|c| c.account.slot().sql()).collect::<Vec<_>>(),
        &credited.iter().map(|c| c.account.0).collect::<Vec<_>>(),
        &credited.iter().map(|c| c.topup.0).collect::<Vec<_>>(),
        &credited.iter().map(|c| c.settlement_tx.clone()).collect::<Vec<_>>(),
        &credited.iter().map(|c| c.at).collect::<Vec<_>>(),
        &credited.iter().map(|c| c.event_id).collect::<Vec<_>>(),
    )
    .execute(tx)
    .await?;
    Ok(())
}
