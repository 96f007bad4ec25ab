//! EIP-712 digests and signature recovery.

use k256::ecdsa::{RecoveryId, Signature, VerifyingKey};
use sha3::{Digest, Keccak256};

/// The EIP-712 domain of a token.
#[derive(Clone, Copy, Debug)]
pub struct Domain<'a> {
    /// The token's name.
    pub name: &'a str,
    /// The version of its signing domain.
    pub version: &'a str,
    /// The chain.
    pub chain_id: u64,
    /// The token contract.
    pub verifying_contract: [u8; 20],
}

fn keccak(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Keccak256::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}

fn word<const N: usize>(bytes: [u8; N]) -> [u8; 32] {
    let mut word = [0; 32];
    let start = 32_usize.saturating_sub(N);
    for (to, from) in word.iter_mut().skip(start).zip(bytes) {
        *to = from;
    }
    word
}

/// The digest that the payer of a `TransferWithAuthorization` signs.
pub fn authorization_digest(
    domain: &Domain<'_>,
    from: [u8; 20],
    to: [u8; 20],
    value: u128,
    valid_after: u64,
    valid_before: u64,
    nonce: [u8; 32],
) -> [u8; 32] {
    let domain_type =
        b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)";
    let message_type = b"TransferWithAuthorization(address from,address to,uint256 value,\
        uint256 validAfter,uint256 validBefore,bytes32 nonce)";
    let separator = keccak(&[
        &keccak(&[domain_type]),
        &keccak(&[domain.name.as_bytes()]),
        &keccak(&[domain.version.as_bytes()]),
        &word(domain.chain_id.to_be_bytes()),
        &word(domain.verifying_contract),
    ]);
    let message = keccak(&[
        &keccak(&[message_type]),
        &word(from),
        &word(to),
        &word(value.to_be_bytes()),
        &word(valid_after.to_be_bytes()),
        &word(valid_before.to_be_bytes()),
        &nonce,
    ]);
    keccak(&[b"\x19\x01", &separator, &message])
}

/// The address that made a 65-byte signature; `None` for anything malformed or with a high s.
pub fn recover(digest: &[u8; 32], signature: &[u8]) -> Option<[u8; 20]> {
    let (rs, v) = signature.split_at_checked(64)?;
    let [v] = v else { return None };
    let rs = Signature::from_slice(rs).ok()?;
    if rs.normalize_s() != rs {
        return None;
    }
    let id = RecoveryId::from_byte(v.checked_sub(27)?)?;
    let key = VerifyingKey::recover_from_prehash(digest, &rs, id).ok()?;
    let point = key.to_sec1_point(false);
    let hash = keccak(&[point.as_bytes().get(1..)?]);
    hash.get(12..)?.try_into().ok()
}
