//! What Postgres refuses by itself, tried in raw SQL: as the service and as the owner.

use bursar::ground::{CapId, Clock, KeyId};
use bursar::ledger::Span;
use sqlx::{AssertSqlSafe, Executor, PgPool};
use uuid::Uuid;

use super::commands::Verb;
use super::model::amount;
use super::scene::{self, Call, Replica, Request};
use super::{invariants, rows};
use crate::support::postgres::{TestDatabase, run};

/// The SQLSTATE and the constraint with which a statement is refused.
async fn refusal(pool: &PgPool, sql: &str) -> (String, String) {
    let error = pool.execute(AssertSqlSafe(sql.to_owned())).await.expect_err(sql);
    let error = error.as_database_error().expect("a database error");
    let constraint = error.constraint().unwrap_or_default();
    (error.code().unwrap().into_owned(), constraint.to_owned())
}

/// An account with one of everything: a hold that is open, captured, released and reversed in part,
/// a cap, a charge and a reversal.
async fn scene(db: &TestDatabase) -> (Replica, bursar::ground::BookId) {
    let replica = Replica::new(db, 1, scene::one_lane());
    replica.list_skus().await;
    let account = scene::fresh_account(&replica.clock);
    let keys: [KeyId; 2] = replica.open_account(account).await;
    replica.top_up(account, 20).await;
    let expires = replica.clock.now() + chrono::TimeDelta::days(9);
    replica.act(account, "grant", Verb::Grant(amount(20), expires)).await.unwrap();
    let id = CapId(Uuid::from_u128(9));
    let verb = Verb::Cap { id, key: None, span: Span::Day, limit: amount(100) };
    replica.act(account, "cap", verb).await.unwrap();
    let send = async |key: &str, call: Call| -> serde_json::Value {
        let outcome = replica.send(&Request::new(account, key, call)).await.unwrap();
        assert!(outcome.accepted, "{}", outcome.body);
        scene::body(&outcome)
    };
    let order = scene::order(keys[0], &[(1, 6)], 30);
    let checkout = send("open", Call::Open(order)).await["checkout_id"].clone();
    let checkout = checkout.as_str().unwrap().parse().unwrap();
    for result in ["r", "s"] {
        send(result, Call::Submit(checkout, scene::submission(result, 1, 2))).await;
    }
    let judge = Call::Judge(checkout, "r".into(), scene::verdict(1));
    let charge = send("judge", judge).await["charge_id"].clone();
    let reverse =
        Call::Reverse(charge.as_str().unwrap().parse().unwrap(), scene::reversal(Some(amount(2))));
    send("reverse", reverse).await;
    let staked = "insert into claim (slot, key, kind, book_id, subject_id, created_at)
                  select 7, decode(repeat('07', 32), 'hex'), 'wallet', book_id, book_id, now()
                  from book where kind = 'customer'";
    db.service.execute(staked).await.unwrap();
    db.owner.execute("insert into deployment (mode) values ('test')").await.unwrap();
    (replica, account)
}

/// Inserts a copy of a row of a table with some columns changed.
fn copy(table: &str, changes: &str) -> String {
    format!(
        "insert into {table} select (jsonb_populate_record(t, '{changes}'::jsonb)).* from {table} t
         order by t limit 1"
    )
}

/// A copy of the last transfer as the next version.
fn transfer(changes: &str) -> String {
    format!(
        "insert into transfer select (jsonb_populate_record(t, '{changes}'::jsonb
           || jsonb_build_object('version', t.version + 1))).* from transfer t
         order by t.version desc limit 1"
    )
}

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
            (copy("transfer", r#"{"version": 0}"#), check, "transfer_version_positive"),
            (copy("transfer", r#"{"version": 2}"#), unique, "transfer_pkey"),
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
            (copy("hold", r#"{"draw_amounts": [1, 2, 3]}"#), check, "hold_draws_pair"),
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
                copy("cap", r#"{"cap_id": "00000000-0000-0000-0000-0000000000aa"}"#),
                unique,
                "cap_one_per_span",
            ),
            (
                copy("charge", r#"{"charge_id": "00000000-0000-0000-0000-0000000000aa"}"#),
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
                    "reversal",
                    r#"{"amount": 0,
                "reversal_id": "00000000-0000-0000-0000-0000000000aa"}"#,
                ),
                check,
                "reversal_amount_check",
            ),
            (copy("reversal", "{}"), unique, "reversal_pkey"),
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
                    "checkout",
                    r#"{"max_total": 1,
                "checkout_id": "00000000-0000-0000-0000-0000000000aa"}"#,
                ),
                check,
                "checkout_within_max_total",
            ),
            (copy("outcome", "{}"), unique, "outcome_pkey"),
            (copy("outbox", "{}"), unique, "outbox_pkey"),
            (copy("claim", r#"{"kind": "api_key"}"#), unique, "claim_pkey"),
            (copy("claim", r#"{"slot": 8}"#), check, "claim_key_is_sha256"),
            (copy("book", r#"{"slot": 300}"#), check, "book_slot_is_last_byte"),
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

#[test]
fn what_is_written_for_ever_is_changed_by_nobody() {
    run(|db| async move {
        let (_, account) = scene(&db).await;
        let before = rows::of(&db.owner, account).await;
        for table in ["transfer", "outcome", "outbox", "reversal", "claim", "deployment"] {
            let column = if table == "deployment" { "mode" } else { "slot" };
            let written: i64 =
                sqlx::query_scalar(AssertSqlSafe(format!("select count(*) from {table}")))
                    .fetch_one(&db.owner)
                    .await
                    .unwrap();
            assert!(written > 0, "{table}");
            for sql in [
                format!("update {table} set {column} = {column}"),
                format!("delete from {table}"),
                format!("truncate {table}"),
                format!("truncate {table} cascade"),
            ] {
                assert_eq!(refusal(&db.service, &sql).await.0, "42501", "{sql}");
                assert_eq!(refusal(&db.owner, &sql).await.0, "23001", "{sql}");
            }
        }
        assert_eq!(rows::of(&db.owner, account).await, before);
    });
}

#[test]
fn the_service_changes_only_the_columns_that_change() {
    run(|db| async move {
        let (_, account) = scene(&db).await;
        let before = rows::of(&db.owner, account).await;
        for (table, columns) in [
            ("book", "slot, book_id, kind, created_at"),
            ("lot", "amount, paid, priority, granted_at, expires_at, origin_id, parent_id"),
            ("hold", "amount, draw_lots, draw_amounts, placed_at, spender_id, transaction_id"),
            ("capture", "amount, draw_offset, hold_id, transaction_id, captured_at"),
            ("cap", "span, spender_id, created_at"),
            ("cap_usage", "cap_id, window_start"),
            ("spender", "skus, expires_at"),
            ("checkout", "total, max_total, key_id, created_at"),
            ("checkout_item", "quantity, unit_price, hold_id, deliver_by, dispute_window_s"),
            ("result", "quantity, item, evidence, evidence_hash, submitted_at, verify_by"),
            ("charge", "amount, quantity, unit_price, transaction_id, final_at"),
        ] {
            for column in columns.split(", ") {
                let sql = format!("update {table} set {column} = {column}");
                assert_eq!(refusal(&db.service, &sql).await.0, "42501", "{sql}");
            }
            for sql in [format!("delete from {table}"), format!("truncate {table}")] {
                assert_eq!(refusal(&db.service, &sql).await.0, "42501", "{sql}");
            }
        }
        for table in ["role", "movement"] {
            let sql = format!("update {table} set name = name");
            assert_eq!(refusal(&db.service, &sql).await.0, "42501", "{sql}");
        }
        assert_eq!(rows::of(&db.owner, account).await, before);
    });
}
