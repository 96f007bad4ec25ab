//! Hashes, signatures and wallets as Ethereum has them.

use std::fmt;

use k256::ecdsa::{RecoveryId, Signature, SigningKey, VerifyingKey};
use sha3::{Digest, Keccak256};

use super::{Address, Authorization, Network};

const DOMAIN_TYPE: &str =
    "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)";
const TRANSFER_TYPE: &str = "TransferWithAuthorization(address from,address to,uint256 value,\
     uint256 validAfter,uint256 validBefore,bytes32 nonce)";

/// Keccak-256 over the parts, one after the other.
pub fn keccak256<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> [u8; 32] {
    let mut hash = Keccak256::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}

/// What ties a signature to one contract on one chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Domain<'a> {
    /// The contract's name. It differs per chain, and a wrong one makes every signature fail.
    pub name: &'a str,
    /// The contract's version.
    pub version: &'a str,
    /// The chain.
    pub chain_id: u64,
    /// The contract.
    pub verifying_contract: Address,
}

impl Domain<'_> {
    /// The domain separator.
    pub fn separator(&self) -> [u8; 32] {
        keccak256([
            keccak256([DOMAIN_TYPE.as_bytes()]).as_slice(),
            &keccak256([self.name.as_bytes()]),
            &keccak256([self.version.as_bytes()]),
            &word(&self.chain_id.to_be_bytes()),
            &word(self.verifying_contract.as_bytes()),
        ])
    }
}

/// The EIP-712 hash of a `TransferWithAuthorization` (EIP-3009).
pub fn transfer_hash(authorization: &Authorization) -> [u8; 32] {
    keccak256([
        keccak256([TRANSFER_TYPE.as_bytes()]).as_slice(),
        &word(authorization.from.as_bytes()),
        &word(authorization.to.as_bytes()),
        &word(&authorization.value.to_be_bytes()),
        &word(&authorization.valid_after.to_be_bytes()),
        &word(&authorization.valid_before.to_be_bytes()),
        authorization.nonce.as_bytes(),
    ])
}

/// What a payer signs to pay in a network's USDC.
pub fn transfer_digest(network: &Network, authorization: &Authorization) -> [u8; 32] {
    digest(&network.domain().separator(), &transfer_hash(authorization))
}

/// The EIP-712 digest of a struct in a domain.
pub fn digest(separator: &[u8; 32], struct_hash: &[u8; 32]) -> [u8; 32] {
    keccak256([b"\x19\x01".as_slice(), separator, struct_hash])
}

/// The EIP-191 digest of a text that a wallet signs for a person.
pub fn personal_digest(message: &str) -> [u8; 32] {
    let length = message.len().to_string();
    keccak256([b"\x19Ethereum Signed Message:\n", length.as_bytes(), message.as_bytes()])
}

/// Bytes padded on the left to one ABI word. What does not fit is cut off on the left.
fn word(bytes: &[u8]) -> [u8; 32] {
    let mut word = [0; 32];
    for (to, from) in word.iter_mut().rev().zip(bytes.iter().rev()) {
        *to = *from;
    }
    word
}

/// Who signed a digest.
///
/// Exactly as strict as the official facilitator and USDC itself: 65 bytes, a `v` of 27 or 28, and
/// the low `s`, so that of the two signatures that mathematics allows only one is accepted.
pub fn recover(digest: &[u8; 32], signature: &[u8]) -> Option<Address> {
    let (rs, v) = match signature {
        [rs @ .., v @ (27 | 28)] if rs.len() == 64 => (rs, v - 27),
        _ => return None,
    };
    let signature = Signature::from_slice(rs).ok()?;
    if signature.normalize_s() != signature {
        return None;
    }
    let id = RecoveryId::from_byte(v)?;
    VerifyingKey::recover_from_prehash(digest, &signature, id).ok().map(|key| address_of(&key))
}

/// The last 20 bytes of the hash of the uncompressed public key.
fn address_of(key: &VerifyingKey) -> Address {
    let point = key.to_sec1_point(false);
    let hash = keccak256(point.as_bytes().get(1..));
    let mut bytes = [0; 20];
    bytes.copy_from_slice(&hash[12..]);
    Address::new(bytes)
}

/// A wallet: a secret key that signs. Never shown.
pub struct Wallet {
    key: SigningKey,
    address: Address,
}

impl Wallet {
    /// From a secret key; `None` for the few 32-byte values that are no key.
    pub fn from_secret(secret: &[u8; 32]) -> Option<Self> {
        let key = SigningKey::from_slice(secret).ok()?;
        let address = address_of(key.verifying_key());
        Some(Self { key, address })
    }

    /// The address that receives and pays.
    pub fn address(&self) -> Address {
        self.address
    }

    /// Signs a digest: `r`, `s` and a `v` of 27 or 28.
    pub fn sign_digest(&self, digest: &[u8; 32]) -> [u8; 65] {
        let (signature, id) = self.key.sign_prehash_recoverable(digest);
        let mut bytes = [0; 65];
        let (rs, v) = bytes.split_at_mut(64);
        rs.copy_from_slice(&signature.to_bytes());
        v.fill(27 + id.to_byte());
        bytes
    }
}

impl fmt::Debug for Wallet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wallet").field("address", &self.address).finish_non_exhaustive()
    }
}
