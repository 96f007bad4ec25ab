use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::ground::{Amount, BookId, TopupId, mint_uuid};
use crate::ledger::{Annex, Annexes, Command, CommandIdentity, Decision, Desk, Fault, Wants};

use super::confirm::{self, Sighting};
use super::{TopupEvent, TopupState, store};

/// Credits a settled top-up, in the transaction that marks it credited.
pub(super) struct CreditTopup {
    pub(super) account: BookId,
    pub(super) topup: TopupId,
    /// What was paid. Nothing is credited where the top-up is of another amount.
    pub(super) amount: Amount,
    pub(super) settlement_tx: String,
    /// Where the chain showed it, where it is read.
    pub(super) sighting: Option<Sighting>,
    /// Whether it makes up for what a restored ledger lacks.
    pub(super) recovers: bool,
}

impl Command for CreditTopup {
    fn book(&self) -> BookId {
        self.account
    }

    fn identity(&self) -> CommandIdentity {
        CommandIdentity::of_effect(&format!("topup:{}:credit", self.topup))
    }

    fn recovers(&self) -> bool {
        self.recovers
    }

    fn want(&self, _: &mut Wants, annexes: &mut Annexes) {
        annexes.of::<TopupRows>().wanted.insert((self.account, self.topup));
    }

    fn decide(&self, desk: &mut Desk<'_>) -> Result<Decision, Fault> {
        let at = desk.book.now();
        let rows = desk.annexes.of::<TopupRows>();
        let key = (self.account, self.topup);
        let &TopupRow { state, amount } = rows.found.get(&key).ok_or(Fault::Annex("topup"))?;
        if state.after(TopupEvent::Credit) != Some(TopupState::Credited) {
            return Ok(Decision::nothing_due());
        }
        if amount != self.amount {
            return Err(Fault::Annex("topup of another amount"));
        }
        rows.credited.push(Credited {
            account: self.account,
            topup: self.topup,
            settlement_tx: self.settlement_tx.clone(),
            sighting: self.sighting.clone(),
            event_id: mint_uuid(desk.entropy, at, self.topup.slot()),
            at,
        });
        // When the money moved on the chain, where that is known.
        let moved_at = self.sighting.as_ref().and_then(|seen| seen.block_time);
        let effective_at = moved_at.unwrap_or(at);
        let (transaction, lot) =
            desk.book.top_up(desk.entropy, self.topup.0, amount, effective_at)?;
        desk.book.emit("topup.credited", self.topup.0);
        let answer = serde_json::json!({
            "topup_id": self.topup, "ledger_transaction_id": transaction, "lot_id": lot,
        });
        Ok(Decision::accept(&answer))
    }
}

/// The rows of top-ups in one batch.
#[derive(Default)]
pub(super) struct TopupRows {
    pub(super) wanted: BTreeSet<(BookId, TopupId)>,
    pub(super) found: BTreeMap<(BookId, TopupId), TopupRow>,
    pub(super) credited: Vec<Credited>,
    /// Whose rejection this batch tells of.
    pub(super) told: Vec<(BookId, TopupId)>,
}

/// What a credit depends on.
#[derive(Clone, Copy)]
pub(super) struct TopupRow {
    pub(super) state: TopupState,
    pub(super) amount: Amount,
}

/// A top-up that this batch credits.
pub(super) struct Credited {
    pub(super) account: BookId,
    pub(super) topup: TopupId,
    pub(super) settlement_tx: String,
    pub(super) sighting: Option<Sighting>,
    /// The id of its entry in the audit trail.
    pub(super) event_id: Uuid,
    pub(super) at: DateTime<Utc>,
}

impl Annex for TopupRows {
    fn read<'a>(&'a mut self, tx: &'a mut PgConnection) -> BoxFuture<'a, Result<(), sqlx::Error>> {
        store::read_rows(tx, self).boxed()
    }

    fn write<'a>(&'a mut self, tx: &'a mut PgConnection) -> BoxFuture<'a, Result<(), sqlx::Error>> {
        async move {
            store::write_told(tx, &self.told).await?;
            store::write_credited(tx, self).await?;
            confirm::store::write_evidence(tx, &self.credited).await
        }
        .boxed()
    }

    fn changes(&self) -> u64 {
        let changes = self.credited.len().saturating_add(self.told.len());
        u64::try_from(changes).unwrap_or(u64::MAX)
    }
}
