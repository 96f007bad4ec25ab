use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::ground::{Amount, CheckoutId, CipherError, DisputeId};
use crate::ledger::SubmitError;
use crate::outbound::UrlFault;

use super::SchemaFault;
use super::delivery::EVIDENCE_BYTES_MAX;

/// Why a command of this floor was refused under the lock. Recorded with the command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum CheckoutRefusal {
    #[error("the quote was accepted before, with checkout {checkout_id}")]
    QuoteUsed { checkout_id: CheckoutId },
    #[error("the quote ran out at {expired_at}")]
    QuoteExpired { expired_at: DateTime<Utc> },
    #[error("a result with this id was submitted before")]
    ResultConflict,
    #[error("the item has {left} of {requested} units left to deliver")]
    ResultQuantityExceeded { requested: i64, left: i64 },
    #[error("the delivery deadline passed at {deadline}")]
    DeliveryDeadlinePassed { deadline: DateTime<Utc> },
    #[error("the item takes no more results: it was canceled or its time ran out")]
    ItemClosed,
    #[error("the result has been decided")]
    AlreadyDecided,
    #[error("the verification deadline passed at {deadline}; the hold is released")]
    VerificationDeadlinePassed { deadline: DateTime<Utc> },
    #[error("a verdict cannot accept {accepted} of {quantity} units")]
    AcceptedQuantityExceeded { accepted: i64, quantity: i64 },
    #[error("the item was sold under version {criteria_version} of its criteria")]
    CriteriaVersionMismatch { criteria_version: i32 },
    #[error("nothing of the checkout is left to cancel")]
    CheckoutNotCancelable,
    #[error("the dispute window ended at {final_at}{}", but_for(dispute_id.as_ref()))]
    ChargeFinal { final_at: DateTime<Utc>, dispute_id: Option<DisputeId> },
    #[error("nothing is left of the charge to reverse")]
    AlreadyReversed { amount: Amount },
    #[error("{amount} of the charge is under dispute {dispute_id}")]
    ChargeDisputed { dispute_id: DisputeId, amount: Amount },
    #[error("the charge was disputed {max} times, and that is enough")]
    TooManyDisputes { max: i64 },
    #[error("the dispute has been decided")]
    DisputeDecided,
    #[error(
        "the dispute was to be decided before {deadline}; the buyer is given back what it says"
    )]
    DisputeDeadlinePassed { deadline: DateTime<Utc> },
}

/// What can still go back of a charge whose dispute window is over.
fn but_for(dispute: Option<&DisputeId>) -> String {
    dispute.map_or_else(String::new, |dispute| {
        format!(
            "; what is disputed goes back by deciding {dispute}, and the operator may give the rest as a grant"
        )
    })
}

/// Why results were not taken: of several the first that could not be, and none was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedResult {
    #[serde(flatten)]
    pub why: CheckoutRefusal,
    /// Which one of the request, counted from 0.
    pub position: usize,
    pub result_id: String,
}

/// Why an order cannot be priced. The question is at fault, so that nothing is recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum OrderFault {
    #[error("no such SKU: {sku}")]
    SkuUnknown { sku: String },
    #[error("the SKU {sku} is not sold at present")]
    SkuInactive { sku: String },
    #[error("the checkout's total does not fit")]
    TotalOutOfRange,
    #[error("there is no such quote, or it ran out long ago")]
    QuoteUnknown,
    #[error("{max} quotes are open, and no more can be at a time")]
    QuotesOpen { max: i64, retry_after_s: i64 },
}

/// Why this floor could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum CheckoutError {
    #[error(transparent)]
    Order(#[from] OrderFault),
    #[error("there is no such SKU: {sku}")]
    SkuUnlisted { sku: String },
    #[error(transparent)]
    Criteria(#[from] SchemaFault),
    #[error("a check against criteria did not end")]
    Check(#[from] tokio::task::JoinError),
    #[error("there is no such checkout")]
    CheckoutUnknown,
    #[error("the checkout has no item {item}")]
    ItemUnknown { position: usize, item: i16 },
    #[error("two results have the id {result_id:?}")]
    ResultRepeated { position: usize, result_id: String },
    #[error("evidence has at most {EVIDENCE_BYTES_MAX} bytes, as JSON without spaces")]
    EvidenceTooLong { position: usize },
    #[error("the criteria of a SKU that is sold cannot be used")]
    ListedCriteria(#[source] SchemaFault),
    #[error("there is no such result")]
    ResultUnknown,
    #[error("there is no such charge")]
    ChargeUnknown,
    #[error("there is no such dispute")]
    DisputeUnknown,
    #[error("there is no such reversal of the charge")]
    ReversalUnknown,
    #[error("there is no receipt before the result is decided")]
    ReceiptNotYet,
    #[error("there is no such verifier")]
    VerifierUnknown,
    #[error("the verifier's URL cannot be called: {0}")]
    VerifierUrl(#[from] UrlFault),
    #[error("no key is configured that secrets could be kept with")]
    NoCipher,
    #[error("a verifier's secret cannot be read")]
    Secret(#[from] CipherError),
    #[error("this key does not serve the SKU {sku}")]
    SkuNotServed { sku: String },
    #[error("the ledger did not take the command")]
    Ledger(#[from] SubmitError),
    #[error("the database did not answer")]
    Database(#[from] sqlx::Error),
}
