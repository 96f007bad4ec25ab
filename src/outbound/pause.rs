use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::ground::Entropy;

/// How pauses grow while calls fail.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    /// The pause after the first call.
    pub first: Duration,
    /// How many times as long each is as the one before.
    pub factor: u32,
    /// The longest.
    pub most: Duration,
}

impl Backoff {
    /// When to call again after so many calls: give or take a tenth, so that what failed at the same
    /// time does not come back at the same time.
    pub fn again_at(self, at: DateTime<Utc>, calls: i32, entropy: &dyn Entropy) -> DateTime<Utc> {
        let before = u32::try_from(calls.saturating_sub(1)).unwrap_or(0);
        let times = self.factor.saturating_pow(before);
        let pause = self.first.saturating_mul(times).min(self.most);
        let jitter = u32::from(u16::from_be_bytes(entropy.array())) % 201;
        later(at, pause.saturating_mul(jitter.saturating_add(900)) / 1000)
    }
}

/// So much after a time, or the time itself where there is no such one.
pub fn later(at: DateTime<Utc>, by: Duration) -> DateTime<Utc> {
    TimeDelta::from_std(by).ok().and_then(|by| at.checked_add_signed(by)).unwrap_or(at)
}
