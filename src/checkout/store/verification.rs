//! What verifiers are asked, and what came of each call.

use chrono::{DateTime, Utc};
use sqlx::types::Json;
use sqlx::{PgConnection, PgPool};

use crate::checkout::annex::CheckoutRows;
use crate::checkout::view::CallView;
use crate::checkout::{CheckoutError, Criteria};
use crate::ground::{Amount, BookId, CheckoutId, CipherError, HoldId, VerifierId};
use crate::outbound::SigningSecret;

use super::verifiers::{self, Sealed};
use super::{KnownResult, amount};

/// What one verifier is asked, and how.
pub(in crate::checkout) struct Round {
    pub(in crate::checkout) verifier: VerifierId,
    pub(in crate::checkout) url: String,
    pub(in crate::checkout) secrets: Vec<SigningSecret>,
    pub(in crate::checkout) claimed: Vec<Claimed>,
}

/// What there was to do for a verifier.
pub(in crate::checkout) enum Due {
    Ask(Round),
    /// Nobody has to be asked about what came first, and it is out of the way. There may be more.
    Closed,
    Nothing,
}

/// How many results that are due are looked through at once for those that nobody is to be asked about
/// any more.
const CLOSE_MAX: i64 = 1000;

/// A result that this process asks about until its lease ends.
pub(in crate::checkout) struct Claimed {
    pub(in crate::checkout) account: BookId,
    pub(in crate::checkout) checkout: CheckoutId,
    pub(in crate::checkout) result_id: String,
    /// The number of the call.
    pub(in crate::checkout) attempt: i32,
    /// How many of the calls before it do not count, because the ledger did not take their verdicts.
    pub(in crate::checkout) waived: i32,
    /// How many do not, because they were begun before the verifier was given a new secret.
    pub(in crate::checkout) forgiven: i32,
    pub(in crate::checkout) known: KnownResult,
    pub(in crate::checkout) unit: String,
    pub(in crate::checkout) unit_price: Amount,
    pub(in crate::checkout) evidence: serde_json::Value,
    pub(in crate::checkout) evidence_hash: Vec<u8>,
    pub(in crate::checkout) criteria: Criteria,
    pub(in crate::checkout) submitted_at: DateTime<Utc>,
    pub(in crate::checkout) verify_by: DateTime<Utc>,
}

/// Until when what is claimed belongs to whoever claims it, and how much that is.
#[derive(Clone, Copy)]
pub(in crate::checkout) struct Lease {
    pub(in crate::checkout) at: DateTime<Utc>,
    pub(in crate::checkout) end: DateTime<Utc>,
    pub(in crate::checkout) limit: i64,
    pub(in crate::checkout) attempts_max: i32,
    pub(in crate::checkout) failures_max: i32,
}

/// What came of a call.
pub(in crate::checkout) struct Ended<'a> {
    pub(in crate::checkout) at: DateTime<Utc>,
    pub(in crate::checkout) status: Option<i16>,
    pub(in crate::checkout) fault: Option<&'a str>,
    /// Whether the result is open as before.
    pub(in crate::checkout) open: bool,
    /// When to ask again; never when there is none.
    pub(in crate::checkout) again_at: Option<DateTime<Utc>>,
    /// Whether the call does not count, because the verifier did what it should.
    pub(in crate::checkout) waived: bool,
}

/// Writes down whom to ask about the results of a batch.
pub(super) async fn insert(tx: &mut PgConnection, rows: &CheckoutRows) -> Result<(), sqlx::Error> {
    let new = &rows.asks;
    sqlx::query!(
        "insert into verification (slot, book_id, checkout_id, result_id, verifier_id, queued_at,
           next_at)
         select slot, book_id, checkout_id, result_id, verifier_id, at, at
         from unnest($1::smallint[], $2::uuid[], $3::uuid[], $4::text[], $5::uuid[],
                     $6::timestamptz[])
           as n(slot, book_id, checkout_id, result_id, verifier_id, at)",
        &new.iter().map(|((book, ..), ..)| book.slot().sql()).collect::<Vec<_>>(),
        &new.iter().map(|((book, ..), ..)| book.0).collect::<Vec<_>>(),
        &new.iter().map(|((_, checkout, _), ..)| checkout.0).collect::<Vec<_>>(),
        &new.iter().map(|((.., result), ..)| result.clone()).collect::<Vec<_>>(),
        &new.iter().map(|(_, verifier, _)| verifier.0).collect::<Vec<_>>(),
        &new.iter().map(|(.., at)| *at).collect::<Vec<_>>(),
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Writes down that nobody has to be asked any more about what was decided in a batch. What somebody
/// else has in hand is left alone, so that money waits for no caller: it is closed when it is claimed.
pub(super) async fn decided(tx: &mut PgConnection, rows: &CheckoutRows) -> Result<(), sqlx::Error> {
    let asked: Vec<_> = rows.decided.iter().filter(|(_, d)| d.asked).map(|(key, _)| key).collect();
    sqlx::query!(
        "with decided as (
           select q.slot, q.book_id, q.checkout_id, q.result_id
           from unnest($1::smallint[], $2::uuid[], $3::uuid[], $4::text[])
             as u(slot, book_id, checkout_id, result_id)
           join verification q on q.slot = u.slot and q.book_id = u.book_id
                              and q.checkout_id = u.checkout_id and q.result_id = u.result_id
           for no key update of q skip locked)
         update verification q set next_at = null, given_up_until = null
         from decided d
         where q.slot = d.slot and q.book_id = d.book_id and q.checkout_id = d.checkout_id
           and q.result_id = d.result_id",
        &asked.iter().map(|(book, ..)| book.slot().sql()).collect::<Vec<_>>(),
        &asked.iter().map(|(book, ..)| book.0).collect::<Vec<_>>(),
        &asked.iter().map(|(_, checkout, _)| checkout.0).collect::<Vec<_>>(),
        &asked.iter().map(|(.., result)| result.clone()).collect::<Vec<_>>(),
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Claims results to ask a verifier about, and begins the record of each call. While its circuit is
/// open none are claimed, and once it has rested a single one: others wait for what comes of it. What
/// has been settled meanwhile is asked no more. Secrets that cannot be opened cost no attempt.
pub(in crate::checkout) async fn claim(
    pool: &PgPool,
    verifier: VerifierId,
    lease: Lease,
    open: impl FnOnce(&Sealed) -> Result<Vec<SigningSecret>, CipherError>,
) -> Result<Due, CheckoutError> {
    let mut tx = pool.begin().await?;
    // Claims of one verifier come one after the other, so that there is one probe.
    let Some(standing) = verifiers::lock(&mut tx, verifier, lease.at).await? else {
        return Ok(Due::Nothing);
    };
    let secrets = open(&standing.sealed)?;
    // Otherwise each of those would take the place of one that waits, and the only one of a probe.
    if close(&mut tx, verifier, lease).await? > 0 {
        tx.commit().await?;
        return Ok(Due::Closed);
    }
    let probing = standing.failures >= lease.failures_max;
    let limit = if probing { 1 } else { lease.limit };
    let claimed = take(&mut tx, verifier, Lease { limit, ..lease }).await?;
    if probing && !claimed.is_empty() {
        verifiers::rest(&mut tx, verifier, lease.end).await?;
    }
    tx.commit().await?;
    if claimed.is_empty() {
        return Ok(Due::Nothing);
    }
    Ok(Due::Ask(Round { verifier, url: standing.url, secrets, claimed }))
}

/// Takes what nobody is to be asked about any more out of what comes first: what has been settled, and
/// what there were calls enough about. Returns how much it was.
async fn close(
    tx: &mut PgConnection,
    verifier: VerifierId,
    lease: Lease,
) -> Result<u64, sqlx::Error> {
    let closed = sqlx::query!(
        "with due as (
           select q.slot, q.book_id, q.checkout_id, q.result_id, r.verify_by,
             r.state = 'verifying' and r.verify_by > $2 as open,
             q.attempts - q.forgiven - least(q.waived, $4) < $4 as may
           from verification q
           join result r on r.slot = q.slot and r.book_id = q.book_id
                        and r.checkout_id = q.checkout_id and r.result_id = q.result_id
           where q.verifier_id = $1 and q.next_at <= $2
           order by q.next_at limit $3)
         update verification q
         set next_at = null, given_up_until = case when due.open then due.verify_by end
         from due
         where not (due.open and due.may)
           and q.slot = due.slot and q.book_id = due.book_id and q.checkout_id = due.checkout_id
           and q.result_id = due.result_id and q.next_at <= $2",
        verifier.0,
        lease.at,
        CLOSE_MAX,
        lease.attempts_max
    )
    .execute(tx)
    .await?;
    Ok(closed.rows_affected())
}

async fn take(
    tx: &mut PgConnection,
    verifier: VerifierId,
    lease: Lease,
) -> Result<Vec<Claimed>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"with due as (
             select q.slot, q.book_id, q.checkout_id, q.result_id
             from verification q
             join result r on r.slot = q.slot and r.book_id = q.book_id
                          and r.checkout_id = q.checkout_id and r.result_id = q.result_id
             where q.verifier_id = $1 and q.next_at <= $2
               and r.state = 'verifying' and r.verify_by > $2
               and q.attempts - q.forgiven - least(q.waived, $5) < $5
             order by q.next_at limit $4 for no key update of q skip locked),
           claimed as (
             update verification q set next_at = $3, attempts = q.attempts + 1
             from due where q.slot = due.slot and q.book_id = due.book_id
               and q.checkout_id = due.checkout_id and q.result_id = due.result_id
             returning q.slot, q.book_id, q.checkout_id, q.result_id, q.attempts, q.waived, q.forgiven),
           begun as (
             insert into verification_call (slot, book_id, checkout_id, result_id, attempt, called_at)
             select slot, book_id, checkout_id, result_id, attempts, $2 from claimed)
           select c.book_id, c.checkout_id, c.result_id, c.attempts, c.waived, c.forgiven, r.quantity,
             r.evidence, r.evidence_hash, r.submitted_at, r.verify_by, i.item, i.hold_id, i.sku, i.sku_version,
             i.unit_price, v.unit, v.criteria as "criteria: Json<Criteria>"
           from claimed c
           join result r on r.slot = c.slot and r.book_id = c.book_id
                        and r.checkout_id = c.checkout_id and r.result_id = c.result_id
           join checkout_item i on i.slot = r.slot and i.checkout_id = r.checkout_id
                               and i.item = r.item
           join sku_version v on v.sku = i.sku and v.version = i.sku_version"#,
        verifier.0,
        lease.at,
        lease.end,
        lease.limit,
        lease.attempts_max
    )
    .fetch_all(tx)
    .await?;
    let claimed = rows.into_iter().map(|row| Claimed {
        account: BookId(row.book_id),
        checkout: CheckoutId(row.checkout_id),
        result_id: row.result_id,
        attempt: row.attempts,
        waived: row.waived,
        forgiven: row.forgiven,
        known: KnownResult {
            item: row.item,
            quantity: row.quantity,
            hold: HoldId(row.hold_id),
            sku: row.sku,
            sku_version: row.sku_version,
            asked: true,
        },
        unit: row.unit,
        unit_price: amount(row.unit_price),
        evidence: row.evidence,
        evidence_hash: row.evidence_hash,
        criteria: row.criteria.0,
        submitted_at: row.submitted_at,
        verify_by: row.verify_by,
    });
    Ok(claimed.collect())
}

/// Writes down what came of a call, unless its lease ran out and another one has begun. When the verifier
/// was given a new secret meanwhile, the call is forgiven, and the next one comes at once.
pub(in crate::checkout) async fn end(
    pool: &PgPool,
    asked: &Claimed,
    ended: &Ended<'_>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "with ended as (
           update verification_call set ended_at = $6, status = $7, fault = $8
           where slot = $1 and book_id = $2 and checkout_id = $3 and result_id = $4
             and attempt = $5 and ended_at is null)
         update verification
         set next_at = case when forgiven < attempts then $9 when $11 then $6 end,
           given_up_until = case when forgiven < attempts and $11 and $9 is null then $12::timestamptz end,
           waived = waived + ($10 and forgiven < attempts)::integer
         where slot = $1 and book_id = $2 and checkout_id = $3 and result_id = $4
           and attempts = $5 and next_at is not null",
        asked.account.slot().sql(),
        asked.account.0,
        asked.checkout.0,
        asked.result_id,
        asked.attempt,
        ended.at,
        ended.status,
        ended.fault,
        ended.again_at,
        ended.waived,
        ended.open,
        asked.verify_by
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// The calls about a result, in order.
pub(in crate::checkout) async fn calls(
    tx: &mut PgConnection,
    account: BookId,
    checkout: CheckoutId,
    result_id: &str,
) -> Result<Vec<CallView>, sqlx::Error> {
    sqlx::query_as!(
        CallView,
        "select attempt, called_at, ended_at, status, fault as unknown
         from verification_call
         where slot = $1 and book_id = $2 and checkout_id = $3 and result_id = $4
         order by attempt",
        account.slot().sql(),
        account.0,
        checkout.0,
        result_id
    )
    .fetch_all(tx)
    .await
}
