use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::ManagedError;
use super::account::{Account, effective_uid};

/// A log that has grown past this is set aside at the next start.
const LOG_BYTES: u64 = 16 * 1024 * 1024;
/// The longest path of a Unix socket that every system takes.
const SOCKET_PATH_BYTES: usize = 103;
/// The socket's name in its directory, with the slash.
const SOCKET_NAME: &str = "/.s.PGSQL.5432";

/// The directory of one managed Postgres, locked for this process: `data`, the socket, the log.
#[derive(Debug)]
pub(super) struct Root {
    pub dir: PathBuf,
    lock: File,
}

impl Root {
    /// Makes the directory if needed and takes its lock, or says who has it.
    pub(super) fn claim(dir: &Path, account: Option<&Account>) -> Result<Self, ManagedError> {
        // The unprivileged user has to pass through; the data below is its own and private.
        let mode = if account.is_some() { 0o755 } else { 0o700 };
        DirBuilder::new()
            .recursive(true)
            .mode(mode)
            .create(dir)
            .map_err(ManagedError::io("create the data directory", dir))?;
        let dir = fs::canonicalize(dir).map_err(ManagedError::io("resolve", dir))?;
        if let Some(account) = account {
            account.check_enters(&dir)?;
        }
        let path = dir.join("lock");
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(ManagedError::io("open", &path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(ManagedError::InUse { holder: holder(&mut lock), root: dir });
            }
            Err(TryLockError::Error(e)) => return Err(ManagedError::io("lock", &path)(e)),
        }
        let note = format!("process {}\n", std::process::id());
        lock.set_len(0)
            .and_then(|()| lock.seek(SeekFrom::Start(0)))
            .and_then(|_| lock.write_all(note.as_bytes()))
            .map_err(ManagedError::io("write", &path))?;
        Ok(Self { dir, lock })
    }

    pub(super) fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    pub(super) fn log(&self) -> PathBuf {
        self.dir.join("postgres.log")
    }

    /// Opens the log at its end.
    pub(super) fn open_log(&self) -> Result<File, ManagedError> {
        let path = self.log();
        if fs::metadata(&path).is_ok_and(|log| log.len() > LOG_BYTES) {
            let old = self.dir.join("postgres.log.old");
            fs::rename(&path, &old).map_err(ManagedError::io("rename", &path))?;
        }
        OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&path)
            .map_err(ManagedError::io("open", &path))
    }
}

impl Drop for Root {
    /// Unlocked by hand: a child that another thread is starting at this moment holds a copy of
    /// the file, and closing ours alone would leave the lock standing until that child has begun.
    fn drop(&mut self) {
        if let Err(error) = self.lock.unlock() {
            tracing::warn!(%error, "the lock of {} was not released", self.dir.display());
        }
    }
}

fn holder(lock: &mut File) -> String {
    let mut text = String::new();
    match lock.read_to_string(&mut text) {
        Ok(_) if !text.trim().is_empty() => text.trim().to_owned(),
        _ => "another process".to_owned(),
    }
}

/// Refuses data that the server's user does not own; as root, switches to its owner instead, so
/// that a cluster made as `nobody` outlives the arrival of a user `postgres`.
pub(super) fn account_of(
    data: &Path,
    account: Option<Account>,
) -> Result<Option<Account>, ManagedError> {
    let Ok(found) = fs::metadata(data) else { return Ok(account) };
    let owner = found.uid();
    match account {
        Some(account) if account.uid == owner => Ok(Some(account)),
        Some(_) if owner != 0 => {
            Ok(Some(Account { name: format!("id {owner}"), uid: owner, gid: found.gid() }))
        }
        None if effective_uid()? == owner => Ok(None),
        _ => Err(ManagedError::ForeignData { data: data.to_owned(), owner }),
    }
}

/// Makes a directory that only the server's user can enter, or checks that the existing one is it:
/// whoever can reach the socket is let in without a password.
pub fn private_dir(dir: &Path, account: Option<&Account>) -> Result<(), ManagedError> {
    let uid = account.map_or_else(effective_uid, |account| Ok(account.uid))?;
    match DirBuilder::new().mode(0o700).create(dir) {
        Ok(()) => {
            if let Some(account) = account {
                chown(dir, Some(account.uid), Some(account.gid))
                    .map_err(ManagedError::io("change the owner of", dir))?;
            }
            Ok(())
        }
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            let found = fs::symlink_metadata(dir).map_err(ManagedError::io("look at", dir))?;
            if !found.is_dir() || found.uid() != uid {
                let owner = found.uid();
                return Err(ManagedError::ForeignData { data: dir.to_owned(), owner });
            }
            fs::set_permissions(dir, Permissions::from_mode(0o700))
                .map_err(ManagedError::io("set the mode of", dir))
        }
        Err(error) => Err(ManagedError::io("create", dir)(error)),
    }
}

/// The directory for the socket of a server in `root`, made if needed: `root/socket`, or one under
/// /tmp when that path is too long for a socket.
pub fn socket_dir(root: &Path, account: Option<&Account>) -> Result<PathBuf, ManagedError> {
    let mut dir = root.join("socket");
    if dir.as_os_str().len() + SOCKET_NAME.len() > SOCKET_PATH_BYTES {
        let hash = hex::encode(Sha256::digest(root.as_os_str().as_bytes()));
        dir = PathBuf::from(format!("/tmp/bursar-{}", &hash[..16]));
    }
    private_dir(&dir, account)?;
    Ok(dir)
}
