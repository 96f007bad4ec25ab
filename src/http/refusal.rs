//! Stored refusals as problems. What they carry becomes members beside the code.

use std::ops::RangeInclusive;

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::json;

use crate::accounts::{GrantDate, GrantRefusal};
use crate::checkout::{CheckoutRefusal, RefusedResult};
use crate::ground::{Amount, DisputeId};
use crate::http::state::AppState;
use crate::http::{Code, Next, Problem};
use crate::ledger::{CapScope, CapViolation, Refusal};

/// One cent: nobody is told to top up by less.
const CENT: i64 = 10_000;

/// The problem of a refusal as it is stored; `None` when no floor wrote it.
pub fn problem(stored: &str, state: &AppState) -> Option<Problem> {
    let of_ledger = serde_json::from_str(stored).map(|refusal| ledger(&refusal, state));
    let of_result = of_ledger.or_else(|_| serde_json::from_str(stored).map(|r| result(&r)));
    let of_grant = of_result.or_else(|_| serde_json::from_str(stored).map(|r| grant(&r)));
    of_grant.or_else(|_| serde_json::from_str(stored).map(|r| checkout(&r))).ok()
}

/// The problem of a refusal of the ledger.
pub fn ledger(refusal: &Refusal, state: &AppState) -> Problem {
    let say = |code| Problem::new(code).detail(refusal.to_string());
    match refusal {
        Refusal::AccountFrozen => say(Code::AccountFrozen),
        Refusal::KeyRevoked => say(Code::KeyRevoked),
        Refusal::KeyExpired => say(Code::KeyExpired),
        Refusal::SkuNotAllowed { skus } => say(Code::SkuNotAllowed).with("skus", json!(skus)),
        Refusal::InsufficientCredits { required, available, shortfall } => {
            let topup_url = state.url("/api/v1/credits/topup");
            say(Code::InsufficientCredits)
                .with("required", required.to_string())
                .with("available", available.to_string())
                .with("shortfall", shortfall.to_string())
                .with(
                    "suggested_topup",
                    suggest(*shortfall, state.topups.settings().amounts()).to_string(),
                )
                .with("topup_url", topup_url.as_str())
                .next_url(topup_url)
        }
        Refusal::CapExceeded { violations } => caps(violations, &refusal.to_string()),
        Refusal::ReversalExceedsCharge { requested, left } => say(Code::ReversalExceedsCharge)
            .with("requested", requested.to_string())
            .with("left", left.to_string()),
    }
}

/// Names every cap. When only the request's own `max_total` is in the way, that is its own code:
/// the caller can raise it by itself.
fn caps(violations: &[CapViolation], detail: &str) -> Problem {
    let own = violations.iter().all(|violation| violation.scope == CapScope::Request);
    let code = if own { Code::MaxTotalExceeded } else { Code::CapExceeded };
    let problem = Problem::new(code).detail(detail);
    violations.iter().fold(problem, |problem, violation| problem.violation(json!(violation)))
}

/// What to top up: the shortfall in whole cents, and what a top-up may be. A shortfall beyond the most
/// takes several.
pub fn suggest(shortfall: Amount, amounts: RangeInclusive<Amount>) -> Amount {
    let cents = shortfall.micros().checked_add(CENT - 1).map(|micros| micros / CENT);
    let rounded = cents.and_then(|cents| cents.checked_mul(CENT)).and_then(Amount::from_micros);
    rounded.unwrap_or(shortfall).max(*amounts.start()).min(*amounts.end())
}

/// The problem of the result that stood in the way of all of its request.
fn result(refused: &RefusedResult) -> Problem {
    let member = match refused.why {
        CheckoutRefusal::ResultConflict => "result_id",
        CheckoutRefusal::ResultQuantityExceeded { .. } => "quantity",
        _ => "item",
    };
    let field = format!("results[{}].{member}", refused.position);
    checkout(&refused.why).field(field).with("result_id", refused.result_id.as_str())
}

fn grant(refusal: &GrantRefusal) -> Problem {
    let say = |code| Problem::new(code).detail(refusal.to_string());
    match refusal {
        GrantRefusal::TooManyGrantsWaiting { max } => {
            say(Code::TooManyGrantsWaiting).with("max", *max)
        }
        GrantRefusal::GrantTooLarge { max } => {
            say(Code::ValidationFailed).field("amount").with("max", max.to_string())
        }
        GrantRefusal::GrantDateTooLate { date } => say(Code::ValidationFailed).field(match date {
            GrantDate::EffectiveAt => "effective_at",
            GrantDate::ExpiresAt => "expires_at",
        }),
        GrantRefusal::GrantCredited { lot_id } => {
            say(Code::GrantCredited).with("lot_id", lot_id.to_string())
        }
        GrantRefusal::GrantExpiresTooSoon { effective_at } => say(Code::ValidationFailed)
            .field("expires_at")
            .with("effective_at", instant(effective_at)),
    }
}

fn checkout(refusal: &CheckoutRefusal) -> Problem {
    let say = |code| Problem::new(code).detail(refusal.to_string());
    match refusal {
        CheckoutRefusal::QuoteUsed { checkout_id } => {
            say(Code::QuoteUsed).field("quote_id").with("checkout_id", checkout_id.to_string())
        }
        CheckoutRefusal::QuoteExpired { expired_at } => {
            say(Code::QuoteExpired).field("quote_id").with("expired_at", instant(expired_at))
        }
        CheckoutRefusal::ResultConflict => say(Code::ResultConflict).field("result_id"),
        CheckoutRefusal::ResultQuantityExceeded { requested, left } => {
            say(Code::ResultQuantityExceeded)
                .field("quantity")
                .with("requested", *requested)
                .with("left", *left)
        }
        CheckoutRefusal::DeliveryDeadlinePassed { deadline } => {
            say(Code::DeliveryDeadlinePassed).with("deadline", instant(deadline))
        }
        CheckoutRefusal::ItemClosed => say(Code::ItemClosed),
        CheckoutRefusal::AlreadyDecided => say(Code::AlreadyDecided),
        CheckoutRefusal::VerificationDeadlinePassed { deadline } => {
            say(Code::VerificationDeadlinePassed).with("deadline", instant(deadline))
        }
        CheckoutRefusal::AcceptedQuantityExceeded { accepted, quantity } => {
            say(Code::AcceptedQuantityExceeded)
                .field("accepted_quantity")
                .with("accepted", *accepted)
                .with("quantity", *quantity)
        }
        CheckoutRefusal::CriteriaVersionMismatch { criteria_version } => {
            say(Code::CriteriaVersionMismatch)
                .field("criteria_version")
                .with("criteria_version", *criteria_version)
        }
        CheckoutRefusal::CheckoutNotCancelable => say(Code::CheckoutNotCancelable),
        CheckoutRefusal::ChargeFinal { final_at, dispute_id } => {
            let problem = say(Code::ChargeFinal).with("final_at", instant(final_at));
            match dispute_id {
                // Only whoever may decide it asks for more while it is open.
                Some(open) => problem.with("dispute_id", open.to_string()).next(decide(*open)),
                None => problem,
            }
        }
        CheckoutRefusal::AlreadyReversed { amount } => {
            say(Code::AlreadyReversed).with("amount", amount.to_string())
        }
        CheckoutRefusal::ChargeDisputed { dispute_id, amount } => say(Code::ChargeDisputed)
            .with("dispute_id", dispute_id.to_string())
            .with("amount", amount.to_string()),
        CheckoutRefusal::TooManyDisputes { max } => say(Code::TooManyDisputes).with("max", *max),
        CheckoutRefusal::DisputeDecided => say(Code::DisputeDecided),
        CheckoutRefusal::DisputeDeadlinePassed { deadline } => {
            say(Code::DisputeDeadlinePassed).with("deadline", instant(deadline))
        }
    }
}

fn decide(dispute: DisputeId) -> Next {
    Next {
        action: "decide_dispute".to_owned(),
        url: Some(format!("/api/v1/disputes/{dispute}/decision")),
        detail: "POST the decision to url; it gives back what it upholds.".to_owned(),
    }
}

fn instant(at: &DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dollars(text: &str) -> Amount {
        text.parse().unwrap()
    }

    #[test]
    fn a_suggestion_covers_the_shortfall() {
        let amounts = || dollars("0.01")..=dollars("1000");
        let suggested = |shortfall| suggest(dollars(shortfall), amounts()).to_string();
        assert_eq!(suggested("0.000001"), "0.01");
        assert_eq!(suggested("2.50"), "2.50");
        assert_eq!(suggested("2.500001"), "2.51");
        assert_eq!(suggest(dollars("0.02"), dollars("1")..=dollars("2")).to_string(), "1.00");
        assert_eq!(suggested("1000.000001"), "1000.00");
        assert_eq!(suggest(Amount::MAX, amounts()), dollars("1000"));
    }

    #[test]
    fn only_the_callers_own_bound_has_its_own_code() {
        let violation = |scope| CapViolation {
            scope,
            span: crate::ledger::Span::Checkout,
            limit: dollars("1"),
            used: Amount::ZERO,
            requested: dollars("2"),
        };
        let own = caps(&[violation(CapScope::Request)], "");
        assert_eq!(own.code(), Code::MaxTotalExceeded);
        let both = caps(&[violation(CapScope::Request), violation(CapScope::Key)], "");
        assert_eq!(both.code(), Code::CapExceeded);
        assert_eq!(both.to_value()["violations"].as_array().unwrap().len(), 2);
    }
}
