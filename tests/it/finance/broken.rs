//! How a ledger is broken on purpose, by the owner of the database with its guards taken down, and
//! checked: by the full check, and by the incremental one, which had proven everything before.

use std::collections::BTreeSet;
use std::time::Duration;

use bursar::finance::{CheckReport, DriftChecker, DriftSettings};
use sqlx::Executor;

use super::scene::Scene;
use crate::support::postgres::run;

/// What a database would never let happen.
pub const GUARDS_DOWN: &str = "
    do $$
    declare guarded regclass;
    begin
      for guarded in select distinct tgrelid::regclass from pg_trigger where not tgisinternal loop
        execute format('alter table %s disable trigger user', guarded);
      end loop;
    end
    $$;
    alter table book drop constraint if exists book_balanced;
";

/// Plays the history, breaks it, and compares what the checks say with what is expected.
pub fn broken(test: &str, statements: &'static [&'static str], expected: &[&str]) {
    run(|db| async {
        let scene = Scene::play(db).await;
        scene.trade().await;
        let checker = scene.checker(DriftSettings::default());
        let honest = checker.round().await.unwrap();
        assert!(honest.report.passed(), "{}", honest.report);
        assert!(honest.verified > 0 && honest.reverified == honest.verified && honest.caught_up);
        scene.db.owner.execute(GUARDS_DOWN).await.unwrap();
        for sql in statements {
            let done = scene.db.owner.execute(*sql).await.unwrap();
            assert!(done.rows_affected() > 0, "nothing was broken by: {sql}");
        }
        let report = scene.check().await;
        let expected: BTreeSet<&str> = expected.iter().copied().collect();
        assert_eq!(failed(&report), expected, "{report}");
        told(&report);

        // Everything had been proven. The lap finds the same, and the next one has not forgotten it.
        for _ in 0..2 {
            let again = checker.round().await.unwrap().report;
            assert_eq!(failed(&again), expected, "{again}");
            told(&again);
        }
        // Nothing had been proven: the head finds it alone.
        scene.forget_proofs().await;
        let settings = DriftSettings { reverified_per_round: 0, ..DriftSettings::default() };
        let head = scene.checker(settings).round().await.unwrap().report;
        assert_eq!(failed(&head), expected, "{head}");
        // As if every book were larger than a step.
        let tiny = scene.checker(TINY);
        lap(&tiny).await;
        let parts = lap(&tiny).await;
        let (found, beyond) = (failed(&parts), ONLY_IN_FULL.contains(&test));
        let mut all: BTreeSet<&str> = expected.iter().chain(besides(test)).copied().collect();
        all.retain(|name| !beyond && (test, *name) != UNNAMED_IN_PARTS);
        assert_eq!(found, all, "{parts}");
    });
}

/// So little at a time that every book is gone through in parts.
pub const TINY: DriftSettings = DriftSettings {
    transfers_per_step: 3,
    books_per_step: 1,
    steps_per_round: 1_000,
    reverified_per_round: 7,
    lap_every: Duration::ZERO,
    rest: 0,
};

/// What nobody sees who does not see the whole ledger at once.
const ONLY_IN_FULL: [&str; 1] = ["a_transaction_in_two_books"];

/// Caps are compared at a book's end, where this hold is long out of sight. It is found all the same.
const UNNAMED_IN_PARTS: (&str, &str) = ("a_hold_that_forgot_a_release", "cap_usage");

/// What is named besides, when sums of a book are compared while only a part of it is in sight.
fn besides(test: &str) -> &'static [&'static str] {
    match test {
        "a_capture_without_transfers" => &["charges_match_revenue", "holds_match_balances"],
        "a_credit_for_another_top_up" => &["topups_match_settled"],
        "a_release_of_another_hold" => &["cap_usage", "holds_match_balances"],
        _ => &[],
    }
}

/// Rounds until everything has been verified again, from the beginning of a lap to its end.
pub async fn lap(checker: &DriftChecker) -> CheckReport {
    let first = checker.round().await.unwrap().lap_ended_at;
    for _ in 0..1_000 {
        let round = checker.round().await.unwrap();
        if round.lap_ended_at != first {
            return round.report;
        }
    }
    panic!("a lap does not end");
}

/// The names of the checks that failed.
pub fn failed(report: &CheckReport) -> BTreeSet<&'static str> {
    report.checks.iter().filter(|check| !check.passed).map(|check| check.name).collect()
}

/// What failed is told in the report's text, check by check and figure by figure.
fn told(report: &CheckReport) {
    let text = report.to_string();
    for check in report.checks.iter().filter(|check| !check.passed) {
        assert!(text.contains(&format!("FAIL  {}", check.name)), "{text}");
        assert!(check.violation_count >= i64::try_from(check.violations.len()).unwrap());
        for violation in &check.violations {
            assert!(text.contains(&violation.detail), "{text}");
            assert!(violation.book.is_some(), "{violation}");
        }
    }
    assert!(text.lines().last().unwrap().contains("checks failed"), "{text}");
}
