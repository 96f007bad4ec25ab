//! The life of a checkout, in which every step and every undo is repeated after each of the others:
//! the same command has its first answer, the same wish under another key is refused, and nothing
//! moves twice.

use bursar::checkout::{CheckoutView, DisputeView};
use bursar::ground::{BookId, ChargeId, KeyId};
use chrono::TimeDelta;
use serde_json::Value;

use super::model::amount;
use super::scene::{self, Call, Replica, Request};
use super::{invariants, rows};
use crate::support::postgres::{TestDatabase, run};

struct Life<'a> {
    db: &'a TestDatabase,
    replica: Replica,
    account: BookId,
    /// Everything that was done, with the answer.
    done: Vec<(Request, String)>,
}

impl Life<'_> {
    /// Takes a step and repeats it and all before it.
    async fn step(&mut self, key: &str, call: Call) -> Value {
        let request = Request::new(self.account, key, call);
        let outcome = self.replica.send(&request).await.unwrap();
        assert!(outcome.accepted && !outcome.replayed, "{key}: {}", outcome.body);
        self.done.push((request, outcome.body.clone()));
        self.repeat().await;
        scene::body(&outcome)
    }

    /// Repeats everything that was done, backwards and then forwards.
    async fn repeat(&self) {
        let before = rows::of(&self.db.owner, self.account).await;
        for (request, body) in self.done.iter().rev().chain(&self.done) {
            let again = self.replica.send(request).await.unwrap();
            assert!(again.replayed && again.accepted, "{}", request.key);
            assert_eq!(again.body, *body, "{}", request.key);
        }
        assert_eq!(self.replica.checkouts.sweeper().step().await.unwrap(), 0, "nothing is due");
        assert_eq!(rows::of(&self.db.owner, self.account).await, before);
    }

    /// The sweeper's own step, and everything before it again.
    async fn sweep(&self, settles: usize) {
        assert_eq!(self.replica.checkouts.sweeper().step().await.unwrap(), settles);
        self.repeat().await;
    }

    /// What a call does under a key of its own: it is refused, and only that is written.
    async fn refused(&self, code: &str, call: Call) {
        let before = self.money().await;
        let key = format!("again {:?}", scene::fresh::<8>());
        let outcome = self.replica.send(&Request::new(self.account, key, call)).await.unwrap();
        assert_eq!(scene::code(&outcome), code);
        assert_eq!(self.money().await, before);
    }

    /// All rows but the recorded answers.
    /// Everything but the answers that are kept, whose ids are numbered through all of them.
    async fn money(&self) -> Vec<String> {
        let rows = rows::of(&self.db.owner, self.account).await;
        rows.into_iter().filter(|row| !row.contains("\"\"")).collect()
    }
}

fn dispute(key: KeyId, charge: ChargeId, micros: i64) -> Call {
    Call::Dispute(charge, scene::dispute(key, Some(amount(micros))))
}

fn reverse(charge: ChargeId, micros: Option<i64>) -> Call {
    Call::Reverse(charge, scene::reversal(micros.map(amount)))
}

#[test]
fn nothing_moves_twice_whatever_is_repeated_and_when() {
    run(|db| async move {
        let replica = Replica::new(&db, 1, scene::one_lane());
        replica.list_skus().await;
        let account = scene::fresh_account(&replica.clock);
        let [key, _] = replica.open_account(account).await;
        replica.top_up(account, 100).await;
        let mut life = Life { db: &db, replica, account, done: Vec::new() };
        // The third SKU: 30.5 hours to deliver, 2.5 to judge, 100.5 to dispute.
        let order = scene::order(key, &[(2, 20), (2, 5), (2, 5)], 30);
        let view = life.step("open", Call::Open(order)).await;
        let view: CheckoutView = serde_json::from_value(view).unwrap();
        let checkout = view.checkout_id;
        let submit = |result: &str, item, units| {
            Call::Submit(checkout, scene::submission(result, item, units))
        };
        let judge =
            |result: &str, units| Call::Judge(checkout, result.into(), scene::verdict(units));
        life.step("deliver", submit("r", 1, 12)).await;
        life.refused("result_conflict", submit("r", 1, 8)).await;
        life.step("deliver late", submit("s", 2, 5)).await;
        let judged = life.step("judge", judge("r", 10)).await;
        life.refused("already_decided", judge("r", 12)).await;
        let charge: ChargeId = judged["charge_id"].as_str().unwrap().parse().unwrap();
        life.step("reverse a part", reverse(charge, Some(2))).await;
        let begun = life.step("dispute", dispute(key, charge, 3)).await;
        let begun: DisputeView = serde_json::from_value(begun).unwrap();
        life.refused("charge_disputed", dispute(key, charge, 1)).await;
        life.refused("charge_disputed", reverse(charge, None)).await;
        let decide = |upheld| Call::Decide(begun.dispute_id, scene::decision(upheld));
        life.step("uphold", decide(true)).await;
        life.refused("dispute_decided", decide(true)).await;
        life.refused("dispute_decided", decide(false)).await;
        life.step("cancel", Call::Cancel(checkout)).await;
        life.refused("checkout_not_cancelable", Call::Cancel(checkout)).await;
        life.refused("item_closed", submit("t", 3, 5)).await;
        life.replica.clock.advance(TimeDelta::hours(3));
        life.sweep(1).await;
        life.refused("already_decided", judge("s", 5)).await;
        life.step("dispute again", dispute(key, charge, 4)).await;
        life.replica.clock.advance(TimeDelta::hours(101));
        life.sweep(1).await;
        life.refused("charge_final", dispute(key, charge, 1)).await;
        life.refused("charge_final", reverse(charge, None)).await;
        let view = life.replica.checkouts.charge(account, charge).await.unwrap();
        assert_eq!((view.amount, view.reversed), (amount(10), amount(9)));
        assert_eq!((view.reversals.len(), view.disputes.len()), (3, 2));
        let view = life.replica.checkouts.view(account, checkout).await.unwrap();
        let money = [view.captured, view.released, view.held].map(|amount| amount.micros());
        assert_eq!(money, [10, 20, 0]);
        invariants::hold_in(&db.owner).await;
    });
}
