//! Bodies that are wrong: what the document's schema refuses, and what is no JSON at all.

use serde_json::{Map, Value, json};

use super::ask::{Ask, Case, Part};
use super::document::{Document, Operation};

const SHAPE: &[&str] = &["validation_failed"];
const BROKEN: &[&str] = &["malformed_request"];
const EITHER: &[&str] = &["validation_failed", "malformed_request"];

/// What is tried in the place of every member; all texts only where a text belongs.
fn odd_values(is_text: bool) -> Vec<Value> {
    let mut values = vec![json!([]), json!([[]]), json!({}), json!({"surprise": 1})];
    values.extend([Value::Null, json!(true), json!(-0.0), json!(1.0), json!(1.5), json!(1e300)]);
    let numbers = [0, 1, -1, 1_000_001, 31_536_001, i64::MAX, i64::MIN];
    values.extend(numbers.map(Value::from));
    values.extend([json!(u64::MAX), json!(""), json!("1"), json!("x")]);
    if !is_text {
        return values;
    }
    let long = ["x".repeat(65), "x".repeat(129), "é".repeat(1_001), "x".repeat(20_000)];
    let texts = [
        " ",
        "X",
        "ä",
        "a b",
        "-a",
        "0",
        "-1",
        "+1",
        "01",
        "1.",
        ".5",
        "1e3",
        "1,00",
        " 1",
        "1.0000001",
        "1000000000000",
        "١",
        "0x1",
        "NaN",
        "Infinity",
        "a\u{0}b",
        "a\u{1b}b",
        "a\u{7f}",
        "\u{85}",
        "../x",
        "%00",
        "null",
        "true",
        "2026-11-20",
        "2026-13-01T00:00:00Z",
        "2099-1-1T0:0:0Z",
        "+12099-01-01T00:00:00Z",
        "yesterday",
        "acc_1",
        "chk_00000000000070008000000000000001",
        "acc_0000000000007000800000000000000A",
        "acc_{00000000000070008000000000000}",
        "acc_00000000-0000-7000-8000-000000000000",
        "0x14791697260e4c9a71f18484c9f997b308e5932",
        "0x14791697260e4c9a71f18484c9f997b308e5932g",
    ];
    values.extend(texts.map(Value::from));
    values.extend(long.map(Value::from));
    values
}

/// The body with one thing spoiled, and the member at fault; the whole body when that is empty.
pub fn spoiled(document: &Document, schema: &Value, good: &Value) -> Vec<(String, Value)> {
    let plain = document.not_null(schema);
    let is_text = match &plain["type"] {
        Value::Array(kinds) => kinds.iter().any(|kind| kind == "string"),
        kind => kind == "string",
    };
    let mut bad: Vec<_> = odd_values(is_text).into_iter().chain(disguised(plain, good)).collect();
    bad.retain(|value| document.fits(schema, value).is_err() || cannot_be_kept(plain, value));
    let mut all: Vec<(String, Value)> =
        bad.into_iter().map(|value| (String::new(), value)).collect();
    match good {
        Value::Object(members) => all.extend(spoiled_members(document, plain, members)),
        Value::Array(items) => {
            let one = &items[0];
            for (at, value) in spoiled(document, &plain["items"], one) {
                all.push((format!("[0]{at}"), json!([value])));
            }
            if let Some(max) = plain["maxItems"].as_u64() {
                let many = vec![one.clone(); usize::try_from(max + 1).unwrap()];
                all.push((String::new(), Value::from(many)));
            }
        }
        _ => {}
    }
    all
}

fn spoiled_members(
    document: &Document,
    schema: &Value,
    members: &Map<String, Value>,
) -> Vec<(String, Value)> {
    let mut all = Vec::new();
    for (name, good) in members {
        let of = &schema["properties"][name];
        for (at, value) in spoiled(document, of, good) {
            let mut body = members.clone();
            body.insert(name.clone(), value);
            let dot = if at.is_empty() || at.starts_with('[') { "" } else { "." };
            all.push((format!("{name}{dot}{at}"), Value::Object(body)));
        }
    }
    for name in schema["required"].as_array().into_iter().flatten() {
        let mut body = members.clone();
        body.remove(name.as_str().unwrap());
        all.push((String::new(), Value::Object(body)));
    }
    if schema["additionalProperties"] == false {
        let mut body = members.clone();
        body.insert("surprise".to_owned(), json!({"a": 1}));
        all.push(("surprise".to_owned(), Value::Object(body)));
    }
    all
}

/// What a lenient reader takes for the good value: members without their names, in any order, and
/// words as the only member of an object.
fn disguised(schema: &Value, good: &Value) -> Vec<Value> {
    let mut all = Vec::new();
    if let Some(members) = good.as_object() {
        let values: Vec<Value> = members.values().cloned().collect();
        let mut turned = values.clone();
        turned.reverse();
        all.extend([Value::from(values), Value::from(turned)]);
    }
    for word in schema["enum"].as_array().into_iter().flatten() {
        let word = word.as_str().unwrap();
        all.extend([json!({ word: null }), json!([word]), json!(word.to_uppercase())]);
    }
    all
}

/// What Postgres cannot keep is refused everywhere, and control characters in texts are too.
fn cannot_be_kept(schema: &Value, value: &Value) -> bool {
    let control = |c: char| c.is_control() && schema["type"].is_string();
    value.as_str().is_some_and(|text| text.contains(|c| c == '\0' || control(c)))
}

/// Every bad body of an operation that says what its body is.
pub fn misshapen(document: &Document, operation: &Operation, ask: &Ask) -> Vec<Case> {
    let schema = operation.body_schema().unwrap();
    // Bodies of any shape belong to protocols of their own.
    if document.target(schema)["properties"].is_null() && operation.path.contains("/cancel") {
        let surprise = Case::new("surprise", ask.clone().json(&json!({"a": 1})), Part::Body, SHAPE);
        return vec![surprise];
    }
    if document.target(schema)["properties"].is_null() {
        return Vec::new();
    }
    let good: Value = serde_json::from_slice(&ask.body).unwrap();
    let cases = spoiled(document, schema, &good).into_iter().map(|(field, body)| {
        let what = format!("{}: {field}", operation.name);
        let case = Case::new(what, ask.clone().json(&body), Part::Body, SHAPE);
        // How deep the name goes is the reader's affair; which member it is, is not.
        let member = field.split(['.', '[']).next().unwrap_or_default();
        case.field(member)
    });
    cases.collect()
}

/// Bodies that cannot be read, or are not said to be JSON.
pub fn unreadable(operation: &Operation, ask: &Ask) -> Vec<Case> {
    let good = String::from_utf8(ask.body.clone()).unwrap();
    let bomb = |open: &str, close: &str| format!("{}{}", open.repeat(10_000), close.repeat(10_000));
    let utf16: Vec<u8> = good.encode_utf16().flat_map(u16::to_le_bytes).collect();
    // Where the good body stands for any object, it may be found wrong before its end is reached.
    let tail = if good == "{}" { EITHER } else { BROKEN };
    let mut bodies: Vec<(&'static str, Vec<u8>, &'static [&'static str])> = vec![
        ("open", b"{".into(), BROKEN),
        ("control character", b"\x01".into(), BROKEN),
        ("blank", b" \n".into(), BROKEN),
        ("trailing", format!("{good} x").into(), tail),
        ("two", format!("{good}{good}").into(), tail),
        ("byte order mark", format!("\u{feff}{good}").into(), BROKEN),
        ("UTF-16", utf16, BROKEN),
        ("not UTF-8", b"{\"\xff\xfe\":1}".into(), EITHER),
        ("half a surrogate", br#"{"\ud800":1}"#.into(), EITHER),
        ("lists in lists", bomb("[", "]").into(), EITHER),
        ("objects in objects", bomb(r#"{"a":"#, "}").into(), EITHER),
        ("comment", format!("{good} // x").into(), tail),
        ("single quotes", b"{'a': 1}".into(), BROKEN),
        (
            "large",
            format!("{{\"name\":\"{}\"}}", "x".repeat(70_000)).into(),
            &["payload_too_large"],
        ),
        ("very large", vec![b' '; 300_000], &["payload_too_large"]),
    ];
    if operation.name == super::world::TOPUP {
        // Nothing but space is no body, and that buys the default amount.
        bodies.retain(|(what, ..)| *what != "blank");
    }
    if let Some((before, after)) = around_first_text(&good) {
        let put = |what, codes, inside: &[u8]| {
            (what, [before.as_bytes(), inside, after.as_bytes()].concat(), codes)
        };
        bodies.extend([
            put("half a surrogate as text", BROKEN, br#""\ud800""#),
            put("the other half as text", BROKEN, br#""\udc00x""#),
            put("text that is not UTF-8", BROKEN, b"\"\xc3\x28\""),
            put("raw line break", BROKEN, b"\"a\nb\""),
            put("unknown escape", BROKEN, br#""\x00""#),
            put("number without bounds", EITHER, b"1e999"),
            put("lists in a member", EITHER, bomb("[", "]").as_bytes()),
            put("NUL escaped", SHAPE, br#""a\u0000""#),
            put("twice", SHAPE, format!("\"x\",{}\"x\"", member_before(before)).as_bytes()),
        ]);
    }
    if operation.is_body_required() {
        bodies.push(("empty", Vec::new(), BROKEN));
    }
    let case = |(what, body, codes): (&str, Vec<u8>, &[&'static str])| {
        Case::new(what, ask.clone().body(body), Part::Body, codes)
    };
    bodies.into_iter().map(case).collect()
}

/// What is around the first text value of an object.
fn around_first_text(json: &str) -> Option<(&str, &str)> {
    let start = json.find(":\"")? + 1;
    let end = start + 1 + json[start + 1..].find('"')? + 1;
    Some((&json[..start], &json[end..]))
}

/// The name of the last member of an unfinished object, with its colon.
fn member_before(json: &str) -> &str {
    let end = json.len() - 2;
    let start = json[..end].rfind('"').unwrap();
    &json[start..]
}

/// Good bodies under headers that say something else of them.
pub fn mislabeled(ask: &Ask) -> Vec<Case> {
    let labels = [
        "Content-Type: text/plain",
        "Content-Type: application/x-www-form-urlencoded",
        "Content-Type: multipart/form-data; boundary=x",
        "Content-Type: application/jsonx",
        "Content-Type: ;;",
        "Content-Type: é",
        "Content-Type:",
        "Content-Encoding: gzip",
        "Content-Encoding: identity, br",
    ];
    let with = |line: &&str| ask.clone().replace(line);
    let asks = labels.iter().map(|line| (*line, with(line)));
    asks.chain([("no Content-Type", ask.clone().without("Content-Type"))])
        .map(|(what, ask)| Case::new(what, ask, Part::Other, &["unsupported_media_type"]))
        .collect()
}
