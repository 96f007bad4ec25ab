//! What Postgres refuses by itself, tried in raw SQL: as the service and as the owner.

mod constraints;
mod rights;
mod steps;

use bursar::ground::{BookId, CapId, Clock, KeyId};
use bursar::ledger::Span;
use sqlx::{AssertSqlSafe, Executor, PgPool};
use uuid::Uuid;

use super::commands::Verb;
use super::model::amount;
use super::scene::{self, Call, Replica, Request};
use crate::support::postgres::TestDatabase;

/// The SQLSTATE and the constraint with which a statement is refused.
async fn refusal(pool: &PgPool, sql: &str) -> (String, String) {
    let error = pool.execute(AssertSqlSafe(sql.to_owned())).await.expect_err(sql);
    let error = error.as_database_error().expect("a database error");
    let constraint = error.constraint().unwrap_or_default();
    (error.code().unwrap().into_owned(), constraint.to_owned())
}

/// An account with one of everything: a hold that is open, captured, released and reversed in part,
/// a cap, a charge and a reversal; and the checkout is canceled, except for a result that is still
/// under verification.
async fn scene(db: &TestDatabase) -> (Replica, BookId) {
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
    let charge = charge.as_str().unwrap().parse().unwrap();
    let reverse = Call::Reverse(charge, scene::reversal(Some(amount(2))));
    send("reverse", reverse).await;
    // One dispute of each kind: denied, upheld, open.
    for (key, upheld) in [("no", Some(false)), ("yes", Some(true)), ("open", None)] {
        let request = scene::dispute(keys[0], Some(amount(1)));
        let id = send(&format!("dispute {key}"), Call::Dispute(charge, request)).await;
        if let Some(upheld) = upheld {
            let id = id["dispute_id"].as_str().unwrap().parse().unwrap();
            send(key, Call::Decide(id, scene::decision(upheld))).await;
        }
    }
    send("cancel", Call::Cancel(checkout)).await;
    let staked = "insert into claim (slot, key, kind, book_id, subject_id, created_at)
                  select 7, decode(repeat('07', 32), 'hex'), 'wallet', book_id, book_id, now()
                  from book where kind = 'customer'";
    db.service.execute(staked).await.unwrap();
    db.owner.execute("insert into deployment (mode) values ('test')").await.unwrap();
    db.owner.execute(ENDED).await.unwrap();
    (replica, account)
}

/// What is over for good: two top-ups, a key, its spender, and a nonce of a wallet.
const ENDED: &str = "
    insert into topup (slot, book_id, topup_id, state, amount, x402_version, network, asset, payer,
      nonce, pay_to, valid_before, facilitator_url, payload, requirements, keyed, settlement_tx,
      created_at, updated_at)
    select slot, book_id, gen_random_uuid(), state, 5, 2, 'n', 'a', 'p', state, 't', 0, 'f', '{}',
      '{}', true, 'x', now(), now()
    from book, unnest(array['credited', 'rejected']) state where kind = 'customer';
    insert into spender (slot, book_id, spender_id, revoked_at)
    select slot, book_id, gen_random_uuid(), now() from book where kind = 'customer';
    insert into api_key (slot, book_id, key_id, role, name, hint, created_at, revoked_at)
    select slot, book_id, gen_random_uuid(), 'customer', 'n', 'h', now(), now()
    from book where kind = 'customer';
    insert into wallet_challenge values ('used', now(), now(), now());
";

/// Inserts a copy of a row of a table with some columns changed. Only what the service may insert is
/// copied, the other columns have their defaults.
async fn copy(db: &TestDatabase, table: &str, changes: &str) -> String {
    let columns: String = sqlx::query_scalar(
        "select string_agg(attname, ', ' order by attnum) from pg_attribute
         where attrelid = $1::regclass and attnum > 0
           and has_column_privilege(current_user, attrelid, attnum, 'insert')",
    )
    .bind(table)
    .fetch_one(&db.service)
    .await
    .unwrap();
    format!(
        "insert into {table} ({columns})
         select {columns} from (
           select (jsonb_populate_record(t, '{changes}'::jsonb)).* from {table} t
           order by t limit 1) c"
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
