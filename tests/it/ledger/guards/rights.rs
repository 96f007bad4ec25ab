//! What the service's role may do, and what nobody may.

use bursar::db::managed::Role;
use sqlx::AssertSqlSafe;

use super::{refusal, scene};
use crate::ledger::rows;
use crate::support::postgres::run;

#[test]
fn what_is_written_for_ever_is_changed_by_nobody() {
    run(|db| async move {
        let (_, account) = scene(&db).await;
        let before = rows::of(&db.owner, account).await;
        for table in
            ["transfer", "outcome", "outbox", "reversal", "claim", "deployment", "sku_version"]
        {
            let column = match table {
                "deployment" => "mode",
                "sku_version" => "sku",
                _ => "slot",
            };
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
            (
                "checkout_item",
                "quantity, unit_price, hold_id, deliver_by, dispute_window_s, dispute_decision_s",
            ),
            ("result", "quantity, item, evidence, evidence_hash, submitted_at, verify_by"),
            ("charge", "amount, quantity, unit_price, transaction_id, final_at"),
            ("dispute", "amount, charge_id, sku, reason, disputed_by, disputed_at, decide_by"),
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

#[test]
fn nothing_is_born_with_a_history() {
    run(|db| async move {
        let (_, account) = scene(&db).await;
        let before = rows::of(&db.owner, account).await;
        for (table, columns) in [
            (
                "book",
                "kind, version, event_seq, frozen_at, settled_usdc, prepaid, held, promo_issued, \
                 promo, promo_held, revenue, reversed_revenue, breakage, settlement_loss",
            ),
            ("quote", "checkout_id"),
            ("checkout", "canceled_at"),
            ("checkout_item", "submitted, settled, closed"),
            ("result", "accepted, verdict, decided_at, charge_id"),
            ("dispute", "state, decided_by, decided_at, decision_reason"),
            ("topup", "settlement_tx, reason, attempt, credited_at, sent_at, superseded_by"),
            ("settlement", "standing, sightings, missing_since"),
            ("api_key", "revoked_at"),
            ("wallet_challenge", "used_at"),
        ] {
            for column in columns.split(", ") {
                let sql = format!("insert into {table} ({column}) select {column} from {table}");
                assert_eq!(refusal(&db.service, &sql).await.0, "42501", "{sql}");
            }
        }
        assert_eq!(rows::of(&db.owner, account).await, before);
    });
}

/// What would show that the service may do more than it needs.
const TOO_MUCH: [(&str, &str); 6] = [
    (
        "truncates, references or triggers",
        "select c.relname::text from pg_class c
         where c.relkind in ('r', 'p', 'v', 'S') and c.relnamespace = 'public'::regnamespace
           and has_table_privilege('bursar_service', c.oid, 'truncate, references, trigger')",
    ),
    (
        "deletes what is not forgotten by itself",
        "select c.relname::text from pg_class c
         where c.relkind = 'r' and c.relnamespace = 'public'::regnamespace
           and has_table_privilege('bursar_service', c.oid, 'delete')
           and c.relname not in ('budget', 'wallet_challenge', 'webhook', 'webhook_delivery',
                                 'webhook_low', 'webhook_ended', 'quote')
           and c.relname not like 'proof@_%' escape '@'",
    ),
    (
        "updates whole rows, or an append-only table, or a key",
        "select c.relname || '.' || a.attname from pg_class c
         join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
         where c.relkind = 'r' and c.relnamespace = 'public'::regnamespace
           and c.relname not like 'proof@_%' escape '@'
           and has_column_privilege('bursar_service', c.oid, a.attnum, 'update')
           and (has_table_privilege('bursar_service', c.oid, 'update')
                or exists (select from pg_trigger t
                           where t.tgrelid = c.oid and t.tgname = 'append_only_row')
                or exists (select from pg_index i
                           where i.indrelid = c.oid and i.indisprimary and a.attnum = any (i.indkey)))",
    ),
    (
        "owns something",
        "select oid::regclass::text from pg_class where relowner = 'bursar_service'::regrole
         union all
         select oid::regprocedure::text from pg_proc where proowner = 'bursar_service'::regrole",
    ),
    (
        "makes something",
        "select what from (values
           ('schema', has_schema_privilege('bursar_service', 'public', 'create')),
           ('database', has_database_privilege('bursar_service', current_database(), 'create')),
           ('temporary', has_database_privilege('bursar_service', current_database(), 'temporary'))
         ) v(what, may) where may",
    ),
    (
        "is somebody else",
        "select rolname::text from pg_roles
         where (rolname <> 'bursar_service' and pg_has_role('bursar_service', oid, 'member'))
            or (rolname = 'bursar_service' and (rolsuper or rolcreaterole or rolcreatedb
                                                or rolbypassrls or rolreplication))",
    ),
];

/// What the drift checker has proven may be deleted and made again: those tables guard nothing.
#[test]
fn the_service_may_do_what_it_needs_and_no_more() {
    run(|db| async move {
        for (what, sql) in TOO_MUCH {
            let found: Vec<String> = sqlx::query_scalar(sql).fetch_all(&db.owner).await.unwrap();
            assert_eq!(found, Vec::<String>::new(), "the service {what}");
        }
        assert_eq!(Role::Service.name(), "bursar_service");
    });
}

#[test]
fn the_service_cannot_take_a_guard_down() {
    run(|db| async move {
        let (_, account) = scene(&db).await;
        let before = rows::of(&db.owner, account).await;
        for sql in [
            "set session_replication_role = replica",
            "set role bursar_owner",
            "alter table transfer disable trigger all",
            "alter table book disable trigger user",
            "alter table book drop constraint book_balanced",
            "alter table transfer drop constraint transfer_pkey",
            "drop trigger transfer_versions_have_no_gap on transfer",
            "drop table transfer",
            "create or replace function refuse_step() returns trigger language sql as 'select 1'",
            "alter function refuse_change() rename to nothing",
            "create trigger mine before insert on book for each row execute function refuse_step()",
            "create rule mine as on insert to transfer do instead nothing",
            "create table mine (n int)",
            "create temporary table mine (n int)",
            "alter role bursar_service superuser",
            "select pg_catalog.pg_read_file('postgresql.conf')",
            "copy transfer to program 'true'",
        ] {
            assert_eq!(refusal(&db.service, sql).await.0, "42501", "{sql}");
        }
        assert_eq!(rows::of(&db.owner, account).await, before);
    });
}
