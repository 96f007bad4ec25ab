//! The incremental checker beside a ledger that goes on: what it finds, when, and at what cost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bursar::accounts::CapSetting;
use bursar::db::checker_pool;
use bursar::finance::{CheckReport, DriftChecker, DriftSettings, Round};
use bursar::ground::BookId;
use bursar::ledger::Span;
use sqlx::Executor;

use super::broken::{GUARDS_DOWN, TINY, failed, lap};
use super::scene::{Scene, dollars};
use crate::support::postgres::{TestDatabase, run};

/// The head alone, as between two laps.
pub const HEAD: DriftSettings = DriftSettings {
    transfers_per_step: 20_000,
    books_per_step: 10_000,
    steps_per_round: 20,
    reverified_per_round: 0,
    lap_every: std::time::Duration::ZERO,
    rest: 0,
};

pub async fn round(checker: &DriftChecker) -> Round {
    checker.round().await.unwrap()
}

pub async fn breaks(scene: &Scene, sql: &'static str) {
    scene.db.owner.execute(GUARDS_DOWN).await.unwrap();
    let done = scene.db.owner.execute(sql).await.unwrap();
    assert!(done.rows_affected() > 0, "nothing was broken by: {sql}");
}

async fn count(db: &TestDatabase, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(&db.service).await.unwrap()
}

async fn transfers(db: &TestDatabase) -> i64 {
    count(db, "select count(*) from transfer").await
}

fn names(report: &CheckReport) -> Vec<&'static str> {
    failed(report).into_iter().collect()
}

#[test]
fn a_changed_book_row_is_found_without_a_transfer() {
    run(|db| async {
        let scene = Scene::play(db).await;
        let checker = scene.checker(HEAD);
        assert!(round(&checker).await.report.passed());
        breaks(&scene, "update book set revenue = revenue + 1, breakage = breakage - 1 + 1").await;
        let found = round(&checker).await;
        assert_eq!(found.verified, 0);
        let all = ["balances_match_transfers", "charges_match_revenue", "trial_balance"];
        assert_eq!(names(&found.report), all);
    });
}

#[test]
fn a_finding_goes_when_the_ledger_agrees_again() {
    run(|db| async {
        let scene = Scene::play(db).await;
        for settings in [DriftSettings::default(), TINY] {
            let checker = scene.checker(settings);
            lap(&checker).await;
            breaks(&scene, "update lot set remaining = remaining - 1 where remaining > 1").await;
            breaks(&scene, "update transfer set amount = amount + 1 where version = 2").await;
            lap(&checker).await;
            let wrong = lap(&checker).await;
            assert!(!wrong.passed());
            let back = "update lot set remaining = remaining + 1 where remaining > 0
                          and remaining < amount or remaining = amount - 1";
            breaks(&scene, back).await;
            breaks(&scene, "update transfer set amount = amount - 1 where version = 2").await;
            assert!(scene.check().await.passed());
            lap(&checker).await;
            let right = lap(&checker).await;
            assert!(right.passed(), "{right}");
        }
    });
}

/// A customer who buys, cancels, delivers and disputes, as long as the others do.
async fn live(scene: &Scene, name: &str, turns: usize) {
    let caps = [Span::Day, Span::Month, Span::Total];
    let caps = caps.map(|span| CapSetting { span, limit: dollars("500") }).to_vec();
    let who = scene.sign_up(name, caps).await;
    for turn in 0..turns {
        scene.top_up(who.account, "8.00").await;
        let (account, key, lines) = (who.account, who.key_id, [("lead", 2), ("page", 2)]);
        let order = if turn % 2 == 0 {
            scene.open(account, key, &lines).await
        } else {
            let quote = scene.quote(account, key, &lines).await;
            scene.accept(account, key, quote).await
        };
        scene.deliver(order, 1, "first", 1).await;
        scene.deliver(order, 1, "second", 1).await;
        let charge = scene.judge(order, "first", 1).await;
        scene.judge(order, "second", if turn % 2 == 0 { 1 } else { 0 }).await;
        scene.reverse(charge, Some("0.25")).await;
        let dispute = scene.dispute((account, key), charge, None).await;
        if turn % 3 != 0 {
            scene.decide(dispute, turn % 3 == 1).await;
        }
        scene.cancel(account, order).await;
    }
}

#[test]
fn an_honest_ledger_raises_no_alarm_while_it_is_written() {
    run(|db| async {
        let scene = Arc::new(Scene::empty(db).await);
        let busy = Arc::new(AtomicBool::new(true));
        let mut checking = Vec::new();
        let brisk =
            DriftSettings { reverified_per_round: 500, rest: 0, ..DriftSettings::default() };
        for settings in [HEAD, TINY, brisk] {
            let (checker, busy) = (scene.checker(settings), busy.clone());
            checking.push(tokio::spawn(async move {
                let (mut rounds, mut verified) = (0, 0);
                while busy.load(Ordering::Relaxed) || rounds < 3 {
                    let round = round(&checker).await;
                    assert!(round.report.passed(), "{}", round.report);
                    verified += round.verified;
                    rounds += 1;
                }
                verified
            }));
        }
        let names = ["Ada", "Bob", "Cleo", "Dan"];
        futures_util::future::join_all(names.map(|name| live(&scene, name, 12))).await;
        busy.store(false, Ordering::Relaxed);
        let mut verified = 0;
        for checker in checking {
            verified += checker.await.unwrap();
        }
        let last = round(&scene.checker(HEAD)).await;
        assert_eq!((last.caught_up, last.report.passed()), (true, true), "{}", last.report);
        // However many checkers there are, the head verifies each transfer once.
        assert_eq!(verified + last.verified, transfers(&scene.db).await);
        let laps = "select count(*) from proof_cursor where lap_ended_at is not null";
        assert_eq!(count(&scene.db, laps).await, 1);
        assert!(scene.check().await.passed());
    });
}

/// A book of many grants, honest in everything.
async fn make_large(db: &TestDatabase, grants: i64) -> BookId {
    let book = BookId("019aa000-0000-7000-8000-000000000007".parse().unwrap());
    let sql = "
        with rows as (
          select n, ('019aa000-0000-7000-8000-' || lpad(to_hex(n), 10, '0') || '07')::uuid as id,
                 now() - ($2 - n) * interval '1 microsecond' as at
          from generate_series(1, $2) n),
        lots as (
          insert into lot (slot, book_id, lot_id, paid, open, priority, amount, remaining,
            granted_at, effective_at, expires_at, origin_id)
          select 7, $1, id, false, true, 50, 10, 10, at, at, at + interval '1 year', id from rows),
        grants as (
          insert into credit_grant (slot, book_id, grant_id, amount, priority, effective_at,
            expires_at, reason, granted_by, granted_at, credited_at, lot_id)
          select 7, $1, id, 10, 50, at, at + interval '1 year', 'much', id, at, at, id from rows),
        events as (
          insert into outbox (slot, book_id, seq, kind, subject_id, recorded_at)
          select 7, $1, n, 'grant.credited', id, at from rows),
        transfers as (
          insert into transfer (book_id, transaction_id, subject_id, lot_id, version, amount,
            debit_after, credit_after, recorded_at, effective_at, slot, movement, debit, credit)
          select $1, id, id, id, n, 10, 10 * n, 10 * n, at, at, 7, 2, 4, 5 from rows),
        snapshots as (
          insert into book_snapshot (slot, book_id, version, recorded_at, debits, credits)
          select 7, $1, n, at, array[0, 0, 0, 10 * n, 0, 0, 0, 0, 0, 0],
                 array[0, 0, 0, 0, 10 * n, 0, 0, 0, 0, 0]
          from rows where n % 256 = 0)
        insert into book (slot, book_id, kind, version, event_seq, recorded_at, created_at,
          promo_issued, promo)
        values (7, $1, 'customer', $2, $2, now(), now(), 10 * $2, 10 * $2)";
    sqlx::query(sql).bind(book.0).bind(grants).execute(&db.owner).await.unwrap();
    book
}

/// How many rows of the ledger a round of a fresh process reads. A connection tells what it did when
/// it ends.
async fn rows_read(scene: &Scene, settings: DriftSettings) -> (Round, i64) {
    let read = "select (sum(coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0)))::bigint
                from pg_stat_user_tables
                where relname in ('transfer', 'lot', 'hold', 'outbox', 'topup', 'cap_usage')";
    let before = count(&scene.db, read).await;
    let pool = checker_pool(scene.db.service_options());
    let done = round(&DriftChecker::new(pool.clone(), settings)).await;
    pool.close().await;
    let open = "select count(*) from pg_stat_activity
                where datname = current_database() and application_name = 'bursar-checker'";
    while count(&scene.db, open).await > 0 {
        tokio::task::yield_now().await;
    }
    (done, count(&scene.db, read).await - before)
}

#[test]
fn a_round_costs_what_is_new_however_large_the_book() {
    run(|db| async {
        let scene = Scene::empty(db).await;
        let large = 40_000;
        let book = make_large(&scene.db, large).await;
        let (first, read) = rows_read(&scene, HEAD).await;
        assert_eq!((first.verified, first.caught_up), (large, true), "{}", first.report);
        assert!(first.report.passed(), "{}", first.report);
        assert!(read >= large, "the figures count: {read}");
        let (idle, read) = rows_read(&scene, HEAD).await;
        assert_eq!((idle.verified, read), (0, 0));
        scene.top_up(book, "1.00").await;
        let (next, read) = rows_read(&scene, HEAD).await;
        assert_eq!((next.verified, next.report.passed()), (1, true), "{}", next.report);
        assert!(read < 40, "{read} rows for one transfer");
        // A lap reads no more in a round than it may.
        let some = DriftSettings { reverified_per_round: 500, ..HEAD };
        let (house, _) = rows_read(&scene, some).await;
        assert_eq!(house.reverified, 0, "the house's book comes first");
        let (part, read) = rows_read(&scene, some).await;
        assert_eq!((part.reverified, part.report.passed()), (500, true), "{}", part.report);
        assert!(read < 3_500, "{read} rows for 500 transfers and their events");
    });
}

#[test]
fn a_large_book_is_verified_in_parts_by_one_process_after_the_other() {
    run(|db| async {
        let scene = Scene::play(db).await;
        let all = transfers(&scene.db).await;
        let settings = DriftSettings {
            transfers_per_step: 2,
            steps_per_round: 2,
            reverified_per_round: 0,
            ..TINY
        };
        let mut verified = 0;
        loop {
            // Each round is of another process, which knows what the last one has proven.
            let (done, _) = rows_read(&scene, settings).await;
            assert!(done.verified <= 4 && done.report.passed(), "{}", done.report);
            verified += done.verified;
            assert_eq!(scene.checker(settings).behind().await.unwrap(), all - verified);
            if done.caught_up {
                break;
            }
        }
        assert_eq!(verified, all);
    });
}

#[test]
fn a_checker_killed_within_a_step_has_done_none_of_it() {
    run(|db| async {
        let scene = Scene::play(db).await;
        let all = transfers(&scene.db).await;
        let mut jam = scene.db.owner.begin().await.unwrap();
        jam.execute("lock table proof_lot in access exclusive mode").await.unwrap();
        let checker = scene.checker(HEAD);
        let step = tokio::spawn(async move { checker.round().await });
        let kill = "select count(pg_terminate_backend(pid)) from pg_stat_activity
                    where datname = current_database() and wait_event_type = 'Lock'
                      and application_name = 'bursar-checker'";
        let waits = "select count(*) from pg_stat_activity
                     where datname = current_database() and wait_event_type = 'Lock'
                       and application_name = 'bursar-checker'";
        while count(&scene.db, waits).await == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(count(&scene.db, kill).await, 1);
        assert!(step.await.unwrap().is_err());
        jam.rollback().await.unwrap();
        assert_eq!(count(&scene.db, "select count(*) from proof_book").await, 0);
        let done = round(&scene.checker(HEAD)).await;
        assert_eq!((done.verified, done.caught_up), (all, true));
    });
}

#[test]
fn forged_proofs_are_seen_through_within_a_lap() {
    run(|db| async {
        let scene = Scene::play(db).await;
        breaks(&scene, "update transfer set debit_after = debit_after + 1 where version = 3").await;
        // The head is told that all is proven.
        let forged = "
            insert into proof_book (slot, book_id, walk, version, event_seq, compared, balances,
              promo_spent, begun_at)
            select slot, book_id, 'head', version, event_seq, version,
              array[settled_usdc, prepaid, held, promo_issued, promo, promo_held, revenue,
                    reversed_revenue, breakage, settlement_loss], 0, now()
            from book";
        scene.db.service.execute(forged).await.unwrap();
        assert!(round(&scene.checker(HEAD)).await.report.passed(), "the head is fooled");
        for settings in [DriftSettings::default(), TINY] {
            let checker = scene.checker(settings);
            lap(&checker).await;
            let found = lap(&checker).await;
            assert_eq!(names(&found), ["running_balances"], "{found}");
            scene.db.service.execute("delete from proof_finding").await.unwrap();
        }
        // What is deleted from the findings is found again.
        let found = lap(&scene.checker(DriftSettings::default())).await;
        assert_eq!(names(&found), ["running_balances"], "{found}");
    });
}

#[test]
fn false_proofs_cry_wolf_only_until_the_lap_comes_by() {
    run(|db| async {
        let scene = Scene::play(db).await;
        for settings in [DriftSettings::default(), TINY] {
            let checker = scene.checker(settings);
            lap(&checker).await;
            for forged in [
                "update proof_book set balances[2] = balances[2] + 1, promo_spent = 7",
                "update proof_lot set remaining = remaining + 1",
                "update proof_spent set spent = spent + 1",
                "update proof_book set version = version + 5",
                "delete from proof_lot",
            ] {
                let done = scene.db.service.execute(forged).await.unwrap();
                assert!(done.rows_affected() > 0, "{forged}");
                lap(&checker).await;
                lap(&checker).await;
                let right = lap(&checker).await;
                assert!(right.passed(), "{forged}: {right}");
                let proven = "select count(*) from book b join proof_book p using (slot, book_id)
                              where p.walk = 'head' and p.version = b.version
                                and p.balances[2] = b.prepaid";
                round(&checker).await;
                let books = count(&scene.db, "select count(*) from book").await;
                assert_eq!(count(&scene.db, proven).await, books, "{forged}");
            }
        }
    });
}

#[test]
fn a_book_whose_row_is_gone_is_missed() {
    run(|db| async {
        let scene = Scene::play(db).await;
        let checker = scene.checker(DriftSettings::default());
        assert!(round(&checker).await.report.passed());
        breaks(&scene, "delete from book where settled_usdc > 0").await;
        lap(&checker).await;
        let found = lap(&checker).await;
        assert_eq!(names(&found), ["versions_gap_free"], "{found}");
    });
}
