//! Steps that are never taken: a gap in a book, a second outcome, a counter that goes down.

use sqlx::{AssertSqlSafe, Connection, Executor};

use super::{refusal, scene};
use crate::ledger::rows;
use crate::support::postgres::run;

/// Transfers with the versions after the last one by so much, in this order, in one statement.
fn versions(steps: &[i64]) -> String {
    format!(
        "insert into transfer
         select (jsonb_populate_record(t, jsonb_build_object('version', t.version + o.step))).*
         from transfer t, unnest(array{steps:?}::bigint[]) with ordinality o(step, n)
         where t.version = (select max(version) from transfer) order by n"
    )
}

/// The first transfer of a book that has none.
fn first(version: i64) -> String {
    format!(
        "insert into transfer (slot, book_id, version, transaction_id, subject_id, lot_id, amount,
           debit_after, credit_after, recorded_at, effective_at, movement, debit, credit)
         select slot, book_id, {version}, book_id, book_id, book_id, 1, 1, 1, now(), now(), 1, 1, 2
         from book where kind = 'house'"
    )
}

#[test]
fn a_gap_in_a_book_is_refused_and_any_order_without_one_is_not() {
    run(|db| async move {
        let (_, account) = scene(&db).await;
        let before = rows::of(&db.owner, account).await;
        for pool in [&db.service, &db.owner] {
            for steps in [&[2][..], &[1, 3], &[3, 1], &[1, 2, 4, 5], &[9]] {
                let got = refusal(pool, &versions(steps)).await;
                assert_eq!((&*got.0, &*got.1), ("23001", "transfer_versions_have_no_gap"));
            }
            assert_eq!(refusal(pool, &first(2)).await.1, "transfer_versions_have_no_gap");
            assert_eq!(refusal(pool, &versions(&[0])).await.1, "transfer_pkey");
        }
        for sql in [versions(&[1]), versions(&[1, 2, 3]), versions(&[3, 1, 2]), first(1)] {
            let mut tx = db.service.begin().await.unwrap();
            tx.execute(AssertSqlSafe(sql)).await.unwrap();
            tx.rollback().await.unwrap();
        }
        assert_eq!(rows::of(&db.owner, account).await, before);
    });
}

#[test]
fn looking_for_gaps_never_scans_the_journal() {
    run(|db| async move {
        let (_, _) = scene(&db).await;
        // As the owner has them: the planner may scan what it takes for a small table.
        let mut connection = db.owner.acquire().await.unwrap();
        for n in 1..=8_i64 {
            let mut tx = connection.begin().await.unwrap();
            tx.execute(AssertSqlSafe(first(n))).await.unwrap();
            let scans: i64 = sqlx::query_scalar(
                "select seq_scan from pg_stat_xact_user_tables where relname = 'transfer'",
            )
            .fetch_one(&mut *tx)
            .await
            .unwrap();
            assert_eq!(scans, 0, "version {n}");
            tx.commit().await.unwrap();
        }
    });
}

#[test]
fn no_counter_goes_down_and_no_outcome_changes() {
    run(|db| async move {
        let (_, account) = scene(&db).await;
        let before = rows::of(&db.owner, account).await;
        let cases = [
            ("update book set version = version - 1 where version > 0", "book_never_goes_back"),
            (
                "update book set event_seq = event_seq - 1 where event_seq > 0",
                "book_never_goes_back",
            ),
            ("update book set recorded_at = recorded_at - interval '1 us'", "book_never_goes_back"),
            ("update hold set captured = captured - 1", "hold_counts_up"),
            ("update hold set released = released - 1", "hold_counts_up"),
            ("update hold set reversed = reversed - 1", "hold_counts_up"),
            // As if captured were released after all, within the hold's amount.
            ("update hold set captured = captured - 1, released = released + 1", "hold_counts_up"),
            ("update capture set reversed = reversed - 1", "capture_counts_up"),
            ("update charge set reversed = 0", "charge_counts_up"),
            ("update checkout_item set submitted = submitted - 1", "checkout_item_never_reopens"),
            ("update checkout_item set settled = settled - 1", "checkout_item_never_reopens"),
            ("update checkout_item set closed = false", "checkout_item_never_reopens"),
            ("update checkout set canceled_at = null", "checkout_canceled_once"),
            (
                "update checkout set canceled_at = canceled_at + interval '1 us'",
                "checkout_canceled_once",
            ),
            (
                "update result set state = 'released', accepted = 0, charge_id = null
                 where state = 'captured'",
                "result_has_one_outcome",
            ),
            (
                "update result set state = 'verifying', accepted = null, verdict = null,
                   charge_id = null, decided_at = null where state = 'captured'",
                "result_has_one_outcome",
            ),
            (
                "update result set accepted = accepted + 1 where state = 'captured'",
                "result_has_one_outcome",
            ),
            (
                "update result set verdict = '{}', decided_at = now() where state = 'captured'",
                "result_has_one_outcome",
            ),
            (
                "update dispute set state = 'denied' where state = 'upheld'",
                "dispute_has_one_outcome",
            ),
            (
                "update dispute set decided_at = decided_at + interval '1 us' where state = 'denied'",
                "dispute_has_one_outcome",
            ),
            (
                "update dispute set decision_reason = 'another' where state = 'denied'",
                "dispute_has_one_outcome",
            ),
            (
                "update topup set state = 'unknown' where state = 'credited'",
                "topup_outcome_is_final",
            ),
            (
                "update topup set settlement_tx = 'y' where state = 'credited'",
                "topup_outcome_is_final",
            ),
            (
                "update topup set state = 'credited' where state = 'rejected'",
                "topup_outcome_is_final",
            ),
            (
                "update topup set reason = 'another' where state = 'rejected'",
                "topup_outcome_is_final",
            ),
            (
                "update spender set revoked_at = null where revoked_at is not null",
                "spender_stays_revoked",
            ),
            ("update api_key set revoked_at = null", "api_key_stays_revoked"),
            ("update wallet_challenge set used_at = null", "wallet_challenge_used_once"),
            // A second capture of what is left of the hold, which the hold does not count.
            (
                "insert into capture
                 select slot, book_id, gen_random_uuid(), hold_id, transaction_id, captured,
                   amount - captured - released, 0, placed_at from hold",
                "capture_within_hold",
            ),
            (
                "insert into capture
                 select slot, book_id, gen_random_uuid(), gen_random_uuid(), transaction_id, 0, 1,
                   0, placed_at from hold",
                "capture_within_hold",
            ),
            (
                "insert into reversal
                 select slot, book_id, charge_id, gen_random_uuid(), amount - reversed + 1, 'again',
                   transaction_id, book_id, captured_at from charge",
                "reversals_within_charge",
            ),
            (
                "insert into reversal
                 select slot, book_id, charge_id, gen_random_uuid(), part, 'in parts',
                   transaction_id, book_id, captured_at
                 from charge, unnest(array[amount - reversed, 1]) part",
                "reversals_within_charge",
            ),
        ];
        for (sql, trigger) in cases {
            for pool in [&db.service, &db.owner] {
                let got = refusal(pool, sql).await;
                assert_eq!((&*got.0, &*got.1), ("23001", trigger), "{sql}");
            }
        }
        assert_eq!(rows::of(&db.owner, account).await, before);
    });
}
