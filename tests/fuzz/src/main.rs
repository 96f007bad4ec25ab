//! A coverage-guided fuzzer of the way from a payment header to matched terms: nothing panics, and
//! what is read is read the same again. It begins with what official clients have sent.
//!
//! The first byte of an input says what the rest is: an X-PAYMENT or PAYMENT-SIGNATURE header, or
//! the JSON inside of it.
#![no_main]

use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bursar::x402::{Network, Payment, Terms, Window, match_payment};
use chrono::{DateTime, Utc};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

const VECTORS: &str = include_str!("../../vectors/x402.json");

/// What the payments of the vectors answer.
fn terms() -> Terms {
    Terms {
        networks: vec![Network::by_caip2("eip155:84532").expect("Base Sepolia is known")],
        pay_to: "0x209693Bc6afc0C5328bA36FaF03C514EF312287C".parse().expect("an address"),
        amount: "1.00".parse().expect("an amount"),
        resource_url: "http://localhost:8080/api/v1/credits/topup".to_owned(),
        description: "Buy prepaid credits".to_owned(),
        max_timeout_seconds: 300,
        window: Window::default(),
    }
}

/// A moment at which they were good.
fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_795_163_700, 0).expect("a time")
}

/// Writes the captured payments into the corpus, which is the first argument.
fn seed() {
    let Some(corpus) = std::env::args().skip(1).find(|argument| !argument.starts_with('-')) else {
        return;
    };
    fs::create_dir_all(&corpus).expect("the corpus can be made");
    let vectors: Value = serde_json::from_str(VECTORS).expect("the vectors are JSON");
    for (name, payment) in vectors["payments"].as_object().expect("payments") {
        let second = payment["header"] == "PAYMENT-SIGNATURE";
        let (header, json) = if second { (b'0', b'2') } else { (b'1', b'3') };
        let value = payment["value"].as_str().expect("a header").as_bytes().to_vec();
        let decoded = payment["decoded"].to_string().into_bytes();
        for (kind, bytes) in [(header, value), (json, decoded)] {
            let input = [vec![kind], bytes].concat();
            fs::write(format!("{corpus}/{name}-{}", char::from(kind)), input).expect("a seed");
        }
    }
}

fuzz_target!(init: seed(), |data: &[u8]| {
    let Some((kind, rest)) = data.split_first() else { return };
    let text = match kind % 4 {
        0 | 1 => String::from_utf8_lossy(rest).into_owned(),
        _ => STANDARD.encode(rest),
    };
    let read = match kind % 2 {
        0 => Payment::from_headers(Some(&text), None),
        _ => Payment::from_headers(None, Some(&text)),
    };
    let Ok(Some(payment)) = read else { return };
    let again = Payment::from_value(payment.version, payment.payload.clone());
    assert_eq!(again.as_ref().ok(), Some(&payment), "what goes on is the same payment");
    let terms = terms();
    if let Ok(matched) = match_payment(&terms, &payment, now()) {
        assert_eq!(payment.authorization.to, terms.pay_to);
        assert_eq!(payment.authorization.value, u128::from(terms.amount.micros().unsigned_abs()));
        assert_eq!((matched.payer, matched.amount), (payment.authorization.from, terms.amount));
    }
    let _ = payment.is_signed_by_payer();
});
