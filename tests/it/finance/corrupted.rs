//! Each check, broken on purpose and seen to fail: that check, and only those that must fail with it.

use std::collections::BTreeSet;

use super::broken::broken;
use super::scene::Scene;
use crate::support::postgres::run;

macro_rules! broken {
    ($($test:ident: $statements:expr => $expected:expr;)*) => {
        $(#[test]
        fn $test() {
            broken(stringify!($test), &$statements, &$expected);
        })*

        /// No check is left out above.
        #[test]
        fn every_check_has_been_seen_to_fail() {
            let mut seen: BTreeSet<&str> = BTreeSet::new();
            $(seen.extend($expected.iter());)*
            run(|db| async {
                let report = Scene::empty(db).await.check().await;
                let names: BTreeSet<&str> = report.checks.iter().map(|check| check.name).collect();
                assert_eq!(seen, names);
            });
        }
    };
}

broken! {
    a_snapshot_of_what_never_was: [
        "insert into book_snapshot select slot, book_id, 256, now(), array_fill(1::bigint, array[10]), \
         array_fill(1::bigint, array[10]) from book where settled_usdc > 0",
    ] => ["snapshots_match_transfers"];

    a_balance_moved_without_a_transfer: [
        "update book set revenue = revenue + 1, reversed_revenue = reversed_revenue + 1 \
         where settled_usdc > 0",
    ] => ["balances_match_transfers"];

    a_balance_that_balances_with_nothing: [
        "update book set breakage = breakage + 1 where kind = 'house'",
    ] => ["balances_match_transfers", "trial_balance"];

    a_version_that_counts_too_far: [
        "update book set version = version + 1 where settled_usdc > 0",
    ] => ["versions_gap_free"];

    a_gap_in_the_versions: [
        "update transfer set version = version + 1 \
         where version = (select b.version from book b where b.slot = transfer.slot \
                          and b.book_id = transfer.book_id)",
    ] => ["versions_gap_free"];

    an_event_that_is_gone: [
        "delete from outbox where seq = 2",
    ] => ["events_gap_free", "events_match_acts"];

    an_event_of_another_type: [
        "update outbox set kind = 'charge.reversed' where kind = 'charge.captured'",
    ] => ["events_match_acts"];

    a_charge_that_is_never_told: [
        "update outbox set kind = 'balance.low' where kind = 'charge.captured'",
    ] => ["events_match_acts"];

    a_dispute_that_is_never_told: [
        "update outbox set kind = 'balance.low' where kind = 'charge.disputed'",
    ] => ["events_match_acts"];

    a_credit_told_of_another_top_up: [
        "update outbox set subject_id = book_id where kind = 'topup.credited'",
    ] => ["events_match_acts"];

    an_expiry_told_too_late: [
        "update outbox set recorded_at = recorded_at + interval '1 microsecond' \
         where kind = 'lot.expired'",
    ] => ["events_match_acts"];

    a_grant_of_more_than_was_booked: [
        "update credit_grant set amount = amount + 1",
    ] => ["grants_match_transfers"];

    a_grant_as_another_lot: [
        "alter table credit_grant disable trigger all; update credit_grant set lot_id = grant_id",
    ] => ["grants_match_transfers"];

    a_grant_that_is_never_told: [
        "update outbox set kind = 'balance.low' where kind = 'grant.credited'",
    ] => ["events_match_acts"];

    a_grant_told_of_nobody: [
        "update outbox set subject_id = book_id where kind = 'grant.credited'",
    ] => ["events_match_acts"];

    an_event_of_what_never_was: [
        "insert into outbox (slot, book_id, seq, kind, subject_id, recorded_at) \
         select slot, book_id, event_seq + 1, 'checkout.opened', book_id, recorded_at from book \
         where event_seq > 0",
        "update book set event_seq = event_seq + 1 where event_seq > 0",
    ] => ["events_match_acts"];

    a_balance_after_that_does_not_follow: [
        "update transfer set debit_after = debit_after + 1 where version = 3",
    ] => ["running_balances"];

    a_transfer_before_its_predecessor: [
        "update transfer set recorded_at = recorded_at - interval '1 year' \
         where movement = 1 and version > 3",
    ] => ["recorded_in_order", "events_match_acts"];

    a_transaction_of_two_acts: [
        "update transfer set transaction_id = (select o.transaction_id from transfer o \
           where o.book_id = transfer.book_id and o.version = 2) \
         where movement = 2 and version = 1 and exists (select from transfer o \
           where o.book_id = transfer.book_id and o.movement = 1)",
    ] => ["transactions_whole"];

    a_transaction_in_two_books: [
        "update transfer set transaction_id = (select min(transaction_id::text)::uuid \
           from transfer where movement = 2) where movement = 2",
        "update transfer set recorded_at = (select min(recorded_at) from transfer) \
         where movement = 2",
        "update outbox set recorded_at = (select min(recorded_at) from transfer) \
         where kind = 'grant.credited'",
    ] => ["transactions_whole"];

    a_reversal_of_nothing: [
        "update transfer set reverses_id = '019aa000-0000-7000-8000-000000000000' \
         where movement = 5",
    ] => ["reverses_exist"];

    a_top_up_that_undoes: [
        "update transfer set reverses_id = transaction_id where movement = 1",
    ] => ["reverses_exist"];

    a_lot_that_lost_money: [
        "update lot set remaining = remaining - 1 where paid and remaining > 1",
    ] => ["lots_match_balances", "lots_match_transfers"];

    a_lot_that_was_larger: [
        "update lot set amount = amount + 1 where not paid and remaining = 0",
    ] => ["lots_match_transfers"];

    a_promotional_lot_that_calls_itself_paid: [
        "update lot set paid = true where not paid and remaining = 0",
    ] => ["lots_keep_kind"];

    a_hold_that_forgot_a_release: [
        "update hold set released = released - 1 where captured + released = amount \
         and released > 0",
    ] => ["holds_match_balances", "holds_match_transfers", "items_match_holds", "cap_usage"];

    open_holds_that_are_not_held: [
        "update book set held = held - 1, prepaid = prepaid + 1 where held > 0",
    ] => ["balances_match_transfers", "holds_match_balances", "lots_match_balances"];

    a_release_of_another_hold: [
        "update transfer set subject_id = (select o.subject_id from transfer o \
           where o.movement = 3 and o.book_id = transfer.book_id \
             and o.subject_id <> transfer.subject_id order by version limit 1) \
         where movement = 5 and version = (select max(version) from transfer o \
           where o.movement = 5 and o.book_id = transfer.book_id) \
           and exists (select from transfer o where o.book_id = transfer.book_id \
                       and o.movement = 1)",
    ] => ["holds_match_transfers", "reverses_exist"];

    a_draw_on_another_lot: [
        "update hold set draw_lots[1] = (select lot_id from lot where lot.book_id = hold.book_id \
           and lot_id <> all (draw_lots) order by lot_id limit 1) \
         where captured + released = amount and captured > 0",
    ] => ["draws_match_transfers"];

    a_capture_out_of_place: [
        "update capture set draw_offset = draw_offset + 1",
    ] => ["holds_match_captures"];

    a_hold_that_captured_more: [
        "update hold set captured = captured + 1, released = released - 1 \
         where captured > 0 and released > 0",
    ] => ["holds_match_captures", "holds_match_transfers", "items_match_holds", "cap_usage"];

    a_capture_without_transfers: [
        "update transfer set subject_id = '019aa000-0000-7000-8000-000000000000' \
         where movement = 4 and reverses_id is null",
    ] => ["captures_match_transfers", "reverses_exist"];

    a_top_up_that_takes_its_credit_back: [
        "update topup set state = 'unknown', next_at = now() where amount = 15000000",
    ] => ["topups_match_settled", "topups_match_transfers"];

    a_credit_for_another_top_up: [
        "update transfer set subject_id = '019aa000-0000-7000-8000-000000000000' \
         where movement = 1 and amount = 15000000",
    ] => ["topups_match_transfers", "events_match_acts"];

    a_loss_moved_to_another_lot: [
        "alter table lot drop constraint lot_void_has_nothing_left; \
         update lot set lost = case lot_id when (select min(lot_id::text)::uuid from lot where paid) \
           then 1 else -1 end where paid",
    ] => ["losses_match_lots"];

    a_loss_that_no_transfer_explains: [
        "alter table lot drop constraint lot_void_has_nothing_left; \
         update lot set lost = 1 where paid and remaining > 1",
    ] => ["losses_match_lots"];

    a_settlement_of_less: [
        "update sandbox_settlement set amount = amount - 1 where amount = 15000000",
    ] => ["sandbox_matches_topups"];

    a_settlement_that_never_was: [
        "update topup set settlement_tx = '0xinvented' where amount = 15000000",
    ] => ["sandbox_matches_topups"];

    a_settlement_to_somebody_else: [
        "update sandbox_settlement set pay_to = '0xd' where amount = 15000000",
    ] => ["sandbox_matches_topups"];

    a_settlement_credited_twice: [
        "update topup set settlement_tx = (select transaction from sandbox_settlement \
         where amount = 40000000), nonce = (select nonce || '0' from sandbox_settlement \
         where amount = 40000000) where amount = 15000000",
    ] => ["sandbox_matches_topups"];

    a_charge_that_is_gone: [
        "delete from charge where reversed = 0 and result_id = 'mixed'",
    ] => ["charges_match_revenue", "charges_match_captures", "results_match_charges",
          "events_match_acts"];

    a_charge_at_another_price: [
        "update charge set unit_price = unit_price + 1 where result_id = 'mixed'",
    ] => ["charges_match_captures"];

    a_charge_of_another_transaction: [
        "update charge set transaction_id = charge_id where result_id = 'mixed'",
    ] => ["charges_match_captures"];

    a_reversal_of_less: [
        "update reversal set amount = amount - 1 where dispute_id is null",
    ] => ["reversals_match_charges"];

    an_upheld_dispute_that_gave_nothing_back: [
        "update reversal set dispute_id = null where dispute_id is not null",
    ] => ["disputes_match_reversals"];

    a_reversal_by_a_denied_dispute: [
        "update dispute set state = 'denied' where state = 'upheld'",
    ] => ["disputes_match_reversals", "events_match_acts"];

    a_reversal_by_an_open_dispute: [
        "update reversal set dispute_id = (select dispute_id from dispute where state = 'open') \
         where dispute_id is null and charge_id = (select charge_id from dispute \
           where state = 'open') and reversal_id = (select max(reversal_id::text)::uuid \
           from reversal where dispute_id is null)",
    ] => ["disputes_match_reversals"];

    a_dispute_of_another_charge: [
        "update dispute set charge_id = (select charge_id from charge where result_id = 'kept') \
         where state = 'upheld'",
    ] => ["disputes_match_reversals", "events_match_acts"];

    a_dispute_of_more_than_is_left: [
        "update dispute set amount = amount + 300000 where state = 'open'",
    ] => ["disputes_match_reversals"];

    a_denied_dispute_of_more_than_its_charge: [
        "update dispute set amount = amount + 2000000 where state = 'denied'",
    ] => ["disputes_match_reversals"];

    a_result_with_another_charge: [
        "update result set charge_id = '019aa000-0000-7000-8000-000000000000' \
         where result_id = 'mixed'",
    ] => ["results_match_charges"];

    a_released_result_with_a_charge: [
        "update result set state = 'released', charge_id = null, accepted = 0 \
         where result_id = 'mixed'",
    ] => ["results_match_charges", "items_match_holds", "events_match_acts"];

    a_result_that_nobody_is_asked_about: [
        "delete from verification",
    ] => ["verifications_match_results"];

    a_result_that_somebody_else_is_asked_about: [
        "update verification set verifier_id = checkout_id",
    ] => ["verifications_match_results"];

    a_question_about_no_result: [
        "insert into verification (slot, book_id, checkout_id, result_id, verifier_id, \
           queued_at) \
         select slot, book_id, checkout_id, 'no ' || result_id, verifier_id, now() \
         from verification",
    ] => ["verifications_match_results"];

    a_question_that_the_schema_had_settled: [
        "insert into verification (slot, book_id, checkout_id, result_id, verifier_id, \
           queued_at) \
         select slot, book_id, checkout_id, 'empty', verifier_id, now() from verification",
    ] => ["verifications_match_results"];

    units_that_nobody_delivered: [
        "update checkout_item set submitted = submitted - 1 where submitted > 0",
    ] => ["items_match_results"];

    an_item_at_another_price: [
        "update checkout_item set unit_price = unit_price + 1 where sku = 'page'",
    ] => ["items_match_holds", "items_match_catalog", "checkouts_match_items",
          "quotes_match_checkouts"];

    an_item_of_a_version_that_never_was: [
        "update checkout_item set sku_version = sku_version + 1 where sku = 'page'",
    ] => ["items_match_catalog", "quotes_match_checkouts"];

    a_checkout_of_another_total: [
        "update checkout set total = total - 1",
    ] => ["checkouts_match_items"];

    a_quote_of_another_quantity: [
        "update quote set lines = jsonb_set(lines, '{0, quantity}', '7') \
         where checkout_id is not null",
    ] => ["quotes_match_checkouts"];

    a_quote_at_another_price: [
        "update quote set lines = jsonb_set(lines, '{1, unit_price}', '\"1.51\"') \
         where checkout_id is not null",
    ] => ["quotes_match_checkouts"];

    a_quote_that_says_nothing: [
        "update quote set lines = '\"1.50\"' where checkout_id is not null",
    ] => ["quotes_match_checkouts"];

    a_quote_of_fewer_lines: [
        "update quote set lines = lines - 1 where checkout_id is not null",
    ] => ["quotes_match_checkouts"];

    a_checkout_that_two_quotes_name: [
        "alter table quote drop constraint quote_one_per_checkout; \
         update quote set lines = q.lines, checkout_id = q.checkout_id from quote q \
         where quote.checkout_id is null and q.checkout_id is not null",
    ] => ["quotes_match_checkouts"];

    a_cap_that_counts_less: [
        "update cap_usage set used = used - 1 where used > 0",
    ] => ["cap_usage"];

    a_cap_that_forgot_a_window: [
        "delete from cap_usage where used > 0",
    ] => ["cap_usage"];

    a_hold_placed_on_another_day: [
        "update hold set placed_at = placed_at + interval '1 day' \
         where placed_at = (select max(placed_at) from hold where book_id in (select book_id from cap))",
    ] => ["cap_usage"];
}
