use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How long turns may go on when the process is to end.
const FINISH_WITHIN: Duration = Duration::from_secs(5);

/// The turns that are under way in this process: each calls one address, and so many may be at once.
#[derive(Clone)]
pub struct Turns {
    max: usize,
    free: Arc<Semaphore>,
}

impl Turns {
    /// None are under way, and at most `max` may be.
    pub fn new(max: usize) -> Self {
        Self { max, free: Arc::new(Semaphore::new(max)) }
    }

    /// How many more may begin.
    pub fn room(&self) -> usize {
        self.free.available_permits()
    }

    /// Begins a turn, which ends when what is returned is dropped. Where there is no room it waits: a
    /// step that begins no more turns than it saw room for never does, because steps come one after the
    /// other.
    pub async fn begin(&self) -> OwnedSemaphorePermit {
        self.free.clone().acquire_owned().await.expect("nobody closes it")
    }

    /// Waits until none are under way, though not for long, and says whether it came to that.
    pub async fn finish(&self) -> bool {
        let all = u32::try_from(self.max).unwrap_or(u32::MAX);
        tokio::time::timeout(FINISH_WITHIN, self.free.acquire_many(all)).await.is_ok()
    }
}
