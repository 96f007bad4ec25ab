//! Two processes on one database: every race has one winner, and a cap is a cap.

use bursar::checkout::CheckoutError;
use bursar::ground::{BookId, CapId, ChargeId, CheckoutId, KeyId};
use bursar::ledger::{EngineSettings, Outcome, Span, SubmitError};
use chrono::TimeDelta;
use futures_util::future::join_all;
use uuid::Uuid;

use super::commands::Verb;
use super::invariants;
use super::model::amount;
use super::scene::{self, Call, Replica, Request, code, until};
use crate::support::postgres::{TestDatabase, run};

/// Two processes: each has its own pool, engine and clock.
pub(super) async fn replicas(db: &TestDatabase) -> [Replica; 2] {
    let pair = [1, 2].map(|seed| Replica::new(db, seed, EngineSettings::default()));
    pair[0].list_skus().await;
    pair
}

async fn account(replica: &Replica, micros: i64) -> (BookId, [KeyId; 2]) {
    let account = scene::fresh_account(&replica.clock);
    let keys = replica.open_account(account).await;
    if micros > 0 {
        replica.top_up(account, micros).await;
    }
    (account, keys)
}

/// Sends requests to the two processes in turn, all at once.
async fn all(
    pair: &[Replica; 2],
    requests: impl IntoIterator<Item = Request>,
) -> Vec<Result<Outcome, CheckoutError>> {
    let tasks = requests.into_iter().enumerate().map(|(n, request)| {
        let replica = pair[n % 2].clone();
        tokio::spawn(async move { replica.send(&request).await })
    });
    join_all(tasks.collect::<Vec<_>>()).await.into_iter().map(Result::unwrap).collect()
}

fn outcomes(replies: Vec<Result<Outcome, CheckoutError>>) -> Vec<Outcome> {
    replies.into_iter().map(|reply| reply.expect("no error reaches the caller")).collect()
}

fn open(account: BookId, spender: KeyId, key: String, units: i64) -> Request {
    // The third SKU costs one micro-dollar.
    let order = scene::order(spender, &[(2, units)], units);
    Request::new(account, key, Call::Open(order))
}

/// An accepted checkout of so many units of the third SKU.
pub(super) async fn opened(
    replica: &Replica,
    account: BookId,
    spender: KeyId,
    units: i64,
) -> CheckoutId {
    let key = format!("open {:?}", scene::fresh::<8>());
    let outcome = replica.send(&open(account, spender, key, units)).await.unwrap();
    assert!(outcome.accepted, "{}", outcome.body);
    scene::body::<bursar::checkout::CheckoutView>(&outcome).checkout_id
}

/// A checkout with one result under verification, called `r`.
pub(super) async fn delivered(
    replica: &Replica,
    account: BookId,
    spender: KeyId,
    units: i64,
) -> CheckoutId {
    let checkout = opened(replica, account, spender, units).await;
    let key = format!("deliver {checkout}");
    let call = Call::Submit(checkout, scene::submission("r", 1, units));
    assert!(replica.send(&Request::new(account, key, call)).await.unwrap().accepted);
    checkout
}

/// A charge of so many micro-dollars.
pub(super) async fn charged(
    replica: &Replica,
    account: BookId,
    spender: KeyId,
    units: i64,
) -> ChargeId {
    let checkout = delivered(replica, account, spender, units).await;
    let call = Call::Judge(checkout, "r".into(), scene::verdict(units));
    let key = format!("judge {checkout}");
    let outcome = replica.send(&Request::new(account, key, call)).await.unwrap();
    let view: serde_json::Value = scene::body(&outcome);
    view["charge_id"].as_str().unwrap().parse().unwrap()
}

#[test]
fn parallel_checkouts_on_two_processes_spend_exactly_what_balance_and_cap_allow() {
    run(|db| async move {
        let pair = replicas(&db).await;
        for (balance, account_cap, key_cap, units) in
            [(100, 60, 1000, 1), (60, 100, 1000, 1), (1000, 500, 45, 1), (100, 62, 1000, 5)]
        {
            let (account, keys) = account(&pair[0], balance).await;
            for (key, limit) in [(None, account_cap), (Some(keys[0]), key_cap)] {
                let id = CapId(Uuid::from_bytes(scene::fresh()));
                let verb = Verb::Cap { id, key, span: Span::Day, limit: amount(limit) };
                pair[1].act(account, &format!("cap {id}"), verb).await.unwrap();
            }
            let requests = (0..240).map(|n| open(account, keys[0], format!("open {n}"), units));
            let outcomes = outcomes(all(&pair, requests).await);
            let accepted = outcomes.iter().filter(|outcome| outcome.accepted).count();
            let expected = balance.min(account_cap).min(key_cap) / units;
            assert_eq!(i64::try_from(accepted).unwrap(), expected);
            for refused in outcomes.iter().filter(|outcome| !outcome.accepted) {
                let short = balance < account_cap.min(key_cap);
                let expected = if short { "insufficient_credits" } else { "cap_exceeded" };
                assert_eq!(code(refused), expected);
            }
        }
        invariants::hold_in(&db.owner).await;
    });
}

#[test]
fn parallel_copies_of_a_command_have_one_effect_and_one_answer() {
    run(|db| async move {
        let pair = replicas(&db).await;
        let (account, keys) = account(&pair[0], 100).await;
        let copies = (0..50).map(|_| open(account, keys[0], "one key".into(), 7));
        let outcomes = outcomes(all(&pair, copies).await);
        assert!(outcomes.iter().all(|outcome| outcome.accepted));
        assert!(outcomes.iter().all(|outcome| outcome.body == outcomes[0].body));
        assert_eq!(outcomes.iter().filter(|outcome| !outcome.replayed).count(), 1);
        let holds: i64 = sqlx::query_scalar("select count(*) from hold where amount = 7")
            .fetch_one(&db.owner)
            .await
            .unwrap();
        assert_eq!(holds, 1);
        let refused = (0..20).map(|_| open(account, keys[0], "one refusal".into(), 900));
        let refusals: Vec<_> = all(&pair, refused).await.into_iter().map(Result::unwrap).collect();
        assert!(refusals.iter().all(|outcome| outcome.body == refusals[0].body));
        assert_eq!(code(&refusals[0]), "insufficient_credits");
        // A refusal stays refused, also when there is enough.
        pair[0].top_up(account, 1000).await;
        let again = open(account, keys[0], "one refusal".into(), 900);
        let again = pair[1].send(&again).await.unwrap();
        assert!(again.replayed && again.body == refusals[0].body);
        invariants::hold_in(&db.owner).await;
    });
}

#[test]
fn a_key_with_two_requests_has_one_winner_and_the_rest_conflict() {
    run(|db| async move {
        let pair = replicas(&db).await;
        let (account, keys) = account(&pair[0], 100).await;
        let requests = (0..40).map(|n| open(account, keys[0], "a key".into(), 1 + n / 2 % 2));
        let replies = all(&pair, requests).await;
        let mut bodies = Vec::new();
        for reply in &replies {
            match reply {
                Ok(outcome) => bodies.push(&outcome.body),
                Err(CheckoutError::Ledger(error)) => assert_eq!(*error, SubmitError::Conflict),
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(bodies.len(), 20, "one of the two requests won, with all its copies");
        assert!(bodies.iter().all(|body| *body == bodies[0]));
        // The same key of another account is another key.
        let (other, keys) = self::account(&pair[1], 100).await;
        let outcome = pair[0].send(&open(other, keys[0], "a key".into(), 9)).await.unwrap();
        assert!(outcome.accepted && !outcome.replayed);
    });
}

#[test]
fn reversals_that_race_never_add_up_to_more_than_the_charge() {
    run(|db| async move {
        let pair = replicas(&db).await;
        let (account, keys) = account(&pair[0], 1000).await;
        for (round, asked) in
            [[Some(7), Some(7)], [None, None], [Some(4), None], [Some(4), Some(6)]]
                .into_iter()
                .cycle()
                .take(40)
                .enumerate()
        {
            let charge = charged(&pair[0], account, keys[0], 10).await;
            let requests = asked.into_iter().enumerate().map(|(n, micros)| {
                let request = scene::reversal(micros.map(amount));
                let key = format!("reverse {round} {n}");
                Request::new(account, key, Call::Reverse(charge, request))
            });
            let outcomes = outcomes(all(&pair, requests).await);
            let accepted = outcomes.iter().filter(|outcome| outcome.accepted).count();
            let view = pair[0].checkouts.charge(account, charge).await.unwrap();
            let sum: i64 = view.reversals.iter().map(|reversal| reversal.amount.micros()).sum();
            assert_eq!((view.reversed.micros(), view.reversals.len()), (sum, accepted));
            match asked {
                [Some(7), _] => assert_eq!((sum, accepted), (7, 1)),
                [None, _] => assert_eq!((sum, accepted), (10, 1)),
                [Some(4), Some(_)] => assert_eq!((sum, accepted), (10, 2)),
                // All that is left is four less when it comes second.
                _ => assert!([(10, 1), (10, 2)].contains(&(sum, accepted)), "{sum} {accepted}"),
            }
        }
        invariants::hold_in(&db.owner).await;
    });
}

/// Waits until so many transactions of the test's database wait for a lock.
async fn waiting(db: &TestDatabase, transactions: i64) {
    let sql = "select count(*) from pg_stat_activity
               where datname = current_database() and wait_event_type = 'Lock'";
    until("the transactions wait for the book", async || {
        sqlx::query_scalar::<_, i64>(sql).fetch_one(&db.service).await.unwrap() == transactions
    })
    .await;
}

#[test]
fn a_verdict_and_the_sweeper_have_one_winner() {
    run(|db| async move {
        // The verifier's process has not reached the deadline; the sweeper's is past it.
        let [judging, sweeping] = replicas(&db).await;
        sweeping.clock.advance(TimeDelta::hours(3));
        let mut winners = [0, 0];
        for round in 0..100 {
            // An account for each round: the sweeper's commit takes a book past the deadline.
            let (account, keys) = account(&judging, 50).await;
            let checkout = delivered(&judging, account, keys[0], 5).await;
            let call = Call::Judge(checkout, "r".into(), scene::verdict(3));
            let request = Request::new(account, "verdict", call);
            let mut lock = db.owner.begin().await.unwrap();
            let sql = "select from book where book_id = $1 for update";
            sqlx::query(sql).bind(account.0).execute(&mut *lock).await.unwrap();
            let (judge, sweeper) = (judging.clone(), sweeping.checkouts.sweeper());
            let judge = async move { judge.send(&request).await.unwrap() };
            let sweep = async move { sweeper.step().await.unwrap() };
            // Both have their snapshots and wait for the lock, one or the other at the head.
            let (verdict, swept) = if round % 2 == 0 {
                let judge = tokio::spawn(judge);
                waiting(&db, 1).await;
                (judge, tokio::spawn(sweep))
            } else {
                let sweep = tokio::spawn(sweep);
                waiting(&db, 1).await;
                (tokio::spawn(judge), sweep)
            };
            waiting(&db, 2).await;
            lock.rollback().await.unwrap();
            let (verdict, swept) = (verdict.await.unwrap(), swept.await.unwrap());
            let view = judging.checkouts.view(account, checkout).await.unwrap();
            let money = [view.captured, view.released, view.held].map(|amount| amount.micros());
            if verdict.accepted {
                assert_eq!((swept, money), (0, [3, 2, 0]));
                winners[0] += 1;
            } else {
                assert_eq!(code(&verdict), "already_decided");
                assert_eq!((swept, money), (1, [0, 5, 0]));
                winners[1] += 1;
            }
        }
        assert!(winners[0] > 0 && winners[1] > 0, "{winners:?}");
        invariants::hold_in(&db.owner).await;
    });
}
