//! The managed Postgres, with real processes and real kills. The directories are under /tmp, where
//! the unprivileged user of a server that root starts can enter.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use bursar::db::managed::{
    Account, ManagedError, ManagedPostgres, Role, Surroundings, clean_command, default_root,
    find_binaries, install, is_root, move_aside,
};
use chrono::DateTime;
use sqlx::{Connection, PgConnection};

use crate::support::postgres::surroundings;

/// A fresh directory, removed when the test passes.
struct Dir(PathBuf);

impl Dir {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        Self(PathBuf::from(format!("/tmp/bursar-managed-{}-{n}", std::process::id())))
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }
}

async fn start(dir: &Path) -> ManagedPostgres {
    let surroundings = surroundings();
    if find_binaries(&surroundings, None).is_err() {
        install(&surroundings, &|line| eprintln!("{line}")).unwrap();
    }
    ManagedPostgres::start(dir, &surroundings).await.unwrap()
}

async fn connect(postgres: &ManagedPostgres, role: Role) -> PgConnection {
    PgConnection::connect_with(&postgres.connect_options(role)).await.unwrap()
}

async fn show(connection: &mut PgConnection, setting: &str) -> String {
    sqlx::query_scalar("select current_setting($1)")
        .bind(setting)
        .fetch_one(connection)
        .await
        .unwrap()
}

async fn write_row(postgres: &ManagedPostgres) {
    let mut owner = connect(postgres, Role::Owner).await;
    let sql = "create table kept (n int); insert into kept values (42)";
    sqlx::raw_sql(sql).execute(&mut owner).await.unwrap();
}

async fn row(postgres: &ManagedPostgres) -> i32 {
    let mut owner = connect(postgres, Role::Owner).await;
    sqlx::query_scalar("select n from kept").fetch_one(&mut owner).await.unwrap()
}

fn kill(pid: u32) {
    let status = Command::new("sh").args(["-c", &format!("kill -KILL {pid}")]).status().unwrap();
    assert!(status.success());
}

#[tokio::test]
async fn a_stopped_server_starts_again_with_its_data() {
    let dir = Dir::new();
    let postgres = start(&dir.0).await;
    assert!(postgres.is_new());
    write_row(&postgres).await;
    let pid = postgres.pid();
    postgres.stop().await.unwrap();
    let stopped = Command::new("sh").args(["-c", &format!("kill -0 {pid}")]).output().unwrap();
    assert!(!stopped.status.success(), "the server is gone when stop returns");
    let control = fs::read_to_string(dir.0.join("postgres.log")).unwrap();
    assert!(control.contains("database system is shut down"), "a clean stop");

    let postgres = start(&dir.0).await;
    assert!(!postgres.is_new());
    assert_eq!(row(&postgres).await, 42);
    drop(postgres);
    let postgres = start(&dir.0).await;
    assert_eq!(row(&postgres).await, 42, "dropping stops it too, and the data stays");
}

#[tokio::test]
async fn it_is_durable_private_and_its_roles_are_apart() {
    let dir = Dir::new();
    let postgres = start(&dir.0).await;
    let mut admin = connect(&postgres, Role::Admin).await;
    for (setting, value) in [
        ("fsync", "on"),
        ("synchronous_commit", "on"),
        ("full_page_writes", "on"),
        ("data_checksums", "on"),
        ("listen_addresses", ""),
        ("TimeZone", "UTC"),
        ("server_encoding", "UTF8"),
    ] {
        assert_eq!(show(&mut admin, setting).await, value, "{setting}");
    }
    // Not even a setting made with all rights outlives a start.
    sqlx::query("alter system set fsync = off").execute(&mut admin).await.unwrap();
    postgres.stop().await.unwrap();
    let postgres = start(&dir.0).await;
    assert_eq!(show(&mut connect(&postgres, Role::Admin).await, "fsync").await, "on");

    let rights = "select rolname::text, rolsuper, rolcreaterole, rolcreatedb, rolcanlogin \
                  from pg_roles where rolname in ('bursar_owner', 'bursar_service') order by 1";
    let mut owner = connect(&postgres, Role::Owner).await;
    let rows: Vec<(String, bool, bool, bool, bool)> =
        sqlx::query_as(rights).fetch_all(&mut owner).await.unwrap();
    let expected = [
        ("bursar_owner".to_owned(), false, true, false, true),
        ("bursar_service".to_owned(), false, false, false, true),
    ];
    assert_eq!(rows, expected);

    let mut service = PgConnection::connect(&postgres.url(Role::Service)).await.unwrap();
    for refused in ["create table t ()", "create temporary table t ()", "create role r"] {
        let error = sqlx::query(refused).execute(&mut service).await.unwrap_err();
        let code = error.as_database_error().and_then(|e| e.code()).unwrap().into_owned();
        assert_eq!(code, "42501", "{refused}: {error}");
    }
}

#[tokio::test]
async fn it_recovers_from_a_killed_server() {
    let dir = Dir::new();
    let postgres = start(&dir.0).await;
    write_row(&postgres).await;
    // A connected backend outlives its postmaster by a moment: the next start has to wait for it.
    let _connected = connect(&postgres, Role::Owner).await;
    kill(postgres.pid());
    let ended = postgres.ended().await.to_string();
    assert!(ended.contains("signal: 9"), "{ended}");
    drop(postgres);

    let postgres = start(&dir.0).await;
    assert_eq!(row(&postgres).await, 42, "what was committed is there");
    let log = fs::read_to_string(dir.0.join("postgres.log")).unwrap();
    assert!(log.contains("was not properly shut down; automatic recovery"), "{log}");
}

#[tokio::test]
async fn it_recovers_from_a_killed_owner() {
    let dir = Dir::new();
    let mut owner = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "managed::owner_to_be_killed", "--ignored", "--nocapture"])
        .env("BURSAR_TEST_ROOT", &dir.0)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(owner.stdout.take().unwrap()).lines();
    lines.map(Result::unwrap).find(|line| line.contains("the owner is up")).unwrap();
    let error = ManagedPostgres::start(&dir.0, &surroundings()).await.unwrap_err();
    assert!(error.to_string().contains(&format!("process {}", owner.id())), "{error}");

    owner.kill().unwrap();
    owner.wait().unwrap();
    let postgres = start(&dir.0).await;
    assert_eq!(row(&postgres).await, 42);
}

/// Not a test: the process that [`it_recovers_from_a_killed_owner`] kills.
#[tokio::test]
#[ignore = "started by another test"]
async fn owner_to_be_killed() {
    let Some(root) = std::env::var_os("BURSAR_TEST_ROOT") else { return };
    let postgres = start(Path::new(&root)).await;
    write_row(&postgres).await;
    println!("\nthe owner is up");
    panic!("{}", postgres.ended().await);
}

/// As after the owner was killed where the system has no parent-death signal.
#[tokio::test]
async fn a_server_without_an_owner_is_stopped_first() {
    let dir = Dir::new();
    start(&dir.0).await.stop().await.unwrap();
    let account = Account::needed().unwrap();
    let binaries = find_binaries(&surroundings(), None).unwrap();
    let mut command = clean_command(&binaries.program("postgres"));
    command.arg("-D").arg(dir.0.join("data")).arg("-k").arg(dir.0.join("socket"));
    command.args(["-c", "listen_addresses="]).current_dir("/").stderr(Stdio::piped());
    if let Some(account) = &account {
        account.apply(&mut command);
    }
    let mut orphan = command.spawn().unwrap();
    let lines = BufReader::new(orphan.stderr.take().unwrap()).lines();
    lines.map(Result::unwrap).find(|line| line.contains("ready to accept")).unwrap();

    let postgres = start(&dir.0).await;
    assert_ne!(postgres.pid(), orphan.id());
    assert!(orphan.wait().unwrap().success(), "it was asked to stop, not killed");
    write_row(&postgres).await;
}

#[tokio::test]
async fn a_second_start_on_the_same_directory_says_so() {
    let dir = Dir::new();
    let postgres = start(&dir.0).await;
    let error = ManagedPostgres::start(&dir.0, &surroundings()).await.unwrap_err();
    assert!(matches!(error, ManagedError::InUse { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("already in use by process"), "{text}");
    assert!(text.contains(&std::process::id().to_string()), "{text}");
    write_row(&postgres).await;
    assert_eq!(row(&postgres).await, 42, "the first is not disturbed");
}

#[tokio::test]
async fn a_first_start_that_was_killed_leaves_nothing_in_the_way() {
    let dir = Dir::new();
    fs::create_dir_all(dir.0.join("data.new/base")).unwrap();
    fs::write(dir.0.join("data.new/PG_VERSION"), "15").unwrap();
    assert!(start(&dir.0).await.is_new());
    assert!(!dir.0.join("data.new").exists());
}

#[tokio::test]
async fn a_reused_process_id_is_not_taken_for_a_server() {
    let dir = Dir::new();
    let postgres = start(&dir.0).await;
    write_row(&postgres).await;
    kill(postgres.pid());
    postgres.ended().await;
    drop(postgres);
    let mut stranger = Command::new("sleep").arg("600").spawn().unwrap();
    let file = dir.0.join("data/postmaster.pid");
    let text = fs::read_to_string(&file).unwrap();
    let (_, rest) = text.split_once('\n').unwrap();
    fs::write(&file, format!("{}\n{rest}", stranger.id())).unwrap();

    let postgres = start(&dir.0).await;
    assert_eq!(row(&postgres).await, 42);
    assert!(stranger.try_wait().unwrap().is_none(), "the stranger was left alone");
    stranger.kill().unwrap();
    stranger.wait().unwrap();
}

#[tokio::test]
async fn data_of_another_version_is_refused_and_can_be_moved_aside() {
    let dir = Dir::new();
    start(&dir.0).await.stop().await.unwrap();
    fs::write(dir.0.join("data/PG_VERSION"), "9\n").unwrap();
    let error = ManagedPostgres::start(&dir.0, &surroundings()).await.unwrap_err();
    assert!(error.to_string().contains("made by PostgreSQL 9"), "{error}");

    let at = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
    let first = move_aside(&dir.0, at, &|line| eprintln!("{line}")).unwrap();
    assert!(first.ends_with("data.before-20270115T080000Z"), "{}", first.display());
    assert!(start(&dir.0).await.is_new());
    let second = move_aside(&dir.0, at, &|_| {}).unwrap();
    assert!(second.ends_with("data.before-20270115T080000Z-2"), "{}", second.display());
    assert!(first.join("PG_VERSION").exists(), "what was there is kept");
}

#[tokio::test]
async fn a_failing_server_shows_its_last_words() {
    let dir = Dir::new();
    start(&dir.0).await.stop().await.unwrap();
    let config = dir.0.join("data/postgresql.conf");
    fs::write(&config, "no_such_setting = 1\n").unwrap();
    let error = ManagedPostgres::start(&dir.0, &surroundings()).await.unwrap_err().to_string();
    assert!(error.contains("no_such_setting"), "{error}");
}

#[tokio::test]
async fn a_build_without_the_quick_compression_starts_all_the_same() {
    let (dir, bin) = (Dir::new(), Dir::new());
    start(&dir.0).await.stop().await.unwrap();
    let real = find_binaries(&surroundings(), None).unwrap();
    fs::create_dir(&bin.0).unwrap();
    for name in ["initdb", "pg_controldata"] {
        symlink(real.program(name), bin.0.join(name)).unwrap();
    }
    let words = "invalid value for parameter \\\"wal_compression\\\": \\\"lz4\\\"";
    let script = format!(
        "#!/bin/sh\ncase \"$*\" in *wal_compression=lz4*) echo \"FATAL:  {words}\" >&2; exit 1;; esac\n\
         exec '{}' \"$@\"\n",
        real.program("postgres").display()
    );
    fs::write(bin.0.join("postgres"), script).unwrap();
    fs::set_permissions(bin.0.join("postgres"), fs::Permissions::from_mode(0o755)).unwrap();
    let limited = Surroundings { explicit_bin: Some(bin.0.clone()), ..surroundings() };
    let postgres = ManagedPostgres::start(&dir.0, &limited).await.unwrap();
    let mut admin = connect(&postgres, Role::Admin).await;
    assert_eq!(show(&mut admin, "wal_compression").await, "pglz");
    postgres.stop().await.unwrap();
}

#[tokio::test]
async fn a_long_path_gets_its_socket_elsewhere() {
    let dir = Dir::new();
    let postgres = start(&dir.0.join("long".repeat(30))).await;
    let url = postgres.url(Role::Owner);
    assert!(url.contains("%2Ftmp%2Fbursar%2D"), "{url}");
    write_row(&postgres).await;
    assert_eq!(row(&postgres).await, 42);
    let socket = postgres.connect_options(Role::Owner).get_socket().unwrap().clone();
    postgres.stop().await.unwrap();
    fs::remove_dir(socket).unwrap();
}

#[test]
fn a_directory_that_the_servers_user_cannot_enter_is_named() {
    if !is_root().unwrap() {
        return; // Only root switches to another user.
    }
    let dir = Dir::new();
    fs::create_dir_all(&dir.0).unwrap();
    fs::set_permissions(&dir.0, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let root = dir.0.join("inner");
    let error = runtime.block_on(ManagedPostgres::start(&root, &surroundings())).unwrap_err();
    assert!(matches!(error, ManagedError::Unreachable { .. }), "{error:?}");
}

#[test]
fn root_keeps_its_data_where_other_users_can_enter() {
    assert_eq!(default_root(true), Path::new("/var/lib/bursar"));
    assert_eq!(default_root(false), Path::new(".data"));
}
