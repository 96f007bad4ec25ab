//! The processes, and how they are killed.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use bursar::db;
use bursar::db::managed::{ManagedPostgres, Role, find_binaries, install};
use bursar::finance::Finance;
use futures_util::future::join_all;
use reqwest::Client;
use serde_json::{Value, json};
use sqlx::postgres::PgPoolOptions;
use sqlx::{ConnectOptions, PgPool};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::customer::{self, Customer, SKUS};
use crate::ledger::invariants;
use crate::support::dice::Dice;
use crate::support::postgres::surroundings;
use crate::support::proxy::{Cut, Proxy};
use crate::support::request::{Answer, Post};
use crate::support::service::{Service, assert_checks, client};

/// How long anything may take to come back.
const PATIENCE: Duration = Duration::from_secs(180);

/// What is killed.
#[derive(Clone, Copy, Debug)]
pub enum Kill {
    Service,
    /// The postmaster alone: its children find out by themselves.
    Postmaster,
    /// One of the service's backends: the postmaster ends the others and recovers.
    Backend,
    /// Every process of Postgres at once.
    Postgres,
    /// The service and every process of Postgres at once.
    Both,
    /// The service, while the reply to a COMMIT is on its way to it.
    ServiceAtCommit,
    /// Every process of Postgres, while the reply to a COMMIT is on its way.
    PostgresAtCommit,
    /// Connections between the two.
    Cut(Cut),
}

/// What customers know of the service, and what they tell each other.
pub struct World {
    pub client: Client,
    pub fulfiller: String,
    pub verifier: String,
    /// Which start of the service is running, and where; none while there is none.
    service: watch::Sender<(u32, Option<String>)>,
    pub acknowledged: watch::Sender<usize>,
    pub closing: AtomicBool,
    /// Requests whose connection broke, and requests that were told to come again.
    pub lost: AtomicUsize,
    pub again: AtomicUsize,
}

impl World {
    /// Sends a request until it is answered, whatever happens to the service meanwhile.
    pub async fn insist(&self, post: &Post) -> Answer {
        let mut service = self.service.subscribe();
        loop {
            let (start, url) = {
                let up = service.wait_for(|(_, url)| url.is_some()).await.unwrap();
                (up.0, up.1.clone().unwrap())
            };
            match post.send(&self.client, &url).await {
                Err(_) => {
                    self.lost.fetch_add(1, Ordering::Relaxed);
                    // It was killed; another start comes.
                    service.wait_for(|(other, _)| *other != start).await.unwrap();
                }
                // A top-up that is still open, or nothing that was decided.
                Ok(answer) if answer.status == 202 || answer.comes_again() => {
                    self.again.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                Ok(answer) => {
                    assert!(answer.status < 500, "{post:?} {answer:?}");
                    return answer;
                }
            }
        }
    }

    /// Reads with a key, from a service that runs.
    pub async fn get(&self, path: &str, key: &str) -> Value {
        let url = self.service.borrow().1.clone().unwrap();
        let request = self.client.get(format!("{url}{path}")).bearer_auth(key);
        let answer = request.send().await.unwrap();
        let (status, text) = (answer.status().as_u16(), answer.text().await.unwrap());
        assert_eq!(status, 200, "{path}: {text}");
        serde_json::from_str(&text).unwrap()
    }
}

/// A durable Postgres, a proxy before it, the service behind that, and customers.
pub struct Site {
    directory: PathBuf,
    pub postgres: Option<ManagedPostgres>,
    pub proxy: Proxy,
    pub service: Option<Service>,
    pub world: Arc<World>,
    /// What every customer is given, in US dollars.
    grant: &'static str,
    customers: Vec<Customer>,
    rounds: usize,
    operations: usize,
}

impl Site {
    pub async fn open(grant: &'static str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let directory = PathBuf::from(format!("/tmp/bursar-crash-{}-{n}", std::process::id()));
        if find_binaries(&surroundings(), None).is_err() {
            install(&surroundings(), &|line| eprintln!("{line}")).unwrap();
        }
        let postgres = ManagedPostgres::start(&directory, &surroundings()).await.unwrap();
        let proxy = Proxy::start(&postgres.connect_options(Role::Service)).await;
        let service = start(&postgres, &proxy, grant);
        for (sku, price) in SKUS {
            service.list(sku, price).await;
        }
        let skus = SKUS.map(|(sku, _)| sku);
        let world = World {
            client: client(),
            fulfiller: service.staff("fulfiller", &skus).await,
            verifier: service.staff("verifier", &skus).await,
            service: watch::Sender::new((0, Some(service.url.clone()))),
            acknowledged: watch::Sender::new(0),
            closing: AtomicBool::new(false),
            lost: AtomicUsize::new(0),
            again: AtomicUsize::new(0),
        };
        Self {
            directory,
            postgres: Some(postgres),
            proxy,
            service: Some(service),
            world: Arc::new(world),
            grant,
            customers: Vec::new(),
            rounds: 0,
            operations: 0,
        }
    }

    /// Fresh customers in place of the old ones, whose lists would only grow.
    pub async fn welcome(&mut self, count: usize) {
        let world = &self.world;
        self.customers = join_all((0..count).map(|n| Customer::sign_up(world, n))).await;
    }

    /// Kills something under load, after so many operations, brings it back, and looks at everything.
    pub async fn round(&mut self, kill: Kill, moment: usize, dice: &mut Dice) {
        let world = self.world.clone();
        world.closing.store(false, Ordering::Relaxed);
        let shops: Vec<JoinHandle<Customer>> = std::mem::take(&mut self.customers)
            .into_iter()
            .map(|customer| tokio::spawn(customer.shop(world.clone(), dice.split())))
            .collect();
        let newcomers = tokio::spawn(customer::newcomers(world.clone()));
        let mut acknowledged = world.acknowledged.subscribe();
        let until = *acknowledged.borrow() + moment;
        acknowledged.wait_for(|count| *count >= until).await.unwrap();
        let done = tokio::time::timeout(PATIENCE, self.strike(kill, dice)).await;
        done.unwrap_or_else(|_| panic!("{kill:?} took too long"));
        world.closing.store(true, Ordering::Relaxed);
        let shops = tokio::time::timeout(PATIENCE, join_all(shops)).await;
        let shops = shops.unwrap_or_else(|_| panic!("not answered in the end after {kill:?}"));
        self.customers = shops.into_iter().map(Result::unwrap).collect();
        let newcomers = newcomers.await.unwrap();
        self.operations += self.customers.iter().map(|c| c.records.len()).sum::<usize>();
        join_all(self.customers.iter_mut().map(|customer| customer.repeat_all(&world))).await;
        join_all(self.customers.iter().map(|customer| customer.adds_up(&world))).await;
        for (key, granted) in newcomers {
            let credits = world.get("/api/v1/credits", &key).await;
            assert_eq!(credits["available"], granted, "an account is whole");
        }
        self.check().await;
        self.rounds += 1;
        eprintln!("round {}: {kill:?} after {moment} operations", self.rounds);
    }

    async fn strike(&mut self, kill: Kill, dice: &mut Dice) {
        match kill {
            Kill::Service => {
                self.kill_service();
                self.start_service();
            }
            Kill::ServiceAtCommit => {
                self.proxy.cut(Cut::Stall, 1, dice.split()).await;
                self.kill_service();
                self.start_service();
            }
            Kill::PostgresAtCommit => {
                self.proxy.cut(Cut::Stall, 1, dice.split()).await;
                slay(&self.processes());
                self.start_postgres().await;
            }
            Kill::Postmaster => {
                slay(&[self.postmaster()]);
                self.start_postgres().await;
            }
            Kill::Postgres => {
                slay(&self.processes());
                self.start_postgres().await;
            }
            Kill::Backend => {
                let backends = self.processes();
                let of_service = |pid: &u32| title(*pid).contains(Role::Service.name());
                let backends: Vec<u32> = backends.into_iter().filter(of_service).collect();
                if !backends.is_empty() {
                    slay(&[*dice.pick(&backends)]);
                }
            }
            Kill::Both => {
                self.announce(None);
                let mut processes = self.processes();
                processes.push(self.service.as_ref().unwrap().pid());
                slay(&processes);
                drop(self.service.take());
                self.start_postgres().await;
                self.start_service();
            }
            Kill::Cut(cut) => self.proxy.cut(cut, 1 + dice.below(8), dice.split()).await,
        }
    }

    fn announce(&self, url: Option<String>) {
        self.world.service.send_modify(|service| {
            service.0 += u32::from(url.is_some());
            service.1 = url;
        });
    }

    pub fn kill_service(&mut self) {
        self.announce(None);
        drop(self.service.take());
    }

    pub fn start_service(&mut self) {
        let service = start(self.postgres.as_ref().unwrap(), &self.proxy, self.grant);
        let url = service.url.clone();
        self.service = Some(service);
        self.announce(Some(url));
    }

    async fn start_postgres(&mut self) {
        let killed = self.postgres.take().unwrap();
        killed.ended().await;
        drop(killed);
        let started = ManagedPostgres::start(&self.directory, &surroundings()).await.unwrap();
        assert!(!started.is_new());
        self.postgres = Some(started);
    }

    fn postmaster(&self) -> u32 {
        self.postgres.as_ref().unwrap().pid()
    }

    /// The postmaster and its children.
    fn processes(&self) -> Vec<u32> {
        let pid = self.postmaster();
        let listed = Command::new("ps").args(["-o", "pid=", "--ppid", &pid.to_string()]).output();
        let children = String::from_utf8(listed.unwrap().stdout).unwrap();
        let children = children.split_whitespace().map(|child| child.parse().unwrap());
        [pid].into_iter().chain(children).collect()
    }

    /// Every check, by the ledger's own report and by the tests' queries.
    pub async fn check(&self) {
        let postgres = self.postgres.as_ref().unwrap();
        let reports = db::report_pool(postgres.connect_options(Role::Service), 1);
        let report = Finance::new(reports.clone()).check().await.unwrap();
        assert!(report.passed(), "{report}");
        reports.close().await;
        let owner: PgPool =
            PgPoolOptions::new().connect_lazy_with(postgres.connect_options(Role::Owner));
        invariants::hold_in(&owner).await;
        owner.close().await;
    }

    /// Says what was done in all rounds.
    pub fn tell(&self) {
        let [before, after, anywhere, _, stalled] = self.proxy.counts();
        eprintln!(
            "{} rounds: {} operations acknowledged and repeated, {} requests lost, {} told to come \
             again; connections cut: {before} before COMMIT, {after} after it, {anywhere} anywhere; {stalled} \
             replies to COMMIT withheld",
            self.rounds,
            self.operations,
            self.world.lost.load(Ordering::Relaxed),
            self.world.again.load(Ordering::Relaxed),
        );
    }

    pub async fn close(mut self) {
        let postgres = self.postgres.take().unwrap();
        assert_checks(&postgres.url(Role::Service));
        drop(self.service.take());
        postgres.stop().await.unwrap();
        fs::remove_dir_all(&self.directory).unwrap();
    }
}

/// Starts the service behind the proxy. Its answers name one public URL, whatever its port.
fn start(postgres: &ManagedPostgres, proxy: &Proxy, grant: &str) -> Service {
    let url = proxy.through(postgres.connect_options(Role::Service)).to_url_lossy();
    let variables = [
        ("BURSAR_PUBLIC_URL", "http://127.0.0.1:8402"),
        ("BURSAR_SETTLE_TIMEOUT_S", "1"),
        ("BURSAR_VERIFY_TIMEOUT_S", "1"),
        ("BURSAR_RESOLVE_INTERVAL_MS", "100"),
        ("BURSAR_RESOLVE_BACKOFF_MS", "200"),
        ("BURSAR_SIGNUP_GRANT", grant),
    ];
    Service::start_at(url.as_str(), &postgres.url(Role::Owner), &variables)
}

/// `kill -9`, all at once.
fn slay(processes: &[u32]) {
    let processes = processes.iter().map(u32::to_string);
    // One that has ended meanwhile is as good as killed.
    let _ = Command::new("kill").arg("-KILL").args(processes).status().unwrap();
}

/// What a process says that it is.
fn title(pid: u32) -> String {
    let listed = Command::new("ps").args(["-o", "args=", "-p", &pid.to_string()]).output();
    String::from_utf8_lossy(&listed.unwrap().stdout).into_owned()
}

/// The body of a faucet's request.
pub fn faucet(address: &str) -> Value {
    json!({ "address": address, "amount": "1000.00" })
}
