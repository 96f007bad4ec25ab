use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, TimeDelta, Utc};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue, InvalidHeaderValue};
use ring::hmac;
use uuid::Uuid;

use crate::ground::{CipherError, Entropy, SecretCipher};

/// How long the old secret signs too after a rotation.
pub const ROTATION: TimeDelta = TimeDelta::hours(24);

/// The secret that signs what is sent to one address.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningSecret([u8; 32]);

impl SigningSecret {
    /// A fresh one.
    pub fn generate(entropy: &dyn Entropy) -> Self {
        Self(entropy.array())
    }

    /// How its owner is shown it, once.
    pub fn reveal(&self) -> String {
        format!("whsec_{}", STANDARD.encode(self.0))
    }

    /// How it is kept: sealed, and bound to the id of what it belongs to.
    pub fn seal(&self, cipher: &SecretCipher, owner: Uuid, entropy: &dyn Entropy) -> Vec<u8> {
        cipher.seal(&self.0, owner.as_bytes(), entropy)
    }

    /// The secret that was kept so.
    pub fn open(cipher: &SecretCipher, owner: Uuid, sealed: &[u8]) -> Result<Self, CipherError> {
        let secret = cipher.open(sealed, owner.as_bytes())?;
        secret.try_into().map(Self).map_err(|_| CipherError::Broken)
    }

    /// Those that sign now, the present one first: the one before it does until its time is over.
    pub fn open_all(
        cipher: &SecretCipher,
        owner: Uuid,
        present: &[u8],
        previous: Option<&(Vec<u8>, DateTime<Utc>)>,
        now: DateTime<Utc>,
    ) -> Result<Vec<Self>, CipherError> {
        let previous = previous.filter(|(_, until)| *until > now);
        let sealed = std::iter::once(present).chain(previous.map(|(secret, _)| secret.as_slice()));
        sealed.map(|sealed| Self::open(cipher, owner, sealed)).collect()
    }

    /// The signature of a message, as `webhook-signature` has it.
    pub fn sign(&self, id: &str, timestamp: i64, body: &str) -> String {
        sign(&self.0, id, timestamp, body)
    }
}

/// The headers of a signed request, by the names of Standard Webhooks: signed with each of the secrets.
pub fn signed_headers(
    secrets: &[SigningSecret],
    id: &str,
    timestamp: i64,
    body: &str,
) -> Result<HeaderMap, InvalidHeaderValue> {
    let signatures: Vec<_> =
        secrets.iter().map(|secret| secret.sign(id, timestamp, body)).collect();
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert("webhook-id", HeaderValue::from_str(id)?);
    headers.insert("webhook-timestamp", HeaderValue::from(timestamp));
    headers.insert("webhook-signature", HeaderValue::from_str(&signatures.join(" "))?);
    Ok(headers)
}

fn sign(secret: &[u8], id: &str, timestamp: i64, body: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let signature = hmac::sign(&key, format!("{id}.{timestamp}.{body}").as_bytes());
    format!("v1,{}", STANDARD.encode(signature))
}

impl fmt::Debug for SigningSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningSecret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ground::{SeededEntropy, Slot, mint_uuid};
    use chrono::DateTime;

    #[test]
    fn signatures_are_those_of_standard_webhooks() {
        // The vector that the specification's own libraries are tested with.
        let secret = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let body = "{\"test\": 2432232314}";
        assert_eq!(
            sign(&secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
    }

    #[test]
    fn a_secret_is_read_for_its_owner_alone() {
        let entropy = SeededEntropy::new(1);
        let (cipher, secret) = (SecretCipher::new(&[1; 32]), SigningSecret::generate(&entropy));
        let id = |slot| mint_uuid(&entropy, DateTime::UNIX_EPOCH, Slot(slot));
        let (one, other) = (id(1), id(2));
        let sealed = secret.seal(&cipher, one, &entropy);
        assert_eq!(SigningSecret::open(&cipher, one, &sealed), Ok(secret.clone()));
        assert_eq!(SigningSecret::open(&cipher, other, &sealed), Err(CipherError::Broken));
        assert!(secret.reveal().starts_with("whsec_") && secret.reveal().len() == 50);
        assert_eq!(format!("{secret:?}"), "SigningSecret(…)");
    }
}
