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
use tokio::sync::Mutex;

use crate::ground::SecretCipher;
use crate::ledger::is_restored;
use crate::outbound::Turns;

use super::store::{self, Key};
use super::{EventError, Events};
use turn::Turn;

/// How many webhooks are looked at in a step.
const LOOK_MAX: usize = 1000;
/// How many events of one webhook become deliveries in a step, and up to how many that wait.
const PORTION: store::Portion = store::Portion { events_max: 200, pending_max: 5000 };
/// How many webhooks are sent to at once. Each may have several requests under way.
const TURNS_MAX: usize = 32;
/// How many of them may be of one account.
const TURNS_PER_BOOK_MAX: i64 = 2;
/// How many deliveries are forgotten, given up or cleared in a step.
const FORGET_MAX: i64 = 1000;
/// How long a delivery waits until it is given up, however few attempts it had: an address that is
/// away gets fewer, because it is given a rest after each.
const WAIT_MAX: TimeDelta = TimeDelta::days(4);
/// How long it is known what became of a delivery.
const KEPT: TimeDelta = TimeDelta::days(30);

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
    /// How long a webhook is claimed: as long as a turn may take that begins its last wave at its very
    /// end, and a little to write down what came of it.
    fn lease(&self) -> TimeDelta {
        let turn = turn::TURN_MAX.saturating_add(self.timeout).saturating_add(turn::MARK_WITHIN);
        TimeDelta::from_std(turn).unwrap_or(TimeDelta::MAX)
    }
}

/// Delivers events.
#[derive(Clone)]
pub struct Courier {
    events: Events,
    settings: CourierSettings,
    /// Where the next look begins.
    place: Arc<Mutex<Key>>,
    turns: Turns,
}

impl Courier {
    /// A courier, on connections of its own: whoever asks the API does not wait for it.
    pub fn new(events: Events, settings: CourierSettings) -> Self {
        let place = Arc::new(Mutex::new(store::FIRST));
        Self { events, settings, place, turns: Turns::new(TURNS_MAX) }
    }

    /// Takes up what there is to deliver, and says whether there is more than fitted into a step.
    /// Without a key for secrets nothing can be signed, and after a restore nobody knows yet what has
    /// happened: then nothing is done.
    pub async fn step(&self) -> Result<bool, EventError> {
        let Some(cipher) = self.events.cipher.clone() else { return Ok(false) };
        if is_restored(&self.events.pool).await? {
            return Ok(false);
        }
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
        let mut more = false;
        for some in keys(|one| one.behind).chunks(50) {
            more |= store::spread(pool, some, PORTION, at).await?;
        }
        for some in keys(|one| one.replays).chunks(50) {
            more |= store::spread_again(pool, some, PORTION, at).await?;
        }
        let last = looked.last().filter(|_| looked.len() >= LOOK_MAX);
        *place = last.map_or(store::FIRST, |one| one.key);
        Ok(last.is_some() || more)
    }

    /// Claims as many webhooks as there is room for, and begins their turns. Says whether the room was
    /// used up.
    async fn claim(
        &self,
        cipher: &Arc<SecretCipher>,
        at: DateTime<Utc>,
    ) -> Result<bool, EventError> {
        let room = self.turns.room();
        if room == 0 {
            return Ok(false);
        }
        let lease_end = at.checked_add_signed(self.settings.lease()).unwrap_or(at);
        let limit = i64::try_from(room).unwrap_or(1);
        let limits = (limit, TURNS_PER_BOOK_MAX);
        let claimed = store::claim(&self.events.pool, at, lease_end, limits).await?;
        let full = claimed.len() >= room;
        for webhook in claimed {
            let turn = Turn {
                events: self.events.clone(),
                cipher: cipher.clone(),
                settings: self.settings,
                webhook,
                began: at,
                lease_end,
            };
            let under_way = self.turns.begin().await;
            tokio::spawn(async move {
                turn.run().await;
                drop(under_way);
            });
        }
        Ok(full)
    }

    /// Gives up what has waited too long, clears what has ended and forgets what is over. Says whether
    /// there is more. Without a key nothing was tried, and so nothing is given up.
    pub async fn forget_old(&self) -> Result<bool, EventError> {
        let (pool, at) = (&self.events.pool, self.events.clock.now());
        let before = |age| at.checked_sub_signed(age).unwrap_or(at);
        let given_up = match self.events.cipher {
            Some(_) => store::give_up(pool, before(WAIT_MAX), at, FORGET_MAX).await?,
            None => 0,
        };
        let cleared = store::clear(pool, at, FORGET_MAX).await?;
        let forgotten = store::forget(pool, before(KEPT), at, FORGET_MAX).await?;
        Ok(cleared || given_up.max(forgotten) >= FORGET_MAX.unsigned_abs())
    }

    /// Waits for the turns under way, though not for long: what is cut off is sent again.
    pub async fn finish(&self) {
        if !self.turns.finish().await {
            tracing::warn!("webhooks were still being called at the end; they will be again");
        }
    }
}
