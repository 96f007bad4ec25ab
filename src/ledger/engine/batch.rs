//! One batch: lock → read → decide → write.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::ground::BookId;
use crate::ledger::command::Books;
use crate::ledger::store::read::Stored;
use crate::ledger::store::write::Decided;
use crate::ledger::store::{read, write};
use crate::ledger::{Annexes, Command, CommandIdentity, Decision, Desk, Fault, Outcome};
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
}

/// Runs the commands in their order, in one transaction.
pub(super) async fn run(
    workshop: &Workshop,
    commands: &[Arc<dyn Command>],
) -> Result<Vec<Reply>, BatchError> {
    let identities: Vec<_> = commands.iter().map(|c| (c.book(), c.identity())).collect();
    let keys: BTreeSet<_> =
        identities.iter().map(|(book, _)| (book.slot().sql(), book.0)).collect();
    let mut tx = workshop.pool.begin().await?;

    // Lock first. A statement's snapshot is older than its lock wait, so reads come after it.
    let mut books = read::lock_books(&mut tx, &keys).await?;
    let time = read::time(&mut tx).await?;
    let time = time.checked_add_signed(workshop.clock.offset()).unwrap_or(time);
    for book in books.values_mut() {
        book.set_time(time);
    }
    let stored = read::outcomes(&mut tx, &identities).await?;

    let fresh: Vec<bool> = identities
        .iter()
        .map(|(book, id)| books.contains_key(book) && !stored.contains_key(&(*book, id.command)))
        .collect();
    if !fresh.contains(&true) {
        return Ok(answers(&identities, &books, &stored, &HashMap::new()));
    }
    let mut wants = Wants::default();
    let mut annexes = Annexes::default();
    let undecided: Vec<_> =
        commands.iter().zip(fresh).filter(|(_, fresh)| *fresh).map(|(c, _)| c.as_ref()).collect();
    for command in &undecided {
        command.want(&mut wants, &mut annexes);
    }
    read::fill(&mut tx, &mut books, &wants).await?;
    annexes.read(&mut tx).await?;

    for book in books.values_mut() {
        book.expire_due(workshop.entropy.as_ref())?;
    }
    let mut decisions: Decisions = HashMap::new();
    for command in undecided {
        decide(workshop, command, &mut books, &mut annexes, &mut decisions)?;
    }

    let decided: Vec<_> = decisions
        .iter()
        .filter(|(_, (_, decision))| decision.kept)
        .map(|((book, _), (identity, decision))| {
            let at = books.get(book).map_or(time, |book| book.now);
            Decided { book: *book, identity: *identity, decision, at }
        })
        .collect();
    write::all(&mut tx, &books, &decided).await?;
    annexes.write(&mut tx).await?;
    tx.commit().await?;
    Ok(answers(&identities, &books, &stored, &decisions))
}

type Decisions = HashMap<(BookId, [u8; 32]), (CommandIdentity, Decision)>;

/// Decides one command. Equal commands of a batch are decided once.
fn decide(
    workshop: &Workshop,
    command: &dyn Command,
    books: &mut Books,
    annexes: &mut Annexes,
    decisions: &mut Decisions,
) -> Result<(), Fault> {
    let identity = command.identity();
    let key = (command.book(), identity.command);
    let Some(book) = books.get_mut(&key.0) else { return Ok(()) };
    if decisions.contains_key(&key) {
        return Ok(());
    }
    let before = (book.changes, annexes.changes());
    let mut desk = Desk { book, annexes, entropy: workshop.entropy.as_ref() };
    let decision = command.decide(&mut desk)?;
    let after = (desk.book.changes, desk.annexes.changes());
    if !decision.accepted && before != after {
        return Err(Fault::RefusalMoved);
    }
    decisions.insert(key, (identity, decision));
    Ok(())
}

/// The reply to each command: what it had been told before, or what was decided for its key.
fn answers(
    identities: &[(BookId, CommandIdentity)],
    books: &Books,
    stored: &HashMap<(BookId, [u8; 32]), Stored>,
    decisions: &Decisions,
) -> Vec<Reply> {
    let mut told = BTreeSet::new();
    identities
        .iter()
        .map(|(book, identity)| {
            let key = (*book, identity.command);
            if !books.contains_key(book) {
                return Err(SubmitError::BookUnknown);
            }
            let (fingerprint, accepted, body, replayed) =
                match (stored.get(&key), decisions.get(&key)) {
                    (Some(old), _) => (old.fingerprint, old.accepted, &old.body, true),
                    (None, Some((first, decision))) => {
                        (first.fingerprint, decision.accepted, &decision.body, !told.insert(key))
                    }
                    (None, None) => return Err(SubmitError::Unavailable),
                };
            if fingerprint != identity.fingerprint {
                return Err(SubmitError::Conflict);
            }
            Ok(Outcome { accepted, body: body.clone(), replayed })
        })
        .collect()
}
