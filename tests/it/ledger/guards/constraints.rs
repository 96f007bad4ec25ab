//! Rows that a constraint refuses, whoever writes them.

use super::{copy, refusal, scene, transfer};
use crate::ledger::{invariants, rows};
use crate::support::postgres::run;

#[test]
fn constraints_refuse_what_the_engine_would_never_write() {
    run(|db| async move {
        let (_, account) = scene(&db).await;
        let before = rows::of(&db.owner, account).await;
        let check = "23514";
        let unique = "23505";
        let customer = "where kind = 'customer'";
        let cases = [
            // A pair of roles that no movement has: promotional credits into revenue.
            (
                transfer(r#"{"movement": 4, "debit": 6, "credit": 7}"#),
                check,
                "transfer_movement_listed",
            ),
            (
                transfer(r#"{"movement": 1, "debit": 2, "credit": 2}"#),
                check,
                "transfer_movement_listed",
            ),
            (transfer(r#"{"movement": 8}"#), check, "transfer_movement_listed"),
            (transfer(r#"{"amount": 0}"#), check, "transfer_amount_positive"),
            (transfer(r#"{"amount": -5}"#), check, "transfer_amount_positive"),
            (transfer(r#"{"debit_after": -1}"#), check, "transfer_balances_not_negative"),
            (transfer(r#"{"credit_after": -1}"#), check, "transfer_balances_not_negative"),
            (transfer(r#"{"credit": null}"#), "23502", ""),
            (copy(&db, "transfer", r#"{"version": 0}"#).await, check, "transfer_version_positive"),
            (copy(&db, "transfer", r#"{"version": 2}"#).await, unique, "transfer_pkey"),
            (
                format!(
                    "update book set prepaid = -1, settled_usdc = settled_usdc - prepaid - 1 {customer}"
                ),
                check,
                "book_no_negative_balance",
            ),
            (format!("update book set prepaid = prepaid + 1 {customer}"), check, "book_balanced"),
            (
                format!("update book set promo = promo + 1, prepaid = prepaid - 1 {customer}"),
                check,
                "book_promo_matches",
            ),
            (
                format!(
                    "update book set reversed_revenue = revenue + 1,
                        prepaid = prepaid + revenue - reversed_revenue + 1 {customer}"
                ),
                check,
                "book_reversed_within_revenue",
            ),
            (
                "update hold set captured = amount - released + 1".into(),
                check,
                "hold_taken_within_amount",
            ),
            (
                "update hold set released = amount - captured + 1".into(),
                check,
                "hold_taken_within_amount",
            ),
            (
                "update hold set reversed = captured + 1".into(),
                check,
                "hold_reversed_within_captured",
            ),
            (copy(&db, "hold", r#"{"draw_amounts": [1, 2, 3]}"#).await, check, "hold_draws_pair"),
            ("update lot set remaining = amount + 1".into(), check, "lot_remaining_within_amount"),
            (
                "update lot set remaining = -1, open = false".into(),
                check,
                "lot_remaining_within_amount",
            ),
            ("update lot set open = not open".into(), check, "lot_open_while_remaining"),
            (
                "update capture set reversed = amount + 1".into(),
                check,
                "capture_reversed_within_amount",
            ),
            ("update cap_usage set used = -1".into(), check, "cap_usage_not_negative"),
            (
                copy(&db, "cap", r#"{"cap_id": "00000000-0000-0000-0000-0000000000aa"}"#).await,
                unique,
                "cap_one_per_span",
            ),
            (
                copy(&db, "charge", r#"{"charge_id": "00000000-0000-0000-0000-0000000000aa"}"#)
                    .await,
                unique,
                "charge_one_per_result",
            ),
            (
                "update charge set reversed = amount + 1".into(),
                check,
                "charge_reversed_within_amount",
            ),
            (
                copy(
                    &db,
                    "reversal",
                    r#"{"amount": 0,
                "reversal_id": "00000000-0000-0000-0000-0000000000aa"}"#,
                )
                .await,
                check,
                "reversal_amount_check",
            ),
            (copy(&db, "reversal", "{}").await, unique, "reversal_pkey"),
            (
                "insert into reversal
                 select slot, book_id, charge_id, gen_random_uuid(), amount, reason, transaction_id,
                   reversed_by, reversed_at, dispute_id
                 from reversal where dispute_id is not null"
                    .into(),
                unique,
                "reversal_one_per_dispute",
            ),
            (
                "insert into reversal
                 select slot, book_id, charge_id, gen_random_uuid(), amount, reason, transaction_id,
                   null, reversed_at, null from reversal"
                    .into(),
                check,
                "reversal_by_somebody",
            ),
            (
                copy(&db, "dispute", r#"{"dispute_id": "00000000-0000-0000-0000-0000000000aa"}"#)
                    .await,
                unique,
                "dispute_one_open_per_charge",
            ),
            (
                "update dispute set state = 'upheld' where state = 'open'".into(),
                check,
                "dispute_decided_once",
            ),
            (
                "update dispute set state = 'denied', decided_at = now() where state = 'open'"
                    .into(),
                check,
                "dispute_denied_by_somebody",
            ),
            (
                "update result set accepted = quantity + 1 where state = 'captured'".into(),
                check,
                "result_accepted_within_quantity",
            ),
            (
                "update result set state = 'captured' where state = 'verifying'".into(),
                check,
                "result_charge_when_captured",
            ),
            (
                "update result set state = 'verifying' where state = 'captured'".into(),
                check,
                "result_charge_when_captured",
            ),
            (
                "update checkout_item set submitted = quantity + 1".into(),
                check,
                "checkout_item_submitted_within_quantity",
            ),
            (
                "update checkout_item set settled = quantity + 1".into(),
                check,
                "checkout_item_settled_within_quantity",
            ),
            (
                copy(
                    &db,
                    "checkout",
                    r#"{"max_total": 1,
                "checkout_id": "00000000-0000-0000-0000-0000000000aa"}"#,
                )
                .await,
                check,
                "checkout_within_max_total",
            ),
            (copy(&db, "outcome", "{}").await, unique, "outcome_pkey"),
            (copy(&db, "outbox", "{}").await, unique, "outbox_pkey"),
            (copy(&db, "claim", r#"{"kind": "api_key"}"#).await, unique, "claim_pkey"),
            (copy(&db, "claim", r#"{"slot": 8}"#).await, check, "claim_key_is_sha256"),
            (copy(&db, "book", r#"{"slot": 300}"#).await, check, "book_slot_is_last_byte"),
        ];
        for (sql, state, constraint) in &cases {
            for pool in [&db.service, &db.owner] {
                let got = refusal(pool, sql).await;
                assert_eq!((&*got.0, &*got.1), (*state, *constraint), "{sql}");
            }
        }
        assert_eq!(rows::of(&db.owner, account).await, before);
        invariants::hold_in(&db.owner).await;
    });
}
