//! The trial balance, the history, and the checks over books that are in order.

use bursar::finance::Scope;
use bursar::ground::{Amount, BookId};

use super::scene::{Scene, dollars};
use crate::support::postgres::run;

#[test]
fn every_check_passes_over_an_untouched_history() {
    run(|db| async {
        let scene = Scene::play(db).await;
        let report = scene.check().await;
        assert!(report.passed(), "{report}");
        assert_eq!(report.violation_count(), 0);
        let text = report.to_string();
        assert_eq!(text.lines().filter(|line| line.starts_with("ok ")).count(), 35, "{text}");
        assert!(text.lines().last().unwrap().starts_with("all 35 checks passed"), "{text}");
    });
}

#[test]
fn every_check_passes_over_an_empty_ledger() {
    run(|db| async {
        let scene = Scene::empty(db).await;
        let report = scene.check().await;
        assert!(report.passed(), "{report}");
        let trial = scene.finance.trial_balance(Scope::All).await.unwrap();
        assert_eq!((trial.total_debit.as_str(), trial.balanced), ("0.00", true));
        assert_eq!(trial.rows.len(), 10);
    });
}

#[test]
fn the_trial_balance_is_of_one_account_or_of_all() {
    run(|db| async {
        let scene = Scene::play(db).await;
        let all = scene.finance.trial_balance(Scope::All).await.unwrap();
        let ada = scene.finance.trial_balance(Scope::Book(scene.ada)).await.unwrap();
        for report in [&all, &ada] {
            assert!(report.balanced);
            assert_eq!(report.total_debit, report.total_credit);
            let sum = |side: fn(&bursar::finance::TrialBalanceRow) -> &str| {
                Amount::sum(report.rows.iter().map(|row| dollars(side(row)))).unwrap()
            };
            assert_eq!(sum(|row| &row.debit).to_string(), report.total_debit);
            assert_eq!(sum(|row| &row.credit).to_string(), report.total_credit);
        }
        let row = |name: &str| ada.rows.iter().find(|row| row.account == name).unwrap();
        assert_eq!(
            (row("settled_usdc").debit.as_str(), row("settled_usdc").credit.as_str()),
            ("55.00", "0.00")
        );
        assert_eq!(
            (row("prepaid").kind.as_str(), row("prepaid").normal_side.as_str()),
            ("liability", "credit")
        );
        // Bob's grant expired but for the 6.00 that came back to him.
        let issued =
            |report: &bursar::finance::TrialBalance| dollars(&report.rows[3].debit).micros();
        assert_eq!(issued(&all) - issued(&ada), dollars("6.00").micros());
        assert_eq!(all.rows[0].debit, "55.00");
    });
}

#[test]
fn the_history_is_read_backwards_page_by_page() {
    run(|db| async {
        let scene = Scene::play(db).await;
        let all = scene.finance.history(scene.ada, None, 1000).await.unwrap();
        let count = i64::try_from(all.len()).unwrap();
        let seqs: Vec<i64> = all.iter().map(|entry| entry.seq).collect();
        assert_eq!(seqs, (1..=count).rev().collect::<Vec<_>>());
        let mut pages = Vec::new();
        let mut before = None;
        loop {
            let page = scene.finance.history(scene.ada, before, 7).await.unwrap();
            let Some(last) = page.last() else { break };
            before = Some(last.seq);
            pages.extend(page);
        }
        assert_eq!(pages, all);
        let first = all.last().unwrap();
        assert_eq!(
            (first.movement.as_str(), first.debit_account.as_str()),
            ("grant", "promo_issued")
        );
        assert_eq!(first.amount, dollars("25.00"));
        assert!(first.subject_id.starts_with("grt_"));
        let json = serde_json::to_value(first).unwrap();
        assert_eq!(json["amount"], "25.00");
        assert!(json["lot_id"].as_str().unwrap().starts_with("lot_"));
        let reversal = all.iter().find(|entry| entry.movement == "reversal").unwrap();
        assert!(reversal.reverses_transaction_id.is_some());
        assert!(scene.finance.history(BookId::HOUSE, None, 10).await.unwrap().is_empty());
    });
}
