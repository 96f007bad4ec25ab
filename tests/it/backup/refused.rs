//! What is not backed up, not restored, and not confirmed; and that nothing half is left behind.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use bursar::db::managed::Role;
use sqlx::Executor;

use super::{Shelf, TABLES, count, on};
use crate::startup::process::Bursar;
use crate::support::postgres::{empty_database, run};

/// Stamps the mode, as the service does when it starts first.
async fn stamp(pool: &sqlx::PgPool) {
    pool.execute("insert into deployment (mode) values ('test')").await.unwrap();
}

#[test]
fn a_backup_replaces_no_file_and_is_for_its_owner_alone() {
    run(|db| async move {
        stamp(&db.owner).await;
        let shelf = Shelf::new("file");
        let file = shelf.file("a.dump");
        on(&db, &["backup", &file]).run().await.succeeded();
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let whole = fs::read(&file).unwrap();
        on(&db, &["backup", &file]).run().await.refused(1, &["exists already"]);
        assert_eq!(fs::read(&file).unwrap(), whole);
        let nowhere = shelf.file("none/a.dump");
        on(&db, &["backup", &nowhere]).run().await.refused(1, &["cannot write"]);
        assert_eq!(shelf.names(), ["a.dump"]);
    });
}

#[test]
fn a_backup_that_is_cut_off_is_refused_and_leaves_nothing() {
    run(|db| async move {
        stamp(&db.owner).await;
        let shelf = Shelf::new("cut");
        let file = shelf.file("a.dump");
        on(&db, &["backup", &file]).run().await.succeeded();
        let whole = fs::read(&file).unwrap();
        let other = empty_database().await;
        for length in [whole.len() - 1, whole.len() - 200, whole.len() / 2, 100, 0] {
            fs::write(&file, &whole[..length]).unwrap();
            let ended = on(&other, &["restore", &file]).run().await;
            ended.refused(1, &["is not a whole dump"]);
            assert_eq!(count(&other.owner, TABLES).await, 0, "cut at {length}");
        }
        fs::write(&file, "not a dump at all").unwrap();
        on(&other, &["restore", &file]).run().await.refused(1, &["is not a whole dump"]);
        let none = shelf.file("none");
        on(&other, &["restore", &none]).run().await.refused(1, &["there is no file"]);
        // A load that fails half way is undone: this function stands in its way.
        fs::write(&file, &whole).unwrap();
        let in_the_way =
            "create function refuse_change() returns integer language sql as 'select 1'";
        other.owner.execute(in_the_way).await.unwrap();
        let ended = on(&other, &["restore", &file]).run().await;
        ended.refused(1, &["pg_restore failed", "refuse_change"]);
        assert_eq!(count(&other.owner, TABLES).await, 0);
        other.owner.execute("drop function refuse_change()").await.unwrap();
        on(&other, &["restore", &file]).run().await.succeeded();
        assert!(count(&other.owner, TABLES).await > 20);
    });
}

#[test]
fn the_other_mode_and_an_empty_database_are_refused() {
    run(|db| async move {
        let shelf = Shelf::new("mode");
        let file = shelf.file("a.dump");
        let other = empty_database().await;
        on(&other, &["backup", &file]).run().await.refused(1, &["no schema"]);
        stamp(&db.owner).await;
        let live =
            |database, arguments: &[&str]| on(database, arguments).set("BURSAR_MODE", "live").run();
        let words = ["test database", "live mode"];
        live(&db, &["backup", &file]).await.refused(1, &words);
        assert_eq!(shelf.names(), [""; 0]);
        on(&db, &["backup", &file]).run().await.succeeded();
        live(&other, &["restore", &file]).await.refused(1, &words);
        assert_eq!(count(&other.owner, TABLES).await, 0);
    });
}

#[test]
fn a_restore_that_was_cut_off_opens_nothing_and_is_not_confirmed() {
    run(|db| async move {
        stamp(&db.owner).await;
        db.owner.execute("create table restoration_pending ()").await.unwrap();
        let confirm = ["restore", "--confirm", "--reason", "it is fine"];
        on(&db, &confirm).run().await.refused(1, &["cut off"]);
        assert_eq!(count(&db.owner, "select count(*) from restoration_confirmed").await, 0);
    });
}

#[test]
fn passwords_stand_on_no_command_line_and_in_no_message() {
    run(|db| async move {
        let shelf = Shelf::new("secret");
        let url = "postgres://bursar_owner:sw0rdfish@127.0.0.1:1/none";
        let backup = ["backup", &shelf.file("a.dump")];
        let ended = Bursar::new(&backup)
            .set("DATABASE_URL", &db.url(Role::Service))
            .set("BURSAR_MIGRATION_URL", url)
            .run()
            .await;
        assert!(!ended.err.contains("sw0rdfish") && !ended.out.contains("sw0rdfish"));
        ended.refused(1, &[]);
    });
}
