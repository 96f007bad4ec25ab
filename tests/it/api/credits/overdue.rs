//! Grants that cannot be credited when their time has come.

use bursar::accounts::OverdueGrants;
use bursar::ground::{BookId, Clock};
use chrono::TimeDelta;
use serde_json::json;

use super::{give, granter};
use crate::api::{Api, Customer};
use crate::support::postgres::run;

/// Grants as the service would never write them: so much that no sum holds them.
async fn too_much(api: &Api, customer: &Customer, count: i32) {
    let account: BookId = customer.account.parse().unwrap();
    sqlx::query(
        "insert into credit_grant (slot, book_id, grant_id, amount, priority, effective_at,
           expires_at, reason, granted_by, granted_at)
         select $1, $2, gen_random_uuid(), 9223372036854775807, 50, $4, $4 + interval '90 days',
                'too much', $2, $4 from generate_series(1, $3)",
    )
    .bind(account.slot().sql())
    .bind(account.0)
    .bind(count)
    .bind(api.clock.now())
    .execute(&api.database.owner)
    .await
    .unwrap();
}

#[test]
fn grants_that_cannot_be_credited_keep_no_other_waiting_and_show() {
    run(|db| async move {
        let api = Api::start(db).await;
        let (customer, other) = (api.signup(json!([])).await, api.signup(json!([])).await);
        let granter = granter(&api);
        let overdue = || async { granter.overdue().await.unwrap() };
        assert_eq!(overdue().await, OverdueGrants { count: 0, oldest_s: 0 });
        // As many as are taken up at a time, and all of them due for longer.
        too_much(&api, &customer, 100).await;
        let soon = (api.clock.now() + TimeDelta::minutes(1)).to_rfc3339();
        let body = json!({"amount": "5.00", "effective_at": soon});
        give(&api, &other, "k1", body).await.json(201);
        api.clock.advance(TimeDelta::minutes(2));
        assert_eq!(granter.step().await.unwrap(), 0);
        assert_eq!(granter.step().await.unwrap(), 1);
        assert_eq!(api.credits(&other).await["available"], "30.00");
        let left = overdue().await;
        assert_eq!(left.count, 100);
        assert!((120..180).contains(&left.oldest_s), "{left:?}");
        // They are tried again.
        assert_eq!(granter.step().await.unwrap(), 0);
        assert_eq!(overdue().await.count, 100);
    });
}
