//! The checks that can fail: everything that is stored twice, compared. A trial balance over
//! transfers is zero by their shape and would prove nothing.

mod report;

use sqlx::PgPool;

use super::store::checks::{books, caps, checkouts, holds, journal, lots, snapshots, topups};
use super::{FinanceError, store};

pub use report::{Check, CheckReport, Violation};

use report::Unit::{Count, Money};

/// Runs every check in one snapshot.
pub(super) async fn run(pool: &PgPool) -> Result<CheckReport, FinanceError> {
    let mut snapshot = store::snapshot(pool).await?;
    let tx = &mut *snapshot;
    let as_of = store::as_of(tx).await?;
    let checks = vec![
        Check::of(
            "balances_match_transfers",
            "The balance of every role of every book is the sum of its transfers.",
            Money,
            books::balances(tx).await?,
        ),
        Check::of(
            "trial_balance",
            "Debit and credit balances of every book add up to the same.",
            Money,
            books::trial_balance(tx).await?,
        ),
        Check::of(
            "versions_gap_free",
            "Transfers are numbered without gaps, and the book's version counts them.",
            Count,
            books::versions(tx).await?,
        ),
        Check::of(
            "events_gap_free",
            "Outbox events are numbered without gaps, and the book's counter counts them.",
            Count,
            books::events(tx).await?,
        ),
        Check::of(
            "running_balances",
            "The balances after each transfer follow from the transfers up to it.",
            Money,
            journal::running_balances(tx).await?,
        ),
        Check::of(
            "snapshots_match_transfers",
            "Every book has a snapshot at every 256th transfer, and it is the sum up to there.",
            Money,
            snapshots::transfers(tx).await?,
        ),
        Check::of(
            "recorded_in_order",
            "Recorded times never go back within a book.",
            Count,
            journal::recorded_times(tx).await?,
        ),
        Check::of(
            "transactions_whole",
            "A transaction lies in one book, is of one movement and was recorded at one time.",
            Count,
            journal::transactions(tx).await?,
        ),
        Check::of(
            "reverses_exist",
            "What a transaction undoes exists, came before it, and can be undone by it.",
            Count,
            journal::reverses(tx).await?,
        ),
        Check::of(
            "lots_match_balances",
            "What is left of paid lots is `prepaid`, and of promotional lots `promo`.",
            Money,
            lots::balances(tx).await?,
        ),
        Check::of(
            "lots_match_transfers",
            "The amount and the rest of every lot are explained by its transfers.",
            Money,
            lots::transfers(tx).await?,
        ),
        Check::of(
            "lots_keep_kind",
            "Paid lots move paid credits only, and promotional lots promotional ones.",
            Count,
            lots::kinds(tx).await?,
        ),
        Check::of(
            "holds_match_balances",
            "What is open of holds is `held` and `promo_held`, by the lots they drew from.",
            Money,
            holds::balances(tx).await?,
        ),
        Check::of(
            "holds_match_transfers",
            "The amount and the released part of every hold are the sums of its transfers.",
            Money,
            holds::transfers(tx).await?,
        ),
        Check::of(
            "draws_match_transfers",
            "Every hold drew from its lots what its transfers say.",
            Money,
            holds::draws(tx).await?,
        ),
        Check::of(
            "holds_match_captures",
            "What is captured and reversed of a hold is the sum of its captures, end to end.",
            Money,
            holds::captures(tx).await?,
        ),
        Check::of(
            "captures_match_transfers",
            "The amount and the reversed part of every capture are the sums of its transfers.",
            Money,
            holds::capture_transfers(tx).await?,
        ),
        Check::of(
            "topups_match_settled",
            "Every customer's credited top-ups add up to its `settled_usdc`.",
            Money,
            topups::settled(tx).await?,
        ),
        Check::of(
            "topups_match_transfers",
            "Every credited top-up was booked once with its amount, and no other was booked.",
            Money,
            topups::transfers(tx).await?,
        ),
        Check::of(
            "sandbox_matches_topups",
            "What the sandbox moved in a transaction is what was credited for it.",
            Money,
            topups::sandbox(tx).await?,
        ),
        Check::of(
            "charges_match_revenue",
            "Charges less reversals are net revenue and what promotional credits paid.",
            Money,
            checkouts::revenue(tx).await?,
        ),
        Check::of(
            "charges_match_captures",
            "Every charge is a capture, at units times price.",
            Money,
            checkouts::charges(tx).await?,
        ),
        Check::of(
            "reversals_match_charges",
            "What is reversed of a charge is the sum of its reversals, and each was booked.",
            Money,
            checkouts::reversals(tx).await?,
        ),
        Check::of(
            "results_match_charges",
            "Captured results have one charge for their accepted units, and others have none.",
            Count,
            checkouts::results(tx).await?,
        ),
        Check::of(
            "items_match_results",
            "The units of every item are those of its results, and of its closing.",
            Count,
            checkouts::items(tx).await?,
        ),
        Check::of(
            "items_match_holds",
            "Every hold is an item's, and its parts are the prices of the item's units.",
            Money,
            checkouts::prices(tx).await?,
        ),
        Check::of(
            "checkouts_match_items",
            "Every checkout's total is the price of its items.",
            Money,
            checkouts::totals(tx).await?,
        ),
        Check::of(
            "cap_usage",
            "What caps have counted is what holds have not given back, in their UTC windows.",
            Money,
            caps::usage(tx).await?,
        ),
    ];
    snapshot.rollback().await?;
    Ok(CheckReport { as_of, checks })
}
