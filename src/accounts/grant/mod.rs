//! Promotional credits: with a signup, or given by the operator, at once or for later.

mod annex;
mod command;
mod granter;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::ground::{Amount, BookId, GrantId, KeyId, LotId};
use crate::ledger::{CommandIdentity, Desk, Fault, GrantTerms, Outcome, SubmitError};

use super::{AccountError, Accounts, store};

pub(super) use granter::DueGrant;
pub use granter::{Granter, OverdueGrants};

use annex::Grants;
use command::{CancelGrant, Give};

/// How many grants of an account may wait for their time.
pub const WAITING_GRANTS_MAX: i64 = 100;

/// The most that an operator gives at once. A book can have millions of such grants before a sum does
/// not fit, so that what is given for later can be credited when its time comes.
pub const GRANT_MAX: Amount = match Amount::from_micros(1_000_000_000_000) {
    Some(amount) => amount,
    None => Amount::MAX,
};

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

/// What has become of a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum GrantState {
    /// It waits for `effective_at`, or to be credited since then.
    Scheduled,
    /// It became a lot.
    Credited,
    /// It was withdrawn before it was credited.
    Canceled,
}

/// Promotional credits that were given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct GrantView {
    /// The grant.
    pub grant_id: GrantId,
    /// Whose it is.
    pub account_id: BookId,
    /// What has become of it.
    pub state: GrantState,
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
    /// The key that gave it; of a signup the key that came with it.
    pub granted_by: KeyId,
    /// When it was given.
    pub granted_at: DateTime<Utc>,
    /// The lot that it became; null unless it is credited.
    pub lot_id: Option<LotId>,
    /// The key that canceled it.
    pub canceled_by: Option<KeyId>,
    /// When it was canceled.
    pub canceled_at: Option<DateTime<Utc>>,
}

/// A date of a grant, by the name that requests have for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GrantDate {
    EffectiveAt,
    ExpiresAt,
}

/// Why a grant was not given, or not canceled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum GrantRefusal {
    #[error("{max} grants of the account wait for their time, and that is the most")]
    TooManyGrantsWaiting { max: i64 },
    #[error("at most {max} is given at once")]
    GrantTooLarge { max: Amount },
    #[error("it lies after the year 9999 in UTC")]
    GrantDateTooLate { date: GrantDate },
    #[error("it would expire before it can be spent, at {effective_at}")]
    GrantExpiresTooSoon { effective_at: DateTime<Utc> },
    #[error("it has become lot {lot_id}")]
    GrantCredited { lot_id: LotId },
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
    pub(super) standing: Standing,
}

/// What has become of a grant, and when: one of two outcomes, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Scheduled,
    Credited { at: DateTime<Utc>, lot: LotId },
    Canceled { at: DateTime<Utc>, by: KeyId },
}

impl Grant {
    /// Books it: the lot, the event and its own row.
    pub(super) fn credit(mut self, desk: &mut Desk<'_>) -> Result<GrantView, Fault> {
        // Told first: what is over on arrival expires at once.
        desk.book.emit("grant.credited", self.id.0);
        let (_, lot) = desk.book.grant(desk.entropy, self.id.0, &self.terms)?;
        self.standing = Standing::Credited { at: desk.book.now(), lot };
        Ok(desk.annexes.of::<Grants>().keep(self))
    }

    fn view(&self) -> GrantView {
        let GrantTerms { amount, priority, effective_at, expires_at } = self.terms;
        let (state, lot_id, canceled) = match self.standing {
            Standing::Scheduled => (GrantState::Scheduled, None, None),
            Standing::Credited { lot, .. } => (GrantState::Credited, Some(lot), None),
            Standing::Canceled { at, by } => (GrantState::Canceled, None, Some((at, by))),
        };
        let (canceled_at, canceled_by) = canceled.unzip();
        GrantView {
            grant_id: self.id,
            account_id: self.account,
            state,
            amount,
            priority,
            effective_at,
            expires_at,
            reason: self.reason.clone(),
            granted_by: self.by,
            granted_at: self.granted_at,
            lot_id,
            canceled_by,
            canceled_at,
        }
    }
}

/// Which grants are wanted.
#[derive(Clone, Copy, Debug)]
pub struct GrantQuery {
    /// None for those of all accounts.
    pub account: Option<BookId>,
    /// Only those that wait.
    pub waiting: bool,
    pub after: Option<GrantId>,
    pub limit: i64,
}

impl Accounts {
    /// Gives an account promotional credits, now or for later.
    pub async fn give(
        &self,
        new: NewGrant,
        identity: CommandIdentity,
    ) -> Result<Outcome, AccountError> {
        if new.account == BookId::HOUSE {
            return Err(AccountError::AccountUnknown);
        }
        let days = self.settings.grant_days;
        match self.engine.submit(Arc::new(Give { new, identity, days })).await {
            Err(SubmitError::BookUnknown) => Err(AccountError::AccountUnknown),
            outcome => Ok(outcome?),
        }
    }

    /// Withdraws a grant that has not been credited.
    pub async fn cancel_grant(
        &self,
        grant: GrantId,
        by: KeyId,
        identity: CommandIdentity,
    ) -> Result<Outcome, AccountError> {
        let account = store::grants::account_of(&self.pool, grant).await?;
        let account = account.ok_or(AccountError::GrantUnknown)?;
        let command = CancelGrant { account, grant, by, identity };
        Ok(self.engine.submit(Arc::new(command)).await?)
    }

    /// A page of grants, the newest first.
    pub async fn grants(&self, query: GrantQuery) -> Result<Vec<GrantView>, AccountError> {
        let grants = store::grants::list(&self.pool, query).await?;
        Ok(grants.iter().map(Grant::view).collect())
    }

    /// The worker that credits grants whose time has come.
    pub fn granter(&self) -> Granter {
        Granter::new(self.pool.clone(), self.engine.clone(), self.clock.clone())
    }
}
