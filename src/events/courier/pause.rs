use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::outbound::{Backoff, later};

/// The longest pause between two attempts.
const PAUSE_MAX: Duration = Duration::from_secs(24 * 3600);
/// The longest rest that a receiver may ask for.
const ASKED_MAX: Duration = Duration::from_secs(3600);

/// How the pauses between attempts grow.
pub(super) const fn pauses(first: Duration) -> Backoff {
    Backoff { first, factor: 4, most: PAUSE_MAX }
}

/// Until when an address that does not answer is left alone, after so many turns that ended so. Not
/// longer than a minute or so: it may be back, and everything waits for it.
pub(super) fn rest_until(at: DateTime<Utc>, backoff: Duration, failures: i32) -> DateTime<Utc> {
    let times = 2_u32.saturating_pow(u32::try_from(failures.saturating_sub(1)).unwrap_or(0));
    later(at, backoff.saturating_mul(times.min(12)))
}

/// Until when a receiver asks not to be called: by seconds or by a date, and an hour at the most.
pub(super) fn asked_until(at: DateTime<Utc>, retry_after: &str) -> Option<DateTime<Utc>> {
    let text = retry_after.trim();
    let until = match text.parse::<u32>() {
        Ok(seconds) => later(at, Duration::from_secs(seconds.into())),
        Err(_) => DateTime::parse_from_rfc2822(text).ok()?.to_utc(),
    };
    Some(until.clamp(at, later(at, ASKED_MAX)))
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;
    use crate::events::CourierSettings;
    use crate::ground::SeededEntropy;

    #[test]
    fn attempts_take_three_days_and_pauses_grow_to_one() {
        let (at, entropy) = (DateTime::UNIX_EPOCH, SeededEntropy::new(1));
        let CourierSettings { backoff, attempts_max, .. } = CourierSettings::default();
        let mut all = TimeDelta::zero();
        for attempts in 1..attempts_max {
            let pause = pauses(backoff).again_at(at, attempts, &entropy) - at;
            let exact = (5 * 4_i64.pow(u32::try_from(attempts - 1).unwrap())).min(86_400) * 1000;
            let ratio = pause.num_milliseconds() * 1000 / exact;
            assert!((900..=1100).contains(&ratio), "{attempts}: {pause}");
            all += pause;
        }
        assert!((66..80).contains(&all.num_hours()), "{all}");
        assert!(pauses(backoff).again_at(at, i32::MAX, &entropy) - at <= TimeDelta::hours(27));
        let rests =
            [1, 2, 3, 4, 5, i32::MAX].map(|n| (rest_until(at, backoff, n) - at).num_seconds());
        assert_eq!(rests, [5, 10, 20, 40, 60, 60]);
    }

    #[test]
    fn a_receiver_asks_for_an_hour_at_most() {
        let at = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let asked = |text: &str| asked_until(at, text).map(|until| (until - at).num_seconds());
        for (text, seconds) in [
            ("0", Some(0)),
            ("7", Some(7)),
            (" 30 ", Some(30)),
            ("4000000000", Some(3600)),
            ("Fri, 15 Jan 2027 08:01:00 GMT", Some(60)),
            ("Fri, 15 Jan 2077 08:01:00 GMT", Some(3600)),
            ("Fri, 15 Jan 1999 08:01:00 GMT", Some(0)),
            ("-1", None),
            ("99999999999999999999", None),
            ("soon", None),
            ("", None),
        ] {
            assert_eq!(asked(text), seconds, "{text:?}");
        }
    }
}
