//! Real processes, killed at random moments under load, many times; and the connection between them
//! cut around COMMIT. Afterwards every acknowledged operation is there exactly once, nothing else is
//! half there, the same keys give the same answers, and every check of the ledger passes.
//!
//! Postgres is a durable cluster of the test's own. `CRASH_ROUNDS` and `CRASH_SEED` make the long
//! form as long as wanted and repeat its choices; the moments are the machine's.

mod customer;
mod cut;
mod script;
mod site;
mod sums;

use site::{Kill, Site};

use crate::support::dice::Dice;
use crate::support::proxy::Cut;

const KILLS: [Kill; 10] = [
    Kill::Service,
    Kill::Postmaster,
    Kill::Backend,
    Kill::Postgres,
    Kill::Both,
    Kill::ServiceAtCommit,
    Kill::PostgresAtCommit,
    Kill::Cut(Cut::BeforeCommit),
    Kill::Cut(Cut::AfterCommit),
    Kill::Cut(Cut::Anywhere),
];

fn number(name: &str) -> Option<u64> {
    std::env::var_os(name).map(|text| text.to_str().unwrap().parse().unwrap())
}

fn fresh_seed() -> u64 {
    u64::from_le_bytes(crate::ledger::scene::fresh())
}

/// Each kind of kill, once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_killed_what_was_acknowledged_is_there_once() {
    rounds(number("CRASH_SEED").unwrap_or_else(fresh_seed), KILLS.len(), 8, 50).await;
}

/// The long form; the README has its command.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes"]
async fn many_kills() {
    let rounds = usize::try_from(number("CRASH_ROUNDS").unwrap_or(20)).unwrap();
    self::rounds(number("CRASH_SEED").unwrap_or_else(fresh_seed), rounds, 24, 150).await;
}

/// Loads the service with so many customers and kills something in each round, every kind in turn,
/// after up to so many operations.
async fn rounds(seed: u64, rounds: usize, customers: usize, moments: usize) {
    eprintln!("CRASH_SEED={seed}");
    let mut dice = Dice::new(seed);
    let mut site = Site::open("25.00").await;
    for round in 0..rounds {
        if round % 8 == 0 {
            site.welcome(customers).await;
        }
        let moment = 1 + dice.below(moments);
        site.round(KILLS[round % KILLS.len()], moment, &mut dice).await;
    }
    site.tell();
    site.close().await;
}
