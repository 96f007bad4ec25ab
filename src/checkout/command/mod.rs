//! The commands of this floor: what each wants to see under the lock, and what it does then.

mod close;
mod dispute;
mod judge;
mod open;
mod quote;
mod reverse;
mod submit;

use serde::{Deserialize, Serialize};

use crate::checkout::CheckoutError;
use crate::ground::{Amount, KeyId};

pub use dispute::{DecideDispute, Dispute};
pub use judge::{Judge, Target};
pub use open::OpenCheckout;
pub use quote::{AcceptQuote, Acceptance, Quote};
pub use reverse::Reverse;
pub use submit::SubmitResults;

pub(super) use close::{Cancel, DeliveryDeadline};
pub(super) use dispute::DisputeDeadline;
pub(super) use judge::VerificationDeadline;

/// Whoever delivers, judges or reverses, and the SKUs it serves (none means all).
#[derive(Clone, Debug)]
pub struct Staff {
    pub key: KeyId,
    pub skus: Option<Vec<String>>,
}

impl Staff {
    /// Refuses whoever does not serve the SKU.
    pub(in crate::checkout) fn check_serves(&self, sku: &str) -> Result<(), CheckoutError> {
        if self.skus.as_ref().is_none_or(|skus| skus.iter().any(|s| s == sku)) {
            return Ok(());
        }
        Err(CheckoutError::SkuNotServed { sku: sku.to_owned() })
    }
}

/// What a buyer wants.
#[derive(Clone, Debug)]
pub struct Order {
    /// The key that buys.
    pub spender: KeyId,
    pub lines: Vec<OrderLine>,
    pub max_total: Amount,
}

/// One item of an order.
#[derive(Clone, Debug)]
pub struct OrderLine {
    pub sku: String,
    pub quantity: i64,
}

/// What a fulfiller delivers.
#[derive(Clone, Debug)]
pub struct ResultSubmission {
    pub result_id: String,
    pub item: i16,
    pub quantity: i64,
    pub evidence: serde_json::Value,
}

/// One check of a verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Check {
    pub name: String,
    pub passed: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// What a verifier says. A verdict is data.
#[derive(Clone, Debug)]
pub struct Verdict {
    pub by: Staff,
    /// The version of the criteria that it judged by, if it says so.
    pub criteria_version: Option<i32>,
    /// Units accepted: zero rejects the result, and None means all that was delivered.
    pub accepted: Option<i64>,
    pub reason: Option<String>,
    pub checks: Vec<Check>,
}

/// A verdict as it is recorded, whichever way it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ruling {
    /// The key that posted it, or the verifier that was called.
    pub(in crate::checkout) verifier: String,
    /// What the verifier that was called says it is.
    pub(in crate::checkout) name: Option<String>,
    /// The version of the criteria that it judged by, if it says so.
    pub(in crate::checkout) criteria_version: Option<i32>,
    pub(in crate::checkout) accepted: i64,
    pub(in crate::checkout) reason: Option<String>,
    pub(in crate::checkout) checks: Vec<Check>,
}

impl Verdict {
    /// The same about a result that delivers so many units.
    pub(in crate::checkout) fn about(self, quantity: i64) -> Ruling {
        let Self { by, criteria_version, accepted, reason, checks } = self;
        let (verifier, accepted) = (by.key.to_string(), accepted.unwrap_or(quantity));
        Ruling { verifier, name: None, criteria_version, accepted, reason, checks }
    }
}

/// What is to be given back of a charge.
#[derive(Clone, Debug)]
pub struct ReversalRequest {
    pub by: Staff,
    /// None means all that is left.
    pub amount: Option<Amount>,
    pub reason: String,
}

/// What a buyer objects to.
#[derive(Clone, Debug)]
pub struct DisputeRequest {
    /// The buyer's key.
    pub by: KeyId,
    /// None means all that is left.
    pub amount: Option<Amount>,
    pub reason: String,
}

/// How a dispute is decided.
#[derive(Clone, Debug)]
pub struct DisputeDecision {
    pub by: Staff,
    pub upheld: bool,
    pub reason: String,
}
