//! Token buckets for keys and addresses, in bounded memory.

use std::net::IpAddr;
use std::time::Duration;

use crate::ground::Recent;
use crate::http::Quota;

/// What requests are counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// The hash of an API key that has authenticated.
    Key([u8; 32]),
    /// A client address.
    Address(IpAddr),
}

/// What a bucket says to one more request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Whether the request may go on.
    pub allowed: bool,
    /// How many more may follow at once.
    pub remaining: u64,
    /// Seconds until the bucket is full again.
    pub reset_seconds: u64,
    /// Seconds until one more is allowed; zero when there is something left.
    pub retry_seconds: u64,
}

/// All buckets. A bucket is one number: the moment at which it will be full again (GCRA).
#[derive(Debug)]
pub struct Limiter {
    full_at: Recent<Subject, u64>,
}

impl Limiter {
    /// Buckets for about so many subjects; beyond that, those not seen for longest are forgotten.
    pub fn new(entries_max: usize) -> Self {
        Self { full_at: Recent::new(entries_max) }
    }

    /// Gives a key that has authenticated a bucket of its own. Keys that nobody vouched for count
    /// against their address, so that inventing keys gains nothing.
    pub fn vouch(&self, key_hash: [u8; 32]) {
        let subject = Subject::Key(key_hash);
        if self.full_at.get(&subject).is_none() {
            self.full_at.change(subject, |before| ((), before.copied().unwrap_or(0)));
        }
    }

    /// Whether somebody vouched for this key.
    pub fn is_vouched(&self, key_hash: [u8; 32]) -> bool {
        self.full_at.get(&Subject::Key(key_hash)).is_some()
    }

    /// Takes one request out of a bucket, at a moment since the limiter was made.
    pub fn take(&self, subject: Subject, quota: Quota, now: Duration) -> Decision {
        let now = nanos(now);
        self.full_at.change(subject, |before| decide(before.copied().unwrap_or(0), now, quota))
    }
}

/// The decision on one request, and the moment at which the bucket will be full again.
fn decide(full_at: u64, now: u64, quota: Quota) -> (Decision, u64) {
    let requests = u64::from(quota.requests.max(1));
    let interval = (nanos(quota.window) / requests).max(1);
    let size = interval.saturating_mul(requests);
    let before = full_at.max(now);
    let after = before.saturating_add(interval);
    let debt = after.saturating_sub(now);
    if debt <= size {
        let remaining = size.saturating_sub(debt) / interval;
        let reset_seconds = seconds(debt);
        (Decision { allowed: true, remaining, reset_seconds, retry_seconds: 0 }, after)
    } else {
        let reset_seconds = seconds(before.saturating_sub(now));
        let retry_seconds = seconds(debt.saturating_sub(size)).max(1);
        (Decision { allowed: false, remaining: 0, reset_seconds, retry_seconds }, before)
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Whole seconds, rounded up: a client that waits so long is not refused again.
fn seconds(nanos: u64) -> u64 {
    nanos.div_ceil(1_000_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUOTA: Quota = Quota { requests: 3, window: Duration::from_secs(30) };

    fn address(n: u32) -> Subject {
        Subject::Address(IpAddr::V4(n.into()))
    }

    #[test]
    fn a_bucket_empties_and_refills_steadily() {
        let limiter = Limiter::new(100);
        let at = |secs| limiter.take(address(1), QUOTA, Duration::from_secs(secs));
        assert_eq!((at(0).remaining, at(0).remaining, at(0).remaining), (2, 1, 0));
        let refused = at(1);
        assert!(!refused.allowed);
        assert_eq!((refused.reset_seconds, refused.retry_seconds), (29, 9));
        assert!(!at(9).allowed, "a refusal costs nothing and gains nothing");
        assert!(at(10).allowed);
        assert!(!at(10).allowed);
        assert_eq!(at(1_000).remaining, 2);
        assert!(limiter.take(address(2), QUOTA, Duration::ZERO).allowed);
    }

    #[test]
    fn a_key_has_a_bucket_only_when_vouched_for() {
        let limiter = Limiter::new(100);
        assert!(!limiter.is_vouched([7; 32]));
        limiter.vouch([7; 32]);
        assert!(limiter.is_vouched([7; 32]));
        limiter.take(Subject::Key([7; 32]), QUOTA, Duration::ZERO);
        limiter.vouch([7; 32]);
        let decision = limiter.take(Subject::Key([7; 32]), QUOTA, Duration::ZERO);
        assert_eq!(decision.remaining, 1, "vouching again does not refill");
    }
}
