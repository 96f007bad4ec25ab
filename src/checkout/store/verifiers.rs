//! Who is called for verdicts, and whether it may be called now.

use chrono::{DateTime, Utc};
use sqlx::PgPool;
use uuid::Uuid;

use crate::checkout::Verifier;
use crate::ground::VerifierId;

/// A verifier that there is something to ask, with the secrets that sign what is sent to it.
pub(in crate::checkout) struct Called {
    pub(in crate::checkout) id: VerifierId,
    pub(in crate::checkout) url: String,
    pub(in crate::checkout) secret: Vec<u8>,
    pub(in crate::checkout) previous: Option<(Vec<u8>, DateTime<Utc>)>,
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

/// Puts a new secret into the place of the old one, which signs too until a time. The new one may be
/// what was wrong, so that the verifier is called at once.
pub(in crate::checkout) async fn rotate(
    pool: &PgPool,
    id: VerifierId,
    secret: &[u8],
    until: DateTime<Utc>,
) -> Result<Option<Verifier>, sqlx::Error> {
    let row = sqlx::query_as!(
        Row,
        "update verifier set previous_secret = secret, previous_until = $3, secret = $2,
           failures = 0, rest_until = null
         where verifier_id = $1
         returning verifier_id, url, created_at, previous_until, failures, rest_until",
        id.0,
        secret,
        until
    )
    .fetch_optional(pool)
    .await?;
    Ok(row.map(Verifier::from))
}

/// Verifiers that there is something to ask now, but for some.
pub(in crate::checkout) async fn due(
    pool: &PgPool,
    but: &[Uuid],
    at: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<Called>, sqlx::Error> {
    let rows = sqlx::query!(
        "select v.verifier_id, v.url, v.secret, v.previous_secret, v.previous_until
         from verifier v
         where (v.rest_until is null or v.rest_until <= $1) and v.verifier_id <> all ($2)
           and exists (select from verification q
                       where q.verifier_id = v.verifier_id and q.next_at <= $1)
         order by v.verifier_id limit $3",
        at,
        but,
        limit
    )
    .fetch_all(pool)
    .await?;
    let called = rows.into_iter().map(|row| Called {
        id: VerifierId(row.verifier_id),
        url: row.url,
        secret: row.secret,
        previous: row.previous_secret.zip(row.previous_until),
    });
    Ok(called.collect())
}

/// A call brought a verdict: the circuit is closed.
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

/// A call brought none. After so many in a row the circuit is open until a time.
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
