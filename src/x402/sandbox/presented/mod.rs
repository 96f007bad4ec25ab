//! A payment as it is presented to the facilitator, and what can be said of it without state. Pure.

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::store::Transfer;
use crate::ground::Amount;
use crate::x402::eip712::{self, Domain};
use crate::x402::{Address, Authorization, Network};

/// How many seconds a payment must still be valid for when it is judged.
const SECONDS_LEFT_MIN: i64 = 6;

/// Why a payment is refused, in the reference facilitator's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    Payload,
    Requirements,
    Version,
    Scheme,
    Network,
    NetworkMismatch,
    Domain,
    Asset,
    Signature,
    Recipient,
    ValidBefore,
    ValidAfter,
    Value,
    ValueMismatch,
    TokenName,
    TokenVersion,
    NonceUsed,
    Balance,
    AskedFor,
    Unexpected,
}

impl Reason {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Payload => "invalid_payload",
            Self::Requirements => "invalid_payment_requirements",
            Self::Version => "invalid_x402_version",
            Self::Scheme => "invalid_exact_evm_scheme",
            Self::Network => "invalid_network",
            Self::NetworkMismatch => "invalid_exact_evm_network_mismatch",
            Self::Domain => "invalid_exact_evm_missing_eip712_domain",
            Self::Asset => "asset_not_deployed_contract",
            Self::Signature => "invalid_exact_evm_signature",
            Self::Recipient => "invalid_exact_evm_recipient_mismatch",
            Self::ValidBefore => "invalid_exact_evm_payload_authorization_valid_before",
            Self::ValidAfter => "invalid_exact_evm_payload_authorization_valid_after",
            Self::Value => "invalid_exact_evm_authorization_value",
            Self::ValueMismatch => "invalid_exact_evm_payload_authorization_value_mismatch",
            Self::TokenName => "invalid_exact_evm_token_name_mismatch",
            Self::TokenVersion => "invalid_exact_evm_token_version_mismatch",
            Self::NonceUsed => "invalid_exact_evm_nonce_already_used",
            Self::Balance => "invalid_exact_evm_insufficient_balance",
            Self::AskedFor => "insufficient_funds",
            Self::Unexpected => "unexpected_error",
        }
    }

    const fn message(self) -> &'static str {
        match self {
            Self::Payload => "the payment payload is malformed",
            Self::Requirements => "the payment requirements are malformed",
            Self::Version => "x402Version must be 1 or 2 and the same everywhere",
            Self::Scheme => "only the exact scheme is served",
            Self::Network => "the sandbox does not serve this network",
            Self::NetworkMismatch => "the payment and the requirements name different networks",
            Self::Domain => "extra.name and extra.version are required",
            Self::Asset => "the asset is not the network's USDC",
            Self::Signature => "the signature is not the payer's",
            Self::Recipient => "the authorization pays someone else",
            Self::ValidBefore => "the authorization has expired or is about to",
            Self::ValidAfter => "the authorization is not yet valid",
            Self::Value => "the amount is nothing",
            Self::ValueMismatch => "the authorization is for another amount",
            Self::TokenName => "extra.name is not the token's",
            Self::TokenVersion => "extra.version is not the token's",
            Self::NonceUsed => "the nonce was used",
            Self::Balance => "the payer has not enough test dollars; the faucet gives some",
            Self::AskedFor => "the refusal that was asked for",
            Self::Unexpected => "the sandbox's database failed",
        }
    }
}

/// A refusal and what its answer names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub reason: Reason,
    pub message: String,
    /// The network as the requirements name it; empty when they do not.
    pub network: String,
    pub payer: Option<Address>,
}

/// A payment that is well-formed, signed by its payer, and to the right recipient.
#[derive(Debug)]
pub(super) struct Presented {
    pub authorization: Authorization,
    /// What was signed. Two payments with one digest are one payment.
    pub digest: [u8; 32],
    /// The network as the requirements name it.
    pub network_name: String,
    network: &'static Network,
    required: u128,
    domain_name: String,
    domain_version: String,
}

impl Presented {
    /// Reads the body of `/verify` or `/settle`, and checks what never changes.
    pub fn read(body: &Value, networks: &[&'static Network]) -> Result<Self, Refusal> {
        let payment = &body["paymentPayload"];
        let requirements = &body["paymentRequirements"];
        let network_name = requirements["network"].as_str().unwrap_or_default();
        let parsed = Authorization::from_value(&payment["payload"]["authorization"]);
        let payer = parsed.as_ref().ok().map(|authorization| authorization.from);
        let refuse = |reason: Reason, message: &str| Refusal {
            reason,
            message: message.to_owned(),
            network: network_name.to_owned(),
            payer,
        };
        let plainly = |reason: Reason| refuse(reason, reason.message());
        let required = |field: &str| {
            let missing = || {
                refuse(Reason::Requirements, &format!("paymentRequirements.{field} is malformed"))
            };
            requirements[field].as_str().ok_or_else(missing)
        };

        let version = version_of(body).ok_or_else(|| plainly(Reason::Version))?;
        let second = version == 2;
        let offer = if second { &payment["accepted"] } else { payment };
        let authorization = parsed.map_err(|error| refuse(Reason::Payload, &error.to_string()))?;
        let signature = signature_of(payment)
            .ok_or_else(|| refuse(Reason::Payload, "payload.signature is not hexadecimal"))?;
        if required("scheme")? != "exact" || offer["scheme"] != "exact" {
            return Err(plainly(Reason::Scheme));
        }
        let (Some(domain_name), Some(domain_version)) =
            (requirements["extra"]["name"].as_str(), requirements["extra"]["version"].as_str())
        else {
            return Err(plainly(Reason::Domain));
        };
        if offer["network"] != required("network")? {
            return Err(plainly(Reason::NetworkMismatch));
        }
        let served = |network: &&&Network| {
            let name = if second { Some(network.caip2) } else { network.v1_name };
            name == Some(network_name)
        };
        let network = *networks.iter().find(served).ok_or_else(|| plainly(Reason::Network))?;
        if required("asset")?.parse() != Ok(network.usdc) {
            return Err(plainly(Reason::Asset));
        }

        let separator =
            Domain { name: domain_name, version: domain_version, ..network.domain() }.separator();
        let digest = eip712::digest(&separator, &eip712::transfer_hash(&authorization));
        if eip712::recover(&digest, &signature) != Some(authorization.from) {
            return Err(plainly(Reason::Signature));
        }
        if required("payTo")?.parse() != Ok(authorization.to) {
            return Err(plainly(Reason::Recipient));
        }
        let amount_field = if second { "amount" } else { "maxAmountRequired" };
        let amount = required(amount_field)?;
        let required = whole_number(amount).ok_or_else(|| {
            refuse(
                Reason::Requirements,
                &format!("paymentRequirements.{amount_field} is malformed"),
            )
        })?;
        Ok(Self {
            authorization,
            digest,
            network_name: network_name.to_owned(),
            network,
            required,
            domain_name: domain_name.to_owned(),
            domain_version: domain_version.to_owned(),
        })
    }

    /// Checks the window, which is the only thing that changes with time.
    pub fn judge_window(&self, now: DateTime<Utc>) -> Result<(), Refusal> {
        let now = now.timestamp();
        let end = i64::try_from(self.authorization.valid_before).unwrap_or(i64::MAX);
        let start = i64::try_from(self.authorization.valid_after).unwrap_or(i64::MAX);
        self.first_fault([
            (end < now.saturating_add(SECONDS_LEFT_MIN), Reason::ValidBefore),
            (start > now, Reason::ValidAfter),
        ])
    }

    /// Checks the amount, and that what was signed is valid for this token.
    pub fn judge_terms(&self) -> Result<(), Refusal> {
        self.first_fault([
            (self.authorization.value == 0, Reason::Value),
            (self.authorization.value != self.required, Reason::ValueMismatch),
            (self.domain_name != self.network.domain_name, Reason::TokenName),
            (self.domain_version != self.network.domain_version, Reason::TokenVersion),
        ])
    }

    fn first_fault<const N: usize>(&self, faults: [(bool, Reason); N]) -> Result<(), Refusal> {
        match faults.into_iter().find(|(at_fault, _)| *at_fault) {
            Some((_, reason)) => Err(self.refuse(reason)),
            None => Ok(()),
        }
    }

    /// What the payment moves. No wallet holds more than an amount can say.
    pub fn transfer(&self) -> Result<Transfer, Refusal> {
        let micros = i64::try_from(self.authorization.value).ok();
        let amount = micros.and_then(Amount::from_micros);
        Ok(Transfer {
            network: self.network,
            payer: self.authorization.from,
            pay_to: self.authorization.to,
            nonce: self.authorization.nonce,
            amount: amount.ok_or_else(|| self.refuse(Reason::Balance))?,
            digest: self.digest,
        })
    }

    /// A refusal of this payment.
    pub fn refuse(&self, reason: Reason) -> Refusal {
        Refusal {
            reason,
            message: reason.message().to_owned(),
            network: self.network_name.clone(),
            payer: Some(self.authorization.from),
        }
    }

    /// The answer when the database failed, which is logged and not told.
    pub fn broken(&self, error: &sqlx::Error) -> Refusal {
        tracing::error!(%error, "the sandbox facilitator cannot reach its database");
        self.refuse(Reason::Unexpected)
    }
}

/// The version, which may stand outside, inside, or both, and must be the same.
fn version_of(body: &Value) -> Option<u64> {
    let inside = &body["paymentPayload"]["x402Version"];
    let outside = &body["x402Version"];
    let version = if outside.is_null() { inside } else { outside };
    let same = inside.is_null() || inside == version;
    version.as_u64().filter(|version| same && matches!(version, 1 | 2))
}

fn signature_of(payment: &Value) -> Option<Vec<u8>> {
    let digits = payment["payload"]["signature"].as_str()?.strip_prefix("0x")?;
    hex::decode(digits).ok()
}

/// Decimal digits. No sign, which `parse` would take.
fn whole_number(text: &str) -> Option<u128> {
    let plain = text.bytes().all(|b| b.is_ascii_digit());
    if plain { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests;
