use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::future::join_all;
use reqwest::header::RETRY_AFTER;

use crate::events::store::{self, Claimed, Due, Mark, Release};
use crate::events::{CourierSettings, EventError, Events};
use crate::ground::{CipherError, SecretCipher};
use crate::outbound::{CallError, SigningSecret, signed_headers};

use super::pause::{asked_until, pauses, rest_until};

/// How many deliveries are under way at once. All of a wave are written down together.
const WAVE: usize = 8;
/// For how long waves are begun: then it is somebody else's turn.
pub(super) const TURN_MAX: Duration = Duration::from_secs(5);
/// How long it may take to write down what came of a wave.
pub(super) const MARK_WITHIN: Duration = Duration::from_secs(5);
/// How often that is tried, and the pause between.
const MARK_TRIES: u32 = 3;
const MARK_PAUSE: Duration = Duration::from_millis(500);

/// Sends what is due to one webhook, as long as it answers.
pub(super) struct Turn {
    pub(super) events: Events,
    pub(super) cipher: Arc<SecretCipher>,
    pub(super) settings: CourierSettings,
    pub(super) webhook: Claimed,
    pub(super) began: DateTime<Utc>,
    pub(super) lease_end: DateTime<Utc>,
}

/// What was answered to one attempt.
struct Answer {
    status: u16,
    /// Until when the receiver wants to be left alone.
    not_before: Option<DateTime<Utc>>,
}

/// What a wave says of the receiver.
#[derive(Default)]
struct Heard {
    /// It took an event.
    took: bool,
    /// It is gone for good.
    gone: bool,
    /// Until when it wants to be left alone.
    not_before: Option<DateTime<Utc>>,
}

impl Heard {
    fn of<'a>(answers: impl IntoIterator<Item = &'a Answer>) -> Self {
        answers.into_iter().fold(Self::default(), |heard, answer| Self {
            took: heard.took || (200..300).contains(&answer.status),
            gone: heard.gone || answer.status == 410,
            not_before: heard.not_before.max(answer.not_before),
        })
    }

    /// Whether more may be sent at once.
    fn goes_on(&self) -> bool {
        self.took && !self.gone && self.not_before.is_none()
    }
}

impl Turn {
    pub(super) async fn run(self) {
        let (book, id) = self.webhook.key;
        match self.deliver_all().await {
            Ok(true) => tracing::warn!(webhook.id = %id, account = %book,
                "a webhook answered 410 and is disabled"),
            Ok(false) => {}
            // The lease ends by itself, and then it is tried again.
            Err(error) => {
                tracing::warn!(webhook.id = %id, %error, cause = ?error, "a turn broke off");
            }
        }
    }

    /// Sends wave by wave while the receiver takes what it is sent, and gives the webhook back before
    /// the lease ends. Whoever took nothing the last time gets one event first. Says whether the
    /// receiver is gone for good.
    async fn deliver_all(&self) -> Result<bool, EventError> {
        let (pool, key) = (&self.events.pool, self.webhook.key);
        let secrets = self.secrets()?;
        let mut failures = self.webhook.failures;
        let heard = loop {
            let size = if failures > 0 { 1 } else { WAVE };
            let limit = i64::try_from(size).unwrap_or(1);
            let due = store::due(pool, key, self.events.clock.now(), limit).await?;
            if due.is_empty() {
                break None;
            }
            let heard = self.deliver(&due, &secrets).await?;
            failures = if heard.took { 0 } else { failures.saturating_add(1) };
            if !heard.goes_on() || due.len() < size || self.is_over() {
                break Some(heard);
            }
        };
        let at = self.events.clock.now();
        let heard = heard.unwrap_or(Heard { took: true, ..Heard::default() });
        if heard.gone {
            store::disable(pool, key, at).await?;
            return Ok(true);
        }
        let rest = if heard.took { at } else { rest_until(at, self.settings.backoff, failures) };
        let not_before = heard.not_before.map_or(rest, |asked| asked.max(rest));
        let release = Release { lease_end: self.lease_end, not_before, failures };
        store::release(pool, key, &release).await?;
        Ok(false)
    }

    fn is_over(&self) -> bool {
        let taken = self.events.clock.now().signed_duration_since(self.began);
        taken.to_std().is_ok_and(|taken| taken >= TURN_MAX)
    }

    /// The secrets that sign now, the present one first.
    fn secrets(&self) -> Result<Vec<SigningSecret>, CipherError> {
        let Claimed { key: (_, id), secret, previous, .. } = &self.webhook;
        let now = self.events.clock.now();
        SigningSecret::open_all(&self.cipher, id.0, secret, previous.as_ref(), now)
    }

    /// Sends a wave, waits for every answer, and writes down what came of all.
    async fn deliver(&self, wave: &[Due], secrets: &[SigningSecret]) -> Result<Heard, EventError> {
        let answers = join_all(wave.iter().map(|due| self.attempt(due, secrets))).await;
        let at = self.events.clock.now();
        let marks: Vec<Mark> =
            wave.iter().zip(&answers).map(|(due, answer)| self.mark(due, answer, at)).collect();
        let mut tries = 0_u32;
        while let Err(error) = store::mark(&self.events.pool, self.webhook.key, &marks, at).await {
            tries = tries.saturating_add(1);
            if tries >= MARK_TRIES {
                return Err(error.into());
            }
            tokio::time::sleep(MARK_PAUSE).await;
        }
        Ok(Heard::of(answers.iter().flatten()))
    }

    /// Sends one event. The status and how long the receiver wants to be left alone count: of the
    /// answer's body nothing is read.
    async fn attempt(&self, due: &Due, secrets: &[SigningSecret]) -> Result<Answer, CallError> {
        let body = serde_json::to_string(&due.event).expect("an event is plain texts and numbers");
        let id = due.event.id.to_string();
        let headers = signed_headers(secrets, &id, self.events.clock.now().timestamp(), &body)
            .expect("ids, numbers and base64 are header values");
        let (url, timeout) = (&self.webhook.url, self.settings.timeout);
        let response = self.events.caller.post(url, headers, body, timeout).await?;
        let status = response.status().as_u16();
        let asked = response.headers().get(RETRY_AFTER).filter(|_| matches!(status, 429 | 503));
        let asked = asked.and_then(|value| value.to_str().ok());
        let not_before = asked.and_then(|text| asked_until(self.events.clock.now(), text));
        Ok(Answer { status, not_before })
    }

    /// What is written down of an attempt.
    fn mark(&self, due: &Due, called: &Result<Answer, CallError>, at: DateTime<Utc>) -> Mark {
        let attempts = due.attempts.saturating_add(1);
        let status = called.as_ref().map(|answer| answer.status);
        let state = match status {
            Ok(200..=299) => "delivered",
            Ok(410) => "dead",
            Ok(_) | Err(_) if attempts >= self.settings.attempts_max => "dead",
            Ok(_) | Err(_) => "pending",
        };
        let (backoff, entropy) = (self.settings.backoff, self.events.entropy.as_ref());
        Mark {
            seq: due.event.seq,
            attempts: due.attempts,
            state,
            next_at: (state == "pending").then(|| pauses(backoff).again_at(at, attempts, entropy)),
            status: status.ok().and_then(|status| i16::try_from(status).ok()),
            error: called.as_ref().err().map(|error| error.word()),
        }
    }
}
