//! A ledger that was restored reads on the chain what was paid since its backup.

use bursar::db::managed::Role;
use bursar::x402::Wallet;
use serde_json::json;
use sqlx::PgPool;

use super::{PAY_TO, Stage, TOPUP, body_of, paid_request};
use crate::startup::process::{Bursar, Ended};
use crate::support::postgres::{TestDatabase, empty_database, run};
use crate::support::service::Service;

fn on(database: &TestDatabase, stage: &Stage, arguments: &[&str]) -> Bursar {
    Bursar::new(arguments)
        .set("DATABASE_URL", &database.url(Role::Service))
        .set("BURSAR_MIGRATION_URL", &database.url(Role::Owner))
        .set("BURSAR_PAY_TO", PAY_TO)
        .set("BURSAR_FACILITATOR_URL", &stage.world.facilitator)
        .set("BURSAR_RPC_URL", &stage.world.rpc)
}

async fn read_chain(database: &TestDatabase, stage: &Stage) -> Ended {
    on(database, stage, &["restore", "--read-chain"]).run().await
}

impl Stage {
    /// Lets the chain grow, past everything that has happened so far.
    async fn mine(&mut self, blocks: u32) {
        for _ in 0..blocks {
            self.world.ask(json!({ "op": "advance", "seconds": 2 })).await.unwrap();
        }
    }
}

/// What the top-ups of a database say was credited, in micro-dollars, and how many they are.
async fn credited(pool: &PgPool) -> (i64, i64) {
    sqlx::query_as(
        "select count(*), coalesce(sum(amount), 0)::bigint from topup where state = 'credited'",
    )
    .fetch_one(pool)
    .await
    .unwrap()
}

#[test]
fn what_was_paid_since_the_backup_is_read_from_the_chain() {
    run(|db| async move {
        let mut stage = Stage::set(&db).await;
        let (_, key) = stage.service.sign_up().await;
        let kept = stage.buy(2, Some(&key), "5.00", json!({})).await;
        assert_eq!(kept["status"], 200, "{kept}");
        let file = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("chain-{}.dump", std::process::id()));
        let path = file.to_str().unwrap();
        on(&db, &stage, &["backup", path]).run().await.succeeded();
        // The backup knows nothing of these: one for the account, one without a key.
        let lost = stage.buy(2, Some(&key), "2.50", json!({})).await;
        let unkeyed = stage.buy(1, None, "1.00", json!({})).await;
        assert_eq!((&lost["status"], &unkeyed["status"]), (&json!(200), &json!(200)));
        // And money that no authorization explains.
        stage.world.mint(PAY_TO, 70_000).await;

        let other = empty_database().await;
        on(&other, &stage, &["restore", path]).run().await.succeeded();
        std::fs::remove_file(&file).unwrap();
        assert_eq!(credited(&other.owner).await, (1, 5_000_000));
        let early = read_chain(&other, &stage).await;
        assert_eq!(early.code, Some(1), "{}{}", early.out, early.err);
        assert!(early.out.contains("NOT CONFIRMED"), "{}", early.out);
        assert!(early.out.contains("before the restore"), "{}", early.out);

        // One that was about to be sent may still be settled.
        stage.mine(20).await;
        let pending = "insert into topup (slot, book_id, topup_id, state, amount, x402_version,
               network, asset, payer, nonce, pay_to, valid_before, facilitator_url, payload,
               requirements, keyed, sent_at, created_at, updated_at)
             select slot, book_id, overlay(topup_id::text placing '00000000' from 1)::uuid, 'settling',
               amount, 2, network, asset, payer, '0x' || repeat('7', 64), pay_to, 4000000000, '',
               '{}', '{}', true, now(), now(), now() from topup";
        sqlx::query(pending).execute(&other.owner).await.unwrap();
        let open = read_chain(&other, &stage).await;
        assert_eq!(open.code, Some(1), "{}{}", open.out, open.err);
        assert!(open.out.contains("may still be settled"), "{}", open.out);
        assert!(open.out.contains("2 payments credited, 1 known"), "{}", open.out);
        let sql = "select count(*) from restoration_confirmed";
        let confirmed: i64 = sqlx::query_scalar(sql).fetch_one(&other.owner).await.unwrap();
        assert_eq!(confirmed, 0);

        // Its time is over; and what was read before is not credited again.
        let over = "update topup set valid_before = 1 where state = 'settling'";
        sqlx::query(over).execute(&other.owner).await.unwrap();
        let read = read_chain(&other, &stage).await.succeeded();
        let words = "0 payments credited, 3 known, 1 open top-ups over, 1 stray transfers";
        assert!(read.out.contains(words) && read.out.contains("STRAY MONEY"), "{}", read.out);
        assert_eq!(credited(&other.owner).await, (3, 8_500_000));
        assert_eq!(stage.received().await, 8_500_000 + 70_000);
        on(&other, &stage, &["check"]).run().await.succeeded();
        let how: (String, String) = sqlx::query_as("select how, reason from restoration_confirmed")
            .fetch_one(&other.owner)
            .await
            .unwrap();
        assert!(how.0 == "chain" && how.1.contains(words), "{how:?}");
        assert!(read_chain(&other, &stage).await.succeeded().out.contains("nothing to confirm"));

        works_again(&mut stage, &other, &lost).await;
    });
}

/// The lost payment belongs to the wallet that paid it, is known by its identity, and is not taken
/// twice; the service sells again.
async fn works_again(stage: &mut Stage, other: &TestDatabase, lost: &serde_json::Value) {
    let variables = [
        ("BURSAR_FACILITATOR_URL", stage.world.facilitator.clone()),
        ("BURSAR_RPC_URL", stage.world.rpc.clone()),
        ("BURSAR_PAY_TO", PAY_TO.to_owned()),
    ];
    let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    stage.service = Service::start(other, &variables);
    let mut sent = paid_request(lost);
    sent["url"] = json!(format!("{}{TOPUP}", stage.service.url));
    let again = stage.replay(&sent, None).await;
    assert_eq!(again["status"], 200, "{again}");
    let body = body_of(&again);
    assert_eq!([&body["status"], &body["amount"]], ["credited", "2.50"], "{body}");
    let wallet: i64 = sqlx::query_scalar(
        "select prepaid from book join account using (slot, book_id) where wallet = $1",
    )
    .bind(Wallet::from_secret(&[7; 32]).unwrap().address().lower())
    .fetch_one(&other.owner)
    .await
    .unwrap();
    assert_eq!(wallet, 3_500_000);
    let more = stage.buy(2, None, "1.00", json!({})).await;
    assert_eq!(more["status"], 200, "{more}");
    assert_eq!(credited(&other.owner).await, (4, 9_500_000));
}
