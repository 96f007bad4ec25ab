use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgPool;
use utoipa::ToSchema;

use crate::ground::{Amount, BookId, Clock, Entropy, EventId, SecretCipher, WebhookId};
use crate::outbound::{Caller, ROTATION, SigningSecret};

use super::{Event, EventError, Kind, store};

/// How many events are looked through for one page of a single type.
const SEARCH_MAX: i64 = 10_000;
/// How far deliveries are counted: more than this many is many.
const COUNT_MAX: i64 = 100_001;

/// The verbs of this floor.
#[derive(Clone)]
pub struct Events {
    pub(super) pool: PgPool,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) entropy: Arc<dyn Entropy>,
    pub(super) caller: Caller,
    /// Without it there are no webhooks.
    pub(super) cipher: Option<Arc<SecretCipher>>,
}

/// A part of an account's events, oldest first.
#[derive(Clone, Debug)]
pub struct Feed {
    pub events: Vec<Event>,
    /// Where to read on: everything up to it has been looked through.
    pub next: i64,
    /// Whether there is more already.
    pub has_more: bool,
}

/// Where events are sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Webhook {
    /// The webhook.
    pub webhook_id: WebhookId,
    /// The address that is called.
    #[schema(example = "https://agent.example.com/bursar")]
    pub url: String,
    /// The types of events that are sent; all when there is no list.
    pub types: Option<Vec<String>>,
    /// When less than this is available, `balance.low` tells, once until it is more again.
    pub low_balance: Option<Amount>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// Until when the secret before the last rotation signs too.
    pub previous_secret_until: Option<DateTime<Utc>>,
    /// The number of the last event that has been queued for it.
    pub queued_seq: i64,
    /// Since when nothing is sent, because the receiver answered 410.
    pub disabled_at: Option<DateTime<Utc>>,
}

/// A webhook that is wanted.
#[derive(Clone, Debug, Default)]
pub struct NewWebhook {
    pub url: String,
    /// All when there is no list.
    pub types: Option<Vec<Kind>>,
    pub low_balance: Option<Amount>,
}

/// What became of one event at one webhook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Delivery {
    /// The event.
    pub event_id: EventId,
    /// Its number in the account.
    pub seq: i64,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// `pending` until the receiver answers with 2xx, then `delivered`; `dead` when it was given up.
    #[schema(example = "delivered")]
    pub state: String,
    /// How often it was sent.
    pub attempts: i32,
    /// When it was queued, last of all by a replay.
    pub queued_at: DateTime<Utc>,
    /// When it is sent next.
    pub next_attempt_at: Option<DateTime<Utc>>,
    /// The HTTP status of the last answer.
    pub last_status: Option<i16>,
    /// Why there was no answer: `not_allowed` (the address may not be called), `dns`, `refused`, `tls`,
    /// `timeout` or `lost`; `too_old` or `disabled` when it was given up without one.
    pub last_error: Option<String>,
    /// When it was delivered or given up.
    pub ended_at: Option<DateTime<Utc>>,
}

/// Which events are sent again.
#[derive(Clone, Copy, Debug, Default)]
pub struct Replay {
    /// From this one on.
    pub from_seq: Option<i64>,
    /// From the first that was recorded at this time or later.
    pub since: Option<DateTime<Utc>>,
    /// Up to this one; to the last one there is unless it is said.
    pub to_seq: Option<i64>,
}

/// What waits and what was given up, over all accounts; each counted up to 100,001.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    pub pending: i64,
    pub dead: i64,
    /// For how long the oldest has waited, in seconds.
    pub oldest_pending_s: i64,
}

impl Events {
    pub fn new(
        pool: PgPool,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        caller: Caller,
        cipher: Option<Arc<SecretCipher>>,
    ) -> Self {
        Self { pool, clock, entropy, caller, cipher }
    }

    /// The same on other connections.
    #[must_use]
    pub fn on(&self, pool: PgPool) -> Self {
        Self { pool, ..self.clone() }
    }

    /// Whether the secrets that are kept can be read with the key that is configured. One is tried, and
    /// of all others it is looked with which key they were sealed.
    pub async fn check_key(&self) -> Result<(), EventError> {
        let Some(cipher) = self.cipher.as_ref() else { return Ok(()) };
        let mut kept = store::sealed_otherwise(&self.pool, cipher.key_id()).await?;
        if kept.is_none() {
            kept = store::any_sealed(&self.pool).await?;
        }
        if let Some((id, sealed)) = kept {
            SigningSecret::open(cipher, id.0, &sealed)?;
        }
        Ok(())
    }

    /// The events of an account after one, oldest first. What has been read once never changes, and
    /// nothing ever comes before it.
    pub async fn feed(
        &self,
        account: BookId,
        after: i64,
        kind: Option<Kind>,
        limit: i64,
    ) -> Result<Feed, EventError> {
        let last = store::last_seq(&self.pool, account).await?;
        let last = last.ok_or(EventError::AccountUnknown)?;
        if !(0..=last).contains(&after) {
            return Err(EventError::CursorAhead { last });
        }
        let upto = last.min(after.saturating_add(SEARCH_MAX));
        let name = kind.map(Kind::name);
        let found = store::events(&self.pool, account, (after, upto), name, limit).await?;
        let full = i64::try_from(found.len()).is_ok_and(|count| count >= limit);
        let next = found.last().filter(|_| full).map_or(upto, |event| event.seq);
        Ok(Feed { events: found, next, has_more: next < last })
    }

    /// Makes a webhook for what happens from now on. The secret is shown this once.
    pub async fn create(
        &self,
        account: BookId,
        wanted: NewWebhook,
    ) -> Result<(Webhook, SigningSecret), EventError> {
        let cipher = self.cipher.as_ref().ok_or(EventError::NoCipher)?;
        let url = self.caller.check(&wanted.url)?;
        let kinds = wanted.types.map(|mut kinds| {
            kinds.sort_unstable();
            kinds.dedup();
            kinds.into_iter().map(|kind| kind.name().to_owned()).collect::<Vec<_>>()
        });
        let at = self.clock.now();
        let id = WebhookId::mint(self.entropy.as_ref(), at, account.slot());
        let secret = SigningSecret::generate(self.entropy.as_ref());
        let sealed = secret.seal(cipher, id.0, self.entropy.as_ref());
        let new = store::WebhookRow {
            account,
            id,
            url: url.as_str(),
            kinds: kinds.as_deref(),
            low_balance: wanted.low_balance,
            secret: &sealed,
            at,
        };
        // Whoever takes the same place at the same time leaves the next one.
        for _ in 0..3 {
            if let Some(webhook) = store::insert_webhook(&self.pool, &new).await? {
                return Ok((webhook, secret));
            }
        }
        Err(EventError::TooMany)
    }

    /// The webhooks of an account, oldest first.
    pub async fn webhooks(&self, account: BookId) -> Result<Vec<Webhook>, EventError> {
        Ok(store::webhooks(&self.pool, account).await?)
    }

    /// One of them.
    pub async fn webhook(&self, account: BookId, id: WebhookId) -> Result<Webhook, EventError> {
        store::webhook(&self.pool, account, id).await?.ok_or(EventError::WebhookUnknown)
    }

    /// Deletes a webhook, what waits for it and what is known of it.
    pub async fn delete(&self, account: BookId, id: WebhookId) -> Result<(), EventError> {
        let at = self.clock.now();
        let deleted = store::delete_webhook(&self.pool, (account, id), at).await?;
        if deleted { Ok(()) } else { Err(EventError::WebhookUnknown) }
    }

    /// Gives a webhook a new secret, shown this once. The one before it signs too for a day, and while
    /// it does, another new secret takes the place of the new one only.
    pub async fn rotate(
        &self,
        account: BookId,
        id: WebhookId,
    ) -> Result<(Webhook, SigningSecret), EventError> {
        let cipher = self.cipher.as_ref().ok_or(EventError::NoCipher)?;
        let secret = SigningSecret::generate(self.entropy.as_ref());
        let sealed = secret.seal(cipher, id.0, self.entropy.as_ref());
        let at = self.clock.now();
        let until = at.checked_add_signed(ROTATION).unwrap_or(at);
        let rotated = store::rotate_secret(&self.pool, account, id, &sealed, (at, until)).await?;
        rotated.map(|webhook| (webhook, secret)).ok_or(EventError::WebhookUnknown)
    }

    /// The deliveries of a webhook before an event, newest event first; or only the dead ones.
    pub async fn deliveries(
        &self,
        account: BookId,
        id: WebhookId,
        dead: bool,
        before: Option<i64>,
        limit: i64,
    ) -> Result<Vec<Delivery>, EventError> {
        self.webhook(account, id).await?;
        let before = before.unwrap_or(i64::MAX);
        Ok(if dead {
            store::dead_deliveries(&self.pool, account, id, before, limit).await?
        } else {
            store::deliveries(&self.pool, account, id, before, limit).await?
        })
    }

    /// Sends events again, whatever became of them, as far as the webhook wants their types. Returns
    /// the first and the last; none when there are no such events. While that is under way, the same
    /// may be asked again, and nothing else.
    pub async fn replay(
        &self,
        account: BookId,
        id: WebhookId,
        replay: Replay,
    ) -> Result<Option<(i64, i64)>, EventError> {
        if self.webhook(account, id).await?.disabled_at.is_some() {
            return Err(EventError::Disabled);
        }
        let last = store::last_seq(&self.pool, account).await?;
        let last = last.ok_or(EventError::AccountUnknown)?;
        let since = match replay.since {
            Some(since) => store::first_since(&self.pool, account, since).await?,
            None => 1,
        };
        let from = replay.from_seq.unwrap_or(1).max(since);
        let to = replay.to_seq.unwrap_or(last).min(last);
        if from > to {
            return Ok(None);
        }
        // One that ends in between leaves its place.
        for _ in 0..3 {
            if store::begin_replay(&self.pool, account, id, (from, to)).await? {
                return Ok(Some((from, to)));
            }
            let running = store::replay_under_way(&self.pool, account, id).await?;
            // Without a last one, what came meanwhile makes it no other wish.
            let same = |running: &(i64, i64)| {
                *running == (from, to) || running.0 == from && replay.to_seq.is_none()
            };
            match running {
                Some(running) if same(&running) => return Ok(Some(running)),
                Some(_) => return Err(EventError::ReplayUnderWay),
                None => {}
            }
        }
        Err(EventError::ReplayUnderWay)
    }

    /// What waits and what was given up.
    pub async fn standing(&self) -> Result<Standing, EventError> {
        Ok(store::standing(&self.pool, self.clock.now(), COUNT_MAX).await?)
    }
}
