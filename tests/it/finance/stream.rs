//! A journal as a stream: long, cut short, and while the ledger goes on.

use std::time::Duration;

use bursar::db::report_pool;
use bursar::finance::{Finance, Format, Scope};
use bursar::ground::BookId;
use futures_util::StreamExt;
use sqlx::Executor;

use super::scene::Scene;
use crate::support::postgres::{TestDatabase, run};

const LONG: usize = 50_000;

/// A book of many small top-ups.
const LONG_BOOK: &str = "
    insert into book (slot, book_id, kind, version, recorded_at, created_at)
    values (7, '019aa000-0000-7000-8000-000000000007', 'customer', 50000, now(), now());
    insert into transfer (book_id, transaction_id, subject_id, lot_id, version, amount, debit_after,
      credit_after, recorded_at, effective_at, slot, movement, debit, credit)
    select '019aa000-0000-7000-8000-000000000007', gen_random_uuid(), gen_random_uuid(),
      gen_random_uuid(), n, 10, 10 * n, 10 * n, now(), now(), 7, 1, 1, 2
    from generate_series(1, 50000) n;
";

/// Reports over one connection, as a service whose pool is all in use has it.
fn finance(db: &TestDatabase) -> Finance {
    Finance::new(report_pool(db.service_options(), 1))
}

async fn make_long(db: &TestDatabase) {
    db.owner.execute(LONG_BOOK).await.unwrap();
}

/// What the reports' connections are doing.
async fn states(db: &TestDatabase) -> Vec<String> {
    sqlx::query_scalar(
        "select state from pg_stat_activity
         where datname = current_database() and application_name = 'bursar-reports'",
    )
    .fetch_all(&db.service)
    .await
    .unwrap()
}

#[test]
fn a_long_journal_comes_in_small_chunks() {
    run(|db| async move {
        make_long(&db).await;
        for format in [Format::Csv, Format::Jsonl] {
            let mut stream = finance(&db).journal(Scope::All, format).await.unwrap();
            let (mut lines, mut chunks, mut bytes) = (0, 0, 0);
            while let Some(chunk) = stream.next().await {
                let chunk = chunk.unwrap();
                assert!(!chunk.is_empty() && chunk.len() < 64 << 10, "{} bytes", chunk.len());
                lines += chunk.iter().filter(|byte| **byte == b'\n').count();
                chunks += 1;
                bytes += chunk.len();
            }
            assert_eq!(lines, LONG + usize::from(format == Format::Csv));
            assert!(chunks <= bytes / (60 << 10) + 1, "{chunks} chunks for {bytes} bytes");
        }
    });
}

#[test]
fn a_dropped_journal_leaves_nothing_behind() {
    run(|db| async move {
        make_long(&db).await;
        let finance = finance(&db);
        for chunks in [0, 1, 40] {
            let mut stream = finance.journal(Scope::All, Format::Csv).await.unwrap();
            for _ in 0..chunks {
                stream.next().await.unwrap().unwrap();
            }
            assert_eq!(states(&db).await, ["idle in transaction"]);
            drop(stream);
            // The only connection is free again, and its snapshot is gone.
            finance.trial_balance(Scope::All).await.unwrap();
            assert_eq!(states(&db).await, ["idle"]);
        }
    });
}

#[test]
fn a_journal_dropped_in_the_middle_of_a_read_leaves_nothing_behind() {
    run(|db| async move {
        make_long(&db).await;
        let finance = finance(&db);
        let mut dropped = false;
        for micros in (0..40).map(|n| n * 500) {
            let stream = finance.journal(Scope::All, Format::Csv).await.unwrap();
            let read = stream.for_each(|chunk| async { drop(chunk.unwrap()) });
            dropped |= tokio::time::timeout(Duration::from_micros(micros), read).await.is_err();
            finance.trial_balance(Scope::All).await.unwrap();
            assert_eq!(states(&db).await, ["idle"]);
        }
        assert!(dropped, "no journal was cut short");
    });
}

#[test]
fn a_journal_is_of_one_moment() {
    run(|db| async move {
        make_long(&db).await;
        let scene = Scene::empty(db).await;
        let book = BookId("019aa000-0000-7000-8000-000000000007".parse().unwrap());
        let mut stream = scene.finance.journal(Scope::Book(book), Format::Jsonl).await.unwrap();
        let mut lines = 0;
        let mut topped_up = false;
        while let Some(chunk) = stream.next().await {
            lines += chunk.unwrap().iter().filter(|byte| **byte == b'\n').count();
            if !topped_up {
                scene.top_up(book, "1.00").await;
                topped_up = true;
            }
        }
        assert_eq!(lines, LONG, "what was booked meanwhile is not in it");
        let last = scene.finance.history(book, None, 1).await.unwrap();
        assert_eq!(last[0].seq, i64::try_from(LONG).unwrap() + 1);
    });
}

#[test]
fn a_journal_of_nobody_is_a_header() {
    run(|db| async move {
        let finance = finance(&db);
        let stream = finance.journal(Scope::Book(BookId::HOUSE), Format::Csv).await.unwrap();
        let chunks: Vec<_> = stream.collect().await;
        assert_eq!(chunks.len(), 1);
        let stream = finance.journal(Scope::All, Format::Jsonl).await.unwrap();
        assert_eq!(stream.count().await, 0);
    });
}
