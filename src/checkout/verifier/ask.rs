use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::checkout::Criteria;
use crate::checkout::command::Ruling;
use crate::checkout::store::verification::Claimed;
use crate::ground::{Amount, CheckoutId, Entropy, sha256};
use crate::outbound::{Backoff, later};

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
            quantity: asked.known.quantity,
            evidence: &asked.evidence,
            evidence_sha256: hex::encode(&asked.evidence_hash),
            criteria: &asked.criteria,
            criteria_version: asked.known.sku_version,
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
    /// Whether the verifier is away or overloaded. Whatever else it answers proves that it is up.
    pub(super) failed: bool,
}

/// When to ask again after so many calls, if there is time left for it. Pauses double, but never skip
/// more than half of what is left: a verifier that comes back is asked again before the deadline.
pub(super) fn again_at(
    first: Duration,
    at: DateTime<Utc>,
    verify_by: DateTime<Utc>,
    calls: i32,
    entropy: &dyn Entropy,
) -> Option<DateTime<Utc>> {
    let pauses = Backoff { first, factor: 2, most: PAUSE_MAX };
    let left = verify_by.signed_duration_since(at).to_std().unwrap_or_default();
    let latest = later(at, first.max(left / 2));
    Some(pauses.again_at(at, calls, entropy).min(latest)).filter(|again| *again < verify_by)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ground::SeededEntropy;

    #[test]
    fn pauses_leave_time_before_the_deadline() {
        let entropy = SeededEntropy::new(1);
        let begun = DateTime::UNIX_EPOCH;
        let after = |seconds| later(begun, Duration::from_secs(seconds));
        let (first, verify_by) = (Duration::from_secs(2), after(3600));
        let again = |at, calls| again_at(first, at, verify_by, calls, &entropy);
        let one = again(begun, 1).unwrap();
        assert!((after(1)..after(3)).contains(&one), "{one}");
        // Doubled eleven times, it would be long after the deadline.
        assert_eq!(again(begun, 12), Some(after(1800)));
        assert_eq!(again(after(3596), 12), Some(after(3598)));
        assert_eq!(again(after(3598), 12), None, "nobody answers in no time");
        assert_eq!(again(after(3700), 12), None);
    }
}
