use crate::x402::{FieldError, HeaderError};

/// Why headers carry no payment that can be looked at.
#[derive(Debug, thiserror::Error)]
pub enum PaymentError {
    /// The header is not base64 JSON.
    #[error("{header} cannot be decoded")]
    Header {
        /// Which header.
        header: &'static str,
        /// What is wrong with it.
        #[source]
        source: HeaderError,
    },
    /// The JSON is no object: a list of values without their names, for one.
    #[error("the payment is not a JSON object")]
    NotAnObject,
    /// It cannot be kept, and so not be settled: settling must be repeatable from what is kept.
    #[error("the payment has a text with U+0000, or is nested deeper than {depth_max} levels")]
    Unkeepable {
        /// How deep it may be nested.
        depth_max: usize,
    },
    /// The JSON is not a payment.
    #[error("the payment does not have the shape of the protocol")]
    Shape(#[source] serde_json::Error),
    /// A field is there twice, in different case, so that readers disagree about its value.
    #[error("the payment has more than one field `{field}`")]
    AmbiguousField {
        /// Which one.
        field: &'static str,
    },
    /// The header carries another version than its own.
    #[error("x402Version is {got}, expected {expected}")]
    Version {
        /// The header's version.
        expected: u8,
        /// The payment's.
        got: u64,
    },
    /// The scheme is not the one offered.
    #[error("scheme `{got}` is not offered, only `exact` is")]
    Scheme {
        /// The payment's.
        got: String,
    },
    /// The network is in no table.
    #[error("network `{got}` is not known")]
    UnknownNetwork {
        /// The payment's.
        got: String,
    },
    /// The authorization is missing or malformed.
    #[error("the authorization cannot be read")]
    Authorization(#[source] FieldError),
    /// The signature is missing or not hexadecimal.
    #[error("payload.signature is not 0x and hexadecimal digits")]
    Signature,
    /// The payment identifier is not 16 to 128 of `a-zA-Z0-9_-`.
    #[error("payment-identifier.info.id is not 16 to 128 of a-z, A-Z, 0-9, _ and -")]
    PaymentIdentifier,
}

impl PaymentError {
    /// A stable name of the fact.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Header { .. } => "payment_undecodable",
            Self::NotAnObject | Self::Unkeepable { .. } | Self::Shape(_) => "payment_malformed",
            Self::AmbiguousField { .. } => "payment_ambiguous",
            Self::Version { .. } => "payment_version_unsupported",
            Self::Scheme { .. } => "payment_scheme_unsupported",
            Self::UnknownNetwork { .. } => "payment_network_unknown",
            Self::Authorization(_) => "payment_authorization_malformed",
            Self::Signature => "payment_signature_malformed",
            Self::PaymentIdentifier => "payment_identifier_malformed",
        }
    }
}
