//! Ten thousand deadlines in the same moment: a few batches enforce them, and checkouts go on.

use bursar::checkout::Overdue;
use bursar::ground::{BookId, KeyId};
use bursar::ledger::EngineSettings;
use chrono::TimeDelta;
use futures_util::future::join_all;

use super::invariants;
use super::scene::{self, Call, Replica, Request};
use crate::support::postgres::{TestDatabase, run};

const BOOKS: usize = 100;
const ITEMS: usize = 100;

/// Opens a checkout of so many items of one unit of the third SKU.
async fn open(replica: &Replica, account: BookId, spender: KeyId, key: &str, items: usize) {
    let micros = i64::try_from(items).unwrap();
    let order = scene::order(spender, &vec![(2, 1); items], micros);
    let outcome = replica.send(&Request::new(account, key, Call::Open(order))).await.unwrap();
    assert!(outcome.accepted, "{}", outcome.body);
}

async fn count(db: &TestDatabase, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(&db.service).await.unwrap()
}

#[test]
fn ten_thousand_deadlines_at_once_take_a_few_batches_and_nobody_waits_for_them() {
    run(|db| async move {
        let replica = Replica::new(&db, 1, EngineSettings::default());
        replica.list_skus().await;
        let accounts = (0..BOOKS).map(|_| {
            let replica = replica.clone();
            tokio::spawn(async move {
                let account = scene::fresh_account(&replica.clock);
                let [spender, _] = replica.open_account(account).await;
                replica.top_up(account, 1_000).await;
                open(&replica, account, spender, "many", ITEMS).await;
                (account, spender)
            })
        });
        let accounts = join_all(accounts.collect::<Vec<_>>()).await;
        let (account, spender) = *accounts[0].as_ref().unwrap();
        // Past the deadline of all of them, in the same second.
        replica.clock.advance(TimeDelta::hours(31));
        let sweeper = replica.checkouts.sweeper();
        let due = i64::try_from(BOOKS * ITEMS).unwrap();
        let overdue = Overdue { items: due, results: 0, disputes: 0 };
        assert_eq!(sweeper.overdue().await.unwrap(), overdue);
        let sweeping = sweeper.clone();
        let sweep = tokio::spawn(async move {
            let (mut steps, mut settled) = (0, 0);
            loop {
                match sweeping.step().await.unwrap() {
                    0 => return (steps, settled),
                    some => (steps, settled) = (steps + 1, settled + some),
                }
            }
        });
        let mut opened = 0;
        while !sweep.is_finished() {
            // A buyer of one of the books that are swept: it waits for a batch, not for the sweep.
            open(&replica, account, spender, &format!("meanwhile {opened}"), 1).await;
            opened += 1;
        }
        let (steps, settled) = sweep.await.unwrap();
        assert_eq!(settled, BOOKS * ITEMS, "each once");
        assert!((20..=22).contains(&steps), "{steps}");
        assert!(opened >= 10, "{opened}");
        // A batch takes the time once, so that each has a time of its own.
        let batches = "select count(distinct recorded_at) from transfer t
                       join movement m using (movement, debit, credit) where m.name = 'release'";
        let batches = count(&db, batches).await;
        assert!(batches <= 100, "{batches} batches released {due} items");
        let released = "select sum(released)::bigint from hold";
        assert_eq!(count(&db, released).await, due);
        let nothing = Overdue { items: 0, results: 0, disputes: 0 };
        assert_eq!(sweeper.overdue().await.unwrap(), nothing);
        invariants::hold_in(&db.owner).await;
    });
}
