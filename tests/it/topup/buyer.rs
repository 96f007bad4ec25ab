//! A small buyer: it reads the terms of a 402 and signs them, as stock clients do.

use bursar::ground::{Entropy, SystemEntropy};
use bursar::x402::eip712::transfer_digest;
use bursar::x402::{Authorization, Network, Nonce, Version, Wallet, header};
use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use crate::api::Answer;

pub struct Buyer {
    wallet: Wallet,
}

/// A signed payment, before it is encoded.
#[derive(Clone, Debug)]
pub struct Signed {
    pub version: Version,
    pub value: Value,
}

impl Buyer {
    pub fn new(n: u8) -> Self {
        Self::of(&[n; 32])
    }

    pub fn of(secret: &[u8; 32]) -> Self {
        Self { wallet: Wallet::from_secret(secret).unwrap() }
    }

    pub fn wallet(&self) -> &Wallet {
        &self.wallet
    }

    /// The address as records and answers have it.
    pub fn address(&self) -> String {
        self.wallet.address().lower()
    }

    /// Signs the first entry of the terms, for twelve hours.
    pub fn sign(&self, version: Version, terms: &Answer, now: DateTime<Utc>) -> Signed {
        self.sign_for(version, terms, now, 12 * 3600)
    }

    /// The same for so many seconds.
    pub fn sign_for(
        &self,
        version: Version,
        terms: &Answer,
        now: DateTime<Utc>,
        seconds: u64,
    ) -> Signed {
        let (required, chosen, amount, network) = match version {
            Version::V2 => {
                let required: Value =
                    header::decode(terms.header("payment-required").unwrap()).unwrap();
                let chosen = required["accepts"][0].clone();
                let network = Network::by_caip2(chosen["network"].as_str().unwrap());
                (required, chosen.clone(), chosen["amount"].clone(), network.unwrap())
            }
            Version::V1 => {
                let chosen = terms.json(402)["accepts"][0].clone();
                let network = Network::by_v1_name(chosen["network"].as_str().unwrap());
                (Value::Null, chosen.clone(), chosen["maxAmountRequired"].clone(), network.unwrap())
            }
        };
        let now = u64::try_from(now.timestamp()).unwrap();
        let mut nonce = [0; 32];
        SystemEntropy.fill(&mut nonce);
        let authorization = Authorization {
            from: self.wallet.address(),
            to: chosen["payTo"].as_str().unwrap().parse().unwrap(),
            value: amount.as_str().unwrap().parse().unwrap(),
            valid_after: now - 60,
            valid_before: now + seconds,
            nonce: Nonce::new(nonce),
        };
        let signature = self.wallet.sign_digest(&transfer_digest(network, &authorization));
        let payload = json!({
            "signature": format!("0x{}", hex::encode(signature)),
            "authorization": authorization.to_value(),
        });
        let value = match version {
            Version::V2 => json!({
                "x402Version": 2, "resource": required["resource"], "accepted": chosen,
                "payload": payload,
            }),
            Version::V1 => json!({
                "x402Version": 1, "scheme": "exact", "network": chosen["network"],
                "payload": payload,
            }),
        };
        Signed { version, value }
    }
}

impl Signed {
    /// The header that carries it.
    pub fn header(&self) -> (&'static str, String) {
        (self.version.header(), header::encode(&self.value))
    }

    /// The same with a change.
    pub fn with(&self, change: impl FnOnce(&mut Value)) -> Self {
        let mut changed = self.clone();
        change(&mut changed.value);
        changed
    }

    /// The same with another field in the authorization.
    pub fn with_signed(&self, field: &str, value: Value) -> Self {
        self.with(|payment| payment["payload"]["authorization"][field] = value)
    }

    /// The same under the buyer's own name for the purchase, in version 2.
    pub fn named(&self, id: &str) -> Self {
        let info = json!({ "required": false, "id": id });
        self.with(|payment| payment["extensions"]["payment-identifier"]["info"] = info)
    }

    /// The same authorization as the other version writes it.
    pub fn as_v1(&self) -> Self {
        let value = json!({
            "x402Version": 1, "scheme": "exact", "network": "base-sepolia",
            "payload": self.value["payload"],
        });
        Self { version: Version::V1, value }
    }

    fn text(&self, pointer: &str) -> &str {
        self.value.pointer(pointer).unwrap().as_str().unwrap()
    }

    /// In hexadecimal digits, without the prefix.
    pub fn signature(&self) -> &str {
        &self.text("/payload/signature")[2..]
    }

    pub fn nonce(&self) -> &str {
        self.text("/payload/authorization/nonce")
    }
}
