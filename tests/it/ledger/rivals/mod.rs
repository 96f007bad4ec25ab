//! Rivals by the hundred: two that may not both succeed are sent at once to two processes, for many
//! books in parallel. Each pair has one winner, and what moved is what the winner moves.

mod quotes;
mod units;

use bursar::checkout::{ChargeState, DisputeView};
use bursar::db::report_pool;
use bursar::finance::Finance;
use bursar::ground::{BookId, ChargeId, CheckoutId, Clock, KeyId};
use bursar::ledger::{Outcome, expire_lots};
use chrono::TimeDelta;
use futures_util::future::join_all;

use super::commands::Verb;
use super::invariants;
use super::model::amount;
use super::race::{charged, delivered, opened, replicas};
use super::scene::{self, Call, Replica, Request, code};
use crate::support::postgres::{TestDatabase, run};

const PAIRS: usize = 200;

/// What every account begins with, in micro-dollars.
const GRANT: i64 = 12;

/// One account with its subject.
struct Side<T> {
    account: BookId,
    key: KeyId,
    subject: T,
}

/// So many accounts, each with what is made for it.
async fn sides<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
    replica: &Replica,
    lives: TimeDelta,
    make: fn(Replica, BookId, KeyId) -> F,
) -> Vec<Side<T>> {
    let sides = (0..PAIRS).map(|_| {
        let replica = replica.clone();
        tokio::spawn(async move {
            let account = scene::fresh_account(&replica.clock);
            let [key, _] = replica.open_account(account).await;
            let grant = Verb::Grant(amount(GRANT), replica.clock.now() + lives);
            assert!(replica.act(account, "grant", grant).await.unwrap().accepted);
            Side { account, key, subject: make(replica, account, key).await }
        })
    });
    join_all(sides.collect::<Vec<_>>()).await.into_iter().map(Result::unwrap).collect()
}

fn month() -> TimeDelta {
    TimeDelta::days(30)
}

/// Sends both of a pair: in a quarter of them the first is done before the second begins, in a
/// quarter the other way round, and in the others both begin at once.
async fn meet(first: Replica, second: Replica, n: usize, calls: [Request; 2]) -> [Outcome; 2] {
    let [a, b] = &calls;
    match n % 4 {
        0 => {
            let done = first.send(a).await.unwrap();
            [done, second.send(b).await.unwrap()]
        }
        1 => {
            let done = second.send(b).await.unwrap();
            [first.send(a).await.unwrap(), done]
        }
        _ => {
            let (a, b) = tokio::join!(first.send(a), second.send(b));
            [a.unwrap(), b.unwrap()]
        }
    }
}

async fn meet_all<T>(
    [first, second]: &[Replica; 2],
    sides: &[Side<T>],
    calls: impl Fn(&Side<T>) -> [Call; 2],
) -> Vec<[Outcome; 2]> {
    let pairs = sides.iter().enumerate().map(|(n, side)| {
        let [a, b] = calls(side);
        let calls = [Request::new(side.account, "a", a), Request::new(side.account, "b", b)];
        tokio::spawn(meet(first.clone(), second.clone(), n, calls))
    });
    join_all(pairs.collect::<Vec<_>>()).await.into_iter().map(Result::unwrap).collect()
}

/// Sends one call for each side while a worker takes step after step: a quarter before it begins,
/// half while it runs, and a quarter when it has nothing left to do. Returns how much it settled.
async fn meet_worker<T, W: Future<Output = usize> + Send + 'static>(
    replica: &Replica,
    sides: &[Side<T>],
    call: impl Fn(&Side<T>) -> Call,
    step: impl Fn() -> W + Send + 'static,
) -> (Vec<Outcome>, usize) {
    let send = async |sides: &[Side<T>]| -> Vec<Outcome> {
        let requests = sides.iter().map(|side| Request::new(side.account, "a", call(side)));
        let tasks = requests.map(|request| {
            let replica = replica.clone();
            tokio::spawn(async move { replica.send(&request).await.unwrap() })
        });
        join_all(tasks.collect::<Vec<_>>()).await.into_iter().map(Result::unwrap).collect()
    };
    let (early, rest) = sides.split_at(PAIRS / 4);
    let (middle, late) = rest.split_at(PAIRS / 2);
    let mut outcomes = send(early).await;
    let worker = tokio::spawn(async move {
        let mut settled = 0;
        loop {
            match step().await {
                0 => return settled,
                more => settled += more,
            }
        }
    });
    outcomes.extend(send(middle).await);
    let settled = worker.await.unwrap();
    outcomes.extend(send(late).await);
    (outcomes, settled)
}

/// Which of the two was carried out; the other was refused with one of these codes.
fn winner(pair: &[Outcome; 2], refusals: [&str; 2]) -> usize {
    let won = usize::from(!pair[0].accepted);
    assert!(pair[won].accepted, "nobody won: {pair:?}");
    assert_eq!(code(&pair[1 - won]), refusals[1 - won]);
    won
}

/// Everything adds up, by the tests' queries and by the service's own.
async fn adds_up(db: &TestDatabase) {
    invariants::hold_in(&db.owner).await;
    // These grants are booked by a bare command: their rows are the accounts' part.
    let rows = "insert into credit_grant (slot, book_id, grant_id, amount, priority, effective_at,
                  expires_at, reason, granted_by, granted_at, credited_at, lot_id)
                select t.slot, t.book_id, t.subject_id, t.amount, l.priority, l.effective_at,
                  l.expires_at, 'for a race', t.subject_id, t.recorded_at, t.recorded_at, t.lot_id
                from transfer t join movement m
                  on m.movement = t.movement and m.debit = t.debit and m.credit = t.credit
                join lot l on l.slot = t.slot and l.book_id = t.book_id and l.lot_id = t.lot_id
                where m.name = 'grant'";
    sqlx::query(rows).execute(&db.owner).await.unwrap();
    let report = Finance::new(report_pool(db.service_options(), 2)).check().await.unwrap();
    let failed: Vec<_> = report.checks.iter().filter(|check| !check.passed).collect();
    assert!(!report.checks.is_empty() && failed.is_empty(), "{failed:#?}");
}

/// A charge of ten.
async fn charge_of(replica: Replica, account: BookId, key: KeyId) -> ChargeId {
    charged(&replica, account, key, 10).await
}

/// A charge of ten under dispute.
async fn disputed(replica: Replica, account: BookId, key: KeyId) -> DisputeView {
    let charge = charged(&replica, account, key, 10).await;
    let request = scene::dispute(key, Some(amount(7)));
    let call = Request::new(account, "dispute", Call::Dispute(charge, request));
    scene::body(&replica.send(&call).await.unwrap())
}

/// What is available to an account, and how much has expired.
async fn left_and_expired(db: &TestDatabase, account: BookId) -> (i64, i64) {
    let sql = "select b.promo, (select coalesce(sum(amount), 0)::bigint from transfer t
                 where t.slot = b.slot and t.book_id = b.book_id and t.movement = 7)
               from book b where book_id = $1";
    sqlx::query_as(sql).bind(account.0).fetch_one(&db.service).await.unwrap()
}

#[test]
fn a_cancellation_and_a_result_have_one_winner() {
    run(|db| async move {
        let pair = replicas(&db).await;
        let open =
            |replica: Replica, account, key| async move { opened(&replica, account, key, 5).await };
        let sides: Vec<Side<CheckoutId>> = sides(&pair[0], month(), open).await;
        let outcomes = meet_all(&pair, &sides, |side| {
            let submission = scene::submission("r", 1, 5);
            [Call::Cancel(side.subject), Call::Submit(side.subject, submission)]
        });
        let mut wins = [0, 0];
        for (side, outcome) in sides.iter().zip(outcomes.await) {
            let won = winner(&outcome, ["checkout_not_cancelable", "item_closed"]);
            let view = pair[0].checkouts.view(side.account, side.subject).await.unwrap();
            let money = [view.held, view.released].map(|amount| amount.micros());
            assert_eq!((money, view.results.len()), [([0, 5], 0), ([5, 0], 1)][won]);
            wins[won] += 1;
        }
        assert!(wins[0] >= PAIRS / 4 && wins[1] >= PAIRS / 4, "{wins:?}");
        adds_up(&db).await;
    });
}

#[test]
fn two_reversals_of_a_whole_charge_have_one_winner() {
    run(|db| async move {
        let pair = replicas(&db).await;
        let sides = sides(&pair[0], month(), charge_of).await;
        let whole = |side: &Side<ChargeId>| {
            [0, 1].map(|_| Call::Reverse(side.subject, scene::reversal(None)))
        };
        for (side, outcome) in sides.iter().zip(meet_all(&pair, &sides, whole).await) {
            winner(&outcome, ["already_reversed"; 2]);
            let view = pair[0].checkouts.charge(side.account, side.subject).await.unwrap();
            assert_eq!((view.reversed.micros(), view.reversals.len()), (10, 1));
        }
        adds_up(&db).await;
    });
}

#[test]
fn a_dispute_and_a_reversal_have_one_winner() {
    run(|db| async move {
        let pair = replicas(&db).await;
        let sides = sides(&pair[0], month(), charge_of).await;
        let outcomes = meet_all(&pair, &sides, |side| {
            let dispute = scene::dispute(side.key, None);
            let reversal = scene::reversal(None);
            [Call::Dispute(side.subject, dispute), Call::Reverse(side.subject, reversal)]
        });
        for (side, outcome) in sides.iter().zip(outcomes.await) {
            let won = winner(&outcome, ["already_reversed", "charge_disputed"]);
            let view = pair[0].checkouts.charge(side.account, side.subject).await.unwrap();
            let stands = (view.status, view.reversed.micros(), view.disputes.len());
            let wanted = [(ChargeState::Disputed, 0, 1), (ChargeState::Reversed, 10, 0)];
            assert_eq!(stands, wanted[won]);
        }
        adds_up(&db).await;
    });
}

#[test]
fn a_dispute_comes_before_the_end_of_its_window_or_not_at_all() {
    run(|db| async move {
        let pair = replicas(&db).await;
        // One process is past the window, and takes each book there with what it writes.
        pair[1].clock.advance(TimeDelta::hours(101));
        let sides = sides(&pair[0], month(), charge_of).await;
        let later = pair[1].clock.now() + month();
        let outcomes = meet_all(&pair, &sides, |side| {
            let dispute = Call::Dispute(side.subject, scene::dispute(side.key, None));
            [dispute, Call::Act(Verb::Grant(amount(1), later))]
        });
        let mut disputes = 0;
        for (side, [dispute, granted]) in sides.iter().zip(outcomes.await) {
            assert!(granted.accepted);
            let reverse = Call::Reverse(side.subject, scene::reversal(None));
            let reverse = pair[1].send(&Request::new(side.account, "r", reverse)).await.unwrap();
            assert_eq!(code(&reverse), "charge_final");
            let view = pair[1].checkouts.charge(side.account, side.subject).await.unwrap();
            assert_eq!(view.reversed.micros(), 0);
            if dispute.accepted {
                disputes += 1;
                assert_eq!((view.status, view.disputes.len()), (ChargeState::Disputed, 1));
            } else {
                assert_eq!(code(&dispute), "charge_final");
                assert_eq!((view.status, view.disputes.len()), (ChargeState::Final, 0));
            }
        }
        assert!((PAIRS / 4..=PAIRS * 3 / 4).contains(&disputes), "{disputes}");
        adds_up(&db).await;
    });
}

#[test]
fn a_decision_and_the_deadline_of_a_dispute_have_one_winner() {
    run(|db| async move {
        let pair = replicas(&db).await;
        pair[1].clock.advance(TimeDelta::hours(101));
        let sides = sides(&pair[0], month(), disputed).await;
        let sweeper = pair[1].checkouts.sweeper();
        let deny = |side: &Side<DisputeView>| {
            Call::Decide(side.subject.dispute_id, scene::decision(false))
        };
        let step = move || {
            let sweeper = sweeper.clone();
            async move { sweeper.step().await.unwrap() }
        };
        let (outcomes, settled) = meet_worker(&pair[0], &sides, deny, step).await;
        let mut upheld = 0;
        for (side, outcome) in sides.iter().zip(outcomes) {
            let charge = side.subject.charge_id;
            let view = pair[1].checkouts.charge(side.account, charge).await.unwrap();
            assert_eq!(view.status, ChargeState::Final);
            if outcome.accepted {
                assert_eq!((view.reversed.micros(), view.reversals.len()), (0, 0));
            } else {
                upheld += 1;
                assert_eq!(code(&outcome), "dispute_decided");
                assert_eq!((view.reversed.micros(), view.reversals.len()), (7, 1));
            }
        }
        assert_eq!(upheld, settled);
        assert!((PAIRS / 4..=PAIRS * 3 / 4).contains(&upheld), "{upheld}");
        adds_up(&db).await;
    });
}

#[test]
fn verdicts_and_the_sweeper_share_the_results_between_them() {
    run(|db| async move {
        let pair = replicas(&db).await;
        pair[1].clock.advance(TimeDelta::hours(3));
        let deliver = |replica: Replica, account, key| async move {
            delivered(&replica, account, key, 5).await
        };
        let sides = sides(&pair[0], month(), deliver).await;
        let sweeper = pair[1].checkouts.sweeper();
        let judge =
            |side: &Side<CheckoutId>| Call::Judge(side.subject, "r".into(), scene::verdict(3));
        let step = move || {
            let sweeper = sweeper.clone();
            async move { sweeper.step().await.unwrap() }
        };
        let (outcomes, settled) = meet_worker(&pair[0], &sides, judge, step).await;
        let mut swept = 0;
        for (side, outcome) in sides.iter().zip(outcomes) {
            let view = pair[0].checkouts.view(side.account, side.subject).await.unwrap();
            let money = [view.captured, view.released, view.held].map(|amount| amount.micros());
            if outcome.accepted {
                assert_eq!(money, [3, 2, 0]);
            } else {
                swept += 1;
                assert_eq!((code(&outcome).as_str(), money), ("already_decided", [0, 5, 0]));
            }
        }
        assert_eq!(swept, settled);
        assert!((PAIRS / 4..=PAIRS * 3 / 4).contains(&swept), "{swept}");
        adds_up(&db).await;
    });
}

#[test]
fn a_capture_and_the_expiry_of_its_lot_take_each_their_part() {
    run(|db| async move {
        let pair = replicas(&db).await;
        // The lots expire before the deadline of the verdict.
        pair[1].clock.advance(TimeDelta::minutes(90));
        let deliver = |replica: Replica, account, key| async move {
            delivered(&replica, account, key, 5).await
        };
        let sides = sides(&pair[0], TimeDelta::hours(1), deliver).await;
        let expiring = pair[1].clone();
        let judge =
            |side: &Side<CheckoutId>| Call::Judge(side.subject, "r".into(), scene::verdict(3));
        let step = move || {
            let replica = expiring.clone();
            let at = replica.clock.now();
            async move { expire_lots(&replica.pool, &replica.engine, at).await.unwrap() }
        };
        let (outcomes, _) = meet_worker(&pair[0], &sides, judge, step).await;
        let mut restored = 0;
        for (side, outcome) in sides.iter().zip(outcomes) {
            assert!(outcome.accepted, "{}", outcome.body);
            let view = pair[0].checkouts.view(side.account, side.subject).await.unwrap();
            let money = [view.captured, view.released, view.held].map(|amount| amount.micros());
            assert_eq!(money, [3, 2, 0]);
            let (left, expired) = left_and_expired(&db, side.account).await;
            // What came back before the expiry went with its lot, else into a lot of its own.
            assert!(
                [(0, GRANT - 3), (2, GRANT - 5)].contains(&(left, expired)),
                "{left} {expired}"
            );
            restored += usize::from(left > 0);
        }
        assert!((PAIRS / 4..=PAIRS * 3 / 4).contains(&restored), "{restored}");
        adds_up(&db).await;
    });
}
