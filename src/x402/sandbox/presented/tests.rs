use serde_json::json;

use super::*;
use crate::x402::Wallet;

const NOW: i64 = 1_800_000_000;

fn wallet() -> Wallet {
    Wallet::from_secret(&[7; 32]).unwrap()
}

fn base_sepolia() -> &'static Network {
    Network::by_caip2("eip155:84532").unwrap()
}

/// An authorization, signed by the wallet for a domain.
fn signed(message: &Value, domain: &Domain<'_>) -> Value {
    let authorization = Authorization::from_value(message).unwrap();
    let hash = eip712::transfer_hash(&authorization);
    let signature = wallet().sign_digest(&eip712::digest(&domain.separator(), &hash));
    json!({"authorization": message, "signature": format!("0x{}", hex::encode(signature))})
}

fn message() -> Value {
    json!({
        "from": wallet().address(), "to": Address::new([9; 20]), "value": "1000000",
        "validAfter": (NOW - 10).to_string(), "validBefore": (NOW + 300).to_string(),
        "nonce": format!("0x{}", "c3".repeat(32)),
    })
}

fn body_with(payload: Value, extra: Value) -> Value {
    let requirements = json!({
        "scheme": "exact", "network": "eip155:84532", "amount": "1000000",
        "asset": base_sepolia().usdc, "payTo": Address::new([9; 20]), "extra": extra,
    });
    json!({
        "x402Version": 2,
        "paymentPayload": {"x402Version": 2, "accepted": requirements, "payload": payload},
        "paymentRequirements": requirements,
    })
}

fn extra() -> Value {
    json!({"name": "USDC", "version": "2"})
}

fn body() -> Value {
    body_with(signed(&message(), &base_sepolia().domain()), extra())
}

fn body_v1() -> Value {
    let body = body();
    let mut requirements = body["paymentRequirements"].clone();
    requirements["network"] = json!("base-sepolia");
    requirements["maxAmountRequired"] = requirements["amount"].take();
    json!({
        "x402Version": 1,
        "paymentPayload": {"x402Version": 1, "scheme": "exact", "network": "base-sepolia",
                           "payload": body["paymentPayload"]["payload"]},
        "paymentRequirements": requirements,
    })
}

/// Judges a payment at a second, in the order of `/verify`.
fn judged(body: &Value, now: i64) -> Result<Presented, Reason> {
    let judge = || {
        let presented = Presented::read(body, &[base_sepolia()])?;
        presented.judge_window(DateTime::from_timestamp(now, 0).unwrap())?;
        presented.judge_terms()?;
        Ok(presented)
    };
    judge().map_err(|refusal: Refusal| refusal.reason)
}

fn reason(body: &Value) -> Option<Reason> {
    judged(body, NOW).err()
}

/// The payment with one value replaced. The signature stays what it was.
fn with(pointer: &str, value: Value) -> Value {
    let mut body = body();
    *body.pointer_mut(pointer).unwrap() = value;
    body
}

/// The payment of a message that differs in one field, signed as it is.
fn with_signed(field: &str, value: Value) -> Value {
    let mut message = message();
    message[field] = value;
    body_with(signed(&message, &base_sepolia().domain()), extra())
}

#[test]
fn a_good_payment_is_read_in_both_versions() {
    let second = judged(&body(), NOW).unwrap();
    let first = judged(&body_v1(), NOW).unwrap();
    assert_eq!(second.digest, first.digest);
    assert_eq!(
        (second.network_name.as_str(), first.network_name.as_str()),
        ("eip155:84532", "base-sepolia")
    );
    let transfer = second.transfer().unwrap();
    assert_eq!(transfer.payer, wallet().address());
    assert_eq!(transfer.amount, Amount::micros_of(1_000_000));
}

#[test]
fn the_same_payment_may_be_spelled_otherwise() {
    let address = wallet().address().lower();
    for (field, value) in [
        ("from", json!(address)),
        ("value", json!(1_000_000)),
        ("value", json!("0xf4240")),
        ("nonce", json!(format!("0x{}", "C3".repeat(32)))),
    ] {
        let body = with(&format!("/paymentPayload/payload/authorization/{field}"), value.clone());
        assert_eq!(
            judged(&body, NOW).unwrap().digest,
            judged(&self::body(), NOW).unwrap().digest,
            "{value}"
        );
    }
    for field in ["payTo", "asset"] {
        let pointer = format!("/paymentRequirements/{field}");
        let lower = body().pointer(&pointer).unwrap().as_str().unwrap().to_lowercase();
        assert_eq!(reason(&with(&pointer, json!(lower))), None, "{field}");
    }
}

#[test]
fn what_was_not_signed_like_this_is_refused() {
    let at = |field: &str, value: Value| {
        reason(&with(&format!("/paymentPayload/payload/authorization/{field}"), value))
    };
    assert_eq!(at("value", json!("1000001")), Some(Reason::Signature));
    assert_eq!(at("to", json!(Address::new([8; 20]))), Some(Reason::Signature));
    assert_eq!(at("from", json!(Address::new([8; 20]))), Some(Reason::Signature));
    assert_eq!(at("validAfter", json!("0")), Some(Reason::Signature));
    assert_eq!(at("validBefore", json!((NOW + 301).to_string())), Some(Reason::Signature));
    assert_eq!(at("nonce", json!(format!("0x{}", "c4".repeat(32)))), Some(Reason::Signature));

    let good = body()["paymentPayload"]["payload"]["signature"].as_str().unwrap().to_owned();
    let v = u8::from_str_radix(&good[130..], 16).unwrap();
    for signature in [
        format!("{}{:02x}", &good[..130], v - 27),
        format!("{}{:02x}", &good[..130], 55 - v),
        format!("0x{}", "00".repeat(65)),
        good[..130].to_owned(),
        format!("{good}00"),
        "0x".to_owned(),
    ] {
        let body = with("/paymentPayload/payload/signature", json!(signature));
        assert_eq!(reason(&body), Some(Reason::Signature), "{signature}");
    }
    let other_chain = Network::by_caip2("eip155:421614").unwrap().domain();
    let body = body_with(signed(&message(), &other_chain), extra());
    assert_eq!(reason(&body), Some(Reason::Signature));
}

#[test]
fn each_check_has_its_reason() {
    let requirement =
        |field: &str, value: Value| reason(&with(&format!("/paymentRequirements/{field}"), value));
    assert_eq!(requirement("scheme", json!("upto")), Some(Reason::Scheme));
    assert_eq!(requirement("network", json!("eip155:8453")), Some(Reason::NetworkMismatch));
    assert_eq!(requirement("asset", json!(Address::new([1; 20]))), Some(Reason::Asset));
    assert_eq!(requirement("payTo", json!(Address::new([1; 20]))), Some(Reason::Recipient));
    assert_eq!(requirement("amount", json!("1000001")), Some(Reason::ValueMismatch));
    assert_eq!(requirement("amount", json!("999999")), Some(Reason::ValueMismatch));
    assert_eq!(requirement("extra", Value::Null), Some(Reason::Domain));
    assert_eq!(
        requirement("extra", json!({"name": "USD Coin", "version": "2"})),
        Some(Reason::Signature)
    );
    assert_eq!(
        reason(&with("/paymentPayload/accepted/scheme", json!("upto"))),
        Some(Reason::Scheme)
    );

    let elsewhere = body().to_string().replace("eip155:84532", "eip155:8453");
    assert_eq!(reason(&serde_json::from_str(&elsewhere).unwrap()), Some(Reason::Network));
    let v1_name_in_v2 = body().to_string().replace("eip155:84532", "base-sepolia");
    assert_eq!(reason(&serde_json::from_str(&v1_name_in_v2).unwrap()), Some(Reason::Network));

    for (name, version, expected) in
        [("USD Coin", "2", Reason::TokenName), ("USDC", "1", Reason::TokenVersion)]
    {
        let domain = Domain { name, version, ..base_sepolia().domain() };
        let extra = json!({"name": name, "version": version});
        assert_eq!(reason(&body_with(signed(&message(), &domain), extra)), Some(expected));
    }
    let mut nothing = with_signed("value", json!("0"));
    nothing["paymentRequirements"]["amount"] = json!("0");
    assert_eq!(reason(&nothing), Some(Reason::Value));

    let mut huge = with_signed("value", json!("9223372036854775808"));
    huge["paymentRequirements"]["amount"] = json!("9223372036854775808");
    assert_eq!(
        judged(&huge, NOW).unwrap().transfer().err().map(|r| r.reason),
        Some(Reason::Balance)
    );
}

#[test]
fn the_window_is_kept_to_the_second() {
    let at = |now| judged(&body(), now).err();
    assert_eq!(at(NOW - 10), None);
    assert_eq!(at(NOW - 11), Some(Reason::ValidAfter));
    assert_eq!(at(NOW + 294), None);
    assert_eq!(at(NOW + 295), Some(Reason::ValidBefore));
    assert_eq!(reason(&with_signed("validBefore", json!(u64::MAX.to_string()))), None);
    assert_eq!(
        reason(&with_signed("validAfter", json!(u64::MAX.to_string()))),
        Some(Reason::ValidAfter)
    );
}

#[test]
fn anything_malformed_has_a_clear_reason() {
    let table = [
        ("/paymentPayload/payload/authorization", json!("x"), Reason::Payload),
        ("/paymentPayload/payload/authorization/value", json!("-1"), Reason::Payload),
        ("/paymentPayload/payload/authorization/nonce", json!("0x11"), Reason::Payload),
        ("/paymentPayload/payload/signature", json!("0xzz"), Reason::Payload),
        ("/paymentPayload/payload/signature", json!(7), Reason::Payload),
        ("/paymentPayload", json!([1]), Reason::Payload),
        ("/paymentRequirements", Value::Null, Reason::Requirements),
        ("/paymentRequirements/payTo", json!("nobody"), Reason::Recipient),
        ("/paymentRequirements/amount", json!(1_000_000), Reason::Requirements),
        ("/paymentRequirements/amount", json!("+1000000"), Reason::Requirements),
        ("/paymentRequirements/amount", json!(""), Reason::Requirements),
        ("/x402Version", json!(3), Reason::Version),
        ("/x402Version", json!("2"), Reason::Version),
        ("/x402Version", json!(1), Reason::Version),
    ];
    for (pointer, value, expected) in table {
        assert_eq!(reason(&with(pointer, value.clone())), Some(expected), "{pointer} {value}");
    }
    for garbage in [Value::Null, json!([]), json!("x"), json!(7), json!({})] {
        assert_eq!(reason(&garbage), Some(Reason::Version), "{garbage}");
    }
}
