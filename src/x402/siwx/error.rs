use chrono::{DateTime, Utc};

use crate::x402::{Address, HeaderError};

/// Why a proof proves nothing.
#[derive(Debug, thiserror::Error)]
pub enum SiwxError {
    /// Neither JSON nor base64 of JSON, or too long.
    #[error("the proof cannot be decoded")]
    Undecodable(#[source] HeaderError),
    /// A field is not what it must be, or breaks out of its line.
    #[error("{field} is malformed")]
    Malformed {
        /// Which one.
        field: &'static str,
    },
    /// Signed for another host.
    #[error("domain is {got}, expected {expected}")]
    DomainMismatch {
        /// Ours.
        expected: String,
        /// The proof's.
        got: String,
    },
    /// Signed for another endpoint.
    #[error("uri is {got}, expected {expected}")]
    UriMismatch {
        /// Ours.
        expected: String,
        /// The proof's.
        got: String,
    },
    /// No time at all.
    #[error("issuedAt is not an RFC 3339 time")]
    IssuedAt,
    /// Too old.
    #[error("issuedAt is {issued_at}, more than {age_max} seconds ago")]
    IssuedAtTooOld {
        /// The proof's.
        issued_at: DateTime<Utc>,
        /// How many seconds are accepted.
        age_max: i64,
    },
    /// Too new.
    #[error("issuedAt is {issued_at}, in the future")]
    IssuedAtInFuture {
        /// The proof's.
        issued_at: DateTime<Utc>,
    },
    /// No time at all.
    #[error("expirationTime is not an RFC 3339 time")]
    ExpirationTime,
    /// Over.
    #[error("the challenge expired at {expired_at}")]
    Expired {
        /// When.
        expired_at: DateTime<Utc>,
    },
    /// No time at all.
    #[error("notBefore is not an RFC 3339 time")]
    NotBefore,
    /// Not begun.
    #[error("the challenge is valid only from {not_before}")]
    NotYetValid {
        /// From when.
        not_before: DateTime<Utc>,
    },
    /// Not one that we could have made. The caller says the same of one that is unknown or used.
    #[error("the nonce is not valid")]
    Nonce,
    /// Not an EVM chain's CAIP-2 id.
    #[error("chainId is not eip155: and a number")]
    ChainId,
    /// A chain or a way of signing that is not offered.
    #[error("chain {chain_id} with {kind} is not supported")]
    UnsupportedChain {
        /// The proof's chain.
        chain_id: String,
        /// The proof's way of signing.
        kind: String,
    },
    /// Not 65 bytes of hexadecimal.
    #[error("the signature is not 0x and 130 hexadecimal digits")]
    MalformedSignature,
    /// Signed by somebody else, or over something else.
    #[error("the signature is not that of {address}")]
    Signature {
        /// Who should have signed.
        address: Address,
    },
}

impl SiwxError {
    /// The protocol's name of the fact.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Undecodable(_) | Self::Malformed { .. } => "invalid_siwx_payload",
            Self::DomainMismatch { .. } => "invalid_siwx_domain_mismatch",
            Self::UriMismatch { .. } => "invalid_siwx_uri_mismatch",
            Self::IssuedAt => "invalid_siwx_issued_at",
            Self::IssuedAtTooOld { .. } => "invalid_siwx_issued_at_too_old",
            Self::IssuedAtInFuture { .. } => "invalid_siwx_issued_at_in_future",
            Self::ExpirationTime => "invalid_siwx_expiration_time",
            Self::Expired { .. } => "invalid_siwx_expired",
            Self::NotBefore => "invalid_siwx_not_before",
            Self::NotYetValid { .. } => "invalid_siwx_not_yet_valid",
            Self::Nonce => "invalid_siwx_nonce",
            Self::ChainId => "invalid_siwx_chain_id",
            Self::UnsupportedChain { .. } => "invalid_siwx_unsupported_chain",
            Self::MalformedSignature => "invalid_siwx_malformed_signature",
            Self::Signature { .. } => "invalid_siwx_signature",
        }
    }
}
