use std::fmt;

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

use super::{Entropy, sha256};

/// Encrypts secrets at rest, each bound to what it belongs to: moved to another row, it cannot be
/// read any more.
///
/// A sealed secret is the key's id (one byte, so that another key can be told from a broken text), a
/// nonce (12 bytes) and the ciphertext of ChaCha20-Poly1305 with its tag (16 bytes more than the
/// secret). Nonces are random: a key is good for some billions of secrets.
pub struct SecretCipher {
    key: LessSafeKey,
    id: u8,
}

/// Why a sealed secret cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CipherError {
    #[error("it was sealed with another key")]
    OtherKey,
    #[error("it is broken, or belongs to something else")]
    Broken,
}

impl SecretCipher {
    /// The cipher of a key.
    pub fn new(key: &[u8; 32]) -> Self {
        let [id, ..] = sha256([b"bursar-secret-key-id".as_slice(), key]);
        let key = UnboundKey::new(&CHACHA20_POLY1305, key).expect("the key has 32 bytes");
        Self { key: LessSafeKey::new(key), id }
    }

    /// Which key it is, as the first byte of what it seals says. Another key has another id, as a rule.
    pub const fn key_id(&self) -> u8 {
        self.id
    }

    /// Seals a secret that belongs to something with these bytes.
    pub fn seal(&self, secret: &[u8], owner: &[u8], entropy: &dyn Entropy) -> Vec<u8> {
        let nonce: [u8; NONCE_LEN] = entropy.array();
        let mut text = secret.to_vec();
        self.key
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(owner),
                &mut text,
            )
            .expect("only texts of gigabytes cannot be sealed");
        [&[self.id], nonce.as_slice(), &text].concat()
    }

    /// Opens a sealed secret of that owner.
    pub fn open(&self, sealed: &[u8], owner: &[u8]) -> Result<Vec<u8>, CipherError> {
        let (id, rest) = sealed.split_first().ok_or(CipherError::Broken)?;
        if *id != self.id {
            return Err(CipherError::OtherKey);
        }
        let (nonce, text) = rest.split_first_chunk::<NONCE_LEN>().ok_or(CipherError::Broken)?;
        let mut text = text.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let opened = self.key.open_in_place(nonce, Aad::from(owner), &mut text);
        opened.map(|secret| secret.to_vec()).map_err(|_| CipherError::Broken)
    }
}

impl fmt::Debug for SecretCipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretCipher(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ground::SeededEntropy;

    #[test]
    fn what_is_sealed_is_read_by_its_key_and_owner_alone() {
        let (cipher, entropy) = (SecretCipher::new(&[1; 32]), SeededEntropy::new(1));
        let sealed = cipher.seal(b"swordfish", b"a", &entropy);
        assert_eq!(sealed.len(), 1 + NONCE_LEN + 9 + 16);
        assert!(!sealed.windows(5).any(|part| part == b"sword"));
        assert_ne!(sealed, cipher.seal(b"swordfish", b"a", &entropy), "nonces differ");
        assert_eq!(cipher.open(&sealed, b"a"), Ok(b"swordfish".to_vec()));
        assert_eq!(cipher.open(&sealed, b"b"), Err(CipherError::Broken));
        assert_eq!(SecretCipher::new(&[2; 32]).open(&sealed, b"a"), Err(CipherError::OtherKey));
        for at in 1..sealed.len() {
            let mut broken = sealed.clone();
            broken[at] ^= 1;
            assert_eq!(cipher.open(&broken, b"a"), Err(CipherError::Broken), "byte {at}");
        }
        for length in 1..sealed.len() {
            assert_eq!(cipher.open(&sealed[..length], b"a"), Err(CipherError::Broken));
        }
        assert_eq!(cipher.open(&[], b"a"), Err(CipherError::Broken));
    }
}
