//! Every operation with every bad request, and then with a good one.

use std::collections::BTreeSet;

use super::ask::{Ask, Case, Part};
use super::document::{Key, Operation};
use super::rows::row;
use super::world::World;
use super::{bodies, meaning};
use crate::support::postgres::run;

#[test]
fn every_operation_refuses_every_bad_request_and_changes_nothing() {
    run(|db| async move {
        let world = World::start(db).await;
        for operation in world.document.operations() {
            let before = world.digest().await;
            world.refuses_all(&operation, &cases(&world, &operation)).await;
            let after = world.digest().await;
            assert_eq!(after, before, "{}", operation.name);
        }
        every_listed_refusal_was_seen(&world);
        good_requests_are_good(&world).await;
        world.check().await;
    });
}

/// What the document lists as a fault of the request can be provoked. Conflicts, quotas and outages
/// are not faults of a request.
fn every_listed_refusal_was_seen(world: &World) {
    let seen = world.seen.lock().unwrap().clone();
    let mut missing = BTreeSet::new();
    for operation in world.document.operations() {
        let faults = operation.statuses().into_iter().filter(|s| (400..500).contains(s));
        for status in faults.filter(|status| ![409, 429].contains(status)) {
            // Payments have a table of their own.
            let paid = operation.name == super::world::TOPUP && status == 422;
            if !paid && !seen.contains(&(operation.name.clone(), status)) {
                missing.insert(format!("{} {status}", operation.name));
            }
        }
    }
    assert!(missing.is_empty(), "listed and never seen: {missing:?}");
}

/// Otherwise a refusal would prove nothing: it could be for another reason than the spoiled one.
async fn good_requests_are_good(world: &World) {
    let mut operations = world.document.operations();
    // After a cancellation nothing more is delivered, and what is deleted is gone.
    let last = |operation: &Operation| operation.path.ends_with("/cancel");
    operations.sort_by_key(|operation| last(operation) || operation.method == "DELETE");
    for operation in operations {
        let answer = world.send("good", &world.good(&operation)).await;
        world.judge(&operation, &answer);
        let wanted = match operation.name.as_str() {
            super::world::TOPUP => 402,
            "POST /api/v1/wallets/claim" => 422,
            "POST /sandbox/facilitator/verify" | "POST /sandbox/facilitator/settle" => 400,
            _ => 200,
        };
        let status = if answer.status == 201 { 200 } else { answer.status };
        assert_eq!(status, wanted, "{}: {}", operation.name, answer.body);
    }
}

fn cases(world: &World, operation: &Operation) -> Vec<Case> {
    let ask = world.good(operation);
    let mut cases = keys(world, operation, &ask);
    cases.extend(idempotency_keys(operation, &ask));
    cases.extend(ids(world, operation, &ask));
    cases.extend(queries(operation, &ask));
    if operation.body_schema().is_some() {
        cases.extend(bodies::misshapen(&world.document, operation, &ask));
        cases.extend(bodies::unreadable(operation, &ask));
        cases.extend(bodies::mislabeled(&ask));
    }
    cases.extend(meaning::cases(world, operation, &ask));
    cases
}

/// Keys that are missing, garbled, over, or of a role that may not ask.
fn keys(world: &World, operation: &Operation, ask: &Ask) -> Vec<Case> {
    let bare = ask.clone().without("Authorization");
    let mut cases = Vec::new();
    let mut add = |what: &str, ask: Ask, code| {
        let what = format!("{}: {what}", operation.name);
        cases.push(Case::new(what, ask, Part::Other, &[code]));
    };
    if operation.key() == Key::None {
        return cases;
    }
    for (what, key, code) in &world.bad_keys {
        add(what, bare.clone().key(key), *code);
    }
    let good = format!("Authorization: Bearer {}", world.keys["operator"]);
    for line in [
        "Authorization:",
        "Authorization: Bearer",
        "Authorization: Bearer a b",
        "Authorization: Basic eA==",
        "Authorization: é",
        "Proxy-Authorization: Bearer x\r\nAuthorization: Digest x",
    ] {
        add(line, bare.clone().header(line), "unauthenticated");
    }
    let twice = bare.clone().header(good.clone()).header("Authorization: Bearer x");
    add("two keys", twice, "unauthenticated");
    let same = bare.clone().header(good.clone()).header(good.clone());
    add("the same key twice", same, "unauthenticated");
    let token = good.replace("Bearer ", "");
    add("a key without a scheme", bare.clone().header(token), "unauthenticated");
    if operation.key() == Key::Required {
        add("no key", bare.clone(), "unauthenticated");
        // A stranger learns nothing but that a key is needed.
        let stranger = Ask { path: broken_ids(world, operation), ..bare };
        add("nothing is right", stranger.body("{").header("Idempotency-Key: é"), "unauthenticated");
        let roles = row(world, &operation.name).roles;
        for role in ["customer", "fulfiller", "verifier", "operator"] {
            if !roles.contains(&role) {
                add(role, ask.clone().key(&world.keys[role]), "scope_missing");
            }
        }
    }
    cases
}

fn broken_ids(world: &World, operation: &Operation) -> String {
    let ids = operation.parameters("path");
    let path = ids
        .iter()
        .fold(operation.path.clone(), |path, name| path.replace(&format!("{{{name}}}"), "x"));
    world.fill(&path)
}

fn idempotency_keys(operation: &Operation, ask: &Ask) -> Vec<Case> {
    if !operation.is_keyed() {
        return Vec::new();
    }
    let bare = ask.clone().without("Idempotency-Key");
    let missing = &["idempotency_key_missing"];
    let mut cases = vec![Case::new("no idempotency key", bare.clone(), Part::Other, missing)];
    let long = format!("Idempotency-Key: {}", "k".repeat(256));
    for line in [
        "Idempotency-Key:",
        "Idempotency-Key: \"\"",
        "Idempotency-Key: a b",
        "Idempotency-Key: a\tb",
        "Idempotency-Key: é",
        "Idempotency-Key: a\r\nIdempotency-Key: a",
        "Idempotency-Key: a\r\nIdempotency-Key: b",
        long.as_str(),
    ] {
        let malformed = &["idempotency_key_malformed"];
        cases.push(Case::new(line, bare.clone().header(line), Part::Other, malformed));
    }
    cases
}

/// Ids that are none, of another kind, or of nothing.
fn ids(world: &World, operation: &Operation, ask: &Ask) -> Vec<Case> {
    let long = "x".repeat(5_000);
    let mut cases = Vec::new();
    for name in operation.parameters("path") {
        let place = format!("{{{name}}}");
        let value = world.fill(&place);
        let mut values = vec![
            "%00".to_owned(),
            "%FF".to_owned(),
            "a%2Fb".to_owned(),
            "%20".to_owned(),
            "*".to_owned(),
            "%C3%A9".to_owned(),
            "-x".to_owned(),
            long.clone(),
            format!("%20{value}"),
            format!("{value}%0A"),
            format!("{value}%00"),
            format!("{value}%C3%A9"),
        ];
        if value.len() > 30 {
            values.extend([
                value[..value.len() - 1].to_owned(),
                format!("{value}0"),
                format!("{}g", &value[..value.len() - 1]),
                value.replace(['c', 't', '0'], "z"),
                format!("acc_{}", "0".repeat(32)),
                "0".repeat(32),
            ]);
        }
        if value.len() == 36 {
            // Nothing has this id, in this book's slot or in another.
            values.push(format!("{}0000000000007000800000000000{}", &value[..4], &value[32..]));
            values.push(format!("{}00000000000070008000000000000001", &value[..4]));
            values.push(format!("{}{}", &value[..4], value[4..].to_uppercase()));
        }
        for bad in values.iter().filter(|bad| **bad != value) {
            let path = world.fill(&operation.path.replace(&place, bad));
            let ask = Ask { path, ..ask.clone() };
            let what = format!("{}: {name} {bad:.60}", operation.name);
            cases.push(Case::new(what, ask, Part::Other, &["not_found"]));
        }
    }
    cases
}

fn queries(operation: &Operation, ask: &Ask) -> Vec<Case> {
    let names = operation.parameters("query");
    let mut cases = Vec::new();
    for name in &names {
        let values: &[&str] = match name.as_str() {
            "limit" => {
                &["0", "-1", "101", "1.5", "1e1", "ten", "", "%00", "99999999999", "+", "0x1"]
            }
            // A SKU or a result's name is nearly any word, and the other cursors are ids or numbers.
            "after" if operation.path.ends_with("/catalog") => {
                &["", "%00", "%FF", "%C3%A9", "-", "A", "a%20b", "x/y"]
            }
            "after" if operation.path.ends_with("/results") => {
                &["", "%00", "%FF", "%C3%A9", "a%20b", "x/y", "%25"]
            }
            "after" => &["", "%00", "%FF", "%C3%A9", "chk_1", "99999999999999999999", "1.5"],
            "format" => &["", "xml", "CSV", "csv%00", "csv,jsonl"],
            "network" => &["", "x", "%00", "eip155:1"],
            "as_of" | "from" | "to" => &[
                "",
                "now",
                "2026-01-01",
                "2026-01-01T00:00:00",
                "2026-13-01T00:00:00Z",
                "0",
                "%00",
            ],
            "account_id" => &["", "acc_1", "%00", "acc_zz"],
            "type" => {
                &["", "topup", "charge.", "Charge.captured", "%00", "charge.captured,lot.expired"]
            }
            "dead" | "waiting" => &["", "yes", "1", "TRUE", "%00"],
            "payment_id" => &["", "two%20words", "%00", "%C3%A9"],
            "payer" => &["", "0x1", "%00", "x", "0xzz"],
            "nonce" | "transaction" => &["", "0x1", "%00", "x", "0xzz"],
            unknown => panic!("what is a bad {unknown}?"),
        };
        cases.extend(values.iter().map(|value| (format!("{name}={value}"), Some(name.clone()))));
        let twice = format!("{name}={}&{name}={}", values[1], values[1]);
        cases.push((twice, None));
    }
    if !names.is_empty() {
        cases.extend([("surprise=1".to_owned(), Some("surprise".to_owned()))]);
    }
    let path = ask.path.split('?').next().unwrap_or_default();
    let case = |(query, field): (String, Option<String>)| {
        let others = super::rows::query(&operation.name).iter();
        let others = others.filter(|(name, _)| !query.starts_with(&format!("{name}=")));
        let others: String = others.map(|(name, value)| format!("&{name}={value}")).collect();
        let ask = Ask { path: format!("{path}?{query}{others}"), ..ask.clone() };
        let case = Case::new(query, ask, Part::Other, &["validation_failed"]);
        Case { field, ..case }
    };
    cases.into_iter().map(case).collect()
}
