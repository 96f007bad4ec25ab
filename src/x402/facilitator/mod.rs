//! Talking to facilitators: services that check a signed payment and bring it to the chain.
//!
//! Which of them a payment goes to is chosen before anything is sent, and from then on it goes to no
//! other: two facilitators that settle one payment are two stories about one transfer.

pub mod cdp;
mod http;
mod list;
mod peer;
mod translate;

use futures_util::future::BoxFuture;
use serde_json::Value;

use super::classify::{Expected, SettleOutcome, VerifyOutcome};
use super::heard::Heard;

pub use cdp::{CdpKey, CdpKeyError};
pub use http::{Connector, FacilitatorSettings, HttpFacilitator};
pub use list::{Facilitators, Listing, Reach, Route, Standing};
pub use translate::payload_in;

/// Whoever verifies and settles payments for us.
pub trait Facilitator: Send + Sync {
    /// The kinds of payment it serves.
    fn supported(&self) -> BoxFuture<'_, Result<Supported, FacilitatorError>>;

    /// Asks whether a payment could be settled. It moves nothing and promises nothing.
    fn verify<'a>(
        &'a self,
        version: u8,
        payload: &'a Value,
        requirements: &'a Value,
    ) -> BoxFuture<'a, Heard<VerifyOutcome>>;

    /// Settles a payment, once: it is never repeated here.
    ///
    /// `first_attempt` says that this authorization was never sent to any `/settle` before. The
    /// attempt is on record before this is called, and the call is not dropped before it ends.
    fn settle<'a>(
        &'a self,
        version: u8,
        payload: &'a Value,
        requirements: &'a Value,
        expected: &'a Expected<'a>,
        first_attempt: bool,
    ) -> BoxFuture<'a, Heard<SettleOutcome>>;
}

/// Why a facilitator cannot be used or asked.
#[derive(Debug, thiserror::Error)]
pub enum FacilitatorError {
    /// Its address is not one. The address is left out, since it may carry a key.
    #[error("the facilitator's address is not an http or https URL")]
    Address,
    /// The HTTP client cannot be built.
    #[error("the HTTP client cannot be built")]
    Client(#[source] reqwest::Error),
    /// It gave no answer.
    #[error("the facilitator gave no answer: {detail}")]
    Unreachable {
        /// What went wrong.
        detail: String,
    },
    /// Its answer is not what was asked for.
    #[error("the facilitator answered {status} with something unreadable")]
    Unreadable {
        /// The HTTP status.
        status: u16,
    },
}

/// One kind of payment that a facilitator serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kind {
    /// The version of the protocol.
    pub version: u64,
    /// The payment scheme.
    pub scheme: String,
    /// The network: CAIP-2 in version 2, a short name in version 1.
    pub network: String,
}

/// What a facilitator serves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Supported {
    /// Each kind it listed; entries that cannot be read are left out.
    pub kinds: Vec<Kind>,
}

impl Supported {
    /// Reads the answer of `/supported`; `None` when it has no list of kinds.
    pub fn read(body: &[u8]) -> Option<Self> {
        let answer: Value = serde_json::from_slice(body).ok()?;
        let kinds = answer.get("kinds")?.as_array()?.iter().filter_map(|kind| {
            Some(Kind {
                version: kind.get("x402Version")?.as_u64()?,
                scheme: kind.get("scheme")?.as_str()?.to_owned(),
                network: kind.get("network")?.as_str()?.to_owned(),
            })
        });
        Some(Self { kinds: kinds.collect() })
    }

    /// Whether `exact` payments on a network are served. The network goes by its CAIP-2 id in
    /// version 2 and by its short name in version 1, and is looked up by the exact name.
    pub fn supports(&self, version: u8, network: &str) -> bool {
        let version = u64::from(version);
        self.kinds.iter().any(|kind| {
            kind.version == version && kind.scheme == "exact" && kind.network == network
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_read_leniently_and_looked_up_exactly() {
        let body =
            br#"{"kinds":[{"x402Version":2,"scheme":"exact","network":"eip155:84532","extra":{}},
            {"x402Version":1,"scheme":"exact","network":"base-sepolia"}, 7, {"scheme":"exact"},
            {"x402Version":2,"scheme":"upto","network":"eip155:8453"}],"more":1}"#;
        let supported = Supported::read(body).unwrap();
        assert_eq!(supported.kinds.len(), 3);
        assert!(supported.supports(2, "eip155:84532"));
        assert!(supported.supports(1, "base-sepolia"));
        assert!(!supported.supports(1, "eip155:84532"));
        assert!(!supported.supports(2, "eip155:8453"), "another scheme");
        for garbage in ["", "[]", "{}", r#"{"kinds":{}}"#] {
            assert_eq!(Supported::read(garbage.as_bytes()), None, "{garbage}");
        }
    }
}
