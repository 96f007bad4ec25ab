//! What is read of checkouts: views, lists, and whose something is.

use crate::ground::{BookId, ChargeId, CheckoutId, DisputeId};

use super::{
    ChargeView, CheckoutError, CheckoutSummary, CheckoutView, Checkouts, DisputeView, ResultView,
    Staff, WaitingPlace, WaitingResultView, store, view,
};

/// How many results are looked through for one page of those about some SKUs.
const SEARCH_MAX: i64 = 1000;

impl Checkouts {
    /// The disputes that wait for a decision by somebody, oldest first: at most `limit` after the given
    /// one.
    pub async fn open_disputes(
        &self,
        by: &Staff,
        after: Option<DisputeId>,
        limit: i64,
    ) -> Result<Vec<DisputeView>, CheckoutError> {
        let known = match by.skus.as_deref() {
            Some(skus) => store::disputes::open_about(&self.pool, skus, after, limit).await?,
            None => store::disputes::open(&self.pool, after, limit).await?,
        };
        Ok(known.iter().map(DisputeView::open).collect())
    }

    /// The results that wait for a verdict by somebody, by deadline: at most `limit` after the given
    /// place, and where to read on when only so many were looked through.
    pub async fn waiting_results(
        &self,
        by: &Staff,
        after: Option<WaitingPlace>,
        limit: i64,
    ) -> Result<(Vec<WaitingResultView>, Option<WaitingPlace>), CheckoutError> {
        let skus = by.skus.as_deref();
        // What is past its deadline takes no verdict, swept or not.
        let now = WaitingPlace::first_at(self.clock.now());
        let after = after.filter(|after| after.verify_by >= now.verify_by).unwrap_or(now);
        // Where nothing is passed over, no more is looked through than is shown.
        let count = if skus.is_some() { SEARCH_MAX } else { limit };
        // In one snapshot, so that the page ends where the next one begins.
        let mut tx = store::snapshot(&self.pool).await?;
        let upto = store::waiting::end_of(&mut tx, &after, count).await?;
        let found = store::waiting::results(&mut tx, skus, &after, count, limit).await?;
        Ok((found, upto))
    }

    /// A checkout of an account, with its items and its first results.
    pub async fn view(
        &self,
        account: BookId,
        checkout: CheckoutId,
    ) -> Result<CheckoutView, CheckoutError> {
        view::checkout(&self.pool, account, checkout).await?.ok_or(CheckoutError::CheckoutUnknown)
    }

    /// The results of a checkout of an account, by their ids: at most `limit` after the given one.
    pub async fn results(
        &self,
        account: BookId,
        checkout: CheckoutId,
        after: &str,
        limit: i64,
    ) -> Result<Vec<ResultView>, CheckoutError> {
        let found = view::results(&self.pool, account, checkout, after, limit).await?;
        // Only a page without results may be one of somebody else's checkout, or of none.
        if found.is_empty() && self.account_of(checkout).await? != account {
            return Err(CheckoutError::CheckoutUnknown);
        }
        Ok(found)
    }

    /// One result of a checkout of an account.
    pub async fn result(
        &self,
        account: BookId,
        checkout: CheckoutId,
        result_id: &str,
    ) -> Result<ResultView, CheckoutError> {
        let found = view::result(&self.pool, account, checkout, result_id).await?;
        found.ok_or(CheckoutError::ResultUnknown)
    }

    /// An account's checkouts, newest first, older than `before`.
    pub async fn list(
        &self,
        account: BookId,
        before: Option<CheckoutId>,
        limit: i64,
    ) -> Result<Vec<CheckoutSummary>, CheckoutError> {
        Ok(store::list(&self.pool, account, before, limit).await?)
    }

    /// An account's charges, newest first, older than `before`.
    pub async fn charges(
        &self,
        account: BookId,
        before: Option<ChargeId>,
        limit: i64,
    ) -> Result<Vec<ChargeView>, CheckoutError> {
        Ok(view::charges(&self.pool, account, before, limit, self.clock.now()).await?)
    }

    /// One charge of an account, with lots, evidence and verdict.
    pub async fn charge(
        &self,
        account: BookId,
        charge: ChargeId,
    ) -> Result<ChargeView, CheckoutError> {
        let view = view::charge(&self.pool, account, charge, self.clock.now()).await?;
        view.ok_or(CheckoutError::ChargeUnknown)
    }

    /// The account of a charge.
    pub async fn account_of_charge(&self, charge: ChargeId) -> Result<BookId, CheckoutError> {
        let known = store::charge_target(&self.pool, charge).await?;
        known.map(|known| known.account).ok_or(CheckoutError::ChargeUnknown)
    }

    /// The account of a checkout.
    pub async fn account_of(&self, checkout: CheckoutId) -> Result<BookId, CheckoutError> {
        let account = store::account_of(&self.pool, checkout).await?;
        account.ok_or(CheckoutError::CheckoutUnknown)
    }
}
