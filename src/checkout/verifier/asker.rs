use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::future::join_all;
use uuid::Uuid;

use crate::checkout::command::{Judge, Ruling, Target};
use crate::checkout::store::verification::{self, Claimed, Due, Ended, Lease, Round};
use crate::checkout::store::verifiers::{self, Sealed};
use crate::checkout::{CheckoutError, VerifierSettings, Verifiers};
use crate::ground::{ChargeId, SecretCipher, VerifierId};
use crate::ledger::{CommandIdentity, SubmitError, is_restored};
use crate::outbound::{SigningSecret, Turns, later, signed_headers};

use super::answer::{self, Nonsense};
use super::ask::{Heard, Question, again_at, message_id};

/// How many verifiers are called at once.
const TURNS_MAX: usize = 16;
/// How many calls are under way to one verifier, from this process.
const AT_ONCE: i64 = 8;
/// How often a turn takes up more before others have theirs.
const ROUNDS_MAX: usize = 16;
/// What a lease is longer than a call: for the commit of the verdict, and clocks that differ.
const LEASE_MARGIN: Duration = Duration::from_secs(5);
/// How long it is tried to carry a verdict out, within that margin.
const CARRY_OUT_WITHIN: Duration = Duration::from_secs(4);
/// The pauses after each attempt.
const SUBMIT_AGAIN: [Duration; 4] = [
    Duration::from_millis(100),
    Duration::from_millis(300),
    Duration::from_millis(900),
    Duration::ZERO,
];
/// How long a verifier whose turn broke off is left alone.
const AFTER_FAILURE: Duration = Duration::from_secs(2);

/// Why a verdict was not carried out, as the trail has it.
const TOO_LATE: &str = "it came when the result had been decided or its deadline had passed";
const NOT_TAKEN: &str = "the ledger did not take it";
const IN_DOUBT: &str = "it is not known whether the ledger took it";

/// What came of a call.
enum Came {
    Decided,
    TooLate,
    /// There is a verdict, and the ledger did not take it.
    NotTaken,
    /// There is a verdict, and the ledger did not say in time what became of it.
    InDoubt,
    /// There is no verdict, and why.
    Unknown(String),
}

/// Asks verifiers. A step is safe to repeat and to run in several replicas at once: what one has
/// claimed no other asks about until the lease ends.
#[derive(Clone)]
pub struct Asker {
    verifiers: Verifiers,
    settings: VerifierSettings,
    /// Whose turn it is in this process.
    busy: Arc<Mutex<HashSet<Uuid>>>,
    turns: Turns,
}

impl Asker {
    pub fn new(verifiers: Verifiers, settings: VerifierSettings) -> Self {
        Self { verifiers, settings, busy: Arc::default(), turns: Turns::new(TURNS_MAX) }
    }

    /// Begins the turns of verifiers that there is something to ask, and says whether it began any.
    /// After a restore nobody knows yet what has happened, and the ledger takes no verdict: then nobody
    /// is asked.
    pub async fn step(&self) -> Result<bool, CheckoutError> {
        let Some(cipher) = self.verifiers.cipher.clone() else { return Ok(false) };
        let room = self.turns.room();
        if room == 0 || is_restored(&self.verifiers.pool).await? {
            return Ok(false);
        }
        let at = self.verifiers.clock.now();
        let but: Vec<Uuid> = self.with_busy(|busy| busy.iter().copied().collect());
        let limit = i64::try_from(room).unwrap_or(1);
        let due = verifiers::due(&self.verifiers.pool, &but, at, limit).await?;
        let any = !due.is_empty();
        for verifier in due {
            let under_way = self.turns.begin().await;
            let (asker, cipher) = (self.clone(), cipher.clone());
            self.with_busy(|busy| busy.insert(verifier.0));
            tokio::spawn(async move {
                let ended = asker.turn(&cipher, verifier).await;
                drop(under_way);
                if let Err(error) = ended {
                    tracing::warn!(verifier.id = %verifier, %error, cause = ?error, "a turn broke off");
                    tokio::time::sleep(AFTER_FAILURE).await;
                }
                asker.with_busy(|busy| busy.remove(&verifier.0));
            });
        }
        Ok(any)
    }

    /// Waits for the calls under way, though not for long: what is cut off is asked again.
    pub async fn finish(&self) {
        if !self.turns.finish().await {
            tracing::warn!("verifiers were still being called at the end; they will be again");
        }
    }

    fn with_busy<T>(&self, act: impl FnOnce(&mut HashSet<Uuid>) -> T) -> T {
        act(&mut self.busy.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Asks one verifier about what is due, some results at once.
    async fn turn(&self, cipher: &SecretCipher, verifier: VerifierId) -> Result<(), CheckoutError> {
        let pool = &self.verifiers.pool;
        for _ in 0..ROUNDS_MAX {
            if is_restored(pool).await? {
                break;
            }
            let at = self.verifiers.clock.now();
            let lease = Lease {
                at,
                end: later(at, self.settings.timeout.saturating_add(LEASE_MARGIN)),
                limit: AT_ONCE,
                attempts_max: self.settings.attempts_max,
                failures_max: self.settings.failures_max,
            };
            let open = |kept: &Sealed| {
                let previous = kept.previous.as_ref();
                SigningSecret::open_all(cipher, verifier.0, &kept.present, previous, at)
            };
            let round = match verification::claim(pool, verifier, lease, open).await? {
                Due::Ask(round) => round,
                Due::Closed => continue,
                Due::Nothing => break,
            };
            let asked = round.claimed.iter().map(|claimed| self.ask(&round, claimed));
            join_all(asked).await.into_iter().collect::<Result<(), _>>()?;
        }
        Ok(())
    }

    /// Asks about one result, and carries out what is answered. Whatever goes wrong here, the call's
    /// record is ended first.
    async fn ask(&self, round: &Round, claimed: &Claimed) -> Result<(), CheckoutError> {
        let Heard { status, ruling, failed } = self.call(round, claimed).await;
        let noted = self.note(round.verifier, failed).await;
        let came = match ruling {
            Ok(ruling) => self.carry_out(claimed, ruling).await,
            Err(fault) => Came::Unknown(fault),
        };
        let at = self.verifiers.clock.now();
        let waived = matches!(came, Came::NotTaken | Came::InDoubt);
        let (open, fault) = match came {
            Came::Decided => (false, None),
            Came::TooLate => (false, Some(TOO_LATE.to_owned())),
            Came::NotTaken => (true, Some(NOT_TAKEN.to_owned())),
            Came::InDoubt => (true, Some(IN_DOUBT.to_owned())),
            Came::Unknown(fault) => (true, Some(fault)),
        };
        let again_at = if open { self.again_at(at, claimed, waived) } else { None };
        let ended = Ended { at, status, fault: fault.as_deref(), open, again_at, waived };
        verification::end(&self.verifiers.pool, claimed, &ended).await?;
        Ok(noted?)
    }

    /// Notes for the circuit whether a call failed.
    async fn note(&self, verifier: VerifierId, failed: bool) -> Result<(), sqlx::Error> {
        let pool = &self.verifiers.pool;
        if !failed {
            return verifiers::succeeded(pool, verifier).await;
        }
        let rest_until = later(self.verifiers.clock.now(), self.settings.rest);
        verifiers::failed(pool, verifier, self.settings.failures_max, rest_until).await
    }

    /// When to ask again, if ever. Calls that do not count have pauses of their own, and there are as
    /// many of them as of the others at most.
    fn again_at(
        &self,
        at: DateTime<Utc>,
        claimed: &Claimed,
        waived: bool,
    ) -> Option<DateTime<Utc>> {
        let VerifierSettings { backoff, attempts_max, .. } = self.settings;
        let not_counted = claimed.waived.saturating_add(waived.into());
        let since = claimed.attempt.saturating_sub(claimed.forgiven);
        let counted = since.saturating_sub(not_counted.min(attempts_max));
        let calls = if waived { not_counted } else { counted };
        let entropy = self.verifiers.entropy.as_ref();
        let again = again_at(backoff, at, claimed.verify_by, calls, entropy);
        again.filter(|_| counted < attempts_max)
    }

    /// Carries a verdict out, though the ledger may need several attempts. The identity is the result's:
    /// whatever became of an attempt, the next one finds it.
    async fn carry_out(&self, claimed: &Claimed, ruling: Ruling) -> Came {
        let Claimed { account, checkout, result_id, known, .. } = claimed;
        let (clock, entropy) = (&self.verifiers.clock, self.verifiers.entropy.as_ref());
        let identity =
            CommandIdentity::of_effect(&format!("result:{checkout}:{result_id}:called-verdict"));
        let charge = ChargeId::mint(entropy, clock.now(), account.slot());
        let target = Target::new(*account, *checkout, result_id, known);
        let command = Arc::new(Judge { target, identity, ruling, charge });
        let mut doubtful = false;
        let attempts = async {
            for pause in SUBMIT_AGAIN {
                // Until there is an answer it may be taken, and a later refusal does not undo that.
                let before = std::mem::replace(&mut doubtful, true);
                match self.verifiers.engine.submit(command.clone()).await {
                    Ok(outcome) if outcome.accepted => return Some(Came::Decided),
                    Ok(_) => return Some(Came::TooLate),
                    Err(error) => {
                        doubtful = before || matches!(error, SubmitError::Unavailable);
                        tracing::warn!(%checkout, result_id, %error, "a verdict has to wait");
                    }
                }
                tokio::time::sleep(pause).await;
            }
            None
        };
        let came = tokio::time::timeout(CARRY_OUT_WITHIN, attempts).await;
        came.ok().flatten().unwrap_or(if doubtful { Came::InDoubt } else { Came::NotTaken })
    }

    /// Calls, and reads what is answered. Anything but a verdict with status 200 is unknown.
    async fn call(&self, round: &Round, claimed: &Claimed) -> Heard {
        let body = serde_json::to_string(&Question::about(claimed))
            .expect("a question is plain texts and numbers");
        let now = self.verifiers.clock.now();
        let headers = signed_headers(&round.secrets, &message_id(claimed), now.timestamp(), &body)
            .expect("ids, numbers and base64 are header values");
        let response = match self
            .verifiers
            .caller
            .post(&round.url, headers, body, self.settings.timeout)
            .await
        {
            Ok(response) => response,
            Err(error) => {
                return Heard { status: None, ruling: Err(error.to_string()), failed: true };
            }
        };
        let code = response.status().as_u16();
        let status = i16::try_from(code).ok();
        if code != 200 {
            let failed = matches!(code, 429 | 500..);
            return Heard { status, ruling: Err(format!("the answer has status {code}")), failed };
        }
        let parsed = answer::read(response).await.and_then(|bytes| {
            let criteria_version = claimed.known.sku_version;
            answer::parse(&bytes, round.verifier, claimed.known.quantity, criteria_version)
        });
        let failed = matches!(parsed, Err(Nonsense::Broken));
        Heard { status, ruling: parsed.map_err(|nonsense| nonsense.to_string()), failed }
    }
}
