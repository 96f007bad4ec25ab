use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::checkout::Criteria;
use crate::checkout::command::Ruling;
use crate::checkout::store::verification::Claimed;
use crate::ground::{Amount, CheckoutId, sha256};
use crate::outbound::Backoff;

/// The longest pause between two calls about one result.
const PAUSE_MAX: Duration = Duration::from_secs(3600);

/// What a verifier is asked: a result, and all that there is to judge it by. Whose it is is not said.
#[derive(Serialize)]
pub(super) struct Question<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    checkout_id: CheckoutId,
    result_id: &'a str,
    line: Line<'a>,
    quantity: i64,
    evidence: &'a serde_json::Value,
    evidence_sha256: String,
    criteria: &'a Criteria,
    criteria_version: i32,
    submitted_at: DateTime<Utc>,
    verify_by: DateTime<Utc>,
}

/// The line of the order that the result is for.
#[derive(Serialize)]
struct Line<'a> {
    item: i16,
    sku: &'a str,
    unit: &'a str,
    unit_price: Amount,
}

impl<'a> Question<'a> {
    pub(super) fn about(asked: &'a Claimed) -> Self {
        Self {
            kind: "verification.request",
            checkout_id: asked.checkout,
            result_id: &asked.result_id,
            line: Line {
                item: asked.known.item,
                sku: &asked.known.sku,
                unit: &asked.unit,
                unit_price: asked.unit_price,
            },
            quantity: asked.quantity,
            evidence: &asked.evidence,
            evidence_sha256: hex::encode(&asked.evidence_hash),
            criteria: &asked.criteria,
            criteria_version: asked.sku_version,
            submitted_at: asked.submitted_at,
            verify_by: asked.verify_by,
        }
    }
}

/// The id of the question, the same each time it is asked: it signs, and a verifier knows by it what
/// it has judged before.
pub(super) fn message_id(asked: &Claimed) -> String {
    let hash = sha256([asked.checkout.0.as_bytes().as_slice(), asked.result_id.as_bytes()]);
    format!("vfy_{}", hex::encode(hash))
}

/// What a call brought: a verdict, or why there is none.
pub(super) struct Heard {
    pub(super) status: Option<i16>,
    pub(super) ruling: Result<Ruling, String>,
}

/// How the pauses between calls about one result grow.
pub(super) const fn pauses(first: Duration) -> Backoff {
    Backoff { first, factor: 2, most: PAUSE_MAX }
}
