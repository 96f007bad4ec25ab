use chrono::{DateTime, Utc};
use serde_json::Value;

use crate::ground::{Amount, BookId, TopupId};
use crate::x402::Version;

use super::TopupState;

/// Why a payment was left unsent: its idempotency key names another top-up.
pub(super) const SET_ASIDE: &str = "idempotency_key_used";

/// A top-up as it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct TopupRecord {
    pub id: TopupId,
    pub account: BookId,
    pub state: TopupState,
    pub amount: Amount,
    pub version: Version,
    /// CAIP-2.
    pub network: String,
    pub asset: String,
    pub payer: String,
    pub nonce: String,
    pub pay_to: String,
    /// When its authorization ends, in seconds since the epoch.
    pub valid_before: i64,
    /// Whether an API key named the account.
    pub keyed: bool,
    /// The settlement's transaction on the chain.
    pub settlement_tx: Option<String>,
    /// Why it was refused, rejected or lost.
    pub reason: Option<String>,
    /// How often it has been worked on.
    pub attempt: i32,
    /// When it was first sent to `/settle`.
    pub sent_at: Option<DateTime<Utc>>,
    /// When it is looked at next.
    pub next_at: Option<DateTime<Utc>>,
    /// The payment under the same idempotency key that took its place.
    pub superseded_by: Option<TopupId>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    pub credited_at: Option<DateTime<Utc>>,
}

impl TopupRecord {
    /// Whether it was left unsent because its idempotency key names another top-up.
    pub fn is_set_aside(&self) -> bool {
        self.state == TopupState::Refused && self.reason.as_deref() == Some(SET_ASIDE)
    }
}

/// One entry of a top-up's audit trail.
#[derive(Clone, Debug, PartialEq)]
pub struct AuditEntry {
    pub recorded_at: DateTime<Utc>,
    pub kind: String,
    pub detail: Value,
}
