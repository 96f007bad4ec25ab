//! The README says what the code does: its settings and its commands are compared.

use bursar::cli::Cli;
use bursar::config::{VARIABLES, markdown_table};
use clap::error::ErrorKind;

/// What the README says about settings that the code does not, and the other way round.
fn setting_faults(readme: &str) -> Vec<String> {
    let table = markdown_table();
    let rows = table.lines().filter(|row| !readme.lines().any(|line| line.trim() == *row));
    let mut faults: Vec<_> = rows.map(|row| format!("README.md lacks this row:\n{row}")).collect();
    let words = readme.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    for word in words.filter(|word| word.len() > 7 && word.starts_with("BURSAR_")) {
        if !VARIABLES.iter().any(|variable| variable.name == word) {
            faults.push(format!("README.md names {word}, which is no setting"));
        }
    }
    faults
}

/// The commands in the README's code blocks that `bursar` would refuse.
fn command_faults(readme: &str) -> Vec<String> {
    let lines = commands(readme);
    lines.iter().filter_map(|line| command_fault(line)).collect()
}

/// The lines of the code blocks that call `bursar`, from that word on.
fn commands(readme: &str) -> Vec<String> {
    let joined = readme.replace("\\\n", " ");
    let blocks = joined.split("```").skip(1).step_by(2);
    let lines = blocks.flat_map(|block| block.lines().skip(1));
    lines.filter_map(from_program).collect()
}

/// A line without prompt, settings and directory before the program's name.
fn from_program(line: &str) -> Option<String> {
    let mut words = line.split_whitespace().skip_while(|word| {
        *word == "$" || word.split_once('=').is_some_and(|(name, _)| name.to_uppercase() == name)
    });
    let program = words.next()?;
    let rest: Vec<_> = match program.rsplit('/').next()? {
        "bursar" => words.collect(),
        "cargo" if line.contains(" -- ") => {
            words.skip_while(|word| *word != "--").skip(1).collect()
        }
        _ => return None,
    };
    let cargo_other = program == "cargo" && !line.contains("cargo run");
    (!cargo_other).then(|| format!("bursar {}", rest.join(" ")))
}

fn command_fault(line: &str) -> Option<String> {
    let ends = |word: &String| ["|", ">", ">>", "&&", ";", "&", "#"].contains(&word.as_str());
    let words = shell_words(line).into_iter().take_while(|word| !ends(word));
    match Cli::read_from(words) {
        Ok(_) => None,
        Err(error)
            if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) =>
        {
            None
        }
        Err(error) => Some(format!("README.md: `{line}` does not run: {error}")),
    }
}

/// Splits a line as a shell does, as far as quotes go.
fn shell_words(line: &str) -> Vec<String> {
    let mut words = vec![];
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    for c in line.chars() {
        match quote {
            Some(open) if c == open => quote = None,
            None if c == '\'' || c == '"' => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            None if c.is_whitespace() => words.extend(word.take()),
            Some(_) | None => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

#[test]
fn the_readme_lists_the_settings_and_runs() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    if !std::path::Path::new(path).exists() {
        return;
    }
    let readme = std::fs::read_to_string(path).expect("the README can be read");
    let faults: Vec<_> =
        setting_faults(&readme).into_iter().chain(command_faults(&readme)).collect();
    assert!(faults.is_empty(), "{}\n\nThe whole table:\n{}", faults.join("\n"), markdown_table());
    assert!(!commands(&readme).is_empty(), "the README shows no command");
}

#[test]
fn planted_setting_faults_are_found() {
    let table = markdown_table();
    assert_eq!(setting_faults(&table), Vec::<String>::new());
    for row in table.lines().skip(2) {
        assert_eq!(setting_faults(&table.replace(row, "")).len(), 1, "{row}");
    }
    let wrong_default = table.replace("| `127.0.0.1:8402` |", "| `0.0.0.0:80` |");
    assert_eq!(setting_faults(&wrong_default).len(), 1);
    assert_eq!(setting_faults(&format!("{table}\nSet `BURSAR_PORT`.")).len(), 1);
    assert_eq!(setting_faults(&format!("{table}\nAll begin with `BURSAR_`.")).len(), 0);
}

#[test]
fn planted_commands_that_do_not_run_are_found() {
    let block =
        |line: &str| format!("Text with `bursar nothing`.\n```sh\n{line}\n```\nbursar no\n");
    for line in [
        "bursar serve",
        "$ bursar demo --exit",
        "BURSAR_MODE=live bursar serve # then wait",
        "./target/release/bursar export --format csv > journal.csv",
        "cargo run -- serve --help",
        "cargo test -- --nocapture",
        "bursar pay http://127.0.0.1:8402/x \\\n  --data '{\"amount\": \"5.00\"}'",
        "curl http://127.0.0.1:8402/llms.txt",
    ] {
        assert_eq!(command_faults(&block(line)), Vec::<String>::new(), "{line}");
    }
    for line in [
        "bursar start",
        "bursar serve --port 80",
        "bursar export --format xml",
        "cargo run --release -- start",
        "BURSAR_MODE=live ./bursar admin keys",
    ] {
        assert_eq!(command_faults(&block(line)).len(), 1, "{line}");
    }
}
