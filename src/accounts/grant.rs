//! Promotional credits: with a signup, or given by the operator, at once or for later.

use std::collections::{BTreeSet, HashMap};

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use utoipa::ToSchema;

use crate::ground::{Amount, BookId, GrantId, KeyId, LotId};
use crate::ledger::{
    Annex, Annexes, Command, CommandIdentity, Decision, Desk, Fault, GrantTerms, Wants,
};

use super::store;

/// How many grants of an account may wait for their time.
pub const WAITING_GRANTS_MAX: i64 = 100;

/// What an operator gives.
#[derive(Clone, Debug)]
pub struct NewGrant {
    pub account: BookId,
    pub amount: Amount,
    /// 0 to 100: lower burns first.
    pub priority: i16,
    /// From when on; at once when it is not later than that.
    pub effective_at: Option<DateTime<Utc>>,
    /// None takes the usual life of promotional credits.
    pub expires_at: Option<DateTime<Utc>>,
    pub reason: String,
    pub by: KeyId,
}

/// Promotional credits that were given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct GrantView {
    /// The grant.
    pub grant_id: GrantId,
    /// Whose it is.
    pub account_id: BookId,
    /// How much.
    pub amount: Amount,
    /// Lower is spent first.
    pub priority: i16,
    /// From when on it can be spent.
    pub effective_at: DateTime<Utc>,
    /// When what is left of it expires.
    pub expires_at: DateTime<Utc>,
    /// Why it was given.
    pub reason: String,
    /// The lot that it became; null while it waits for `effective_at`.
    pub lot_id: Option<LotId>,
}

/// Why a grant was not given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum GrantRefusal {
    #[error("{max} grants of the account wait for their time, and that is the most")]
    TooManyGrantsWaiting { max: i64 },
    #[error("it would expire before it can be spent, at {effective_at}")]
    GrantExpiresTooSoon { effective_at: DateTime<Utc> },
}

/// A grant as it is kept.
#[derive(Clone, Debug)]
pub(super) struct Grant {
    pub(super) id: GrantId,
    pub(super) account: BookId,
    pub(super) terms: GrantTerms,
    pub(super) reason: String,
    pub(super) by: KeyId,
    pub(super) granted_at: DateTime<Utc>,
    /// When it was credited, and the lot that it became.
    pub(super) credited: Option<(DateTime<Utc>, LotId)>,
}

impl Grant {
    /// Books it: the lot, the event and its own row.
    pub(super) fn credit(mut self, desk: &mut Desk<'_>) -> Result<GrantView, Fault> {
        // Told first: what is over on arrival expires at once.
        desk.book.emit("grant.credited", self.id.0);
        let (_, lot) = desk.book.grant(desk.entropy, self.id.0, &self.terms)?;
        self.credited = Some((desk.book.now(), lot));
        Ok(desk.annexes.of::<Grants>().keep(self))
    }

    fn view(&self) -> GrantView {
        let GrantTerms { amount, priority, effective_at, expires_at } = self.terms;
        GrantView {
            grant_id: self.id,
            account_id: self.account,
            amount,
            priority,
            effective_at,
            expires_at,
            reason: self.reason.clone(),
            lot_id: self.credited.map(|(_, lot)| lot),
        }
    }
}

/// Gives promotional credits, or writes down that they are to be given.
pub(super) struct Give {
    pub(super) new: NewGrant,
    pub(super) identity: CommandIdentity,
    /// The life of credits whose end nobody chose.
    pub(super) days: u32,
}

impl Command for Give {
    fn book(&self) -> BookId {
        self.new.account
    }

    fn identity(&self) -> CommandIdentity {
        self.identity
    }

    fn want(&self, _: &mut Wants, annexes: &mut Annexes) {
        annexes.of::<Grants>().counted.insert(self.new.account);
    }

    fn decide(&self, desk: &mut Desk<'_>) -> Result<Decision, Fault> {
        let NewGrant { account, amount, priority, by, .. } = self.new;
        let at = desk.book.now();
        // The database keeps microseconds.
        let wanted = self.new.effective_at.map(|wanted| wanted.trunc_subsecs(6));
        let effective_at = wanted.unwrap_or(at).max(at);
        let usual = || effective_at.checked_add_signed(TimeDelta::days(i64::from(self.days)));
        let wanted = self.new.expires_at.map(|wanted| wanted.trunc_subsecs(6));
        let expires_at = wanted.or_else(usual).ok_or(Fault::Overflow)?;
        if expires_at <= effective_at {
            let refusal = GrantRefusal::GrantExpiresTooSoon { effective_at };
            return Ok(Decision::turn_away(&refusal));
        }
        let grant = Grant {
            id: GrantId::mint(desk.entropy, at, account.slot()),
            account,
            terms: GrantTerms { amount, priority, effective_at, expires_at },
            reason: self.new.reason.clone(),
            by,
            granted_at: at,
            credited: None,
        };
        if effective_at <= at {
            return Ok(Decision::accept(&grant.credit(desk)?));
        }
        let grants = desk.annexes.of::<Grants>();
        if grants.waiting(account) >= WAITING_GRANTS_MAX {
            return Ok(Decision::refuse(&GrantRefusal::TooManyGrantsWaiting {
                max: WAITING_GRANTS_MAX,
            }));
        }
        Ok(Decision::accept(&grants.keep(grant)))
    }
}

/// Credits a grant whose time has come.
pub(super) struct CreditDue {
    pub(super) account: BookId,
    pub(super) grant: GrantId,
}

impl Command for CreditDue {
    fn book(&self) -> BookId {
        self.account
    }

    fn identity(&self) -> CommandIdentity {
        CommandIdentity::of_effect(&format!("grant:{}:credit", self.grant))
    }

    fn want(&self, _: &mut Wants, annexes: &mut Annexes) {
        annexes.of::<Grants>().wanted.insert((self.account, self.grant));
    }

    fn decide(&self, desk: &mut Desk<'_>) -> Result<Decision, Fault> {
        let now = desk.book.now();
        let grant = desk.annexes.of::<Grants>().read.get(&self.grant);
        let due = |grant: &&Grant| grant.credited.is_none() && grant.terms.effective_at <= now;
        match grant.filter(due).cloned() {
            Some(grant) => Ok(Decision::accept(&grant.credit(desk)?)),
            None => Ok(Decision::nothing_due()),
        }
    }
}

/// The grants of one batch.
#[derive(Default)]
pub(super) struct Grants {
    /// The accounts whose waiting grants are to be counted.
    counted: BTreeSet<BookId>,
    wanted: BTreeSet<(BookId, GrantId)>,
    counts: HashMap<BookId, i64>,
    read: HashMap<GrantId, Grant>,
    /// What to write, in the order of the decisions.
    kept: Vec<Grant>,
}

impl Grants {
    /// How many of an account's grants wait, with those of this batch.
    fn waiting(&self, account: BookId) -> i64 {
        self.counts.get(&account).copied().unwrap_or_default()
    }

    fn keep(&mut self, grant: Grant) -> GrantView {
        let view = grant.view();
        if grant.credited.is_none() {
            let count = self.counts.entry(grant.account).or_default();
            *count = count.saturating_add(1);
        } else if let Some(read) = self.read.get_mut(&grant.id) {
            read.credited = grant.credited;
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
                    true => store::grants::mark_credited(&mut *tx, grant).await?,
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
