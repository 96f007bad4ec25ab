//! `pg_dump` and `pg_restore`: finding the right ones, and running them.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

use crate::db::managed::{Surroundings, clean_command, parse_version, program_dirs};

use super::DumpError;

/// A directory with `pg_dump` and `pg_restore`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tools {
    dir: PathBuf,
    major: u32,
}

impl Tools {
    /// Finds the programs for a server of this major version. Those of the same version are best:
    /// older ones cannot read it, and what later ones write it may not understand.
    pub async fn find(surroundings: &Surroundings, server: u32) -> Result<Self, DumpError> {
        let (mut later, mut rejected) = (None::<Self>, Vec::new());
        for dir in program_dirs(surroundings) {
            let Some(dir) = real(&dir) else { continue };
            match version(&dir).await {
                Some(major) if major == server => return Ok(Self { dir, major }),
                Some(major) if major > server => {
                    later =
                        later.filter(|tools| tools.major <= major).or(Some(Self { dir, major }));
                }
                Some(major) => rejected.push(format!("{}: PostgreSQL {major}", dir.display())),
                None => rejected.push(format!("{}: no version", dir.display())),
            }
        }
        later.ok_or(DumpError::NoTools { server, rejected })
    }

    pub(super) fn pg_dump(&self) -> Command {
        command(&self.dir, "pg_dump")
    }

    pub(super) fn pg_restore(&self) -> Command {
        command(&self.dir, "pg_restore")
    }
}

/// The directory in which both programs really are. Some systems have one program under many names
/// that chooses a version by itself; that one is passed over.
fn real(dir: &Path) -> Option<PathBuf> {
    let dump = dir.join("pg_dump").canonicalize().ok()?;
    let dir = dump.parent().filter(|_| dump.ends_with("pg_dump"))?;
    dir.join("pg_restore").is_file().then(|| dir.to_owned())
}

fn command(dir: &Path, name: &str) -> Command {
    let mut command = Command::from(clean_command(&dir.join(name)));
    command.kill_on_drop(true);
    command
}

async fn version(dir: &Path) -> Option<u32> {
    let mut command = command(dir, "pg_dump");
    command.arg("--version");
    parse_version(&run("pg_dump", command).await.ok()?)
}

/// Runs a program to its end and returns what it wrote. Dropped half done, it is killed.
pub(super) async fn run(name: &'static str, mut command: Command) -> Result<String, DumpError> {
    let program = PathBuf::from(command.as_std().get_program());
    let output = command.stdin(Stdio::null()).output().await;
    let output = output.map_err(|source| DumpError::Run { program, source })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    let words: Vec<&str> = words.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    Err(DumpError::Failed {
        program: name,
        status: output.status.to_string(),
        output: words.into_iter().take(6).collect::<Vec<_>>().join("; "),
    })
}
