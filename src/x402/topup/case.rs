use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;

use crate::ground::{Amount, BookId, TopupId};
use crate::x402::chain::{ChainPayment, Evidence};
use crate::x402::classify::Expected;
use crate::x402::{Network, Version};

use super::{Checked, Sighting, TopupState};

/// What a settlement needs of a top-up, whether it comes from a request or from its row.
pub(super) struct Case {
    pub(super) id: TopupId,
    pub(super) account: BookId,
    pub(super) version: Version,
    pub(super) network: &'static Network,
    /// The token contract, in lower case.
    pub(super) asset: String,
    pub(super) payer: String,
    pub(super) nonce: String,
    pub(super) pay_to: String,
    pub(super) amount: Amount,
    /// When the authorization ends; a time past all others when there is no such time.
    pub(super) valid_before: DateTime<Utc>,
    pub(super) payload: Value,
    /// The facilitator that it goes to, as it is on record, and to no other once it was sent.
    pub(super) facilitator_url: String,
    /// The version of the protocol in which that one is asked.
    pub(super) asked_version: Version,
    /// Our terms in that version.
    pub(super) requirements: Value,
    /// Whether its own payment was ever sent to `/settle`.
    pub(super) sent: bool,
    pub(super) created_at: DateTime<Utc>,
    /// Since when it stands as it does.
    pub(super) since: DateTime<Utc>,
}

/// Where a top-up stands for whoever works on it. A step is taken from there and from nowhere else,
/// so that one who comes back after its lease has ended writes over nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct At {
    pub(super) state: TopupState,
    pub(super) attempt: i32,
}

/// A payment that is there.
#[derive(Clone, Debug)]
pub(super) struct Paid {
    /// The transaction that it is in.
    pub(super) transaction: String,
    /// What the chain shows of it, where one is read.
    pub(super) evidence: Option<Evidence>,
}

impl Paid {
    /// Where the chain showed it, where one is read.
    pub(super) fn sighting(&self) -> Option<Sighting> {
        self.evidence.clone().and_then(|evidence| Sighting::of(&self.transaction, evidence))
    }
}

impl Case {
    pub(super) fn of(
        id: TopupId,
        account: BookId,
        checked: &Checked,
        created_at: DateTime<Utc>,
    ) -> Self {
        let identity = checked.payment.identity();
        let valid_before = i64::try_from(checked.matched.valid_before).unwrap_or(i64::MAX);
        let mut case = Self {
            id,
            account,
            version: checked.payment.version,
            network: checked.matched.network,
            asset: identity.asset,
            payer: identity.payer,
            nonce: identity.nonce,
            pay_to: checked.payment.authorization.to.lower(),
            amount: checked.matched.amount,
            valid_before: instant(valid_before),
            payload: checked.payment.payload.clone(),
            facilitator_url: String::new(),
            asked_version: checked.payment.version,
            requirements: checked.matched.requirements.clone(),
            sent: false,
            created_at,
            since: created_at,
        };
        if let Some(route) = checked.routes.first() {
            case.go_by(route, checked);
        }
        case
    }

    pub(super) fn expected(&self) -> Expected<'_> {
        Expected {
            network: self.network.caip2,
            network_v1: self.network.v1_name,
            payer: &self.payer,
        }
    }

    pub(super) fn on_chain(&self) -> ChainPayment<'_> {
        ChainPayment {
            asset: &self.asset,
            payer: &self.payer,
            nonce: &self.nonce,
            pay_to: &self.pay_to,
            amount: self.amount,
        }
    }

    /// Whether it moves the same money by the same time as the one of this nonce that was claimed.
    pub(super) fn is_as_claimed(&self, claimed: &Self) -> bool {
        (self.amount, &self.pay_to, self.valid_before)
            == (claimed.amount, &claimed.pay_to, claimed.valid_before)
    }

    /// Whether a moment is later than so long after the end of the authorization.
    pub(super) fn is_over(&self, at: DateTime<Utc>, by: TimeDelta) -> bool {
        self.valid_before.checked_add_signed(by).is_some_and(|end| at > end)
    }
}

/// Seconds since the epoch as a time; a buyer may name a second that no calendar has.
pub(super) fn instant(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(seconds, 0).unwrap_or(DateTime::<Utc>::MAX_UTC)
}
