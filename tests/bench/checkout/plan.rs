//! What is measured, in which order, and what is said about it.

use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bursar::db;
use bursar::finance::Finance;
use serde_json::{Map, Value, json};

use crate::figures::{Figures, Sample, Spent, round, settled_rows};
use crate::load::{Operation, Pressure, run};
use crate::service::{Challenge, Checkout, Choice, Life, Service, in_process};
use crate::sql;
use crate::world::{self, World};

/// Connections that overload it.
const TOO_MANY: usize = 3_000;
/// Connections of B: as many as the service has to the database.
const ONE_BY_ONE: u32 = 10;

/// Transfers between a checkpoint and the measurement of a size: two changes and more of most pages.
const SINCE_CHECKPOINT: u64 = 300_000;

/// How long, how often, and at which sizes.
pub struct Plan {
    slice: Duration,
    rounds: usize,
    quick: bool,
    grow: Vec<u64>,
}

impl Plan {
    /// Reads the arguments. `cargo bench` itself passes `--bench`.
    pub fn from_args(mut args: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut plan =
            Self { slice: Duration::from_secs(4), rounds: 3, quick: false, grow: Vec::new() };
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--bench" => {}
                "--quick" => {
                    (plan.slice, plan.rounds, plan.quick) = (Duration::from_millis(700), 3, true);
                }
                "--grow" => {
                    let most = args.next().and_then(|n| n.parse::<u64>().ok());
                    let most = most.ok_or("--grow wants a number of transfers")?;
                    plan.grow = vec![most / 5, most];
                }
                other => return Err(format!("{other} is not known")),
            }
        }
        Ok(plan)
    }

    pub async fn run(self) {
        let (world, managed) = world::open().await;
        sql::prepare(&world).await.expect("the function of B is made");
        let service = Service::start(&world);
        let mut all = Map::new();
        self.warm_up(&world, &service).await;
        println!("empty ledger");
        let empty = self.measure(&world, &service, &mut all, "empty").await;
        let half = self.half_load(&world, &service, &empty).await;
        all.insert("d_half".to_owned(), half);
        let challenges = self.challenges(&world, &service).await;
        all.insert("f_unpaid_402".to_owned(), challenges);
        let overload = self.overload(&world, &service).await;
        all.insert("overload".to_owned(), overload);
        let mut grown = Vec::new();
        for transfers in &self.grow {
            grow(&world, *transfers).await;
            println!("{transfers} transfers");
            grown.push(self.measure(&world, &service, &mut all, &transfers.to_string()).await);
        }
        ratios(&empty, &grown, &mut all);
        all.insert("commit_ms".to_owned(), json!(round(commit_ms(&world).await)));
        all.insert("service_resident_mb".to_owned(), json!(round(service.resident_mb())));
        service.stop();
        check(&world, &mut all).await;
        world.pool.close().await;
        let root = world.root.clone();
        managed.stop().await.expect("Postgres stops");
        // The directory may belong to the user that Postgres ran as; root may remove it all the same.
        let _ = std::fs::remove_dir_all(root);
        println!("{}", Value::Object(all));
    }

    /// All measurements, alternating.
    async fn measure(
        &self,
        world: &Arc<World>,
        service: &Service,
        all: &mut Map<String, Value>,
        name: &str,
    ) -> Figures {
        let mut figures = Figures::default();
        let pool = db::service_pool(world.service.clone(), ONE_BY_ONE);
        for round in 0..self.rounds {
            // Counting rows takes long, and they are the same in every round.
            let rows = round == 0 && !self.quick;
            let spent = Meter::start(world, None, rows).await;
            let sample = sql::ceiling(world, self.slice).await;
            figures.add("a_ceiling", spent.stop(world, sample).await);
            let spent = Meter::start(world, None, rows).await;
            let sample = sql::one_by_one(world, &pool, self.slice).await;
            figures.add("b_one_by_one", spent.stop(world, sample).await);
            let spent = Meter::start(world, None, rows).await;
            let sample = in_process(world, self.slice).await;
            figures.add("c_engine", spent.stop(world, sample).await);
            for (name, choice) in
                [("d_uniform", Choice::Uniform), ("d_zipf", Choice::Zipf), ("d_hot", Choice::Hot)]
            {
                let operation = Checkout { world: world.clone(), choice };
                let sample = self.peak(world, service, operation, rows).await;
                figures.add(name, sample);
            }
            let checkout = Checkout { world: world.clone(), choice: Choice::Uniform };
            let life = Life { checkout, operator: service.operator.clone() };
            figures.add("e_life", self.peak(world, service, life, rows).await);
        }
        pool.close().await;
        all.insert(name.to_owned(), Value::Object(figures.tell_all()));
        figures
    }

    /// As fast as it goes, for a slice.
    async fn peak<O: Operation>(
        &self,
        world: &Arc<World>,
        service: &Service,
        operation: O,
        rows: bool,
    ) -> Sample {
        let (connections, how_long) = (O::CONNECTIONS, self.slice);
        let pressure = Pressure { connections, how_long, rate: None };
        press(world, service, operation, pressure, rows).await
    }

    /// D at half of its peak load: what a caller waits when the machine has room.
    async fn half_load(&self, world: &Arc<World>, service: &Service, empty: &Figures) -> Value {
        let mut figures = Figures::default();
        settle();
        for _ in 0..self.rounds {
            let operation = Checkout { world: world.clone(), choice: Choice::Uniform };
            // A tail of one in a hundred wants more samples than a rate.
            let pressure = Pressure {
                connections: Checkout::CONNECTIONS,
                how_long: 2 * self.slice,
                rate: Some(empty.rate("d_uniform") / 2.0),
            };
            let sample = press(world, service, operation, pressure, false).await;
            figures.add("d_half_of_peak", sample);
        }
        figures.tell("d_half_of_peak")
    }

    /// Lets the service see every key once, as after some minutes of any real traffic.
    async fn warm_up(&self, world: &Arc<World>, service: &Service) {
        let mut left = world.buyers.len();
        while left > 0 {
            let operation = Checkout { world: world.clone(), choice: Choice::Uniform };
            let sample = self.peak(world, service, operation, false).await;
            left = left.saturating_sub(usize::try_from(sample.done).expect("small"));
        }
    }

    async fn challenges(&self, world: &Arc<World>, service: &Service) -> Value {
        let mut figures = Figures::default();
        figures.add("f_unpaid_402", self.peak(world, service, Challenge, false).await);
        figures.tell("f_unpaid_402")
    }

    /// Far more at once than is answered: memory, and what was refused.
    async fn overload(&self, world: &Arc<World>, service: &Service) -> Value {
        let operation = Checkout { world: world.clone(), choice: Choice::Uniform };
        let pressure = Pressure { connections: TOO_MANY, how_long: self.slice, rate: None };
        let before = count_checkouts(world).await;
        let address = service.address;
        let load = tokio::task::spawn_blocking(move || run(address, operation, pressure));
        let load = load.await.expect("a load");
        let stored = count_checkouts(world).await - before;
        let resident = round(service.resident_mb());
        println!(
            "overload: {TOO_MANY} at once, {} done, {stored} stored, {} refused with Retry-After, \
             {resident} MB",
            load.done, load.refused
        );
        assert!(i64::try_from(load.done).expect("small") == stored, "acknowledged is not stored");
        json!({ "done": load.done, "refused": load.refused, "resident_mb": resident })
    }
}

/// Runs an operation against the service, metered.
async fn press<O: Operation>(
    world: &Arc<World>,
    service: &Service,
    operation: O,
    pressure: Pressure,
    rows: bool,
) -> Sample {
    let spent = Meter::start(world, Some(service.pid), rows).await;
    let address = service.address;
    let load = tokio::task::spawn_blocking(move || run(address, operation, pressure));
    spent.stop(world, load.await.expect("a load").into()).await
}

async fn count_checkouts(world: &World) -> i64 {
    let count = sqlx::query_scalar("select sum(event_seq)::bigint from book");
    count.fetch_one(&world.pool).await.expect("a count")
}

/// Counters before a measurement.
struct Meter {
    before: Spent,
    rows_before: Option<f64>,
    service: Option<u32>,
}

impl Meter {
    async fn start(world: &World, service: Option<u32>, count_rows: bool) -> Self {
        let rows_before = if count_rows { Some(settled_rows(&world.pool).await) } else { None };
        let before = Spent::read(&world.pool, world.postgres_pid, service).await;
        Self { before, rows_before, service }
    }

    async fn stop(self, world: &World, sample: Sample) -> Sample {
        let after = Spent::read(&world.pool, world.postgres_pid, self.service).await;
        let rows = match self.rows_before {
            Some(before) => Some(settled_rows(&world.pool).await - before),
            None => None,
        };
        Sample { spent: after.since(self.before), rows, ..sample }
    }
}

/// Fills the ledger until it holds so many transfers, by the statement of A. The last of them come after
/// a checkpoint: the first change of a page after one goes into the log whole, so that each size has to
/// be measured equally long after it.
async fn grow(world: &Arc<World>, transfers: u64) {
    let held: i64 = sqlx::query_scalar("select sum(version)::bigint from book")
        .fetch_one(&world.pool)
        .await
        .expect("a sum");
    let missing = transfers.saturating_sub(u64::try_from(held).expect("positive"));
    let far = Instant::now() + Duration::from_secs(24 * 3600);
    let last = missing.min(SINCE_CHECKPOINT);
    sql::ceiling_until(world, far, missing - last).await;
    world.checkpoint().await.expect("a checkpoint");
    sql::ceiling_until(world, far, last).await;
    settle();
}

/// Has the system write what it would write half a minute late, at once and in the middle of what comes
/// next.
fn settle() {
    Command::new("sync").status().expect("sync runs");
}

/// What one durable commit takes on this machine, at its quickest half.
async fn commit_ms(world: &World) -> f64 {
    let mut times = Vec::new();
    for n in 0..200_i64 {
        let begun = Instant::now();
        sqlx::query("insert into budget (name, window_start, used) values ($1, now(), 0)")
            .bind(format!("bench-{n}"))
            .execute(&world.pool)
            .await
            .expect("commits");
        times.push(begun.elapsed().as_secs_f64() * 1000.0);
    }
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn ratios(empty: &Figures, grown: &[Figures], all: &mut Map<String, Value>) {
    let mut tell = |name: &str, value: f64| {
        println!("{name:<28} {value:>8.2}");
        all.insert(name.to_owned(), json!(round(value)));
    };
    tell("c_over_a", empty.ratio("c_engine", "a_ceiling"));
    tell("d_over_a", empty.ratio("d_uniform", "a_ceiling"));
    tell("d_over_b", empty.ratio("d_uniform", "b_one_by_one"));
    tell("zipf_over_uniform", empty.ratio("d_zipf", "d_uniform"));
    tell("hot_over_uniform", empty.ratio("d_hot", "d_uniform"));
    tell("e_over_a", empty.ratio("e_life", "a_ceiling"));
    let [middle, last] = grown else { return };
    for (name, measurement) in
        [("a", "a_ceiling"), ("b", "b_one_by_one"), ("c", "c_engine"), ("d", "d_uniform")]
    {
        let over = |under: &Figures| last.rate(measurement) / under.rate(measurement).max(1e-9);
        tell(&format!("{name}_grown_over_empty"), over(empty));
        tell(&format!("{name}_grown_over_middle"), over(middle));
    }
    tell("grown_c_over_a", last.ratio("c_engine", "a_ceiling"));
    tell("grown_d_over_a", last.ratio("d_uniform", "a_ceiling"));
    tell("grown_d_over_b", last.ratio("d_uniform", "b_one_by_one"));
    tell("grown_over_empty", last.rate("d_uniform") / empty.rate("d_uniform").max(1e-9));
}

/// The ledger that all of them wrote together has to be right.
async fn check(world: &World, all: &mut Map<String, Value>) {
    let pool = db::report_pool(world.owner.clone(), 1);
    let report = Finance::new(pool).check().await.expect("the checks run");
    println!("{report}");
    assert!(report.passed(), "the ledger is wrong");
    all.insert("checks_passed".to_owned(), json!(report.checks.len()));
}
