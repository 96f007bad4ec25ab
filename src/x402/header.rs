//! JSON in HTTP headers: UTF-8, standard base64.

use base64::alphabet::STANDARD;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use base64::{DecodeError, Engine};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The longest header that is read.
pub const HEADER_MAX: usize = 16 * 1024;

/// Writes padding, because the Python client insists on it; reads with or without.
const ENGINE: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Why a header cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum HeaderError {
    /// Longer than [`HEADER_MAX`].
    #[error("the header has {length} characters; at most {HEADER_MAX} are read")]
    TooLong {
        /// How long it is.
        length: usize,
    },
    /// Not standard base64.
    #[error("the header is not standard base64")]
    Base64(#[source] DecodeError),
    /// Not the JSON that belongs here.
    #[error("the header does not contain the expected JSON")]
    Json(#[source] serde_json::Error),
}

/// A value as a header.
pub fn encode(value: &impl Serialize) -> String {
    let json = serde_json::to_vec(value).expect("wire types have string keys and no other failure");
    ENGINE.encode(json)
}

/// A value from a header.
pub fn decode<T: DeserializeOwned>(text: &str) -> Result<T, HeaderError> {
    if text.len() > HEADER_MAX {
        return Err(HeaderError::TooLong { length: text.len() });
    }
    let json = ENGINE.decode(text).map_err(HeaderError::Base64)?;
    serde_json::from_slice(&json).map_err(HeaderError::Json)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::x402::vectors::{VECTORS, text};
    use proptest::prelude::*;
    use serde_json::{Value, json};

    #[test]
    fn captured_headers_decode() {
        let payments = VECTORS.get("payments").unwrap().as_object().unwrap();
        assert_eq!(payments.len(), 5);
        for payment in payments.values() {
            let decoded: Value = decode(payment["value"].as_str().unwrap()).unwrap();
            assert_eq!(decoded, payment["decoded"]);
        }
    }

    #[test]
    fn padding_is_written_and_optional_to_read() {
        let value = json!({"ü": "€+/"});
        let header = encode(&value);
        assert_eq!(header.len() % 4, 0);
        assert!(header.ends_with('='));
        assert_eq!(decode::<Value>(header.trim_end_matches('=')).unwrap(), value);
        assert_eq!(decode::<Value>(&header).unwrap(), value);
    }

    #[test]
    fn refusals_say_what_is_wrong() {
        let long = "A".repeat(HEADER_MAX + 1);
        assert!(matches!(decode::<Value>(&long), Err(HeaderError::TooLong { length: 16_385 })));
        assert!(matches!(decode::<Value>("eyJ-"), Err(HeaderError::Base64(_))), "URL-safe");
        assert!(matches!(decode::<Value>("/w=="), Err(HeaderError::Json(_))), "not UTF-8");
        assert!(matches!(decode::<Value>(""), Err(HeaderError::Json(_))));
        let deep = ENGINE.encode("[".repeat(8000));
        assert!(matches!(decode::<Value>(&deep), Err(HeaderError::Json(_))), "too deep");
        assert!(decode::<Value>(text("/payment_required_v2/value")).is_ok());
    }

    proptest! {
        #[test]
        fn round_trip_and_no_panic(text in "\\PC*", noise in "[A-Za-z0-9+/=]{0,64}") {
            prop_assert_eq!(decode::<String>(&encode(&text)).unwrap(), text.clone());
            let _ = decode::<Value>(&text);
            let _ = decode::<Value>(&noise);
        }
    }
}
