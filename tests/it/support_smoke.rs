//! The test databases are what they claim to be: fresh, migrated, and entered with few rights.

use bursar::db::managed::Role;
use sqlx::{Connection, Executor, PgConnection, PgPool};

use crate::support::postgres::{run, test_database};

/// The SQLSTATE with which a statement is refused.
async fn refusal(pool: &PgPool, sql: &'static str) -> String {
    let error = pool.execute(sql).await.expect_err(sql);
    error.as_database_error().and_then(|e| e.code()).expect("a database error").into_owned()
}

const TRANSFER: &str = "insert into transfer (book_id, transaction_id, subject_id, lot_id, version, \
    amount, debit_after, credit_after, recorded_at, effective_at, slot, movement, debit, credit) \
    values (gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), 1, \
    5, 5, 5, now(), now(), 0, 1, 1, 2)";

#[test]
fn the_service_may_append_to_the_journal_and_nothing_else() {
    run(|db| async move {
        db.service.execute(TRANSFER).await.unwrap();
        for sql in [
            "update transfer set amount = 6",
            "delete from transfer",
            "truncate transfer",
            "alter table transfer disable trigger append_only_row",
            "drop table transfer",
            "create table mine ()",
            "create temporary table mine ()",
            "set role bursar_owner",
        ] {
            assert_eq!(refusal(&db.service, sql).await, "42501", "{sql}");
        }
        let rows: i64 = sqlx::query_scalar("select count(*) from transfer where amount = 5")
            .fetch_one(&db.service)
            .await
            .unwrap();
        assert_eq!(rows, 1);
    });
}

#[test]
fn the_owner_is_refused_by_the_append_only_triggers() {
    run(|db| async move {
        db.owner.execute(TRANSFER).await.unwrap();
        for sql in ["update transfer set amount = 6", "delete from transfer", "truncate transfer"] {
            assert_eq!(refusal(&db.owner, sql).await, "23001", "{sql}");
        }
    });
}

#[test]
fn the_service_sees_which_migrations_ran() {
    run(|db| async move {
        let applied: i64 =
            sqlx::query_scalar("select count(*) from _sqlx_migrations where success")
                .fetch_one(&db.service)
                .await
                .unwrap();
        let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations")).unwrap();
        assert_eq!(usize::try_from(applied).unwrap(), files.count());
        assert_eq!(refusal(&db.service, "delete from _sqlx_migrations").await, "42501");
    });
}

#[test]
fn each_test_has_a_database_of_its_own() {
    run(|one| async move {
        let two = test_database().await;
        assert_ne!(one.name(), two.name());
        one.service.execute(TRANSFER).await.unwrap();
        let count = "select count(*) from transfer";
        let rows: i64 = sqlx::query_scalar(count).fetch_one(&two.service).await.unwrap();
        assert_eq!(rows, 0);
    });
}

#[test]
fn options_and_urls_lead_to_the_same_database() {
    run(|db| async move {
        let who = "select current_user || ' ' || current_database()";
        for (role, options) in [
            (Role::Owner, Some(db.owner_options())),
            (Role::Service, Some(db.service_options())),
            (Role::Admin, None),
        ] {
            let mut by_url = PgConnection::connect(&db.url(role)).await.unwrap();
            let there: String = sqlx::query_scalar(who).fetch_one(&mut by_url).await.unwrap();
            assert!(there.ends_with(&format!(" {}", db.name())), "{there}");
            if let Some(options) = options {
                let mut connection = PgConnection::connect_with(&options).await.unwrap();
                let here: String =
                    sqlx::query_scalar(who).fetch_one(&mut connection).await.unwrap();
                assert_eq!(here, format!("{} {}", role.name(), db.name()));
                assert_eq!(here, there);
            }
        }
    });
}

#[test]
fn a_database_is_gone_when_its_test_has_passed_and_kept_when_it_failed() {
    let (passed, failed) = (std::sync::OnceLock::new(), std::sync::OnceLock::new());
    run(|db| async {
        passed.set(db.name().to_owned()).unwrap();
        drop(db)
    });
    let failing = std::panic::AssertUnwindSafe(|| {
        run(|db| async {
            failed.set(db.name().to_owned()).unwrap();
            let _held = db;
            panic!("this test is meant to fail");
        });
    });
    std::panic::catch_unwind(failing).unwrap_err();
    run(|db| async move {
        let exists = async |name: &str| -> bool {
            sqlx::query_scalar("select exists (select from pg_database where datname = $1)")
                .bind(name)
                .fetch_one(&db.owner)
                .await
                .unwrap()
        };
        let failed = failed.get().unwrap();
        assert!(!exists(passed.get().unwrap()).await);
        assert!(exists(failed).await);
        let mut admin = PgConnection::connect(&db.url(Role::Admin)).await.unwrap();
        let sql = sqlx::AssertSqlSafe(format!("drop database {failed} with (force)"));
        admin.execute(sql).await.unwrap();
    });
}
