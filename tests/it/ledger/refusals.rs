//! A refusal moves nothing: not a row of the book is even written again, apart from the stored
//! outcome.

use std::collections::BTreeMap;

use bursar::checkout::CheckoutError;
use bursar::ground::{BookId, ChargeId, CheckoutId, Clock, KeyId};
use bursar::ledger::{Outcome, SubmitError};
use chrono::TimeDelta;
use proptest::prelude::*;
use sqlx::PgPool;
use tokio::runtime::Builder;
use uuid::Uuid;

use super::commands::Verb;
use super::invariants;
use super::model::amount;
use super::plan::{Plan, Told, commands, plan, told};
use super::scene::{self, Call, Replica, Request, code};
use crate::support::postgres::{run, test_database};

/// Every row of an account in every table, with the transaction that wrote it.
type Dump = BTreeMap<String, Vec<String>>;

/// One query over all tables that know books.
async fn dump_query(pool: &PgPool) -> String {
    let tables: Vec<String> = sqlx::query_scalar(
        "select c.relname::text from pg_class c
         join pg_attribute a on a.attrelid = c.oid and a.attname = 'book_id'
         where c.relkind = 'r' and c.relnamespace = 'public'::regnamespace order by 1",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    assert!(tables.len() > 12, "{tables:?}");
    let of = |table: &String| {
        format!("select '{table}', t.xmin || ' ' || t::text from {table} t where book_id = $1")
    };
    tables.iter().map(of).collect::<Vec<_>>().join(" union all ") + " order by 1, 2"
}

async fn dump(pool: &PgPool, query: &str, account: BookId) -> Dump {
    let rows: Vec<(String, String)> = sqlx::query_as(sqlx::AssertSqlSafe(query.to_owned()))
        .bind(account.0)
        .fetch_all(pool)
        .await
        .unwrap();
    let mut dump = Dump::new();
    for (table, row) in rows {
        dump.entry(table).or_default().push(row);
    }
    dump
}

/// Asserts that only so many outcomes were added.
fn same(before: &Dump, after: &Dump, outcomes: usize, what: &str) {
    let mut after = after.clone();
    let stored = after.remove("outcome").unwrap_or_default();
    let mut before = before.clone();
    let old = before.remove("outcome").unwrap_or_default();
    assert_eq!(after, before, "{what}");
    assert!(old.iter().all(|row| stored.contains(row)), "{what}");
    assert_eq!(stored.len(), old.len() + outcomes, "{what}");
}

#[test]
fn whatever_is_not_accepted_moves_nothing() {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let db = runtime.block_on(test_database());
    let query = runtime.block_on(dump_query(&db.owner));
    let case = |plans: Vec<Plan>| {
        runtime.block_on(async {
            let replica = Replica::new(&db, 1, scene::one_lane());
            let account = scene::fresh_account(&replica.clock);
            let keys = replica.open_account(account).await;
            let mut before = dump(&db.owner, &query, account).await;
            for command in commands(account, keys, replica.clock.now(), &plans) {
                let reply = told(&replica.engine.submit(command).await);
                let after = dump(&db.owner, &query, account).await;
                match reply {
                    Told::Accepted => assert_ne!(after, before),
                    Told::Refused => same(&before, &after, 1, "a refusal"),
                    Told::Again(_) | Told::Conflict | Told::Nothing => assert_eq!(after, before),
                }
                before = after;
            }
        });
        Ok(())
    };
    let plans = prop::collection::vec(plan(), 5..50);
    scene::runner(20).run(&plans, case).unwrap_or_else(|error| panic!("{error}"));
    runtime.block_on(invariants::hold_in(&db.owner));
}

/// An account and a way to see that a refusal leaves it alone.
struct Witness {
    replica: Replica,
    owner: PgPool,
    query: String,
    account: BookId,
    sent: usize,
}

impl Witness {
    async fn accepted(&mut self, call: Call) -> serde_json::Value {
        self.sent += 1;
        let request = Request::new(self.account, format!("good {}", self.sent), call);
        let outcome = self.replica.send(&request).await.unwrap();
        assert!(outcome.accepted, "{}", outcome.body);
        scene::body(&outcome)
    }

    /// Sends what is refused; then the same again, and another request under its key.
    async fn refused(&mut self, expected: &str, call: Call) {
        self.sent += 1;
        let mut request = Request::new(self.account, format!("bad {}", self.sent), call);
        let before = dump(&self.owner, &self.query, self.account).await;
        let outcome = self.replica.send(&request).await.unwrap();
        assert_eq!(code(&outcome), expected);
        let after = dump(&self.owner, &self.query, self.account).await;
        same(&before, &after, 1, expected);
        let again = self.replica.send(&request).await.unwrap();
        assert_eq!(again, Outcome { replayed: true, ..outcome });
        request.asked.push_str(" otherwise");
        match self.replica.send(&request).await {
            Err(CheckoutError::Ledger(SubmitError::Conflict)) => {}
            other => panic!("{other:?}"),
        }
        assert_eq!(dump(&self.owner, &self.query, self.account).await, after, "{expected}");
    }
}

/// Spenders that may not spend what the tests order: revoked, expired, and for another SKU.
const BARRED: &str = "
    insert into spender (slot, book_id, spender_id, skus, expires_at, revoked_at)
    select slot, book_id, ('00000000-0000-0000-0000-0000000000b' || n)::uuid,
      case n when 3 then array['page'] end, case n when 2 then now() end,
      case n when 1 then now() end
    from book, generate_series(1, 3) n where book_id = $1";

#[test]
fn each_refusal_by_its_name_moves_nothing() {
    run(|db| async move {
        let replica = Replica::new(&db, 1, scene::one_lane());
        replica.list_skus().await;
        let account = scene::fresh_account(&replica.clock);
        let keys = replica.open_account(account).await;
        replica.top_up(account, 100).await;
        sqlx::query(BARRED).bind(account.0).execute(&db.owner).await.unwrap();
        let (owner, query) = (db.owner.clone(), dump_query(&db.owner).await);
        let mut at = Witness { replica, owner, query, account, sent: 0 };
        let barred = |n: u128| KeyId(Uuid::from_u128(0xb0 + n));
        let order = |key, lines: &[(usize, i64)], max| Call::Open(scene::order(key, lines, max));

        let opened = at.accepted(order(keys[0], &[(0, 3), (2, 10)], 100)).await;
        let checkout: CheckoutId = opened["checkout_id"].as_str().unwrap().parse().unwrap();
        let submit = |result: &str, item, quantity| {
            Call::Submit(checkout, scene::submission(result, item, quantity))
        };
        let judge =
            |result: &str, units| Call::Judge(checkout, result.into(), scene::verdict(units));
        at.accepted(submit("r", 1, 2)).await;
        at.accepted(submit("s", 2, 4)).await;
        let judged = at.accepted(judge("r", 2)).await;
        let charge: ChargeId = judged["charge_id"].as_str().unwrap().parse().unwrap();
        let reverse =
            |micros: Option<i64>| Call::Reverse(charge, scene::reversal(micros.map(amount)));

        at.refused("insufficient_credits", order(keys[0], &[(1, 100)], 500)).await;
        at.refused("cap_exceeded", order(keys[0], &[(1, 2)], 9)).await;
        at.refused("key_revoked", order(barred(1), &[(0, 1)], 9)).await;
        at.refused("key_expired", order(barred(2), &[(0, 1)], 9)).await;
        at.refused("sku_not_allowed", order(barred(3), &[(0, 1)], 9)).await;
        at.refused("result_conflict", submit("r", 1, 1)).await;
        at.refused("result_quantity_exceeded", submit("t", 1, 2)).await;
        at.refused("already_decided", judge("r", 2)).await;
        at.refused("accepted_quantity_exceeded", judge("s", 5)).await;
        at.refused("reversal_exceeds_charge", reverse(Some(7))).await;
        at.accepted(reverse(None)).await;
        at.refused("already_reversed", reverse(None)).await;
        // Nothing sweeps here: the deadlines themselves refuse.
        at.replica.clock.advance(TimeDelta::hours(3));
        at.refused("verification_deadline_passed", judge("s", 4)).await;
        at.replica.clock.advance(TimeDelta::hours(8));
        at.refused("delivery_deadline_passed", submit("t", 1, 1)).await;
        at.accepted(Call::Cancel(checkout)).await;
        at.refused("item_closed", submit("t", 2, 1)).await;
        at.refused("checkout_not_cancelable", Call::Cancel(checkout)).await;
        at.replica.clock.advance(TimeDelta::hours(60));
        at.refused("charge_final", reverse(None)).await;
        at.accepted(Call::Act(Verb::Freeze(true))).await;
        at.refused("account_frozen", order(keys[0], &[(0, 1)], 9)).await;
        invariants::hold_in(&db.owner).await;
    });
}
