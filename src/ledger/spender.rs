use chrono::{DateTime, Utc};

use crate::ground::KeyId;

use super::Refusal;

/// A key that may draw on a book, as it stands under the book's lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spender {
    pub id: KeyId,
    /// The SKUs it may buy; none means all.
    pub skus: Option<Vec<String>>,
    pub expires_at: Option<DateTime<Utc>>,
    pub revoked_at: Option<DateTime<Utc>>,
}

impl Spender {
    /// Whether it may buy these SKUs at that time.
    pub fn authorize(&self, at: DateTime<Utc>, skus: &[&str]) -> Result<(), Refusal> {
        if self.revoked_at.is_some() {
            return Err(Refusal::KeyRevoked);
        }
        if self.expires_at.is_some_and(|expiry| expiry <= at) {
            return Err(Refusal::KeyExpired);
        }
        let Some(allowed) = &self.skus else { return Ok(()) };
        let mut refused: Vec<String> = skus
            .iter()
            .filter(|sku| !allowed.iter().any(|a| a == *sku))
            .map(|sku| (*sku).to_owned())
            .collect();
        refused.sort();
        refused.dedup();
        if refused.is_empty() { Ok(()) } else { Err(Refusal::SkuNotAllowed { skus: refused }) }
    }
}
