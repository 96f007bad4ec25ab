//! The guide's own checks find what is planted.

use serde_json::json;

use super::GUIDE;
use super::document::{Kind, read};
use super::facts::{code_faults, limit_faults, name_faults, route_faults, shape_faults};
use super::values::Values;
use super::wallet::Signer;

const ANSWER: &str = "```http\nHTTP/1.1 200\n```\n";

#[test]
fn blocks_that_cannot_be_read_are_found() {
    let good = format!("```http\nGET /a\nAccept: x\n```\ntext\n{ANSWER}```js\nx\n```\n");
    assert_eq!(read(&good).unwrap().len(), 1);
    for bad in [
        format!("```http\nGET a\n```\n{ANSWER}"),
        format!("```http\nBREW /a\n```\n{ANSWER}"),
        format!("```http\nPOST /a\nno header\n```\n{ANSWER}"),
        format!("```http\nPOST /a\n\n{{\"a\": }}\n```\n{ANSWER}"),
        format!("```http often\nGET /a\n```\n{ANSWER}"),
        "```http\nGET /a\n```\n".to_owned(),
        "```http\nGET /a\n```\n```json part\n{}\n```\n".to_owned(),
        "```http\nGET /a\n```\n```http\nGET /b\n```\n".to_owned(),
        "```http\nGET /a\n```\n```http\nHTTP/1.1 200\n\n{\n```\n".to_owned(),
        "```json\n{}\n```\n".to_owned(),
        "```\nx\n```\n".to_owned(),
        "```js\nx\n".to_owned(),
    ] {
        assert!(read(&bad).is_err(), "{bad}");
    }
}

#[test]
fn answers_that_differ_are_found() {
    let documented =
        json!({"id": "{id}", "at": "{time}", "n": 1, "url": "x/{id}", "list": [{"a": null}]});
    let good = json!({
        "id": "i1", "at": "2026-11-20T10:30:00Z", "n": 1, "url": "x/i1", "more": 1,
        "list": [{"a": null, "b": 2}],
    });
    let mut values = Values::default();
    values.meet_json(&documented, &good, "body").unwrap();
    values.meet_json(&documented, &good, "body").unwrap();
    assert_eq!(values.fill("/{id}{\"a\"}").unwrap(), "/i1{\"a\"}");
    for (name, other) in [
        ("id", json!("i2")),
        ("id", json!(1)),
        ("at", json!("yesterday")),
        ("n", json!(2)),
        ("n", json!("1")),
        ("url", json!("x/i2")),
        ("list", json!([])),
        ("list", json!([{"a": null}, {"a": null}])),
        ("list", json!([{"b": 2}])),
    ] {
        let mut bad = good.clone();
        bad[name] = other;
        assert!(values.meet_json(&documented, &bad, "body").is_err(), "{bad}");
    }
    for undefined in ["{other}", "{time}"] {
        assert!(values.fill(undefined).is_err());
    }
    assert!(Values::default().meet("x/{id}", "x/i1").is_err());
}

#[test]
fn typed_data_that_the_token_would_refuse_is_found() {
    let steps = read(GUIDE).unwrap();
    let typed = steps.iter().find_map(|step| match &step.kind {
        Kind::Part { name, text } if name == "typed_data" => Some(text.as_str()),
        Kind::Part { .. } | Kind::Example { .. } => None,
    });
    let typed = typed.unwrap();
    let sign = |text: &str| {
        let mut values = Values::default();
        let mut signer = Signer::fresh();
        values.set("wallet", signer.address());
        values.set("pay_to", signer.address());
        signer.part("typed_data", text, &mut values)
    };
    sign(typed).unwrap();
    for (from, to) in [
        ("\"USDC\"", "\"USD Coin\""),
        ("\"version\": \"2\"", "\"version\": \"1\""),
        ("84532,", "8453,"),
        ("0x036C", "0x136C"),
        ("\"nonce\", \"type\": \"bytes32\"", "\"nonce\", \"type\": \"uint256\""),
        ("{\"name\": \"from\", \"type\": \"address\"}, ", ""),
        ("TransferWithAuthorization", "Transfer"),
    ] {
        let bad = typed.replace(from, to);
        assert!(bad != typed && sign(&bad).is_err(), "{from}");
    }
}

#[test]
fn facts_that_are_not_so_are_found() {
    let faults = |change: &dyn Fn(&str) -> String, check: fn(&str) -> Vec<String>| {
        let changed = change(GUIDE);
        assert_ne!(changed, GUIDE);
        check(&changed).len()
    };
    let replace =
        |from: &'static str, to: &'static str| move |guide: &str| guide.replacen(from, to, 1);
    let row = GUIDE.lines().find(|line| line.starts_with("| `rate_limited`")).unwrap();
    assert_eq!(faults(&|guide| guide.replace(row, ""), code_faults), 1);
    let other = row.replace("`rate_limited`", "`rate_exceeded`");
    assert_eq!(faults(&|guide| guide.replace(row, &format!("{row}\n{other}")), code_faults), 1);
    assert_eq!(faults(&replace("| 429 | yes |", "| 429 | no |"), code_faults), 2);
    let route = "| `GET /api/v1/charges` | customer | no |\n";
    assert_eq!(faults(&replace(route, ""), route_faults), 1);
    assert_eq!(faults(&replace(route, "| `GET /api/v1/charges` | none | no |\n"), route_faults), 2);
    assert_eq!(faults(&replace("`max_total` is", "`total_max` is"), name_faults), 1);
    assert_eq!(faults(&replace("65536 bytes", "1 MB"), limit_faults), 1);
    assert_eq!(faults(&replace("600 requests", "500 requests"), limit_faults), 2);
    assert_eq!(faults(&replace("\n> Prepaid", "\nPrepaid"), shape_faults), 1);
    assert_eq!(faults(&replace("](/docs)", "](/doc)"), shape_faults), 1);
}
