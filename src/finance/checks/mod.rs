//! The checks that can fail: everything that is stored twice, compared, all in one snapshot. A trial
//! balance over transfers is zero by their shape and would prove nothing.

mod report;
mod rule;

use sqlx::PgPool;

use super::store::checks::{
    books, caps, checkouts, disputes, events, grants, holds, journal, lots, orders, snapshots,
    topups,
};
use super::{FinanceError, store};

pub use report::{Check, CheckReport, Violation};
pub use rule::Rule;

/// Runs every check in one snapshot.
pub(super) async fn run(pool: &PgPool) -> Result<CheckReport, FinanceError> {
    let mut snapshot = store::snapshot(pool).await?;
    let tx = &mut *snapshot;
    let as_of = store::as_of(tx).await?;
    let checks = vec![
        Check::of(Rule::BalancesMatchTransfers, books::balances(tx).await?),
        Check::of(Rule::TrialBalance, books::trial_balance(tx).await?),
        Check::of(Rule::VersionsGapFree, books::versions(tx).await?),
        Check::of(Rule::EventsGapFree, books::events(tx).await?),
        Check::of(Rule::EventsMatchActs, events::acts(tx).await?),
        Check::of(Rule::RunningBalances, journal::running_balances(tx).await?),
        Check::of(Rule::SnapshotsMatchTransfers, snapshots::transfers(tx).await?),
        Check::of(Rule::RecordedInOrder, journal::recorded_times(tx).await?),
        Check::of(Rule::TransactionsWhole, journal::transactions(tx).await?),
        Check::of(Rule::ReversesExist, journal::reverses(tx).await?),
        Check::of(Rule::LotsMatchBalances, lots::balances(tx).await?),
        Check::of(Rule::LotsMatchTransfers, lots::transfers(tx).await?),
        Check::of(Rule::LotsKeepKind, lots::kinds(tx).await?),
        Check::of(Rule::HoldsMatchBalances, holds::balances(tx).await?),
        Check::of(Rule::HoldsMatchTransfers, holds::transfers(tx).await?),
        Check::of(Rule::DrawsMatchTransfers, holds::draws(tx).await?),
        Check::of(Rule::HoldsMatchCaptures, holds::captures(tx).await?),
        Check::of(Rule::CapturesMatchTransfers, holds::capture_transfers(tx).await?),
        Check::of(Rule::TopupsMatchSettled, topups::settled(tx).await?),
        Check::of(Rule::TopupsMatchTransfers, topups::transfers(tx).await?),
        Check::of(Rule::GrantsMatchTransfers, grants::transfers(tx).await?),
        Check::of(Rule::LossesMatchLots, lots::losses(tx).await?),
        Check::of(Rule::SandboxMatchesTopups, topups::sandbox(tx).await?),
        Check::of(Rule::ChargesMatchRevenue, checkouts::revenue(tx).await?),
        Check::of(Rule::ChargesMatchCaptures, checkouts::charges(tx).await?),
        Check::of(Rule::ReversalsMatchCharges, checkouts::reversals(tx).await?),
        Check::of(Rule::DisputesMatchReversals, disputes::reversals(tx).await?),
        Check::of(Rule::ResultsMatchCharges, checkouts::results(tx).await?),
        Check::of(Rule::VerificationsMatchResults, orders::verifications(tx).await?),
        Check::of(Rule::ItemsMatchResults, checkouts::items(tx).await?),
        Check::of(Rule::ItemsMatchHolds, checkouts::prices(tx).await?),
        Check::of(Rule::ItemsMatchCatalog, checkouts::catalog(tx).await?),
        Check::of(Rule::CheckoutsMatchItems, checkouts::totals(tx).await?),
        Check::of(Rule::QuotesMatchCheckouts, orders::quotes(tx).await?),
        Check::of(Rule::CapUsage, caps::usage(tx).await?),
    ];
    snapshot.rollback().await?;
    Ok(CheckReport { as_of, checks })
}
