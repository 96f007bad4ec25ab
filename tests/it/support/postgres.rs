//! A fresh database for each test: a copy of a template that has all migrations.
//!
//! The server is the one of `TEST_DATABASE_URL`, whose user must be a superuser, or else the tests'
//! own (see [`super::local`]). Databases are dropped when their test passes and kept for a day when
//! it fails. What killed runs leave behind is collected by the next run.

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bursar::db::managed::{ROLES, Role};
use bursar::ground::{Entropy, SystemEntropy};
use sha2::{Digest, Sha256};
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, PgConnection, PgPool};
use tokio::runtime::{Builder, Runtime};

use super::local;
pub use super::local::surroundings;

/// Taken while roles, templates and leftovers are looked after. Advisory locks belong to a database,
/// and all test processes connect to the same one for this.
const SET_UP_LOCK: i64 = 0x6275_7273_6172;

/// What this process needs of the server. It has a runtime of its own, because each test has one and
/// connections die with the runtime that made them.
struct Server {
    runtime: Runtime,
    admin: PgPool,
    options: PgConnectOptions,
    /// Of the two roles, on a server that asks for one.
    password: Option<String>,
    template: String,
    run: String,
    next: AtomicU32,
}

static SERVER: LazyLock<Server> = LazyLock::new(|| {
    // On a thread of its own: the first test may already be inside a runtime.
    std::thread::spawn(Server::boot).join().expect("the test server's error is printed above")
});

/// A database that only this test uses.
pub struct TestDatabase {
    name: String,
    /// Connected as `bursar_owner`.
    pub owner: PgPool,
    /// Connected as `bursar_service`, as the service is.
    pub service: PgPool,
}

/// Runs a test with a database of its own, on a runtime of its own.
pub fn run<F: Future<Output = ()>>(test: impl FnOnce(TestDatabase) -> F) {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async { test(test_database().await).await });
}

/// A fresh database with all migrations.
pub async fn test_database() -> TestDatabase {
    let server = &*SERVER;
    let name = format!("test_{}_{}", server.run, server.next.fetch_add(1, Ordering::Relaxed));
    let template = &server.template;
    server.admin(&[
        format!("create database {name} owner bursar_owner template {template} strategy file_copy"),
        format!("revoke all on database {name} from public"),
        format!("grant connect on database {name} to bursar_service"),
    ]);
    TestDatabase::named(name)
}

/// A fresh database with nothing in it.
pub async fn empty_database() -> TestDatabase {
    let server = &*SERVER;
    let name = format!("test_{}_{}", server.run, server.next.fetch_add(1, Ordering::Relaxed));
    server.admin(&[format!("create database {name} owner bursar_owner")]);
    TestDatabase::named(name)
}

impl TestDatabase {
    fn named(name: String) -> Self {
        let pool = |role, size| {
            PgPoolOptions::new()
                .max_connections(size)
                .test_before_acquire(false)
                .connect_lazy_with(SERVER.options_of(role, &name))
        };
        Self { owner: pool(Role::Owner, 4), service: pool(Role::Service, 10), name }
    }

    /// The database's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How to connect as the owner, for a pool of one's own.
    pub fn owner_options(&self) -> PgConnectOptions {
        SERVER.options_of(Role::Owner, &self.name)
    }

    /// How to connect as the service, for a pool of one's own.
    pub fn service_options(&self) -> PgConnectOptions {
        SERVER.options_of(Role::Service, &self.name)
    }

    /// The URL to connect with, for another process.
    pub fn url(&self, role: Role) -> String {
        SERVER.options_of(role, &self.name).to_url_lossy().into()
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the test failed; its database is kept for a day: {}", self.url(Role::Admin));
            SERVER.keep(&self.name);
        } else {
            // Also ends connections of tasks that the test did not wait for.
            SERVER.admin(&[format!("drop database {} with (force)", self.name)]);
        }
    }
}

impl Server {
    fn boot() -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let mut random = [0; 4];
        SystemEntropy.fill(&mut random);
        let run = format!("{}_{}", std::process::id(), hex::encode(random));
        let (options, heartbeat) = runtime.block_on(find_server());
        let options = options.application_name(&format!("bursar-test-{run}"));
        // Only who knows the URL can work the password out.
        let password = url().map(|url| hex::encode(Sha256::digest(url)));
        let (template, admin) = runtime.block_on(async {
            let mut connection = PgConnection::connect_with(&options).await.unwrap();
            let template = set_up(&mut connection, &options, password.as_deref()).await;
            tokio::spawn(stay(connection, heartbeat));
            let admin = PgPoolOptions::new().max_connections(4).connect_lazy_with(options.clone());
            (template, admin)
        });
        Self { runtime, admin, options, password, template, run, next: AtomicU32::new(0) }
    }

    fn options_of(&self, role: Role, database: &str) -> PgConnectOptions {
        as_role(&self.options, role, self.password.as_deref()).database(database)
    }

    /// Executes statements as superuser, each in its own transaction, and waits for them.
    fn admin(&self, statements: &[String]) {
        let (pool, statements) = (self.admin.clone(), statements.to_owned());
        let (report, done) = std::sync::mpsc::channel();
        self.runtime.spawn(async move {
            let mut result = Ok(());
            for statement in statements {
                if result.is_ok() {
                    result = pool.execute(AssertSqlSafe(statement)).await.map(|_| ());
                }
            }
            report.send(result)
        });
        done.recv().unwrap().unwrap();
    }

    /// Marks a database so that it is not collected before tomorrow.
    fn keep(&self, name: &str) {
        self.admin(&[format!(
            "do $$ begin execute format('comment on database {name} is %L', \
             'kept since ' || extract(epoch from now())::bigint); end $$"
        )]);
    }
}

fn url() -> Option<String> {
    std::env::var_os("TEST_DATABASE_URL").map(|url| url.into_string().unwrap())
}

async fn find_server() -> (PgConnectOptions, Option<PathBuf>) {
    if let Some(url) = url() {
        return (url.parse().unwrap(), None);
    }
    let local = local::server().await;
    (local.options, Some(local.heartbeat))
}

fn as_role(options: &PgConnectOptions, role: Role, password: Option<&str>) -> PgConnectOptions {
    let options = options.clone();
    match (role, password) {
        (Role::Admin, _) => options,
        (_, Some(password)) => options.username(role.name()).password(password),
        (_, None) => options.username(role.name()),
    }
}

/// Holds one connection, whose name tells other processes that this one lives, and keeps the server
/// from stopping during a long test.
async fn stay(mut connection: PgConnection, heartbeat: Option<PathBuf>) {
    let mut minute = tokio::time::interval(Duration::from_secs(60));
    loop {
        minute.tick().await;
        if let Some(heartbeat) = &heartbeat {
            fs::write(heartbeat, "x").unwrap();
        }
        connection.ping().await.unwrap();
    }
}

/// Leftovers, roles and the template, one process at a time. Gives the template's name.
async fn set_up(
    connection: &mut PgConnection,
    options: &PgConnectOptions,
    password: Option<&str>,
) -> String {
    let lock = sqlx::query("select pg_advisory_lock($1)").bind(SET_UP_LOCK);
    lock.execute(&mut *connection).await.unwrap();
    collect_leftovers(connection).await;
    connection.execute(ROLES).await.unwrap();
    if let Some(password) = password {
        for role in [Role::Owner, Role::Service] {
            let sql = format!("alter role {} with login password '{password}'", role.name());
            connection.execute(AssertSqlSafe(sql)).await.unwrap();
        }
    }
    let mut migrator = sqlx::migrate!("./migrations");
    // Its own lock is for concurrent migrations; this database has one visitor.
    migrator.set_locking(false);
    let template = format!("tpl_{}", fingerprint(&migrator));
    if !is_template(connection, &template).await {
        make_template(connection, options, password, &migrator, &template).await;
    }
    let unlock = sqlx::query("select pg_advisory_unlock($1)").bind(SET_UP_LOCK);
    unlock.execute(connection).await.unwrap();
    template
}

fn fingerprint(migrator: &Migrator) -> String {
    let mut hash = Sha256::new();
    for migration in migrator.iter() {
        hash.update(migration.version.to_be_bytes());
        hash.update(&migration.checksum);
    }
    hex::encode(&hash.finalize()[..8])
}

async fn is_template(connection: &mut PgConnection, name: &str) -> bool {
    let sql = "select exists (select from pg_database where datname = $1 and datistemplate)";
    sqlx::query_scalar(sql).bind(name).fetch_one(connection).await.unwrap()
}

/// Migrates an empty database as its owner, as in production, and closes it for good: a database
/// with connections cannot be copied. One that a killed process left half made is made again.
async fn make_template(
    connection: &mut PgConnection,
    options: &PgConnectOptions,
    password: Option<&str>,
    migrator: &Migrator,
    name: &str,
) {
    if url().is_none() {
        // This server has one checkout: templates of its earlier migrations are of no more use.
        drop_templates(connection).await;
    }
    let drop = format!("drop database if exists {name} with (force)");
    connection.execute(AssertSqlSafe(drop)).await.unwrap();
    let create = format!("create database {name} owner bursar_owner");
    connection.execute(AssertSqlSafe(create)).await.unwrap();
    let owner = as_role(options, Role::Owner, password).database(name);
    let mut owner = PgConnection::connect_with(&owner).await.unwrap();
    migrator.run(&mut owner).await.unwrap();
    let grant = "grant select on _sqlx_migrations to bursar_service";
    owner.execute(grant).await.unwrap();
    owner.close().await.unwrap();
    let sql = format!("alter database {name} with is_template true allow_connections false");
    connection.execute(AssertSqlSafe(sql)).await.unwrap();
}

async fn drop_templates(connection: &mut PgConnection) {
    let sql =
        r"select datname::text from pg_database where datname like 'tpl\_%' and datistemplate";
    let names: Vec<String> = sqlx::query_scalar(sql).fetch_all(&mut *connection).await.unwrap();
    for name in names {
        let unmark = format!("alter database {name} with is_template false");
        connection.execute(AssertSqlSafe(unmark)).await.unwrap();
        let drop = format!("drop database {name}");
        connection.execute(AssertSqlSafe(drop)).await.unwrap();
    }
}

/// Drops the databases of runs that are no longer connected, except failed ones younger than a day.
/// The databases are listed first: one that a living run makes later is not in the list.
async fn collect_leftovers(connection: &mut PgConnection) {
    let databases: Vec<String> = sqlx::query_scalar(
        r"select datname::text from pg_database
          where datname like 'test\_%'
            and coalesce(substring(shobj_description(oid, 'pg_database') from 'kept since (\d+)')
                         ::bigint < extract(epoch from now() - interval '1 day'), true)",
    )
    .fetch_all(&mut *connection)
    .await
    .unwrap();
    let alive: Vec<String> = sqlx::query_scalar(
        "select distinct application_name from pg_stat_activity \
         where application_name like 'bursar-test-%'",
    )
    .fetch_all(&mut *connection)
    .await
    .unwrap();
    for name in databases {
        let run = name.strip_prefix("test_").and_then(|rest| rest.rsplit_once('_'));
        let living = run.is_some_and(|(run, _)| alive.contains(&format!("bursar-test-{run}")));
        if !living {
            let sql = format!("drop database if exists {name} with (force)");
            connection.execute(AssertSqlSafe(sql)).await.unwrap();
        }
    }
}
