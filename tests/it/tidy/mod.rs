//! The architecture is a test: floors, homes, lengths and names, and a README that cannot lie.

mod planted;
mod readme;
mod rules;
pub mod source;

use std::fs;
use std::path::{Path, PathBuf};

use rules::{File, file_faults, source_faults};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Every Rust file below a directory of the project, as (path from the root, text).
fn rust_files(directory: &str) -> Vec<(String, String)> {
    let mut open = vec![Path::new(ROOT).join(directory)];
    let mut files = Vec::new();
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(children(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(ROOT).expect("it is below the root");
            let name = name.to_str().expect("paths are UTF-8").replace('\\', "/");
            files.push((name, fs::read_to_string(&path).expect("a source file can be read")));
        }
    }
    files.sort();
    files
}

/// What is in a directory, without what package managers put there.
fn children(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("a source directory can be read");
    let paths = entries.map(|entry| entry.expect("an entry can be read").path());
    paths.filter(|path| !path.ends_with("node_modules")).collect()
}

fn assert_none(faults: Vec<String>) {
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn the_source_keeps_the_architecture() {
    let files = rust_files("src");
    assert!(files.iter().any(|(path, _)| path == "src/lib.rs"), "the scan found the source");
    let faults = files.iter().flat_map(|(path, text)| source_faults(&File { path, text }));
    assert_none(faults.collect());
}

#[test]
fn tests_and_benches_are_tidy_too() {
    let files: Vec<_> = ["tests", "benches"].into_iter().flat_map(rust_files).collect();
    let faults = files.iter().flat_map(|(path, text)| file_faults(&File { path, text }));
    assert_none(faults.collect());
}
