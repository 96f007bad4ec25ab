use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::{PgConnection, PgExecutor, PgPool};
use uuid::Uuid;

use crate::ground::{Amount, BookId, TopupId};
use crate::x402::Network;

use super::command::{Looked, Settlements};
use super::{SettlementRecord, SettlementStanding, Sighting};
use crate::x402::topup::command::Credited;

/// Amounts in tables are never negative: a CHECK holds it.
fn amount(micros: i64) -> Amount {
    Amount::from_micros(micros).unwrap_or_default()
}

/// Neither are numbers of blocks and logs.
fn count(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// A number of a block or log. No chain has as many as do not fit.
fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A settlement that is looked at.
#[derive(Clone, Debug)]
pub(super) struct Followed {
    pub(super) account: BookId,
    pub(super) topup: TopupId,
    pub(super) standing: SettlementStanding,
    pub(super) sightings: i32,
    pub(super) missing_since: Option<u64>,
    pub(super) head: u64,
    pub(super) settlement_tx: String,
    pub(super) block_number: u64,
    pub(super) block_hash: String,
    pub(super) network: &'static Network,
    pub(super) asset: String,
    pub(super) payer: String,
    pub(super) nonce: String,
    pub(super) pay_to: String,
    pub(super) amount: Amount,
    /// Seconds since the epoch.
    pub(super) valid_before: i64,
}

impl Followed {
    /// Whether it was in no block at last sight.
    pub(super) fn is_gone(&self) -> bool {
        matches!(self.standing, SettlementStanding::Missing | SettlementStanding::Void)
    }
}

/// What is written after a look.
#[derive(Clone, Debug)]
pub(super) struct Step {
    /// As it was before; a settlement that has been looked at since is left alone.
    pub(super) followed: Followed,
    pub(super) after: SettlementStanding,
    pub(super) missing_since: Option<u64>,
    pub(super) head: u64,
    /// Where it was seen, if that is another place.
    pub(super) sighting: Option<Sighting>,
    /// The id of its entry in the audit trail, where it has one.
    pub(super) event_id: Uuid,
    pub(super) detail: Value,
    pub(super) look_at: DateTime<Utc>,
    pub(super) at: DateTime<Utc>,
}

impl Step {
    /// Whether it is with this step that a void settlement is lost for good.
    pub(super) fn is_end(&self) -> bool {
        self.after == SettlementStanding::Lost && self.followed.standing != self.after
    }
}

/// Writes the evidence of credits, in the transaction that credits them. From then on they are
/// followed.
pub(in crate::x402::topup) async fn write_evidence(
    tx: &mut PgConnection,
    credited: &[Credited],
) -> Result<(), sqlx::Error> {
    let seen: Vec<_> = credited.iter().filter_map(|c| Some((c, c.sighting.as_ref()?))).collect();
    if seen.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "with seen as (
           select u.*, t.amount, t.payer
           from unnest($1::smallint[], $2::uuid[], $3::uuid[], $4::text[], $5::bigint[],
                  $6::text[], $7::timestamptz[], $8::bigint[], $9::timestamptz[])
                as u(slot, book_id, topup_id, settlement_tx, block_number, block_hash, block_time,
                     log_index, at)
           cross join lateral (
             select amount, payer from topup where slot = u.slot and book_id = u.book_id
               and topup_id = u.topup_id limit 1) t),
         sightings as (
           insert into sighting (slot, book_id, topup_id, nth, settlement_tx, block_number,
             block_hash, block_time, log_index, amount, payer, seen_at)
           select slot, book_id, topup_id, 1, settlement_tx, block_number, block_hash, block_time,
             log_index, amount, payer, at
           from seen)
         insert into settlement (slot, book_id, topup_id, head, look_at, updated_at)
         select slot, book_id, topup_id, block_number, at, at from seen",
        &seen.iter().map(|(c, _)| c.account.slot().sql()).collect::<Vec<_>>(),
        &seen.iter().map(|(c, _)| c.account.0).collect::<Vec<_>>(),
        &seen.iter().map(|(c, _)| c.topup.0).collect::<Vec<_>>(),
        &seen.iter().map(|(_, s)| s.transaction.clone()).collect::<Vec<_>>(),
        &seen.iter().map(|(_, s)| number(s.block_number)).collect::<Vec<_>>(),
        &seen.iter().map(|(_, s)| s.block_hash.clone()).collect::<Vec<_>>(),
        &seen.iter().map(|(_, s)| s.block_time).collect::<Vec<_>>() as _,
        &seen.iter().map(|(_, s)| number(s.log_index)).collect::<Vec<_>>(),
        &seen.iter().map(|(c, _)| c.at).collect::<Vec<_>>(),
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Takes up settlements that are due, the longest waiting first, and moves their time on to `until`.
pub(super) async fn take_due(
    pool: &PgPool,
    at: DateTime<Utc>,
    until: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<Followed>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"with due as (
           select slot, book_id, topup_id from settlement
           where standing in ('seen', 'missing', 'void', 'returned') and look_at <= $1
           order by look_at limit $3 for no key update skip locked),
         taken as (
           update settlement s set look_at = $2 from due
           where s.slot = due.slot and s.book_id = due.book_id and s.topup_id = due.topup_id
           returning s.*)
         select s.book_id as "book_id!", s.topup_id as "topup_id!", s.standing as "standing!",
           s.sightings as "sightings!", s.missing_since as "missing_since?", s.head as "head!",
           g.settlement_tx as "settlement_tx!", g.block_number as "block_number!",
           g.block_hash as "block_hash!", t.network as "network!", t.asset as "asset!",
           t.payer as "payer!", t.nonce as "nonce!", t.pay_to as "pay_to!",
           t.amount as "amount!", t.valid_before as "valid_before!"
         from taken s
         join topup t on t.slot = s.slot and t.book_id = s.book_id and t.topup_id = s.topup_id
         join sighting g on g.slot = s.slot and g.book_id = s.book_id
           and g.topup_id = s.topup_id and g.nth = s.sightings"#,
        at,
        until,
        limit
    )
    .fetch_all(pool)
    .await?;
    let followed = rows.into_iter().filter_map(|row| {
        Some(Followed {
            account: BookId(row.book_id),
            topup: TopupId(row.topup_id),
            standing: SettlementStanding::from_name(&row.standing)?,
            sightings: row.sightings,
            missing_since: row.missing_since.map(count),
            head: count(row.head),
            settlement_tx: row.settlement_tx,
            block_number: count(row.block_number),
            block_hash: row.block_hash,
            network: Network::by_caip2(&row.network)?,
            asset: row.asset,
            payer: row.payer,
            nonce: row.nonce,
            pay_to: row.pay_to,
            amount: amount(row.amount),
            valid_before: row.valid_before,
        })
    });
    Ok(followed.collect())
}

/// Writes what looks have shown, each with its entry in the audit trail where anything has changed.
/// Returns those that were written: the others have been looked at since.
pub(super) async fn take_steps(
    executor: impl PgExecutor<'_>,
    steps: &[Step],
) -> Result<BTreeSet<TopupId>, sqlx::Error> {
    let seen = |part: fn(&Sighting) -> i64| {
        steps.iter().map(|s| s.sighting.as_ref().map(part)).collect::<Vec<_>>()
    };
    let text = |part: fn(&Sighting) -> String| {
        steps.iter().map(|s| s.sighting.as_ref().map(part)).collect::<Vec<_>>()
    };
    let taken = sqlx::query_scalar!(
        r#"with looked as (
           select * from unnest($1::smallint[], $2::uuid[], $3::uuid[], $4::text[], $5::integer[],
             $6::text[], $7::bigint[], $8::bigint[], $9::timestamptz[], $10::timestamptz[],
             $11::uuid[], $12::jsonb[], $13::text[], $14::bigint[], $15::text[],
             $16::timestamptz[], $17::bigint[], $18::bigint[], $19::text[], $20::bigint[])
             as u(slot, book_id, topup_id, before, sightings, after, missing_since, head, look_at,
                  at, event_id, detail, settlement_tx, block_number, block_hash, block_time,
                  log_index, amount, payer, missing_before)),
         taken as (
           update settlement s set standing = u.after, missing_since = u.missing_since,
             sightings = s.sightings + (u.block_hash is not null)::integer,
             head = greatest(s.head, u.head), look_at = u.look_at,
             updated_at = case when u.after <> u.before or u.block_hash is not null then u.at
                               else s.updated_at end
           from looked u
           where s.slot = u.slot and s.book_id = u.book_id and s.topup_id = u.topup_id
             and s.standing = u.before and s.sightings = u.sightings and s.head <= u.head
             and s.missing_since is not distinct from u.missing_before
           returning u.*, s.sightings as nth),
         seen as (
           insert into sighting (slot, book_id, topup_id, nth, settlement_tx, block_number,
             block_hash, block_time, log_index, amount, payer, seen_at)
           select slot, book_id, topup_id, nth, settlement_tx, block_number, block_hash, block_time,
             log_index, amount, payer, at
           from taken where block_hash is not null),
         told as (
           insert into topup_event (slot, topup_id, event_id, recorded_at, kind, detail)
           select slot, topup_id, event_id, at, 'settlement_' || after, detail
           from taken where after <> before or block_hash is not null)
         select topup_id as "topup_id!" from taken"#,
        &steps.iter().map(|s| s.followed.account.slot().sql()).collect::<Vec<_>>(),
        &steps.iter().map(|s| s.followed.account.0).collect::<Vec<_>>(),
        &steps.iter().map(|s| s.followed.topup.0).collect::<Vec<_>>(),
        &steps.iter().map(|s| s.followed.standing.name().to_owned()).collect::<Vec<_>>(),
        &steps.iter().map(|s| s.followed.sightings).collect::<Vec<_>>(),
        &steps.iter().map(|s| s.after.name().to_owned()).collect::<Vec<_>>(),
        &steps.iter().map(|s| s.missing_since.map(number)).collect::<Vec<_>>() as _,
        &steps.iter().map(|s| number(s.head)).collect::<Vec<_>>(),
        &steps.iter().map(|s| s.look_at).collect::<Vec<_>>(),
        &steps.iter().map(|s| s.at).collect::<Vec<_>>(),
        &steps.iter().map(|s| s.event_id).collect::<Vec<_>>(),
        &steps.iter().map(|s| s.detail.clone()).collect::<Vec<_>>(),
        &text(|s| s.transaction.clone()) as _,
        &seen(|s| number(s.block_number)) as _,
        &text(|s| s.block_hash.clone()) as _,
        &steps.iter().map(|s| s.sighting.as_ref().and_then(|s| s.block_time)).collect::<Vec<_>>()
            as _,
        &seen(|s| number(s.log_index)) as _,
        &steps.iter().map(|s| s.followed.amount.micros()).collect::<Vec<_>>(),
        &steps.iter().map(|s| s.followed.payer.clone()).collect::<Vec<_>>(),
        &steps.iter().map(|s| s.followed.missing_since.map(number)).collect::<Vec<_>>() as _,
    )
    .fetch_all(executor)
    .await?;
    Ok(taken.into_iter().map(TopupId).collect())
}

/// Reads how settlements stand, under the books' locks.
pub(super) async fn read_standings(
    tx: &mut PgConnection,
    rows: &mut Settlements,
) -> Result<(), sqlx::Error> {
    let keys: Vec<_> = rows.wanted.iter().collect();
    let found = sqlx::query!(
        r#"select s.book_id as "book_id!", s.topup_id as "topup_id!", s.standing as "standing!",
                  s.sightings as "sightings!", s.missing_since, s.head as "head!"
           from unnest($1::smallint[], $2::uuid[], $3::uuid[]) as u(slot, book_id, topup_id)
           cross join lateral (
             select * from settlement where slot = u.slot and book_id = u.book_id
               and topup_id = u.topup_id limit 1 for no key update) s"#,
        &keys.iter().map(|(book, _)| book.slot().sql()).collect::<Vec<_>>(),
        &keys.iter().map(|(book, _)| book.0).collect::<Vec<_>>(),
        &keys.iter().map(|(_, topup)| topup.0).collect::<Vec<_>>(),
    )
    .fetch_all(tx)
    .await?;
    for row in found {
        // A CHECK allows no other standing.
        let Some(standing) = SettlementStanding::from_name(&row.standing) else { continue };
        let key = (BookId(row.book_id), TopupId(row.topup_id));
        let looked = Looked {
            standing,
            sightings: row.sightings,
            missing_since: row.missing_since.map(count),
            head: count(row.head),
        };
        rows.found.insert(key, looked);
    }
    Ok(())
}

/// What the chain has shown of a top-up.
pub(super) async fn record(
    pool: &PgPool,
    id: TopupId,
) -> Result<Option<SettlementRecord>, sqlx::Error> {
    let row = sqlx::query!(
        r#"select s.standing as "standing!", s.sightings as "sightings!", s.missing_since,
                  s.head as "head!", s.updated_at as "updated_at!",
                  g.settlement_tx as "settlement_tx!", g.block_number as "block_number!",
                  g.block_hash as "block_hash!", g.block_time, g.log_index as "log_index!",
                  g.amount as "amount!", g.payer as "payer!"
           from (select slot, book_id, topup_id from topup
                 where slot = $1 and topup_id = $2 offset 0) t
           join settlement s on s.slot = t.slot and s.book_id = t.book_id
             and s.topup_id = t.topup_id
           join sighting g on g.slot = s.slot and g.book_id = s.book_id
             and g.topup_id = s.topup_id and g.nth = s.sightings"#,
        id.slot().sql(),
        id.0
    )
    .fetch_optional(pool)
    .await?;
    Ok(row.and_then(|row| {
        Some(SettlementRecord {
            standing: SettlementStanding::from_name(&row.standing)?,
            sighting: Sighting {
                transaction: row.settlement_tx,
                block_number: count(row.block_number),
                block_hash: row.block_hash,
                block_time: row.block_time,
                log_index: count(row.log_index),
            },
            sightings: row.sightings,
            amount: amount(row.amount),
            payer: row.payer,
            missing_since: row.missing_since.map(count),
            head: count(row.head),
            updated_at: row.updated_at,
        })
    }))
}

/// How many settlements are missing, or were void.
pub(super) async fn doubtful(pool: &PgPool) -> Result<Vec<(SettlementStanding, i64)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select standing, count(*) as "count!" from settlement
           where standing in ('missing', 'void', 'returned', 'reinstated', 'lost')
           group by standing"#
    )
    .fetch_all(pool)
    .await?;
    let named = |row: &str| SettlementStanding::from_name(row);
    Ok(rows.into_iter().filter_map(|row| Some((named(&row.standing)?, row.count))).collect())
}
