//! How fast checkouts are, against two yardsticks measured in the same run on the same Postgres with
//! default durability. The README says how to read it.
//!
//! `cargo bench --bench checkout`, with `-- --quick` for half a minute, and `-- --grow 5000000` to
//! measure again when the ledger holds a fifth of that many transfers and all of them.

#![expect(clippy::float_arithmetic, reason = "figures for people, not money")]

mod figures;
mod load;
mod plan;
mod service;
mod sql;
mod world;

use plan::Plan;

/// As in the service, because the engine of C runs here.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let plan = Plan::from_args(std::env::args().skip(1)).unwrap_or_else(|problem| {
        eprintln!(
            "{problem}\nusage: cargo bench --bench checkout [-- [--quick] [--grow TRANSFERS]]"
        );
        std::process::exit(2);
    });
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.expect("a runtime").block_on(plan.run());
}
