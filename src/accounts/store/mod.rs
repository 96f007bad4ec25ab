//! All SQL of accounts.

pub(super) mod grants;

use chrono::{DateTime, Utc};
use sqlx::{PgExecutor, PgPool};

use crate::ground::{BookId, KeyId, Slot};

use super::{CONFIGURED_OPERATOR, KeyRole, NewKey};

/// Who is calling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    pub key: KeyId,
    /// The account of a customer key; the house book of a staff key.
    pub account: BookId,
    pub role: KeyRole,
    pub skus: Option<Vec<String>>,
    pub expires_at: Option<DateTime<Utc>>,
    pub revoked_at: Option<DateTime<Utc>>,
}

impl Principal {
    /// The operator whose key hash is in the configuration.
    pub(super) fn configured_operator() -> Self {
        Self {
            key: CONFIGURED_OPERATOR,
            account: BookId::HOUSE,
            role: KeyRole::Operator,
            skus: None,
            expires_at: None,
            revoked_at: None,
        }
    }
}

/// The principal of a key hash.
pub(super) async fn principal(
    pool: &PgPool,
    hash: &[u8; 32],
) -> Result<Option<Principal>, sqlx::Error> {
    let row = sqlx::query!(
        "select k.book_id, k.key_id, k.role, k.skus, k.expires_at, k.revoked_at
         from claim c
         join api_key k on k.slot = get_byte(uuid_send(c.book_id), 15) and k.book_id = c.book_id
                       and k.key_id = c.subject_id
         where c.slot = $1 and c.key = $2 and c.kind = 'api_key'",
        Slot::of_hash(hash).sql(),
        hash.as_slice()
    )
    .fetch_optional(pool)
    .await?;
    Ok(row.and_then(|row| {
        Some(Principal {
            key: KeyId(row.key_id),
            account: BookId(row.book_id),
            role: KeyRole::from_name(&row.role)?,
            skus: row.skus,
            expires_at: row.expires_at,
            revoked_at: row.revoked_at,
        })
    }))
}

pub(super) async fn open_account(
    executor: impl PgExecutor<'_>,
    account: BookId,
    origin: &str,
    wallet: Option<&str>,
    at: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into account (slot, book_id, origin, wallet, created_at)
         values ($1, $2, $3, $4, $5) on conflict (slot, book_id) do nothing",
        account.slot().sql(),
        account.0,
        origin,
        wallet,
        at
    )
    .execute(executor)
    .await?;
    Ok(())
}

pub(super) async fn insert_key(
    executor: impl PgExecutor<'_>,
    account: BookId,
    key: &NewKey,
    hint: &str,
    at: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into api_key (slot, book_id, key_id, role, name, hint, skus, created_at, expires_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        account.slot().sql(),
        account.0,
        key.id.0,
        key.role.name(),
        key.name,
        hint,
        key.skus.as_deref(),
        at,
        key.expires_at
    )
    .execute(executor)
    .await?;
    Ok(())
}

/// Takes from a budget, in one statement. False when it is used up.
pub(super) async fn take_budget(
    pool: &PgPool,
    name: &str,
    window_start: DateTime<Utc>,
    amount: i64,
    limit: i64,
) -> Result<bool, sqlx::Error> {
    let taken = sqlx::query!(
        "insert into budget (name, window_start, used)
         select $1, $2, $3::bigint where $3::bigint <= $4::bigint
         on conflict (name, window_start) do update set used = budget.used + excluded.used
         where budget.used + excluded.used <= $4::bigint",
        name,
        window_start,
        amount,
        limit
    )
    .execute(pool)
    .await?;
    Ok(taken.rows_affected() == 1)
}

/// A nonce of sign-in-with-x.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    pub nonce: String,
    pub issued_at: DateTime<Utc>,
    pub expires_at: DateTime<Utc>,
}

pub(super) async fn keep_challenge(
    pool: &PgPool,
    challenge: &Challenge,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into wallet_challenge (nonce, issued_at, expires_at) values ($1, $2, $3)",
        challenge.nonce,
        challenge.issued_at,
        challenge.expires_at
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// Uses a nonce up. False when it is unknown, expired or used.
pub(super) async fn use_challenge(
    pool: &PgPool,
    nonce: &str,
    at: DateTime<Utc>,
) -> Result<bool, sqlx::Error> {
    let used = sqlx::query!(
        "update wallet_challenge set used_at = $2
         where nonce = $1 and used_at is null and expires_at > $2",
        nonce,
        at
    )
    .execute(pool)
    .await?;
    Ok(used.rows_affected() == 1)
}

pub(super) async fn forget_before(pool: &PgPool, before: DateTime<Utc>) -> Result<(), sqlx::Error> {
    sqlx::query!("delete from budget where window_start < $1", before).execute(pool).await?;
    sqlx::query!("delete from wallet_challenge where expires_at < $1", before)
        .execute(pool)
        .await?;
    Ok(())
}
