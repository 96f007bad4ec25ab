//! The same question gets the same answer for ever: with a writer whose transaction is open across
//! the moment, with clocks that go back, and under load.

use std::sync::{Arc, LazyLock};

use bursar::finance::{Finance, FinanceError};
use bursar::ground::BookId;
use bursar::ledger::{
    Annex, Annexes, Command, CommandIdentity, Decision, Desk, EngineSettings, Fault, Outcome,
    SubmitError, Wants,
};
use chrono::TimeDelta;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde_json::json;
use sqlx::{PgConnection, PgPool};
use tokio::sync::{Mutex, Semaphore};
use tokio::task::JoinHandle;

use super::super::model::{Time, amount};
use super::super::scene::{Replica, fresh_account, until};
use super::{at, clock, finance, prepaid};
use crate::support::postgres::{TestDatabase, run};

/// Two processes, each with its own pool, engine and clock.
fn replicas(db: &TestDatabase) -> [Replica; 2] {
    [1, 2].map(|seed| Replica::new(db, seed, EngineSettings::default()))
}

async fn closed_until(pool: &PgPool) -> Time {
    sqlx::query_scalar("select closed_until from past").fetch_one(pool).await.unwrap()
}

#[test]
fn a_writer_that_is_open_across_the_moment_is_waited_for_and_nobody_else_waits() {
    run(|db| async move {
        let [replica, other] = replicas(&db);
        let finance = finance(&db);
        let (ada, bob) = (fresh_account(&replica.clock), fresh_account(&replica.clock));
        for account in [ada, bob] {
            replica.open_account(account).await;
            replica.top_up(account, 100).await;
        }
        let held = Held::begin(&replica, ada, 5).await;
        // Its time lies before this moment, and it commits after it.
        let moment = clock(&db.owner).await;

        let asked = ask(&finance, ada, moment);
        until("the past is closed", async || closed_until(&db.owner).await >= moment).await;
        other.top_up(bob, 7).await;
        let passed = at(&finance, ada, moment - TimeDelta::hours(1)).await;
        assert_eq!((passed.seq, prepaid(&passed)), (0, 0), "the book has passed that moment");
        assert!(!asked.is_finished(), "what is being written may belong to that moment");
        held.commit().await;

        let first = asked.await.unwrap();
        assert_eq!(prepaid(&first), 105);
        replica.top_up(ada, 1).await;
        assert_eq!(at(&finance, ada, moment).await, first);
        assert_eq!(prepaid(&at(&finance, bob, moment).await), 100);
    });
}

#[test]
fn what_is_written_for_too_long_is_not_answered() {
    run(|db| async move {
        let [replica, _] = replicas(&db);
        let finance = finance(&db);
        let ada = fresh_account(&replica.clock);
        replica.open_account(ada).await;
        let held = Held::begin(&replica, ada, 5).await;
        let moment = clock(&db.owner).await;
        let answer = finance.balances_at(ada, moment).await;
        assert!(matches!(answer, Err(FinanceError::StillWriting)), "{answer:?}");
        held.commit().await;
        assert_eq!(prepaid(&at(&finance, ada, moment).await), 5);
    });
}

#[test]
fn a_moment_that_is_not_over_is_refused_and_closes_nothing() {
    run(|db| async move {
        let [replica, _] = replicas(&db);
        let finance = finance(&db);
        let ada = fresh_account(&replica.clock);
        replica.open_account(ada).await;
        let before = closed_until(&db.owner).await;
        let moment = clock(&db.owner).await + TimeDelta::minutes(1);
        let answer = finance.balances_at(ada, moment).await;
        let Err(FinanceError::NotOver { now, wanted }) = answer else { panic!("{answer:?}") };
        assert!(now < moment && wanted > moment);
        assert_eq!(closed_until(&db.owner).await, before);
        assert!(
            finance.balances_at(fresh_account(&replica.clock), moment).await.unwrap().is_none()
        );
    });
}

#[test]
fn clocks_that_go_back_change_no_answer() {
    run(|db| async move {
        let [ahead, behind] = replicas(&db);
        let finance = finance(&db);
        let (ada, bob) = (fresh_account(&ahead.clock), fresh_account(&ahead.clock));
        ahead.clock.advance(TimeDelta::hours(1));
        ahead.open_account(ada).await;
        ahead.top_up(ada, 10).await;
        // The book is an hour ahead of every clock, and stays there.
        let reached = statement_end(&db.owner, ada).await;
        let just_before = at(&finance, ada, reached - TimeDelta::microseconds(1)).await;
        assert_eq!(prepaid(&just_before), 0);
        behind.top_up(ada, 20).await;
        assert_eq!(statement_end(&db.owner, ada).await, reached, "at the very same time");
        let again = at(&finance, ada, reached - TimeDelta::microseconds(1)).await;
        assert_eq!(again, just_before);
        let answer = finance.balances_at(ada, reached).await;
        assert!(matches!(answer, Err(FinanceError::NotOver { .. })), "more may come: {answer:?}");

        // An idle book, asked about the recent past; then the clock is set back to before that.
        behind.clock.advance(TimeDelta::hours(-2));
        behind.open_account(bob).await;
        behind.top_up(bob, 1).await;
        let moment = clock(&db.owner).await - TimeDelta::minutes(1);
        let told = at(&finance, bob, moment).await;
        assert_eq!(prepaid(&told), 1);
        behind.clock.advance(TimeDelta::hours(1));
        behind.top_up(bob, 2).await;
        assert_eq!(at(&finance, bob, moment).await, told);
        assert!(statement_end(&db.owner, bob).await >= closed_until(&db.owner).await);
    });
}

#[test]
fn answers_given_under_load_stand() {
    run(|db| async move {
        let pair = replicas(&db);
        let finance = finance(&db);
        let accounts = [fresh_account(&pair[0].clock), fresh_account(&pair[0].clock)];
        for account in accounts {
            pair[0].open_account(account).await;
        }
        let writers = pair.clone().map(|replica| {
            tokio::spawn(async move {
                for n in 1..150 {
                    replica.top_up(accounts[n % 2], 1).await;
                }
            })
        });
        let mut answers = Vec::new();
        while !writers.iter().all(JoinHandle::is_finished) {
            let moment = clock(&db.owner).await;
            for account in accounts {
                answers.push((account, moment, at(&finance, account, moment).await));
            }
        }
        assert!(answers.len() > 10, "{}", answers.len());
        for (account, moment, told) in answers {
            let journal: i64 = sqlx::query_scalar(
                "select count(*) from transfer
                 where slot = $1 and book_id = $2 and recorded_at <= $3",
            )
            .bind(account.slot().sql())
            .bind(account.0)
            .bind(moment)
            .fetch_one(&db.owner)
            .await
            .unwrap();
            assert_eq!((told.seq, prepaid(&told)), (journal, journal));
            assert_eq!(at(&finance, account, moment).await, told);
        }
    });
}

#[test]
fn the_past_is_closed_forwards_only_and_never_into_the_future() {
    run(|db| async move {
        let change = async |pool: &PgPool, sql: &'static str| {
            let error = sqlx::query(sql).execute(pool).await.unwrap_err();
            error.as_database_error().unwrap().code().unwrap().into_owned()
        };
        for pool in [&db.service, &db.owner] {
            for sql in [
                "update past set closed_until = clock_timestamp() + interval '1 second'",
                "update past set closed_until = 'epoch'::timestamptz - interval '1 second'",
            ] {
                assert_eq!(change(pool, sql).await, "23001", "{sql}");
            }
        }
        assert_eq!(change(&db.owner, "delete from past").await, "23001");
        assert_eq!(change(&db.owner, "truncate past").await, "23001");
        assert_eq!(change(&db.service, "delete from past").await, "42501");
        assert_eq!(change(&db.service, "insert into past values (true, now())").await, "42501");
        assert_eq!(change(&db.service, "update book_snapshot set version = 0").await, "42501");
    });
}

fn ask(
    finance: &Finance,
    account: BookId,
    moment: Time,
) -> JoinHandle<bursar::finance::PastBalances> {
    let finance = finance.clone();
    tokio::spawn(async move { at(&finance, account, moment).await })
}

/// The time of the last transfer.
async fn statement_end(pool: &PgPool, account: BookId) -> Time {
    sqlx::query_scalar("select max(recorded_at) from transfer where slot = $1 and book_id = $2")
        .bind(account.slot().sql())
        .bind(account.0)
        .fetch_one(pool)
        .await
        .unwrap()
}

/// A batch of the real engine that has written everything and does not commit yet.
struct Held {
    gate: &'static Gate,
    reply: JoinHandle<Result<Outcome, SubmitError>>,
}

/// Where the annex waits. One test at a time uses it.
struct Gate {
    free: Arc<Mutex<()>>,
    reached: Semaphore,
    open: Semaphore,
}

static GATE: LazyLock<Gate> = LazyLock::new(|| Gate {
    free: Arc::default(),
    reached: Semaphore::new(0),
    open: Semaphore::new(0),
});

struct HeldTopUp {
    account: BookId,
    micros: i64,
    _turn: tokio::sync::OwnedMutexGuard<()>,
}

impl Held {
    async fn begin(replica: &Replica, account: BookId, micros: i64) -> Self {
        let gate = &*GATE;
        let command = HeldTopUp { account, micros, _turn: gate.free.clone().lock_owned().await };
        let engine = replica.engine.clone();
        let reply = tokio::spawn(async move { engine.submit(Arc::new(command)).await });
        gate.reached.acquire().await.unwrap().forget();
        Self { gate, reply }
    }

    async fn commit(self) {
        self.gate.open.add_permits(1);
        assert!(self.reply.await.unwrap().unwrap().accepted);
    }
}

impl Command for HeldTopUp {
    fn book(&self) -> BookId {
        self.account
    }

    fn identity(&self) -> CommandIdentity {
        CommandIdentity::of_effect("held")
    }

    fn want(&self, _: &mut Wants, annexes: &mut Annexes) {
        annexes.of::<Wait>();
    }

    fn decide(&self, desk: &mut Desk<'_>) -> Result<Decision, Fault> {
        let (at, nil) = (desk.book.now(), uuid::Uuid::nil());
        desk.book.top_up(desk.entropy, nil, amount(self.micros), at)?;
        Ok(Decision::accept(&json!({})))
    }
}

#[derive(Default)]
struct Wait;

impl Annex for Wait {
    fn read<'a>(&'a mut self, _: &'a mut PgConnection) -> BoxFuture<'a, Result<(), sqlx::Error>> {
        async { Ok(()) }.boxed()
    }

    fn write<'a>(&'a mut self, _: &'a mut PgConnection) -> BoxFuture<'a, Result<(), sqlx::Error>> {
        async {
            GATE.reached.add_permits(1);
            GATE.open.acquire().await.unwrap().forget();
            Ok(())
        }
        .boxed()
    }

    fn changes(&self) -> u64 {
        0
    }
}
