//! Global claims: what must be unique across books.
//!
//! A claim is insert-only and commits in its own transaction before the engine sees the command. The
//! book side carries its own unique constraint too.

use chrono::{DateTime, Utc};
use sqlx::PgPool;
use uuid::Uuid;

use crate::ground::{BookId, Slot, sha256};

/// What is claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimKind {
    /// One signed payment: network, asset, payer and nonce.
    Payment,
    /// A client's own name for one payment, in its account.
    PaymentKey,
    /// A wallet and the account it owns.
    Wallet,
    /// The hash of an API key.
    ApiKey,
}

impl ClaimKind {
    const fn name(self) -> &'static str {
        match self {
            Self::Payment => "payment",
            Self::PaymentKey => "payment_key",
            Self::Wallet => "wallet",
            Self::ApiKey => "api_key",
        }
    }
}

/// Who holds a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    pub book: BookId,
    pub subject: Uuid,
}

/// The key of a wallet, by its address in lower case.
pub fn wallet_key(address: &str) -> [u8; 32] {
    sha256([b"wallet".as_slice(), address.as_bytes()])
}

/// Claims a key for a holder. Returns whoever holds it afterwards: the holder itself, or the one
/// that came before. `key` is a SHA-256 over a domain tag and the value.
pub async fn claim(
    pool: &PgPool,
    kind: ClaimKind,
    key: &[u8; 32],
    holder: Holder,
    at: DateTime<Utc>,
) -> Result<Holder, sqlx::Error> {
    let inserted = sqlx::query!(
        "insert into claim (slot, key, kind, book_id, subject_id, created_at)
         values ($1, $2, $3, $4, $5, $6) on conflict (slot, key) do nothing",
        Slot::of_hash(key).sql(),
        key.as_slice(),
        kind.name(),
        holder.book.0,
        holder.subject,
        at
    )
    .execute(pool)
    .await?;
    if inserted.rows_affected() == 1 {
        return Ok(holder);
    }
    find(pool, key).await?.ok_or(sqlx::Error::RowNotFound)
}

/// Who holds a key.
pub async fn find(pool: &PgPool, key: &[u8; 32]) -> Result<Option<Holder>, sqlx::Error> {
    let row = sqlx::query!(
        "select book_id, subject_id from claim where slot = $1 and key = $2",
        Slot::of_hash(key).sql(),
        key.as_slice()
    )
    .fetch_optional(pool)
    .await?;
    Ok(row.map(|row| Holder { book: BookId(row.book_id), subject: row.subject_id }))
}
