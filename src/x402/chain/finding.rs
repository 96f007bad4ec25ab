//! What became of a payment, by its authorization: whoever brought it to the chain, and in whatever
//! transaction.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::logs::{self, Fault, field, is_hex, logs_of, quantity, word};
use super::{Block, ChainError, ChainPayment, Evidence, Mismatch, RpcChain};

/// How many blocks are asked for at once, at first. Nodes refuse too many, each in its own way.
const PAGE_BLOCKS: u64 = 2_000;

/// What the chain shows of a payment, and as of when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sight {
    /// The block that was the newest.
    pub head: Block,
    /// What became of the authorization by then.
    pub finding: Finding,
}

/// What became of an authorization.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// It was not used and not canceled.
    Unused,
    /// It moved the payment.
    Paid {
        /// The transaction's hash, in lower case.
        transaction: String,
        /// Where the payment is: always [`Evidence::Confirmed`].
        evidence: Evidence,
    },
    /// Its payer used it for something else: another recipient or amount.
    Elsewhere {
        /// The transaction's hash, in lower case.
        transaction: String,
        /// The transaction's block.
        block: u64,
    },
    /// Its payer canceled it, so that it can never be used.
    Canceled {
        /// The transaction's hash, in lower case.
        transaction: String,
        /// The transaction's block.
        block: u64,
    },
    /// It was used or canceled, and no log since that moment says in which transaction.
    Lost,
}

/// One log of an authorization.
#[derive(Debug, PartialEq, Eq)]
struct Mark {
    used: bool,
    transaction: String,
    block: u64,
}

impl RpcChain {
    /// Reads the state of the authorization, and when it is used, in which transaction, and what else
    /// is in that. State and time are of the same block: nodes behind one address may differ in how
    /// far they are, and "unused" as of an old block says nothing about the newest one.
    pub(super) async fn see(
        &self,
        payment: &ChainPayment<'_>,
        since: DateTime<Utc>,
    ) -> Result<Sight, ChainError> {
        let head = self.head().await?;
        let ChainPayment { asset, payer, nonce, .. } = *payment;
        let block = format!("0x{:x}", head.number);
        let finding = if self.ask_authorization(asset, payer, nonce, &block).await? {
            self.trace_back(payment, head, since).await?
        } else {
            Finding::Unused
        };
        Ok(Sight { head, finding })
    }

    /// Looks for the log of the authorization from the newest block backwards, page by page, until
    /// a page reaches back to that moment.
    async fn trace_back(
        &self,
        payment: &ChainPayment<'_>,
        head: Block,
        since: DateTime<Utc>,
    ) -> Result<Finding, ChainError> {
        let (mut last, mut page) = (head.number, PAGE_BLOCKS);
        loop {
            let first = last.saturating_sub(page.saturating_sub(1));
            match self.mark(payment, first, last).await {
                Ok(Some(mark)) => return self.read(payment, mark).await,
                Ok(None) if first == 0 || self.block(first).await?.time < since => {
                    return Ok(Finding::Lost);
                }
                Ok(None) => last = first.saturating_sub(1),
                // Too many blocks at once.
                Err(ChainError::Refused { .. }) if page > 1 => page = page.div_euclid(4).max(1),
                Err(error) => return Err(error),
            }
        }
    }

    async fn mark(
        &self,
        payment: &ChainPayment<'_>,
        first: u64,
        last: u64,
    ) -> Result<Option<Mark>, ChainError> {
        let filter = json!({
            "address": payment.asset,
            "topics": [[logs::USED, logs::CANCELED], word(payment.payer), payment.nonce],
            "fromBlock": format!("0x{first:x}"),
            "toBlock": format!("0x{last:x}"),
        });
        let method = "eth_getLogs";
        let found = self.call(method, json!([filter])).await?;
        mark(&found, payment.asset).map_err(|what| ChainError::Unreadable { method, what })
    }

    async fn read(&self, payment: &ChainPayment<'_>, mark: Mark) -> Result<Finding, ChainError> {
        let Mark { used, transaction, block } = mark;
        if !used {
            return Ok(Finding::Canceled { transaction, block });
        }
        match self.ask_settlement(payment, &transaction).await? {
            evidence @ Evidence::Confirmed { .. } => Ok(Finding::Paid { transaction, evidence }),
            Evidence::Mismatch(Mismatch::Transfer) => Ok(Finding::Elsewhere { transaction, block }),
            Evidence::Missing
            | Evidence::Reverted
            | Evidence::Mismatch(Mismatch::Authorization) => {
                let method = "eth_getTransactionReceipt";
                let what = "it contradicts the logs";
                Err(ChainError::Unreadable { method, what })
            }
        }
    }
}

/// The first log that says what became of the authorization that was asked for.
fn mark(found: &Value, asset: &str) -> Result<Option<Mark>, Fault> {
    let found = logs_of(found.as_array().ok_or("no list of logs")?, asset)?;
    let used_or_not =
        |log: &&logs::Log<'_>| log.topic_is(0, logs::USED) || log.topic_is(0, logs::CANCELED);
    let Some(log) = found.iter().find(used_or_not) else { return Ok(None) };
    let transaction = field(log.value, "transactionHash").filter(|hash| is_hex(hash, 64));
    let block = log.value.get("blockNumber").and_then(quantity);
    Ok(Some(Mark {
        used: log.topic_is(0, logs::USED),
        transaction: transaction.ok_or("a log has no transaction")?.to_ascii_lowercase(),
        block: block.ok_or("a log has no block")?,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASSET: &str = "0x036cbd53842c5426634e7929541ec2318f3dcf7e";

    fn log(topic: &str, block: Value) -> Value {
        json!({"address": ASSET, "topics": [topic], "data": "0x", "logIndex": "0x1",
               "transactionHash": format!("0x{}", "AB".repeat(32)), "blockNumber": block})
    }

    #[test]
    fn a_log_tells_use_from_cancellation() {
        for (topic, used) in [(logs::USED, true), (logs::CANCELED, false)] {
            let marked = mark(&json!([log(topic, json!("0x2a"))]), ASSET).unwrap().unwrap();
            let transaction = format!("0x{}", "ab".repeat(32));
            assert_eq!(marked, Mark { used, transaction, block: 42 });
        }
        assert_eq!(mark(&json!([]), ASSET), Ok(None));
        assert_eq!(mark(&json!([log(logs::TRANSFER, json!("0x2a"))]), ASSET), Ok(None));
        assert!(mark(&json!({}), ASSET).is_err());
        assert!(mark(&json!([log(logs::USED, Value::Null)]), ASSET).is_err());
    }
}
