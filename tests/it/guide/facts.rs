//! What the guide says of routes, error codes, limits and names, compared with the code.

use std::collections::BTreeSet;

use bursar::config::{Preset, find};
use bursar::ground::Page;
use bursar::http::{Code, HttpSettings, api_document_json};
use bursar::x402::{Window, header};
use serde_json::Value;

use super::GUIDE;
use super::document::{prose, table};

/// Codes, names and reasons that are in no table and no schema: a 402 is no problem.
const ELSEWHERE: [&str; 5] =
    ["payment_rejected", "spend_controls", "bur_test_", "bur_live_", "personal_sign"];

/// What the guide says of error codes that the table of codes does not, and the other way round.
pub(super) fn code_faults(guide: &str) -> Vec<String> {
    let rows = table(guide, "Error codes");
    let rows: BTreeSet<String> = rows.iter().map(|row| row.join(" | ")).collect();
    let wanted: BTreeSet<String> = Code::ALL.iter().map(|code| row_of(*code)).collect();
    let missing = wanted.difference(&rows).map(|row| format!("missing: | {row} |"));
    let odd = rows.difference(&wanted).map(|row| format!("wrong: | {row} |"));
    missing.chain(odd).collect()
}

fn row_of(code: Code) -> String {
    let facts = code.facts();
    let again = if facts.retryable { "yes" } else { "no" };
    let url = if facts.url.is_empty() { String::new() } else { format!(" `{}`", facts.url) };
    let (code, status, action, hint) = (facts.code, facts.status, facts.action, facts.hint);
    format!("`{code}` | {status} | {again} | `{action}`{url} | {hint}")
}

/// What the guide says of routes that the API document does not, and the other way round.
pub(super) fn route_faults(guide: &str) -> Vec<String> {
    let document: Value = serde_json::from_str(&api_document_json()).unwrap();
    let mut wanted = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        if !path.starts_with("/api/v1/") {
            continue;
        }
        for (method, operation) in methods.as_object().unwrap() {
            let method = method.to_uppercase();
            let (key, once) = (key_of(operation), once_of(operation));
            wanted.insert(format!("`{method} {path}` | {key} | {once}"));
        }
    }
    let told = table(guide, "Routes").iter().map(|row| told_route(row)).collect();
    let missing = wanted.difference(&told).map(|row| format!("missing: | {row} |"));
    missing.chain(told.difference(&wanted).map(|row| format!("wrong: | {row} |"))).collect()
}

/// A row with the kind of key left out: the document knows only whether one is needed.
fn told_route(row: &[&str]) -> String {
    let [route, key, once] = row else { return row.join(" | ") };
    let key = match *key {
        "customer" | "fulfiller" | "verifier" | "operator" => "needed",
        other => other,
    };
    format!("{route} | {key} | {once}")
}

fn key_of(operation: &Value) -> &'static str {
    match operation["security"].as_array().map(Vec::as_slice) {
        None | Some([]) => "none",
        Some(ways) if ways.iter().any(|way| *way == serde_json::json!({})) => "optional",
        Some(_) => "needed",
    }
}

fn once_of(operation: &Value) -> &'static str {
    let parameters = operation["parameters"].as_array().into_iter().flatten();
    let key = parameters.into_iter().find(|parameter| parameter["name"] == "Idempotency-Key");
    match key.map(|parameter| parameter["required"] == true) {
        None => "no",
        Some(false) => "optional",
        Some(true) => "required",
    }
}

/// Names in backticks that nothing has: no code, nothing in the API document, nothing in an example.
pub(super) fn name_faults(guide: &str) -> Vec<String> {
    let (prose, document) = (prose(guide), api_document_json());
    let examples = guide.split("```").skip(1).step_by(2).collect::<Vec<_>>().join("\n");
    let mut known: BTreeSet<&str> = words(&document).chain(words(&examples)).collect();
    known.extend(Code::ALL.iter().map(|code| code.facts().action));
    known.extend(ELSEWHERE);
    let names = prose.split('`').skip(1).step_by(2).filter(|name| is_name(name));
    let unknown = names.filter(|name| !known.contains(name));
    unknown.map(|name| format!("`{name}` is the name of nothing")).collect()
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
}

fn is_name(text: &str) -> bool {
    text.contains('_') && text.chars().all(|c| c.is_ascii_lowercase() || c == '_')
}

/// Numbers of the defaults that the guide does not give.
pub(super) fn limit_faults(guide: &str) -> Vec<String> {
    let section = guide.split_once("\n## Limits\n").map_or("", |(_, rest)| rest);
    let section = section.split("\n## ").next().unwrap_or("").replace("\n  ", " ");
    let preset = |name| match find(name).unwrap().test {
        Preset::Value(value) => value,
        other => panic!("{name} has the default {other:?}"),
    };
    let http = HttpSettings::default();
    let (address, key) = (http.rate_per_address.unwrap(), http.rate_per_key.unwrap());
    let window = Window::default();
    let wanted = [
        format!("{} to {}", preset("BURSAR_MIN_TOPUP"), preset("BURSAR_MAX_TOPUP")),
        format!("and {} when no amount", preset("BURSAR_DEFAULT_TOPUP")),
        format!("more than {} seconds", window.margin.num_seconds()),
        format!("at most {} hours", window.horizon.num_hours()),
        format!("{} bytes", http.body_bytes_max),
        format!("{} characters", header::HEADER_MAX),
        format!("{} entries, at most {}", Page::<()>::LIMIT_DEFAULT, Page::<()>::LIMIT_MAX),
        format!("{} requests a minute for an address", preset("BURSAR_RATE_PER_MINUTE")),
        format!(
            "{} requests a minute for an address, {} for a key",
            address.requests, key.requests
        ),
        format!("{} signups", preset("BURSAR_SIGNUPS_PER_HOUR")),
        format!("after {} days", preset("BURSAR_GRANT_DAYS")),
    ];
    let missing = wanted.into_iter().filter(|text| !section.contains(text));
    missing.map(|text| format!("the limits do not say: {text}")).collect()
}

/// What every file of this kind has: one title, a summary, and headings of the second rank.
pub(super) fn shape_faults(guide: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let prose = prose(guide);
    let mut lines = prose.lines().filter(|line| !line.is_empty());
    if !lines.next().is_some_and(|line| line.starts_with("# ")) {
        faults.push("the title is missing".to_owned());
    }
    if !lines.next().is_some_and(|line| line.starts_with("> ")) {
        faults.push("the summary is missing".to_owned());
    }
    let odd =
        prose.lines().skip(1).filter(|line| line.starts_with('#') && !line.starts_with("## "));
    faults.extend(odd.map(|line| format!("no other heading may be there: {line}")));
    for link in ["/openapi.json", "/docs"] {
        if !prose.contains(&format!("]({link})")) {
            faults.push(format!("{link} is not linked"));
        }
    }
    faults
}

#[test]
fn what_the_guide_says_is_so() {
    let checks = [code_faults, route_faults, name_faults, limit_faults, shape_faults];
    let faults: Vec<String> = checks.iter().flat_map(|check| check(GUIDE)).collect();
    assert!(faults.is_empty(), "llms.txt:\n{}", faults.join("\n"));
}
