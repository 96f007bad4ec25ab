//! What follows from what the chain shows of a payment whose outcome is open. Pure.

use chrono::{DateTime, Utc};

use crate::x402::chain::{Finding, Sight};

use super::case::{Case, Paid};
use super::settings::Resolving;

/// What is to be done about a top-up.
#[derive(Clone, Debug)]
pub(super) enum Verdict {
    /// The payment is there.
    Paid(Paid),
    /// Nothing was paid by it, and nothing can be any more.
    Void(&'static str),
    /// It may still be settled: the facilitator is asked again.
    Ask,
    /// Nothing, for now.
    Wait(&'static str),
    /// The chain does not tell, and nobody else will.
    Park(&'static str),
}

/// Decides from the chain. Its own time says whether an authorization is over, because that is what
/// the token goes by.
pub(super) fn judge(
    sight: &Sight,
    case: &Case,
    now: DateTime<Utc>,
    resolving: &Resolving,
) -> Verdict {
    let head = sight.head;
    // For good: too deep to be undone, or undone too late to be used otherwise.
    let stays = |block: u64| {
        head.number.saturating_sub(block) >= resolving.confirmations
            || case.is_over(head.time, resolving.margin)
    };
    match &sight.finding {
        Finding::Paid { transaction, evidence } => Verdict::Paid(Paid {
            transaction: transaction.clone(),
            evidence: Some(evidence.clone()),
        }),
        Finding::Elsewhere { block, .. } if stays(*block) => {
            Verdict::Void("authorization_used_elsewhere")
        }
        Finding::Canceled { block, .. } if stays(*block) => Verdict::Void("authorization_canceled"),
        Finding::Elsewhere { .. } | Finding::Canceled { .. } => {
            Verdict::Wait("too_few_confirmations")
        }
        Finding::Unused if case.is_over(head.time, resolving.margin) => {
            Verdict::Void("authorization_expired")
        }
        Finding::Unused if head.time >= case.valid_before => {
            Verdict::Wait("authorization_expiring")
        }
        Finding::Unused => Verdict::Ask,
        Finding::Lost if case.is_over(now, resolving.park_after) => Verdict::Park("use_not_found"),
        Finding::Lost => Verdict::Wait("use_not_found"),
    }
}
