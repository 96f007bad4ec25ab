//! Whoever delivers events to webhooks.
//!
//! A step looks at the next webhooks in order, makes deliveries of events that are new to them, and
//! claims webhooks with something to send. A claim is a lease: it is committed before anything is
//! sent, so that of several replicas one sends at a time, and no transaction is open meanwhile. Each
//! claimed webhook has a [`Turn`] of its own. A turn that dies with its process is taken over when the
//! lease ends, and what it had sent and not marked is sent again under the same id.

mod pause;
mod turn;

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::{Mutex, Semaphore};

use crate::ground::SecretCipher;

use super::store::{self, Key};
use super::{EventError, Events};
use turn::Turn;

/// How many webhooks are looked at in a step.
const LOOK_MAX: usize = 1000;
/// How many events of one webhook become deliveries in a step.
const SPREAD_MAX: i64 = 200;
/// How many webhooks are sent to at once. Each may have several requests under way.
const TURNS_MAX: usize = 32;
/// How many deliveries are forgotten, or given up, in a step.
const FORGET_MAX: i64 = 1000;
/// How long a delivery waits until it is given up, however few attempts it had: an address that is
/// away gets fewer, because it is given a rest after each.
const WAIT_MAX: TimeDelta = TimeDelta::days(4);
/// How long it is known what became of a delivery.
const KEPT: TimeDelta = TimeDelta::days(30);
/// How long turns may go on when the process is to end.
const FINISH_WITHIN: Duration = Duration::from_secs(5);

/// How deliveries are made.
#[derive(Clone, Copy, Debug)]
pub struct CourierSettings {
    /// How long a receiver may take to answer.
    pub timeout: Duration,
    /// The pause after the first attempt; each one after it is four times as long, up to a day.
    pub backoff: Duration,
    /// After how many attempts a delivery is given up.
    pub attempts_max: i32,
}

impl Default for CourierSettings {
    /// Eleven attempts within a little more than three days.
    fn default() -> Self {
        Self { timeout: Duration::from_secs(15), backoff: Duration::from_secs(5), attempts_max: 11 }
    }
}

impl CourierSettings {
    /// How long a webhook is claimed: a turn takes at most half of it.
    fn lease(&self) -> TimeDelta {
        let waves = u32::try_from(turn::PAGE / turn::AT_ONCE).unwrap_or(u32::MAX);
        let page = self.timeout.saturating_mul(waves).saturating_add(Duration::from_secs(3));
        TimeDelta::from_std(page.saturating_mul(2)).unwrap_or(TimeDelta::MAX)
    }
}

/// Delivers events.
#[derive(Clone)]
pub struct Courier {
    events: Events,
    settings: CourierSettings,
    /// Where the next look begins.
    place: Arc<Mutex<Key>>,
    turns: Arc<Semaphore>,
}

impl Courier {
    pub fn new(events: Events, settings: CourierSettings) -> Self {
        let place = Arc::new(Mutex::new(store::FIRST));
        Self { events, settings, place, turns: Arc::new(Semaphore::new(TURNS_MAX)) }
    }

    /// Takes up what there is to deliver, and says whether there may be more. Without a key for
    /// secrets nothing can be signed, and so nothing is done.
    pub async fn step(&self) -> Result<bool, EventError> {
        let Some(cipher) = self.events.cipher.clone() else { return Ok(false) };
        let at = self.events.clock.now();
        let spread = self.spread(at).await?;
        let claimed = self.claim(&cipher, at).await?;
        Ok(spread || claimed)
    }

    /// Makes deliveries of events that the next webhooks do not have yet.
    async fn spread(&self, at: DateTime<Utc>) -> Result<bool, EventError> {
        let pool = &self.events.pool;
        let mut place = self.place.lock().await;
        let limit = i64::try_from(LOOK_MAX).unwrap_or(i64::MAX);
        let looked = store::look(pool, *place, limit).await?;
        let keys = |wanted: fn(&store::Looked) -> bool| -> Vec<Key> {
            looked.iter().filter(|one| wanted(one)).map(|one| one.key).collect()
        };
        let (behind, replays) = (keys(|one| one.behind), keys(|one| one.replays));
        for some in behind.chunks(50) {
            store::spread(pool, some, SPREAD_MAX, at).await?;
        }
        for some in replays.chunks(50) {
            store::spread_again(pool, some, SPREAD_MAX, at).await?;
        }
        let last = looked.last().filter(|_| looked.len() >= LOOK_MAX);
        *place = last.map_or(store::FIRST, |one| one.key);
        Ok(last.is_some() || !behind.is_empty() || !replays.is_empty())
    }

    /// Claims as many webhooks as there is room for, and begins their turns.
    async fn claim(
        &self,
        cipher: &Arc<SecretCipher>,
        at: DateTime<Utc>,
    ) -> Result<bool, EventError> {
        let room = self.turns.available_permits();
        if room == 0 {
            return Ok(false);
        }
        let lease_end = at.checked_add_signed(self.settings.lease()).unwrap_or(at);
        let limit = i64::try_from(room).unwrap_or(1);
        let claimed = store::claim(&self.events.pool, at, lease_end, limit).await?;
        let any = !claimed.is_empty();
        for webhook in claimed {
            let turn = Turn {
                events: self.events.clone(),
                cipher: cipher.clone(),
                settings: self.settings,
                webhook,
                began: at,
                lease_end,
            };
            // Only steps take permits, one after the other, and never more than there are.
            let permit = self.turns.clone().acquire_owned().await;
            tokio::spawn(async move {
                turn.run().await;
                drop(permit);
            });
        }
        Ok(any)
    }

    /// Gives up what has waited too long, and forgets what is over. Says whether there is more.
    pub async fn forget_old(&self) -> Result<bool, EventError> {
        let (pool, at) = (&self.events.pool, self.events.clock.now());
        let before = |age| at.checked_sub_signed(age).unwrap_or(at);
        let given_up = store::give_up(pool, before(WAIT_MAX), at, FORGET_MAX).await?;
        let forgotten = store::forget(pool, before(KEPT), at, FORGET_MAX).await?;
        Ok(given_up.max(forgotten) >= FORGET_MAX.unsigned_abs())
    }

    /// Waits for the turns under way, though not for long: what is cut off is sent again.
    pub async fn finish(&self) {
        let all = u32::try_from(TURNS_MAX).unwrap_or(u32::MAX);
        if tokio::time::timeout(FINISH_WITHIN, self.turns.acquire_many(all)).await.is_err() {
            tracing::warn!("webhooks were still being called at the end; they will be again");
        }
    }
}
