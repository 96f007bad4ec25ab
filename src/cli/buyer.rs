//! A small x402 buyer, for the demo and for `bursar pay`: it reads the terms of a 402, signs them
//! with a wallet, and repeats the request. It pays on test networks only.

use chrono::{DateTime, Utc};
use reqwest::header::HeaderMap;
use serde_json::{Value, json};

use crate::ground::{Amount, Entropy};
use crate::x402::eip712::transfer_digest;
use crate::x402::wire::{PaymentRequired, Requirements, SettleResponse};
use crate::x402::{Authorization, HeaderError, Network, Nonce, Wallet, header};

/// Why a 402 was not paid.
#[derive(Debug, thiserror::Error)]
pub enum BuyerError {
    #[error("the answer has no PAYMENT-REQUIRED header")]
    NoTerms,
    #[error("PAYMENT-REQUIRED cannot be read")]
    Terms(#[from] HeaderError),
    #[error("none of the terms is USDC on a test network that is known here")]
    NothingPayable,
    #[error("the terms ask for {asked}, and at most {max} may be paid")]
    TooExpensive { asked: Amount, max: Amount },
}

/// A buyer with its wallet.
pub struct Buyer {
    wallet: Wallet,
}

/// The terms that a buyer chose.
pub struct Chosen {
    pub required: PaymentRequired,
    pub requirements: Requirements,
    pub network: &'static Network,
    pub amount: Amount,
}

impl Buyer {
    /// A buyer with a fresh wallet.
    pub fn fresh(entropy: &dyn Entropy) -> Self {
        loop {
            // All but a vanishing part of the 32-byte numbers are keys.
            if let Some(wallet) = Wallet::from_secret(&entropy.array()) {
                return Self { wallet };
            }
        }
    }

    /// The wallet's address.
    pub fn address(&self) -> String {
        self.wallet.address().to_string()
    }

    /// Reads the terms of a 402 and chooses the first that can be paid.
    pub fn choose(&self, headers: &HeaderMap, max: Amount) -> Result<Chosen, BuyerError> {
        let text = headers.get("payment-required").and_then(|value| value.to_str().ok());
        let required: PaymentRequired = header::decode(text.ok_or(BuyerError::NoTerms)?)?;
        let payable = required.accepts.iter().find_map(|requirements| {
            let network = Network::by_caip2(&requirements.network)?;
            let usdc = requirements.asset.parse().ok() == Some(network.usdc);
            let atomic: i64 = requirements.amount.parse().ok()?;
            let amount = Amount::from_micros(atomic)?;
            let fits = usdc && !network.mainnet && requirements.scheme == "exact";
            fits.then(|| (requirements.clone(), network, amount))
        });
        let (requirements, network, amount) = payable.ok_or(BuyerError::NothingPayable)?;
        if amount > max {
            return Err(BuyerError::TooExpensive { asked: amount, max });
        }
        Ok(Chosen { required, requirements, network, amount })
    }

    /// Signs the chosen terms (EIP-3009) and returns the value of `PAYMENT-SIGNATURE`.
    pub fn sign(
        &self,
        chosen: &Chosen,
        entropy: &dyn Entropy,
        now: DateTime<Utc>,
    ) -> Result<String, BuyerError> {
        let to = chosen.requirements.pay_to.parse().map_err(|_| BuyerError::NothingPayable)?;
        let value =
            u128::try_from(chosen.amount.micros()).map_err(|_| BuyerError::NothingPayable)?;
        let end = u64::try_from(now.timestamp()).unwrap_or_default();
        let authorization = Authorization {
            from: self.wallet.address(),
            to,
            value,
            valid_after: 0,
            valid_before: end.saturating_add(chosen.requirements.max_timeout_seconds),
            nonce: Nonce::new(entropy.array()),
        };
        let signature = self.wallet.sign_digest(&transfer_digest(chosen.network, &authorization));
        Ok(header::encode(&json!({
            "x402Version": 2,
            "resource": chosen.required.resource,
            "accepted": chosen.requirements,
            "payload": {
                "signature": format!("0x{}", hex::encode(signature)),
                "authorization": authorization.to_value(),
            },
        })))
    }
}

/// The receipt in an answer, decoded.
pub fn receipt(headers: &HeaderMap) -> Option<SettleResponse> {
    let text = headers.get("payment-response")?.to_str().ok()?;
    header::decode::<Value>(text).ok().and_then(|value| SettleResponse::try_from(value).ok())
}
