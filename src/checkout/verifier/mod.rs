//! Verifiers that are called: Bursar sends a result to an address of the operator's choice and takes
//! what is answered for a verdict, if it is one.
//!
//! Whatever else comes back, or nothing, is *unknown*: it is written into the result's trail, the
//! verifier is asked again after a pause, and at the verification deadline the sweeper releases. A
//! verdict goes through the very command of those that are posted, under an identity of its own per
//! result, so that asking twice is harmless and every race has one winner.

mod answer;
mod ask;
mod asker;

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgPool;
use utoipa::ToSchema;

use crate::ground::{Clock, Entropy, SecretCipher, Slot, VerifierId};
use crate::ledger::Engine;
use crate::outbound::{Caller, ROTATION, SigningSecret};

use super::{CheckoutError, VerifierStanding, store};

pub use asker::Asker;

/// How far what waits is counted: more than this many is many.
const COUNT_MAX: i64 = 100_001;

/// How verifiers are called.
#[derive(Clone, Copy, Debug)]
pub struct VerifierSettings {
    /// How long a verifier may take to answer.
    pub timeout: Duration,
    /// The pause after the first call; each one after it is twice as long, up to an hour.
    pub backoff: Duration,
    /// After how many calls a result is not asked about any more.
    pub attempts_max: i32,
    /// After how many failed calls in a row the circuit opens.
    pub failures_max: i32,
    /// How long it stays open.
    pub rest: Duration,
}

/// Somebody who is called for verdicts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Verifier {
    /// The verifier.
    pub verifier_id: VerifierId,
    /// The address that is called.
    #[schema(example = "https://verifier.example.com/bursar")]
    pub url: String,
    /// When it was registered.
    pub created_at: DateTime<Utc>,
    /// Until when an older secret signs beside the present one: the one that had been in use when the first
    /// new one of the last 24 hours was made. Those between the two sign no more.
    pub previous_secret_until: Option<DateTime<Utc>>,
    /// How many calls in a row failed: no answer, or one with status 429 or 5xx.
    pub failures: i32,
    /// Until when it is not called, because too many did.
    pub rests_until: Option<DateTime<Utc>>,
}

/// The verbs of the operator, and what calls are made with.
#[derive(Clone)]
pub struct Verifiers {
    pool: PgPool,
    engine: Engine,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    caller: Caller,
    /// Without it nothing can be signed, and nobody is called.
    cipher: Option<Arc<SecretCipher>>,
}

impl Verifiers {
    pub fn new(
        pool: PgPool,
        engine: Engine,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        caller: Caller,
        cipher: Option<Arc<SecretCipher>>,
    ) -> Self {
        Self { pool, engine, clock, entropy, caller, cipher }
    }

    /// The same on other connections.
    #[must_use]
    pub fn on(&self, pool: PgPool) -> Self {
        Self { pool, ..self.clone() }
    }

    /// Whether the secrets that are kept can be read with the key that is configured: one is tried, if
    /// there is any one that was sealed with another.
    pub async fn check_key(&self) -> Result<(), CheckoutError> {
        let Some(cipher) = self.cipher.as_ref() else { return Ok(()) };
        let kept = store::verifiers::any_sealed(&self.pool, cipher.key_id()).await?;
        if let Some((id, sealed)) = kept {
            SigningSecret::open(cipher, id.0, &sealed)?;
        }
        Ok(())
    }

    /// Registers the verifier at a URL, or gives the one that is there a new secret, shown this once.
    /// The one before it signs too for a day. While it does, it stays, and another new secret puts an end
    /// to the one in between at once: that a lost answer locks nobody out costs that there can be one
    /// change a day without a gap.
    pub async fn register(&self, url: &str) -> Result<(Verifier, SigningSecret), CheckoutError> {
        let cipher = self.cipher.as_ref().ok_or(CheckoutError::NoCipher)?;
        let url = self.caller.check(url)?;
        let (pool, at, entropy) = (&self.pool, self.clock.now(), self.entropy.as_ref());
        let secret = SigningSecret::generate(entropy);
        let fresh = VerifierId::mint(entropy, at, Slot(0));
        let sealed = secret.seal(cipher, fresh.0, entropy);
        if let Some(made) = store::verifiers::insert(pool, fresh, url.as_str(), &sealed, at).await?
        {
            return Ok((made, secret));
        }
        let known = store::verifiers::at_url(pool, url.as_str()).await?;
        let known = known.ok_or(CheckoutError::VerifierUnknown)?;
        let sealed = secret.seal(cipher, known.0, entropy);
        let until = at.checked_add_signed(ROTATION).unwrap_or(at);
        let opens = |kept: &[u8]| SigningSecret::open(cipher, known.0, kept).is_ok();
        let rotated = store::verifiers::rotate(pool, known, &sealed, (at, until), opens).await?;
        rotated.map(|verifier| (verifier, secret)).ok_or(CheckoutError::VerifierUnknown)
    }

    /// The verifiers after one, oldest first.
    pub async fn list(
        &self,
        after: Option<VerifierId>,
        limit: i64,
    ) -> Result<Vec<Verifier>, CheckoutError> {
        Ok(store::verifiers::list(&self.pool, after, limit).await?)
    }

    /// What waits for verdicts, and for whom.
    pub async fn standing(&self) -> Result<VerifierStanding, CheckoutError> {
        Ok(store::verifiers::standing(&self.pool, self.clock.now(), COUNT_MAX).await?)
    }
}
