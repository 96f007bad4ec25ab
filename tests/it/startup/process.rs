//! The real binary as a child process: what it prints, how it ends, and its own directory.

use std::fmt::Write;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use bursar::db::managed::{Account, socket_dir};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::timeout;

/// No process of these tests may take longer for anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// A command line of the binary with settings of its own.
pub struct Bursar {
    command: Command,
}

/// A process that runs.
pub struct Running {
    child: Child,
    lines: UnboundedReceiver<Line>,
    out: String,
    err: String,
}

/// How a process ended.
pub struct Ended {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

enum Line {
    Out(String),
    Err(String),
}

impl Bursar {
    /// The binary with these arguments and no settings but a free port. Whatever the environment of
    /// the tests sets is gone, except where the binaries of Postgres are.
    pub fn new(arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bursar"));
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            let settings = ["BURSAR_", "PG"].iter().any(|prefix| text.starts_with(prefix));
            if (settings && text != "BURSAR_PG_BIN") || text == "DATABASE_URL" {
                command.env_remove(name);
            }
        }
        command.args(arguments).env("BURSAR_BIND", "127.0.0.1:0");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.kill_on_drop(true);
        Self { command }
    }

    /// With a setting.
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// With settings; an empty value is as good as none.
    pub fn all(mut self, settings: &[(&str, &str)]) -> Self {
        self.command.envs(settings.iter().copied());
        self
    }

    /// With a Postgres of its own in this directory.
    pub fn on(self, dir: &DataDir) -> Self {
        let path = dir.0.to_str().unwrap().to_owned();
        self.set("BURSAR_DATA_DIR", &path)
    }

    /// Starts the process.
    pub fn start(mut self) -> Running {
        let mut child = self.command.spawn().unwrap();
        let (sender, lines) = unbounded_channel();
        tokio::spawn(pass_on(child.stdout.take().unwrap(), sender.clone(), Line::Out));
        tokio::spawn(pass_on(child.stderr.take().unwrap(), sender, Line::Err));
        Running { child, lines, out: String::new(), err: String::new() }
    }

    /// Runs the process to its end.
    pub async fn run(self) -> Ended {
        self.start().end().await
    }

    /// Starts serving and returns the process with its URL.
    pub async fn serve(self) -> (Running, String) {
        let mut running = self.start();
        let line = running.line_with("listening=").await;
        let (_, url) = line.split_once("listening=\"").unwrap();
        let url = url.split('"').next().unwrap().to_owned();
        (running, url)
    }
}

async fn pass_on(
    stream: impl AsyncRead + Unpin,
    sender: UnboundedSender<Line>,
    kind: impl Fn(String) -> Line,
) {
    let mut lines = BufReader::new(stream).lines();
    while let Some(line) = lines.next_line().await.unwrap() {
        if sender.send(kind(line)).is_err() {
            return;
        }
    }
}

impl Running {
    /// The process's id.
    pub fn id(&self) -> u32 {
        self.child.id().unwrap()
    }

    /// Sends a signal, like `TERM`.
    pub async fn signal(&self, name: &str) {
        let line = format!("kill -s {name} {}", self.id());
        let status = Command::new("/bin/sh").args(["-c", &line]).status().await.unwrap();
        assert!(status.success());
    }

    /// Waits for a line that holds these words, on either stream.
    pub async fn line_with(&mut self, words: &str) -> String {
        let found = timeout(PATIENCE, async {
            while let Some(line) = self.next().await {
                if line.contains(words) {
                    return Some(line);
                }
            }
            None
        });
        let found = found.await.ok().flatten();
        found.unwrap_or_else(|| panic!("no line with {words:?} in:\n{}{}", self.out, self.err))
    }

    async fn next(&mut self) -> Option<String> {
        let line = self.lines.recv().await?;
        let (text, line) = match line {
            Line::Out(line) => (&mut self.out, line),
            Line::Err(line) => (&mut self.err, line),
        };
        writeln!(text, "{line}").unwrap();
        Some(line)
    }

    /// Waits until the process has ended by itself.
    pub async fn end(mut self) -> Ended {
        let all = timeout(PATIENCE, async { while self.next().await.is_some() {} }).await;
        assert!(all.is_ok(), "it does not end:\n{}{}", self.out, self.err);
        let status = timeout(PATIENCE, self.child.wait()).await.unwrap().unwrap();
        let (out, err) = (self.out, self.err);
        assert!(!err.contains("panicked at"), "{err}");
        Ended { code: status.code(), out, err }
    }

    /// Tells the process to stop, and expects that it does so in order.
    pub async fn stop(self, signal: &str) -> Ended {
        self.signal(signal).await;
        let ended = self.end().await;
        assert_eq!(ended.code, Some(0), "{}{}", ended.out, ended.err);
        ended
    }
}

impl Ended {
    /// The process was content.
    #[track_caller]
    pub fn succeeded(self) -> Self {
        assert_eq!(self.code, Some(0), "{}{}", self.out, self.err);
        self
    }

    /// The process refused with this code and said all of these words, as a person would.
    #[track_caller]
    pub fn refused(self, code: i32, words: &[&str]) -> Self {
        let err = &self.err;
        assert_eq!(self.code, Some(code), "{}{err}", self.out);
        for words in words {
            assert!(err.contains(words), "{words:?} is missing in:\n{err}");
        }
        assert!(err.starts_with("bursar: "), "{err}");
        for noise in ["Some(", "Err(", "Error {", "Os {", "kind:", "backtrace", " { "] {
            assert!(!err.contains(noise), "{noise:?} is for programmers:\n{err}");
        }
        self
    }
}

/// A directory for a Postgres of its own, removed when the test passes.
pub struct DataDir(pub PathBuf);

impl DataDir {
    /// A fresh one. Under the target directory; but where the unprivileged user of a server that
    /// root starts cannot enter that, under /tmp.
    pub fn new(name: &str) -> Self {
        let name = format!("startup-{}-{name}", std::process::id());
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(&name);
        fs::create_dir_all(&dir).unwrap();
        match Account::needed().unwrap() {
            Some(account) if account.check_enters(&dir).is_err() => {
                fs::remove_dir(&dir).unwrap();
                Self(Path::new("/tmp").join(format!("bursar-{name}")))
            }
            _ => Self(dir),
        }
    }

    /// The process id of the Postgres that runs here.
    pub fn postgres(&self) -> Option<u32> {
        let text = fs::read_to_string(self.0.join("data/postmaster.pid")).ok()?;
        text.lines().next()?.trim().parse().ok()
    }

    /// The socket of the Postgres that runs here.
    pub fn socket(&self) -> PathBuf {
        let account = Account::needed().unwrap();
        let dir = self.0.canonicalize().unwrap();
        socket_dir(&dir, account.as_ref()).unwrap().join(".s.PGSQL.5432")
    }

    /// Entries whose names begin like this.
    pub fn entries(&self, prefix: &str) -> Vec<String> {
        let entries = match fs::read_dir(&self.0) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Vec::new(),
            Err(error) => panic!("{error}"),
        };
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with(prefix)).collect()
    }
}

impl Drop for DataDir {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("kept: {}", self.0.display());
            return;
        }
        let socket = self.socket();
        fs::remove_dir_all(&self.0).unwrap();
        // A long path has its socket elsewhere.
        let elsewhere = socket.parent().unwrap();
        if elsewhere.exists() {
            fs::remove_dir_all(elsewhere).unwrap();
        }
    }
}

/// Whether a process is there. One that has ended and that nobody has asked about is not.
pub async fn is_running(pid: u32) -> bool {
    if let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) {
        let state = stat.rsplit(')').next().and_then(|rest| rest.trim().chars().next());
        return state != Some('Z');
    }
    let mut kill = Command::new("/bin/sh");
    let line = format!("kill -0 {pid} 2>/dev/null");
    kill.args(["-c", &line]).status().await.unwrap().success()
}
