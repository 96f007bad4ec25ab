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
    /// EIP-55: a letter is upper case where the hash of the lower-case text has a nibble of 8 or
    /// more.
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn shows_the_checksums_of_eip_55() {
        for text in [
            "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
            "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
            "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
            "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
            "0x52908400098527886E0F7030069857D2E4169EE7",
        ] {
            for spelling in [text.to_owned(), text.to_lowercase()] {
                let address: Address = spelling.parse().unwrap();
                assert_eq!(address.to_string(), text);
                assert_eq!(address.lower(), text.to_lowercase());
                assert_eq!(Address::parse_checksummed(&spelling), Ok(address));
            }
        }
    }

    #[test]
    fn refuses_what_is_not_an_address() {
        for text in ["", "0x", "0x00", "5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", "0xé"] {
            assert_eq!(text.parse::<Address>(), Err(HexError::Malformed { digits: 40 }), "{text}");
        }
        let upper_prefix = "0X5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed";
        assert!(upper_prefix.parse::<Address>().is_err());
        let mistyped = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAeD";
        assert_eq!(Address::parse_checksummed(mistyped), Err(HexError::Checksum));
        assert!(mistyped.parse::<Address>().is_ok());
    }

    proptest! {
        #[test]
        fn every_address_and_nonce_reads_back(bytes: [u8; 32], text in ".*") {
            let nonce = Nonce::new(bytes);
            let upper = nonce.to_string().to_uppercase().replace("0X", "0x");
            prop_assert_eq!(upper.parse(), Ok(nonce));
            let address = Address::new(bytes[..20].try_into().unwrap());
            prop_assert_eq!(address.to_string().parse(), Ok(address));
            prop_assert_eq!(Address::parse_checksummed(&address.to_string()), Ok(address));
            let _ = text.parse::<Address>();
        }
    }
}
