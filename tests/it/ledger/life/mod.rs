//! The whole life of checkouts on real Postgres: random sequences through the engine, against the
//! model.

mod op;

use bursar::ground::{BookId, CapId, ChargeId, CheckoutId, Clock, KeyId};
use bursar::ledger::{Outcome, Refusal, Role, SubmitError};
use chrono::{DateTime, NaiveTime, TimeDelta};
use proptest::prelude::*;
use sqlx::Row;
use tokio::runtime::Builder;
use uuid::Uuid;

use op::{Op, op, recent};

use super::commands::Verb;
use super::model::{Model, Time, amount, sorted};
use super::scene::{Call, Replica, Request, TERMS};
use super::{invariants, scene};
use crate::support::postgres::test_database;

struct Item {
    hold: usize,
    sku: usize,
    quantity: i64,
    submitted: i64,
    closed: bool,
    deliver_by: Time,
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
}

struct Life {
    replica: Replica,
    account: BookId,
    keys: [KeyId; 2],
    model: Model,
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
        let (opened, delivered, charged) = (Vec::new(), Vec::new(), Vec::new());
        let (topups, done) = (Vec::new(), Vec::new());
        Self { replica, account, keys, model, opened, delivered, charged, topups, done }
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
            Op::Submit { pick, item, quantity, again } => {
                self.submit(pick, item, quantity, again).await;
            }
            Op::Judge { pick, accepted } => {
                if let Some(n) = recent(pick, self.delivered.len()) {
                    self.judge(n, accepted).await;
                }
            }
            Op::Deliver { pick, item, quantity, accepted } => {
                let before = self.delivered.len();
                self.submit(pick, item, quantity, false).await;
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
            }
            Op::Sweep => self.sweep().await,
            Op::Reverse { pick, amount } => self.reverse(pick, amount).await,
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

    async fn open(&mut self, key: usize, quantities: [i64; 3], slack: i64) {
        let lines: Vec<_> = (0..3).zip(quantities).filter(|(_, n)| *n > 0).collect();
        let total: i64 = lines.iter().map(|(sku, n)| TERMS[*sku].price * n).sum();
        let max_total = (total + slack).max(0);
        let order = scene::order(self.keys[key], &lines, max_total);
        let outcome = self.send(Call::Open(order)).await;
        if let Some(expected) = self.model.refusal(key, total, max_total) {
            assert!(!outcome.accepted, "{} {expected:?}", outcome.body);
            assert_eq!(sorted(scene::body::<Refusal>(&outcome)), sorted(expected));
            return;
        }
        assert!(outcome.accepted, "{}", outcome.body);
        let view: bursar::checkout::CheckoutView = scene::body(&outcome);
        let mut items = Vec::new();
        for (sku, quantity) in lines {
            let hold = self.model.holds.len();
            self.model.hold(key, TERMS[sku].price * quantity);
            let deliver_by = self.model.now + scene::half_hours(TERMS[sku].deliver);
            items.push(Item { hold, sku, quantity, submitted: 0, closed: false, deliver_by });
        }
        self.opened.push(Opened { id: view.checkout_id, items });
    }

    async fn submit(&mut self, pick: usize, item: usize, quantity: i64, again: bool) {
        let Some(checkout) = recent(pick, self.opened.len()) else { return };
        let item = item % self.opened[checkout].items.len();
        let taken = self.delivered.iter().find(|known| known.checkout == checkout);
        let duplicate = taken.filter(|_| again).map(|known| known.id.clone());
        let is_duplicate = duplicate.is_some();
        let id = duplicate.unwrap_or_else(|| format!("result-{}", self.done.len()));
        let number = i16::try_from(item + 1).unwrap();
        let submission = scene::submission(&id, number, quantity);
        let call = Call::Submit(self.opened[checkout].id, submission);
        let outcome = self.send(call).await;
        let now = self.model.now;
        let of = &mut self.opened[checkout].items[item];
        let left = of.quantity - of.submitted;
        let refusal = if is_duplicate {
            Some("result_conflict")
        } else if of.closed && left > 0 {
            Some("item_closed")
        } else if !of.closed && now >= of.deliver_by {
            Some("delivery_deadline_passed")
        } else {
            (quantity > left).then_some("result_quantity_exceeded")
        };
        if Self::is(&outcome, refusal) {
            of.submitted += quantity;
            of.closed = of.submitted == of.quantity;
            let verify_by = now + scene::half_hours(TERMS[of.sku].verify);
            let open = true;
            self.delivered.push(Delivered { checkout, item, id, quantity, open, verify_by });
        }
    }

    async fn judge(&mut self, n: usize, accepted: i64) {
        let checkout = self.opened[self.delivered[n].checkout].id;
        let id = self.delivered[n].id.clone();
        let outcome = self.send(Call::Judge(checkout, id, scene::verdict(accepted))).await;
        let of = &mut self.delivered[n];
        let refusal = if !of.open {
            Some("already_decided")
        } else if self.model.now >= of.verify_by {
            Some("verification_deadline_passed")
        } else {
            let fits = (0..=of.quantity).contains(&accepted);
            (!fits).then_some("accepted_quantity_exceeded")
        };
        if !Self::is(&outcome, refusal) {
            return;
        }
        of.open = false;
        let item = &self.opened[of.checkout].items[of.item];
        let terms = &TERMS[item.sku];
        self.model.release(item.hold, (of.quantity - accepted) * terms.price);
        let view: serde_json::Value = scene::body(&outcome);
        assert_eq!(view["charge_id"].is_string(), accepted > 0);
        if accepted > 0 {
            let capture = self.model.captures.len();
            self.model.capture(item.hold, accepted * terms.price);
            let id = view["charge_id"].as_str().unwrap().parse().unwrap();
            let final_at = self.model.now + scene::half_hours(terms.dispute);
            self.charged.push(Charged { id, capture, final_at });
        }
    }

    async fn cancel(&mut self, pick: usize) {
        let Some(n) = recent(pick, self.opened.len()) else { return };
        let outcome = self.send(Call::Cancel(self.opened[n].id)).await;
        let nothing = self.opened[n].items.iter().all(|item| item.closed);
        if Self::is(&outcome, nothing.then_some("checkout_not_cancelable")) {
            for item in self.opened[n].items.iter_mut().filter(|item| !item.closed) {
                let left = item.quantity - item.submitted;
                self.model.release(item.hold, left * TERMS[item.sku].price);
                item.closed = true;
            }
        }
    }

    /// Everything that is due, in the order of the deadlines: results first, then items.
    async fn sweep(&mut self) {
        let settled = self.replica.checkouts.sweeper().step().await.unwrap();
        let now = self.model.now;
        let mut due = 0;
        let mut results: Vec<_> =
            self.delivered.iter_mut().filter(|of| of.open && of.verify_by <= now).collect();
        results.sort_by_key(|of| of.verify_by);
        for of in results {
            let item = &self.opened[of.checkout].items[of.item];
            self.model.release(item.hold, of.quantity * TERMS[item.sku].price);
            of.open = false;
            due += 1;
        }
        let items = self.opened.iter_mut().flat_map(|of| &mut of.items);
        let mut items: Vec<_> = items.filter(|of| !of.closed && of.deliver_by <= now).collect();
        items.sort_by_key(|of| of.deliver_by);
        for item in items {
            let left = item.quantity - item.submitted;
            self.model.release(item.hold, left * TERMS[item.sku].price);
            item.closed = true;
            due += 1;
        }
        assert_eq!(settled, due);
        let overdue = self.replica.checkouts.sweeper().overdue().await.unwrap();
        assert_eq!((overdue.items, overdue.results), (0, 0));
    }

    async fn reverse(&mut self, pick: usize, micros: Option<i64>) {
        let Some(n) = recent(pick, self.charged.len()) else { return };
        let request = scene::reversal(micros.map(amount));
        let outcome = self.send(Call::Reverse(self.charged[n].id, request)).await;
        let charge = &self.charged[n];
        let left = i64::try_from(self.model.captures[charge.capture].units.len()).unwrap();
        let refusal = if self.model.now >= charge.final_at {
            Some("charge_final")
        } else if left == 0 {
            Some("already_reversed")
        } else {
            micros.is_some_and(|micros| micros > left).then_some("reversal_exceeds_charge")
        };
        if Self::is(&outcome, refusal) {
            self.model.reverse(charge.capture, micros.unwrap_or(left));
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
            invariants::hold_in(&db.owner).await;
        });
        Ok(())
    };
    scene::runner(30).run(&ops, case).unwrap_or_else(|error| panic!("{error}"));
}
