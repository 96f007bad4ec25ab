//! What the engine is asked to do, and how other floors take part in a batch.

use std::any::Any;
use std::collections::{BTreeSet, HashMap};

use futures_util::future::BoxFuture;
use serde::Serialize;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::ground::{BookId, ChargeId, Entropy, Fingerprint, HoldId, KeyId, sha256};

use super::book::Stop;
use super::{Book, Fault, Span};

/// What makes a command the same command: whoever sends it again gets the first answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CommandIdentity {
    /// Made of principal and key, or of the effect: unique in the book.
    pub command: Uuid,
    /// What was asked. The same command with another fingerprint is a conflict.
    pub fingerprint: Fingerprint,
}

impl CommandIdentity {
    /// The identity of a request by a principal with its own idempotency key.
    pub fn of_request(principal: KeyId, key: &str, fingerprint: Fingerprint) -> Self {
        let parts = [b"request".as_slice(), principal.0.as_bytes(), key.as_bytes()];
        Self { command: name(sha256(parts)), fingerprint }
    }

    /// The identity of an effect, such as `topup:<id>:credit`: doing it again is harmless.
    pub fn of_effect(effect: &str) -> Self {
        let command = name(sha256([b"effect".as_slice(), effect.as_bytes()]));
        Self { command, fingerprint: Fingerprint(sha256([effect.as_bytes()])) }
    }
}

/// The first bytes of a hash as a UUID of version 8 (RFC 9562): half as wide in the one index whose
/// order is random, and still 122 bits.
fn name(hash: [u8; 32]) -> Uuid {
    let mut bytes = [0; 16];
    for (to, from) in bytes.iter_mut().zip(hash) {
        *to = from;
    }
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

/// One business act on one book.
pub trait Command: Send + Sync + 'static {
    /// The book it acts on.
    fn book(&self) -> BookId;

    /// Its idempotency identity.
    fn identity(&self) -> CommandIdentity;

    /// Names the rows it must see under the lock: the ledger's in `wants`, its own floor's in its
    /// annex.
    fn want(&self, wants: &mut Wants, annexes: &mut Annexes);

    /// Whether it may run on a ledger that was restored from a backup and is not confirmed, because
    /// it makes up for what the backup lacks.
    fn recovers(&self) -> bool {
        false
    }

    /// Decides, in memory. No I/O. On a refusal nothing may have changed.
    fn decide(&self, desk: &mut Desk<'_>) -> Result<Decision, Fault>;
}

/// What a command works with while it decides.
pub struct Desk<'a> {
    /// The command's book.
    pub book: &'a mut Book,
    /// The rows of other floors.
    pub annexes: &'a mut Annexes,
    /// For ids that come into being with the decision.
    pub entropy: &'a dyn Entropy,
}

/// What was decided; it is stored with the command and answered again for ever.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Whether the command was carried out. A refusal moves nothing.
    pub accepted: bool,
    /// The answer, or the refusal, as JSON.
    pub body: String,
    /// Whether it is stored. What was found wrong with the question itself is not, and neither is a
    /// worker's finding that nothing is due.
    pub kept: bool,
}

impl Decision {
    /// Carried out, with its answer.
    pub fn accept<T: Serialize>(answer: &T) -> Self {
        Self { accepted: true, body: to_json(answer), kept: true }
    }

    /// Refused, with the reason.
    pub fn refuse<T: Serialize>(reason: &T) -> Self {
        Self { accepted: false, body: to_json(reason), kept: true }
    }

    /// Turned away before anything was decided: the same command may come again.
    pub fn turn_away<T: Serialize>(reason: &T) -> Self {
        Self { accepted: false, body: to_json(reason), kept: false }
    }

    /// A worker came too early or too late: nothing is due, and the same command may come again.
    pub fn nothing_due() -> Self {
        Self { accepted: false, body: String::new(), kept: false }
    }

    /// Refused by the ledger, or at fault.
    pub fn stopped(stop: Stop) -> Result<Self, Fault> {
        match stop {
            Stop::Refused(refusal) => Ok(Self::refuse(&refusal)),
            Stop::Fault(fault) => Err(fault),
        }
    }
}

fn to_json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("answers are plain structs with string keys")
}

/// A decision, and whether it had been made before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub accepted: bool,
    pub body: String,
    pub replayed: bool,
    /// Whether it is stored: this will be the answer for ever.
    pub kept: bool,
}

/// The ledger rows that a batch must read under the lock. Open lots are always read.
#[derive(Debug, Default)]
pub struct Wants {
    pub(super) spenders: BTreeSet<(BookId, KeyId)>,
    pub(super) holds: BTreeSet<(BookId, HoldId)>,
    pub(super) captures: BTreeSet<(BookId, ChargeId)>,
    pub(super) spent: BTreeSet<(BookId, Option<KeyId>, Span)>,
    pub(super) origins: BTreeSet<(BookId, Uuid)>,
}

impl Wants {
    /// A spender and the caps that bind it.
    pub fn spender(&mut self, book: BookId, spender: KeyId) {
        self.spenders.insert((book, spender));
    }

    /// A hold, the lots it draws from and the caps that it counts against.
    pub fn hold(&mut self, book: BookId, hold: HoldId) {
        self.holds.insert((book, hold));
    }

    /// A capture. Its hold must be wanted too.
    pub fn capture(&mut self, book: BookId, capture: ChargeId) {
        self.captures.insert((book, capture));
    }

    /// The lots of a top-up, closed ones too.
    pub fn lots_of(&mut self, book: BookId, origin: Uuid) {
        self.origins.insert((book, origin));
    }

    /// What a spender, or the whole account, has spent in the current window of a span: needed to set a
    /// cap on whoever may have spent. What is new has spent nothing.
    pub fn spent(&mut self, book: BookId, spender: Option<KeyId>, span: Span) {
        self.spent.insert((book, spender, span));
        if let Some(spender) = spender {
            self.spender(book, spender);
        }
    }
}

/// The rows of another floor in one batch. Commands of that floor name what must be read, change
/// rows while they decide, and everything is written once, in the batch's one transaction.
pub trait Annex: Any + Send {
    /// Reads the wanted rows, set-based, under the books' locks.
    fn read<'a>(&'a mut self, tx: &'a mut PgConnection) -> BoxFuture<'a, Result<(), sqlx::Error>>;

    /// Writes what changed, set-based.
    fn write<'a>(&'a mut self, tx: &'a mut PgConnection) -> BoxFuture<'a, Result<(), sqlx::Error>>;

    /// How often anything changed: a refusal must leave it as it was.
    fn changes(&self) -> u64;
}

/// The annexes of one batch, one of each kind, in the order in which they were first asked for.
#[derive(Default)]
pub struct Annexes(Vec<Box<dyn Annex>>);

impl Annexes {
    /// The annex of a floor.
    pub fn of<A: Annex + Default>(&mut self) -> &mut A {
        let position = self.0.iter().position(|annex| {
            let annex: &dyn Any = annex.as_ref();
            annex.is::<A>()
        });
        let position = position.unwrap_or_else(|| {
            self.0.push(Box::new(A::default()));
            self.0.len().saturating_sub(1)
        });
        let annex: &mut dyn Any = self.0[position].as_mut();
        annex.downcast_mut().expect("the position was found by this very type")
    }

    pub(super) async fn read(&mut self, tx: &mut PgConnection) -> Result<(), sqlx::Error> {
        for annex in &mut self.0 {
            annex.read(tx).await?;
        }
        Ok(())
    }

    pub(super) async fn write(&mut self, tx: &mut PgConnection) -> Result<(), sqlx::Error> {
        for annex in &mut self.0 {
            annex.write(tx).await?;
        }
        Ok(())
    }

    pub(super) fn changes(&self) -> u64 {
        self.0.iter().map(|annex| annex.changes()).sum()
    }
}

/// The books of a batch.
pub(super) type Books = HashMap<BookId, Book>;
