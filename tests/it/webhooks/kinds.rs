use std::fs;
use std::path::Path;

use bursar::events::KINDS;

use crate::tidy::source::{Kind, tokens};

fn sources(dir: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.ends_with("src/events/event.rs") {
            // It says what there is, and writes nothing.
        } else if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(fs::read_to_string(path).unwrap());
        }
    }
}

/// A text with the form of a type of event.
fn is_kind(text: &str) -> bool {
    let families = ["grant", "topup", "checkout", "item", "result", "charge", "lot", "balance"];
    text.split_once('.').is_some_and(|(family, rest)| {
        let plain = |c: char| c.is_ascii_lowercase() || c == '_';
        // The fields of log lines look the same.
        families.contains(&family) && !["", "id"].contains(&rest) && rest.chars().all(plain)
    })
}

#[test]
fn every_event_that_is_written_has_a_type_that_is_listed_and_told() {
    let mut files = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut files);
    let mut written: Vec<String> = files
        .iter()
        .flat_map(|text| tokens(text))
        .filter(|token| token.kind == Kind::Text && is_kind(&token.text))
        .map(|token| token.text)
        .collect();
    written.sort();
    written.dedup();
    let mut listed: Vec<&str> = KINDS.iter().map(|(kind, _)| *kind).collect();
    listed.sort_unstable();
    assert_eq!(written, listed, "KINDS has what the floors emit, and nothing else");
    let guide = include_str!("../../../llms.txt");
    for kind in listed {
        assert!(guide.contains(&format!("`{kind}`")), "llms.txt does not tell of {kind}");
    }
}
