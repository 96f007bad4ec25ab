use chrono::{DateTime, TimeDelta, Utc};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use sqlx::PgConnection;

use crate::ground::{Amount, BookId, CapId, GrantId, KeyId};
use crate::ledger::{
    Annex, Annexes, Command, CommandIdentity, DEFAULT_PRIORITY, Decision, Desk, Fault, GrantTerms,
    Span, Spender, Wants,
};

use super::grant::{Grant, Standing};
use super::{KeyRole, store};

/// A key that is to be issued.
#[derive(Clone, Debug)]
pub struct NewKey {
    pub id: KeyId,
    pub role: KeyRole,
    pub name: String,
    /// The SKUs that it may buy, deliver or judge; none means all.
    pub skus: Option<Vec<String>>,
    pub expires_at: Option<DateTime<Utc>>,
}

impl NewKey {
    /// A customer key without restrictions.
    pub fn customer(id: KeyId, name: &str) -> Self {
        Self { id, role: KeyRole::Customer, name: name.to_owned(), skus: None, expires_at: None }
    }
}

/// A cap that comes with an account or a key.
#[derive(Clone, Copy, Debug)]
pub struct CapSetting {
    pub span: Span,
    pub limit: Amount,
}

/// What else happens when a key is issued.
#[derive(Clone, Debug, Default)]
pub(super) struct Enrollment {
    /// The account's own row, when it comes into being with the key: origin and wallet.
    pub(super) account: Option<(&'static str, Option<String>)>,
    /// Promotional credits and their expiry.
    pub(super) grant: Option<(Amount, DateTime<Utc>)>,
    pub(super) caps: Vec<CapSetting>,
    /// Whether the caps bind the key rather than the account.
    pub(super) cap_key: bool,
}

/// Issues a key in one transaction with everything that comes with it.
pub(super) struct Enroll {
    pub(super) account: BookId,
    pub(super) new: NewKey,
    pub(super) hint: String,
    pub(super) enrollment: Enrollment,
}

impl Enroll {
    fn capped(&self) -> Option<KeyId> {
        self.enrollment.cap_key.then_some(self.new.id)
    }
}

impl Command for Enroll {
    fn book(&self) -> BookId {
        self.account
    }

    fn identity(&self) -> CommandIdentity {
        CommandIdentity::of_effect(&format!("key:{}:issue", self.new.id))
    }

    fn want(&self, _: &mut Wants, annexes: &mut Annexes) {
        // Nothing is read for the caps: a key or an account that is new has spent nothing.
        annexes.of::<Enrolled>();
    }

    fn decide(&self, desk: &mut Desk<'_>) -> Result<Decision, Fault> {
        let at = desk.book.now();
        if self.new.role == KeyRole::Customer {
            desk.book.admit_spender(Spender {
                id: self.new.id,
                skus: self.new.skus.clone(),
                expires_at: self.new.expires_at,
                revoked_at: None,
            });
        }
        if let Some((amount, expires_at)) = self.enrollment.grant {
            let priority = DEFAULT_PRIORITY;
            // Where the database's clock is ahead of ours by all of its life, it is over on arrival.
            let effective_at = expires_at
                .checked_sub_signed(TimeDelta::microseconds(1))
                .map_or(at, |last| last.min(at));
            let grant = Grant {
                id: GrantId::mint(desk.entropy, at, self.account.slot()),
                account: self.account,
                terms: GrantTerms { amount, priority, effective_at, expires_at },
                reason: "signup".to_owned(),
                by: self.new.id,
                granted_at: at,
                standing: Standing::Scheduled,
            };
            grant.credit(desk)?;
        }
        for cap in &self.enrollment.caps {
            let id = CapId::mint(desk.entropy, at, self.account.slot());
            desk.book.set_cap(id, self.capped(), cap.span, cap.limit);
        }
        desk.annexes.of::<Enrolled>().rows.push(Row {
            account: self.account,
            key: self.new.clone(),
            hint: self.hint.clone(),
            opens: self.enrollment.account.clone(),
            at,
        });
        Ok(Decision::accept(&serde_json::json!({ "key_id": self.new.id })))
    }
}

/// The rows of this floor in one batch.
#[derive(Default)]
pub(super) struct Enrolled {
    rows: Vec<Row>,
}

struct Row {
    account: BookId,
    key: NewKey,
    hint: String,
    opens: Option<(&'static str, Option<String>)>,
    at: DateTime<Utc>,
}

impl Annex for Enrolled {
    fn read<'a>(&'a mut self, _: &'a mut PgConnection) -> BoxFuture<'a, Result<(), sqlx::Error>> {
        async { Ok(()) }.boxed()
    }

    fn write<'a>(&'a mut self, tx: &'a mut PgConnection) -> BoxFuture<'a, Result<(), sqlx::Error>> {
        async move {
            for row in &self.rows {
                if let Some((origin, wallet)) = &row.opens {
                    store::open_account(&mut *tx, row.account, origin, wallet.as_deref(), row.at)
                        .await?;
                }
                store::insert_key(&mut *tx, row.account, &row.key, &row.hint, row.at).await?;
            }
            Ok(())
        }
        .boxed()
    }

    fn changes(&self) -> u64 {
        u64::try_from(self.rows.len()).unwrap_or(u64::MAX)
    }
}
