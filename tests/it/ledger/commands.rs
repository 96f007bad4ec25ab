//! Commands of the tests: each verb of a book once, and some that go wrong on purpose.

use bursar::ground::{Amount, BookId, CapId, ChargeId, Fingerprint, HoldId, KeyId, sha256};
use bursar::ledger::{
    Annex, Annexes, Command, CommandIdentity, DEFAULT_PRIORITY, Decision, Desk, Fault, GrantTerms,
    HoldRequest, Span, Spender, Wants,
};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use super::model::Time;

/// What a test command does.
#[derive(Clone, Debug)]
pub enum Verb {
    Admit(KeyId),
    TopUp(Amount),
    Grant(Amount, Time),
    /// A grant on terms of its own.
    Given(GrantTerms),
    Hold {
        key: KeyId,
        holds: Vec<HoldRequest>,
        max_total: Amount,
    },
    Capture {
        hold: HoldId,
        capture: ChargeId,
        amount: Amount,
    },
    Release {
        hold: HoldId,
        amount: Amount,
    },
    Reverse {
        capture: ChargeId,
        hold: HoldId,
        amount: Amount,
    },
    Cap {
        id: CapId,
        key: Option<KeyId>,
        span: Span,
        limit: Amount,
    },
    Freeze(bool),
    /// The payment of the top-up under this key is not there.
    Void(String),
    /// It is there after all.
    Reinstate(String),
    /// Tops up, and writes a row of another floor, whose name must be new.
    NotedTopUp(Amount, String),
    /// Tops up and then finds that something cannot be.
    Fault(Amount),
    /// Tops up and then refuses, which is not allowed.
    MovingRefusal(Amount),
    /// Tops up and then panics.
    Panic(Amount),
    /// A worker that came too early.
    NothingDue,
}

/// A verb on a book under a key.
#[derive(Clone, Debug)]
pub struct Act {
    pub book: BookId,
    pub key: String,
    /// What was asked, as far as the fingerprint goes.
    pub asked: String,
    pub verb: Verb,
}

impl Act {
    pub fn new(book: BookId, key: impl Into<String>, verb: Verb) -> Self {
        Self { book, key: key.into(), asked: format!("{verb:?}"), verb }
    }
}

/// What is given when nothing but the amount and the end is chosen.
pub fn terms(amount: Amount, effective_at: Time, expires_at: Time) -> GrantTerms {
    GrantTerms { amount, priority: DEFAULT_PRIORITY, effective_at, expires_at }
}

/// What the lot of a top-up under a key comes from.
fn origin(key: &str) -> Uuid {
    Uuid::from_slice(&sha256([key.as_bytes()])[..16]).unwrap()
}

impl Command for Act {
    fn book(&self) -> BookId {
        self.book
    }

    fn identity(&self) -> CommandIdentity {
        let fingerprint = Fingerprint(sha256([self.asked.as_bytes()]));
        CommandIdentity::of_request(KeyId(Uuid::nil()), &self.key, fingerprint)
    }

    fn want(&self, wants: &mut Wants, annexes: &mut Annexes) {
        match &self.verb {
            Verb::Hold { key, .. } => wants.spender(self.book, *key),
            Verb::Capture { hold, .. } | Verb::Release { hold, .. } => wants.hold(self.book, *hold),
            Verb::Reverse { capture, hold, .. } => {
                wants.capture(self.book, *capture);
                wants.hold(self.book, *hold);
            }
            Verb::Void(topup) | Verb::Reinstate(topup) => wants.lots_of(self.book, origin(topup)),
            Verb::Cap { key, span, .. } => wants.spent(self.book, *key, *span),
            Verb::NotedTopUp(..) => {
                annexes.of::<Notes>();
            }
            Verb::Admit(_)
            | Verb::TopUp(_)
            | Verb::Grant(..)
            | Verb::Given(_)
            | Verb::Freeze(_)
            | Verb::Fault(_)
            | Verb::MovingRefusal(_)
            | Verb::Panic(_)
            | Verb::NothingDue => {}
        }
    }

    fn decide(&self, desk: &mut Desk<'_>) -> Result<Decision, Fault> {
        let (book, entropy, nil) = (&mut *desk.book, desk.entropy, Uuid::nil());
        let at = book.now();
        match &self.verb {
            Verb::Admit(id) => {
                let spender = Spender { id: *id, skus: None, expires_at: None, revoked_at: None };
                book.admit_spender(spender);
            }
            Verb::TopUp(amount) => {
                book.top_up(entropy, origin(&self.key), *amount, at)?;
            }
            Verb::Void(topup) => {
                let origin = origin(topup);
                if !book.lots().any(|lot| lot.origin == origin && lot.lost.is_none()) {
                    return Ok(Decision::refuse(&json!({ "nothing": "to void" })));
                }
                book.void(entropy, origin)?;
            }
            Verb::Reinstate(topup) => {
                let origin = origin(topup);
                if !book.lots().any(|lot| lot.origin == origin && lot.lost.is_some()) {
                    return Ok(Decision::refuse(&json!({ "nothing": "to reinstate" })));
                }
                book.reinstate(entropy, origin)?;
            }
            Verb::Grant(amount, expires) => {
                let origin = origin(&self.key);
                book.emit("grant.credited", origin);
                book.grant(entropy, origin, &terms(*amount, at, *expires))?;
            }
            Verb::Given(terms) => {
                book.grant(entropy, nil, terms)?;
            }
            Verb::Hold { key, holds, max_total } => {
                if let Err(stop) = book.place_holds(entropy, *key, holds, *max_total) {
                    return Decision::stopped(stop);
                }
            }
            Verb::Capture { hold, capture, amount } => {
                let open = book.hold(*hold).map(|hold| hold.open()).unwrap_or_default();
                if amount.is_zero() || *amount > open {
                    return Ok(Decision::refuse(&json!({ "open": open })));
                }
                book.capture(entropy, *hold, *capture, *amount)?;
            }
            Verb::Release { hold, amount } => {
                let open = book.hold(*hold).map(|hold| hold.open()).unwrap_or_default();
                if amount.is_zero() || *amount > open {
                    return Ok(Decision::refuse(&json!({ "open": open })));
                }
                book.release(entropy, *hold, *amount)?;
            }
            Verb::Reverse { capture, amount, .. } => {
                if amount.is_zero() || book.capture_of(*capture).is_none() {
                    return Ok(Decision::refuse(&json!({ "nothing": "to reverse" })));
                }
                if let Err(stop) = book.reverse(entropy, *capture, nil, *amount) {
                    return Decision::stopped(stop);
                }
            }
            Verb::Cap { id, key, span, limit } => book.set_cap(*id, *key, *span, *limit),
            Verb::Freeze(frozen) => book.set_frozen(*frozen),
            Verb::NotedTopUp(amount, note) => {
                book.top_up(entropy, nil, *amount, at)?;
                desk.annexes.of::<Notes>().0.push((note.clone(), at));
            }
            Verb::Fault(amount) => {
                book.top_up(entropy, nil, *amount, at)?;
                return Err(Fault::Annex("a fault on purpose"));
            }
            Verb::MovingRefusal(amount) => {
                book.top_up(entropy, nil, *amount, at)?;
                return Ok(Decision::refuse(&json!({ "moved": true })));
            }
            Verb::Panic(amount) => {
                book.top_up(entropy, nil, *amount, at)?;
                panic!("a panic on purpose");
            }
            Verb::NothingDue => return Ok(Decision::nothing_due()),
        }
        Ok(Decision::accept(&json!({ "available": desk.book.available() })))
    }
}

/// Rows of another floor: names in the table of budgets, which must be new.
#[derive(Default)]
struct Notes(Vec<(String, Time)>);

impl Annex for Notes {
    fn read<'a>(&'a mut self, _: &'a mut PgConnection) -> BoxFuture<'a, Result<(), sqlx::Error>> {
        async { Ok(()) }.boxed()
    }

    fn write<'a>(&'a mut self, tx: &'a mut PgConnection) -> BoxFuture<'a, Result<(), sqlx::Error>> {
        async move {
            for (name, _) in &self.0 {
                let sql = "insert into budget (name, window_start, used) values ($1, 'epoch', 0)";
                sqlx::query(sql).bind(name).execute(&mut *tx).await?;
            }
            Ok(())
        }
        .boxed()
    }

    fn changes(&self) -> u64 {
        u64::try_from(self.0.len()).unwrap()
    }
}
