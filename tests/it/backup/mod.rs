//! Backup and restore, with the real binary and the tools of Postgres.

mod life;
mod managed;
mod refused;

use std::path::PathBuf;

use bursar::db::managed::Role;
use sqlx::PgPool;

use crate::startup::process::{Bursar, Ended};
use crate::support::postgres::TestDatabase;

/// A place for backups, removed when the test passes.
struct Shelf(PathBuf);

impl Shelf {
    fn new(name: &str) -> Self {
        let name = format!("backup-{}-{name}", std::process::id());
        let dir = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    /// The names of everything on it.
    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.0).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

impl Drop for Shelf {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            std::fs::remove_dir_all(&self.0).unwrap();
        }
    }
}

/// A command on a database, as its owner and as the service.
fn on(database: &TestDatabase, arguments: &[&str]) -> Bursar {
    Bursar::new(arguments)
        .set("DATABASE_URL", &database.url(Role::Service))
        .set("BURSAR_MIGRATION_URL", &database.url(Role::Owner))
}

/// A figure that a command printed, as `  books      7`.
fn figure(ended: &Ended, name: &str) -> i64 {
    let line = ended.out.lines().find(|line| line.trim().starts_with(name));
    line.unwrap_or_else(|| panic!("no {name} in {}", ended.out))
        .split_whitespace()
        .last()
        .unwrap()
        .parse()
        .unwrap()
}

async fn count(pool: &PgPool, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(pool).await.unwrap()
}

/// How many tables of any kind a database has.
const TABLES: &str = "select count(*) from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where n.nspname = 'public'";
