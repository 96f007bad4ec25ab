//! The official facilitator as one that speaks a single version, and the official buyers of both.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::world::World;
use super::{Stage, body_of};
use crate::support::postgres::run;
use crate::topup::front::{Act, Front, Says};

/// Buys in the version that the facilitator does not admit to.
fn buy_in_the_other_version(asked: u8, network: &'static str, paid: u8) {
    run(move |database| async move {
        let world = Arc::new(World::start().await);
        let front = Front::start().await;
        front.stand_before(world.facilitator.clone());
        let kind = json!({ "x402Version": asked, "scheme": "exact", "network": network });
        front.next("supported", Act::say(Says::json(&json!({ "kinds": [kind] }))));
        let mut stage = Stage::set_in(world, &database, &front.url, true).await;
        let (_, key) = stage.service.sign_up().await;
        let bought = stage.buy(paid, Some(&key), "5.00", json!({})).await;
        assert_eq!(bought["status"], 200, "{bought}");
        assert_eq!(body_of(&bought)["credited"], "5.00");
        let receipt = if paid == 1 { "x-payment-response" } else { "payment-response" };
        assert!(bought["headers"][receipt].is_string(), "{bought}");
        for call in ["verify", "settle"] {
            let sent = front.seen(call);
            assert_eq!(sent.len(), 1, "{sent:?}");
            assert_eq!(sent[0]["x402Version"], asked);
            assert_eq!(sent[0]["paymentPayload"]["x402Version"], asked);
        }
        // What never arrived is sent again in the same words: the chain knows nothing of it.
        front.next("settle", Act::say(Says::Nothing));
        let open = stage.buy(paid, Some(&key), "1.00", json!({})).await;
        assert_eq!(open["status"], 202, "{open}");
        front.arrived("settle", 3).await;
        let settles = front.seen("settle");
        assert_eq!(settles[1], settles[2]);
        let credited = async {
            while stage.paid_credits(&key).await != "6.00" {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), credited).await.expect("credited");
        assert_eq!(stage.received().await, 6_000_000);
    });
}

#[test]
fn a_payment_of_version_2_settles_in_version_1() {
    buy_in_the_other_version(1, "base-sepolia", 2);
}

#[test]
fn a_payment_of_version_1_settles_in_version_2() {
    buy_in_the_other_version(2, "eip155:84532", 1);
}
