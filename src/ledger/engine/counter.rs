//! Where commands queue and lanes fetch them.

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;

use crate::ground::BookId;
use crate::ledger::SubmitError;

use super::queue::{Idle, Queue};
use super::{EngineSettings, Job, Workshop};

/// The queue, and whom to wake.
pub(super) struct Counter {
    state: Mutex<State>,
    wake: Notify,
    batch_max: usize,
    patience: Duration,
}

struct State {
    queue: Queue<Job>,
    closed: bool,
    lanes: usize,
}

impl Counter {
    pub(super) fn new(settings: &EngineSettings) -> Self {
        let queue = Queue::new(settings.queue.max(1), settings.batch_beside);
        Self {
            state: Mutex::new(State { queue, closed: false, lanes: 0 }),
            wake: Notify::new(),
            batch_max: settings.batch_max.max(1),
            patience: settings.patience,
        }
    }

    pub(super) fn push(&self, job: Job) -> Result<(), SubmitError> {
        let mut state = self.state();
        if state.closed {
            return Err(SubmitError::Unavailable);
        }
        let pushed = state.queue.push(job);
        drop(state);
        if pushed.map_err(|_| SubmitError::Overloaded)? {
            self.wake.notify_one();
        }
        Ok(())
    }

    pub(super) fn waiting(&self) -> usize {
        self.state().queue.waiting()
    }

    pub(super) fn close(&self) {
        self.state().closed = true;
        self.wake.notify_waiters();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in there panics half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, patient: Option<u64>) -> Result<Vec<Job>, (Idle, bool)> {
        let mut state = self.state();
        let closed = state.closed;
        let jobs = state.queue.take(self.batch_max, patient).map_err(|idle| (idle, closed))?;
        if state.queue.has_enough() {
            self.wake.notify_one();
        }
        Ok(jobs)
    }
}

/// A lane at the counter. When the last one is gone, whatever became of it, nobody waits in vain.
pub(super) struct Lane(Arc<Workshop>);

impl Lane {
    pub(super) fn open(workshop: Arc<Workshop>) -> Self {
        let mut state = workshop.counter.state();
        state.lanes = state.lanes.saturating_add(1);
        drop(state);
        Self(workshop)
    }

    pub(super) fn workshop(&self) -> &Arc<Workshop> {
        &self.0
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        let mut state = self.0.counter.state();
        state.lanes = state.lanes.saturating_sub(1);
        if state.lanes == 0 {
            state.closed = true;
            state.queue.clear();
        }
    }
}

/// The next batch, and the hold on its books; none when the counter is closed and nothing is left.
pub(super) async fn next(workshop: &Arc<Workshop>) -> Option<(Vec<Job>, Books)> {
    let counter = &workshop.counter;
    let mut patient = None;
    loop {
        // Listening begins before looking, so that nothing that comes in between is missed.
        let mut called = pin!(counter.wake.notified());
        called.as_mut().enable();
        let (idle, closed) = match counter.take(patient.take()) {
            Ok(jobs) => {
                let books = jobs.iter().map(|job| job.book).collect();
                return Some((jobs, Books { workshop: workshop.clone(), books }));
            }
            Err(none) => none,
        };
        match idle {
            Idle::Empty if closed => return None,
            Idle::Empty => called.await,
            Idle::Little(begun) => {
                if timeout(counter.patience, called).await.is_err() {
                    patient = Some(begun);
                }
            }
        }
    }
}

/// The books of a running batch. Whatever becomes of it, they are free again when this is dropped.
pub(super) struct Books {
    workshop: Arc<Workshop>,
    books: Vec<BookId>,
}

impl Drop for Books {
    fn drop(&mut self) {
        let counter = &self.workshop.counter;
        counter.state().queue.end(&self.books);
        // If this lane is lost, another one goes on.
        counter.wake.notify_one();
    }
}
