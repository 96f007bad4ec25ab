//! Batch ≡ sequence: the same commands give the same outcomes and the same rows, however they are
//! cut into batches.

use std::collections::HashMap;
use std::sync::Arc;

use bursar::ground::{BookId, CapId, ChargeId, CheckoutId, Clock, HoldId, KeyId};
use bursar::ledger::{Command, HoldRequest, Outcome, Span};
use chrono::TimeDelta;
use proptest::prelude::*;
use sqlx::PgPool;
use tokio::runtime::Builder;
use uuid::Uuid;

use super::commands::{Act, Verb};
use super::jam::Jam;
use super::model::amount;
use super::plan::{Plan, Reply, commands, plan};
use super::scene::{self, Call, Replica, Request};
use super::{invariants, rows};
use crate::support::postgres::test_database;

/// Runs commands in batches that end at these positions.
async fn in_batches(
    replica: &Replica,
    account: BookId,
    commands: &[Arc<dyn Command>],
    cuts: &[usize],
) -> Vec<Reply> {
    let mut replies = Vec::new();
    let mut start = 0;
    for end in cuts.iter().copied().chain([commands.len()]) {
        let mut jam = Jam::new(replica, account).await;
        let mut tasks = Vec::new();
        for command in &commands[start..end] {
            let (engine, command) = (replica.engine.clone(), command.clone());
            tasks.push(jam.queue(async move { engine.submit(command).await }).await);
        }
        jam.open().await;
        for task in tasks {
            replies.push(task.await.unwrap());
        }
        start = end;
    }
    replies
}

async fn one_by_one(
    replica: &Replica,
    account: BookId,
    commands: &[Arc<dyn Command>],
) -> Vec<Reply> {
    let mut replies = Vec::new();
    // As in the jam: whatever comes first books what has expired.
    replica.act(account, "plug", Verb::NothingDue).await.unwrap();
    for command in commands {
        replies.push(replica.engine.submit(command.clone()).await);
    }
    replies
}

/// How many moments an account's journal knows after its opening: one per batch that moved money.
async fn moments(pool: &PgPool, account: BookId) -> i64 {
    let sql = "select count(distinct recorded_at) from transfer where slot = $1 and book_id = $2";
    let query = sqlx::query_scalar(sql).bind(account.slot().sql()).bind(account.0);
    query.fetch_one(pool).await.unwrap()
}

#[test]
fn any_cut_of_any_command_list_gives_the_same_outcomes_and_rows() {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (one, two, three) = runtime.block_on(async {
        let databases = (test_database().await, test_database().await, test_database().await);
        (databases.0, databases.1, databases.2)
    });
    let cuts = prop::collection::vec(0..60_usize, 0..6);
    let list = (prop::collection::vec(plan(), 5..60), cuts, 0..60_usize);
    let case = |(plans, mut cuts, night): (Vec<Plan>, Vec<usize>, usize)| {
        runtime.block_on(async {
            let replicas = [&one, &two, &three].map(|db| Replica::new(db, 1, scene::one_lane()));
            let account = scene::fresh_account(&replicas[0].clock);
            let mut keys = Vec::new();
            for replica in &replicas {
                keys.push(replica.open_account(account).await);
            }
            let start = replicas[0].clock.now();
            let commands = commands(account, keys[0], start, &plans);
            cuts.retain(|cut| *cut < commands.len());
            cuts.sort_unstable();
            let [sequence, batch, cut] = &replicas;
            // A day passes somewhere: windows change, and lots expire.
            let (evening, morning) = commands.split_at(night.min(commands.len()));
            let (early, mut late): (Vec<usize>, Vec<usize>) =
                cuts.into_iter().partition(|cut| *cut <= evening.len());
            late.iter_mut().for_each(|cut| *cut -= evening.len());
            for (commands, cuts) in [(evening, early), (morning, late)] {
                let expected = one_by_one(sequence, account, commands).await;
                let whole = in_batches(batch, account, commands, &[]).await;
                let parts = in_batches(cut, account, commands, &cuts).await;
                assert_eq!(whole, expected, "in one batch");
                assert_eq!(parts, expected, "in batches cut at {cuts:?}");
                replicas.iter().for_each(|replica| replica.clock.advance(TimeDelta::days(1)));
            }
            let rows = rows::of(&sequence.pool, account).await;
            assert_eq!(rows::of(&batch.pool, account).await, rows);
            assert_eq!(rows::of(&cut.pool, account).await, rows);
            // One batch each day, and what expires in the morning.
            assert!(moments(&batch.pool, account).await <= 3);
        });
        Ok(())
    };
    scene::runner(25).run(&list, case).unwrap_or_else(|error| panic!("{error}"));
    runtime.block_on(async {
        for db in [&one, &two, &three] {
            invariants::hold_in(&db.owner).await;
        }
    });
}

#[test]
fn a_cap_changed_on_a_fresh_day_counts_what_follows_in_its_batch() {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let db = test_database().await;
        let replica = Replica::new(&db, 1, scene::one_lane());
        let account = scene::fresh_account(&replica.clock);
        let keys = replica.open_account(account).await;
        replica.top_up(account, 100).await;
        let act =
            |name: &str, verb| -> Arc<dyn Command> { Arc::new(Act::new(account, name, verb)) };
        let cap = |name: &str, limit| {
            let id = CapId(Uuid::from_bytes(scene::fresh()));
            act(name, Verb::Cap { id, key: None, span: Span::Day, limit: amount(limit) })
        };
        let hold = |name: &str, micros| {
            let request = HoldRequest {
                id: HoldId(Uuid::from_bytes(scene::fresh())),
                amount: amount(micros),
            };
            let max_total = amount(micros);
            act(name, Verb::Hold { key: keys[0], holds: vec![request], max_total })
        };
        one_by_one(&replica, account, &[cap("ten", 10), hold("yesterday's", 9)]).await;
        replica.clock.advance(TimeDelta::days(1));
        let batch = [cap("twelve", 12), hold("eight", 8)];
        let replies = in_batches(&replica, account, &batch, &[]).await;
        assert!(replies.iter().all(|reply| reply.as_ref().unwrap().accepted));
        let replies =
            one_by_one(&replica, account, &[hold("five", 5), hold("four", 4), hold("one", 1)])
                .await;
        let accepted: Vec<_> = replies.into_iter().map(|reply| reply.unwrap().accepted).collect();
        assert_eq!(accepted, [false, true, false]);
        invariants::hold_in(&db.owner).await;
    });
}

/// One act on a checkout of the second test.
fn phase(account: BookId, keys: [KeyId; 2], n: usize, known: &Known) -> Vec<Request> {
    let mut requests = Vec::new();
    let mut push = |call: Call| {
        let key = format!("phase {n} request {}", requests.len());
        requests.push(Request::new(account, key, call));
    };
    match n {
        0 => {
            push(Call::Act(Verb::TopUp(amount(30))));
            let expires = known.start + TimeDelta::days(9);
            push(Call::Act(Verb::Grant(amount(40), expires)));
            let cap = CapId(Uuid::from_u128(5));
            let limit = amount(60);
            push(Call::Act(Verb::Cap { id: cap, key: None, span: Span::Day, limit }));
            for n in 0..12_usize {
                let quantity = i64::try_from(n % 4 + 1).unwrap();
                let lines = [(n % 3, quantity), ((n + 1) % 3, 1)];
                push(Call::Open(scene::order(keys[n % 2], &lines, 20)));
            }
        }
        1 => {
            for (n, checkout) in known.checkouts.iter().enumerate() {
                push(Call::Submit(*checkout, scene::submission(&format!("a{n}"), 1, 1)));
                push(Call::Submit(*checkout, scene::submission(&format!("b{n}"), 1, 2)));
                push(Call::Submit(*checkout, scene::submission(&format!("a{n}"), 2, 1)));
                if n % 3 == 2 {
                    push(Call::Cancel(*checkout));
                }
            }
        }
        2 => {
            for (n, checkout) in known.checkouts.iter().enumerate() {
                let accepted = i64::try_from(n % 2).unwrap();
                push(Call::Judge(*checkout, format!("a{n}"), scene::verdict(accepted)));
                push(Call::Judge(*checkout, format!("a{n}"), scene::verdict(1)));
                push(Call::Cancel(*checkout));
                push(Call::Open(scene::order(keys[n % 2], &[(2, 3)], 3)));
            }
        }
        _ => {
            for charge in &known.charges {
                push(Call::Reverse(*charge, scene::reversal(Some(amount(1)))));
                push(Call::Reverse(*charge, scene::reversal(None)));
                push(Call::Reverse(*charge, scene::reversal(None)));
            }
        }
    }
    requests
}

/// What the phases so far have brought about.
struct Known {
    start: super::model::Time,
    checkouts: Vec<CheckoutId>,
    charges: Vec<ChargeId>,
}

#[test]
fn checkouts_in_batches_are_checkouts_one_by_one() {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let (one, two) = (test_database().await, test_database().await);
        let sequence = Replica::new(&one, 1, scene::one_lane());
        let batch = Replica::new(&two, 1, scene::one_lane());
        let account = scene::fresh_account(&sequence.clock);
        let start = sequence.clock.now();
        let mut keys = Vec::new();
        for replica in [&sequence, &batch] {
            replica.list_skus().await;
            keys.push(replica.open_account(account).await);
        }
        let mut known =
            [(); 2].map(|()| Known { start, checkouts: Vec::new(), charges: Vec::new() });
        let mut kinds: HashMap<bool, usize> = HashMap::new();
        for n in 0..4 {
            let mut expected = Vec::new();
            for request in phase(account, keys[0], n, &known[0]) {
                expected.push(sequence.send(&request).await.unwrap());
            }
            let mut jam = Jam::new(&batch, account).await;
            let mut tasks = Vec::new();
            for request in phase(account, keys[0], n, &known[1]) {
                let batch = batch.clone();
                tasks.push(jam.queue(async move { batch.send(&request).await.unwrap() }).await);
            }
            jam.open().await;
            let mut got = Vec::new();
            for task in tasks {
                got.push(task.await.unwrap());
            }
            let plain = |outcomes: &[Outcome]| {
                rows::without_ids(outcomes.iter().map(|outcome| format!("{outcome:?}")))
            };
            assert_eq!(plain(&got), plain(&expected), "phase {n}");
            assert_eq!(
                rows::of(&batch.pool, account).await,
                rows::of(&sequence.pool, account).await
            );
            expected.iter().for_each(|outcome| *kinds.entry(outcome.accepted).or_default() += 1);
            for (known, outcomes) in known.iter_mut().zip([&expected, &got]) {
                for outcome in outcomes.iter().filter(|outcome| outcome.accepted) {
                    let body: serde_json::Value = scene::body(outcome);
                    let id = |name: &str| body[name].as_str().map(str::to_owned);
                    if n == 0 {
                        known
                            .checkouts
                            .extend(id("checkout_id").map(|id| id.parse::<CheckoutId>().unwrap()));
                    }
                    known.charges.extend(id("charge_id").map(|id| id.parse::<ChargeId>().unwrap()));
                }
            }
        }
        assert!(kinds[&true] > 20 && kinds[&false] > 10, "{kinds:?}");
        invariants::hold_in(&two.owner).await;
    });
}
