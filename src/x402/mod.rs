//! Stub: thrown away when the real floor is taken over.

use std::fmt;

use sha3::{Digest, Keccak256};

/// An EVM address. Written with its EIP-55 checksum.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Address([u8; 20]);

/// Why a text is not an [`Address`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HexError {
    /// Not 0x and 40 hexadecimal digits.
    #[error("it is not an address")]
    Malformed,
    /// Mixed case whose checksum does not fit: a digit or a letter's case is wrong.
    #[error("its checksum is wrong, so a digit may be")]
    Checksum,
}

impl Address {
    /// The bytes.
    pub const fn as_bytes(&self) -> &[u8; 20] {
        &self.0
    }

    /// Reads an address; a mixed-case one must carry the right checksum.
    pub fn parse_checksummed(text: &str) -> Result<Self, HexError> {
        let digits = text.strip_prefix("0x").ok_or(HexError::Malformed)?;
        let mut bytes = [0; 20];
        hex::decode_to_slice(digits, &mut bytes).map_err(|_| HexError::Malformed)?;
        let address = Self(bytes);
        let one_case = digits == digits.to_lowercase() || digits == digits.to_uppercase();
        if !one_case && address.to_string() != text { Err(HexError::Checksum) } else { Ok(address) }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lower = hex::encode(self.0);
        let hash = hex::encode(Keccak256::digest(lower.as_bytes()));
        f.write_str("0x")?;
        for (digit, weight) in lower.chars().zip(hash.chars()) {
            let digit = if weight >= '8' { digit.to_ascii_uppercase() } else { digit };
            write!(f, "{digit}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A network.
#[derive(Debug, PartialEq, Eq)]
pub struct Network {
    /// Its CAIP-2 id.
    pub caip2: &'static str,
    /// Whether real money moves on it.
    pub mainnet: bool,
}

static NETWORKS: [Network; 2] = [
    Network { caip2: "eip155:8453", mainnet: true },
    Network { caip2: "eip155:84532", mainnet: false },
];

impl Network {
    /// The network of a CAIP-2 id, if it is in the table.
    pub fn by_caip2(id: &str) -> Option<&'static Self> {
        NETWORKS.iter().find(|network| network.caip2 == id)
    }
}
