use chrono::{DateTime, Datelike, SubsecRound, TimeDelta, Utc};

use crate::ground::{BookId, GrantId, KeyId};
use crate::ledger::{Annexes, Command, CommandIdentity, Decision, Desk, Fault, GrantTerms, Wants};

use super::annex::Grants;
use super::{GRANT_MAX, Grant, GrantDate, GrantRefusal, NewGrant, Standing, WAITING_GRANTS_MAX};

/// The last year that RFC 3339 can write.
const YEAR_MAX: i32 = 9999;

/// Gives promotional credits, or writes down that they are to be given.
pub(super) struct Give {
    pub(super) new: NewGrant,
    pub(super) identity: CommandIdentity,
    /// The life of credits whose end nobody chose.
    pub(super) days: u32,
}

impl Give {
    /// What is given at a time, with all that nobody chose; or why it cannot be.
    fn terms(&self, at: DateTime<Utc>) -> Result<GrantTerms, GrantRefusal> {
        let NewGrant { amount, priority, .. } = self.new;
        // The database keeps microseconds.
        let wanted = |date: Option<DateTime<Utc>>| date.map(|date| date.trunc_subsecs(6));
        let effective_at = wanted(self.new.effective_at).unwrap_or(at).max(at);
        let usual = || effective_at.checked_add_signed(TimeDelta::days(i64::from(self.days)));
        let expires_at = wanted(self.new.expires_at).or_else(usual);
        let late = |date| GrantRefusal::GrantDateTooLate { date };
        let in_time = |date: &DateTime<Utc>| date.year() <= YEAR_MAX;
        if !in_time(&effective_at) {
            return Err(late(GrantDate::EffectiveAt));
        }
        let expires_at = expires_at.filter(in_time).ok_or(late(GrantDate::ExpiresAt))?;
        if expires_at <= effective_at {
            return Err(GrantRefusal::GrantExpiresTooSoon { effective_at });
        }
        if amount > GRANT_MAX {
            return Err(GrantRefusal::GrantTooLarge { max: GRANT_MAX });
        }
        Ok(GrantTerms { amount, priority, effective_at, expires_at })
    }
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
        let NewGrant { account, by, .. } = self.new;
        let at = desk.book.now();
        let terms = match self.terms(at) {
            Ok(terms) => terms,
            Err(refusal) => return Ok(Decision::turn_away(&refusal)),
        };
        let due = terms.effective_at <= at;
        let grant = Grant {
            id: GrantId::mint(desk.entropy, at, account.slot()),
            account,
            terms,
            reason: self.new.reason.clone(),
            by,
            granted_at: at,
            standing: Standing::Scheduled,
        };
        if due {
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

/// Withdraws a grant that has not been credited; one that was withdrawn before stays as it is.
pub(super) struct CancelGrant {
    pub(super) account: BookId,
    pub(super) grant: GrantId,
    pub(super) by: KeyId,
    pub(super) identity: CommandIdentity,
}

impl Command for CancelGrant {
    fn book(&self) -> BookId {
        self.account
    }

    fn identity(&self) -> CommandIdentity {
        self.identity
    }

    fn want(&self, _: &mut Wants, annexes: &mut Annexes) {
        annexes.of::<Grants>().wanted.insert((self.account, self.grant));
    }

    fn decide(&self, desk: &mut Desk<'_>) -> Result<Decision, Fault> {
        let at = desk.book.now();
        let grants = desk.annexes.of::<Grants>();
        let grant = grants.read.get(&self.grant).cloned().ok_or(Fault::Annex("grant"))?;
        match grant.standing {
            Standing::Scheduled => {
                let standing = Standing::Canceled { at, by: self.by };
                Ok(Decision::accept(&grants.keep(Grant { standing, ..grant })))
            }
            Standing::Canceled { .. } => Ok(Decision::accept(&grant.view())),
            Standing::Credited { lot, .. } => {
                Ok(Decision::refuse(&GrantRefusal::GrantCredited { lot_id: lot }))
            }
        }
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
        let due = |grant: &&Grant| {
            grant.standing == Standing::Scheduled && grant.terms.effective_at <= now
        };
        match grant.filter(due).cloned() {
            Some(grant) => Ok(Decision::accept(&grant.credit(desk)?)),
            None => Ok(Decision::nothing_due()),
        }
    }
}
