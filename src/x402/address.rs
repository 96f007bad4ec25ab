use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::eip712::keccak256;

/// An account or contract on an EVM chain. Shown with the EIP-55 checksum.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address([u8; 20]);

/// The 32 bytes that make one authorization of a payer unique. Shown in lower case.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nonce([u8; 32]);

/// Why a text is not the hexadecimal value it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HexError {
    /// Not `0x` and the right number of hexadecimal digits.
    #[error("expected 0x and {digits} hexadecimal digits")]
    Malformed {
        /// How many digits there must be.
        digits: usize,
    },
    /// The mixture of upper and lower case contradicts the address, so a digit is mistyped.
    #[error("the checksum of the address does not hold")]
    Checksum,
}

impl Address {
    /// From its bytes.
    pub const fn new(bytes: [u8; 20]) -> Self {
        Self(bytes)
    }

    /// From a literal in the source, for tables that the compiler checks.
    pub(super) const fn literal(text: &str) -> Self {
        let text = text.as_bytes();
        assert!(text.len() == 42, "an address literal is 0x and 40 digits");
        let mut bytes = [0; 20];
        let mut at = 0;
        while at < 20 {
            bytes[at] = nibble(text[2 + 2 * at]) * 16 + nibble(text[3 + 2 * at]);
            at += 1;
        }
        Self(bytes)
    }

    /// The bytes.
    pub const fn as_bytes(&self) -> &[u8; 20] {
        &self.0
    }

    /// In lower case: the spelling used wherever addresses are keys.
    pub fn lower(&self) -> String {
        format!("0x{}", hex::encode(self.0))
    }

    /// Like `parse`, but a mixed-case text must carry the right checksum. For addresses typed by
    /// people, where one wrong digit sends money to nobody.
    pub fn parse_checksummed(text: &str) -> Result<Self, HexError> {
        let address: Self = text.parse()?;
        let digits = text.strip_prefix("0x").unwrap_or(text);
        let mixed = digits.bytes().any(|b| b.is_ascii_uppercase())
            && digits.bytes().any(|b| b.is_ascii_lowercase());
        if mixed && address.to_string() != text { Err(HexError::Checksum) } else { Ok(address) }
    }
}

const fn nibble(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => {
            assert!(matches!(digit, b'A'..=b'F'), "not a hexadecimal digit");
            digit - b'A' + 10
        }
    }
}

impl Nonce {
    /// From its bytes.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// Reads `0x` and exactly `2 * N` digits of any case. `0X` is refused: facilitators choke on it.
fn parse_hex<const N: usize>(text: &str) -> Result<[u8; N], HexError> {
    let malformed = HexError::Malformed { digits: 2 * N };
    let digits = text.strip_prefix("0x").ok_or(malformed)?;
    let mut bytes = [0; N];
    hex::decode_to_slice(digits, &mut bytes).map_err(|_| malformed)?;
    Ok(bytes)
}

impl FromStr for Address {
    type Err = HexError;

    fn from_str(text: &str) -> Result<Self, HexError> {
        parse_hex(text).map(Self)
    }
}

impl FromStr for Nonce {
    type Err = HexError;

    fn from_str(text: &str) -> Result<Self, HexError> {
        parse_hex(text).map(Self)
    }
}

impl fmt::Display for Address {
    /// EIP-55: a letter is upper case where the hash of the lower-case text has a nibble of 8 or more.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lower = hex::encode(self.0);
        let hash = hex::encode(keccak256([lower.as_bytes()]));
        let checked = lower
            .chars()
            .zip(hash.bytes())
            .map(|(digit, nibble)| if nibble >= b'8' { digit.to_ascii_uppercase() } else { digit });
        f.write_str("0x")?;
        f.write_str(&checked.collect::<String>())
    }
}

impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{}", hex::encode(self.0))
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
