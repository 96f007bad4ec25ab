//! The engine on a ledger that came out of a backup.

use std::sync::Arc;

use bursar::ground::BookId;
use bursar::ledger::{
    Annexes, Command, CommandIdentity, Decision, Desk, EngineSettings, Fault, SubmitError, Wants,
};
use chrono::TimeDelta;
use sqlx::PgPool;

use super::commands::{Act, Verb};
use super::model::amount;
use super::scene::{self, Replica};
use crate::support::postgres::run;

/// A command that makes up for what a backup lacks.
struct Recovery(Act);

impl Command for Recovery {
    fn book(&self) -> BookId {
        self.0.book()
    }

    fn identity(&self) -> CommandIdentity {
        self.0.identity()
    }

    fn want(&self, wants: &mut Wants, annexes: &mut Annexes) {
        self.0.want(wants, annexes);
    }

    fn recovers(&self) -> bool {
        true
    }

    fn decide(&self, desk: &mut Desk<'_>) -> Result<Decision, Fault> {
        self.0.decide(desk)
    }
}

async fn execute(pool: &PgPool, sql: &'static str) {
    sqlx::query(sql).execute(pool).await.unwrap();
}

/// The rows of an account, and how many transfers there are.
async fn rows(pool: &PgPool, account: BookId) -> Vec<String> {
    super::rows::of(pool, account).await
}

const RESTORED: &str = "insert into restoration values (gen_random_uuid(), now(), now())";
const CONFIRMED: &str = "insert into restoration_confirmed
    select restoration_id, now(), 'a test', 'operator', 'all is well' from restoration
    on conflict do nothing";

#[test]
fn nothing_moves_and_nothing_is_frozen_until_it_is_confirmed() {
    run(|db| async move {
        let pair = [1, 2].map(|seed| Replica::new(&db, seed, EngineSettings::default()));
        let account = scene::fresh_account(&pair[0].clock);
        pair[0].open_account(account).await;
        let soon = bursar::ground::Clock::now(&*pair[0].clock) + TimeDelta::hours(1);
        pair[0].act(account, "grant", Verb::Grant(amount(7), soon)).await.unwrap();
        let first = pair[0].act(account, "first", Verb::TopUp(amount(5))).await.unwrap();
        // The grant is over by now; that is booked with the next command and not before.
        pair.iter().for_each(|replica| replica.clock.advance(TimeDelta::hours(2)));
        let before = rows(&db.owner, account).await;

        for (closed, opened) in [
            (RESTORED, CONFIRMED),
            ("create table restoration_pending ()", "drop table restoration_pending"),
        ] {
            execute(&db.owner, closed).await;
            for (n, replica) in pair.iter().enumerate() {
                let refused = replica.act(account, "second", Verb::TopUp(amount(1))).await;
                assert_eq!(refused, Err(SubmitError::Restored), "process {n}");
                let replayed = replica.act(account, "first", Verb::TopUp(amount(5))).await.unwrap();
                assert!(replayed.replayed && replayed.body == first.body);
            }
            assert_eq!(rows(&db.owner, account).await, before);
            execute(&db.owner, opened).await;
        }

        execute(&db.owner, RESTORED).await;
        let act = Act::new(account, "recovered", Verb::TopUp(amount(3)));
        let recovered = pair[1].engine.submit(Arc::new(Recovery(act))).await.unwrap();
        assert!(recovered.accepted && !recovered.replayed);
        let refused = pair[0].act(account, "second", Verb::TopUp(amount(1))).await;
        assert_eq!(refused, Err(SubmitError::Restored));
        execute(&db.owner, CONFIRMED).await;
        let second = pair[0].act(account, "second", Verb::TopUp(amount(1))).await.unwrap();
        assert!(second.accepted && !second.replayed, "the refusal was not kept");
        let balance = bursar::ledger::balance(&pair[0].pool, account).await.unwrap().unwrap();
        assert_eq!((balance.paid, balance.promotional), (amount(9), amount(0)));
        super::invariants::hold_in(&db.owner).await;
    });
}

#[test]
fn only_the_owner_opens_a_restored_ledger_and_nobody_rewrites_that() {
    run(|db| async move {
        let code = async |pool: &PgPool, sql: &'static str| {
            let error = sqlx::query(sql).execute(pool).await.unwrap_err();
            error.as_database_error().unwrap().code().unwrap().into_owned()
        };
        execute(&db.owner, RESTORED).await;
        assert_eq!(code(&db.service, RESTORED).await, "42501");
        assert_eq!(code(&db.service, CONFIRMED).await, "42501");
        execute(&db.owner, CONFIRMED).await;
        for sql in [
            "update restoration set restored_at = now()",
            "delete from restoration_confirmed",
            "update restoration_confirmed set reason = 'better'",
            "truncate restoration cascade",
        ] {
            assert_eq!(code(&db.owner, sql).await, "23001", "{sql}");
        }
    });
}
