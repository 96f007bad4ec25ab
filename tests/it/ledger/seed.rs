//! What a cap costs that is set on a book of a long history, in rows read, and what it begins with.

use std::sync::Arc;

use bursar::accounts::{Accounts, CapSetting, NewKey, SignupSettings};
use bursar::db;
use bursar::ground::{Amount, BookId, CapId, HoldId, KeyId, Mode, ShiftedClock, SystemEntropy};
use bursar::ledger::{Engine, EngineSettings, HoldRequest, Span};
use sqlx::Row;
use uuid::Uuid;

use super::commands::Verb;
use super::model::amount;
use super::scene::{Replica, fresh_account, until};
use crate::support::postgres::{TestDatabase, run};

/// Months ago, so that no window but that of the total reaches there.
const HISTORY: i64 = 50_000;

/// Transfers that were read so far, by index and by scans of the whole table. A connection reports what
/// it did when it ends.
async fn read(db: &TestDatabase) -> (i64, i64) {
    until("the service's connections have ended", async || {
        let sql = "select not exists (select from pg_stat_activity
                   where datname = current_database() and application_name = 'bursar')";
        sqlx::query_scalar(sql).fetch_one(&db.owner).await.unwrap()
    })
    .await;
    let sql = "select idx_tup_fetch + seq_tup_read as rows, seq_scan from pg_stat_user_tables
               where relname = 'transfer'";
    let row = sqlx::query(sql).fetch_one(&db.owner).await.unwrap();
    (row.get("rows"), row.get("seq_scan"))
}

/// A book that was topped up many times long ago.
async fn grow(db: &TestDatabase, account: BookId) {
    for sql in [
        "insert into transfer (slot, book_id, version, transaction_id, subject_id, lot_id, amount,
           debit_after, credit_after, recorded_at, effective_at, movement, debit, credit)
         select $1, $2, n, md5(n::text)::uuid, $2, $2, 1, n, n,
                now() - interval '100 days' + interval '1 second' * n, now(), 1, 1, 2
         from generate_series(1, $3) n",
        "insert into lot (slot, book_id, lot_id, paid, open, priority, amount, remaining,
           granted_at, effective_at, origin_id)
         values ($1, $2, $2, true, true, 50, $3, $3, now(), now(), $2)",
        "update book set version = $3, settled_usdc = $3, prepaid = $3, recorded_at = now()
         where slot = $1 and book_id = $2",
        "analyze transfer",
    ] {
        let query = sqlx::query(sql);
        let query = match sql.contains("$1") {
            true => query.bind(account.slot().sql()).bind(account.0).bind(HISTORY),
            false => query,
        };
        query.execute(&db.owner).await.unwrap();
    }
}

fn cap(account: BookId, key: Option<KeyId>, span: Span, limit: i64) -> Verb {
    let id = CapId::mint(&SystemEntropy, chrono::DateTime::UNIX_EPOCH, account.slot());
    Verb::Cap { id, key, span, limit: amount(limit) }
}

fn accounts(db: &TestDatabase) -> (Accounts, sqlx::PgPool) {
    let pool = db::service_pool(db.service_options(), 2);
    let (clock, entropy) = (Arc::new(ShiftedClock::default()), Arc::new(SystemEntropy));
    let settings = EngineSettings::default();
    let engine = Engine::start(pool.clone(), clock.clone(), entropy.clone(), settings);
    let signup = SignupSettings {
        grant: Amount::ZERO,
        grant_budget_per_day: Amount::ZERO,
        grant_days: 90,
        signups_per_hour: 1,
        challenge_seconds: 1,
        challenges_per_hour: 1,
    };
    (Accounts::new(pool.clone(), engine, clock, entropy, Mode::Test, signup, None), pool)
}

#[test]
fn a_cap_reads_its_window_and_that_of_a_new_key_nothing() {
    run(|db| async move {
        let replica = Replica::new(&db, 3, EngineSettings::default());
        let account = fresh_account(&replica.clock);
        let [key, _] = replica.open_account(account).await;
        grow(&db, account).await;
        for n in 0..3_u128 {
            let id = HoldId(Uuid::from_u128(n << 8 | u128::from(account.slot().0)));
            let holds = vec![HoldRequest { id, amount: amount(10) }];
            let hold = Verb::Hold { key, holds, max_total: amount(10) };
            assert!(replica.act(account, &format!("hold {n}"), hold).await.unwrap().accepted);
        }
        replica.pool.close().await;
        let before = read(&db).await;

        let (accounts, pool) = accounts(&db);
        let new = NewKey::customer(accounts.fresh_key_id(account), "capped");
        let caps = [Span::Day, Span::Total].map(|span| CapSetting { span, limit: amount(5) });
        accounts.issue_key(account, new, caps.to_vec()).await.unwrap();
        pool.close().await;
        let issued = read(&db).await;
        assert_eq!(issued, before, "a new key has spent nothing");

        let replica = Replica::new(&db, 4, EngineSettings::default());
        for (n, key) in [None, Some(key)].into_iter().enumerate() {
            for span in [Span::Day, Span::Month] {
                let (name, verb) = (format!("{n} {span:?}"), cap(account, key, span, 35));
                let done = replica.act(account, &name, verb).await.unwrap();
                assert!(done.accepted);
            }
        }
        replica.pool.close().await;
        let capped = read(&db).await;
        assert_eq!(capped.1, issued.1, "the journal was scanned");
        // Four binary searches, and the holds of today.
        let steps = i64::from(HISTORY.ilog2()) + 2;
        let rows = capped.0 - issued.0;
        assert!(rows > 0 && rows <= 4 * (steps + 8), "{rows} rows");

        // What was on hold before the caps counts.
        let replica = Replica::new(&db, 5, EngineSettings::default());
        let hold = |n: u128, micros| {
            let id = HoldId(Uuid::from_u128(n << 8 | u128::from(account.slot().0)));
            let holds = vec![HoldRequest { id, amount: amount(micros) }];
            Verb::Hold { key, holds, max_total: amount(micros) }
        };
        let refused = replica.act(account, "too much", hold(8, 6)).await.unwrap();
        assert!(refused.body.contains("cap_exceeded"), "{}", refused.body);
        assert!(replica.act(account, "the rest", hold(9, 5)).await.unwrap().accepted);
    });
}
