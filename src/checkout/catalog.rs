use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::ground::Amount;

use super::Criteria;

/// Who judges the results of a SKU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verification {
    /// A verifier posts verdicts.
    Push,
}

impl Verification {
    /// The name in the table `sku`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Push => "push",
        }
    }
}

/// On what terms a SKU is sold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SkuTerms {
    pub title: String,
    /// What one unit is, such as `lead` or `page`.
    pub unit: String,
    pub unit_price: Amount,
    pub criteria: Criteria,
    pub verification: Verification,
    pub delivery_deadline_s: i32,
    pub verification_deadline_s: i32,
    pub dispute_window_s: i32,
    pub active: bool,
}

/// Something that can be bought, as a version of its terms has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sku {
    pub sku: String,
    pub terms: SkuTerms,
    /// Counts the changes of its terms.
    pub version: i32,
    /// When the version began.
    pub updated_at: DateTime<Utc>,
}
