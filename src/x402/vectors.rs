//! The known answers that the tests of this module share.

use std::sync::LazyLock;

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::{Network, Terms, Wallet, Window};
use crate::ground::Amount;

pub static VECTORS: LazyLock<Value> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../../tests/vectors/x402.json")).expect("the file is JSON")
});

/// A text in the vectors, by JSON pointer.
pub fn text(pointer: &str) -> &'static str {
    VECTORS.pointer(pointer).and_then(Value::as_str).expect("the vector is there")
}

/// Bytes in the vectors, by JSON pointer.
pub fn bytes(pointer: &str) -> Vec<u8> {
    hex::decode(text(pointer).trim_start_matches("0x")).expect("the vector is hexadecimal")
}

/// The wallet that signed everything in the vectors.
pub fn wallet() -> Wallet {
    Wallet::from_secret(&bytes("/wallet/secret").try_into().expect("32 bytes")).expect("a key")
}

/// A moment inside the windows of the captured payments.
pub fn paid_at() -> DateTime<Utc> {
    DateTime::from_timestamp(1_795_163_600, 0).expect("in range")
}

/// The terms that the captured payments answer.
pub fn terms() -> Terms {
    Terms {
        networks: vec![Network::by_caip2("eip155:84532").expect("in the table")],
        pay_to: text("/transfers/0/message/to").parse().expect("an address"),
        amount: Amount::micros_of(1_000_000),
        resource_url: text("/payment_required_v2/decoded/resource/url").to_owned(),
        description: "Buy prepaid credits".to_owned(),
        max_timeout_seconds: 300,
        window: Window::default(),
    }
}
