use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};

/// Where the time comes from. Everything that judges a deadline takes it from here, or, under the
/// ledger's locks, from Postgres shifted by [`Clock::offset`].
pub trait Clock: Send + Sync + 'static {
    /// The time, in UTC, in whole microseconds: what the database keeps, so that an instant is the
    /// same before and after it was stored.
    fn now(&self) -> DateTime<Utc>;

    /// How far this clock runs ahead of the machine's. Zero in production; tests move time by it,
    /// so that the database's clock and the process's move together.
    fn offset(&self) -> TimeDelta;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> DateTime<Utc> {
        #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
        Utc::now().trunc_subsecs(6)
    }

    fn offset(&self) -> TimeDelta {
        TimeDelta::zero()
    }
}

/// The machine's clock, moved ahead by hand.
#[derive(Debug, Default)]
pub struct ShiftedClock(AtomicI64);

impl ShiftedClock {
    /// Moves time ahead.
    pub fn advance(&self, by: TimeDelta) {
        self.0.fetch_add(by.num_milliseconds(), Ordering::SeqCst);
    }
}

impl Clock for ShiftedClock {
    fn now(&self) -> DateTime<Utc> {
        let now = SystemClock.now();
        now.checked_add_signed(self.offset()).unwrap_or(now)
    }

    fn offset(&self) -> TimeDelta {
        TimeDelta::milliseconds(self.0.load(Ordering::SeqCst))
    }
}
