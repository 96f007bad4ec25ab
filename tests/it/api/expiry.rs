//! Promotional credits that run out, in accounts that nobody touches.

use bursar::ground::Clock;
use bursar::{db, finance, ledger};
use chrono::TimeDelta;
use serde_json::json;

use super::Api;
use crate::support::postgres;

#[test]
fn what_runs_out_is_booked_and_what_returns_to_it_lives_for_thirty_days() {
    postgres::run(|database| async move {
        let api = Api::start(database).await;
        api.list("thing", "10.00").await;
        let fulfiller = api.staff("fulfiller", &["thing"]).await;
        let verifier = api.staff("verifier", &["thing"]).await;
        let (idle, buyer) = (api.signup(json!([])).await, api.signup(json!([])).await);
        let pool = db::service_pool(api.database.service_options(), 2);

        // The buyer's charge stands when the grant runs out, and is reversed afterwards.
        api.clock.advance(TimeDelta::days(90) - TimeDelta::hours(1));
        let items = json!([{ "sku": "thing", "quantity": 1 }]);
        let checkout = api.checkout(&buyer, "order", items).await;
        api.deliver(&fulfiller, &checkout, "result", 1, 1).await;
        let verdict = json!({ "verdict": "accepted" });
        let judged = api.judge(&verifier, &checkout, "result", verdict).await.json(200);
        api.clock.advance(TimeDelta::hours(2));
        let expired = ledger::expire_lots(&pool, &api.engine, api.clock.now()).await.unwrap();
        assert_eq!(expired, 2);
        assert_eq!(ledger::expire_lots(&pool, &api.engine, api.clock.now()).await, Ok(0));
        for customer in [&idle, &buyer] {
            assert_eq!(api.credits(customer).await["promotional"], "0.00");
        }

        let charge = judged["charge_id"].as_str().unwrap();
        let path = format!("/api/v1/charges/{charge}/reversals");
        let reason = json!({ "reason": "broken" });
        api.post_once(&path, &verifier, "undo", reason).await.json(201);
        let credits = api.credits(&buyer).await;
        assert_eq!(credits["promotional"], "10.00");
        let expiry = credits["next_expiry"]["at"].as_str().unwrap();
        let expiry: chrono::DateTime<chrono::Utc> = expiry.parse().unwrap();
        assert_eq!((expiry - api.clock.now()).num_hours(), 30 * 24 - 1);

        let reports = db::report_pool(api.database.service_options(), 1);
        let report = finance::Finance::new(reports).check().await.unwrap();
        assert!(report.passed(), "{report}");
    });
}
