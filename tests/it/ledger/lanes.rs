//! However many lanes and processes: each book ends as the model says that its own commands end, one
//! after the other.

use std::sync::Arc;

use bursar::ground::{BookId, Clock};
use bursar::ledger::{Command, EngineSettings, Role};
use chrono::{NaiveTime, TimeDelta};
use futures_util::future::join_all;
use proptest::prelude::*;
use sqlx::Row;
use tokio::runtime::Builder;

use super::model::Model;
use super::plan::{Plan, Told, commands, on_model, plan, told};
use super::scene::{self, Replica};
use super::{invariants, rows};
use crate::support::postgres::{TestDatabase, test_database};

/// A book and what is sent to it.
struct Lane {
    account: BookId,
    commands: Vec<Arc<dyn Command>>,
    model: Model,
    told: Vec<Told>,
}

/// At noon of tomorrow, so that no day ends during the test.
fn noon(replica: &Replica) {
    let now = replica.clock.now();
    let midnight = (now + TimeDelta::days(1)).with_time(NaiveTime::MIN).unwrap();
    replica.clock.advance(midnight + TimeDelta::hours(12) - now);
}

async fn open(replica: &Replica, lists: &[Vec<Plan>], accounts: &[BookId]) -> Vec<Lane> {
    let start = replica.clock.now();
    let mut lanes = Vec::new();
    for (plans, account) in lists.iter().zip(accounts) {
        let keys = replica.open_account(*account).await;
        let commands = commands(*account, keys, start, plans);
        let (model, told) = on_model(start, plans);
        lanes.push(Lane { account: *account, commands, model, told });
    }
    lanes
}

/// Sends the commands of all books at once, each book's in their order.
async fn send(replica: &Replica, lanes: &[Lane]) -> Vec<Vec<Told>> {
    let books = lanes.iter().map(|lane| {
        let (engine, commands) = (replica.engine.clone(), lane.commands.clone());
        tokio::spawn(async move {
            // Polled in order, they queue in order.
            let replies = join_all(commands.into_iter().map(|command| engine.submit(command)));
            replies.await.iter().map(told).collect()
        })
    });
    let books = join_all(books.collect::<Vec<_>>()).await;
    books.into_iter().map(Result::unwrap).collect()
}

async fn agree(db: &TestDatabase, lane: &Lane) {
    let sql = "select settled_usdc, prepaid, held, promo_issued, promo, promo_held, revenue,
                      reversed_revenue, breakage, settlement_loss from book where book_id = $1";
    let row = sqlx::query(sql).bind(lane.account.0).fetch_one(&db.owner).await.unwrap();
    for role in Role::ALL {
        let got: i64 = row.get(role.name());
        assert_eq!(got, lane.model.balance(role), "{role:?}");
    }
    let sql = "select amount, remaining from lot where book_id = $1 order by lot_id";
    let lots = sqlx::query_as::<_, (i64, i64)>(sql).bind(lane.account.0);
    let lots = lots.fetch_all(&db.owner).await.unwrap();
    let expected: Vec<_> = lane.model.lots.iter().map(|lot| (lot.amount, lot.left)).collect();
    assert_eq!(lots, expected, "lots, as they were opened");
}

#[test]
fn with_any_number_of_lanes_each_book_ends_as_the_model_says() {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let databases = runtime
        .block_on(async { [test_database().await, test_database().await, test_database().await] });
    let lists = prop::collection::vec(prop::collection::vec(plan(), 5..40), 2..9);
    let case = |lists: Vec<Vec<Plan>>| {
        runtime.block_on(async {
            let clock = bursar::ground::ShiftedClock::default();
            let accounts: Vec<_> = lists.iter().map(|_| scene::fresh_account(&clock)).collect();
            let mut all_rows = Vec::new();
            for (db, lanes) in databases.iter().zip([1, 2, 4]) {
                // Small batches, beside each other, so that books are mixed and cut in many ways.
                let settings = EngineSettings {
                    lanes,
                    batch_max: 7,
                    batch_beside: lanes,
                    ..EngineSettings::default()
                };
                let replica = Replica::new(db, 1, settings);
                noon(&replica);
                let books = open(&replica, &lists, &accounts).await;
                let got = send(&replica, &books).await;
                let mut rows = Vec::new();
                for (lane, got) in books.iter().zip(got) {
                    assert_eq!(got, lane.told, "with {lanes} lanes");
                    agree(db, lane).await;
                    rows.push(rows::of(&db.owner, lane.account).await);
                }
                all_rows.push(rows);
            }
            assert_eq!(all_rows[0], all_rows[1], "one lane and two");
            assert_eq!(all_rows[0], all_rows[2], "one lane and four");
        });
        Ok(())
    };
    scene::runner(15).run(&lists, case).unwrap_or_else(|error| panic!("{error}"));
    runtime.block_on(async {
        for db in &databases {
            invariants::hold_in(&db.owner).await;
        }
    });
}
