use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::account::{Account, spawn_error};
use super::binaries::Binaries;
use super::cluster::{QUIT_WITHIN, STOP_WITHIN, clean_command, is_ready, signal};
use super::error::last_lines;
use super::root::Root;
use super::{ManagedError, memory};

/// Recovery after a crash replays at most `max_wal_size` and takes seconds; this is for slow disks.
const READY_WITHIN: Duration = Duration::from_secs(120);
/// How long the children of a killed server may take to notice.
const RELEASED_WITHIN: Duration = Duration::from_secs(15);

/// Durability stands on the command line, where no configuration file can turn it off.
///
/// After a checkpoint the first change of each page writes the whole page to the log. Keys that begin
/// with a book or are random touch many pages, so checkpoints are rare and those pages compressed.
const SETTINGS: [&str; 11] = [
    "listen_addresses=",
    "unix_socket_permissions=0700",
    "fsync=on",
    "synchronous_commit=on",
    "full_page_writes=on",
    "checkpoint_timeout=15min",
    "max_wal_size=8GB",
    // By default they are no larger than a segment of the log.
    "wal_buffers=16MB",
    "max_connections=100",
    "timezone=UTC",
    "log_timezone=UTC",
];

/// How whole pages in the log are compressed. The first is many times as quick and not in every build.
const COMPRESSIONS: [&str; 2] = ["wal_compression=lz4", "wal_compression=pglz"];

/// A running `postgres` and the thread that waits for it.
#[derive(Debug)]
pub(super) struct Server {
    pub pid: u32,
    log: PathBuf,
    log_start: u64,
    ended: watch::Receiver<Option<String>>,
}

impl Server {
    /// Starts `postgres` on the root's data and waits until it takes connections.
    pub(super) async fn start(
        root: &Root,
        binaries: &Binaries,
        account: Option<&Account>,
        socket: &Path,
    ) -> Result<Self, ManagedError> {
        let started = Instant::now();
        let [mut compression, slower] = COMPRESSIONS;
        loop {
            let server = Self::spawn(root, binaries, account, socket, compression)?;
            match server.ready(&root.data()).await {
                Ok(()) => return Ok(server),
                // Children of a killed server hold its shared memory until they notice.
                Err(ManagedError::Ended { tail, .. })
                    if tail.contains("still in use") && started.elapsed() < RELEASED_WITHIN =>
                {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                Err(ManagedError::Ended { tail, .. })
                    if tail.contains("\"wal_compression\"") && compression != slower =>
                {
                    compression = slower;
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn spawn(
        root: &Root,
        binaries: &Binaries,
        account: Option<&Account>,
        socket: &Path,
        compression: &str,
    ) -> Result<Self, ManagedError> {
        let log = root.open_log()?;
        let log_start = log.metadata().map_or(0, |metadata| metadata.len());
        let errors = log.try_clone().map_err(ManagedError::io("open", &root.log()))?;
        let program = binaries.program("postgres");
        let mut command = clean_command(&program);
        command.arg("-D").arg(root.data()).arg("-k").arg(socket).args(["-p", "5432"]);
        for setting in SETTINGS.into_iter().chain([compression]) {
            command.args(["-c", setting]);
        }
        command.arg("-c").arg(format!("shared_buffers={}MB", memory::shared_buffers()));
        command.current_dir("/").stdin(Stdio::null()).stdout(log).stderr(errors);
        // Ctrl-C in a terminal reaches the whole foreground group. Requests are then still being
        // finished, so the server is in a group of its own and is told to stop afterwards.
        command.process_group(0);
        if let Some(account) = account {
            account.apply(&mut command);
        }
        end_with_parent(&mut command);
        let (pid, ended) = keep(command)
            .map_err(|source| spawn_error(&program.display().to_string(), account, source))?;
        Ok(Self { pid, log: root.log(), log_start, ended })
    }

    async fn ready(&self, data: &Path) -> Result<(), ManagedError> {
        let started = Instant::now();
        while !is_ready(data, self.pid) {
            if let Some(status) = self.ended.borrow().clone() {
                return Err(self.ended_error(status));
            }
            if started.elapsed() > READY_WITHIN {
                return Err(ManagedError::NotReady {
                    seconds: READY_WITHIN.as_secs(),
                    log: self.log.clone(),
                    tail: self.tail(),
                });
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// Waits until the server has ended, by itself or because it was told to.
    pub(super) async fn ended(&self) -> ManagedError {
        let mut ended = self.ended.clone();
        let status = match ended.wait_for(Option::is_some).await {
            Ok(status) => status.clone().unwrap_or_default(),
            Err(_) => "unknown".to_owned(),
        };
        self.ended_error(status)
    }

    /// Fast shutdown, within bounds. It writes a checkpoint and disconnects clients.
    pub(super) async fn stop(&self) -> Result<(), ManagedError> {
        for (name, within) in [("INT", STOP_WITHIN), ("QUIT", QUIT_WITHIN)] {
            self.signal(name)?;
            if tokio::time::timeout(within, self.ended()).await.is_ok() {
                return Ok(());
            }
        }
        Err(self.unstoppable())
    }

    /// As [`Self::stop`], where nothing can be awaited.
    fn stop_blocking(&self) -> Result<(), ManagedError> {
        for (name, within) in [("INT", STOP_WITHIN), ("QUIT", QUIT_WITHIN)] {
            self.signal(name)?;
            let told = Instant::now();
            while told.elapsed() < within {
                if self.has_ended() {
                    return Ok(());
                }
                thread::sleep(Duration::from_millis(2));
            }
        }
        Err(self.unstoppable())
    }

    fn signal(&self, name: &str) -> Result<(), ManagedError> {
        if self.has_ended() {
            return Ok(());
        }
        match signal(self.pid, name) {
            Err(error) if !self.has_ended() => Err(error),
            _ => Ok(()),
        }
    }

    fn has_ended(&self) -> bool {
        self.ended.borrow().is_some()
    }

    fn unstoppable(&self) -> ManagedError {
        ManagedError::Failed {
            program: format!("postgres (process {})", self.pid),
            status: "does not stop".to_owned(),
            output: self.tail(),
        }
    }

    fn ended_error(&self, status: String) -> ManagedError {
        ManagedError::Ended { status, log: self.log.clone(), tail: self.tail() }
    }

    /// The last lines that this server wrote, none of an earlier one.
    fn tail(&self) -> String {
        let mut bytes = Vec::new();
        let read = File::open(&self.log).and_then(|mut log| {
            let end = fs::metadata(&self.log)?.len();
            log.seek(SeekFrom::Start(self.log_start.max(end.saturating_sub(8192))))?;
            log.read_to_end(&mut bytes)
        });
        match read {
            Ok(_) => last_lines(&String::from_utf8_lossy(&bytes)),
            Err(error) => error.to_string(),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Err(error) = self.stop_blocking() {
            tracing::error!(%error, "the managed Postgres did not stop");
        }
    }
}

/// Spawns the command from a thread of its own that waits for it. The parent-death signal fires
/// when the spawning *thread* ends, so that thread must live as long as the server does.
fn keep(mut command: Command) -> std::io::Result<(u32, watch::Receiver<Option<String>>)> {
    let (report, started) = mpsc::channel();
    let (ending, ended) = watch::channel(None);
    thread::Builder::new().name("postgres-keeper".to_owned()).spawn(move || {
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) => {
                // The receiver waits for this very message.
                let _ = report.send(Err(error));
                return;
            }
        };
        let _ = report.send(Ok(child.id()));
        let status = child.wait();
        ending.send_replace(Some(status.map_or_else(|e| e.to_string(), |s| s.to_string())));
    })?;
    let pid = started.recv().map_err(std::io::Error::other)??;
    Ok((pid, ended))
}

/// Has the kernel stop the server when this process dies without a chance to do so itself.
#[cfg(target_os = "linux")]
fn end_with_parent(command: &mut Command) {
    let parent = libc::pid_t::try_from(std::process::id()).unwrap_or(0);
    let set = move || {
        #[expect(unsafe_code, reason = "system calls without memory arguments")]
        // SAFETY: both calls take and return plain numbers and are async-signal-safe.
        let (set, actual) =
            unsafe { (libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGINT), libc::getppid()) };
        if set != 0 {
            return Err(std::io::Error::last_os_error());
        }
        // The parent died before the signal was set: nothing would ever stop the server.
        if actual != parent {
            return Err(std::io::Error::from_raw_os_error(libc::ESRCH));
        }
        Ok(())
    };
    #[expect(unsafe_code, reason = "code between fork and exec")]
    // SAFETY: the closure makes system calls and touches no lock and no heap. It runs after the
    // switch of the user, which would clear the setting.
    unsafe {
        command.pre_exec(set);
    }
}

/// Elsewhere there is no such signal: the next start stops what it finds.
#[cfg(not(target_os = "linux"))]
fn end_with_parent(_command: &mut Command) {}
