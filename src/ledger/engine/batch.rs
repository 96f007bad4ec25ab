//! One batch: lock → read → decide → write.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use sqlx::{Connection, PgConnection};
use tokio::time::timeout;
use uuid::Uuid;

use crate::ground::{BookId, Entropy, Fingerprint};
use crate::ledger::command::Books;
use crate::ledger::store::read::Stored;
use crate::ledger::store::write::Decided;
use crate::ledger::store::{read, write};
use crate::ledger::{Annexes, Book, Command, CommandIdentity, Decision, Desk, Fault, Outcome};
use crate::ledger::{SubmitError, Wants};

use super::Workshop;

type Reply = Result<Outcome, SubmitError>;

/// Why a batch wrote nothing, as far as is known.
#[derive(Debug, thiserror::Error)]
pub(super) enum BatchError {
    #[error("{0}")]
    Fault(#[from] Fault),
    #[error("{0}")]
    Database(#[from] sqlx::Error),
    #[error("the database fell silent")]
    Silent,
    #[error("a command panicked")]
    Panicked,
}

/// Runs the commands in their order, in one transaction. A server that vanishes without a word, as in
/// a failover, does not even end the connection: nothing but a time limit of our own notices.
pub(super) async fn run(
    workshop: &Workshop,
    commands: &[Arc<dyn Command>],
) -> Result<Vec<Reply>, BatchError> {
    let mut connection = workshop.pool.acquire().await?;
    let batch = transact(workshop, commands, &mut connection);
    let ended = timeout(workshop.settings.silence, batch).await;
    ended.unwrap_or_else(|_| {
        // Given back to the pool it would be asked whether it works, and keep its place meanwhile.
        drop(connection.detach());
        Err(BatchError::Silent)
    })
}

async fn transact(
    workshop: &Workshop,
    commands: &[Arc<dyn Command>],
    connection: &mut PgConnection,
) -> Result<Vec<Reply>, BatchError> {
    let identities: Vec<_> = commands.iter().map(|c| (c.book(), c.identity())).collect();
    let keys: BTreeSet<_> =
        identities.iter().map(|(book, _)| (book.slot().sql(), book.0)).collect();
    let mut tx = connection.begin().await?;

    // Lock first. A statement's snapshot is older than its lock wait, so reads come after it.
    let mut books = read::lock_books(&mut tx, &keys).await?;
    let present = read::present(&mut tx, &identities).await?;
    let time = present.clock.checked_add_signed(workshop.clock.offset()).unwrap_or(present.clock);
    let time = time.max(present.closed_until);
    for book in books.values_mut() {
        book.set_time(time);
    }
    let stored = present.stored;

    let may_run = |command: &dyn Command| !present.restored || command.recovers();
    let is_fresh = |(book, identity): &(BookId, CommandIdentity)| {
        books.contains_key(book) && !stored.contains_key(&(*book, identity.command))
    };
    let fresh: Vec<_> = commands
        .iter()
        .zip(&identities)
        .filter(|(command, key)| may_run(command.as_ref()) && is_fresh(key))
        .map(|(command, _)| command)
        .collect();
    let mut annexes = Annexes::default();
    let any_fresh = !fresh.is_empty();
    if any_fresh {
        let mut wants = Wants::default();
        for command in &fresh {
            command.want(&mut wants, &mut annexes);
        }
        read::fill(&mut tx, &mut books, &wants).await?;
        annexes.read(&mut tx).await?;
        for book in books.values_mut() {
            book.expire_due(workshop.entropy.as_ref())?;
        }
    }

    let mut decisions = Decisions {
        workshop,
        restored: present.restored,
        books,
        annexes,
        stored,
        kept: Vec::new(),
        here: HashMap::new(),
    };
    let mut replies = Vec::with_capacity(commands.len());
    for (command, (book, identity)) in commands.iter().zip(identities) {
        replies.push(decisions.reply(command.as_ref(), book, identity)?);
    }
    if any_fresh {
        write::all(&mut tx, &decisions.books, &decisions.kept).await?;
        decisions.annexes.write(&mut tx).await?;
        tx.commit().await?;
    }
    Ok(replies)
}

/// A command's key in its book.
type Key = (BookId, Uuid);

/// The decisions of one batch, in the order of its commands.
struct Decisions<'a> {
    workshop: &'a Workshop,
    /// Whether only what recovers a restored ledger is carried out.
    restored: bool,
    books: Books,
    annexes: Annexes,
    /// What was decided before this batch.
    stored: HashMap<Key, Stored>,
    /// What this batch decided, to be frozen.
    kept: Vec<Decided>,
    /// Where in `kept` a key's decision is.
    here: HashMap<Key, usize>,
}

impl Decisions<'_> {
    /// The reply to a command: what its key has been told before, or what is decided here.
    fn reply(
        &mut self,
        command: &dyn Command,
        book: BookId,
        identity: CommandIdentity,
    ) -> Result<Reply, Fault> {
        let Some(state) = self.books.get_mut(&book) else {
            return Ok(Err(SubmitError::BookUnknown));
        };
        let key = (book, identity.command);
        let again = |first: Fingerprint, accepted: bool, body: &str| {
            if first == identity.fingerprint {
                Ok(Outcome { accepted, body: body.to_owned(), replayed: true, kept: true })
            } else {
                Err(SubmitError::Conflict)
            }
        };
        if let Some(old) = self.stored.get(&key) {
            return Ok(again(old.fingerprint, old.accepted, &old.body));
        }
        if let Some(first) = self.here.get(&key).and_then(|position| self.kept.get(*position)) {
            let decision = &first.decision;
            return Ok(again(first.identity.fingerprint, decision.accepted, &decision.body));
        }
        if self.restored && !command.recovers() {
            return Ok(Err(SubmitError::Restored));
        }
        let entropy = self.workshop.entropy.as_ref();
        let decision = decide(command, state, &mut self.annexes, entropy)?;
        let at = state.now;
        let (accepted, body, kept) = (decision.accepted, decision.body.clone(), decision.kept);
        if kept {
            self.here.insert(key, self.kept.len());
            self.kept.push(Decided { book, identity, decision, at });
        }
        Ok(Ok(Outcome { accepted, body, replayed: false, kept }))
    }
}

/// Decides one command. A refusal leaves nothing behind.
fn decide(
    command: &dyn Command,
    book: &mut Book,
    annexes: &mut Annexes,
    entropy: &dyn Entropy,
) -> Result<Decision, Fault> {
    let before = (book.changes, annexes.changes());
    let mut desk = Desk { book, annexes, entropy };
    let decision = command.decide(&mut desk)?;
    let after = (desk.book.changes, desk.annexes.changes());
    if !decision.accepted && before != after {
        return Err(Fault::RefusalMoved);
    }
    Ok(decision)
}
