//! Top-ups with a payment that is wrong, or with a good one and something else that is.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bursar::ground::Clock;
use bursar::x402::{Authorization, Wallet};
use serde_json::{Value, json};

use super::ask::{Ask, Case, Part};
use super::document::Operation;
use super::world::{TOPUP, World, signature_header};
use crate::support::postgres::run;

const MALFORMED: &[&str] = &["payment_malformed"];
const MISMATCH: &[&str] = &["payment_mismatch"];
const EXPIRED: &[&str] = &["payment_expired"];
const INVALID: &[&str] = &["payment_invalid"];

#[test]
fn a_bad_payment_is_refused_and_leaves_no_trace() {
    run(|db| async move {
        let world = World::start(db).await;
        let topup = world.document.operations().into_iter().find(|o| o.name == TOPUP).unwrap();
        let good = world.payment("1.00", |_| {}).await;
        let before = world.digest().await;
        let mut cases = unreadable(&good);
        cases.extend(garbled(&good));
        cases.extend(altered(&good));
        cases.extend(resigned(&world).await);
        cases.extend(misplaced(&world, &good));
        world.refuses_all(&topup, &cases).await;
        assert_eq!(world.digest().await, before);
        // Nothing of it has spoiled the payment, and once is enough.
        credited_once(&world, &topup, &good).await;
        world.check().await;
    });
}

async fn credited_once(world: &World, topup: &Operation, good: &Value) {
    let ask = ask().key(&world.customer.key).header(signature_header(good));
    let paid = world.send("paid", &ask).await;
    world.judge(topup, &paid);
    assert_eq!((paid.status, &paid.json()["credited"]), (200, &json!("1.00")), "{}", paid.body);
    let after = world.digest().await;
    let oddly = ask.clone().body("{\"amount\": oops").header("Content-Type: text/plain");
    for ask in [ask, oddly] {
        let again = world.send("again", &ask).await;
        assert_eq!((again.status, &again.json()["topup_id"]), (200, &paid.json()["topup_id"]));
    }
    assert_eq!(world.digest().await, after);
}

fn ask() -> Ask {
    Ask::new("POST", "/api/v1/credits/topup")
}

fn case(what: &str, ask: Ask, codes: &[&'static str]) -> Case {
    Case::new(what, ask, Part::Other, codes)
}

fn sealed(json: &str) -> Ask {
    ask().header(format!("PAYMENT-SIGNATURE: {}", STANDARD.encode(json)))
}

/// Headers that carry no JSON object.
fn unreadable(good: &Value) -> Vec<Case> {
    let json = good.to_string();
    let header = signature_header(good);
    let members = |names: &[&str]| {
        let values: Vec<Value> = names.iter().map(|name| good[*name].clone()).collect();
        Value::from(values).to_string()
    };
    // All members of a payment, but without their names.
    let list = members(&["x402Version", "", "", "resource", "accepted", "payload", ""]);
    let half = json.replacen("\"accepted\"", "\"x\":\"\\ud800\",\"accepted\"", 1);
    let long = json.replacen('{', &format!("{{\"x\":\"{}\",", "x".repeat(16_000)), 1);
    let bomb = format!("{}{}", "[".repeat(5_000), "]".repeat(5_000));
    let mut cases = vec![
        case("nothing", ask().header("PAYMENT-SIGNATURE:"), MALFORMED),
        case("no base64", ask().header("PAYMENT-SIGNATURE: %%%"), MALFORMED),
        case("no ASCII", ask().header("PAYMENT-SIGNATURE: é"), MALFORMED),
        case("no ASCII in version 1", ask().header("X-PAYMENT: é"), MALFORMED),
        case("plain JSON", ask().header(format!("PAYMENT-SIGNATURE: {json}")), MALFORMED),
        case("two payments", ask().header(header.clone()).header(header), MALFORMED),
    ];
    let v1 = format!("X-PAYMENT: {}", STANDARD.encode(&json));
    cases.push(case("version 2 as version 1", ask().header(v1), MALFORMED));
    for text in ["", "{", "[]", "{}", "7", "null", "\"x\"", &list, &half, &long, &bomb] {
        cases.push(case(&format!("sealed {text:.40}"), sealed(text), MALFORMED));
    }
    cases
}

/// Payments that are read as JSON and are not of the protocol, or cannot be kept.
fn garbled(good: &Value) -> Vec<Case> {
    let deep = (0..100).fold(json!(1), |inner, _| json!([inner]));
    let mut cases = Vec::new();
    for (pointer, value) in [
        ("/x402Version", json!(3)),
        ("/x402Version", json!("2")),
        ("/x402Version", json!(2.0)),
        ("/x402Version", json!(-2)),
        ("/payload", json!([])),
        ("/payload", json!("x")),
        ("/payload/signature", json!("")),
        ("/payload/signature", json!("0x")),
        ("/payload/signature", json!("0xzz")),
        ("/payload/signature", json!(7)),
        ("/payload/authorization", json!([])),
        ("/payload/authorization/from", json!("0x1")),
        ("/payload/authorization/to", json!(null)),
        ("/payload/authorization/value", json!("-1")),
        ("/payload/authorization/value", json!(1.5)),
        ("/payload/authorization/value", json!("9".repeat(90))),
        ("/payload/authorization/validBefore", json!("99999999999999999999999")),
        ("/payload/authorization/validAfter", json!("soon")),
        ("/payload/authorization/nonce", json!("0x00")),
        ("/accepted", json!([])),
        ("/accepted/scheme", json!("upto")),
        ("/accepted/network", json!("eip155:0")),
        ("/accepted/network", json!("\u{0}")),
        ("/resource", json!("x")),
        ("/resource/description", json!("a\u{0}b")),
        ("/resource", json!({"url": good["resource"]["url"], "a\u{0}": 1})),
        ("/extensions", json!([])),
        ("/extensions", json!({"x": ["a\u{0}"]})),
        ("/extensions", json!({"payment-identifier": {"info": {"id": "a\u{0}b"}}})),
        ("/extensions", json!({"payment-identifier": {"info": {"id": "short"}}})),
        ("/more", json!({"deep": ["\u{0}"]})),
        ("/more", deep),
        ("/PAYLOAD", json!({})),
    ] {
        let what = format!("{pointer} is {value:.40}");
        cases.push(case(
            &what,
            ask().header(signature_header(&put(good, pointer, value))),
            MALFORMED,
        ));
    }
    cases
}

/// The payment with another value at that place, which is made if it is not there.
fn put(good: &Value, pointer: &str, value: Value) -> Value {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let mut payment = good.clone();
    payment.pointer_mut(parent).unwrap()[name] = value;
    payment
}

/// Payments that are of the protocol, with something changed after it was signed.
fn altered(good: &Value) -> Vec<Case> {
    let authorization = "/payload/authorization";
    let mut cases = Vec::new();
    for (pointer, value, codes) in [
        ("/accepted/amount", json!("999999"), MISMATCH),
        ("/accepted/payTo", json!("0x0000000000000000000000000000000000000001"), MISMATCH),
        ("/accepted/asset", json!("0x0000000000000000000000000000000000000001"), MISMATCH),
        ("/accepted/network", json!("eip155:8453"), MISMATCH),
        ("/accepted/maxTimeoutSeconds", json!(1), MISMATCH),
        ("/resource/url", json!("https://evil.example/"), MISMATCH),
        (&format!("{authorization}/value"), json!("2000000"), MISMATCH),
        (&format!("{authorization}/value"), json!("0"), MISMATCH),
        (&format!("{authorization}/to"), json!(format!("0x{}", "11".repeat(20))), MISMATCH),
        (&format!("{authorization}/from"), json!(format!("0x{}", "11".repeat(20))), INVALID),
        (&format!("{authorization}/nonce"), json!(format!("0x{}", "11".repeat(32))), INVALID),
        (&format!("{authorization}/validAfter"), json!("1"), INVALID),
        (&format!("{authorization}/validBefore"), json!("1"), EXPIRED),
        (&format!("{authorization}/validBefore"), json!("18446744073709551615"), EXPIRED),
        ("/payload/signature", json!(format!("0x{}", "00".repeat(65))), INVALID),
        ("/payload/signature", json!(format!("0x{}", "ff".repeat(65))), INVALID),
        ("/payload/signature", json!("0x00"), INVALID),
        ("/payload/signature", json!(format!("0x{}", "ab".repeat(3_000))), INVALID),
    ] {
        let what = format!("{pointer} becomes {value:.40}");
        cases.push(case(&what, ask().header(signature_header(&put(good, pointer, value))), codes));
    }
    cases
}

/// Payments that are properly signed and ask for what is not offered.
async fn resigned(world: &World) -> Vec<Case> {
    type Change = fn(&mut Authorization, u64);
    let now = u64::try_from(world.api.clock.now().timestamp()).unwrap();
    let changes: [(&str, Change, &'static [&'static str]); 7] = [
        ("less", |a, _| a.value -= 1, MISMATCH),
        ("more", |a, _| a.value += 1, MISMATCH),
        ("without bounds", |a, _| a.value = u128::MAX, MISMATCH),
        ("to somebody else", |a, _| a.to = a.from, MISMATCH),
        ("over", |a, now| a.valid_before = now - 1, EXPIRED),
        ("not yet", |a, now| a.valid_after = now + 100, EXPIRED),
        ("for ever", |a, _| a.valid_before = u64::MAX, EXPIRED),
    ];
    let mut cases = Vec::new();
    for (what, change, codes) in changes {
        let payment = world.payment("1.00", |authorization| change(authorization, now)).await;
        cases.push(case(what, ask().header(signature_header(&payment)), codes));
    }
    let thief = Wallet::from_secret(&[8; 32]).unwrap().address();
    let stolen = world.payment("1.00", |authorization| authorization.from = thief).await;
    cases.push(case("stolen", ask().header(signature_header(&stolen)), INVALID));
    cases
}

/// The good payment, with a request around it that is not.
fn misplaced(world: &World, good: &Value) -> Vec<Case> {
    let paid = ask().header(signature_header(good));
    let keyed = paid.clone().key(&world.customer.key);
    let mut cases = Vec::new();
    for (what, key, code) in &world.bad_keys {
        cases.push(case(what, paid.clone().key(key), &[*code]));
    }
    for staff in ["operator", "fulfiller", "verifier"] {
        cases.push(case(staff, paid.clone().key(&world.keys[staff]), &["scope_missing"]));
    }
    let long = format!("Idempotency-Key: {}", "k".repeat(256));
    for line in [
        "Idempotency-Key:",
        "Idempotency-Key: é",
        "Idempotency-Key: a\r\nIdempotency-Key: b",
        &long,
    ] {
        cases.push(case(line, keyed.clone().header(line), &["idempotency_key_malformed"]));
    }
    let large = format!("{{\"amount\":\"{}\"}}", "1".repeat(70_000));
    for (body, code) in [
        ("{", "malformed_request"),
        ("[]", "validation_failed"),
        ("{\"amount\":1}", "validation_failed"),
        ("{\"amount\":\"1.0000001\"}", "validation_failed"),
        ("{\"surprise\":1}", "validation_failed"),
        ("{\"amount\":\"0\"}", "topup_below_minimum"),
        ("{\"amount\":\"1000.01\"}", "topup_above_maximum"),
        ("{\"amount\":\"2.00\"}", "payment_mismatch"),
        (&large, "payload_too_large"),
    ] {
        cases.push(case(&format!("{body:.40}"), keyed.clone().body(body), &[code]));
    }
    for account in ["00000000000070008000000000000000", "00000000000070008000000000000001"] {
        let body = format!("{{\"account_id\":\"acc_{account}\"}}");
        cases.push(case(account, paid.clone().body(body), &["validation_failed"]));
    }
    cases
}
