//! Proofs of wallets that prove nothing.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bursar::ground::Clock;
use bursar::x402::Wallet;
use bursar::x402::siwx::{Audience, SignedChallenge};
use serde_json::{Value, json};

use super::ask::{Ask, Case, Part};
use super::world::World;
use crate::api::network;

const UNREADABLE: &[&str] = &["malformed_request"];
const SHAPE: &[&str] = &["validation_failed"];
const CHALLENGE: &[&str] = &["challenge_invalid"];
const SIGNATURE: &[&str] = &["signature_invalid"];

/// A well-signed proof for this service. Its nonce is none that it gave out.
fn proof(world: &World) -> SignedChallenge {
    let host = world.api.url.strip_prefix("http://").unwrap();
    let uri = format!("{}/api/v1/wallets/claim", world.api.url);
    let audience = Audience::new(host, &uri, vec![network()]);
    let challenge =
        audience.challenge("Sign", &"0123456789abcdef".repeat(2), world.api.clock.now());
    challenge.sign(&Wallet::from_secret(&[7; 32]).unwrap()).unwrap()
}

pub fn cases(world: &World, ask: &Ask) -> Vec<Case> {
    let good = serde_json::to_value(proof(world)).unwrap();
    let mut cases = in_body(ask, &good);
    cases.extend(in_header(ask, &good));
    cases
}

fn in_body(ask: &Ask, good: &Value) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |what: String, body: &Value, codes| {
        cases.push(Case::new(what, ask.clone().json(body), Part::Body, codes));
    };
    add("unknown nonce".to_owned(), good, CHALLENGE);
    for name in good.as_object().unwrap().keys() {
        let but = |value: Value| {
            let mut body = good.clone();
            body[name] = value;
            body
        };
        let odd = [json!("a\u{0}b"), json!("a\nb"), json!("é".repeat(5_000)), json!("")];
        for value in odd {
            // A list of texts is no text.
            let value = if name == "resources" { json!([value]) } else { value };
            let codes = &["challenge_invalid", "signature_invalid"];
            add(format!("odd {name}"), &but(value), codes);
        }
        for value in [json!(7), json!({}), json!([7]), json!(true)] {
            add(format!("{name} of another type"), &but(value), SHAPE);
        }
        let mut without = good.clone();
        without.as_object_mut().unwrap().remove(name);
        let codes = &["validation_failed", "signature_invalid"];
        add(format!("no {name}"), &without, codes);
    }
    for (name, value, codes) in [
        ("domain", json!("evil.example"), CHALLENGE),
        ("uri", json!("https://evil.example/api/v1/wallets/claim"), CHALLENGE),
        ("version", json!("2"), CHALLENGE),
        ("chainId", json!("eip155:1"), SIGNATURE),
        ("chainId", json!("eip155:99999999999999999999"), SIGNATURE),
        ("type", json!("eip1271"), SIGNATURE),
        ("nonce", json!("short"), CHALLENGE),
        ("issuedAt", json!("2020-01-01T00:00:00Z"), CHALLENGE),
        ("issuedAt", json!("9999-12-31T23:59:60Z"), CHALLENGE),
        ("expirationTime", json!("2020-01-01T00:00:00Z"), CHALLENGE),
        ("notBefore", json!("9999-01-01T00:00:00Z"), CHALLENGE),
        ("address", json!("0x0000000000000000000000000000000000000000"), SIGNATURE),
        ("signature", json!(format!("0x{}", "00".repeat(65))), SIGNATURE),
        ("signature", json!(format!("0x{}", "ff".repeat(65))), SIGNATURE),
        ("signature", json!(format!("0x{}", "00".repeat(20_000))), SIGNATURE),
    ] {
        let mut body = good.clone();
        body[name] = value;
        add(format!("wrong {name}"), &body, codes);
    }
    cases
}

fn in_header(ask: &Ask, good: &Value) -> Vec<Case> {
    let bare = ask.clone().without("Content-Type").body("");
    let line = |text: &str| format!("SIGN-IN-WITH-X: {text}");
    let sealed = |json: &str| line(&STANDARD.encode(json));
    let members: Vec<Value> = good.as_object().unwrap().values().cloned().collect();
    let rows: [(&str, Ask, &'static [&'static str]); 10] = [
        ("no proof", bare.clone(), SHAPE),
        ("not base64", bare.clone().header(line("%%%")), UNREADABLE),
        ("empty", bare.clone().header(line("")), UNREADABLE),
        ("not ASCII", bare.clone().header(line("é")), UNREADABLE),
        ("an empty object", bare.clone().header(sealed("{}")), UNREADABLE),
        ("a list", bare.clone().header(sealed(&json!(members).to_string())), UNREADABLE),
        ("too long", bare.clone().header(line(&"A".repeat(20_000))), UNREADABLE),
        ("plain and open", bare.clone().header(line("{")), UNREADABLE),
        ("unknown nonce", bare.clone().header(sealed(&good.to_string())), CHALLENGE),
        ("two proofs", ask.clone().json(good).header(line("e30=")), UNREADABLE),
    ];
    rows.into_iter().map(|(what, ask, codes)| Case::new(what, ask, Part::Other, codes)).collect()
}
