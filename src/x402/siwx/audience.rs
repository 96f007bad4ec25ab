use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};

use super::challenge::EIP191;
use super::{Challenge, ChallengeChain, ChallengeInfo, SignedChallenge, SiwxError};
use crate::x402::payment::excerpt;
use crate::x402::{Address, Network, eip712};

/// What a proof must be for, and how fresh.
#[derive(Clone, Debug)]
pub struct Audience {
    /// The configured public host, with a port if it has one; never the request's.
    pub domain: String,
    /// The exact public URL of the endpoint.
    pub uri: String,
    /// The chains whose wallets may sign.
    pub chains: Vec<&'static Network>,
    /// How old a challenge may be.
    pub age_max: TimeDelta,
    /// How far a wallet's clock may be ahead of ours.
    pub skew_max: TimeDelta,
}

/// A wallet has proven who it is. The caller must still consume the nonce, once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// Who signed.
    pub address: Address,
    /// The nonce that must be one of ours and unused.
    pub nonce: String,
    /// When the challenge was made.
    pub issued_at: DateTime<Utc>,
}

impl Audience {
    /// The audience of an endpoint, with the protocol's five minutes and half a minute of skew.
    pub fn new(domain: &str, uri: &str, chains: Vec<&'static Network>) -> Self {
        Self {
            domain: domain.to_owned(),
            uri: uri.to_owned(),
            chains,
            age_max: TimeDelta::minutes(5),
            skew_max: TimeDelta::seconds(30),
        }
    }

    /// What a wallet must sign to be let in here. The nonce is the caller's to remember.
    pub fn challenge(&self, statement: &str, nonce: &str, now: DateTime<Utc>) -> Challenge {
        let expires_at = now.checked_add_signed(self.age_max).unwrap_or(now);
        let text = |at: DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::Millis, true);
        let chain = |network: &&Network| ChallengeChain {
            chain_id: network.caip2.to_owned(),
            kind: EIP191.to_owned(),
        };
        Challenge {
            info: ChallengeInfo {
                domain: self.domain.clone(),
                uri: self.uri.clone(),
                version: "1".to_owned(),
                nonce: nonce.to_owned(),
                issued_at: text(now),
                expiration_time: text(expires_at),
                statement: statement.to_owned(),
                resources: vec![self.uri.clone()],
            },
            supported_chains: self.chains.iter().map(chain).collect(),
        }
    }

    /// Whether a signed challenge proves, at a moment, that its wallet wants in here.
    pub fn check(&self, signed: &SignedChallenge, now: DateTime<Utc>) -> Result<Proof, SiwxError> {
        signed.refuse_line_breaks()?;
        self.check_place(signed)?;
        let issued_at = self.check_times(signed, now)?;
        let nonce = &signed.nonce;
        let alphanumeric = nonce.bytes().all(|b| b.is_ascii_alphanumeric());
        if !(8..=128).contains(&nonce.len()) || !alphanumeric {
            return Err(SiwxError::Nonce);
        }
        self.check_chain(signed)?;
        let address = check_signature(signed)?;
        Ok(Proof { address, nonce: nonce.clone(), issued_at })
    }

    fn check_place(&self, signed: &SignedChallenge) -> Result<(), SiwxError> {
        if signed.domain != self.domain {
            let (expected, got) = (self.domain.clone(), excerpt(&signed.domain));
            return Err(SiwxError::DomainMismatch { expected, got });
        }
        if signed.uri != self.uri {
            let (expected, got) = (self.uri.clone(), excerpt(&signed.uri));
            return Err(SiwxError::UriMismatch { expected, got });
        }
        if signed.version == "1" { Ok(()) } else { Err(SiwxError::Malformed { field: "version" }) }
    }

    fn check_times(
        &self,
        signed: &SignedChallenge,
        now: DateTime<Utc>,
    ) -> Result<DateTime<Utc>, SiwxError> {
        let issued_at = instant(&signed.issued_at).ok_or(SiwxError::IssuedAt)?;
        let age = now.signed_duration_since(issued_at);
        if age > self.age_max {
            let age_max = self.age_max.num_seconds();
            return Err(SiwxError::IssuedAtTooOld { issued_at, age_max });
        }
        if age < -self.skew_max {
            return Err(SiwxError::IssuedAtInFuture { issued_at });
        }
        if let Some(text) = &signed.expiration_time {
            let expired_at = instant(text).ok_or(SiwxError::ExpirationTime)?;
            if expired_at <= now {
                return Err(SiwxError::Expired { expired_at });
            }
        }
        if let Some(text) = &signed.not_before {
            let not_before = instant(text).ok_or(SiwxError::NotBefore)?;
            if not_before > now {
                return Err(SiwxError::NotYetValid { not_before });
            }
        }
        Ok(issued_at)
    }

    fn check_chain(&self, signed: &SignedChallenge) -> Result<(), SiwxError> {
        let chain_id = signed.chain_number().ok_or(SiwxError::ChainId)?;
        let known = self.chains.iter().any(|network| network.chain_id == chain_id);
        let kinds = [Some(&signed.kind), signed.signature_scheme.as_ref()];
        match kinds.into_iter().flatten().find(|kind| !known || *kind != EIP191) {
            None => Ok(()),
            Some(kind) => {
                let (chain_id, kind) = (excerpt(&signed.chain_id), excerpt(kind));
                Err(SiwxError::UnsupportedChain { chain_id, kind })
            }
        }
    }
}

fn instant(text: &str) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc3339(text).ok().map(|at| at.to_utc())
}

fn check_signature(signed: &SignedChallenge) -> Result<Address, SiwxError> {
    let malformed = SiwxError::Malformed { field: "address" };
    let address: Address = signed.address.parse().map_err(|_| malformed)?;
    let digits = signed.signature.strip_prefix("0x").unwrap_or_default();
    let mut signature = [0; 65];
    hex::decode_to_slice(digits, &mut signature).map_err(|_| SiwxError::MalformedSignature)?;
    let message = signed.message().ok_or(SiwxError::ChainId)?;
    let signer = eip712::recover(&eip712::personal_digest(&message), &signature);
    if signer == Some(address) { Ok(address) } else { Err(SiwxError::Signature { address }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::x402::vectors::{VECTORS, text, wallet};
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn audience() -> Audience {
        let chains = vec![Network::by_caip2("eip155:84532").unwrap()];
        let uri = "https://api.example.com/api/v1/credits/balance";
        Audience::new("api.example.com", uri, chains)
    }

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn check(change: impl FnOnce(&mut Value), now: &str) -> Result<Proof, &'static str> {
        let mut payload = VECTORS["sign_in"]["payload"].clone();
        change(&mut payload);
        let signed = SignedChallenge::parse(&payload.to_string()).map_err(|error| error.code())?;
        audience().check(&signed, at(now)).map_err(|error| error.code())
    }

    #[test]
    fn the_captured_proof_holds_within_its_time() {
        let proof = check(|_| {}, "2026-11-20T10:32:00Z").unwrap();
        assert_eq!(proof.address, wallet().address());
        assert_eq!(proof.nonce, "a1b2c3d4e5f67890a1b2c3d4e5f67890");
        assert_eq!(proof.issued_at, at("2026-11-20T10:30:00Z"));
        for (now, outcome) in [
            ("2026-11-20T10:29:30Z", None),
            ("2026-11-20T10:29:29Z", Some("invalid_siwx_issued_at_in_future")),
            ("2026-11-20T10:34:59Z", None),
            ("2026-11-20T10:35:00Z", Some("invalid_siwx_expired")),
            ("2026-11-20T10:35:01Z", Some("invalid_siwx_issued_at_too_old")),
        ] {
            assert_eq!(check(|_| {}, now).err(), outcome, "{now}");
        }
    }

    #[test]
    fn each_fault_has_its_code() {
        for (field, value, code) in [
            ("domain", json!("evil.example.com"), "invalid_siwx_domain_mismatch"),
            ("uri", json!("https://api.example.com/api/v1/other"), "invalid_siwx_uri_mismatch"),
            ("version", json!("2"), "invalid_siwx_payload"),
            ("issuedAt", json!("yesterday"), "invalid_siwx_issued_at"),
            ("expirationTime", json!(""), "invalid_siwx_expiration_time"),
            ("notBefore", json!("x"), "invalid_siwx_not_before"),
            ("notBefore", json!("2026-11-20T10:33:00Z"), "invalid_siwx_not_yet_valid"),
            ("nonce", json!("short"), "invalid_siwx_nonce"),
            ("nonce", json!("a1b2c3d4e5f67890-1b2c3d4e5f67890"), "invalid_siwx_nonce"),
            ("nonce", json!("00000000000000000000000000000000"), "invalid_siwx_signature"),
            ("chainId", json!("solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp"), "invalid_siwx_chain_id"),
            ("chainId", json!("eip155:+84532"), "invalid_siwx_chain_id"),
            ("chainId", json!("eip155:8453"), "invalid_siwx_unsupported_chain"),
            ("type", json!("ed25519"), "invalid_siwx_unsupported_chain"),
            ("signatureScheme", json!("eip1271"), "invalid_siwx_unsupported_chain"),
            ("signature", json!("0x00"), "invalid_siwx_malformed_signature"),
            ("address", json!("0x00"), "invalid_siwx_payload"),
            ("address", json!(Address::new([1; 20])), "invalid_siwx_signature"),
            ("statement", json!("a\nb"), "invalid_siwx_payload"),
            ("statement", json!("Pay everything"), "invalid_siwx_signature"),
            ("statement", Value::Null, "invalid_siwx_signature"),
            ("resources", json!([]), "invalid_siwx_signature"),
            ("resources", json!(["a\nb"]), "invalid_siwx_payload"),
        ] {
            let outcome = check(|payload| payload[field] = value.clone(), "2026-11-20T10:32:00Z");
            assert_eq!(outcome, Err(code), "{field} = {value}");
        }
    }

    #[test]
    fn our_own_challenge_can_be_signed_and_holds() {
        let now = at("2026-11-20T10:30:00.123Z");
        let challenge = audience().challenge("Claim this account", "0123456789abcdef", now);
        let wire = serde_json::to_value(&challenge).unwrap();
        assert_eq!(wire["info"]["issuedAt"], "2026-11-20T10:30:00.123Z");
        assert_eq!(wire["info"]["expirationTime"], "2026-11-20T10:35:00.123Z");
        let chain = json!([{"chainId": "eip155:84532", "type": "eip191"}]);
        assert_eq!(wire["supportedChains"], chain);
        let signed = challenge.sign(&wallet()).unwrap();
        let proof = audience().check(&signed, now).unwrap();
        assert_eq!(proof.address, wallet().address());
        assert_eq!(proof.nonce, "0123456789abcdef");
        let header = crate::x402::header::encode(&signed);
        assert_eq!(SignedChallenge::parse(&header).unwrap(), signed);
        assert!(text("/sign_in/message").contains("api.example.com"));
    }

    proptest! {
        #[test]
        fn any_field_is_checked_without_panic(field in 0usize..13, value in "\\PC*") {
            let fields = [
                "domain", "address", "statement", "uri", "version", "chainId", "type", "nonce",
                "issuedAt", "expirationTime", "notBefore", "requestId", "signature",
            ];
            let change = |payload: &mut Value| payload[fields[field]] = json!(value);
            let outcome = check(change, "2026-11-20T10:32:00Z");
            prop_assert!(outcome.is_err());
        }
    }
}
