//! Sign-in-with-x: a wallet proves who it is by signing a text (EIP-4361), without paying.

mod audience;
mod challenge;
mod error;

pub use audience::{Audience, Proof};
pub use challenge::{Challenge, ChallengeChain, ChallengeInfo, SignedChallenge};
pub use error::SiwxError;
