//! The reader's wallet: it signs what the guide says, as a wallet that knows only EIP-712 and EIP-191
//! does, and makes the parts that the reader is told to make.

use bursar::ground::{Entropy, SystemEntropy};
use bursar::x402::eip712::{digest, keccak256, personal_digest, transfer_digest};
use bursar::x402::{Authorization, Network, Wallet, header};
use serde_json::{Value, json};

use super::values::Values;

/// A wallet, and the typed data that the guide has shown.
pub struct Signer {
    wallet: Wallet,
    typed: Value,
}

impl Signer {
    pub fn fresh() -> Self {
        let wallet = Wallet::from_secret(&random()).expect("all but very few numbers are keys");
        Self { wallet, typed: Value::Null }
    }

    pub fn address(&self) -> String {
        self.wallet.address().to_string()
    }

    /// Makes a named part as the guide says, or compares one that an answer had.
    pub fn part(&mut self, name: &str, text: &str, values: &mut Values) -> Result<(), String> {
        if let Some(encoded) = values.get(name) {
            let got: Value = header::decode(encoded).map_err(|error| error.to_string())?;
            return values.meet_json(&parse(text)?, &got, name);
        }
        match name {
            "typed_data" => {
                fresh_window(values, "");
                self.typed = parse(&values.fill(text)?)?;
                let signature = self.sign_transfer(&self.typed["message"])?;
                values.set("signature", signature);
            }
            "payment" => {
                let payment = parse(&values.fill(text)?)?;
                let signed = &payment["payload"]["authorization"];
                if *signed != self.typed["message"] {
                    return Err("the payment has another message than was signed".to_owned());
                }
                values.set(name, header::encode(&payment));
            }
            "payment_v1" | "payment_rehearsed" => {
                let suffix = name.trim_start_matches("payment");
                fresh_window(values, suffix);
                let authorization = parse(text)?["payload"]["authorization"].to_string();
                let message = parse(&values.fill(&authorization)?)?;
                values.set(&format!("signature{suffix}"), self.sign_transfer(&message)?);
                values.set(name, header::encode(&parse(&values.fill(text)?)?));
            }
            "siwx_message" => {
                let message = values.fill(text.trim_end_matches('\n'))?;
                values.set("siwx_signature", self.sign(&personal_digest(&message)));
            }
            _ => return Err(format!("nobody knows how to make {name}")),
        }
        Ok(())
    }

    fn sign(&self, digest: &[u8; 32]) -> String {
        format!("0x{}", hex::encode(self.wallet.sign_digest(digest)))
    }

    /// Signs a message of the shown domain and types, having made sure that this is the digest that
    /// the token checks.
    fn sign_transfer(&self, message: &Value) -> Result<String, String> {
        let name = text(&self.typed["primaryType"])?;
        let domain_types = json!([
            {"name": "name", "type": "string"}, {"name": "version", "type": "string"},
            {"name": "chainId", "type": "uint256"}, {"name": "verifyingContract", "type": "address"},
        ]);
        let separator = hash_struct("EIP712Domain", &domain_types, &self.typed["domain"])?;
        let typed = digest(&separator, &hash_struct(name, &self.typed["types"][name], message)?);
        let chain = format!("eip155:{}", self.typed["domain"]["chainId"]);
        let network = Network::by_caip2(&chain).ok_or(format!("{chain} is not known"))?;
        let authorization =
            Authorization::from_value(message).map_err(|error| error.to_string())?;
        if typed != transfer_digest(network, &authorization) {
            return Err("the typed data is not what the token checks".to_owned());
        }
        Ok(self.sign(&typed))
    }
}

fn random() -> [u8; 32] {
    let mut bytes = [0; 32];
    SystemEntropy.fill(&mut bytes);
    bytes
}

/// A nonce and a time to pay by, as the guide describes them.
fn fresh_window(values: &mut Values, suffix: &str) {
    values.set(&format!("nonce{suffix}"), format!("0x{}", hex::encode(random())));
    let end = std::time::UNIX_EPOCH.elapsed().expect("the clock is past 1970").as_secs() + 300;
    values.set(&format!("valid_before{suffix}"), end.to_string());
}

/// EIP-712's `hashStruct`, for members of plain types.
fn hash_struct(name: &str, types: &Value, value: &Value) -> Result<[u8; 32], String> {
    let mut members = Vec::new();
    let mut words = Vec::new();
    for member in types.as_array().ok_or(format!("{name} has no types"))? {
        let (kind, field) = (text(&member["type"])?, text(&member["name"])?);
        members.push(format!("{kind} {field}"));
        words.push(word(kind, &value[field]).ok_or(format!("{field} is no {kind}"))?);
    }
    let encoded = format!("{name}({})", members.join(","));
    let kind = keccak256([encoded.as_bytes()]);
    let parts = std::iter::once(&kind).chain(&words);
    Ok(keccak256(parts.map(<[u8; 32]>::as_slice)))
}

/// A value as one word.
fn word(kind: &str, value: &Value) -> Option<[u8; 32]> {
    let bytes = match (kind, value) {
        ("string", Value::String(text)) => keccak256([text.as_bytes()]).to_vec(),
        ("uint256", Value::String(text)) => text.parse::<u128>().ok()?.to_be_bytes().to_vec(),
        ("uint256", Value::Number(number)) => number.as_u64()?.to_be_bytes().to_vec(),
        ("address" | "bytes32", Value::String(text)) => {
            let bytes = hex::decode(text.strip_prefix("0x")?).ok()?;
            let length = if kind == "address" { 20 } else { 32 };
            (bytes.len() == length).then_some(bytes)?
        }
        _ => return None,
    };
    let mut word = [0; 32];
    word[32 - bytes.len()..].copy_from_slice(&bytes);
    Some(word)
}

fn text(value: &Value) -> Result<&str, String> {
    value.as_str().ok_or_else(|| format!("{value} is no text"))
}

fn parse(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}
