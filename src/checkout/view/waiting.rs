use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::checkout::{Criteria, VerificationMode};
use crate::ground::{Amount, CheckoutId};

/// A result that waits for a verdict, with all that there is to judge it by. Whose it is is not said.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct WaitingResultView {
    pub checkout_id: CheckoutId,
    pub result_id: String,
    pub item: i16,
    pub sku: String,
    pub unit: String,
    pub unit_price: Amount,
    pub quantity: i64,
    #[schema(value_type = Value)]
    pub evidence: serde_json::Value,
    /// SHA-256 of the evidence as JSON without spaces and with sorted keys.
    pub evidence_sha256: String,
    /// What the item was sold under.
    pub criteria: Criteria,
    /// The version of the SKU's terms that has these criteria; a verdict may name it.
    pub criteria_version: i32,
    /// With `http` a verifier is called for a verdict too, and the first one counts.
    pub verification: VerificationMode,
    pub submitted_at: DateTime<Utc>,
    /// From then on the result takes no verdict, and is released.
    pub verify_by: DateTime<Utc>,
}

/// Where a page of waiting results ended: they come in the order of their deadlines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitingPlace {
    pub(in crate::checkout) verify_by: DateTime<Utc>,
    pub(in crate::checkout) checkout: CheckoutId,
    pub(in crate::checkout) result_id: String,
}

/// The text is no place in the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is not where a page of results ended")]
pub struct NoPlace;

impl WaitingResultView {
    /// Where a page that ends with it ends.
    pub fn place(&self) -> WaitingPlace {
        let (checkout, result_id) = (self.checkout_id, self.result_id.clone());
        WaitingPlace { verify_by: self.verify_by, checkout, result_id }
    }
}

impl WaitingPlace {
    /// Before all results of that deadline.
    pub(in crate::checkout) fn first_at(verify_by: DateTime<Utc>) -> Self {
        Self { verify_by, checkout: CheckoutId(Uuid::nil()), result_id: String::new() }
    }
}

impl fmt::Display for WaitingPlace {
    /// Result ids have no tilde, and nothing that a URL would have to escape.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}~{}~{}", self.verify_by.timestamp_micros(), self.checkout, self.result_id)
    }
}

impl FromStr for WaitingPlace {
    type Err = NoPlace;

    fn from_str(text: &str) -> Result<Self, NoPlace> {
        let mut parts = text.splitn(3, '~');
        let mut part = || parts.next().ok_or(NoPlace);
        let (micros, checkout, result_id) = (part()?, part()?, part()?);
        let micros = micros.parse().map_err(|_| NoPlace)?;
        // Years of more than four digits are none of ours, and more than the database takes.
        let verify_by = DateTime::from_timestamp_micros(micros)
            .filter(|at| (0..253_402_300_800).contains(&at.timestamp()));
        let plain = result_id.len() <= 128 && result_id.bytes().all(|b| b.is_ascii_graphic());
        Ok(Self {
            verify_by: verify_by.ok_or(NoPlace)?,
            checkout: checkout.parse().map_err(|_| NoPlace)?,
            result_id: Some(result_id).filter(|_| plain).ok_or(NoPlace)?.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_what_it_was() {
        let place = WaitingPlace {
            verify_by: DateTime::from_timestamp_micros(1_800_000_000_123_456).unwrap(),
            checkout: CheckoutId(Uuid::from_u128(7 << 76 | 1 << 63)),
            result_id: "Run-1:a.b_c".to_owned(),
        };
        let text = place.to_string();
        assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b"~-._:".contains(&b)), "{text}");
        assert_eq!(text.parse(), Ok(place));
        let id = text.split('~').nth(1).unwrap();
        for bad in [
            String::new(),
            "7".to_owned(),
            format!("1~{id}"),
            format!("x~{id}~r"),
            format!("1~x{id}~r"),
            format!("-1~{id}~r"),
            format!("9223372036854775807~{id}~r"),
            format!("1~{id}~\0"),
            format!("1~{id}~{}", "r".repeat(129)),
        ] {
            assert_eq!(bad.parse::<WaitingPlace>(), Err(NoPlace), "{bad}");
        }
    }
}
