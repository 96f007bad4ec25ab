//! Rows that are proven, broken, and touched again: the head finds them with the next transfer.

use std::collections::BTreeSet;

use bursar::accounts::CapSetting;
use bursar::ledger::Span;

use super::broken::failed;
use super::drift::{HEAD, breaks, round};
use super::scene::{Scene, dollars};
use crate::support::postgres::{TestDatabase, run};

/// Breaks a row that is proven, which nobody sees, touches it by what a customer does, and returns
/// what the head then finds.
async fn touched(db: TestDatabase, sql: &'static str) -> BTreeSet<&'static str> {
    let mut scene = Scene::empty(db).await;
    let caps = vec![CapSetting { span: Span::Total, limit: dollars("500") }];
    let ada = scene.sign_up("Ada", caps).await;
    scene.ada = ada.account;
    let first = scene.open(ada.account, ada.key_id, &[("lead", 3), ("page", 2)]).await;
    scene.deliver(first, 1, "one", 2).await;
    scene.deliver(first, 1, "two", 1).await;
    let charge = scene.judge(first, "one", 1).await;
    let checker = scene.checker(HEAD);
    assert!(round(&checker).await.report.passed());
    breaks(&scene, sql).await;
    let untouched = round(&checker).await;
    assert!(untouched.report.passed() && untouched.verified == 0, "{}", untouched.report);
    scene.reverse(charge, Some("0.50")).await;
    scene.judge(first, "two", 1).await;
    scene.open(ada.account, ada.key_id, &[("lead", 1)]).await;
    let found = failed(&round(&checker).await.report);
    let full = failed(&scene.check().await);
    assert!(full.is_superset(&found), "{full:?}, and the head says {found:?}");
    assert_eq!(found, failed(&round(&checker).await.report), "nothing is forgotten");
    found
}

macro_rules! touched {
    ($($test:ident: $sql:expr => $expected:expr;)*) => {
        $(#[test]
        fn $test() {
            run(|db| async {
                let found: Vec<_> = touched(db, $sql).await.into_iter().collect();
                assert_eq!(found, $expected);
            });
        })*
    };
}

touched! {
    a_touched_lot_that_gained_money:
        "update lot set remaining = remaining + 1 where open"
        => ["lots_match_balances", "lots_match_transfers"];
    a_touched_hold_of_another_draw:
        "update hold set draw_amounts[1] = draw_amounts[1] + 1 where captured > 0"
        => ["draws_match_transfers"];
    a_touched_hold_that_was_larger:
        "update hold set amount = amount + 1 where captured > 0"
        => ["cap_usage", "holds_match_balances", "holds_match_transfers", "items_match_holds"];
    a_touched_capture_that_reversed_more:
        "update capture set reversed = reversed + 1"
        => ["captures_match_transfers", "charges_match_captures", "holds_match_captures"];
    a_touched_charge_at_another_price:
        "update charge set unit_price = unit_price + 1"
        => ["charges_match_captures"];
    a_touched_result_of_other_units:
        "update result set quantity = quantity + 1 where result_id = 'one'"
        => ["items_match_results"];
    a_touched_checkout_of_another_total:
        "update checkout set total = total - 1"
        => ["checkouts_match_items"];
    a_touched_charge_that_a_dispute_never_gave_back:
        "insert into dispute (slot, book_id, dispute_id, charge_id, sku, amount, reason, disputed_by, \
           disputed_at, decide_by, state, decided_at) \
         select slot, book_id, charge_id, charge_id, sku, amount, '', charge_id, captured_at, final_at, \
           'upheld', captured_at from charge"
        => ["disputes_match_reversals"];
    a_touched_result_that_nobody_was_to_judge:
        "insert into verification (slot, book_id, checkout_id, result_id, verifier_id, \
           queued_at) \
         select slot, book_id, checkout_id, result_id, checkout_id, now() from result"
        => ["verifications_match_results"];
    a_touched_checkout_of_a_quote_without_lines:
        "insert into quote (slot, book_id, quote_id, lines, created_at, expires_at, checkout_id) \
         select slot, book_id, checkout_id, '[]', created_at, created_at, checkout_id from checkout"
        => ["quotes_match_checkouts"];
    a_touched_cap_that_counts_less:
        "update cap_usage set used = used - 1"
        => ["cap_usage"];
}
