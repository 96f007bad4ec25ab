use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::ground::Entropy;

/// The longest pause between two attempts.
const PAUSE_MAX: Duration = Duration::from_secs(24 * 3600);

/// When to try again after so many attempts: four times as long after each, give or take a tenth, so
/// that what failed at the same time does not come back at the same time.
pub(super) fn again_at(
    at: DateTime<Utc>,
    backoff: Duration,
    attempts: i32,
    entropy: &dyn Entropy,
) -> DateTime<Utc> {
    let times = 4_u32.saturating_pow(u32::try_from(attempts.saturating_sub(1)).unwrap_or(0));
    let pause = backoff.saturating_mul(times).min(PAUSE_MAX);
    let jitter = u32::from(u16::from_be_bytes(entropy.array())) % 201;
    later(at, pause.saturating_mul(jitter.saturating_add(900)) / 1000)
}

/// Until when an address that does not answer is left alone, after so many turns that ended so. Not
/// longer than a minute or so: it may be back, and everything waits for it.
pub(super) fn rest_until(at: DateTime<Utc>, backoff: Duration, failures: i32) -> DateTime<Utc> {
    let times = 2_u32.saturating_pow(u32::try_from(failures.saturating_sub(1)).unwrap_or(0));
    later(at, backoff.saturating_mul(times.min(12)))
}

fn later(at: DateTime<Utc>, by: Duration) -> DateTime<Utc> {
    TimeDelta::from_std(by).ok().and_then(|by| at.checked_add_signed(by)).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::CourierSettings;
    use crate::ground::SeededEntropy;

    #[test]
    fn attempts_take_three_days_and_pauses_grow_to_one() {
        let (at, entropy) = (DateTime::UNIX_EPOCH, SeededEntropy::new(1));
        let CourierSettings { backoff, attempts_max, .. } = CourierSettings::default();
        let mut all = TimeDelta::zero();
        for attempts in 1..attempts_max {
            let pause = again_at(at, backoff, attempts, &entropy) - at;
            let exact = (5 * 4_i64.pow(u32::try_from(attempts - 1).unwrap())).min(86_400) * 1000;
            let ratio = pause.num_milliseconds() * 1000 / exact;
            assert!((900..=1100).contains(&ratio), "{attempts}: {pause}");
            all += pause;
        }
        assert!((66..80).contains(&all.num_hours()), "{all}");
        assert!(again_at(at, backoff, i32::MAX, &entropy) - at <= TimeDelta::hours(27));
        let rests =
            [1, 2, 3, 4, 5, i32::MAX].map(|n| (rest_until(at, backoff, n) - at).num_seconds());
        assert_eq!(rests, [5, 10, 20, 40, 60, 60]);
    }
}
