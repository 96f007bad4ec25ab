//! Reading everything that was paid to an address, block by block.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use crate::ground::Amount;

use super::logs::{self, Fault, TRANSFER, USED, field, is_hex, logs_of, quantity, same, word};
use super::{ChainError, RpcChain};

/// How many blocks are asked for at once, at first. Nodes refuse too many, each in its own way.
pub(super) const PAGE_BLOCKS: u64 = 2_000;

const BLOCK_BY_NUMBER: &str = "eth_getBlockByNumber";
const NO_BLOCK: ChainError = ChainError::Unreadable { method: BLOCK_BY_NUMBER, what: "no block" };

/// A block, as far as its place in time goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    pub number: u64,
    pub time: DateTime<Utc>,
    pub hash: [u8; 32],
}

impl Block {
    /// Its hash as nodes write it, in lower case.
    pub fn hash_text(&self) -> String {
        format!("0x{}", hex::encode(self.hash))
    }
}

/// Money that arrived at an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incoming {
    /// Who paid, in lower case.
    pub from: String,
    pub amount: Amount,
    /// The transaction's hash, in lower case.
    pub transaction: String,
    pub block: u64,
    /// The block's hash, in lower case.
    pub block_hash: String,
    /// The index in the block of the log of the transfer.
    pub log_index: u64,
    /// The nonce of the authorization that moved it, in lower case; none for a plain transfer.
    pub nonce: Option<String>,
}

impl RpcChain {
    /// The newest block.
    pub async fn head(&self) -> Result<Block, ChainError> {
        self.ask_block(json!("latest")).await?.ok_or(NO_BLOCK)
    }

    /// A block by its number.
    pub async fn block(&self, number: u64) -> Result<Block, ChainError> {
        self.find_block(number).await?.ok_or(NO_BLOCK)
    }

    /// A block by its number; none beyond the newest.
    pub(super) async fn find_block(&self, number: u64) -> Result<Option<Block>, ChainError> {
        self.ask_block(json!(format!("0x{number:x}"))).await
    }

    async fn ask_block(&self, which: Value) -> Result<Option<Block>, ChainError> {
        let block = self.call(BLOCK_BY_NUMBER, json!([which, false])).await?;
        if block.is_null() {
            return Ok(None);
        }
        let number = block.get("number").and_then(quantity);
        let time = block.get("timestamp").and_then(logs::instant);
        let hash = field(&block, "hash").filter(|hash| is_hex(hash, 64));
        let hash = hash.and_then(|hash| <[u8; 32]>::try_from(hex::decode(&hash[2..]).ok()?).ok());
        match (number, time, hash) {
            (Some(number), Some(time), Some(hash)) => Ok(Some(Block { number, time, hash })),
            _ => Err(NO_BLOCK),
        }
    }

    /// The first block that is not before a moment, up to `last`; `last` when all are.
    pub async fn first_block_since(
        &self,
        moment: DateTime<Utc>,
        last: u64,
    ) -> Result<u64, ChainError> {
        let (mut low, mut high) = (0, last);
        while low < high {
            let middle = low.midpoint(high);
            if self.block(middle).await?.time < moment {
                low = middle.saturating_add(1);
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    /// Everything of a token that arrived at an address in these blocks, both included, in order.
    pub async fn incoming(
        &self,
        asset: &str,
        pay_to: &str,
        first: u64,
        last: u64,
    ) -> Result<Vec<Incoming>, ChainError> {
        let (mut all, mut next, mut page) = (Vec::new(), first, PAGE_BLOCKS);
        while next <= last {
            let end = next.saturating_add(page.saturating_sub(1)).min(last);
            match self.transactions_to(asset, pay_to, next, end).await {
                Ok(transactions) => {
                    for transaction in transactions {
                        all.extend(self.incoming_of(asset, pay_to, &transaction).await?);
                    }
                    next = end.saturating_add(1);
                }
                // Too many blocks, or too many logs in them.
                Err(ChainError::Refused { .. }) if page > 1 => page = page.div_euclid(4).max(1),
                Err(error) => return Err(error),
            }
        }
        Ok(all)
    }

    /// The transactions in which a token moved to an address, each once, in order.
    async fn transactions_to(
        &self,
        asset: &str,
        pay_to: &str,
        first: u64,
        last: u64,
    ) -> Result<Vec<String>, ChainError> {
        let method = "eth_getLogs";
        let filter = json!({
            "address": asset,
            "topics": [TRANSFER, Value::Null, word(pay_to)],
            "fromBlock": format!("0x{first:x}"),
            "toBlock": format!("0x{last:x}"),
        });
        let found = self.call(method, json!([filter])).await?;
        transactions(&found, asset).map_err(|what| ChainError::Unreadable { method, what })
    }

    /// Everything of a token that arrived at an address in one transaction.
    pub async fn incoming_of(
        &self,
        asset: &str,
        pay_to: &str,
        transaction: &str,
    ) -> Result<Vec<Incoming>, ChainError> {
        let method = "eth_getTransactionReceipt";
        let receipt = self.call(method, json!([transaction])).await?;
        incoming(&receipt, asset, pay_to, transaction)
            .map_err(|what| ChainError::Unreadable { method, what })
    }
}

/// The transactions that logs are of, each once, in the order of the logs.
fn transactions(logs: &Value, asset: &str) -> Result<Vec<String>, Fault> {
    let mut found = Vec::new();
    for log in logs.as_array().ok_or("no list of logs")? {
        let removed = log.get("removed").and_then(Value::as_bool).unwrap_or(false);
        if removed || !same(field(log, "address"), asset) {
            continue;
        }
        let hash = field(log, "transactionHash").filter(|hash| is_hex(hash, 64));
        let hash = hash.ok_or("a log has no transaction")?.to_ascii_lowercase();
        if !found.contains(&hash) {
            found.push(hash);
        }
    }
    Ok(found)
}

/// What arrived at an address in a transaction that succeeded. A transfer that follows the use of an
/// authorization, before any other transfer or use, is what that authorization moved ([`logs::judge`]).
fn incoming(
    receipt: &Value,
    asset: &str,
    pay_to: &str,
    transaction: &str,
) -> Result<Vec<Incoming>, Fault> {
    if !same(field(receipt, "transactionHash"), transaction) {
        return Err("the receipt is of another transaction");
    }
    if receipt.get("status").and_then(quantity) != Some(1) {
        return Err("the transaction has logs and did not succeed");
    }
    let block = receipt.get("blockNumber").and_then(quantity).ok_or("the receipt has no block")?;
    let block_hash = field(receipt, "blockHash").filter(|hash| is_hex(hash, 64));
    let block_hash = block_hash.ok_or("the receipt has no block hash")?.to_ascii_lowercase();
    let logs = receipt.get("logs").and_then(Value::as_array).ok_or("the receipt has no logs")?;
    let (mut found, mut used) = (Vec::new(), None);
    let logs = logs_of(logs, asset)?;
    for log in &logs {
        if log.topic_is(0, USED) {
            used = Some((log.topic(1).unwrap_or_default(), log.topic(2).unwrap_or_default()));
        } else if log.topic_is(0, TRANSFER) {
            let explained = used.take();
            if !log.topic_is(2, &word(pay_to)) {
                continue;
            }
            let payer =
                log.topic(1).filter(|payer| is_hex(payer, 64)).ok_or("a payer is no word")?;
            let amount =
                field(log.value, "data").and_then(micros).ok_or("an amount is too large")?;
            let nonce = explained.filter(|(of, nonce)| same(Some(of), payer) && is_hex(nonce, 64));
            if !amount.is_zero() {
                found.push(Incoming {
                    from: format!("0x{}", payer[26..].to_ascii_lowercase()),
                    amount,
                    transaction: transaction.to_ascii_lowercase(),
                    block,
                    block_hash: block_hash.clone(),
                    log_index: log.index,
                    nonce: nonce.map(|(_, nonce)| nonce.to_ascii_lowercase()),
                });
            }
        }
    }
    Ok(found)
}

/// A word of 32 bytes as an amount.
fn micros(data: &str) -> Option<Amount> {
    let digits = data.strip_prefix("0x").filter(|_| is_hex(data, 64))?.trim_start_matches('0');
    let micros = if digits.is_empty() { 0 } else { i64::from_str_radix(digits, 16).ok()? };
    Amount::from_micros(micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASSET: &str = "0x036cbd53842c5426634e7929541ec2318f3dcf7e";
    const OTHER: &str = "0x14791697260e4c9a71f18484c9f997b308e59325";
    const SHOP: &str = "0x209693bc6afc0c5328ba36faf03c514ef312287c";
    const PAYER: &str = "0x00000000000000000000000000000000000000aa";

    fn hash() -> String {
        format!("0x{}", "ab".repeat(32))
    }

    fn nonce(n: u8) -> String {
        format!("0x{}", hex::encode([n; 32]))
    }

    fn log(index: usize, of: &str, topics: &[&str], data: &str) -> Value {
        json!({ "address": of, "topics": topics, "data": data, "transactionHash": hash(),
                "logIndex": format!("0x{index:x}") })
    }

    fn used(payer: &str, n: u8) -> (&'static str, Vec<String>, String) {
        (ASSET, vec![logs::USED.to_owned(), word(payer), nonce(n)], "0x".to_owned())
    }

    fn moved(from: &str, to: &str, amount: u128) -> (&'static str, Vec<String>, String) {
        (ASSET, vec![TRANSFER.to_owned(), word(from), word(to)], format!("0x{amount:064x}"))
    }

    fn found(logs: Vec<(&str, Vec<String>, String)>) -> Result<Vec<(i64, Option<String>)>, Fault> {
        let logs = logs.iter().enumerate().map(|(n, (of, topics, data))| {
            let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
            log(n, of, &topics, data)
        });
        let receipt = json!({ "transactionHash": hash(), "blockHash": hash(),
                              "blockNumber": "0x7", "status": "0x1",
                              "logs": logs.collect::<Vec<_>>() });
        let found = incoming(&receipt, ASSET, SHOP, &hash())?;
        Ok(found.into_iter().map(|found| (found.amount.micros(), found.nonce)).collect())
    }

    #[test]
    fn a_transfer_is_explained_by_the_use_right_before_it_and_by_no_other() {
        let with = |n| Some(nonce(n));
        assert_eq!(found(vec![used(PAYER, 1), moved(PAYER, SHOP, 5)]), Ok(vec![(5, with(1))]));
        let two = vec![
            used(PAYER, 1),
            moved(PAYER, SHOP, 5),
            moved(PAYER, SHOP, 6),
            used(OTHER, 2),
            moved(OTHER, SHOP, 7),
        ];
        assert_eq!(found(two), Ok(vec![(5, with(1)), (6, None), (7, with(2))]));
        // One that pays himself, and shows beside it a transfer to us.
        let own = vec![used(PAYER, 1), moved(PAYER, PAYER, 5), moved(PAYER, SHOP, 5)];
        assert_eq!(found(own), Ok(vec![(5, None)]));
        assert_eq!(found(vec![used(OTHER, 1), moved(PAYER, SHOP, 5)]), Ok(vec![(5, None)]));
        assert_eq!(found(vec![used(PAYER, 1), moved(PAYER, OTHER, 5)]), Ok(vec![]));
        assert_eq!(found(vec![moved(PAYER, SHOP, 0)]), Ok(vec![]));
        let mut foreign = moved(PAYER, SHOP, 5);
        foreign.0 = OTHER;
        assert_eq!(found(vec![foreign]), Ok(vec![]));
        assert!(found(vec![moved(PAYER, SHOP, u128::MAX)]).is_err());
    }

    #[test]
    fn a_receipt_of_another_transaction_or_a_failed_one_is_an_error() {
        let receipt = json!({ "transactionHash": hash(), "blockNumber": "0x7", "status": "0x0",
                              "logs": [] });
        assert!(incoming(&receipt, ASSET, SHOP, &hash()).is_err());
        assert!(incoming(&Value::Null, ASSET, SHOP, &hash()).is_err());
        assert!(incoming(&receipt, ASSET, SHOP, &nonce(1)).is_err());
    }

    #[test]
    fn transactions_are_told_once() {
        let one = log(0, ASSET, &[TRANSFER], "0x");
        let foreign = log(1, OTHER, &[TRANSFER], "0x");
        assert_eq!(transactions(&json!([one, one, foreign]), ASSET), Ok(vec![hash()]));
        assert!(transactions(&json!({}), ASSET).is_err());
    }
}
