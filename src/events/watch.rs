//! Events that nobody's act brings about: a balance that is low, credits that expire soon.
//!
//! They are found by looking, away from the money, and written by the engine, so that they have their
//! place among the others. Each is a command with an identity of its own: looked at again, or by
//! another replica, it happens once.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all, ready};
use sqlx::PgConnection;
use tokio::sync::Mutex;
use uuid::Uuid;

use crate::ground::{Amount, BookId, LotId, WebhookId};
use crate::ledger::{
    Annex, Annexes, Command, CommandIdentity, Decision, Desk, Engine, Fault, SubmitError, Wants,
};

use super::{EventError, Events, store};

/// How long before credits expire it is told.
const NOTICE: TimeDelta = TimeDelta::days(7);
/// How often lots are looked at again that would have been passed by: one granted for a shorter time.
const AGAIN: TimeDelta = TimeDelta::hours(1);
/// How many webhooks, or lots, are looked at in a step: so few that the ledger's queue keeps room for
/// everybody else.
const LOOK_MAX: i64 = 32;

/// Looks for such events.
#[derive(Clone)]
pub struct Watcher {
    events: Events,
    engine: Engine,
    place: Arc<Mutex<Place>>,
}

/// Where the next look begins.
struct Place {
    webhook: store::Key,
    lot: (DateTime<Utc>, Uuid),
    /// When lots are looked at from the first one on.
    again_at: DateTime<Utc>,
}

/// A webhook's threshold, and how the account's balance stands to it.
pub(super) struct Threshold {
    pub(super) key: store::Key,
    pub(super) limit: Amount,
    pub(super) available: Amount,
    /// Whether it has been told that the balance is low.
    pub(super) told: bool,
    /// How often it has been told.
    pub(super) times: i32,
}

struct LowBalance {
    account: BookId,
    webhook: WebhookId,
    limit: Amount,
    times: i32,
}

impl Command for LowBalance {
    fn book(&self) -> BookId {
        self.account
    }

    fn identity(&self) -> CommandIdentity {
        CommandIdentity::of_effect(&format!("webhook:{}:low-balance:{}", self.webhook, self.times))
    }

    fn want(&self, _: &mut Wants, annexes: &mut Annexes) {
        annexes.of::<ToldRows>();
    }

    fn decide(&self, desk: &mut Desk<'_>) -> Result<Decision, Fault> {
        let available = desk.book.available();
        if available >= self.limit {
            return Ok(Decision::nothing_due());
        }
        desk.book.emit("balance.low", self.webhook.0);
        desk.annexes.of::<ToldRows>().0.push(((self.account, self.webhook), self.times));
        Ok(Decision::accept(&serde_json::json!({ "available": available })))
    }
}

/// What a batch tells of low balances: written with the events, so that neither is without the other.
#[derive(Default)]
struct ToldRows(Vec<(store::Key, i32)>);

impl Annex for ToldRows {
    /// The identity of the command says how often it had been told, so that nothing need be read.
    fn read<'a>(&'a mut self, _: &'a mut PgConnection) -> BoxFuture<'a, Result<(), sqlx::Error>> {
        ready(Ok(())).boxed()
    }

    fn write<'a>(&'a mut self, tx: &'a mut PgConnection) -> BoxFuture<'a, Result<(), sqlx::Error>> {
        async move { if self.0.is_empty() { Ok(()) } else { store::write_told(tx, &self.0).await } }
            .boxed()
    }

    fn changes(&self) -> u64 {
        u64::try_from(self.0.len()).unwrap_or(u64::MAX)
    }
}

struct LotExpiring {
    account: BookId,
    lot: LotId,
}

impl Command for LotExpiring {
    fn book(&self) -> BookId {
        self.account
    }

    fn identity(&self) -> CommandIdentity {
        CommandIdentity::of_effect(&format!("lot:{}:expiring", self.lot))
    }

    fn want(&self, _: &mut Wants, _: &mut Annexes) {}

    /// Lots with nothing left are not read, and there is nothing to tell of them.
    fn decide(&self, desk: &mut Desk<'_>) -> Result<Decision, Fault> {
        let left = desk.book.lots().find(|lot| lot.id == self.lot).map(|lot| lot.remaining);
        let Some(left) = left.filter(|left| !left.is_zero()) else {
            return Ok(Decision::nothing_due());
        };
        desk.book.emit("lot.expiring", self.lot.0);
        Ok(Decision::accept(&serde_json::json!({ "remaining": left })))
    }
}

impl Watcher {
    pub fn new(events: Events, engine: Engine) -> Self {
        let place = Place {
            webhook: store::FIRST,
            lot: (DateTime::UNIX_EPOCH, Uuid::nil()),
            again_at: DateTime::UNIX_EPOCH,
        };
        Self { events, engine, place: Arc::new(Mutex::new(place)) }
    }

    /// Looks at the next balances and lots, and says whether there are more.
    pub async fn step(&self) -> Result<bool, EventError> {
        let mut place = self.place.lock().await;
        let balances = self.look_at_balances(&mut place).await?;
        let lots = self.look_at_lots(&mut place).await?;
        Ok(balances || lots)
    }

    async fn look_at_balances(&self, place: &mut Place) -> Result<bool, EventError> {
        let pool = &self.events.pool;
        let looked = store::thresholds(pool, place.webhook, LOOK_MAX).await?;
        let (mut low, mut enough) = (Vec::new(), Vec::new());
        for Threshold { key, limit, available, told, times } in &looked {
            let (account, webhook) = *key;
            match (available < limit, told) {
                (true, false) => {
                    low.push(LowBalance { account, webhook, limit: *limit, times: *times });
                }
                (false, true) => enough.push((*key, *times)),
                (true, true) | (false, false) => {}
            }
        }
        if !enough.is_empty() {
            store::write_enough(pool, &enough).await?;
        }
        if !self.submit_all(low).await? {
            return Ok(false);
        }
        let last = looked.last().filter(|_| is_full(looked.len()));
        place.webhook = last.map_or(store::FIRST, |one| one.key);
        Ok(last.is_some())
    }

    async fn look_at_lots(&self, place: &mut Place) -> Result<bool, EventError> {
        let now = self.events.clock.now();
        if now >= place.again_at {
            place.again_at = now.checked_add_signed(AGAIN).unwrap_or(now);
            place.lot = (now, Uuid::nil());
        }
        let until = now.checked_add_signed(NOTICE).unwrap_or(now);
        let lots = store::expiring_lots(&self.events.pool, place.lot, until, LOOK_MAX).await?;
        let commands: Vec<LotExpiring> = lots
            .iter()
            .map(|(account, lot, _)| LotExpiring { account: *account, lot: *lot })
            .collect();
        let ids: Vec<_> = commands.iter().map(|c| (c.account, c.identity().command)).collect();
        let told = store::decided(&self.events.pool, &ids).await?;
        let fresh = commands.into_iter().filter(|c| !told.contains(&c.identity().command));
        if !self.submit_all(fresh).await? {
            return Ok(false);
        }
        if let Some((_, lot, expires_at)) = lots.last() {
            place.lot = (*expires_at, lot.0);
        }
        Ok(is_full(lots.len()))
    }

    /// Submits commands together. False when some did not fit into the queue: they come again from the
    /// same place. One that the ledger cannot carry out is left out, and stops none of the others.
    async fn submit_all<C: Command>(
        &self,
        commands: impl IntoIterator<Item = C>,
    ) -> Result<bool, EventError> {
        let submitted = commands.into_iter().map(|command| async {
            let account = command.book();
            (account, self.engine.submit(Arc::new(command)).await)
        });
        let mut all = true;
        for (account, outcome) in join_all(submitted).await {
            match outcome {
                Ok(_) => {}
                Err(SubmitError::Overloaded) => all = false,
                Err(error @ (SubmitError::Unavailable | SubmitError::Restored)) => {
                    return Err(error.into());
                }
                Err(error) => {
                    tracing::error!(%account, %error, "an account is not told what it should be");
                }
            }
        }
        Ok(all)
    }
}

fn is_full(count: usize) -> bool {
    i64::try_from(count).is_ok_and(|count| count >= LOOK_MAX)
}
