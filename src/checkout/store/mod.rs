//! All SQL of checkouts. `batch` runs inside the engine's transaction, with `charges` and, where they
//! are wanted, `quotes`; `catalog` is the price list; `verifiers` are whom is called, and `verification`
//! what they are asked; `waiting` is what anybody may judge; what is here answers questions.

pub(super) mod batch;
pub(super) mod catalog;
mod charges;
pub(super) mod detail;
pub(super) mod disputes;
pub(super) mod quotes;
pub(super) mod receipt;
pub(super) mod results;
pub(super) mod verification;
pub(super) mod verifiers;
pub(super) mod waiting;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use sqlx::{PgPool, Postgres, Transaction};
use uuid::Uuid;

use crate::checkout::delivery::KnownItem;
use crate::ground::{Amount, BookId, ChargeId, CheckoutId, HoldId, VerifierId};

pub use detail::ChargeRow;
pub use verifiers::VerifierStanding;

/// Amounts in tables are never negative: a CHECK holds it.
pub(super) fn amount(micros: i64) -> Amount {
    Amount::from_micros(micros).unwrap_or_default()
}

/// A transaction that sees one moment: figures that are read in several statements belong together.
pub(super) async fn snapshot(pool: &PgPool) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
    pool.begin_with("begin isolation level repeatable read read only").await
}

/// The account of a checkout; its id alone leads to its shard.
pub(super) async fn account_of(
    pool: &PgPool,
    checkout: CheckoutId,
) -> Result<Option<BookId>, sqlx::Error> {
    let found = sqlx::query_scalar!(
        "select book_id from checkout where slot = $1 and checkout_id = $2",
        checkout.slot().sql(),
        checkout.0
    )
    .fetch_optional(pool)
    .await?;
    Ok(found.map(BookId))
}

/// The account of a checkout, and what never changes about some of its items, by number, with the
/// schema of the criteria that each was sold under.
pub(super) async fn items(
    pool: &PgPool,
    checkout: CheckoutId,
    numbers: impl IntoIterator<Item = i16>,
) -> Result<Option<(BookId, BTreeMap<i16, KnownItem>)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select c.book_id, i.item as "item?", i.hold_id as "hold_id?", i.sku as "sku?",
                  i.sku_version as "sku_version?", i.schema, i.verifier_id
           from checkout c
           left join lateral (
             select i.item, i.hold_id, i.sku, i.sku_version, v.criteria -> 'schema' as schema,
                    v.verifier_id
             from checkout_item i
             join sku_version v on v.sku = i.sku and v.version = i.sku_version
             where i.slot = c.slot and i.checkout_id = c.checkout_id and i.item = any($3)) i on true
           where c.slot = $1 and c.checkout_id = $2"#,
        checkout.slot().sql(),
        checkout.0,
        &numbers.into_iter().collect::<Vec<_>>()
    )
    .fetch_all(pool)
    .await?;
    let Some(account) = rows.first().map(|row| BookId(row.book_id)) else { return Ok(None) };
    let items = rows.into_iter().filter_map(|row| {
        let item = KnownItem {
            hold: HoldId(row.hold_id?),
            sku: row.sku?,
            sku_version: row.sku_version?,
            schema: row.schema,
            verifier: row.verifier_id.map(VerifierId),
        };
        Some((row.item?, item))
    });
    Ok(Some((account, items.collect())))
}

/// What never changes about a result.
#[derive(Clone, Debug)]
pub struct KnownResult {
    pub item: i16,
    pub quantity: i64,
    pub hold: HoldId,
    pub sku: String,
    pub sku_version: i32,
    /// Whether a verifier is, or was, to be asked about it.
    pub asked: bool,
}

/// The account of a checkout, and what is known of one of its results, if it has it.
pub(super) async fn result(
    pool: &PgPool,
    checkout: CheckoutId,
    result_id: &str,
) -> Result<Option<(BookId, Option<KnownResult>)>, sqlx::Error> {
    let row = sqlx::query!(
        r#"select c.book_id, r.item as "item?", r.quantity as "quantity?", r.hold_id as "hold_id?",
                  r.sku as "sku?", r.sku_version as "sku_version?", r.asked as "asked?"
           from checkout c
           left join lateral (
             select r.item, r.quantity, i.hold_id, i.sku, i.sku_version,
               exists (select from verification q where q.slot = r.slot and q.book_id = r.book_id
                                               and q.checkout_id = r.checkout_id
                                               and q.result_id = r.result_id) as asked
             from result r
             join checkout_item i on i.slot = r.slot and i.checkout_id = r.checkout_id
                                 and i.item = r.item
             where r.slot = c.slot and r.book_id = c.book_id and r.checkout_id = c.checkout_id
               and r.result_id = $3) r on true
           where c.slot = $1 and c.checkout_id = $2"#,
        checkout.slot().sql(),
        checkout.0,
        result_id
    )
    .fetch_optional(pool)
    .await?;
    Ok(row.map(|row| {
        let known = || {
            Some(KnownResult {
                item: row.item?,
                quantity: row.quantity?,
                hold: HoldId(row.hold_id?),
                sku: row.sku?,
                sku_version: row.sku_version?,
                asked: row.asked?,
            })
        };
        (BookId(row.book_id), known())
    }))
}

/// The items and holds of a checkout.
pub(super) async fn holds(
    pool: &PgPool,
    account: BookId,
    checkout: CheckoutId,
) -> Result<Vec<(i16, HoldId)>, sqlx::Error> {
    let rows = sqlx::query!(
        "select item, hold_id from checkout_item
         where slot = $1 and book_id = $2 and checkout_id = $3 order by item",
        account.slot().sql(),
        account.0,
        checkout.0
    )
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(|row| (row.item, HoldId(row.hold_id))).collect())
}

/// What never changes about a charge.
#[derive(Clone, Debug)]
pub struct ChargeTarget {
    pub account: BookId,
    pub hold: HoldId,
    pub checkout: CheckoutId,
    pub result_id: String,
    pub sku: String,
    pub dispute_decision_s: i32,
}

pub(super) async fn charge_target(
    pool: &PgPool,
    charge: ChargeId,
) -> Result<Option<ChargeTarget>, sqlx::Error> {
    let row = sqlx::query!(
        "select c.book_id, i.hold_id, c.checkout_id, c.result_id, c.sku, i.dispute_decision_s
         from charge c
         join checkout_item i on i.slot = c.slot and i.book_id = c.book_id
                             and i.checkout_id = c.checkout_id and i.item = c.item
         where c.slot = $1 and c.charge_id = $2",
        charge.slot().sql(),
        charge.0
    )
    .fetch_optional(pool)
    .await?;
    Ok(row.map(|row| ChargeTarget {
        account: BookId(row.book_id),
        hold: HoldId(row.hold_id),
        checkout: CheckoutId(row.checkout_id),
        result_id: row.result_id,
        sku: row.sku,
        dispute_decision_s: row.dispute_decision_s,
    }))
}

/// A line of the list of checkouts.
#[derive(Clone, Debug)]
pub struct CheckoutSummary {
    pub id: CheckoutId,
    pub max_total: Amount,
    pub total: Amount,
    pub created_at: DateTime<Utc>,
    pub canceled_at: Option<DateTime<Utc>>,
    /// Whether anything is on hold.
    pub open: bool,
    pub captured: Amount,
    pub reversed: Amount,
}

/// An account's checkouts, newest first: UUIDv7 sorts by time. Of each the holds are added up, a
/// thousand at most, and not the charges, of which there may be any number.
pub(super) async fn list(
    pool: &PgPool,
    account: BookId,
    before: Option<CheckoutId>,
    limit: i64,
) -> Result<Vec<CheckoutSummary>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select c.checkout_id, c.max_total, c.total, c.created_at, c.canceled_at,
                  i.open as "open!", i.captured as "captured!", i.reversed as "reversed!"
           from (
             select * from checkout where slot = $1 and book_id = $2 and checkout_id < $3
             order by checkout_id desc limit $4) c
           cross join lateral (
             select bool_or(i.settled < i.quantity) as open,
                    sum(h.captured)::bigint as captured, sum(h.reversed)::bigint as reversed
             from checkout_item i
             cross join lateral (
               select captured, reversed from hold
               where slot = i.slot and hold_id = i.hold_id limit 1) h
             where i.slot = c.slot and i.checkout_id = c.checkout_id) i
           order by c.checkout_id desc"#,
        account.slot().sql(),
        account.0,
        before.map_or(Uuid::max(), |id| id.0),
        limit
    )
    .fetch_all(pool)
    .await?;
    let rows = rows.into_iter().map(|row| CheckoutSummary {
        id: CheckoutId(row.checkout_id),
        max_total: amount(row.max_total),
        total: amount(row.total),
        created_at: row.created_at,
        canceled_at: row.canceled_at,
        open: row.open,
        captured: amount(row.captured),
        reversed: amount(row.reversed),
    });
    Ok(rows.collect())
}

/// A result whose verification deadline has passed.
pub(super) struct DueResult {
    pub(super) account: BookId,
    pub(super) checkout: CheckoutId,
    pub(super) result_id: String,
    pub(super) known: KnownResult,
}

pub(super) async fn due_results(
    pool: &PgPool,
    at: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<DueResult>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select r.book_id, r.checkout_id, r.result_id, r.quantity, i.item, i.hold_id, i.sku,
             i.sku_version,
             exists (select from verification q where q.slot = r.slot and q.book_id = r.book_id
                                             and q.checkout_id = r.checkout_id
                                             and q.result_id = r.result_id) as "asked!"
           from (select slot, book_id, checkout_id, result_id, item, quantity from result
                 where state = 'verifying' and verify_by <= $1 order by verify_by limit $2) r
           join checkout_item i on i.slot = r.slot and i.book_id = r.book_id
                               and i.checkout_id = r.checkout_id and i.item = r.item"#,
        at,
        limit
    )
    .fetch_all(pool)
    .await?;
    let rows = rows.into_iter().map(|row| DueResult {
        account: BookId(row.book_id),
        checkout: CheckoutId(row.checkout_id),
        result_id: row.result_id,
        known: KnownResult {
            item: row.item,
            quantity: row.quantity,
            hold: HoldId(row.hold_id),
            sku: row.sku,
            sku_version: row.sku_version,
            asked: row.asked,
        },
    });
    Ok(rows.collect())
}

/// An item whose delivery deadline has passed.
pub(super) struct DueItem {
    pub(super) account: BookId,
    pub(super) checkout: CheckoutId,
    pub(super) item: i16,
    pub(super) hold: HoldId,
}

pub(super) async fn due_items(
    pool: &PgPool,
    at: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<DueItem>, sqlx::Error> {
    let rows = sqlx::query!(
        "select book_id, checkout_id, item, hold_id from checkout_item
         where not closed and deliver_by <= $1 order by deliver_by limit $2",
        at,
        limit
    )
    .fetch_all(pool)
    .await?;
    let rows = rows.into_iter().map(|row| DueItem {
        account: BookId(row.book_id),
        checkout: CheckoutId(row.checkout_id),
        item: row.item,
        hold: HoldId(row.hold_id),
    });
    Ok(rows.collect())
}

/// Deadlines that have passed and are not enforced yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overdue {
    pub items: i64,
    pub results: i64,
    pub disputes: i64,
}

pub(super) async fn overdue(pool: &PgPool, at: DateTime<Utc>) -> Result<Overdue, sqlx::Error> {
    sqlx::query_as!(
        Overdue,
        r#"select (select count(*) from checkout_item where not closed and deliver_by <= $1)
                    as "items!",
                  (select count(*) from result where state = 'verifying' and verify_by <= $1)
                    as "results!",
                  (select count(*) from dispute where state = 'open' and decide_by <= $1)
                    as "disputes!""#,
        at
    )
    .fetch_one(pool)
    .await
}
