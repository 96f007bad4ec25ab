//! The rules of the architecture, as functions from one file's text to what breaks them.

use super::source::{Kind, Token, tokens};

/// The floors, lowest first; the modules of one floor are strangers. `main` is on top of all.
const FLOORS: &[&[&str]] = &[
    &["ground"],
    &["db", "outbound"],
    &["ledger"],
    &["accounts", "x402", "checkout", "events"],
    &["finance"],
    &["http"],
    &["telemetry"],
    &["config"],
    &["cli"],
    &["main"],
];

/// No file is longer.
pub const LINES_MAX: usize = 400;

/// Names that say nothing about what is inside.
const VAGUE: [&str; 6] = ["util", "utils", "helper", "helpers", "misc", "common"];

/// One file, with its path from the project's root.
pub struct File<'a> {
    pub path: &'a str,
    pub text: &'a str,
}

/// Everything that breaks a rule in a file of `src`.
pub fn source_faults(file: &File<'_>) -> Vec<String> {
    let tokens = tokens(file.text);
    let mut faults = file_faults(file);
    let mut add = |line: usize, what: String| faults.push(format!("{}:{line}: {what}", file.path));
    if floor(file.module()).is_none() && file.module() != "lib" {
        add(1, format!("the module {} has no floor", file.module()));
    }
    if file.path.ends_with("/mod.rs") && !file.text.starts_with("//!") {
        add(1, "a mod.rs begins with a //! text".to_owned());
    }
    import_faults(file, &tokens, &mut add);
    super_faults(file, &tokens, &mut add);
    home_faults(file, &tokens, &mut add);
    faults
}

/// What breaks the rules that hold for any file: length and name.
pub fn file_faults(file: &File<'_>) -> Vec<String> {
    let mut faults = Vec::new();
    let lines = file.text.lines().count();
    if lines > LINES_MAX {
        faults.push(format!("{}: {lines} lines, and {LINES_MAX} are the most", file.path));
    }
    let names = file.path.trim_end_matches(".rs").split('/');
    if let Some(vague) = names.into_iter().find(|name| VAGUE.contains(name)) {
        faults.push(format!("{}: name it by what it holds, not `{vague}`", file.path));
    }
    faults
}

impl File<'_> {
    /// The top module it belongs to; `lib` and `main` for the roots.
    fn module(&self) -> &str {
        let inside = self.path.strip_prefix("src/").unwrap_or(self.path);
        inside.split('/').next().unwrap_or(inside).trim_end_matches(".rs")
    }

    /// How many modules deep it is.
    fn depth(&self) -> usize {
        let inside = self.path.strip_prefix("src/").unwrap_or(self.path);
        let segments = inside.split('/').count();
        segments - usize::from(inside.ends_with("/mod.rs"))
    }

    /// Whether SQL is at home in it: a module's store, one file or a folder of them.
    fn holds_sql(&self) -> bool {
        let in_store = self.path.ends_with("/store.rs") || self.path.contains("/store/");
        in_store || self.path.starts_with("src/db/")
    }
}

fn floor(module: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&module))
}

/// Imports go down, one path at a time.
fn import_faults(file: &File<'_>, tokens: &[Token], add: &mut impl FnMut(usize, String)) {
    let own = file.module();
    for (n, token) in tokens.iter().enumerate() {
        let after = |ahead: usize| tokens.get(n + ahead).map_or("", |t| t.text.as_str());
        if token.is("extern") && after(1) == "crate" {
            add(token.line, "`extern crate` gives the crate a second name".to_owned());
        }
        if !token.is("crate") || own == "main" {
            continue;
        }
        match (after(1), after(2)) {
            ("::", "{" | "*") => {
                add(token.line, "one `use` per module: a group or a star hides edges".to_owned());
            }
            ("::", module) if module != own => {
                if let Some(fault) = edge_fault(own, module) {
                    add(token.line, fault);
                }
            }
            ("as", _) => add(token.line, "`crate as` hides edges".to_owned()),
            _ => {}
        }
    }
}

/// What is wrong with one module importing another.
fn edge_fault(own: &str, module: &str) -> Option<String> {
    match (floor(own), floor(module)) {
        (_, None) => Some(format!("crate::{module} is on no floor")),
        (Some(from), Some(to)) if from > to => None,
        (Some(from), Some(to)) if from == to => Some(format!("{own} and {module} are strangers")),
        _ => Some(format!("{own} imports upwards from {module}")),
    }
}

/// Nobody climbs out of a top module by `super`, where the edges would not be seen.
fn super_faults(file: &File<'_>, tokens: &[Token], add: &mut impl FnMut(usize, String)) {
    if matches!(file.module(), "lib" | "main") {
        return;
    }
    let mut blocks: Vec<bool> = Vec::new();
    for (n, token) in tokens.iter().enumerate() {
        if token.is("{") {
            blocks.push(n >= 2 && tokens[n - 2].is("mod"));
        } else if token.is("}") {
            blocks.pop();
        }
        let follows = n >= 2 && tokens[n - 1].is("::") && tokens[n - 2].is("super");
        if !token.is("super") || follows {
            continue;
        }
        let chain = tokens[n..].chunks(2).take_while(|pair| pair[0].is("super")).count();
        let inline = blocks.iter().filter(|is_module| **is_module).count();
        if chain >= file.depth() + inline {
            add(token.line, "`super` climbs to the crate's root; say `crate::`".to_owned());
        }
    }
}

/// SQL, the web framework and the environment are each in one place.
fn home_faults(file: &File<'_>, tokens: &[Token], add: &mut impl FnMut(usize, String)) {
    let module = file.module();
    for (n, token) in tokens.iter().enumerate() {
        let before = |back: usize| n.checked_sub(back).map_or("", |m| tokens[m].text.as_str());
        let after = |ahead: usize| tokens.get(n + ahead).map_or("", |t| t.text.as_str());
        let word = token.text.as_str();
        if token.kind == Kind::Text {
            if !file.holds_sql() && is_sql(word) {
                add(token.line, "a statement outside a store and src/db".to_owned());
            }
            continue;
        }
        let from_sqlx = before(1) == "::" && before(2) == "sqlx";
        let is_query = word.starts_with("query") && (from_sqlx || after(1) == "!")
            || matches!(word, "raw_sql" | "QueryBuilder" | "query_as" | "query_scalar");
        if is_query && !file.holds_sql() {
            add(token.line, format!("`{word}` outside a store and src/db"));
        }
        let web = word.starts_with("actix") || word == "utoipa_actix_web";
        if web && module != "http" {
            add(token.line, format!("`{word}` outside src/http"));
        }
        let reads = before(1) == "::" && before(2) == "env";
        let reads = reads && (word.starts_with("var") || word == "{" || word == "*");
        if (reads || word == "option_env") && module != "config" {
            add(token.line, "the environment is read outside src/config".to_owned());
        }
    }
}

/// Whether a text is a statement and not a sentence.
fn is_sql(text: &str) -> bool {
    let text = text.replace("\\n", " ").replace('\\', " ").to_lowercase();
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ") + " ";
    let begins = |start: &str| text.starts_with(start);
    let plain_select = text.strip_prefix("select ").is_some_and(|rest| {
        rest.contains(" from ")
            || rest.contains('(')
            || rest.starts_with(|c: char| !c.is_alphabetic())
    });
    plain_select
        || begins("insert into ")
        || begins("delete from ")
        || begins("truncate ")
        || (begins("update ") && text.contains(" set "))
        || (begins("with ") && text.contains(" as ("))
        || (begins("copy ") && (text.contains(" to stdout") || text.contains(" from stdin")))
        || ["create ", "alter ", "drop ", "lock "].iter().any(|verb| {
            let rest = text.strip_prefix(verb).unwrap_or_default();
            ["table ", "role ", "database ", "schema ", "index "]
                .iter()
                .any(|o| rest.starts_with(o))
        })
}
