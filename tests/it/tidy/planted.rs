//! The rules, tried on planted violations: a scanner that finds nothing proves nothing.

use super::rules::{File, LINES_MAX, file_faults, source_faults};

fn faults(path: &str, text: &str) -> Vec<String> {
    source_faults(&File { path, text })
}

/// Asserts that a file breaks exactly one rule, and which.
fn breaks(path: &str, text: &str, rule: &str) {
    let faults = faults(path, text);
    assert_eq!(faults.len(), 1, "{path} {text:?}: {faults:?}");
    assert!(faults[0].contains(rule), "{path} {text:?}: {faults:?}");
}

/// Asserts that a file breaks no rule.
fn keeps(path: &str, text: &str) {
    assert_eq!(faults(path, text), Vec::<String>::new(), "{path} {text:?}");
}

#[test]
fn imports_go_down_only() {
    keeps("src/http/topups.rs", "use crate::x402::Terms; use crate::ground::Amount;");
    keeps("src/x402/topup.rs", "use crate::ledger::Lot; use crate::x402::wire::{A, B};");
    keeps("src/finance/mod.rs", "//! Text.\nuse crate::checkout::Charge; use crate::db;");
    keeps("src/config/mod.rs", "//! Text.\nuse crate::telemetry::LogSettings;");
    keeps("src/cli/mod.rs", "//! Text.\nuse crate::http; fn f() { crate::config::x() }");
    keeps("src/main.rs", "use bursar::cli::Cli; use crate::whatever;");
    breaks("src/ground/amount.rs", "use crate::db::Pool;", "imports upwards");
    breaks("src/ledger/lot.rs", "fn f() { crate::x402::g() }", "ledger imports upwards from x402");
    breaks("src/ledger/lot.rs", "fn f(x: &crate :: http :: App) {}", "imports upwards");
    breaks("src/x402/topup.rs", "use crate::checkout::Charge;", "strangers");
    breaks("src/accounts/store.rs", "pub use crate::x402::Terms as T;", "strangers");
    breaks("src/http/app.rs", "use crate::config::Settings;", "imports upwards");
    breaks("src/finance/export.rs", "macro_rules! m { () => { $crate::http::f() } }", "upwards");
    breaks("src/http/app.rs", "#[cfg(test)] mod tests { use crate::cli::Cli; }", "upwards");
    breaks("src/http/app.rs", "use crate::billing::Invoice;", "on no floor");
    breaks("src/billing/invoice.rs", "", "has no floor");
}

#[test]
fn no_spelling_hides_an_edge() {
    breaks("src/db/pool.rs", "use crate::{http, ground};", "hides edges");
    breaks("src/db/pool.rs", "use crate::*;", "hides edges");
    breaks("src/db/pool.rs", "use crate as it;", "hides edges");
    breaks("src/db/pool.rs", "extern crate bursar;", "second name");
    breaks("src/db/pool.rs", "use super::super::http;", "climbs");
    breaks("src/db/mod.rs", "//! Text.\nuse super::http;", "climbs");
    breaks("src/telemetry.rs", "use super::http;", "climbs");
    breaks("src/db/pool.rs", "mod tests { use super::super::super::http; }", "climbs");
    keeps("src/db/pool.rs", "use super::error::E; mod tests { use super::*; }");
    keeps("src/db/pool.rs", "mod tests { use super::super::error::E; fn f() { super::g() } }");
    keeps("src/main.rs", "mod tests { use super::start; }");
    keeps("src/db/managed/root.rs", "use super::super::error::E; pub(crate) fn f() {}");
}

#[test]
fn comments_and_texts_are_not_code() {
    keeps("src/ground/page.rs", "/// See [`crate::http`]. use crate::http;\n/* sqlx::query */");
    keeps("src/ground/page.rs", "const A: &str = \"crate::http::actix_web std::env::var\";");
    keeps("src/ground/page.rs", "const A: &str = \"select a network, update it with care\";");
}

#[test]
fn sql_is_at_home() {
    for statement in [
        "\"select 1\"",
        "\"select id\\n from book\"",
        "\"SELECT count(*)\"",
        "r#\"\n  insert into transfer (id) values ($1)\"#",
        "\"update lot set remaining = 0\"",
        "\"delete from hold\"",
        "\"with due as (select 1) select * from due\"",
        "\"copy transfer to stdout\"",
        "\"create table x ()\"",
    ] {
        let text = format!("fn f() {{ run({statement}) }}");
        breaks("src/ledger/engine.rs", &text, "a statement outside");
        keeps("src/ledger/store.rs", &text);
        keeps("src/ledger/store/read.rs", &text);
        keeps("src/db/migrate.rs", &text);
    }
    for call in [
        "sqlx::query(Q)",
        "sqlx::query!()",
        "query!()",
        "sqlx::query_as::<_, Row>(Q)",
        "query_as(Q)",
        "sqlx::query_scalar!()",
        "query_file_as!(Row)",
        "sqlx::raw_sql(Q)",
        "QueryBuilder::new(Q)",
    ] {
        let text = format!("fn f() {{ {call} }}");
        breaks("src/checkout/mod.rs", &format!("//! Text.\n{text}"), "outside a store");
        keeps("src/checkout/store.rs", &text);
    }
    keeps("src/x402/client.rs", "fn f() { request.query(&pairs); url.query_pairs(); }");
    breaks("src/ledger/not_store.rs", "use sqlx::query;", "outside a store");
}

#[test]
fn the_framework_and_the_environment_are_at_home() {
    breaks("src/x402/wire.rs", "use actix_web::HttpResponse;", "outside src/http");
    breaks("src/main.rs", "#[actix_web::main] async fn main() {}", "outside src/http");
    breaks("src/checkout/charge.rs", "use utoipa_actix_web::AppExt;", "outside src/http");
    keeps("src/checkout/charge.rs", "#[derive(utoipa::ToSchema)] struct A;");
    keeps("src/http/app.rs", "use actix_web::HttpResponse; use utoipa::OpenApi;");
    for read in ["std::env::var(N)", "env::var_os(N)", "std::env::vars()", "option_env!(N)"] {
        breaks("src/db/pool.rs", &format!("fn f() {{ {read} }}"), "environment");
        keeps("src/config/mod.rs", &format!("//! Text.\nfn f() {{ {read} }}"));
    }
    breaks("src/db/pool.rs", "use std::env::{self, var};", "environment");
    breaks("src/db/pool.rs", "use std::env::*;", "environment");
    keeps("src/db/pool.rs", "fn f() { std::env::temp_dir(); env!(\"CARGO_PKG_VERSION\"); }");
}

#[test]
fn files_are_short_and_named_by_what_they_hold() {
    keeps("src/db/pool.rs", &"\n".repeat(LINES_MAX));
    breaks("src/db/pool.rs", &"\n".repeat(LINES_MAX + 1), "401 lines");
    breaks("src/db/utils.rs", "", "name it by what it holds");
    breaks("src/db/helpers/mod.rs", "//! Text.", "name it by what it holds");
    breaks("src/db/mod.rs", "mod pool;\n//! Late.", "begins with a //! text");
    let file = File { path: "tests/it/helpers.rs", text: &"\n".repeat(LINES_MAX + 1) };
    assert_eq!(file_faults(&file).len(), 2);
}
