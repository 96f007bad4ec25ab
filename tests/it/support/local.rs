//! The tests' own Postgres server: one per checkout, started by the first test that needs it, shared
//! by all test processes, and stopped by itself ten minutes after the last of them.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bursar::db::managed::{
    Account, Binaries, ManagedError, SUPERUSER, Surroundings, clean_command, effective_uid,
    find_binaries, initdb, install, required_major, socket_dir,
};
use sha2::{Digest, Sha256};
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{Connection, PgConnection};

/// Runs the server and stops it when the heartbeat is too old. It outlives the test process.
const WATCHED: &str = r#"
"$0" -D "$1" -k "$2" -p 5432 -c listen_addresses= -c fsync=off -c synchronous_commit=off \
  -c full_page_writes=off -c autovacuum=off -c wal_level=minimal -c max_wal_senders=0 \
  -c max_connections=200 -c shared_buffers=128MB -c timezone=UTC & server=$!
while sleep 5; do
  kill -0 $server 2>/dev/null || exit
  [ -n "$(find "$3" -mmin -10)" ] || { kill -INT $server; wait $server; exit; }
done
"#;

/// A server that answers, and the file to touch while it is needed.
pub struct Local {
    /// How to connect as superuser.
    pub options: PgConnectOptions,
    /// Touched every now and then, it keeps the server running.
    pub heartbeat: PathBuf,
}

/// What the search for binaries knows of this machine.
pub fn surroundings() -> Surroundings {
    Surroundings {
        path: std::env::var_os("PATH"),
        home: std::env::var_os("HOME").map(PathBuf::from),
        explicit_bin: std::env::var_os("BURSAR_PG_BIN").map(PathBuf::from),
    }
}

/// The running server, or a fresh one. Many processes may come here at once: one of them starts it.
pub async fn server() -> Local {
    let account = Account::needed().unwrap();
    let dir = directory(account.as_ref());
    let lock = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(dir.join("boot.lock"))
        .unwrap();
    lock.lock().unwrap();
    let heartbeat = dir.join("heartbeat");
    fs::write(&heartbeat, "x").unwrap();
    let socket = socket_dir(&dir, account.as_ref()).unwrap();
    let options = PgConnectOptions::new_without_pgpass()
        .socket(&socket)
        .port(5432)
        .username(SUPERUSER)
        .database("postgres")
        .ssl_mode(PgSslMode::Disable);
    if !answers(&options).await {
        boot(&dir, &socket, &heartbeat, account.as_ref(), &options).await;
    }
    lock.unlock().unwrap();
    Local { options, heartbeat }
}

/// Under the target directory; but where the unprivileged user cannot enter that, as in a checkout
/// under /root, then under /tmp.
fn directory(account: Option<&Account>) -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let uid = effective_uid().unwrap();
    let dir = target.join(format!("test-pg-{uid}"));
    fs::create_dir_all(&dir).unwrap();
    let Some(account) = account else { return dir };
    if account.check_enters(&dir).is_ok() {
        return dir;
    }
    let hash = hex::encode(Sha256::digest(target.as_os_str().as_encoded_bytes()));
    let dir = PathBuf::from(format!("/tmp/bursar-test-{uid}-{}", &hash[..8]));
    match DirBuilder::new().mode(0o755).create(&dir) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => panic!("{error}"),
        _ => {}
    }
    let found = fs::symlink_metadata(&dir).unwrap();
    assert!(found.is_dir() && found.uid() == uid, "{} is not ours", dir.display());
    dir
}

/// Whether a server is there. One that is starting, or full, is there too.
async fn answers(options: &PgConnectOptions) -> bool {
    match PgConnection::connect_with(options).await {
        Ok(connection) => {
            connection.close().await.unwrap();
            true
        }
        Err(sqlx::Error::Io(_)) => false,
        Err(error) => {
            let code = error.as_database_error().and_then(|e| e.code().map(|c| c.into_owned()));
            assert_eq!(code.as_deref(), Some("57P03"), "the test server refuses: {error}");
            await_server(options, || false).await.is_ok()
        }
    }
}

async fn boot(
    dir: &Path,
    socket: &Path,
    heartbeat: &Path,
    account: Option<&Account>,
    options: &PgConnectOptions,
) {
    let data = dir.join("data");
    let surroundings = surroundings();
    let binaries = match find_binaries(&surroundings, required_major(&data)) {
        Err(ManagedError::NotFound { .. }) => install(&surroundings, &|line| eprintln!("{line}")),
        Err(ManagedError::WrongMajor { .. }) => {
            fs::remove_dir_all(&data).unwrap();
            find_binaries(&surroundings, None)
        }
        found => found,
    };
    let binaries = binaries.unwrap_or_else(|error| panic!("{error}"));
    // Without fsync a crash of the machine may have ruined the cluster: the second time a new one.
    for attempt in 1..=2 {
        if required_major(&data).is_none() {
            initdb(&binaries, account, &data).unwrap_or_else(|error| panic!("{error}"));
        }
        let log = File::create(dir.join("log")).unwrap();
        let mut child = detached(&binaries, account, &data, socket, heartbeat, log);
        let ended = || child.try_wait().is_ok_and(|status| status.is_some());
        match await_server(options, ended).await {
            Ok(()) => return,
            Err(error) if attempt == 2 => {
                let log = fs::read_to_string(dir.join("log")).unwrap_or_default();
                panic!("the test server does not start: {error}\n{log}");
            }
            Err(_) => fs::remove_dir_all(&data).unwrap(),
        }
    }
}

fn detached(
    binaries: &Binaries,
    account: Option<&Account>,
    data: &Path,
    socket: &Path,
    heartbeat: &Path,
    log: File,
) -> std::process::Child {
    let mut command: Command = clean_command(Path::new("/bin/sh"));
    command.env("PATH", surroundings().path.unwrap_or_default());
    command.args(["-c", WATCHED]).arg(binaries.program("postgres"));
    command.arg(data).arg(socket).arg(heartbeat).current_dir("/");
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    command.process_group(0);
    if let Some(account) = account {
        account.apply(&mut command);
    }
    command.spawn().unwrap()
}

async fn await_server(
    options: &PgConnectOptions,
    mut ended: impl FnMut() -> bool,
) -> Result<(), String> {
    let started = Instant::now();
    loop {
        let error = match PgConnection::connect_with(options).await {
            Ok(connection) => return connection.close().await.map_err(|e| e.to_string()),
            Err(error) => error.to_string(),
        };
        if ended() || started.elapsed() > Duration::from_secs(60) {
            return Err(error);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
