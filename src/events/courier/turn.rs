use std::sync::Arc;

use chrono::{DateTime, Utc};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use crate::events::store::{self, Claimed, Due, Mark, Release};
use crate::events::{CourierSettings, EventError, Events};
use crate::ground::{CipherError, SecretCipher};
use crate::outbound::{CallError, SigningSecret, signed_headers};

use super::pause::{again_at, rest_until};

/// How many deliveries are read at a time.
pub(super) const PAGE: usize = 32;
/// How many of them are under way at once.
pub(super) const AT_ONCE: usize = 8;

/// Sends what is due to one webhook, as long as it answers.
pub(super) struct Turn {
    pub(super) events: Events,
    pub(super) cipher: Arc<SecretCipher>,
    pub(super) settings: CourierSettings,
    pub(super) webhook: Claimed,
    pub(super) began: DateTime<Utc>,
    pub(super) lease_end: DateTime<Utc>,
}

/// What an attempt says of the receiver, the worst last.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Heard {
    /// It is there, whatever it thinks of the event.
    Answer,
    /// It is away or overloaded, and is left alone for a while.
    Away,
    /// It is gone for good.
    Gone,
}

impl Turn {
    pub(super) async fn run(self) {
        let (book, id) = self.webhook.key;
        match self.deliver_all().await {
            Ok(Heard::Gone) => tracing::warn!(webhook.id = %id, account = %book,
                "a webhook answered 410 and is disabled"),
            Ok(Heard::Answer | Heard::Away) => {}
            // The lease ends by itself, and then it is tried again.
            Err(error) => {
                tracing::warn!(webhook.id = %id, %error, cause = ?error, "a turn broke off");
            }
        }
    }

    /// Sends page by page while the receiver answers, and gives the webhook back before the lease
    /// ends.
    async fn deliver_all(&self) -> Result<Heard, EventError> {
        let (pool, key) = (&self.events.pool, self.webhook.key);
        let secrets = self.secrets()?;
        let half = self.lease_end.signed_duration_since(self.began) / 2;
        let heard = loop {
            let limit = i64::try_from(PAGE).unwrap_or(1);
            let page = store::due(pool, key, self.events.clock.now(), limit).await?;
            let full = page.len() >= PAGE;
            let heard = self.deliver(&page, &secrets).await?;
            let late = self.events.clock.now().signed_duration_since(self.began) >= half;
            if heard != Heard::Answer || !full || late {
                break heard;
            }
        };
        let at = self.events.clock.now();
        let (not_before, failures) = match heard {
            Heard::Answer => (at, 0),
            Heard::Away => {
                let failures = self.webhook.failures.saturating_add(1);
                (rest_until(at, self.settings.backoff, failures), failures)
            }
            Heard::Gone => {
                store::disable(pool, key, at).await?;
                return Ok(heard);
            }
        };
        let release = Release { lease_end: self.lease_end, not_before, failures };
        store::release(pool, key, &release).await?;
        Ok(heard)
    }

    /// The secrets that sign now, the present one first.
    fn secrets(&self) -> Result<Vec<SigningSecret>, CipherError> {
        let Claimed { key: (_, id), secret, previous, .. } = &self.webhook;
        let now = self.events.clock.now();
        let previous = previous.iter().filter(|(_, until)| *until > now).map(|(secret, _)| secret);
        let sealed = std::iter::once(secret).chain(previous);
        sealed.map(|sealed| SigningSecret::open(&self.cipher, id.0, sealed)).collect()
    }

    /// Sends a page, several at once. When one finds nobody there, no more are begun.
    async fn deliver(&self, page: &[Due], secrets: &[SigningSecret]) -> Result<Heard, EventError> {
        let mut rest = page.iter();
        let first = rest.by_ref().take(AT_ONCE);
        let mut sent: FuturesUnordered<_> = first.map(|due| self.attempt(due, secrets)).collect();
        let mut worst = Heard::Answer;
        while let Some(heard) = sent.next().await {
            worst = worst.max(heard?);
            if worst == Heard::Answer
                && let Some(due) = rest.next()
            {
                sent.push(self.attempt(due, secrets));
            }
        }
        Ok(worst)
    }

    /// Sends one event and writes down what came of it. The status alone counts: of the answer's body
    /// nothing is read.
    async fn attempt(&self, due: &Due, secrets: &[SigningSecret]) -> Result<Heard, EventError> {
        let body = serde_json::to_string(&due.event).expect("an event is plain texts and numbers");
        let id = due.event.id.to_string();
        let headers = signed_headers(secrets, &id, self.events.clock.now().timestamp(), &body)
            .expect("ids, numbers and base64 are header values");
        let called =
            self.events.caller.post(&self.webhook.url, headers, body, self.settings.timeout).await;
        let status = called.map(|response| response.status().as_u16());
        self.mark(due, &status).await?;
        Ok(match status {
            Ok(410) => Heard::Gone,
            Ok(429 | 502..=504) | Err(_) => Heard::Away,
            Ok(_) => Heard::Answer,
        })
    }

    async fn mark(&self, due: &Due, called: &Result<u16, CallError>) -> Result<(), EventError> {
        let at = self.events.clock.now();
        let attempts = due.attempts.saturating_add(1);
        let state = match called {
            Ok(200..=299) => "delivered",
            Ok(_) | Err(_) if attempts >= self.settings.attempts_max => "dead",
            Ok(_) | Err(_) => "pending",
        };
        let (backoff, entropy) = (self.settings.backoff, self.events.entropy.as_ref());
        let error = called.as_ref().err().map(ToString::to_string);
        let mark = Mark {
            state,
            next_at: (state == "pending").then(|| again_at(at, backoff, attempts, entropy)),
            status: called.as_ref().ok().and_then(|status| i16::try_from(*status).ok()),
            error: error.as_deref(),
            at,
        };
        store::mark(&self.events.pool, self.webhook.key, due, &mark).await?;
        Ok(())
    }
}
