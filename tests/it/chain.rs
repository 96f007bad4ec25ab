//! Reading a chain from a node that answers by script.

use bursar::ground::Amount;
use bursar::x402::chain::{
    Chain, ChainError, ChainPayment, Evidence, Mismatch, RpcChain, RpcSettings, Trace,
};
use serde_json::{Value, json};

use super::facilitator::install_tls;
use super::peer::{Act, Peer, nobody};

const ASSET: &str = "0x036cbd53842c5426634e7929541ec2318f3dcf7e";
const PAYER: &str = "0x14791697260e4c9a71f18484c9f997b308e59325";
const SHOP: &str = "0x209693bc6afc0c5328ba36faf03c514ef312287c";
const NONCE: &str = "0x1111111111111111111111111111111111111111111111111111111111111111";
const TRANSACTION: &str = "0xabababababababababababababababababababababababababababababababab";
const USED: &str = "0x98de503528ee59b575ef0c0a2576a82497bfc029a5685b209e9ec333479b10a5";
const TRANSFER: &str = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef";

const PAYMENT: ChainPayment<'_> = ChainPayment {
    asset: ASSET,
    payer: PAYER,
    nonce: NONCE,
    pay_to: SHOP,
    amount: Amount::micros_of(1_000_000),
};

fn chain(url: &str) -> RpcChain {
    install_tls();
    RpcChain::new(url, RpcSettings::default()).unwrap()
}

fn result(value: Value) -> Act {
    Act::Answer(200, json!({"jsonrpc": "2.0", "id": 1, "result": value}).to_string())
}

fn topic(address: &str) -> String {
    format!("0x000000000000000000000000{}", &address[2..])
}

fn log(index: &str, topics: &[&str], data: &str) -> Value {
    json!({"address": ASSET, "topics": topics, "data": data, "logIndex": index,
           "transactionHash": TRANSACTION})
}

fn receipt(amount: u64) -> Value {
    let used = log("0x0", &[USED, &topic(PAYER), NONCE], "0x");
    let transfer =
        log("0x1", &[TRANSFER, &topic(PAYER), &topic(SHOP)], &format!("0x{amount:064x}"));
    json!({"transactionHash": TRANSACTION, "blockHash": TRANSACTION, "blockNumber": "0x2a",
           "status": "0x1", "logs": [used, transfer]})
}

fn sent(request: &str) -> Value {
    serde_json::from_str(request.split_once("\r\n\r\n").unwrap().1).unwrap()
}

#[tokio::test]
async fn a_confirmed_payment_is_told_with_its_block() {
    let block = json!({"timestamp": "0x6553f100"});
    let peer = Peer::start(vec![result(receipt(1_000_000)), result(block)]).await;
    let evidence = chain(&peer.url).settlement(&PAYMENT, TRANSACTION).await.unwrap();
    let Evidence::Confirmed { block_number, log_index, block_time, .. } = evidence else {
        panic!("{evidence:?}")
    };
    assert_eq!((block_number, log_index), (42, 1));
    assert_eq!(block_time.unwrap().timestamp(), 1_700_000_000);
    let request = sent(&peer.requests()[0]);
    assert_eq!(request["method"], "eth_getTransactionReceipt");
    assert_eq!(request["params"], json!([TRANSACTION]));
}

#[tokio::test]
async fn a_payment_is_confirmed_even_if_its_block_cannot_be_read() {
    let peer = Peer::start(vec![result(receipt(1_000_000)), Act::Drop]).await;
    let evidence = chain(&peer.url).settlement(&PAYMENT, TRANSACTION).await.unwrap();
    assert!(matches!(evidence, Evidence::Confirmed { block_time: None, .. }), "{evidence:?}");
}

#[tokio::test]
async fn another_transfer_or_none_is_told_apart() {
    let peer = Peer::start(vec![result(receipt(999_999)), result(Value::Null)]).await;
    let chain = chain(&peer.url);
    let found = chain.settlement(&PAYMENT, TRANSACTION).await.unwrap();
    assert_eq!(found, Evidence::Mismatch(Mismatch::Transfer));
    assert_eq!(chain.settlement(&PAYMENT, TRANSACTION).await.unwrap(), Evidence::Missing);
}

#[tokio::test]
async fn an_authorizations_state_is_a_boolean_or_an_error() {
    let word = |digit: u8| format!("0x{digit:064x}");
    let script = [word(1), word(0), "0x".to_owned(), word(2)].map(|text| result(json!(text)));
    let peer = Peer::start(script.to_vec()).await;
    let chain = chain(&peer.url);
    assert!(chain.authorization_used(ASSET, PAYER, NONCE).await.unwrap());
    assert!(!chain.authorization_used(ASSET, PAYER, NONCE).await.unwrap());
    for _ in 0..2 {
        let failed = chain.authorization_used(ASSET, PAYER, NONCE).await;
        assert!(matches!(failed, Err(ChainError::Unreadable { .. })), "{failed:?}");
    }
    let data = format!("0xe94a0102{}{}", &topic(PAYER)[2..], &NONCE[2..]);
    assert_eq!(sent(&peer.requests()[0])["params"], json!([{"to": ASSET, "data": data}, "latest"]));
}

#[tokio::test]
async fn an_authorization_is_found_by_its_log() {
    let used = log("0x0", &[USED, &topic(PAYER), NONCE], "0x");
    let peer = Peer::start(vec![result(json!([used])), result(json!([]))]).await;
    let chain = chain(&peer.url);
    let found = chain.find_authorization(ASSET, PAYER, NONCE, 16).await.unwrap();
    assert_eq!(found, Trace::Used { transaction: TRANSACTION.to_owned() });
    let found = chain.find_authorization(ASSET, PAYER, NONCE, 16).await.unwrap();
    assert_eq!(found, Trace::Absent);
    let filter = &sent(&peer.requests()[0])["params"][0];
    assert_eq!(filter["fromBlock"], "0x10");
    assert_eq!(filter["topics"][1], json!(topic(PAYER)));
    assert_eq!(filter["topics"][2], NONCE);
}

#[tokio::test]
async fn a_node_that_fails_proves_nothing() {
    let refusal = json!({"error": {"code": -32005, "message": "limit exceeded"}}).to_string();
    let huge = format!("{{\"result\":\"{}\"}}", "a".repeat(5_000_000));
    let script = vec![
        Act::Answer(429, refusal),
        Act::Answer(200, "<html>".into()),
        Act::Drop,
        Act::Answer(200, huge),
        Act::Answer(200, "{}".into()),
        result(json!("0x14a34")),
    ];
    let peer = Peer::start(script).await;
    let chain_here = chain(&peer.url);
    let refused = chain_here.chain_id().await;
    assert!(matches!(&refused, Err(ChainError::Refused { code: -32005, .. })), "{refused:?}");
    for _ in 0..3 {
        let failed = chain_here.chain_id().await;
        assert!(matches!(failed, Err(ChainError::Unreachable { .. })), "{failed:?}");
    }
    let failed = chain_here.chain_id().await;
    assert!(matches!(failed, Err(ChainError::Unreadable { .. })), "{failed:?}");
    assert_eq!(chain_here.chain_id().await.unwrap(), 84_532);
    let failed = chain(&nobody().await).chain_id().await;
    assert!(matches!(failed, Err(ChainError::Unreachable { .. })), "{failed:?}");
}

#[tokio::test]
async fn only_hex_of_the_right_length_is_asked_for() {
    let peer = Peer::start(vec![result(Value::Null)]).await;
    let chain = chain(&peer.url);
    let found = chain.settlement(&PAYMENT, "0x1234").await;
    assert!(matches!(found, Err(ChainError::Argument("the transaction"))), "{found:?}");
    let found = chain.authorization_used(ASSET, PAYER, "0x\"}").await;
    assert!(matches!(found, Err(ChainError::Argument("the nonce"))), "{found:?}");
    assert!(peer.requests().is_empty());
}

#[tokio::test]
async fn a_node_of_another_chain_is_not_believed() {
    let word = format!("0x{:064x}", 0);
    let script =
        vec![Act::Drop, result(json!("0x2105")), result(json!("0x14a34")), result(json!(word))];
    let peer = Peer::start(script).await;
    let chain = chain(&peer.url).of_chain(84_532);
    // Before it has said of which chain it is, it is asked nothing else.
    let silent = chain.authorization_used(ASSET, PAYER, NONCE).await;
    assert!(matches!(silent, Err(ChainError::Unreachable { .. })), "{silent:?}");
    let wrong = chain.authorization_used(ASSET, PAYER, NONCE).await;
    let wrong = wrong.unwrap_err();
    assert!(matches!(wrong, ChainError::WrongChain { expected: 84_532, got: 8453 }), "{wrong}");
    for _ in 0..2 {
        assert!(!chain.authorization_used(ASSET, PAYER, NONCE).await.unwrap());
    }
    let methods: Vec<_> =
        peer.requests().iter().map(|request| sent(request)["method"].clone()).collect();
    assert_eq!(methods, ["eth_chainId", "eth_chainId", "eth_chainId", "eth_call", "eth_call"]);
}
