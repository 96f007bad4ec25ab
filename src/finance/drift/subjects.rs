//! Everything that a step is about, read whole: a checkout with its items, results, holds, captures,
//! charges and reversals, and all transfers that belong to any of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use sqlx::PgConnection;
use uuid::Uuid;

use crate::finance::store::proof::books::Entry;
use crate::finance::store::proof::disputes::{self, DisputeRow};
use crate::finance::store::proof::grants::{self, GrantRow};
use crate::finance::store::proof::money::{self, LotRow, TopupRow};
use crate::finance::store::proof::orders::{self, QuoteRow, VerificationRow};
use crate::finance::store::proof::sales::{
    self, ChargeRow, CheckoutRow, ItemRow, ResultRow, ReversalRow,
};
use crate::finance::store::proof::subjects::{self, CaptureRow, HoldRow};
use crate::finance::store::proof::{Keys, ids::Table};

use super::events::About;
use super::window::Walked;

/// The key of a row in its book.
pub(super) type Key = (Uuid, Uuid);

/// What a step must look at, by id.
#[derive(Default)]
pub(super) struct Wanted {
    pub(super) holds: BTreeSet<Key>,
    pub(super) captures: BTreeSet<Key>,
    pub(super) checkouts: BTreeSet<Key>,
    pub(super) topups: BTreeSet<Key>,
    /// What else events tell of, by its transfers: grants, and lots that ended.
    pub(super) others: BTreeSet<Key>,
    /// Quotes that no checkout leads to.
    pub(super) quotes: BTreeSet<Key>,
    pub(super) lots: BTreeSet<Key>,
}

impl Wanted {
    /// What a walk leads to.
    pub(super) fn of(walked: &Walked) -> Self {
        Self {
            holds: walked.holds.clone(),
            captures: walked.captures.clone(),
            checkouts: walked.checkouts.clone(),
            topups: walked.topups.clone(),
            others: walked.others.clone(),
            quotes: BTreeSet::new(),
            lots: walked.lots.keys().copied().collect(),
        }
    }

    /// Whether what an event tells of is looked at.
    pub(super) fn has(&self, about: About, key: Key) -> bool {
        match about {
            About::Checkout => self.checkouts.contains(&key),
            About::Charge => self.captures.contains(&key),
            About::Topup => self.topups.contains(&key),
            About::Other => self.others.contains(&key),
        }
    }

    /// Adds rows of a table.
    pub(super) fn add(&mut self, table: Table, keys: impl IntoIterator<Item = Key>) {
        match table {
            Table::Holds => self.holds.extend(keys),
            Table::Captures | Table::Charges | Table::Reversals | Table::Disputes => {
                self.captures.extend(keys);
            }
            Table::Checkouts | Table::Items | Table::Results | Table::Verifications => {
                self.checkouts.extend(keys);
            }
            Table::Quotes => self.quotes.extend(keys),
            Table::Topups => self.topups.extend(keys),
            Table::Grants => self.others.extend(keys),
            Table::Lots => self.lots.extend(keys),
        }
    }
}

/// The rows of a step.
#[derive(Default)]
pub(super) struct Subjects {
    pub(super) wanted: Wanted,
    pub(super) holds: BTreeMap<Key, HoldRow>,
    pub(super) captures: BTreeMap<Key, CaptureRow>,
    pub(super) charges: BTreeMap<Key, ChargeRow>,
    pub(super) reversals: Vec<ReversalRow>,
    pub(super) disputes: Vec<DisputeRow>,
    pub(super) checkouts: BTreeMap<Key, CheckoutRow>,
    pub(super) items: Vec<ItemRow>,
    pub(super) results: Vec<ResultRow>,
    pub(super) verifications: Vec<VerificationRow>,
    pub(super) quotes: Vec<QuoteRow>,
    pub(super) topups: BTreeMap<Key, TopupRow>,
    pub(super) grants: BTreeMap<Key, GrantRow>,
    pub(super) lots: HashMap<Key, LotRow>,
    transfers: HashMap<Key, Vec<Entry>>,
}

impl Subjects {
    /// Reads what is wanted, and everything that belongs together with it.
    pub(super) async fn read(tx: &mut PgConnection, wanted: Wanted) -> Result<Self, sqlx::Error> {
        let mut all = Self { wanted, ..Self::default() };
        all.read_captures(tx).await?;
        all.read_checkouts(tx).await?;
        all.read_captures(tx).await?;
        let keys = Keys::of(&all.wanted.holds);
        for row in subjects::holds(tx, &keys).await? {
            all.holds.insert((row.book_id, row.hold_id), row);
        }
        let wanted = &all.wanted;
        let belonging: BTreeSet<Key> =
            [&wanted.holds, &wanted.captures, &wanted.topups, &wanted.others]
                .into_iter()
                .flatten()
                .copied()
                .collect();
        for entry in subjects::transfers(tx, &Keys::of(&belonging)).await? {
            all.transfers.entry((entry.book_id, entry.subject_id)).or_default().push(entry);
        }
        let keys = Keys::of(&all.wanted.captures);
        all.reversals = sales::reversals(tx, &keys).await?;
        all.disputes = disputes::disputes(tx, &keys).await?;
        let keys = Keys::of(&all.wanted.topups);
        for row in money::topups(tx, &keys).await? {
            all.topups.insert((row.book_id, row.topup_id), row);
        }
        let keys = Keys::of(&all.wanted.others);
        for row in grants::grants(tx, &keys).await? {
            all.grants.insert((row.book_id, row.grant_id), row);
        }
        let drawn = all.holds.iter().flat_map(|(key, hold)| {
            hold.draw_lots.iter().map(|lot| (key.0, *lot)).collect::<Vec<_>>()
        });
        let lots: BTreeSet<Key> = all.wanted.lots.iter().copied().chain(drawn).collect();
        for row in money::lots(tx, &Keys::of(&lots)).await? {
            all.lots.insert((row.book_id, row.lot_id), row);
        }
        Ok(all)
    }

    /// The wanted captures that have not been read, and the charges of the same name.
    async fn read_captures(&mut self, tx: &mut PgConnection) -> Result<(), sqlx::Error> {
        let unread: BTreeSet<Key> = self
            .wanted
            .captures
            .iter()
            .filter(|key| !self.captures.contains_key(key))
            .copied()
            .collect();
        let keys = Keys::of(&unread);
        for row in subjects::captures(tx, &keys).await? {
            self.wanted.holds.insert((row.book_id, row.hold_id));
            self.captures.insert((row.book_id, row.capture_id), row);
        }
        for row in sales::charges(tx, &keys).await? {
            self.wanted.checkouts.insert((row.book_id, row.checkout_id));
            self.charges.insert((row.book_id, row.charge_id), row);
        }
        Ok(())
    }

    /// The checkouts of all holds and charges, with what is in them.
    async fn read_checkouts(&mut self, tx: &mut PgConnection) -> Result<(), sqlx::Error> {
        let keys = Keys::of(&self.wanted.holds);
        for row in subjects::checkouts_of_holds(tx, &keys).await? {
            self.wanted.checkouts.insert((row.book_id, row.checkout_id));
        }
        let keys = Keys::of(&self.wanted.checkouts);
        for row in sales::checkouts(tx, &keys).await? {
            self.checkouts.insert((row.book_id, row.checkout_id), row);
        }
        self.items = sales::items(tx, &keys).await?;
        self.results = sales::results(tx, &keys).await?;
        self.verifications = orders::verifications(tx, &keys).await?;
        self.quotes = orders::quotes(tx, &keys, &Keys::of(&self.wanted.quotes)).await?;
        for row in sales::charges_of_checkouts(tx, &keys).await? {
            self.charges.insert((row.book_id, row.charge_id), row);
        }
        let holds = self.items.iter().map(|item| (item.book_id, item.hold_id));
        self.wanted.holds.extend(holds);
        let named = self.results.iter().filter_map(|r| r.charge_id.map(|id| (r.book_id, id)));
        self.wanted.captures.extend(named.chain(self.charges.keys().copied()));
        Ok(())
    }

    /// The transfers that belong to something.
    pub(super) fn transfers_of(&self, key: Key) -> &[Entry] {
        self.transfers.get(&key).map_or(&[], Vec::as_slice)
    }
}
