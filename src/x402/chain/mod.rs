//! Reading an EVM chain: whether an authorization was used, and whether a payment arrived.

mod finding;
mod logs;
mod rpc;
mod scan;

use chrono::{DateTime, Utc};
use futures_util::future::BoxFuture;

use crate::ground::Amount;

pub use finding::{Finding, Sight};
pub use rpc::{RpcChain, RpcSettings};
pub use scan::{Block, Incoming};

/// A payment as the chain knows it. Addresses and nonce are `0x` and lower-case hex.
#[derive(Clone, Copy, Debug)]
pub struct ChainPayment<'a> {
    /// The token contract.
    pub asset: &'a str,
    /// Who signed and pays.
    pub payer: &'a str,
    /// The authorization's nonce.
    pub nonce: &'a str,
    /// Who is paid.
    pub pay_to: &'a str,
    /// How much.
    pub amount: Amount,
}

/// What the chain says about a payment in one transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// The payment is in it.
    Confirmed {
        /// The block's number.
        block_number: u64,
        /// The block's hash, in lower case.
        block_hash: String,
        /// The index in the block of the log of the transfer.
        log_index: u64,
        /// The block's time, when the node told it.
        block_time: Option<DateTime<Utc>>,
    },
    /// The transaction is not in a block.
    Missing,
    /// The transaction is in a block and failed.
    Reverted,
    /// The transaction succeeded and is not this payment.
    Mismatch(Mismatch),
}

/// How a transaction fails to be the payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// The token logged no use of this authorization.
    #[error("the token logged no use of this authorization")]
    Authorization,
    /// The use of this authorization moved something else: another recipient or amount.
    #[error("the authorization moved something else")]
    Transfer,
}

/// What became of an authorization, by the logs of its token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trace {
    /// No log of it since the block that was asked for.
    Absent,
    /// It was used in this transaction.
    Used {
        /// The transaction's hash, in lower case.
        transaction: String,
    },
    /// Its signer canceled it, so that it can never be used.
    Canceled {
        /// The transaction's hash, in lower case.
        transaction: String,
    },
}

/// Why the chain could not be read. The node's address is left out, since it may carry a key. What the
/// node says may carry one too: customers are told [`ChainError::reason`].
#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    /// The node's address is not one.
    #[error("the node's address is not an http or https URL")]
    Address,
    /// The HTTP client cannot be built.
    #[error("the HTTP client cannot be built")]
    Client(#[source] reqwest::Error),
    /// A value to ask for is not hex of the right length.
    #[error("{0} is not hex of the right length")]
    Argument(&'static str),
    /// The node gave no answer.
    #[error("the node gave no answer: {detail}")]
    Unreachable {
        /// What went wrong.
        detail: String,
    },
    /// The node answered with an error.
    #[error("the node refused {method}: {code} {message}")]
    Refused {
        /// What was asked.
        method: &'static str,
        /// Its code.
        code: i64,
        /// Its words.
        message: String,
    },
    /// The node is of another chain.
    #[error("the node is of chain {got}, and chain {expected} is wanted")]
    WrongChain {
        /// The chain that it is configured for.
        expected: u64,
        /// The chain that it is of.
        got: u64,
    },
    /// The node's answer is not what was asked for.
    #[error("the node's answer to {method} is unreadable: {what}")]
    Unreadable {
        /// What was asked.
        method: &'static str,
        /// What is wrong with the answer.
        what: &'static str,
    },
}

impl ChainError {
    /// What kind of failure it is, in words of our own.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Address | Self::Client(_) | Self::Argument(_) => "node_not_asked",
            Self::Unreachable { .. } => "node_unreachable",
            Self::Refused { .. } => "node_refused",
            Self::WrongChain { .. } => "node_of_another_chain",
            Self::Unreadable { .. } => "node_unreadable",
        }
    }
}

/// A chain that can be read.
pub trait Chain: Send + Sync {
    /// The chain's id, to compare with the network it is configured for.
    fn chain_id(&self) -> BoxFuture<'_, Result<u64, ChainError>>;

    /// Whether the authorization was used or canceled, as of the latest block.
    fn authorization_used<'a>(
        &'a self,
        asset: &'a str,
        payer: &'a str,
        nonce: &'a str,
    ) -> BoxFuture<'a, Result<bool, ChainError>>;

    /// Whether a transaction holds the payment.
    fn settlement<'a>(
        &'a self,
        payment: &'a ChainPayment<'a>,
        transaction: &'a str,
    ) -> BoxFuture<'a, Result<Evidence, ChainError>>;

    /// The newest block.
    fn head(&self) -> BoxFuture<'_, Result<Block, ChainError>>;

    /// A block by its number; none beyond the newest.
    fn block_at(&self, number: u64) -> BoxFuture<'_, Result<Option<Block>, ChainError>>;

    /// Searches the token's logs, from a block on, for what became of an authorization.
    fn find_authorization<'a>(
        &'a self,
        asset: &'a str,
        payer: &'a str,
        nonce: &'a str,
        from_block: u64,
    ) -> BoxFuture<'a, Result<Trace, ChainError>>;

    /// What became of a payment, whoever brought it, in whatever transaction since a moment.
    fn find<'a>(
        &'a self,
        payment: &'a ChainPayment<'a>,
        since: DateTime<Utc>,
    ) -> BoxFuture<'a, Result<Sight, ChainError>>;
}
