use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::account::{Account, run};
use super::{ManagedError, OLDEST_MAJOR, install};

/// What the search and the installation know of the machine. Only `config` reads the environment,
/// so it comes in as values.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// `PATH`.
    pub path: Option<OsString>,
    /// `HOME`.
    pub home: Option<PathBuf>,
    /// `BURSAR_PG_BIN`: when set, nothing else is searched.
    pub explicit_bin: Option<PathBuf>,
}

impl Surroundings {
    /// Where a program is, in the order of `PATH`.
    pub(super) fn find_program(&self, name: &str) -> Option<PathBuf> {
        self.path_dirs().into_iter().map(|dir| dir.join(name)).find(|file| file.is_file())
    }

    fn path_dirs(&self) -> Vec<PathBuf> {
        let path = self.path.clone().unwrap_or_default();
        std::env::split_paths(&path).filter(|dir| dir.is_absolute()).collect()
    }
}

/// A directory with `postgres` and `initdb` that run here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binaries {
    /// The directory.
    pub dir: PathBuf,
    /// The major version.
    pub major: u32,
}

impl Binaries {
    /// The path of one program.
    pub fn program(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

/// Finds PostgreSQL binaries: of the required major version, or the first of 15 or later.
///
/// An existing cluster requires its own major version (see [`super::required_major`]).
pub fn find_binaries(
    surroundings: &Surroundings,
    required_major: Option<u32>,
) -> Result<Binaries, ManagedError> {
    let account = Account::needed()?;
    let mut rejected = Vec::new();
    for dir in candidates(surroundings, account.as_ref()) {
        let major = match probe(&dir, account.as_ref()) {
            Ok(major) => major,
            Err(reason) => {
                rejected.push(format!("{}: {reason}", dir.display()));
                continue;
            }
        };
        let fits = required_major.map_or(major >= OLDEST_MAJOR, |required| major == required);
        if fits {
            return Ok(Binaries { dir, major });
        }
        rejected.push(format!("{}: PostgreSQL {major}", dir.display()));
    }
    Err(match required_major {
        Some(required) => ManagedError::WrongMajor { required, rejected },
        None => ManagedError::NotFound { rejected },
    })
}

/// Directories that may hold programs of PostgreSQL, best first.
pub fn program_dirs(surroundings: &Surroundings) -> Vec<PathBuf> {
    if let Some(explicit) = &surroundings.explicit_bin {
        return vec![std::path::absolute(explicit).unwrap_or_else(|_| explicit.clone())];
    }
    let mut dirs: Vec<PathBuf> = surroundings.path_dirs();
    dirs.extend(bindir_of_pg_config(surroundings));
    dirs.extend(well_known());
    dirs
}

/// Directories that may hold the binaries, best first, each once.
fn candidates(surroundings: &Surroundings, account: Option<&Account>) -> Vec<PathBuf> {
    let mut dirs = program_dirs(surroundings);
    if surroundings.explicit_bin.is_some() {
        return dirs;
    }
    dirs.extend(install::cached_bin(surroundings, account.is_some()));
    let mut unique = Vec::new();
    for dir in dirs {
        if let Some(dir) = resolve(&dir)
            && !unique.contains(&dir)
        {
            unique.push(dir);
        }
    }
    unique
}

/// The directory in which the programs really are, if both are there. Links from a common `bin`
/// directory are followed, so that one installation counts once.
fn resolve(dir: &Path) -> Option<PathBuf> {
    if !(dir.join("initdb").is_file() && dir.join("postgres").is_file()) {
        return None;
    }
    let real = fs::canonicalize(dir.join("postgres")).ok()?.parent()?.to_owned();
    if real.join("initdb").is_file() && real.join("postgres").is_file() {
        return Some(real);
    }
    Some(dir.to_owned())
}

fn bindir_of_pg_config(surroundings: &Surroundings) -> Option<PathBuf> {
    let mut command = Command::new(surroundings.find_program("pg_config")?);
    command.arg("--bindir");
    run(command, None).ok().map(|text| PathBuf::from(text.trim()))
}

/// Where distributions and Homebrew put versions side by side, newest first: they are not in PATH.
fn well_known() -> Vec<PathBuf> {
    let places = [
        ("/usr/lib/postgresql", "", "bin"),
        ("/usr/libexec", "postgresql", ""),
        ("/usr", "pgsql-", "bin"),
        ("/opt/homebrew/opt", "postgresql@", "bin"),
        ("/usr/local/opt", "postgresql@", "bin"),
        ("/home/linuxbrew/.linuxbrew/opt", "postgresql@", "bin"),
        ("/Applications/Postgres.app/Contents/Versions", "", "bin"),
    ];
    let mut found: Vec<(u32, PathBuf)> =
        places.iter().flat_map(|(parent, prefix, bin)| versions(parent, prefix, bin)).collect();
    found.sort_by_key(|(major, _)| std::cmp::Reverse(*major));
    found.into_iter().map(|(_, dir)| dir).collect()
}

fn versions(parent: &str, prefix: &str, bin: &str) -> Vec<(u32, PathBuf)> {
    let Ok(entries) = fs::read_dir(parent) else { return Vec::new() };
    entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let name = entry.file_name();
            let major = name.to_str()?.strip_prefix(prefix)?.parse().ok()?;
            Some((major, entry.path().join(bin)))
        })
        .collect()
}

/// Runs `postgres --version` as the user who would run the server, which also tells whether that
/// user can reach it and whether its libraries are there.
fn probe(dir: &Path, account: Option<&Account>) -> Result<u32, String> {
    if !(dir.join("initdb").is_file() && dir.join("postgres").is_file()) {
        return Err("`postgres` and `initdb` are not both there".to_owned());
    }
    let mut command = Command::new(dir.join("postgres"));
    command.arg("--version").current_dir("/");
    let text = run(command, account).map_err(|error| match error {
        ManagedError::Io { what, source } => format!("{what}: {source}"),
        other => other.to_string(),
    })?;
    parse_version(&text).ok_or_else(|| format!("not a version: {}", text.trim()))
}

/// `postgres (PostgreSQL) 15.18 (Debian …)` is 15, `… 19beta1` is 19.
pub(in crate::db) fn parse_version(text: &str) -> Option<u32> {
    let version = text.split_once("(PostgreSQL) ")?.1;
    let end = version.find(|c: char| !c.is_ascii_digit()).unwrap_or(version.len());
    version[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        let debian = "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n";
        assert_eq!(parse_version(debian), Some(15));
        assert_eq!(parse_version("postgres (PostgreSQL) 19beta1"), Some(19));
        assert_eq!(parse_version("pg 15"), None);
    }

    #[test]
    fn an_explicit_directory_without_binaries_is_named_with_what_to_do() {
        let explicit = PathBuf::from("/nonexistent/pg/bin");
        let surroundings = Surroundings { explicit_bin: Some(explicit), ..Surroundings::default() };
        let text = find_binaries(&surroundings, None).unwrap_err().to_string();
        for part in [
            "/nonexistent/pg/bin",
            "apt-get install postgresql",
            "dnf install",
            "apk add",
            "brew install postgresql@17",
            "BURSAR_PG_BIN",
            "DATABASE_URL",
        ] {
            assert!(text.contains(part), "{part} is missing in: {text}");
        }
        let text = find_binaries(&surroundings, Some(9)).unwrap_err().to_string();
        assert!(text.contains("made by PostgreSQL 9"), "{text}");
    }
}
