//! Token buckets for keys and addresses, in bounded memory.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

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
    shards: Vec<Mutex<Generations>>,
    hasher: RandomState,
    shard_entries: usize,
}

/// Two halves of a map: when the young one is full, the old one is dropped with what nobody used.
#[derive(Debug, Default)]
struct Generations {
    young: HashMap<Subject, u64>,
    old: HashMap<Subject, u64>,
}

impl Generations {
    fn get(&self, subject: &Subject) -> Option<u64> {
        self.young.get(subject).or_else(|| self.old.get(subject)).copied()
    }

    fn put(&mut self, subject: Subject, full_at: u64, entries_max: usize) {
        if self.young.len() >= entries_max && !self.young.contains_key(&subject) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(subject, full_at);
    }
}

impl Limiter {
    const SHARDS: usize = 16;

    /// Buckets for about so many subjects; beyond that, those not seen for longest are forgotten.
    pub fn new(entries_max: usize) -> Self {
        Self {
            shards: (0..Self::SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            shard_entries: entries_max.div_ceil(Self::SHARDS * 2).max(1),
        }
    }

    /// Gives a key that has authenticated a bucket of its own. Keys that nobody vouched for count
    /// against their address, so that inventing keys gains nothing.
    pub fn vouch(&self, key_hash: [u8; 32]) {
        let subject = Subject::Key(key_hash);
        self.with_shard(&subject, |shard| {
            if shard.get(&subject).is_none() {
                shard.put(subject, 0, self.shard_entries);
            }
        });
    }

    /// Whether somebody vouched for this key.
    pub fn is_vouched(&self, key_hash: [u8; 32]) -> bool {
        let subject = Subject::Key(key_hash);
        self.with_shard(&subject, |shard| shard.get(&subject).is_some())
    }

    /// Takes one request out of a bucket, at a moment since the limiter was made.
    pub fn take(&self, subject: Subject, quota: Quota, now: Duration) -> Decision {
        self.with_shard(&subject, |shard| {
            let full_at = shard.get(&subject).unwrap_or(0);
            let (decision, full_at) = decide(full_at, nanos(now), quota);
            shard.put(subject, full_at, self.shard_entries);
            decision
        })
    }

    fn with_shard<R>(&self, subject: &Subject, act: impl FnOnce(&mut Generations) -> R) -> R {
        let hash = self.hasher.hash_one(subject);
        let index = usize::try_from(hash >> 60).unwrap_or(0) % Self::SHARDS;
        // A bucket is one number that is replaced whole, so a poisoned lock guards nothing broken.
        let mut shard = self.shards[index].lock().unwrap_or_else(PoisonError::into_inner);
        act(&mut shard)
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
    fn memory_is_bounded_and_the_busy_are_remembered() {
        let limiter = Limiter::new(320);
        for n in 0..10_000 {
            limiter.take(address(n), QUOTA, Duration::ZERO);
            limiter.take(address(0), QUOTA, Duration::ZERO);
        }
        let entries: usize = limiter
            .shards
            .iter()
            .map(|shard| shard.lock().unwrap())
            .map(|shard| shard.young.len() + shard.old.len())
            .sum();
        assert!(entries <= 320, "{entries}");
        assert!(!limiter.take(address(0), QUOTA, Duration::ZERO).allowed);
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
