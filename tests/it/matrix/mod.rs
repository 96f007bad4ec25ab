//! The fault matrix: a real local chain, the official facilitator, between it and the real binary a
//! proxy that does whatever goes wrong in the field, and buyers with real authorizations. In every
//! cell credits equal the money that arrived, or the top-up is openly unknown, or parked; nobody is
//! asked to pay twice; and each authorization is credited once.

mod buyer;
mod cell;
mod fault;
mod kill;
mod play;
mod proxy;
mod site;
mod sums;

use std::time::Instant;

pub use fault::{Call, Fault};
pub use proxy::{Proxy, Route, Stop};

use cell::Cell;
use site::{Site, Waits};

/// Long enough for a busy machine: an answer that is lost because it is late is a fault that the
/// cell has not.
const WAITS: Waits = Waits { verify_s: 5, settle_s: 8 };

/// Every two values of different dimensions meet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slice_of_the_matrix_holds() {
    matrix(&Cell::pairwise()).await;
}

/// All of it; the README has its command.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes"]
async fn whole() {
    matrix(&Cell::all()).await;
}

async fn matrix(cells: &[Cell]) {
    let begun = Instant::now();
    let site = Site::open(WAITS).await;
    let played = play::play_all(&site, cells).await;
    sums::judge(&site, &played, begun).await;
}
