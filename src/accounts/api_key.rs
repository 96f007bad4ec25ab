use std::fmt;

use sha2::{Digest, Sha256};

use crate::ground::{Entropy, Mode};

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const SECRET_CHARS: usize = 32;
const CHECKSUM_CHARS: usize = 6;

/// An API key: `bur_test_` or `bur_live_`, 32 random base-62 characters, and a CRC-32 of them in 6
/// more, so that a typing error is told apart from an unknown key, and a scanner can recognise one.
/// It is never logged or stored.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey {
    text: String,
    mode: Mode,
}

/// Why a text is not an API key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApiKeyError {
    #[error("an API key begins with bur_test_ or bur_live_ and has 38 more letters and digits")]
    Malformed,
    #[error("the API key is mistyped: its checksum does not match")]
    Mistyped,
}

/// What is stored of a key: its plain SHA-256. Keys are random, so it cannot be guessed backwards.
pub fn key_hash(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

impl ApiKey {
    /// A fresh key.
    pub fn generate(entropy: &dyn Entropy, mode: Mode) -> Self {
        let mut secret = String::with_capacity(SECRET_CHARS);
        while secret.len() < SECRET_CHARS {
            let [byte] = entropy.array();
            // Bytes from 248 on are thrown away: 62 divides 248, so every character is as likely.
            if byte < 248 {
                secret.push(character(u32::from(byte)));
            }
        }
        let text = format!("bur_{mode}_{secret}{}", checksum(&secret));
        Self { text, mode }
    }

    /// Reads a key and checks its form, not whether it exists.
    pub fn parse(text: &str) -> Result<Self, ApiKeyError> {
        let (mode, rest) = if let Some(rest) = text.strip_prefix("bur_test_") {
            (Mode::Test, rest)
        } else if let Some(rest) = text.strip_prefix("bur_live_") {
            (Mode::Live, rest)
        } else {
            return Err(ApiKeyError::Malformed);
        };
        let wanted = SECRET_CHARS.saturating_add(CHECKSUM_CHARS);
        if rest.len() != wanted || !rest.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return Err(ApiKeyError::Malformed);
        }
        let (secret, sum) = rest.split_at(SECRET_CHARS);
        if checksum(secret) != sum {
            return Err(ApiKeyError::Mistyped);
        }
        Ok(Self { text: text.to_owned(), mode })
    }

    /// The mode it belongs to.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The key itself, for the one answer that shows it.
    pub fn reveal(&self) -> &str {
        &self.text
    }

    /// Its first characters, enough to recognise it.
    pub fn hint(&self) -> String {
        self.text.chars().take(14).collect()
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}…", self.hint())
    }
}

fn character(value: u32) -> char {
    let index = usize::try_from(value % 62).unwrap_or(0);
    char::from(ALPHABET[index])
}

fn checksum(secret: &str) -> String {
    let mut rest = crc32fast::hash(secret.as_bytes());
    let mut sum = String::with_capacity(CHECKSUM_CHARS);
    for _ in 0..CHECKSUM_CHARS {
        sum.push(character(rest));
        rest /= 62;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ground::SeededEntropy;

    #[test]
    fn a_key_knows_its_own_typing_errors() {
        let key = ApiKey::generate(&SeededEntropy::new(7), Mode::Test);
        assert_eq!(ApiKey::parse(key.reveal()), Ok(key.clone()));
        let mut wrong = key.reveal().to_owned();
        let last = wrong.pop().unwrap();
        wrong.push(if last == 'A' { 'B' } else { 'A' });
        assert_eq!(ApiKey::parse(&wrong), Err(ApiKeyError::Mistyped));
        for text in ["", "bur_", "bur_test_", "bur_prod_x", "bur_test_é", &key.reveal()[..20]] {
            assert_eq!(ApiKey::parse(text), Err(ApiKeyError::Malformed));
        }
        assert!(!format!("{key:?}").contains(&key.reveal()[20..]));
    }
}
