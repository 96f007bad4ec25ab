use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use super::account::{Account, run};
use super::binaries::Binaries;
use super::root::private_dir;
use super::{ManagedError, SUPERUSER};

/// A fast shutdown writes a checkpoint; past this it is told to stop at once and recover later.
pub(super) const STOP_WITHIN: Duration = Duration::from_secs(30);
/// What an immediate shutdown may take.
pub(super) const QUIT_WITHIN: Duration = Duration::from_secs(5);

/// The major version that made a data directory; none when there is no cluster.
pub fn required_major(data: &Path) -> Option<u32> {
    fs::read_to_string(data.join("PG_VERSION")).ok()?.trim().parse().ok()
}

/// Makes a cluster in `data`, whose parent exists. It is made aside and renamed at the end, so that
/// a first start that is killed leaves no half cluster.
pub fn initdb(
    binaries: &Binaries,
    account: Option<&Account>,
    data: &Path,
) -> Result<(), ManagedError> {
    let aside = PathBuf::from(format!("{}.new", data.display()));
    if aside.exists() {
        fs::remove_dir_all(&aside).map_err(ManagedError::io("remove", &aside))?;
    }
    private_dir(&aside, account)?;
    let mut command = clean_command(&binaries.program("initdb"));
    command.arg("-D").arg(&aside).current_dir(&aside);
    command.args(["-U", SUPERUSER, "--encoding=UTF8", "--locale=C", "--data-checksums"]);
    // Local trust is safe because only the server's own user can enter the socket's directory.
    command.args(["--auth-local=trust", "--auth-host=reject", "--no-instructions"]);
    // A young log fills each new segment with zeros while every commit waits: 16 MB take 70 ms.
    command.arg("--wal-segsize=1");
    run(command, account)?;
    fs::rename(&aside, data).map_err(ManagedError::io("create", data))
}

/// A command without any of our environment: the `PG*` variables would change what it does.
pub fn clean_command(program: &Path) -> Command {
    let mut command = Command::new(program);
    // With another locale the macOS libraries start threads, which Postgres refuses.
    command.env_clear().env("LC_ALL", "C");
    command
}

/// Sends a signal. Through the shell's `kill`, because the system call needs unsafe code.
pub(super) fn signal(pid: u32, signal: &str) -> Result<(), ManagedError> {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "kill -s \"$0\" \"$1\"", signal]).arg(pid.to_string());
    run(command, None).map(|_| ())
}

/// Stops a server whose parent was killed. Only called by the holder of the directory's lock: what
/// then still runs on the data belongs to nobody.
pub(super) fn stop_orphan(data: &Path) -> Result<(), ManagedError> {
    let started = Instant::now();
    let mut sent = None;
    loop {
        let running = servers_on(data);
        let Some(first) = running.first().copied() else { return remove_stale_pid_file(data) };
        let due = if started.elapsed() < STOP_WITHIN { "INT" } else { "QUIT" };
        // Without a postmaster the others are ending by themselves.
        let postmaster = postmaster_pid(data).filter(|pid| running.contains(pid));
        if let Some(pid) = postmaster
            && sent != Some(due)
        {
            tracing::warn!(pid, "stopping a Postgres that was left over on {}", data.display());
            // It may end between the look and the signal; the next look tells.
            let _ = signal(pid, due);
            sent = Some(due);
        }
        if started.elapsed() > STOP_WITHIN + QUIT_WITHIN {
            return Err(ManagedError::Orphan { data: data.to_owned(), pid: first });
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// The first line of `postmaster.pid`.
fn postmaster_pid(data: &Path) -> Option<u32> {
    let text = fs::read_to_string(data.join("postmaster.pid")).ok()?;
    text.lines().next()?.trim().parse().ok()
}

/// Whether the server with this process id has written that it takes connections.
pub(super) fn is_ready(data: &Path, pid: u32) -> bool {
    let Ok(text) = fs::read_to_string(data.join("postmaster.pid")) else { return false };
    let mut lines = text.lines();
    let own = lines.next().is_some_and(|line| line.trim() == pid.to_string());
    own && lines.nth(6).is_some_and(|line| line.trim() == "ready")
}

/// Every Postgres process that works in this data directory, children of a killed one included.
#[cfg(target_os = "linux")]
fn servers_on(data: &Path) -> Vec<u32> {
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let on_data = |pid: &u32| {
        command_of(*pid).is_some_and(|command| command == "postgres")
            && fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == data)
    };
    processes
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(on_data)
        .collect()
}

/// The postmaster, told by the data directory on its command line.
#[cfg(not(target_os = "linux"))]
fn servers_on(data: &Path) -> Vec<u32> {
    let data_dir = data.to_string_lossy();
    let on_data = |pid: &u32| {
        command_of(*pid).is_some_and(|c| c.contains("postgres") && c.contains(&*data_dir))
    };
    postmaster_pid(data).filter(on_data).into_iter().collect()
}

/// What a process runs; none when it has ended.
#[cfg(target_os = "linux")]
fn command_of(pid: u32) -> Option<String> {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    Some(name.trim_end().to_owned())
}

#[cfg(not(target_os = "linux"))]
fn command_of(pid: u32) -> Option<String> {
    let mut command = Command::new("/bin/ps");
    command.args(["-o", "command=", "-p"]).arg(pid.to_string());
    run(command, None).ok()
}

/// Removes the pid file of a killed server when its number belongs to something else by this time,
/// as after a restart of a container: Postgres would take that process for a running server.
fn remove_stale_pid_file(data: &Path) -> Result<(), ManagedError> {
    match postmaster_pid(data).and_then(command_of) {
        Some(command) if !command.contains("postgres") => {
            let file = data.join("postmaster.pid");
            fs::remove_file(&file).map_err(ManagedError::io("remove", &file))
        }
        _ => Ok(()),
    }
}
