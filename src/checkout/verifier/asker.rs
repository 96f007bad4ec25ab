use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::future::join_all;
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::checkout::command::{Judge, Ruling, Target};
use crate::checkout::store::verification::{self, Claimed, Ended, Lease};
use crate::checkout::store::verifiers::{self, Called};
use crate::checkout::{CheckoutError, VerifierSettings, Verifiers};
use crate::ground::{ChargeId, CipherError, SecretCipher};
use crate::ledger::CommandIdentity;
use crate::outbound::{SigningSecret, later, signed_headers};

use super::answer;
use super::ask::{Heard, Question, message_id, pauses};

/// How many verifiers are called at once.
const TURNS_MAX: usize = 16;
/// How many calls are under way to one verifier, from this process.
const AT_ONCE: i64 = 8;
/// How often a turn takes up more before others have theirs.
const ROUNDS_MAX: usize = 16;
/// What a lease is longer than a call: for the commit of the verdict, and clocks that differ.
const LEASE_MARGIN: Duration = Duration::from_secs(5);
/// How long turns may go on when the process is to end.
const FINISH_WITHIN: Duration = Duration::from_secs(5);

/// Asks verifiers. A step is safe to repeat and to run in several replicas at once: what one has
/// claimed no other asks about until the lease ends.
#[derive(Clone)]
pub struct Asker {
    verifiers: Verifiers,
    settings: VerifierSettings,
    /// Whose turn it is in this process.
    busy: Arc<Mutex<HashSet<Uuid>>>,
    turns: Arc<Semaphore>,
}

impl Asker {
    pub fn new(verifiers: Verifiers, settings: VerifierSettings) -> Self {
        let turns = Arc::new(Semaphore::new(TURNS_MAX));
        Self { verifiers, settings, busy: Arc::default(), turns }
    }

    /// Begins the turns of verifiers that there is something to ask, and says whether it began any.
    pub async fn step(&self) -> Result<bool, CheckoutError> {
        let Some(cipher) = self.verifiers.cipher.clone() else { return Ok(false) };
        let room = self.turns.available_permits();
        if room == 0 {
            return Ok(false);
        }
        let at = self.verifiers.clock.now();
        let but: Vec<Uuid> = self.with_busy(|busy| busy.iter().copied().collect());
        let limit = i64::try_from(room).unwrap_or(1);
        let due = verifiers::due(&self.verifiers.pool, &but, at, limit).await?;
        let any = !due.is_empty();
        for called in due {
            // Only steps take permits, one after the other, and never more than there are.
            let permit = self.turns.clone().acquire_owned().await;
            let (asker, cipher, id) = (self.clone(), cipher.clone(), called.id);
            self.with_busy(|busy| busy.insert(id.0));
            tokio::spawn(async move {
                if let Err(error) = asker.turn(&cipher, &called).await {
                    tracing::warn!(verifier.id = %id, %error, cause = ?error, "a turn broke off");
                }
                asker.with_busy(|busy| busy.remove(&id.0));
                drop(permit);
            });
        }
        Ok(any)
    }

    /// Waits for the calls under way, though not for long: what is cut off is asked again.
    pub async fn finish(&self) {
        let all = u32::try_from(TURNS_MAX).unwrap_or(u32::MAX);
        if tokio::time::timeout(FINISH_WITHIN, self.turns.acquire_many(all)).await.is_err() {
            tracing::warn!("verifiers were still being called at the end; they will be again");
        }
    }

    fn with_busy<T>(&self, act: impl FnOnce(&mut HashSet<Uuid>) -> T) -> T {
        act(&mut self.busy.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Asks one verifier about what is due, some results at once.
    async fn turn(&self, cipher: &SecretCipher, called: &Called) -> Result<(), CheckoutError> {
        let secrets = self.secrets(cipher, called)?;
        for _ in 0..ROUNDS_MAX {
            let at = self.verifiers.clock.now();
            let lease = Lease {
                at,
                end: later(at, self.settings.timeout.saturating_add(LEASE_MARGIN)),
                limit: AT_ONCE,
                attempts_max: self.settings.attempts_max,
                failures_max: self.settings.failures_max,
            };
            let claimed = verification::claim(&self.verifiers.pool, called.id, lease).await?;
            if claimed.is_empty() {
                break;
            }
            let asked = claimed.iter().map(|claimed| self.ask(called, &secrets, claimed));
            join_all(asked).await.into_iter().collect::<Result<(), _>>()?;
        }
        Ok(())
    }

    /// The secrets that sign now, the present one first.
    fn secrets(
        &self,
        cipher: &SecretCipher,
        called: &Called,
    ) -> Result<Vec<SigningSecret>, CipherError> {
        let (now, previous) = (self.verifiers.clock.now(), called.previous.as_ref());
        SigningSecret::open_all(cipher, called.id.0, &called.secret, previous, now)
    }

    /// Asks about one result, and carries out what is answered.
    async fn ask(
        &self,
        called: &Called,
        secrets: &[SigningSecret],
        claimed: &Claimed,
    ) -> Result<(), CheckoutError> {
        let pool = &self.verifiers.pool;
        let Heard { status, ruling } = self.call(called, secrets, claimed).await;
        let at = self.verifiers.clock.now();
        let (fault, again) = match ruling {
            Ok(ruling) => {
                verifiers::succeeded(pool, called.id).await?;
                let carried_out = self.judge(claimed, ruling).await?;
                let late = "it came when the result had been decided or its deadline had passed";
                ((!carried_out).then(|| late.to_owned()), None)
            }
            Err(fault) => {
                let rest_until = later(at, self.settings.rest);
                verifiers::failed(pool, called.id, self.settings.failures_max, rest_until).await?;
                (Some(fault), self.again(at, claimed))
            }
        };
        let ended = Ended { at, status, fault: fault.as_deref(), again_at: again };
        verification::end(pool, claimed, &ended).await?;
        Ok(())
    }

    /// When to ask again, if ever.
    fn again(&self, at: DateTime<Utc>, claimed: &Claimed) -> Option<DateTime<Utc>> {
        let VerifierSettings { backoff, attempts_max, .. } = self.settings;
        let entropy = self.verifiers.entropy.as_ref();
        let again = pauses(backoff).again_at(at, claimed.attempt, entropy);
        Some(again).filter(|again| claimed.attempt < attempts_max && *again < claimed.verify_by)
    }

    /// Calls, and reads what is answered. Anything but a verdict with status 200 is unknown.
    async fn call(&self, called: &Called, secrets: &[SigningSecret], claimed: &Claimed) -> Heard {
        let body = serde_json::to_string(&Question::about(claimed))
            .expect("a question is plain texts and numbers");
        let now = self.verifiers.clock.now();
        let headers = signed_headers(secrets, &message_id(claimed), now.timestamp(), &body)
            .expect("ids, numbers and base64 are header values");
        let response = match self
            .verifiers
            .caller
            .post(&called.url, headers, body, self.settings.timeout)
            .await
        {
            Ok(response) => response,
            Err(error) => return Heard { status: None, ruling: Err(error.to_string()) },
        };
        let code = response.status().as_u16();
        let status = i16::try_from(code).ok();
        if code != 200 {
            return Heard { status, ruling: Err(format!("the answer has status {code}")) };
        }
        let parsed = answer::read(response).await.and_then(|bytes| {
            answer::parse(&bytes, called.id, claimed.quantity, claimed.sku_version)
        });
        Heard { status, ruling: parsed.map_err(|nonsense| nonsense.to_string()) }
    }

    /// Carries a verdict out, and says whether it was in time. The identity is the result's: a second
    /// verdict finds what became of the first.
    async fn judge(&self, claimed: &Claimed, ruling: Ruling) -> Result<bool, CheckoutError> {
        let Claimed { account, checkout, result_id, known, .. } = claimed;
        let (clock, entropy) = (&self.verifiers.clock, self.verifiers.entropy.as_ref());
        let identity =
            CommandIdentity::of_effect(&format!("result:{checkout}:{result_id}:called-verdict"));
        let charge = ChargeId::mint(entropy, clock.now(), account.slot());
        let target = Target::new(*account, *checkout, result_id, known);
        let command = Judge { target, identity, ruling, charge };
        Ok(self.verifiers.engine.submit(Arc::new(command)).await?.accepted)
    }
}
