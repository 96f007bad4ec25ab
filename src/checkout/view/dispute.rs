use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::checkout::annex::{DecidedDispute, NewDispute};
use crate::checkout::store::ChargeTarget;
use crate::checkout::store::disputes::KnownDispute;
use crate::ground::{Amount, ChargeId, CheckoutId, DisputeId, ReversalId};

/// Where a dispute stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DisputeState {
    /// It waits for a decision.
    Open,
    /// What was disputed was given back.
    Upheld,
    /// The charge stands.
    Denied,
}

impl DisputeState {
    /// The state of that name in the table `dispute`.
    pub(super) fn from_name(name: &str) -> Option<Self> {
        match name {
            "open" => Some(Self::Open),
            "upheld" => Some(Self::Upheld),
            "denied" => Some(Self::Denied),
            _ => None,
        }
    }
}

/// A buyer's objection to a charge.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct DisputeView {
    pub dispute_id: DisputeId,
    pub charge_id: ChargeId,
    pub checkout_id: CheckoutId,
    pub result_id: String,
    pub sku: String,
    /// How much of the charge is disputed.
    pub amount: Amount,
    pub reason: String,
    pub status: DisputeState,
    pub disputed_at: DateTime<Utc>,
    /// From then on an open dispute is upheld.
    pub decide_by: DateTime<Utc>,
    pub decided_at: Option<DateTime<Utc>>,
    /// Why it was decided so; `decision_timeout` when nobody decided it in time.
    pub decision_reason: Option<String>,
    /// What was given back, when it was upheld.
    pub reversal_id: Option<ReversalId>,
}

impl DisputeView {
    pub(in crate::checkout) fn begun(new: &NewDispute, of: &ChargeTarget) -> Self {
        Self {
            dispute_id: new.id,
            charge_id: new.charge,
            checkout_id: of.checkout,
            result_id: of.result_id.clone(),
            sku: of.sku.clone(),
            amount: new.amount,
            reason: new.reason.clone(),
            status: DisputeState::Open,
            disputed_at: new.at,
            decide_by: new.decide_by,
            decided_at: None,
            decision_reason: None,
            reversal_id: None,
        }
    }

    pub(in crate::checkout) fn open(known: &KnownDispute) -> Self {
        Self {
            dispute_id: known.id,
            charge_id: known.charge,
            checkout_id: known.checkout,
            result_id: known.result_id.clone(),
            sku: known.sku.clone(),
            amount: known.amount,
            reason: known.reason.clone(),
            status: DisputeState::Open,
            disputed_at: known.disputed_at,
            decide_by: known.decide_by,
            decided_at: None,
            decision_reason: None,
            reversal_id: None,
        }
    }

    pub(in crate::checkout) fn decided(mut self, how: &DecidedDispute) -> Self {
        self.status = if how.upheld { DisputeState::Upheld } else { DisputeState::Denied };
        self.decided_at = Some(how.at);
        self.decision_reason = Some(how.reason.clone());
        self
    }
}
