use chrono::{DateTime, Datelike, NaiveTime, Utc};
use serde::{Deserialize, Serialize};

use crate::ground::{Amount, CapId, KeyId};

/// What a cap counts over.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Span {
    /// One checkout.
    Checkout,
    /// One UTC day.
    Day,
    /// One calendar month, UTC.
    Month,
    /// For ever.
    Total,
}

impl Span {
    /// The spans that have a window and therefore a usage row.
    pub const WINDOWED: [Self; 3] = [Self::Day, Self::Month, Self::Total];

    /// The name in the table `cap`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Checkout => "checkout",
            Self::Day => "day",
            Self::Month => "month",
            Self::Total => "total",
        }
    }

    /// The span of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Checkout, Self::Day, Self::Month, Self::Total].into_iter().find(|s| s.name() == name)
    }

    /// The beginning of the window that an instant falls into.
    pub fn window_start(self, at: DateTime<Utc>) -> DateTime<Utc> {
        let day = at.with_time(NaiveTime::MIN).single().unwrap_or(at);
        match self {
            Self::Checkout | Self::Total => DateTime::UNIX_EPOCH,
            Self::Day => day,
            Self::Month => day.with_day(1).unwrap_or(day),
        }
    }
}

/// A hard upper bound on spending: open holds + captures − reversals ≤ limit, in the window in which
/// the hold was placed. `spender` is none for a cap of the whole account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cap {
    pub id: CapId,
    pub spender: Option<KeyId>,
    pub span: Span,
    pub limit: Amount,
}

/// Whose cap refused, in the order in which a refusal names them.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum CapScope {
    /// The `max_total` of this very checkout.
    Request,
    /// The API key that asked.
    Key,
    /// The account.
    Account,
}

/// A cap that binds a spender, with what it has counted in its present window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CapUse {
    pub scope: CapScope,
    pub span: Span,
    pub limit: Amount,
    pub used: Amount,
}

/// One cap that a request would have passed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapViolation {
    pub scope: CapScope,
    pub span: Span,
    pub limit: Amount,
    pub used: Amount,
    pub requested: Amount,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_utc_days_and_calendar_months() {
        let at: DateTime<Utc> = "2026-11-20T23:59:59.999999Z".parse().unwrap();
        assert_eq!(Span::Day.window_start(at).to_rfc3339(), "2026-11-20T00:00:00+00:00");
        assert_eq!(Span::Month.window_start(at).to_rfc3339(), "2026-11-01T00:00:00+00:00");
        assert_eq!(Span::Total.window_start(at), DateTime::UNIX_EPOCH);
    }
}
