//! The whole life of checkouts on real Postgres: random sequences through the engine, against the
//! model.

mod charges;
mod op;
mod orders;
mod units;

use bursar::ground::{BookId, CapId, ChargeId, CheckoutId, Clock, DisputeId, KeyId, QuoteId};
use bursar::ledger::{Outcome, Role, SubmitError};
use chrono::{DateTime, NaiveTime, TimeDelta};
use proptest::prelude::*;
use sqlx::Row;
use tokio::runtime::Builder;
use uuid::Uuid;

use op::{Op, Part, op, recent};

use super::commands::Verb;
use super::model::{Model, Time, amount};
use super::scene::{Call, Replica, Request, TERMS};
use super::{invariants, scene};
use crate::support::postgres::test_database;

struct Item {
    hold: usize,
    sku: usize,
    quantity: i64,
    price: i64,
    submitted: i64,
    closed: bool,
    deliver_by: Time,
}

struct Quoted {
    id: QuoteId,
    /// SKU, quantity and price of each line.
    lines: Vec<[i64; 3]>,
    expires: Time,
    accepted: bool,
}

struct Opened {
    id: CheckoutId,
    items: Vec<Item>,
}

struct Delivered {
    checkout: usize,
    item: usize,
    id: String,
    quantity: i64,
    open: bool,
    verify_by: Time,
}

struct Charged {
    id: ChargeId,
    capture: usize,
    final_at: Time,
    disputes: Vec<Disputed>,
}

struct Disputed {
    id: DisputeId,
    amount: i64,
    decide_by: Time,
    open: bool,
}

struct Life {
    replica: Replica,
    account: BookId,
    keys: [KeyId; 2],
    model: Model,
    /// Price of each SKU, and whether it is sold.
    catalog: [(i64, bool); 3],
    quoted: Vec<Quoted>,
    opened: Vec<Opened>,
    delivered: Vec<Delivered>,
    charged: Vec<Charged>,
    /// The request of each top-up, and its lot.
    topups: Vec<(usize, usize)>,
    done: Vec<(Request, Outcome)>,
}

impl Life {
    /// Begins a quarter past midnight, so that the seconds the test takes never change the day.
    async fn begin(replica: Replica) -> Self {
        let now = replica.clock.now();
        let start = (now + TimeDelta::days(1)).with_time(NaiveTime::MIN).unwrap();
        replica.clock.advance(start + TimeDelta::minutes(15) - now);
        replica.list_skus().await;
        let account = scene::fresh_account(&replica.clock);
        let keys = replica.open_account(account).await;
        let model = Model::new(replica.clock.now());
        Self {
            replica,
            account,
            keys,
            model,
            catalog: TERMS.map(|terms| (terms.price, true)),
            quoted: Vec::new(),
            opened: Vec::new(),
            delivered: Vec::new(),
            charged: Vec::new(),
            topups: Vec::new(),
            done: Vec::new(),
        }
    }

    async fn apply(&mut self, op: &Op) {
        match *op {
            Op::TopUp(micros) => {
                self.topups.push((self.done.len(), self.model.lots.len()));
                self.accepted(Call::Act(Verb::TopUp(amount(micros)))).await;
                self.model.top_up(micros);
            }
            Op::Grant { amount: micros, hours } => {
                // Ten minutes apart from what returns to an expired lot.
                let expires = self.model.now + TimeDelta::hours(hours) + TimeDelta::minutes(10);
                self.accepted(Call::Act(Verb::Grant(amount(micros), expires))).await;
                self.model.grant(micros, expires);
            }
            Op::Open { key, quantities, slack } => self.open(key, quantities, slack).await,
            Op::Quote { key, quantities } => self.quote(key, quantities).await,
            Op::Accept { pick, key, slack } => {
                if let Some(n) = recent(pick, self.quoted.len()) {
                    self.accept(n, key, slack).await;
                }
            }
            Op::Buy { key, quantities } => {
                let before = self.quoted.len();
                self.quote(key, quantities).await;
                if self.quoted.len() > before {
                    self.accept(before, key, None).await;
                }
            }
            Op::Relist { sku, price, active } => self.relist(sku, price, active).await,
            Op::Submit { pick, ref parts, again } => self.submit(pick, parts, again).await,
            Op::Judge { pick, accepted } => {
                if let Some(n) = recent(pick, self.delivered.len()) {
                    self.judge(n, accepted).await;
                }
            }
            Op::Deliver { pick, item, quantity, accepted } => {
                let before = self.delivered.len();
                self.submit(pick, &[Part { item, quantity, meets: true }], false).await;
                if self.delivered.len() > before {
                    self.judge(before, accepted).await;
                }
            }
            Op::Cancel { pick } => self.cancel(pick).await,
            Op::Pass { hours } => {
                let by = TimeDelta::hours(hours);
                self.replica.clock.advance(by);
                self.model.pass(self.model.now + by);
                // Whatever comes to a book books what has expired, even when nothing else is due.
                let outcome = self.send(Call::Act(Verb::NothingDue)).await;
                assert!(!outcome.accepted && !outcome.replayed);
                self.done.pop();
                self.charges_agree().await;
            }
            Op::Sweep => self.sweep().await,
            Op::Reverse { pick, amount } => self.reverse(pick, amount).await,
            Op::Dispute { pick, amount } => self.dispute(pick, amount).await,
            Op::Decide { pick, upheld } => self.decide(pick, upheld).await,
            Op::Cap { key, span, limit } => {
                let id = CapId(Uuid::from_bytes(scene::fresh()));
                let of = key.map(|key| self.keys[key]);
                let verb = Verb::Cap { id, key: of, span, limit: amount(limit) };
                self.accepted(Call::Act(verb)).await;
                self.model.set_cap(key, span, limit);
            }
            Op::Freeze(frozen) => {
                self.accepted(Call::Act(Verb::Freeze(frozen))).await;
                self.model.frozen = frozen;
            }
            Op::Turn { pick, thaw } => self.turn(pick, thaw).await,
            Op::Replay { pick } => {
                let Some(n) = pick.checked_rem(self.done.len()) else { return };
                let (request, first) = &self.done[n];
                let again = self.replica.send(request).await.unwrap();
                assert!(again.replayed);
                assert_eq!((again.accepted, &again.body), (first.accepted, &first.body));
            }
            Op::Conflict { pick } => {
                let Some(n) = pick.checked_rem(self.done.len()) else { return };
                let mut request = self.done[n].0.clone();
                request.asked.push_str(" and more");
                if let Call::Act(_) = request.call {
                    return;
                }
                let refused = self.replica.send(&request).await.unwrap_err();
                assert_eq!(refused.to_string(), "the ledger did not take the command");
                let source = std::error::Error::source(&refused).unwrap();
                assert_eq!(source.downcast_ref(), Some(&SubmitError::Conflict));
            }
        }
    }

    async fn send(&mut self, call: Call) -> Outcome {
        let request = Request::new(self.account, format!("request {}", self.done.len()), call);
        let outcome = self.replica.send(&request).await.unwrap();
        assert!(!outcome.replayed);
        self.done.push((request, outcome.clone()));
        outcome
    }

    async fn accepted(&mut self, call: Call) -> Outcome {
        let outcome = self.send(call).await;
        assert!(outcome.accepted, "{}", outcome.body);
        outcome
    }

    /// Whether the outcome is as expected: accepted, or refused with that code.
    fn is(outcome: &Outcome, refusal: Option<&str>) -> bool {
        assert_eq!(outcome.accepted, refusal.is_none(), "{} {refusal:?}", outcome.body);
        if let Some(expected) = refusal {
            assert_eq!(scene::code(outcome), expected);
        }
        outcome.accepted
    }

    /// A payment turns out to be void, or one that did turns up.
    async fn turn(&mut self, pick: usize, thaw: bool) {
        let Some(n) = pick.checked_rem(self.topups.len()) else { return };
        let (request, lot) = self.topups[n];
        let (topup, is_void) = (format!("request {request}"), self.model.lots[lot].lost.is_some());
        let verb = if is_void { Verb::Reinstate(topup) } else { Verb::Void(topup) };
        self.accepted(Call::Act(verb)).await;
        if is_void {
            self.model.reinstate(lot)
        } else {
            self.model.void(lot)
        }
        if thaw {
            self.accepted(Call::Act(Verb::Freeze(false))).await;
            self.model.frozen = false;
        }
    }

    async fn agree(&self) {
        let pool = &self.replica.pool;
        let sql = "select settled_usdc, prepaid, held, promo_issued, promo, promo_held, revenue,
                          reversed_revenue, breakage, settlement_loss
                   from book where slot = $1 and book_id = $2";
        let row = sqlx::query(sql).bind(self.account.slot().sql()).bind(self.account.0);
        let row = row.fetch_one(pool).await.unwrap();
        for role in Role::ALL {
            let got: i64 = row.get(role.name());
            assert_eq!(got, self.model.balance(role), "{role:?}");
        }
        let sql = "select lot_id, paid, amount, remaining, parent_id, lost from lot
                   where slot = $1 and book_id = $2 order by lot_id";
        let rows: Vec<LotRow> = sqlx::query_as(sql)
            .bind(self.account.slot().sql())
            .bind(self.account.0)
            .fetch_all(pool)
            .await
            .unwrap();
        let position = |id: Uuid| rows.iter().position(|(of, ..)| *of == id).unwrap();
        let lots: Vec<_> = rows
            .iter()
            .map(|(_, paid, amount, left, parent, lost)| {
                (*paid, *amount, *left, parent.map(position), *lost)
            })
            .collect();
        let expected = self.model.lots.iter();
        let expected: Vec<_> =
            expected.map(|lot| (lot.paid, lot.amount, lot.left, lot.parent, lot.lost)).collect();
        assert_eq!(lots, expected, "lots, as they were opened");
        let told = bursar::finance::credits(pool, self.account, DateTime::UNIX_EPOCH, 1000).await;
        let left = told.unwrap().unwrap().lots.into_iter().filter(|lot| !lot.remaining.is_zero());
        let burning: Vec<_> = left.map(|lot| position(lot.id.0)).collect();
        let mut expected = self.model.burn_order();
        expected.retain(|n| self.model.lots[*n].left > 0);
        assert_eq!(burning, expected, "open lots, as they burn");
    }
}

/// Id, whether paid, amount, remaining, parent, lost.
type LotRow = (Uuid, bool, i64, i64, Option<Uuid>, Option<i64>);

#[test]
fn lives_of_checkouts_agree_with_the_model() {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let ops = prop::collection::vec(op(), 60);
    let case = |ops: Vec<Op>| {
        runtime.block_on(async {
            let db = test_database().await;
            let mut life = Life::begin(Replica::new(&db, 1, scene::one_lane())).await;
            life.apply(&Op::TopUp(60)).await;
            for op in &ops {
                life.apply(op).await;
                life.agree().await;
            }
            life.charges_agree().await;
            invariants::hold_in(&db.owner).await;
        });
        Ok(())
    };
    scene::runner(30).run(&ops, case).unwrap_or_else(|error| panic!("{error}"));
}
