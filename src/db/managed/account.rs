use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use super::ManagedError;
use super::error::last_lines;

/// The unprivileged user as whom a Postgres started by root runs, since Postgres refuses root.
///
/// It is one of /etc/passwd: `initdb` looks its own user up and fails for a made-up number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its name.
    pub name: String,
    /// Its user id.
    pub uid: u32,
    /// Its group id.
    pub gid: u32,
}

impl Account {
    /// The account to switch to: none when this process is not root.
    pub fn needed() -> Result<Option<Self>, ManagedError> {
        if effective_uid()? != 0 {
            return Ok(None);
        }
        let passwd = Path::new("/etc/passwd");
        let text = fs::read_to_string(passwd).map_err(ManagedError::io("read", passwd))?;
        Self::choose(&text).map(Some).ok_or(ManagedError::NoAccount)
    }

    fn choose(passwd: &str) -> Option<Self> {
        ["postgres", "_postgres", "nobody"].iter().find_map(|name| {
            passwd
                .lines()
                .find_map(|line| Self::parse(line).filter(|account| account.name == *name))
        })
    }

    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split(':');
        let name = fields.next()?.to_owned();
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        (uid != 0).then_some(Self { name, uid, gid })
    }

    /// Makes the command run as this user. The supplementary groups go too.
    pub fn apply(&self, command: &mut Command) {
        command.uid(self.uid).gid(self.gid);
    }

    /// Whether this user can enter a directory, asked of the system itself, so that access lists
    /// and mount options count.
    pub fn check_enters(&self, dir: &Path) -> Result<(), ManagedError> {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "cd -- \"$0\""]).arg(dir).stderr(Stdio::null());
        self.apply(&mut command);
        let status = command.status().map_err(|e| spawn_error("/bin/sh", Some(self), e))?;
        if status.success() {
            return Ok(());
        }
        Err(ManagedError::Unreachable { path: dir.to_owned(), account: self.name.clone() })
    }
}

/// The effective user id. Asked of `id`, because the system call needs unsafe code.
pub fn effective_uid() -> Result<u32, ManagedError> {
    let mut command = Command::new("id");
    command.arg("-u");
    let text = run(command, None)?;
    text.trim().parse().map_err(|_| ManagedError::Failed {
        program: "id -u".to_owned(),
        status: "not a number".to_owned(),
        output: text,
    })
}

/// Whether this process is root.
pub fn is_root() -> Result<bool, ManagedError> {
    Ok(effective_uid()? == 0)
}

/// Runs a program to its end and returns what it wrote to standard output.
pub(super) fn run(mut command: Command, account: Option<&Account>) -> Result<String, ManagedError> {
    let program = command.get_program().display().to_string();
    if let Some(account) = account {
        account.apply(&mut command);
    }
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|source| spawn_error(&program, account, source))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    Err(ManagedError::Failed {
        program,
        status: output.status.to_string(),
        output: last_lines(&text),
    })
}

/// Containers without the capability to switch users answer EPERM to `setuid`; a missing execute
/// permission is EACCES, another matter.
pub(super) fn spawn_error(
    program: &str,
    account: Option<&Account>,
    source: io::Error,
) -> ManagedError {
    match account {
        Some(account) if source.raw_os_error() == Some(libc::EPERM) => {
            ManagedError::MayNotSwitch { account: account.name.clone() }
        }
        _ => ManagedError::Io { what: format!("cannot run {program}"), source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn postgres_is_preferred_and_root_never_chosen() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65533::/:/bin/false\n\
                      postgres:x:101:104:,,,:/var/lib/postgresql:/bin/bash\n";
        let account = Account::choose(passwd).unwrap();
        assert_eq!((account.name.as_str(), account.uid, account.gid), ("postgres", 101, 104));
        let nobody = Account::choose("nobody:x:65534:65533::/:/bin/false").unwrap();
        assert_eq!((nobody.uid, nobody.gid), (65534, 65533));
        assert_eq!(Account::choose("postgres:x:0:0::/:/bin/sh\nbroken\nalice:x:1:1::/:"), None);
    }
}
