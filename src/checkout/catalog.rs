use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::ground::{Amount, VerifierId};

use super::Criteria;

/// Who judges the results of a SKU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verification {
    /// A verifier posts verdicts.
    Push,
    /// This verifier is called for them.
    Http(VerifierId),
}

/// How verdicts come about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = Verification)]
pub enum VerificationMode {
    /// A verifier posts them.
    Push,
    /// A verifier is called for them.
    Http,
}

impl Verification {
    /// How verdicts come about.
    pub const fn mode(self) -> VerificationMode {
        match self {
            Self::Push => VerificationMode::Push,
            Self::Http(_) => VerificationMode::Http,
        }
    }

    /// Who is called, if anybody is.
    pub const fn verifier(self) -> Option<VerifierId> {
        match self {
            Self::Push => None,
            Self::Http(verifier) => Some(verifier),
        }
    }

    /// The name in the table `sku`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Push => "push",
            Self::Http(_) => "http",
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
    /// How long whoever decides a dispute has for it: never so short that silence is a trick.
    pub dispute_decision_s: i32,
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
