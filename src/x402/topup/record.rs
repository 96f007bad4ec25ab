use chrono::{DateTime, Utc};
use serde_json::Value;

use crate::ground::{Amount, BookId, TopupId};
use crate::x402::Version;

use super::{SettlementStanding, TopupState};

/// Why a payment was left unsent: its idempotency key names another top-up.
pub(super) const SET_ASIDE: &str = "idempotency_key_used";

/// What a payment came to, as far as is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Its credits are the account's.
    Credited,
    /// It is not known yet, or may still change: nobody shall pay again for it.
    Open,
    /// Nothing was taken for it.
    NotTaken,
    /// It was credited, and the chain dropped its settlement for good.
    Lost,
}

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
    /// How its settlement stands on the chain since, where one is read.
    pub standing: Option<SettlementStanding>,
}

impl TopupRecord {
    /// Whether it was left unsent because its idempotency key names another top-up.
    pub fn is_set_aside(&self) -> bool {
        self.state == TopupState::Refused && self.reason.as_deref() == Some(SET_ASIDE)
    }

    /// Whether the chain has dropped its settlement, so that its credits are taken back.
    pub fn is_voided(&self) -> bool {
        self.standing.is_some_and(SettlementStanding::is_void)
    }

    /// What it is called where it is shown: its state; or `voided` or `lost`, which are no states but
    /// follow from how its settlement stands.
    pub fn status(&self) -> &'static str {
        match self.outcome() {
            Outcome::Lost => "lost",
            Outcome::Open if self.is_voided() => "voided",
            Outcome::Open | Outcome::Credited | Outcome::NotTaken => self.state.name(),
        }
    }

    /// Why its credits are not the account's, where that is known.
    pub fn reason(&self) -> Option<&str> {
        if self.is_voided() { Some("settlement_voided") } else { self.reason.as_deref() }
    }

    /// What the payment came to.
    pub fn outcome(&self) -> Outcome {
        use SettlementStanding as S;
        match self.state {
            TopupState::Credited => match self.standing {
                None | Some(S::Seen | S::Missing | S::Confirmed | S::Reinstated) => {
                    Outcome::Credited
                }
                // What the chain dropped, it may still take up.
                Some(S::Void | S::Returned) => Outcome::Open,
                Some(S::Lost) => Outcome::Lost,
            },
            TopupState::Claimed
            | TopupState::Settling
            | TopupState::Settled
            | TopupState::Unknown
            | TopupState::Parked => Outcome::Open,
            TopupState::Refused | TopupState::Rejected => Outcome::NotTaken,
        }
    }
}

/// One entry of a top-up's audit trail.
#[derive(Clone, Debug, PartialEq)]
pub struct AuditEntry {
    pub recorded_at: DateTime<Utc>,
    pub kind: String,
    pub detail: Value,
}
