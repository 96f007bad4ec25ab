//! The signed token that Coinbase's facilitator wants with each request.
//!
//! A JSON web token for one method, host and path, good for two minutes. The key's secret decides
//! the algorithm: 64 bytes in base64 are an Ed25519 key, PEM text is a P-256 key.

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use reqwest::Url;
use reqwest::header::HeaderValue;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair};
use serde_json::{Value, json};

use crate::ground::Entropy;

/// Where Coinbase's facilitator is.
pub const CDP_HOST: &str = "api.cdp.coinbase.com";

/// How long a token is good for, in seconds.
const LIFE: i64 = 120;

/// An API key of the Coinbase Developer Platform. Its secret is never shown.
#[derive(Clone)]
pub struct CdpKey(Arc<Inner>);

struct Inner {
    id: String,
    secret: KeyPair,
    host: String,
}

enum KeyPair {
    Ed25519(Ed25519KeyPair),
    P256(EcdsaKeyPair, SystemRandom),
}

/// Why a text is not the secret of an API key. Nothing of the text is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CdpKeyError {
    /// It is neither base64 nor PEM.
    #[error("it is neither base64 of 64 bytes nor a PEM private key")]
    Form,
    /// The two halves of an Ed25519 key do not belong together.
    #[error("its public half does not belong to its secret half")]
    Ed25519,
    /// The PEM holds the older form of a P-256 key.
    #[error("it is an EC PRIVATE KEY; `openssl pkcs8 -topk8 -nocrypt` makes a PRIVATE KEY of it")]
    Sec1,
    /// The PEM holds something else than a P-256 key with its public part.
    #[error("it is not a P-256 key in PKCS#8 with its public part")]
    P256,
}

impl CdpKey {
    /// A key by its id and secret.
    pub fn new(id: &str, secret: &str) -> Result<Self, CdpKeyError> {
        let (id, host) = (id.to_owned(), CDP_HOST.to_owned());
        Ok(Self(Arc::new(Inner { id, secret: KeyPair::read(secret)?, host })))
    }

    /// The same key for another host, with its port if it has one: a stand-in for Coinbase's.
    pub fn at_host(id: &str, secret: &str, host: &str) -> Result<Self, CdpKeyError> {
        let (id, host) = (id.to_owned(), host.to_owned());
        Ok(Self(Arc::new(Inner { id, secret: KeyPair::read(secret)?, host })))
    }

    /// Whether a text is the secret of a key.
    pub fn check_secret(secret: &str) -> Result<(), CdpKeyError> {
        KeyPair::read(secret).map(|_| ())
    }

    /// Whether requests to this URL carry its tokens: only those to its own host, and not in clear
    /// text, unless they stay on this machine.
    pub fn is_for(&self, url: &Url) -> bool {
        let private = url.scheme() == "https" || is_loopback(url);
        private && host_of(url) == self.0.host
    }

    /// The `Authorization` header of one request; `None` where [`Self::is_for`] says no.
    pub fn bearer(
        &self,
        method: &str,
        url: &Url,
        now: DateTime<Utc>,
        entropy: &dyn Entropy,
    ) -> Option<HeaderValue> {
        if !self.is_for(url) {
            return None;
        }
        let token = self.token(method, url, now.timestamp(), &entropy.array())?;
        let mut value = HeaderValue::try_from(format!("Bearer {token}")).ok()?;
        // Whatever logs headers leaves it out.
        value.set_sensitive(true);
        Some(value)
    }

    fn token(&self, method: &str, url: &Url, now: i64, nonce: &[u8; 16]) -> Option<String> {
        let header = json!({
            "alg": self.0.secret.algorithm(), "kid": self.0.id, "typ": "JWT",
            "nonce": hex::encode(nonce),
        });
        let claims = json!({
            "sub": self.0.id, "iss": "cdp", "iat": now, "nbf": now,
            "exp": now.saturating_add(LIFE),
            "uris": [format!("{method} {}{}", host_of(url), url.path())],
        });
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&header), part(&claims));
        let signature = self.0.secret.sign(signed.as_bytes())?;
        Some(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

impl fmt::Debug for CdpKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CdpKey(hidden)")
    }
}

impl KeyPair {
    fn read(secret: &str) -> Result<Self, CdpKeyError> {
        // Key files and environment files often have their line breaks written out.
        let text = secret.replace("\\n", "\n");
        if text.contains("-----BEGIN EC PRIVATE KEY-----") {
            return Err(CdpKeyError::Sec1);
        }
        if text.contains("-----BEGIN") { Self::p256(&text) } else { Self::ed25519(text.trim()) }
    }

    /// 32 bytes of seed and 32 of public key.
    fn ed25519(text: &str) -> Result<Self, CdpKeyError> {
        let bytes = STANDARD.decode(text).map_err(|_| CdpKeyError::Form)?;
        let (seed, public) = bytes.split_at_checked(32).ok_or(CdpKeyError::Form)?;
        if public.len() != 32 {
            return Err(CdpKeyError::Form);
        }
        let pair = Ed25519KeyPair::from_seed_and_public_key(seed, public);
        pair.map(Self::Ed25519).map_err(|_| CdpKeyError::Ed25519)
    }

    fn p256(text: &str) -> Result<Self, CdpKeyError> {
        let body = text.split_once("-----BEGIN PRIVATE KEY-----").map(|(_, rest)| rest);
        let body = body.and_then(|rest| rest.split_once("-----END PRIVATE KEY-----"));
        let (body, _) = body.ok_or(CdpKeyError::Form)?;
        let digits: String = body.split_whitespace().collect();
        let der = STANDARD.decode(digits).map_err(|_| CdpKeyError::Form)?;
        let random = SystemRandom::new();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der, &random);
        pair.map(|pair| Self::P256(pair, random)).map_err(|_| CdpKeyError::P256)
    }

    const fn algorithm(&self) -> &'static str {
        match self {
            Self::Ed25519(_) => "EdDSA",
            Self::P256(..) => "ES256",
        }
    }

    fn sign(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Ed25519(pair) => Some(pair.sign(bytes).as_ref().to_vec()),
            Self::P256(pair, random) => {
                let signature = pair.sign(random, bytes);
                // It fails only where the system has no randomness; then the request goes without a
                // token and is refused.
                signature.ok().map(|signature| signature.as_ref().to_vec())
            }
        }
    }
}

fn host_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

fn is_loopback(url: &Url) -> bool {
    matches!(url.host_str(), Some("127.0.0.1" | "[::1]" | "localhost"))
}
