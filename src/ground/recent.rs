use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hash};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What was used lately, in bounded memory, for many threads. Beyond the bound the entries that were
/// not written for longest are forgotten, so only what can be found again belongs in it.
#[derive(Debug)]
pub struct Recent<K, V> {
    shards: Vec<Mutex<Generations<K, V>>>,
    hasher: RandomState,
    shard_entries: usize,
}

/// Two halves of a map: when the young one is full, the old one is dropped with what nobody used.
#[derive(Debug)]
struct Generations<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
}

impl<K: Hash + Eq, V: Clone> Recent<K, V> {
    const SHARDS: usize = 16;

    /// Room for about so many entries.
    pub fn new(entries_max: usize) -> Self {
        let empty = || Mutex::new(Generations { young: HashMap::new(), old: HashMap::new() });
        Self {
            shards: std::iter::repeat_with(empty).take(Self::SHARDS).collect(),
            hasher: RandomState::new(),
            shard_entries: entries_max.div_ceil(Self::SHARDS * 2).max(1),
        }
    }

    /// The value of a key, if it is remembered.
    pub fn get(&self, key: &K) -> Option<V> {
        self.shard(key).get(key).cloned()
    }

    /// Replaces the value of a key by what `change` makes of it, in one step, and returns what it
    /// says besides.
    pub fn change<R>(&self, key: K, change: impl FnOnce(Option<&V>) -> (R, V)) -> R {
        let mut shard = self.shard(&key);
        let (answer, value) = change(shard.get(&key));
        if shard.young.len() >= self.shard_entries && !shard.young.contains_key(&key) {
            shard.old = std::mem::take(&mut shard.young);
        }
        shard.young.insert(key, value);
        answer
    }

    /// How many entries are remembered.
    pub fn len(&self) -> usize {
        let shards = self.shards.iter().map(|s| s.lock().unwrap_or_else(PoisonError::into_inner));
        shards.map(|shard| shard.young.len().saturating_add(shard.old.len())).sum()
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn shard(&self, key: &K) -> MutexGuard<'_, Generations<K, V>> {
        let hash = self.hasher.hash_one(key);
        let index = usize::try_from(hash >> 60).unwrap_or(0) % Self::SHARDS;
        // Values are replaced whole, so a poisoned lock guards nothing broken.
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Hash + Eq, V> Generations<K, V> {
    fn get(&self, key: &K) -> Option<&V> {
        self.young.get(key).or_else(|| self.old.get(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_bounded_and_what_is_used_is_remembered() {
        let recent = Recent::new(320);
        for n in 1..10_000_u32 {
            recent.change(n, |_| ((), n));
            recent.change(0, |before| ((), before.copied().unwrap_or(0) + 1));
        }
        assert!(recent.len() <= 320, "{}", recent.len());
        assert_eq!(recent.get(&0), Some(9_999));
        assert_eq!(recent.get(&1), None);
    }
}
