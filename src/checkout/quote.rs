//! Quotes: what an order would cost, and what is in its way. Pure.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::ground::{Amount, BookId, CheckoutId, QuoteId};
use crate::ledger::{CapScope, CapUse, Refusal, Span};

use super::CheckoutRefusal;

/// How long the prices of a quote hold, unless the operator says otherwise.
pub(super) const LIFE: TimeDelta = TimeDelta::minutes(15);
/// How long a quote that ran out is kept, so that whoever comes late is told.
pub(super) const KEPT: TimeDelta = TimeDelta::hours(1);
/// How many quotes of an account may be open at a time.
pub(super) const OPEN_MAX: i64 = 50;

/// A line of an order with the terms that it is sold under.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PricedLine {
    pub sku: String,
    pub sku_version: i32,
    pub quantity: i64,
    pub unit_price: Amount,
    pub delivery_deadline_s: i32,
    pub verification_deadline_s: i32,
    pub dispute_window_s: i32,
    pub dispute_decision_s: i32,
}

impl PricedLine {
    /// The price of all its units.
    pub fn amount(&self) -> Option<Amount> {
        self.unit_price.checked_mul(self.quantity)
    }
}

/// The quotes of an account that are neither accepted nor over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct OpenQuotes {
    pub(super) count: i64,
    /// When the first of them is over.
    pub(super) first_over_at: Option<DateTime<Utc>>,
}

/// A quote as it stands under the lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuoteFacts {
    pub lines: Vec<PricedLine>,
    pub expires_at: DateTime<Utc>,
    /// The checkout that it was accepted with.
    pub checkout: Option<CheckoutId>,
}

impl QuoteFacts {
    /// Whether it can be accepted: once, and within its life.
    pub fn accept(&self, at: DateTime<Utc>) -> Result<(), CheckoutRefusal> {
        match self.checkout {
            Some(checkout_id) => Err(CheckoutRefusal::QuoteUsed { checkout_id }),
            None if at >= self.expires_at => {
                Err(CheckoutRefusal::QuoteExpired { expired_at: self.expires_at })
            }
            None => Ok(()),
        }
    }
}

/// What is told of a quote.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct QuoteView {
    pub quote_id: QuoteId,
    pub account_id: BookId,
    pub lines: Vec<QuoteLine>,
    pub total: Amount,
    /// What is available now.
    pub available: Amount,
    /// What is missing of the total.
    pub shortfall: Amount,
    pub caps: Vec<CapHeadroom>,
    /// What a checkout would be refused with now.
    pub refusal: Option<Refusal>,
    pub created_at: DateTime<Utc>,
    pub expires_at: DateTime<Utc>,
}

/// One line of a quote.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct QuoteLine {
    pub item: i16,
    pub sku: String,
    /// The version of the SKU's terms that it will be sold under.
    pub sku_version: i32,
    pub quantity: i64,
    pub unit_price: Amount,
    pub amount: Amount,
}

/// A cap, and what is left of it before and after the checkout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CapHeadroom {
    /// `key` or `account`.
    pub scope: CapScope,
    pub span: Span,
    pub limit: Amount,
    /// What counts in its present window; nothing for the cap of a checkout.
    pub used: Amount,
    pub headroom_before: Amount,
    /// None when the checkout does not fit.
    pub headroom_after: Option<Amount>,
}

impl CapHeadroom {
    pub(super) fn of(cap: &CapUse, total: Amount) -> Self {
        // A cap that was tightened below its use has no headroom.
        let before = cap.limit.saturating_sub(cap.used);
        Self {
            scope: cap.scope,
            span: cap.span,
            limit: cap.limit,
            used: cap.used,
            headroom_before: before,
            headroom_after: before.checked_sub(total),
        }
    }
}
