//! What receipts and logs prove. Pure.

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::{ChainPayment, Evidence, Mismatch, Trace};

/// `AuthorizationUsed(address,bytes32)`.
pub(super) const USED: &str = "0x98de503528ee59b575ef0c0a2576a82497bfc029a5685b209e9ec333479b10a5";
/// `AuthorizationCanceled(address,bytes32)`.
pub(super) const CANCELED: &str =
    "0x1cdd46ff242716cdaa72d159d339a485b3438398348d68f09d7c8c0a59353d81";
/// `Transfer(address,address,uint256)`.
pub(super) const TRANSFER: &str =
    "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef";

/// What an answer lacks or has wrong.
pub(super) type Fault = &'static str;

/// What a receipt says about a payment. The block's time is taken from the logs when it is there.
///
/// A use and a transfer somewhere in one transaction do not belong together: a payer could sign
/// one nonce twice, once to us and once to himself, use the latter, and show beside it a transfer
/// to us that belongs to another payment. USDC logs the use and then the transfer it makes, so
/// the transfer of a use is the token's first one after it, before any other use.
pub(super) fn judge(
    receipt: &Value,
    payment: &ChainPayment<'_>,
    transaction: &str,
) -> Result<Evidence, Fault> {
    if receipt.is_null() {
        return Ok(Evidence::Missing);
    }
    if !same(field(receipt, "transactionHash"), transaction) {
        return Err("the receipt is of another transaction");
    }
    let (Some(block_hash), Some(block_number)) =
        (field(receipt, "blockHash"), receipt.get("blockNumber").and_then(quantity))
    else {
        return Ok(Evidence::Missing);
    };
    match receipt.get("status").and_then(quantity) {
        Some(1) => {}
        Some(0) => return Ok(Evidence::Reverted),
        Some(_) | None => return Err("the receipt has no status"),
    }
    let logs = receipt.get("logs").and_then(Value::as_array).ok_or("the receipt has no logs")?;
    let logs = logs_of(logs, payment.asset)?;
    let Some(used) = logs.iter().position(|log| is_use(log, payment)) else {
        return Ok(Evidence::Mismatch(Mismatch::Authorization));
    };
    let made = logs
        .iter()
        .skip(used.saturating_add(1))
        .find(|log| [USED, CANCELED, TRANSFER].iter().any(|event| log.topic_is(0, event)));
    Ok(match made.filter(|log| is_transfer(log, payment)) {
        Some(log) => Evidence::Confirmed {
            block_number,
            block_hash: block_hash.to_ascii_lowercase(),
            log_index: log.index,
            block_time: log.value.get("blockTimestamp").and_then(instant),
        },
        None => Evidence::Mismatch(Mismatch::Transfer),
    })
}

/// What the logs of one authorization say about it.
pub(super) fn trace(logs: &Value, asset: &str) -> Result<Trace, Fault> {
    let logs = logs_of(logs.as_array().ok_or("no list of logs")?, asset)?;
    for log in &logs {
        let used = log.topic_is(0, USED);
        if !used && !log.topic_is(0, CANCELED) {
            continue;
        }
        let hash = field(log.value, "transactionHash").filter(|hash| is_hex(hash, 64));
        let transaction = hash.ok_or("a log has no transaction")?.to_ascii_lowercase();
        return Ok(if used {
            Trace::Used { transaction }
        } else {
            Trace::Canceled { transaction }
        });
    }
    Ok(Trace::Absent)
}

/// One log of the token.
pub(super) struct Log<'a> {
    pub(super) index: u64,
    pub(super) value: &'a Value,
}

impl Log<'_> {
    pub(super) fn topic(&self, position: usize) -> Option<&str> {
        self.value.get("topics")?.get(position)?.as_str()
    }

    pub(super) fn topic_is(&self, position: usize, expected: &str) -> bool {
        same(self.topic(position), expected)
    }
}

/// The logs of a contract that are part of the chain, in their order.
pub(super) fn logs_of<'a>(logs: &'a [Value], contract: &str) -> Result<Vec<Log<'a>>, Fault> {
    let mut found = Vec::new();
    for value in logs {
        let removed = value.get("removed").and_then(Value::as_bool).unwrap_or(false);
        if !removed && same(field(value, "address"), contract) {
            let index = value.get("logIndex").and_then(quantity).ok_or("a log has no index")?;
            found.push(Log { index, value });
        }
    }
    found.sort_by_key(|log| log.index);
    Ok(found)
}

fn is_use(log: &Log<'_>, payment: &ChainPayment<'_>) -> bool {
    log.topic_is(0, USED) && log.topic_is(1, &word(payment.payer)) && log.topic_is(2, payment.nonce)
}

fn is_transfer(log: &Log<'_>, payment: &ChainPayment<'_>) -> bool {
    log.topic_is(0, TRANSFER)
        && log.topic_is(1, &word(payment.payer))
        && log.topic_is(2, &word(payment.pay_to))
        && same(field(log.value, "data"), &format!("0x{:064x}", payment.amount.micros()))
}

/// A 20-byte address as the 32-byte word of a topic or argument.
pub(super) fn word(address: &str) -> String {
    format!("0x{:0>64}", address.strip_prefix("0x").unwrap_or(address))
}

/// Whether a text is `0x` and that many hex digits.
pub(super) fn is_hex(text: &str, digits: usize) -> bool {
    text.strip_prefix("0x")
        .is_some_and(|rest| rest.len() == digits && rest.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// A JSON-RPC quantity: `0x` and hex digits. Leading zeros are let pass.
pub(super) fn quantity(value: &Value) -> Option<u64> {
    let digits = value.as_str()?.strip_prefix("0x")?;
    let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit());
    plain.then(|| u64::from_str_radix(digits, 16).ok()).flatten()
}

/// A quantity of seconds as a time.
pub(super) fn instant(value: &Value) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp(i64::try_from(quantity(value)?).ok()?, 0)
}

pub(super) fn field<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key).and_then(Value::as_str)
}

pub(super) fn same(found: Option<&str>, expected: &str) -> bool {
    found.is_some_and(|found| found.eq_ignore_ascii_case(expected))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::ground::Amount;

    const ASSET: &str = "0x036cbd53842c5426634e7929541ec2318f3dcf7e";
    const PAYER: &str = "0x14791697260e4c9a71f18484c9f997b308e59325";
    const SHOP: &str = "0x209693bc6afc0c5328ba36faf03c514ef312287c";

    fn nonce(n: u8) -> String {
        format!("0x{}", hex::encode([n; 32]))
    }

    fn hash() -> String {
        format!("0x{}", "Ab".repeat(32))
    }

    fn log(index: u64, contract: &str, topics: &[&str], data: &str) -> Value {
        json!({"address": contract, "topics": topics, "data": data, "logIndex": format!("0x{index:x}"),
               "transactionHash": hash(), "blockTimestamp": "0x6553f100", "removed": false})
    }

    fn used(index: u64, n: u8) -> Value {
        log(
            index,
            &ASSET.to_uppercase().replace("0X", "0x"),
            &[USED, &word(PAYER), &nonce(n)],
            "0x",
        )
    }

    fn transfer(index: u64, to: &str, micros: u64) -> Value {
        let data = format!("0x{micros:064x}");
        log(index, ASSET, &[TRANSFER, &word(PAYER), &word(to)], &data)
    }

    fn receipt(logs: Vec<Value>) -> Value {
        json!({"transactionHash": hash(), "blockHash": hash(), "blockNumber": "0x10", "status": "0x1",
               "logs": logs})
    }

    fn judged(receipt: &Value) -> Result<Evidence, Fault> {
        let nonce = nonce(1);
        let amount = Amount::micros_of(5);
        let payment =
            ChainPayment { asset: ASSET, payer: PAYER, nonce: &nonce, pay_to: SHOP, amount };
        judge(receipt, &payment, &hash().to_lowercase())
    }

    fn confirmed(log_index: u64) -> Result<Evidence, Fault> {
        Ok(Evidence::Confirmed {
            block_number: 16,
            block_hash: hash().to_lowercase(),
            log_index,
            block_time: DateTime::from_timestamp(1_700_000_000, 0),
        })
    }

    #[test]
    fn a_transfer_belongs_to_the_use_before_it() {
        let no_use = Ok(Evidence::Mismatch(Mismatch::Authorization));
        let no_transfer = Ok(Evidence::Mismatch(Mismatch::Transfer));
        let other = |log: Value, contract: &str| {
            let mut log = log;
            log["address"] = json!(contract);
            log
        };
        let removed = |mut log: Value| {
            log["removed"] = json!(true);
            log
        };
        let table = [
            ("plain", vec![used(3, 1), transfer(4, SHOP, 5)], confirmed(4)),
            ("any order in the list", vec![transfer(4, SHOP, 5), used(3, 1)], confirmed(4)),
            (
                "other contracts between",
                vec![used(3, 1), other(transfer(4, SHOP, 9), SHOP), transfer(5, SHOP, 5)],
                confirmed(5),
            ),
            (
                "second of two payments",
                vec![used(1, 2), transfer(2, SHOP, 5), used(3, 1), transfer(4, SHOP, 5)],
                confirmed(4),
            ),
            (
                "first of two payments",
                vec![used(1, 1), transfer(2, SHOP, 5), used(3, 2), transfer(4, SHOP, 5)],
                confirmed(2),
            ),
            (
                "nonce spent on himself beside another payment",
                vec![used(1, 1), transfer(2, PAYER, 5), used(3, 2), transfer(4, SHOP, 5)],
                no_transfer.clone(),
            ),
            (
                "use without transfer before another payment",
                vec![used(1, 1), used(3, 2), transfer(4, SHOP, 5)],
                no_transfer.clone(),
            ),
            (
                "transfer before the use",
                vec![transfer(1, SHOP, 5), used(2, 1)],
                no_transfer.clone(),
            ),
            ("another amount", vec![used(1, 1), transfer(2, SHOP, 4)], no_transfer.clone()),
            ("removed by a reorg", vec![used(1, 1), removed(transfer(2, SHOP, 5))], no_transfer),
            ("another nonce", vec![used(1, 2), transfer(2, SHOP, 5)], no_use.clone()),
            ("another token", vec![other(used(1, 1), SHOP), transfer(2, SHOP, 5)], no_use.clone()),
            ("no logs", vec![], no_use),
        ];
        for (name, logs, evidence) in table {
            assert_eq!(judged(&receipt(logs)), evidence, "{name}");
        }
    }

    #[test]
    fn a_receipt_is_missing_reverted_or_unreadable() {
        let with = |key: &str, value: Value| {
            let mut receipt = receipt(vec![used(1, 1), transfer(2, SHOP, 5)]);
            receipt[key] = value;
            receipt
        };
        assert_eq!(judged(&Value::Null), Ok(Evidence::Missing));
        assert_eq!(judged(&with("blockHash", Value::Null)), Ok(Evidence::Missing));
        assert_eq!(judged(&with("blockNumber", Value::Null)), Ok(Evidence::Missing));
        assert_eq!(judged(&with("status", json!("0x0"))), Ok(Evidence::Reverted));
        for (key, value) in [
            ("status", Value::Null),
            ("status", json!("0x2")),
            ("logs", json!({})),
            ("transactionHash", json!("0x00")),
        ] {
            assert!(judged(&with(key, value.clone())).is_err(), "{key} {value}");
        }
        for garbage in [json!("0x"), json!([]), json!(7), json!({})] {
            assert!(judged(&garbage).is_err(), "{garbage}");
        }
    }

    #[test]
    fn an_authorization_leaves_a_trace() {
        let transaction = hash().to_lowercase();
        let canceled = log(1, ASSET, &[CANCELED, &word(PAYER), &nonce(1)], "0x");
        assert_eq!(trace(&json!([]), ASSET), Ok(Trace::Absent));
        assert_eq!(
            trace(&json!([used(1, 1)]), ASSET),
            Ok(Trace::Used { transaction: transaction.clone() })
        );
        assert_eq!(trace(&json!([canceled]), ASSET), Ok(Trace::Canceled { transaction }));
        assert_eq!(trace(&json!([used(1, 1)]), SHOP), Ok(Trace::Absent));
        assert!(trace(&json!({}), ASSET).is_err());
    }

    #[test]
    fn quantities_are_read_safely() {
        for (text, number) in [
            ("0x0", Some(0)),
            ("0x00ff", Some(255)),
            ("0xffffffffffffffff", Some(u64::MAX)),
            ("0x10000000000000000", None),
            ("0x", None),
            ("0x+1", None),
            ("ff", None),
        ] {
            assert_eq!(quantity(&json!(text)), number, "{text}");
        }
        assert_eq!(quantity(&json!(7)), None);
        assert_eq!(instant(&json!("0xffffffffffffffff")), None);
    }
}
