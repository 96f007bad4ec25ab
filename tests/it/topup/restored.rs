//! A restored ledger takes no money: nobody is asked to pay, and nothing reaches a facilitator.

use bursar::x402::Version;

use super::{Stage, TOPUP};
use crate::support::postgres::run;

#[test]
fn a_restored_ledger_asks_nobody_to_pay_and_sends_nothing() {
    run(|db| async move {
        let stage = Stage::set(db).await;
        let known = stage.funded(Version::V2, "1.00").await;
        stage.pay(&known, "", "1.00").await.json(200);
        let lost = stage.funded(Version::V1, "2.00").await;
        stage.front.next("settle", super::front::Act::twist(super::front::Says::Nothing));
        super::assert_unknown(&stage.pay(&lost, "", "2.00").await, Version::V1);
        let fresh = stage.funded(Version::V2, "3.00").await;
        let calls = || ["verify", "settle"].map(|call| stage.front.seen(call).len());
        let before = calls();

        let owner = &stage.api.database.owner;
        let sql = "insert into restoration values (gen_random_uuid(), now(), now())";
        sqlx::query(sql).execute(owner).await.unwrap();
        for signed in [&fresh, &fresh.as_v1()] {
            let answer = stage.pay(signed, "", "3.00").await;
            answer.problem(503, "ledger_restored");
            assert_eq!(answer.header("retry-after"), Some("60"));
        }
        let unpaid = stage.api.post(TOPUP, "", serde_json::json!({})).await;
        unpaid.problem(503, "ledger_restored");
        assert_eq!(unpaid.header("payment-required"), None);
        assert_eq!(stage.resolve().await, 0, "the resolver rests");
        // What is known is still told.
        stage.pay(&known, "", "1.00").await.json(200);
        let open = stage.pay(&lost, "", "2.00").await;
        super::assert_unknown(&open, Version::V1);
        assert_eq!(calls(), before);
        let topups: i64 =
            sqlx::query_scalar("select count(*) from topup").fetch_one(owner).await.unwrap();
        assert_eq!(topups, 2, "no intent was written");

        let sql = "insert into restoration_confirmed
                   select restoration_id, now(), 'a test', 'operator', 'all is well' from restoration";
        sqlx::query(sql).execute(owner).await.unwrap();
        assert_eq!(stage.resolve().await, 1);
        // Twelve hours are not over after twenty minutes.
        stage.pay(&fresh, "", "3.00").await.json(200);
        stage.holds("6.00").await;
    });
}
