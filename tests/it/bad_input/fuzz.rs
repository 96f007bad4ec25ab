//! Requests made of random parts, with the right key: whatever comes of them, an answer does, it is
//! one that the document lists, and the books still add up.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::{Index, select, subsequence};
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use serde_json::Value;

use super::ask::{Ask, Shown};
use super::document::Operation;
use super::world::{World, signature_header};
use crate::support::postgres::run;

/// How many requests are sent. `PROPTEST_CASES` makes it more.
const CASES: u32 = 300;

/// What becomes of the good body.
#[derive(Clone, Debug)]
enum Body {
    Good,
    Member(Index, Value),
    Json(Value),
    Bytes(Vec<u8>),
    None,
}

/// How a good request is changed.
#[derive(Clone, Debug)]
struct Change {
    operation: Index,
    body: Body,
    headers: Vec<(&'static str, String)>,
    /// Members of a signed payment, in the header of a top-up.
    payment: Option<(Index, Value)>,
    parameter: Option<String>,
    query: Vec<(String, String)>,
}

#[test]
fn random_requests_get_an_answer_and_break_nothing() {
    run(|db| async move {
        let world = World::start(db).await;
        let operations = world.document.operations();
        let mut runner = runner();
        for n in 0..runner.config().cases {
            let change = changes().new_tree(&mut runner).unwrap().current();
            let operation = change.operation.get(&operations);
            let ask = changed(&world, operation, &change, n).await;
            let answer = world.send("random", &ask).await;
            let _shown = Shown("random", &ask);
            world.judge(operation, &answer);
            let own = operation.path.starts_with("/sandbox/facilitator") && answer.status == 400;
            if answer.status >= 400 && answer.status != 402 && !own {
                let code = answer.json()["code"].as_str().unwrap().to_owned();
                world.problem(&answer, &[&code]);
            }
        }
        world.check().await;
    });
}

/// A runner that says which seed repeats it: `PROPTEST_RNG_SEED`.
fn runner() -> TestRunner {
    let default = Config::default();
    let rng_seed = match default.rng_seed {
        RngSeed::Random => RngSeed::Fixed(rand_seed()),
        fixed @ RngSeed::Fixed(_) => fixed,
    };
    let cases = if default.cases == 256 { CASES } else { default.cases };
    eprintln!("PROPTEST_RNG_SEED={rng_seed}");
    TestRunner::new(Config { cases, rng_seed, failure_persistence: None, ..default })
}

fn rand_seed() -> u64 {
    let mut bytes = [0; 8];
    bursar::ground::Entropy::fill(&bursar::ground::SystemEntropy, &mut bytes);
    u64::from_le_bytes(bytes)
}

fn changes() -> impl Strategy<Value = Change> {
    let body = prop_oneof![
        2 => Just(Body::Good),
        6 => (any::<Index>(), any_json()).prop_map(|(at, value)| Body::Member(at, value)),
        2 => any_json().prop_map(Body::Json),
        1 => vec(any::<u8>(), 0..200).prop_map(Body::Bytes),
        1 => Just(Body::None),
    ];
    let query = prop_oneof![
        4 => Just(Vec::new()),
        1 => vec((select(&["after", "limit", "format", "network", "x"][..]), any_text()), 1..3)
            .prop_map(|pairs| pairs.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()),
    ];
    let payment = proptest::option::weighted(0.5, (any::<Index>(), any_json()));
    let parameter = proptest::option::weighted(0.2, "\\PC{1,12}");
    (any::<Index>(), body, headers(), payment, parameter, query).prop_map(
        |(operation, body, headers, payment, parameter, query)| Change {
            operation,
            body,
            headers,
            payment,
            parameter,
            query,
        },
    )
}

fn headers() -> impl Strategy<Value = Vec<(&'static str, String)>> {
    let names = [
        "Accept",
        "Accept-Encoding",
        "Content-Type",
        "Content-Encoding",
        "Idempotency-Key",
        "Request-Id",
        "X-Forwarded-For",
        "Origin",
        "Cookie",
        "Range",
        "If-None-Match",
        "X-PAYMENT",
        "SIGN-IN-WITH-X",
        "Forwarded",
        "Traceparent",
    ];
    subsequence(names.to_vec(), 0..4)
        .prop_flat_map(|names| {
            let values = vec(prop_oneof![any_text(), sealed_json()], names.len());
            (Just(names), values)
        })
        .prop_map(|(names, values)| names.into_iter().zip(values).collect())
}

/// What a header can carry: anything but control characters.
fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ -~]{0,40}",
        "[ -~é✓\u{1F600}]{0,20}",
        "[0-9]{1,25}",
        "(chk|chg|acc)_[0-9a-f]{32}"
    ]
}

fn sealed_json() -> impl Strategy<Value = String> {
    any_json().prop_map(|json| STANDARD.encode(json.to_string()))
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-3_i64..2_000_000).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        Just(Value::from("\u{0}")),
        "(0|[1-9][0-9]{0,12})(\\.[0-9]{1,7})?".prop_map(Value::from),
        "(acc|chk|r|lead|page|day|total|accepted)[_0-9a-f]{0,33}".prop_map(Value::from),
        "0x[0-9a-fA-F]{0,66}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..5).prop_map(Value::from),
            btree_map("[a-z_]{1,8}", inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

async fn changed(world: &World, operation: &Operation, change: &Change, n: u32) -> Ask {
    let mut ask = world.good(operation);
    if operation.is_keyed() {
        ask = ask.replace(&format!("Idempotency-Key: {n}"));
    }
    if let Some(parameter) = &change.parameter {
        let names = operation.parameters("path");
        let encoded = percent_encoded(parameter);
        let path = names.iter().fold(operation.path.clone(), |path, name| {
            path.replace(&format!("{{{name}}}"), &encoded)
        });
        ask.path = path;
    }
    let pairs = change.query.iter();
    let pairs: Vec<String> =
        pairs.map(|(name, value)| format!("{name}={}", percent_encoded(value))).collect();
    if !pairs.is_empty() {
        ask.path = format!("{}?{}", ask.path, pairs.join("&"));
    }
    ask = match &change.body {
        Body::Good => ask,
        Body::Member(at, value) => {
            let good: Value = serde_json::from_slice(&ask.body).unwrap_or_default();
            ask.json(&with_member(good, *at, value))
        }
        Body::Json(value) => ask.json(value),
        Body::Bytes(bytes) => ask.body(bytes.clone()),
        Body::None => ask.body(Vec::new()),
    };
    if let Some((at, value)) =
        change.payment.as_ref().filter(|_| operation.name == super::world::TOPUP)
    {
        let payment = world.payment("5.00", |_| {}).await;
        ask = ask.header(signature_header(&with_member(payment, *at, value)));
    }
    change.headers.iter().fold(ask, |ask, (name, value)| ask.replace(&format!("{name}: {value}")))
}

/// The value with one of its members, however deep, replaced.
fn with_member(mut value: Value, at: Index, by: &Value) -> Value {
    let mut pointers = Vec::new();
    list_members(&value, String::new(), &mut pointers);
    if !pointers.is_empty() {
        let at: &String = at.get(&pointers);
        *value.pointer_mut(at).unwrap() = by.clone();
    }
    value
}

fn list_members(value: &Value, at: String, pointers: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                let name = name.replace('~', "~0").replace('/', "~1");
                list_members(member, format!("{at}/{name}"), pointers);
            }
        }
        Value::Array(items) => {
            for (n, item) in items.iter().enumerate() {
                list_members(item, format!("{at}/{n}"), pointers);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    pointers.push(at);
}

fn percent_encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}
