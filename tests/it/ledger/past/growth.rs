//! What a question costs, in rows touched: no more for a book of 130,000 transfers than for a short
//! one, but for the steps of a binary search.

use bursar::db::report_pool;
use bursar::finance::{Finance, Period};
use bursar::ground::BookId;
use chrono::TimeDelta;
use sqlx::{PgPool, Row};

use super::super::model::Time;
use super::super::scene::{Replica, fresh_account, until};
use super::{at, prepaid};
use crate::support::postgres::{TestDatabase, run};

/// Steps of the search, transfers since a snapshot, and the row that only ends a scan.
fn rows_max(transfers: u32) -> i64 {
    i64::from(transfers.ilog2() + 2 + 256)
}

/// A book of so many transfers, three at a time, a second apart.
async fn grow(db: &TestDatabase, account: BookId, transfers: i64) -> Time {
    for sql in [
        "insert into transfer (slot, book_id, version, transaction_id, subject_id, lot_id, amount,
           debit_after, credit_after, recorded_at, effective_at, movement, debit, credit)
         select $1, $2, n, md5(n::text)::uuid, $2, $2, 2, n * 2, n * 2,
                '2026-01-01'::timestamptz + interval '1 second' * (n / 3), now(), 1, 1, 2
         from generate_series(1, $3::bigint) n",
        "insert into book_snapshot (slot, book_id, version, recorded_at, debits, credits)
         select $1, $2, n, '2026-01-01'::timestamptz + interval '1 second' * (n / 3),
                array[n * 2, 0, 0, 0, 0, 0, 0, 0, 0], array[0, n * 2, 0, 0, 0, 0, 0, 0, 0]
         from generate_series(256, $3::bigint, 256) n",
        "update book set version = $3, settled_usdc = $3 * 2, prepaid = $3 * 2,
           recorded_at = greatest(recorded_at, '2026-01-01'::timestamptz + interval '1 second' * ($3 / 3))
         where slot = $1 and book_id = $2",
    ] {
        let query = sqlx::query(sql).bind(account.slot().sql()).bind(account.0).bind(transfers);
        query.execute(&db.owner).await.unwrap();
    }
    sqlx::query_scalar("select '2026-01-01'::timestamptz").fetch_one(&db.owner).await.unwrap()
}

/// Rows of the journal and of the snapshots that were read so far, and scans of whole tables. A
/// connection reports what it did when it ends.
async fn touched(pool: &PgPool) -> (i64, i64, i64) {
    until("the reports' connections have ended", async || {
        let sql = "select not exists (select from pg_stat_activity
                   where datname = current_database() and application_name = 'bursar-reports')";
        sqlx::query_scalar(sql).fetch_one(pool).await.unwrap()
    })
    .await;
    let row = sqlx::query(
        "select sum(idx_tup_read) filter (where relname = 'transfer')::bigint as transfers,
                sum(idx_tup_read) filter (where relname = 'book_snapshot')::bigint as snapshots,
                (select sum(seq_scan)::bigint from pg_stat_user_tables
                 where relname in ('transfer', 'book_snapshot')) as scans
         from pg_stat_user_indexes",
    )
    .fetch_one(pool)
    .await
    .unwrap();
    (row.get("transfers"), row.get("snapshots"), row.get("scans"))
}

#[test]
fn a_question_touches_as_few_rows_of_a_long_book_as_of_a_short_one() {
    run(|db| async move {
        let replica = Replica::new(&db, 1, super::super::scene::one_lane());
        for transfers in [1_000_u32, 130_000] {
            let account = fresh_account(&replica.clock);
            replica.open_account(account).await;
            let start = grow(&db, account, transfers.into()).await;
            let second = |n: i64| start + TimeDelta::seconds(n);
            let last = i64::from(transfers) / 3;
            let before = touched(&db.owner).await;

            let pool = report_pool(db.service_options(), 1);
            let finance = Finance::new(pool.clone());
            let moments = [0, 1, last / 7, last / 3, last / 2 + 100, last - 1];
            for moment in moments {
                let told = at(&finance, account, second(moment)).await;
                // Three a second, but for the first.
                assert_eq!((told.seq, prepaid(&told)), (moment * 3 + 2, (moment * 3 + 2) * 2));
            }
            let count = i64::try_from(moments.len()).unwrap();
            pool.close().await;
            let after = touched(&db.owner).await;
            let (rows, snapshots) = (after.0 - before.0, after.1 - before.1);
            let bound = rows_max(transfers);
            assert!(rows > 0 && rows <= count * bound, "{rows} rows for {count} questions");
            assert!(snapshots <= count * 2, "{snapshots} snapshots for {count} questions");

            let pool = report_pool(db.service_options(), 1);
            let finance = Finance::new(pool.clone());
            let (from, to) = (second(1), second(last - 1));
            let period = Period { from, to, after: None, limit: 20 };
            let told = finance.statement(account, period).await.unwrap().unwrap();
            assert_eq!((told.transfers, told.entries.len()), ((last - 2) * 3, 20));
            pool.close().await;
            let end = touched(&db.owner).await;
            let rows = end.0 - after.0;
            assert!(rows <= 2 * bound + 21, "{rows} rows for a statement");
            assert_eq!(end.2, before.2, "a table was scanned");
        }
    });
}
