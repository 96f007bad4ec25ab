//! A chain behind a JSON-RPC node.

use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use reqwest::Url;
use serde_json::{Value, json};

use super::super::classify::legible;
use super::super::exchange::{Bounds, Exchange};
use super::logs::{self, is_hex, word};
use super::scan::PAGE_BLOCKS;
use super::{Block, Chain, ChainError, ChainPayment, Evidence, Sight, Trace};

/// `authorizationState(address,bytes32)`.
const AUTHORIZATION_STATE: &str = "0xe94a0102";

/// How long a node is waited for, and how much it may say.
#[derive(Clone, Copy, Debug)]
pub struct RpcSettings {
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// How long one call may take.
    pub call_timeout: Duration,
    /// How long an answer may be. Receipts of transactions that settle many payments are long.
    pub body_bytes_max: usize,
}

impl Default for RpcSettings {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            call_timeout: Duration::from_secs(10),
            body_bytes_max: 4 * 1024 * 1024,
        }
    }
}

/// A chain behind a JSON-RPC node.
pub struct RpcChain {
    url: Url,
    exchange: Exchange,
    call_timeout: Duration,
}

impl RpcChain {
    /// A chain by its node's URL. The process has installed its TLS provider before.
    pub fn new(url: &str, settings: RpcSettings) -> Result<Self, ChainError> {
        let url = Url::parse(url)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https"))
            .ok_or(ChainError::Address)?;
        let bounds = Bounds {
            connect_timeout: settings.connect_timeout,
            body_bytes_max: settings.body_bytes_max,
            idle_max: 4,
        };
        let exchange = Exchange::new(&bounds).map_err(ChainError::Client)?;
        Ok(Self { url, exchange, call_timeout: settings.call_timeout })
    }

    /// Calls a method and returns its result, which may be null.
    pub(super) async fn call(
        &self,
        method: &'static str,
        params: Value,
    ) -> Result<Value, ChainError> {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let request = self.exchange.client().post(self.url.clone()).json(&body);
        let answer = self
            .exchange
            .send(request, self.call_timeout)
            .await
            .map_err(|error| ChainError::Unreachable { detail: error.to_string() })?;
        let Ok(mut body) = serde_json::from_slice::<Value>(&answer.body) else {
            let detail = format!("status {} without JSON", answer.status);
            return Err(ChainError::Unreachable { detail });
        };
        if let Some(error) = body.get("error").filter(|error| !error.is_null()) {
            let message = error.get("message").and_then(Value::as_str).unwrap_or_default();
            return Err(ChainError::Refused {
                method,
                code: error.get("code").and_then(Value::as_i64).unwrap_or_default(),
                message: legible(message),
            });
        }
        let result = body.get_mut("result").map(Value::take);
        result.ok_or(ChainError::Unreadable { method, what: "no result" })
    }

    async fn ask_chain_id(&self) -> Result<u64, ChainError> {
        let method = "eth_chainId";
        let answer = self.call(method, json!([])).await?;
        logs::quantity(&answer).ok_or(ChainError::Unreadable { method, what: "not a number" })
    }

    /// Whether an authorization was used or canceled, as of a block.
    pub(super) async fn ask_authorization(
        &self,
        asset: &str,
        payer: &str,
        nonce: &str,
        block: &str,
    ) -> Result<bool, ChainError> {
        check_authorization(asset, payer, nonce)?;
        let digits = |text: &str| text.trim_start_matches("0x").to_owned();
        let data = format!("{AUTHORIZATION_STATE}{}{}", digits(&word(payer)), digits(nonce));
        let method = "eth_call";
        let answer = self.call(method, json!([{"to": asset, "data": data}, block])).await?;
        // Anything but one whole word is not an answer of this function: with no contract at the
        // address, the result is "0x".
        let state = answer.as_str().filter(|state| is_hex(state, 64));
        match state.map(|state| state.trim_start_matches("0x").trim_start_matches('0')) {
            Some("") => Ok(false),
            Some("1") => Ok(true),
            Some(_) | None => Err(ChainError::Unreadable { method, what: "not a boolean" }),
        }
    }

    pub(super) async fn ask_settlement(
        &self,
        payment: &ChainPayment<'_>,
        transaction: &str,
    ) -> Result<Evidence, ChainError> {
        check_authorization(payment.asset, payment.payer, payment.nonce)?;
        check("the recipient", payment.pay_to, 40)?;
        check("the transaction", transaction, 64)?;
        let method = "eth_getTransactionReceipt";
        let receipt = self.call(method, json!([transaction])).await?;
        let mut evidence = logs::judge(&receipt, payment, transaction)
            .map_err(|what| ChainError::Unreadable { method, what })?;
        if let Evidence::Confirmed { block_hash, block_time: block_time @ None, .. } = &mut evidence
        {
            *block_time = self.ask_block_time(block_hash).await;
        }
        Ok(evidence)
    }

    /// A block's time. It only adorns the evidence, so failing to learn it fails nothing.
    async fn ask_block_time(&self, block_hash: &str) -> Option<DateTime<Utc>> {
        let block = self.call("eth_getBlockByHash", json!([block_hash, false])).await.ok()?;
        logs::instant(block.get("timestamp")?)
    }

    async fn ask_trace(
        &self,
        asset: &str,
        payer: &str,
        nonce: &str,
        from_block: u64,
    ) -> Result<Trace, ChainError> {
        check_authorization(asset, payer, nonce)?;
        match self.ask_trace_to(asset, payer, nonce, from_block, None).await {
            Err(ChainError::Refused { .. }) => {}
            answer => return answer,
        }
        // Too many blocks at once, perhaps: page by page.
        let last = self.head().await?.number;
        let mut first = from_block;
        while first <= last {
            let end = first.saturating_add(PAGE_BLOCKS.saturating_sub(1)).min(last);
            match self.ask_trace_to(asset, payer, nonce, first, Some(end)).await? {
                Trace::Absent => first = end.saturating_add(1),
                found => return Ok(found),
            }
        }
        Ok(Trace::Absent)
    }

    async fn ask_trace_to(
        &self,
        asset: &str,
        payer: &str,
        nonce: &str,
        first: u64,
        last: Option<u64>,
    ) -> Result<Trace, ChainError> {
        let filter = json!({
            "address": asset,
            "topics": [[logs::USED, logs::CANCELED], word(payer), nonce],
            "fromBlock": format!("0x{first:x}"),
            "toBlock": last.map_or_else(|| "latest".to_owned(), |last| format!("0x{last:x}")),
        });
        let method = "eth_getLogs";
        let found = self.call(method, json!([filter])).await?;
        logs::trace(&found, asset).map_err(|what| ChainError::Unreadable { method, what })
    }
}

impl Chain for RpcChain {
    fn chain_id(&self) -> BoxFuture<'_, Result<u64, ChainError>> {
        self.ask_chain_id().boxed()
    }

    fn authorization_used<'a>(
        &'a self,
        asset: &'a str,
        payer: &'a str,
        nonce: &'a str,
    ) -> BoxFuture<'a, Result<bool, ChainError>> {
        self.ask_authorization(asset, payer, nonce, "latest").boxed()
    }

    fn settlement<'a>(
        &'a self,
        payment: &'a ChainPayment<'a>,
        transaction: &'a str,
    ) -> BoxFuture<'a, Result<Evidence, ChainError>> {
        self.ask_settlement(payment, transaction).boxed()
    }

    fn head(&self) -> BoxFuture<'_, Result<Block, ChainError>> {
        Self::head(self).boxed()
    }

    fn block_at(&self, number: u64) -> BoxFuture<'_, Result<Option<Block>, ChainError>> {
        self.find_block(number).boxed()
    }

    fn find_authorization<'a>(
        &'a self,
        asset: &'a str,
        payer: &'a str,
        nonce: &'a str,
        from_block: u64,
    ) -> BoxFuture<'a, Result<Trace, ChainError>> {
        self.ask_trace(asset, payer, nonce, from_block).boxed()
    }

    fn find<'a>(
        &'a self,
        payment: &'a ChainPayment<'a>,
        since: DateTime<Utc>,
    ) -> BoxFuture<'a, Result<Sight, ChainError>> {
        self.see(payment, since).boxed()
    }
}

fn check(name: &'static str, value: &str, digits: usize) -> Result<(), ChainError> {
    if is_hex(value, digits) { Ok(()) } else { Err(ChainError::Argument(name)) }
}

fn check_authorization(asset: &str, payer: &str, nonce: &str) -> Result<(), ChainError> {
    check("the asset", asset, 40)?;
    check("the payer", payer, 40)?;
    check("the nonce", nonce, 64)
}
