//! What goes wrong hurts only itself, and whoever asked is told what became of it.

use std::sync::Arc;
use std::time::Duration;

use bursar::db;
use bursar::ground::{BookId, Clock, ShiftedClock, SystemEntropy};
use bursar::ledger::{Command, Engine, EngineSettings, Fault, Outcome, SubmitError};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;

use super::commands::{Act, Verb};
use super::jam::Jam;
use super::model::amount;
use super::scene::{self, Replica, until};
use super::{invariants, rows};
use crate::support::dice::Dice;
use crate::support::postgres::{TestDatabase, run};
use crate::support::proxy::{Cut, Proxy};

type Reply = Result<Outcome, SubmitError>;

async fn scene(db: &TestDatabase) -> (Replica, BookId) {
    let replica = Replica::new(db, 1, scene::one_lane());
    let account = scene::fresh_account(&replica.clock);
    replica.open_account(account).await;
    (replica, account)
}

/// Submits verbs so that they are one batch.
async fn at_once(replica: &Replica, account: BookId, verbs: Vec<Verb>) -> Vec<Reply> {
    let mut jam = Jam::new(replica, account).await;
    let mut tasks = Vec::new();
    for (n, verb) in verbs.into_iter().enumerate() {
        let replica = replica.clone();
        let key = format!("at once {n}");
        let submit = async move { replica.act(account, &key, verb).await };
        tasks.push(jam.queue(submit).await);
    }
    jam.open().await;
    let mut replies = Vec::new();
    for task in tasks {
        replies.push(task.await.unwrap());
    }
    replies
}

async fn settled(pool: &PgPool, account: BookId) -> i64 {
    let sql = "select settled_usdc from book where slot = $1 and book_id = $2";
    let query = sqlx::query_scalar(sql).bind(account.slot().sql()).bind(account.0);
    query.fetch_one(pool).await.unwrap()
}

#[test]
fn a_row_that_the_database_refuses_fails_alone() {
    run(|db| async move {
        let (replica, account) = scene(&db).await;
        for culprit in [0, 3, 8] {
            let taken = format!("taken {culprit}");
            let verb = Verb::NotedTopUp(amount(1000), taken.clone());
            replica.act(account, &taken, verb).await.unwrap();
            let before = settled(&replica.pool, account).await;
            let (replica, account) = (&replica, account);
            let verbs = (0..9_usize).map(|n| {
                let note = if n == culprit { taken.clone() } else { format!("{culprit} {n}") };
                Verb::NotedTopUp(amount(1 << n), note)
            });
            let mut jam = Jam::new(replica, account).await;
            let mut tasks = Vec::new();
            for (n, verb) in verbs.enumerate() {
                let engine = replica.engine.clone();
                let act = Arc::new(Act::new(account, format!("{culprit}: {n}"), verb));
                tasks.push(jam.queue(async move { engine.submit(act).await }).await);
            }
            jam.open().await;
            for (n, task) in tasks.into_iter().enumerate() {
                match task.await.unwrap() {
                    Ok(outcome) => assert!(outcome.accepted && n != culprit),
                    Err(SubmitError::Rejected(why)) => {
                        assert_eq!(n, culprit);
                        assert!(why.contains("duplicate key"), "{why}");
                    }
                    Err(error) => panic!("{error}"),
                }
            }
            let expected = before + 0b1_1111_1111 - (1 << culprit);
            assert_eq!(settled(&replica.pool, account).await, expected);
        }
        invariants::hold_in(&db.owner).await;
    });
}

#[test]
fn a_fault_or_panic_fails_alone_and_is_not_remembered() {
    run(|db| async move {
        let (replica, account) = scene(&db).await;
        let verbs = vec![
            Verb::TopUp(amount(1)),
            Verb::Fault(amount(2)),
            Verb::TopUp(amount(4)),
            Verb::MovingRefusal(amount(8)),
            Verb::TopUp(amount(16)),
            Verb::Panic(amount(32)),
            Verb::TopUp(amount(64)),
        ];
        let replies = at_once(&replica, account, verbs).await;
        let faults: Vec<_> = replies.into_iter().map(Result::err).collect();
        let on_purpose = SubmitError::Fault(Fault::Annex("a fault on purpose"));
        let moved = SubmitError::Fault(Fault::RefusalMoved);
        let panicked = SubmitError::Rejected("a command panicked".into());
        let expected = [None, Some(on_purpose), None, Some(moved), None, Some(panicked), None];
        assert_eq!(faults, expected);
        assert_eq!(settled(&replica.pool, account).await, 85);
        let again = replica.act(account, "at once 1", Verb::Fault(amount(2))).await;
        assert!(matches!(again, Err(SubmitError::Fault(_))), "decided again: {again:?}");
        invariants::hold_in(&db.owner).await;
    });
}

#[test]
fn an_unknown_book_is_refused_and_its_neighbors_are_served() {
    run(|db| async move {
        let (replica, account) = scene(&db).await;
        let stranger = scene::fresh_account(&replica.clock);
        let mut jam = Jam::new(&replica, account).await;
        let mut tasks = Vec::new();
        for (n, book) in [account, stranger, account].into_iter().enumerate() {
            let engine = replica.engine.clone();
            let act = Act::new(book, format!("top-up {n}"), Verb::TopUp(amount(5)));
            tasks.push(jam.queue(async move { engine.submit(Arc::new(act)).await }).await);
        }
        jam.open().await;
        let mut replies = Vec::new();
        for task in tasks {
            replies.push(task.await.unwrap().map(|outcome| outcome.accepted));
        }
        assert_eq!(replies, [Ok(true), Err(SubmitError::BookUnknown), Ok(true)]);
        assert_eq!(settled(&replica.pool, account).await, 10);
        assert!(rows::of(&replica.pool, stranger).await.is_empty());
        // The refusal is not kept: once the book is there, the same command is carried out.
        replica.open_account(stranger).await;
        let outcome = replica.act(stranger, "top-up 1", Verb::TopUp(amount(5))).await.unwrap();
        assert!(outcome.accepted && !outcome.replayed);
    });
}

#[test]
fn a_full_queue_refuses_before_anything_happens() {
    run(|db| async move {
        // A quarter of it is for any one book that is at work.
        let settings = EngineSettings { lanes: 1, queue: 12, ..EngineSettings::default() };
        let replica = Replica::new(&db, 1, settings);
        let account = scene::fresh_account(&replica.clock);
        replica.open_account(account).await;
        let mut jam = Jam::new(&replica, account).await;
        let mut tasks = Vec::new();
        for n in 0..3 {
            let replica = replica.clone();
            let submit = async move {
                replica.act(account, &format!("waits {n}"), Verb::TopUp(amount(1))).await
            };
            tasks.push(jam.queue(submit).await);
        }
        let refused = replica.act(account, "too much", Verb::TopUp(amount(10))).await;
        assert_eq!(refused, Err(SubmitError::Overloaded));
        jam.open().await;
        for task in tasks {
            assert!(task.await.unwrap().unwrap().accepted);
        }
        assert_eq!(settled(&replica.pool, account).await, 3);
        let again = replica.act(account, "too much", Verb::TopUp(amount(10))).await.unwrap();
        assert!(again.accepted && !again.replayed, "the same command goes through later");
    });
}

#[test]
fn a_caller_that_hangs_up_changes_nothing_about_the_decision() {
    run(|db| async move {
        let (replica, account) = scene(&db).await;
        let mut jam = Jam::new(&replica, account).await;
        let engine = replica.engine.clone();
        let act = Arc::new(Act::new(account, "hangs up", Verb::TopUp(amount(7))));
        let task = jam.queue(async move { engine.submit(act).await }).await;
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
        jam.open().await;
        let again = replica.act(account, "hangs up", Verb::TopUp(amount(7))).await.unwrap();
        assert!(again.accepted && again.replayed);
        assert_eq!(settled(&replica.pool, account).await, 7);
    });
}

#[test]
fn without_a_database_nothing_is_written_and_the_caller_may_come_again() {
    run(|db| async move {
        let (replica, account) = scene(&db).await;
        let clock: Arc<dyn Clock> = Arc::new(ShiftedClock::default());
        let settings = EngineSettings { attempts: 2, ..scene::one_lane() };
        let start = |pool: PgPool| {
            Engine::start(pool, clock.clone(), Arc::new(SystemEntropy), settings.clone())
        };
        let top_up =
            || -> Arc<dyn Command> { Arc::new(Act::new(account, "a", Verb::TopUp(amount(5)))) };
        let nowhere = PgPoolOptions::new()
            .acquire_timeout(Duration::from_millis(50))
            .connect_lazy_with(db.service_options().socket("/nowhere"));
        assert_eq!(start(nowhere).submit(top_up()).await, Err(SubmitError::Unavailable));
        let closed = db::service_pool(db.service_options(), 1);
        closed.close().await;
        assert_eq!(start(closed).submit(top_up()).await, Err(SubmitError::Unavailable));
        assert_eq!(settled(&replica.pool, account).await, 0);
        assert!(replica.engine.submit(top_up()).await.unwrap().accepted);
        assert_eq!(settled(&replica.pool, account).await, 5);
    });
}

#[test]
fn a_connection_that_dies_under_a_batch_is_made_good_by_the_next_attempt() {
    run(|db| async move {
        let (replica, account) = scene(&db).await;
        let engine = replica.engine.clone();
        // The lane waits for the book's lock; then its connection is cut, and then the lock is free.
        let mut lock = db.owner.begin().await.unwrap();
        sqlx::query("select from book where kind = 'customer' for update")
            .execute(&mut *lock)
            .await
            .unwrap();
        let act = Arc::new(Act::new(account, "cut", Verb::TopUp(amount(5))));
        let task = tokio::spawn(async move { engine.submit(act).await });
        let cut = "select count(pg_terminate_backend(pid)) from pg_stat_activity
                   where datname = current_database() and wait_event_type = 'Lock'";
        // One service backend may end another of its own role.
        until("a waiting connection is cut", async || {
            sqlx::query_scalar::<_, i64>(cut).fetch_one(&db.service).await.unwrap() > 0
        })
        .await;
        lock.rollback().await.unwrap();
        let outcome = task.await.unwrap().unwrap();
        assert!(outcome.accepted && !outcome.replayed);
        assert_eq!(settled(&replica.pool, account).await, 5);
        invariants::hold_in(&db.owner).await;
    });
}

#[test]
fn a_database_that_falls_silent_does_not_hold_its_lane_for_ever() {
    run(|db| async move {
        let (replica, account) = scene(&db).await;
        let proxy = Proxy::start(&db.service_options()).await;
        let pool = db::service_pool(proxy.through(db.service_options()), 2);
        let settings = EngineSettings { silence: Duration::from_millis(300), ..scene::one_lane() };
        let clock = Arc::new(ShiftedClock::default());
        let engine = Engine::start(pool, clock, Arc::new(SystemEntropy), settings);
        // More often than the pool has connections: none of them keeps its place.
        for n in 1..=4 {
            let act = Act::new(account, format!("silent {n}"), Verb::TopUp(amount(5)));
            let stalled = proxy.cut(Cut::Stall, 1, Dice::new(n));
            let (outcome, ()) = tokio::join!(engine.submit(Arc::new(act)), stalled);
            let outcome = outcome.unwrap();
            // It had committed, and the next attempt found its record.
            assert!(outcome.accepted && outcome.replayed);
            assert_eq!(settled(&replica.pool, account).await, i64::try_from(5 * n).unwrap());
        }
        invariants::hold_in(&db.owner).await;
    });
}

#[test]
fn nothing_due_is_not_stored() {
    run(|db| async move {
        let (replica, account) = scene(&db).await;
        let before = rows::of(&replica.pool, account).await;
        for _ in 0..2 {
            let outcome = replica.act(account, "worker", Verb::NothingDue).await.unwrap();
            assert!(!outcome.accepted && !outcome.replayed && outcome.body.is_empty());
        }
        let replies = at_once(&replica, account, vec![Verb::NothingDue, Verb::NothingDue]).await;
        assert!(replies.iter().all(|reply| reply.as_ref().is_ok_and(|outcome| !outcome.replayed)));
        assert_eq!(rows::of(&replica.pool, account).await, before);
        let outcome = replica.act(account, "worker", Verb::TopUp(amount(3))).await.unwrap();
        assert!(outcome.accepted && !outcome.replayed, "the key is still free");
    });
}
