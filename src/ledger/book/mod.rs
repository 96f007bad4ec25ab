//! A book in memory, between the reads and the writes of a batch: the pure decision.

mod movements;
mod void;

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::ground::{Amount, BookId, CapId, ChargeId, HoldId, KeyId, TransactionId};

pub use void::Voided;

use super::journal::{Balances, Transfer};
use super::lot::{Fate, Lots};
use super::{Cap, Capture, Draw, Fault, Hold, Lot, Movement, Refusal, Role, Span, Spender};

/// One book as a batch sees it, with everything that the batch changes in it.
///
/// A verb either refuses and leaves nothing behind, or books the whole act. A [`Fault`] means that
/// code and database disagree; the batch is then abandoned.
#[derive(Debug)]
pub struct Book {
    pub(in crate::ledger) id: BookId,
    pub(in crate::ledger) frozen: bool,
    pub(in crate::ledger) version: i64,
    pub(in crate::ledger) event_seq: i64,
    pub(in crate::ledger) now: DateTime<Utc>,
    pub(in crate::ledger) balances: Balances,
    pub(in crate::ledger) lots: Lots,
    pub(in crate::ledger) holds: HashMap<HoldId, (Hold, Fate)>,
    pub(in crate::ledger) captures: HashMap<ChargeId, (Capture, Fate)>,
    pub(in crate::ledger) spenders: HashMap<KeyId, (Spender, Fate)>,
    pub(in crate::ledger) caps: Vec<(Cap, Fate)>,
    pub(in crate::ledger) usage: BTreeMap<UsageKey, Usage>,
    pub(in crate::ledger) transfers: Vec<Transfer>,
    pub(in crate::ledger) events: Vec<Event>,
    /// How often anything changed: a refusal must leave it as it was.
    pub(in crate::ledger) changes: u64,
}

/// Whose spending, over what, in which window.
pub(in crate::ledger) type UsageKey = (Option<KeyId>, Span, DateTime<Utc>);

/// What counts in one window. Without a cap it is only known in memory, to seed one.
#[derive(Clone, Debug)]
pub(in crate::ledger) struct Usage {
    pub(in crate::ledger) cap: Option<CapId>,
    pub(in crate::ledger) used: Amount,
    pub(in crate::ledger) fate: Fate,
}

/// One entry for the outbox.
#[derive(Clone, Debug)]
pub(in crate::ledger) struct Event {
    pub(in crate::ledger) seq: i64,
    pub(in crate::ledger) kind: &'static str,
    pub(in crate::ledger) subject: Uuid,
    /// Which part of the subject, where it has several.
    pub(in crate::ledger) detail: Option<String>,
}

/// A hold that is wanted.
#[derive(Clone, Copy, Debug)]
pub struct HoldRequest {
    pub id: HoldId,
    pub amount: Amount,
}

/// Why a verb did not book.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    Refused(Refusal),
    Fault(Fault),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl Book {
    /// An empty book, as it stands before its first command.
    pub fn new(id: BookId, now: DateTime<Utc>) -> Self {
        Self {
            id,
            frozen: false,
            version: 0,
            event_seq: 0,
            now,
            balances: Balances::default(),
            lots: Lots::default(),
            holds: HashMap::new(),
            captures: HashMap::new(),
            spenders: HashMap::new(),
            caps: Vec::new(),
            usage: BTreeMap::new(),
            transfers: Vec::new(),
            events: Vec::new(),
            changes: 0,
        }
    }

    /// The book's id.
    pub fn id(&self) -> BookId {
        self.id
    }

    /// The batch's time, never before anything this book has recorded.
    pub fn now(&self) -> DateTime<Utc> {
        self.now
    }

    /// The balance of a role.
    pub fn balance(&self, role: Role) -> Amount {
        self.balances.get(role)
    }

    /// What a checkout may use: paid and promotional credits that are not on hold.
    pub fn available(&self) -> Amount {
        self.balance(Role::Prepaid).checked_add(self.balance(Role::Promo)).unwrap_or(Amount::MAX)
    }

    /// A hold that the command wanted.
    pub fn hold(&self, id: HoldId) -> Option<&Hold> {
        self.holds.get(&id).map(|(hold, _)| hold)
    }

    /// A capture that the command wanted.
    pub fn capture_of(&self, id: ChargeId) -> Option<&Capture> {
        self.captures.get(&id).map(|(capture, _)| capture)
    }

    /// A spender that the command wanted.
    pub fn spender(&self, id: KeyId) -> Option<&Spender> {
        self.spenders.get(&id).map(|(spender, _)| spender)
    }

    /// The lots, in burn order.
    pub fn lots(&self) -> impl Iterator<Item = &Lot> {
        self.lots.iter().map(|(lot, _)| lot)
    }

    /// What was written into the journal since the book was read.
    pub fn transfers(&self) -> &[Transfer] {
        &self.transfers
    }

    /// Writes an event into the outbox.
    pub fn emit(&mut self, kind: &'static str, subject: Uuid) {
        self.tell(kind, subject, None);
    }

    /// Writes an event of a part of its subject into the outbox.
    pub fn emit_part(&mut self, kind: &'static str, subject: Uuid, part: impl ToString) {
        self.tell(kind, subject, Some(part.to_string()));
    }

    fn tell(&mut self, kind: &'static str, subject: Uuid, detail: Option<String>) {
        self.changes = self.changes.saturating_add(1);
        self.event_seq = self.event_seq.saturating_add(1);
        self.events.push(Event { seq: self.event_seq, kind, subject, detail });
    }

    /// Registers a key that may draw on this book.
    pub fn admit_spender(&mut self, spender: Spender) {
        self.changes = self.changes.saturating_add(1);
        self.spenders.insert(spender.id, (spender, Fate::New));
    }

    fn act(
        &self,
        movement: Movement,
        transaction: TransactionId,
        subject: Uuid,
        reverses: Option<TransactionId>,
    ) -> Act {
        Act { movement, transaction, subject, reverses, effective_at: self.now }
    }

    /// Writes one transfer.
    fn post(&mut self, act: &Act, paid: bool, draw: Draw) -> Result<(), Fault> {
        self.post_between(act, act.movement.roles(paid), draw)
    }

    fn post_between(
        &mut self,
        act: &Act,
        (debit, credit): (Role, Role),
        draw: Draw,
    ) -> Result<(), Fault> {
        let (debit_after, credit_after) = self.balances.apply(debit, credit, draw.amount)?;
        self.version = self.version.checked_add(1).ok_or(Fault::Overflow)?;
        self.changes = self.changes.saturating_add(1);
        self.transfers.push(Transfer {
            version: self.version,
            transaction: act.transaction,
            subject: act.subject,
            lot: draw.lot,
            movement: act.movement,
            debit,
            credit,
            amount: draw.amount,
            debit_after,
            credit_after,
            effective_at: act.effective_at,
            reverses: act.reverses,
        });
        Ok(())
    }
}

/// What the transfers of one act have in common.
struct Act {
    movement: Movement,
    transaction: TransactionId,
    subject: Uuid,
    reverses: Option<TransactionId>,
    effective_at: DateTime<Utc>,
}
