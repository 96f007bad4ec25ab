//! Dumps of a whole database, by Postgres' own tools.
//!
//! A dump is one consistent snapshot in the custom format of `pg_dump`. It is written aside, read
//! to its end once, and then renamed: a file with the wanted name is always whole. It is loaded in
//! one transaction, or not at all.

mod libpq;
mod tools;

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use sqlx::PgConnection;
use sqlx::postgres::PgConnectOptions;

pub use tools::Tools;

/// Why a dump was not made or not loaded.
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    #[error(
        "pg_dump and pg_restore of PostgreSQL {server} or later were not found{}; install the \
         client programs of PostgreSQL {server}, or set BURSAR_PG_BIN to their directory",
        list(.rejected)
    )]
    NoTools { server: u32, rejected: Vec<String> },
    #[error("cannot run {program}")]
    Run { program: PathBuf, source: io::Error },
    #[error("{program} failed ({status}): {output}")]
    Failed { program: &'static str, status: String, output: String },
    #[error("{} exists already; a dump never replaces another", .0.display())]
    Exists(PathBuf),
    #[error("cannot {what} {}", .path.display())]
    File { what: &'static str, path: PathBuf, source: io::Error },
    #[error("{} is not a whole dump of a Bursar database: {reason}", .file.display())]
    NotWhole { file: PathBuf, reason: String },
    #[error("{0} cannot be told to Postgres' tools")]
    Connection(&'static str),
}

fn list(rejected: &[String]) -> String {
    if rejected.is_empty() { String::new() } else { format!(" ({})", rejected.join(", ")) }
}

/// A table that every database of ours has.
const OURS: &str = " TABLE DATA public transfer ";

/// Gives the state that a transaction sees a name, by which others see the same while it is open.
pub async fn export_snapshot(transaction: &mut PgConnection) -> Result<String, sqlx::Error> {
    sqlx::query_scalar!(r#"select pg_export_snapshot() as "name!""#).fetch_one(transaction).await
}

/// Writes a dump of the state that an exported snapshot names. The file must not exist; it is
/// readable for its owner alone.
pub async fn write(
    tools: &Tools,
    database: &PgConnectOptions,
    snapshot: &str,
    file: &Path,
) -> Result<(), DumpError> {
    if file.exists() {
        return Err(DumpError::Exists(file.to_owned()));
    }
    let aside = Aside::create(file)?;
    let mut dump = tools.pg_dump();
    libpq::connect(&mut dump, database)?;
    dump.args(["--format=custom", "--no-password"]);
    dump.arg(format!("--snapshot={snapshot}")).arg("--file").arg(&aside.path);
    tools::run("pg_dump", dump).await?;
    verify(tools, &aside.path).await?;
    aside.keep(file)
}

/// Reads a dump to its end: the list of what is in it, and then all of that.
pub async fn verify(tools: &Tools, file: &Path) -> Result<(), DumpError> {
    File::open(file).map_err(failed("open", file))?;
    let not_whole = |reason: String| DumpError::NotWhole { file: file.to_owned(), reason };
    let mut listed = tools.pg_restore();
    listed.arg("--list").arg(file);
    let listed = tools::run("pg_restore", listed).await.map_err(|e| not_whole(e.to_string()))?;
    if !listed.contains(OURS) {
        return Err(not_whole("it has no journal".to_owned()));
    }
    let mut read = tools.pg_restore();
    read.arg("--file=/dev/null").arg(file);
    tools::run("pg_restore", read).await.map_err(|e| not_whole(e.to_string()))?;
    Ok(())
}

/// The first row of a table in a dump: its columns' names and values.
pub async fn first_row(
    tools: &Tools,
    file: &Path,
    table: &str,
) -> Result<Vec<(String, String)>, DumpError> {
    let mut read = tools.pg_restore();
    read.args(["--data-only", "--file=-"]).arg(format!("--table={table}")).arg(file);
    let text = tools::run("pg_restore", read).await?;
    Ok(row_of(&text).unwrap_or_default())
}

/// `COPY public.x (a, b) FROM stdin;` and the line after it.
fn row_of(script: &str) -> Option<Vec<(String, String)>> {
    let (_, copy) = script.split_once("\nCOPY ")?;
    let (head, rows) = copy.split_once('\n')?;
    let columns = head.split_once('(')?.1.split_once(')')?.0.split(", ");
    let row = rows.lines().next().filter(|row| *row != "\\.")?;
    Some(columns.map(str::to_owned).zip(row.split('\t').map(str::to_owned)).collect())
}

/// Loads a dump in one transaction. Everything belongs to the role that connects; grants are those
/// of the dump.
pub async fn load(
    tools: &Tools,
    file: &Path,
    database: &PgConnectOptions,
) -> Result<(), DumpError> {
    let mut restore = tools.pg_restore();
    libpq::connect(&mut restore, database)?;
    restore.args(["--single-transaction", "--exit-on-error", "--no-owner", "--no-password"]);
    restore.arg(format!("--dbname={}", database.get_database().unwrap_or_default()));
    restore.arg(file);
    tools::run("pg_restore", restore).await.map(drop)
}

/// A file that is being written under another name, and goes away unless it is kept.
struct Aside {
    path: PathBuf,
}

impl Aside {
    fn create(file: &Path) -> Result<Self, DumpError> {
        let mut name = file.file_name().unwrap_or_default().to_owned();
        name.push(format!(".partial-{}", std::process::id()));
        let path = file.with_file_name(name);
        let open = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        open.map_err(failed("write", &path))?;
        Ok(Self { path })
    }

    /// Gives it its name, durably, and never in the place of another file.
    fn keep(self, file: &Path) -> Result<(), DumpError> {
        let sync = |path: &Path| File::open(path).and_then(|open| open.sync_all());
        sync(&self.path).map_err(failed("write", &self.path))?;
        fs::hard_link(&self.path, file).map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => DumpError::Exists(file.to_owned()),
            _ => DumpError::File { what: "write", path: file.to_owned(), source },
        })?;
        let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty());
        sync(parent.unwrap_or(Path::new("."))).map_err(failed("write", file))
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        // What is left over is named so that nobody takes it for a dump.
        let _ = fs::remove_file(&self.path);
    }
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DumpError {
    let path = path.to_owned();
    move |source| DumpError::File { what, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_read_out_of_a_script() {
        let script = "--\n-- Data\n--\n\nCOPY public.deployment (one, mode, created_at) FROM stdin;\n\
                      t\ttest\t2026-01-01 00:00:00+00\n\\.\n\n";
        let row = row_of(script).unwrap();
        assert_eq!(row[1], ("mode".to_owned(), "test".to_owned()));
        assert_eq!(row_of("\nCOPY public.deployment (one, mode) FROM stdin;\n\\.\n"), None);
        assert_eq!(row_of("nothing"), None);
    }
}
