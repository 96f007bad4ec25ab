use std::collections::{BTreeSet, HashMap};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use sqlx::PgConnection;

use crate::accounts::store;
use crate::ground::{BookId, GrantId};
use crate::ledger::Annex;

use super::{Grant, GrantView, Standing};

/// The grants of one batch.
#[derive(Default)]
pub(in crate::accounts) struct Grants {
    /// The accounts whose waiting grants are to be counted.
    pub(super) counted: BTreeSet<BookId>,
    pub(super) wanted: BTreeSet<(BookId, GrantId)>,
    counts: HashMap<BookId, i64>,
    pub(super) read: HashMap<GrantId, Grant>,
    /// What to write, in the order of the decisions.
    kept: Vec<Grant>,
}

impl Grants {
    /// How many of an account's grants wait, with those of this batch.
    pub(super) fn waiting(&self, account: BookId) -> i64 {
        self.counts.get(&account).copied().unwrap_or_default()
    }

    pub(super) fn keep(&mut self, grant: Grant) -> GrantView {
        let view = grant.view();
        let count = self.counts.entry(grant.account).or_default();
        if let Some(read) = self.read.get_mut(&grant.id) {
            // Only what waits is decided on: it waits no more.
            *count = count.saturating_sub(1);
            read.standing = grant.standing;
        } else if grant.standing == Standing::Scheduled {
            *count = count.saturating_add(1);
        }
        self.kept.push(grant);
        view
    }
}

impl Annex for Grants {
    fn read<'a>(&'a mut self, tx: &'a mut PgConnection) -> BoxFuture<'a, Result<(), sqlx::Error>> {
        async move {
            if !self.counted.is_empty() {
                self.counts = store::grants::count_waiting(&mut *tx, &self.counted).await?;
            }
            if !self.wanted.is_empty() {
                let found = store::grants::read(&mut *tx, &self.wanted).await?;
                self.read = found.into_iter().map(|grant| (grant.id, grant)).collect();
            }
            Ok(())
        }
        .boxed()
    }

    fn write<'a>(&'a mut self, tx: &'a mut PgConnection) -> BoxFuture<'a, Result<(), sqlx::Error>> {
        async move {
            for grant in &self.kept {
                match self.read.contains_key(&grant.id) {
                    true => store::grants::settle(&mut *tx, grant).await?,
                    false => store::grants::insert(&mut *tx, grant).await?,
                }
            }
            Ok(())
        }
        .boxed()
    }

    fn changes(&self) -> u64 {
        u64::try_from(self.kept.len()).unwrap_or(u64::MAX)
    }
}
