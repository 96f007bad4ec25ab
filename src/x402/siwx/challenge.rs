use serde::{Deserialize, Serialize};

use super::SiwxError;
use crate::x402::header::{self, HEADER_MAX, HeaderError};
use crate::x402::{Wallet, eip712};

/// The only way of signing that is understood: a plain wallet, over an EIP-191 digest.
pub(super) const EIP191: &str = "eip191";

/// What a wallet is asked to sign.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Challenge {
    /// The text, in parts.
    pub info: ChallengeInfo,
    /// The chains whose wallets may sign.
    pub supported_chains: Vec<ChallengeChain>,
}

/// The parts of the text that the server decides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChallengeInfo {
    /// The server's host, with a port if it has one.
    pub domain: String,
    /// The endpoint that the proof is for.
    pub uri: String,
    /// `1`.
    pub version: String,
    /// Good for one proof.
    pub nonce: String,
    /// When it was made.
    pub issued_at: String,
    /// When it ends.
    pub expiration_time: String,
    /// What signing means, for people.
    pub statement: String,
    /// The endpoints it is about.
    pub resources: Vec<String>,
}

/// A chain whose wallets may sign.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChallengeChain {
    /// The CAIP-2 id.
    pub chain_id: String,
    /// How they sign.
    #[serde(rename = "type")]
    pub kind: String,
}

/// A signed challenge, as `SIGN-IN-WITH-X` carries it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SignedChallenge {
    /// The host that asked.
    pub domain: String,
    /// Who signed, in the spelling that was signed.
    pub address: String,
    /// What signing means.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statement: Option<String>,
    /// The endpoint that the proof is for.
    pub uri: String,
    /// `1`.
    pub version: String,
    /// The CAIP-2 id of the wallet's chain.
    pub chain_id: String,
    /// How it was signed.
    #[serde(rename = "type")]
    pub kind: String,
    /// Good for one proof.
    pub nonce: String,
    /// When it was made.
    pub issued_at: String,
    /// When it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expiration_time: Option<String>,
    /// When it begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<String>,
    /// The asker's own name for the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// The endpoints it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Vec<String>>,
    /// A hint on how it was signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature_scheme: Option<String>,
    /// The signature, `0x` and 130 hexadecimal digits.
    pub signature: String,
}

impl Challenge {
    /// The challenge signed by a wallet; `None` if no EVM chain is offered.
    pub fn sign(&self, wallet: &Wallet) -> Option<SignedChallenge> {
        let chain = self.supported_chains.iter().find(|chain| chain.kind == EIP191)?;
        let info = self.info.clone();
        let mut signed = SignedChallenge {
            domain: info.domain,
            address: wallet.address().to_string(),
            statement: Some(info.statement),
            uri: info.uri,
            version: info.version,
            chain_id: chain.chain_id.clone(),
            kind: EIP191.to_owned(),
            nonce: info.nonce,
            issued_at: info.issued_at,
            expiration_time: Some(info.expiration_time),
            not_before: None,
            request_id: None,
            resources: Some(info.resources),
            signature_scheme: None,
            signature: String::new(),
        };
        let digest = eip712::personal_digest(&signed.message()?);
        signed.signature = format!("0x{}", hex::encode(wallet.sign_digest(&digest)));
        Some(signed)
    }
}

impl SignedChallenge {
    /// From a header's base64 or from JSON.
    pub fn parse(text: &str) -> Result<Self, SiwxError> {
        let text = text.trim();
        if !text.starts_with('{') {
            return header::decode(text).map_err(SiwxError::Undecodable);
        }
        if text.len() > HEADER_MAX {
            return Err(SiwxError::Undecodable(HeaderError::TooLong { length: text.len() }));
        }
        serde_json::from_str(text)
            .map_err(|source| SiwxError::Undecodable(HeaderError::Json(source)))
    }

    /// The text that was signed, letter by letter; `None` if the chain has no number.
    pub fn message(&self) -> Option<String> {
        let chain_id = self.chain_number()?;
        let mut text = format!(
            "{} wants you to sign in with your Ethereum account:\n{}\n\n",
            self.domain, self.address
        );
        if let Some(statement) = &self.statement {
            text.push_str(statement);
            text.push('\n');
        }
        let fixed = format!(
            "\nURI: {}\nVersion: {}\nChain ID: {chain_id}\nNonce: {}\nIssued At: {}",
            self.uri, self.version, self.nonce, self.issued_at
        );
        text.push_str(&fixed);
        for (name, value) in [
            ("Expiration Time", &self.expiration_time),
            ("Not Before", &self.not_before),
            ("Request ID", &self.request_id),
        ] {
            if let Some(value) = value {
                text.push_str(&format!("\n{name}: {value}"));
            }
        }
        if let Some(resources) = &self.resources {
            text.push_str("\nResources:");
            resources.iter().for_each(|resource| text.push_str(&format!("\n- {resource}")));
        }
        Some(text)
    }

    /// The number of the wallet's chain, if it is an EVM chain.
    pub fn chain_number(&self) -> Option<u64> {
        let digits = self.chain_id.strip_prefix("eip155:")?;
        if digits.bytes().all(|b| b.is_ascii_digit()) { digits.parse().ok() } else { None }
    }

    /// A line break inside a field could make one signed text mean two things.
    pub(super) fn refuse_line_breaks(&self) -> Result<(), SiwxError> {
        let optional = |field: &'static str, value: &Option<String>| {
            (field, value.as_deref().unwrap_or_default().contains(char::is_control))
        };
        let required = |field: &'static str, value: &str| (field, value.contains(char::is_control));
        let resources = self.resources.iter().flatten().any(|uri| uri.contains(char::is_control));
        let fields = [
            required("domain", &self.domain),
            required("address", &self.address),
            optional("statement", &self.statement),
            required("uri", &self.uri),
            required("nonce", &self.nonce),
            required("issuedAt", &self.issued_at),
            optional("expirationTime", &self.expiration_time),
            optional("notBefore", &self.not_before),
            optional("requestId", &self.request_id),
            ("resources", resources),
        ];
        match fields.into_iter().find(|(_, broken)| *broken) {
            Some((field, _)) => Err(SiwxError::Malformed { field }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::x402::vectors::{VECTORS, text};
    use proptest::prelude::*;

    fn captured() -> SignedChallenge {
        serde_json::from_value(VECTORS["sign_in"]["payload"].clone()).unwrap()
    }

    #[test]
    fn messages_are_rebuilt_letter_by_letter() {
        assert_eq!(captured().message().unwrap(), text("/sign_in/message"));
        let minimal = SignedChallenge { statement: None, expiration_time: None, ..captured() };
        assert_eq!(minimal.message().unwrap(), text("/sign_in_minimal/message"));
        let full = SignedChallenge {
            not_before: Some("2026-11-20T10:00:00Z".to_owned()),
            request_id: Some("r1".to_owned()),
            resources: Some(vec![]),
            ..captured()
        };
        let end = "Expiration Time: 2026-11-20T10:35:00.000Z\nNot Before: 2026-11-20T10:00:00Z\n\
             Request ID: r1\nResources:";
        assert!(full.message().unwrap().ends_with(end));
    }

    #[test]
    fn base64_and_json_are_the_same_proof() {
        let json = VECTORS["sign_in"]["payload"].to_string();
        assert_eq!(SignedChallenge::parse(text("/sign_in/header")).unwrap(), captured());
        assert_eq!(SignedChallenge::parse(&format!(" {json}\n")).unwrap(), captured());
        assert_eq!(serde_json::to_value(captured()).unwrap(), VECTORS["sign_in"]["payload"]);
        let long = format!("{{\"domain\":\"{}\"}}", "a".repeat(HEADER_MAX));
        for bad in ["", "{}", "[]", "e30", "%%%", &long] {
            let error = SignedChallenge::parse(bad).unwrap_err();
            assert_eq!(error.code(), "invalid_siwx_payload", "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(text in "\\PC*", members in "[\\{\\}\":,a-z0-9]*") {
            let _ = SignedChallenge::parse(&text);
            let _ = SignedChallenge::parse(&format!("{{{members}"));
        }
    }
}
