//! Who is called for verdicts, and whether it may be called now.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::checkout::Verifier;
use crate::ground::VerifierId;

/// How many results that wait, and how many that were given up, a new secret makes due at once. The
/// others wait for their own time, or for a verdict by hand.
const RECALL_MAX: i64 = 10_000;

/// The secrets of a verifier as they are kept: the present one, and the one before it with the time
/// until which it signs too.
pub(in crate::checkout) struct Sealed {
    pub(in crate::checkout) present: Vec<u8>,
    pub(in crate::checkout) previous: Option<(Vec<u8>, DateTime<Utc>)>,
}

/// A verifier that may be called now.
pub(super) struct Standing {
    pub(super) url: String,
    pub(super) sealed: Sealed,
    pub(super) failures: i32,
}

/// What waits for verdicts of verifiers that are called, each counted only so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifierStanding {
    /// Open results that a verifier is to be asked about.
    pub pending: i64,
    /// For how long the oldest of them has waited, in seconds.
    pub oldest_pending_s: i64,
    /// Verifiers with such results that failed so often that they are given a rest, and have not answered
    /// since.
    pub resting: i64,
    /// Open results that nobody is asked about any more.
    pub given_up: i64,
}

struct Row {
    verifier_id: Uuid,
    url: String,
    created_at: DateTime<Utc>,
    previous_until: Option<DateTime<Utc>>,
    failures: i32,
    rest_until: Option<DateTime<Utc>>,
}

impl From<Row> for Verifier {
    fn from(row: Row) -> Self {
        Self {
            verifier_id: VerifierId(row.verifier_id),
            url: row.url,
            created_at: row.created_at,
            previous_secret_until: row.previous_until,
            failures: row.failures,
            rests_until: row.rest_until,
        }
    }
}

pub(in crate::checkout) async fn exists(
    pool: &PgPool,
    verifier: VerifierId,
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select exists (select from verifier where verifier_id = $1) as "exists!""#,
        verifier.0
    )
    .fetch_one(pool)
    .await
}

/// The verifiers after one, oldest first.
pub(in crate::checkout) async fn list(
    pool: &PgPool,
    after: Option<VerifierId>,
    limit: i64,
) -> Result<Vec<Verifier>, sqlx::Error> {
    let rows = sqlx::query_as!(
        Row,
        "select verifier_id, url, created_at, previous_until, failures, rest_until from verifier
         where verifier_id > $1 order by verifier_id limit $2",
        after.map_or(Uuid::nil(), |id| id.0),
        limit
    )
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(Verifier::from).collect())
}

/// The verifier at a URL.
pub(in crate::checkout) async fn at_url(
    pool: &PgPool,
    url: &str,
) -> Result<Option<VerifierId>, sqlx::Error> {
    let found = sqlx::query_scalar!("select verifier_id from verifier where url = $1", url)
        .fetch_optional(pool)
        .await?;
    Ok(found.map(VerifierId))
}

/// Registers a verifier; none when there is one at this URL already.
pub(in crate::checkout) async fn insert(
    pool: &PgPool,
    id: VerifierId,
    url: &str,
    secret: &[u8],
    at: DateTime<Utc>,
) -> Result<Option<Verifier>, sqlx::Error> {
    let row = sqlx::query_as!(
        Row,
        "insert into verifier (verifier_id, url, secret, created_at) values ($1, $2, $3, $4)
         on conflict (url) do nothing
         returning verifier_id, url, created_at, previous_until, failures, rest_until",
        id.0,
        url,
        secret,
        at
    )
    .fetch_optional(pool)
    .await?;
    Ok(row.map(Verifier::from))
}

/// Puts a new secret into the place of the present one, which signs too until a time. While an older
/// one still does, that one stays: whoever asks again because the answer was lost knows only that one.
/// What does not open is not kept. The old one may be what was wrong, so that the verifier is called at
/// once, and asked again what it was to be asked later or not at all.
pub(in crate::checkout) async fn rotate(
    pool: &PgPool,
    id: VerifierId,
    secret: &[u8],
    (at, until): (DateTime<Utc>, DateTime<Utc>),
    opens: impl Fn(&[u8]) -> bool,
) -> Result<Option<Verifier>, sqlx::Error> {
    let mut tx = pool.begin().await?;
    let kept = sqlx::query!(
        "select secret, previous_secret, previous_until from verifier where verifier_id = $1
         for no key update",
        id.0
    )
    .fetch_one(&mut *tx)
    .await?;
    let older = kept.previous_secret.zip(kept.previous_until).filter(|(_, until)| *until > at);
    let present = kept.secret.map(|present| (present, until));
    let previous = [older, present].into_iter().flatten().find(|(sealed, _)| opens(sealed));
    let (previous, until) = previous.unzip();
    let row = sqlx::query_as!(
        Row,
        "update verifier set secret = $2, previous_secret = $3, previous_until = $4,
           failures = 0, rest_until = null
         where verifier_id = $1
         returning verifier_id, url, created_at, previous_until, failures, rest_until",
        id.0,
        secret,
        previous,
        until
    )
    .fetch_optional(&mut *tx)
    .await?;
    recall(&mut tx, id, at).await?;
    tx.commit().await?;
    Ok(row.map(Verifier::from))
}

/// Has a verifier asked at once about what waits for another call and what was given up, with as many
/// calls as if there had been none. One that is under way is only forgiven: its end sees that.
async fn recall(
    tx: &mut PgConnection,
    id: VerifierId,
    at: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "with waiting as (
           (select slot, book_id, checkout_id, result_id from verification
            where verifier_id = $1 and next_at > $2 order by next_at limit $3)
           union all
           (select slot, book_id, checkout_id, result_id from verification
            where verifier_id = $1 and given_up_until > $2 order by given_up_until limit $3))
         update verification q
         set forgiven = q.attempts, waived = 0, given_up_until = null,
           next_at = case
             when q.next_at is not null
              and exists (select from verification_call c
                          where c.slot = q.slot and c.book_id = q.book_id
                            and c.checkout_id = q.checkout_id and c.result_id = q.result_id
                            and c.attempt = q.attempts and c.ended_at is null)
             then q.next_at else $2 end
         from waiting w
         where q.slot = w.slot and q.book_id = w.book_id and q.checkout_id = w.checkout_id
           and q.result_id = w.result_id and (q.next_at > $2 or q.given_up_until > $2)",
        id.0,
        at,
        RECALL_MAX
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Verifiers that there is something to ask now, but for some: first whom a result waits for longest.
pub(in crate::checkout) async fn due(
    pool: &PgPool,
    but: &[Uuid],
    at: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<VerifierId>, sqlx::Error> {
    let due = sqlx::query_scalar!(
        "select v.verifier_id
         from verifier v
         cross join lateral (select q.next_at from verification q
                             where q.verifier_id = v.verifier_id and q.next_at <= $1
                             order by q.next_at limit 1) q
         where v.secret is not null and (v.rest_until is null or v.rest_until <= $1)
           and v.verifier_id <> all ($2)
         order by q.next_at limit $3",
        at,
        but,
        limit
    )
    .fetch_all(pool)
    .await?;
    Ok(due.into_iter().map(VerifierId).collect())
}

/// Locks a verifier, unless it is not to be called now. A secret whose time is over is forgotten.
pub(super) async fn lock(
    tx: &mut PgConnection,
    id: VerifierId,
    at: DateTime<Utc>,
) -> Result<Option<Standing>, sqlx::Error> {
    let row = sqlx::query!(
        "select url, secret, previous_secret, previous_until, failures from verifier
         where verifier_id = $1 and (rest_until is null or rest_until <= $2)
         for no key update",
        id.0,
        at
    )
    .fetch_optional(&mut *tx)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let Some(present) = row.secret else { return Ok(None) };
    let previous = row.previous_secret.zip(row.previous_until).filter(|(_, until)| *until > at);
    if previous.is_none() && row.previous_until.is_some() {
        sqlx::query!(
            "update verifier set previous_secret = null, previous_until = null
             where verifier_id = $1",
            id.0
        )
        .execute(tx)
        .await?;
    }
    let sealed = Sealed { present, previous };
    Ok(Some(Standing { url: row.url, sealed, failures: row.failures }))
}

/// Has a verifier called by nobody until a time.
pub(super) async fn rest(
    tx: &mut PgConnection,
    id: VerifierId,
    until: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!("update verifier set rest_until = $2 where verifier_id = $1", id.0, until)
        .execute(tx)
        .await?;
    Ok(())
}

/// A verifier with its secret, if there is any: one that was sealed with another key, or any one.
pub(in crate::checkout) async fn any_sealed(
    pool: &PgPool,
    key_id: u8,
) -> Result<Option<(VerifierId, Vec<u8>)>, sqlx::Error> {
    let row = sqlx::query!(
        r#"select verifier_id, secret as "secret!" from verifier where secret is not null
           order by get_byte(secret, 0) = $1 limit 1"#,
        i32::from(key_id)
    )
    .fetch_optional(pool)
    .await?;
    Ok(row.map(|row| (VerifierId(row.verifier_id), row.secret)))
}

/// How verifiers that are called stand.
pub(in crate::checkout) async fn standing(
    pool: &PgPool,
    at: DateTime<Utc>,
    count_max: i64,
) -> Result<VerifierStanding, sqlx::Error> {
    sqlx::query_as!(
        VerifierStanding,
        r#"select
             (select count(*) from (
                select from verification q
                join result r on r.slot = q.slot and r.book_id = q.book_id
                             and r.checkout_id = q.checkout_id and r.result_id = q.result_id
                where q.next_at is not null and r.state = 'verifying' limit $2) p) as "pending!",
             coalesce((
               select extract(epoch from $1::timestamptz - q.queued_at)::bigint
               from verification q
               join result r on r.slot = q.slot and r.book_id = q.book_id
                            and r.checkout_id = q.checkout_id and r.result_id = q.result_id
               where q.next_at is not null and r.state = 'verifying'
               order by q.queued_at limit 1), 0) as "oldest_pending_s!",
             (select count(*) from (
                select from verifier v
                where v.rest_until is not null and exists (
                  select from verification q
                  join result r on r.slot = q.slot and r.book_id = q.book_id
                               and r.checkout_id = q.checkout_id and r.result_id = q.result_id
                  where q.verifier_id = v.verifier_id and q.next_at is not null
                    and r.state = 'verifying')
                limit $2) v) as "resting!",
             (select count(*) from (
                select from verification q
                join result r on r.slot = q.slot and r.book_id = q.book_id
                             and r.checkout_id = q.checkout_id and r.result_id = q.result_id
                where q.given_up_until > $1 and r.state = 'verifying' limit $2) g)
               as "given_up!""#,
        at,
        count_max
    )
    .fetch_one(pool)
    .await
}

/// The verifier answered: its circuit is closed.
pub(in crate::checkout) async fn succeeded(
    pool: &PgPool,
    id: VerifierId,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update verifier set failures = 0, rest_until = null
         where verifier_id = $1 and (failures > 0 or rest_until is not null)",
        id.0
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// A call failed. After so many in a row the circuit is open until a time.
pub(in crate::checkout) async fn failed(
    pool: &PgPool,
    id: VerifierId,
    failures_max: i32,
    rest_until: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update verifier set failures = least(failures, 1000000) + 1,
           rest_until = case when failures + 1 >= $2 then $3 else rest_until end
         where verifier_id = $1",
        id.0,
        failures_max,
        rest_until
    )
    .execute(pool)
    .await?;
    Ok(())
}
