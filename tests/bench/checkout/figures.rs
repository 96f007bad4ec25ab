//! Samples, and what the machine spent on them.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use serde_json::{Map, Value, json};
use sqlx::PgPool;

/// What one run of one measurement gave.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    pub done: u64,
    pub took: Duration,
    pub times: Vec<Duration>,
    pub refused: u64,
    pub spent: Spent,
    /// Rows inserted and updated, where they were counted.
    pub rows: Option<f64>,
}

impl Sample {
    pub fn new(done: u64, took: Duration, times: Vec<Duration>) -> Self {
        Self { done, took, times, ..Self::default() }
    }

    pub fn rate(&self) -> f64 {
        count(self.done) / self.took.as_secs_f64().max(1e-9)
    }
}

/// What Postgres and the processes have spent, as counters.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spent {
    pub transactions: f64,
    pub wal_bytes: f64,
    pub postgres_cpu: f64,
    pub service_cpu: f64,
}

impl Spent {
    /// The counters at this moment. Transactions are those that wrote.
    pub async fn read(pool: &PgPool, postgres: u32, service: Option<u32>) -> Self {
        let row: (i64, f64) = sqlx::query_as(
            "select pg_snapshot_xmax(pg_current_snapshot())::text::bigint,
                    (pg_current_wal_lsn() - '0/0'::pg_lsn)::float8",
        )
        .fetch_one(pool)
        .await
        .expect("counters");
        Self {
            transactions: signed(row.0),
            wal_bytes: row.1,
            postgres_cpu: cpu_of_family(postgres),
            service_cpu: cpu_seconds(service.unwrap_or_else(std::process::id)),
        }
    }

    /// What was spent since.
    pub fn since(self, before: Self) -> Self {
        Self {
            transactions: self.transactions - before.transactions,
            wal_bytes: self.wal_bytes - before.wal_bytes,
            postgres_cpu: self.postgres_cpu - before.postgres_cpu,
            service_cpu: self.service_cpu - before.service_cpu,
        }
    }
}

/// Rows inserted and updated so far. Backends report theirs when they have been idle for ten seconds.
pub async fn settled_rows(pool: &PgPool) -> f64 {
    tokio::time::sleep(Duration::from_secs(11)).await;
    let rows = "select (tup_inserted + tup_updated)::float8 from pg_stat_database
                where datname = current_database()";
    sqlx::query_scalar(rows).fetch_one(pool).await.expect("counters")
}

/// User and system time of a process, in seconds. A tick is a hundredth (`man 5 proc_pid_stat`).
fn cpu_seconds(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks = after.split_whitespace().skip(11).take(4);
    let ticks: f64 = ticks.filter_map(|field| field.parse::<f64>().ok()).sum();
    ticks / 100.0
}

/// The same of a server and of its children, those that have ended included.
fn cpu_of_family(postmaster: u32) -> f64 {
    let processes = fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let children = pids.filter(|pid| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let after = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        after.split_whitespace().nth(1) == Some(&postmaster.to_string())
    });
    cpu_seconds(postmaster) + children.map(cpu_seconds).sum::<f64>()
}

/// All samples of all measurements, by name.
#[derive(Default)]
pub struct Figures {
    samples: BTreeMap<String, Vec<Sample>>,
    order: Vec<String>,
}

impl Figures {
    pub fn add(&mut self, name: &str, sample: Sample) {
        if !self.samples.contains_key(name) {
            self.order.push(name.to_owned());
        }
        self.samples.entry(name.to_owned()).or_default().push(sample);
    }

    /// The median rate of the rounds.
    pub fn rate(&self, name: &str) -> f64 {
        let mut rates: Vec<f64> = self.all(name).iter().map(Sample::rate).collect();
        rates.sort_by(f64::total_cmp);
        rates.get(rates.len() / 2).copied().unwrap_or(0.0)
    }

    /// The median of the ratios of the rounds: noise that lasts longer than a round cancels out.
    pub fn ratio(&self, over: &str, under: &str) -> f64 {
        let pairs = self.all(over).iter().zip(self.all(under));
        let mut ratios: Vec<f64> = pairs.map(|(o, u)| o.rate() / u.rate().max(1e-9)).collect();
        ratios.sort_by(f64::total_cmp);
        ratios.get(ratios.len() / 2).copied().unwrap_or(0.0)
    }

    fn all(&self, name: &str) -> &[Sample] {
        self.samples.get(name).map_or(&[], Vec::as_slice)
    }

    /// Prints one line and returns the same as JSON.
    pub fn tell(&self, name: &str) -> Value {
        let samples = self.all(name);
        let mut times: Vec<Duration> = samples.iter().flat_map(|s| s.times.clone()).collect();
        times.sort_unstable();
        let at = |per_mille: usize| {
            let last = times.len().saturating_sub(1);
            times.get(last * per_mille / 1000).map_or(0.0, |t| t.as_secs_f64() * 1000.0)
        };
        let done = count(samples.iter().map(|s| s.done).sum::<u64>()).max(1.0);
        let per = |of: fn(&Spent) -> f64| samples.iter().map(|s| of(&s.spent)).sum::<f64>() / done;
        let (rate, p50, p99, p999) = (self.rate(name), at(500), at(990), at(999));
        let (txs, wal) = (per(|s| s.transactions), per(|s| s.wal_bytes));
        let counted = samples.iter().find_map(|s| s.rows.map(|rows| rows / count(s.done).max(1.0)));
        let rows = counted.map_or("    -".to_owned(), |rows| format!("{rows:>5.1}"));
        let (postgres, service) = (per(|s| s.postgres_cpu) * 1e6, per(|s| s.service_cpu) * 1e6);
        println!(
            "{name:<24} {rate:>9.0}/s  p50 {p50:>7.2} p99 {p99:>7.2} p99.9 {p999:>7.2} ms  \
             {txs:>6.3} tx {rows} rows {wal:>6.0} WAL B  cpu {postgres:>4.0} + {service:>4.0} us"
        );
        json!({
            "per_second": round(rate), "p50_ms": round(p50), "p99_ms": round(p99),
            "p99_9_ms": round(p999), "transactions_per_op": round(txs), "rows_per_op": counted.map(round),
            "wal_bytes_per_op": round(wal), "postgres_cpu_us_per_op": round(postgres),
            "service_cpu_us_per_op": round(service),
            "refused": samples.iter().map(|s| s.refused).sum::<u64>(),
        })
    }

    /// Prints everything and returns it as JSON.
    pub fn tell_all(&self) -> Map<String, Value> {
        self.order.iter().map(|name| (name.clone(), self.tell(name))).collect()
    }
}

/// Three decimals are more than the noise leaves.
pub fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

pub fn count(n: u64) -> f64 {
    u32::try_from(n).map_or(f64::MAX, f64::from)
}

fn signed(n: i64) -> f64 {
    u64::try_from(n).map_or(0.0, count)
}
