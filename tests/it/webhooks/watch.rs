use std::time::Duration;

use bursar::db::managed::Role;
use serde_json::{Value, json};

use super::Scene;
use super::receiver::Receiver;
use crate::support::postgres::run;
use crate::support::service::{Service, assert_checks};

/// The events of a type, once there are so many; a while later there are still no more.
async fn told(scene: &Scene, kind: &str, count: usize) -> Vec<Value> {
    let path = format!("/api/v1/events?type={kind}");
    let read = || async { scene.get(&path).await["data"].as_array().unwrap().clone() };
    for _ in 0..400 {
        if read().await.len() >= count {
            break;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    tokio::time::sleep(Duration::from_millis(400)).await;
    let events = read().await;
    assert_eq!(events.len(), count, "{events:?}");
    events
}

#[test]
fn a_low_balance_is_told_once_per_crossing() {
    run(|db| async move {
        let scene = Scene::start(&db).await;
        let _other = Service::start(&db, &super::QUICK);
        let receiver = Receiver::start().await;
        let wanted = json!({"url": receiver.url, "types": ["balance.low"], "low_balance": "24.95"});
        let hook = scene.hook(wanted).await;
        told(&scene, "balance.low", 0).await;
        scene.happen().await;
        let low = &told(&scene, "balance.low", 1).await[0];
        assert_eq!(low["data"], json!({"webhook_id": hook.id}));
        assert_eq!(&receiver.wait_for(1).await[0].event(), low);
        scene.happen().await;
        told(&scene, "balance.low", 1).await;
        for opened in told(&scene, "checkout.opened", 2).await {
            let checkout = opened["data"]["checkout_id"].as_str().unwrap();
            let path = format!("/api/v1/checkouts/{checkout}/cancel");
            let canceled = scene.service.ask("POST", &path, Some(&scene.key), Some(checkout), None);
            assert_eq!(canceled.await.0, 200);
        }
        told(&scene, "balance.low", 1).await;
        scene.happen().await;
        told(&scene, "balance.low", 2).await;
        assert_checks(&db.url(Role::Service));
    });
}

#[test]
fn credits_that_expire_soon_are_told_once() {
    run(|db| async move {
        let variables = [("BURSAR_GRANT_DAYS", "6")];
        let scene = Scene::at(Service::start(&db, &variables)).await;
        let expiring = &told(&scene, "lot.expiring", 1).await[0];
        let credits = scene.get("/api/v1/credits").await;
        assert_eq!(expiring["data"], json!({"lot_id": credits["lots"][0]["lot_id"]}));
        let Scene { service, account, key, once } = scene;
        drop(service);
        let scene = Scene { service: Service::start(&db, &variables), account, key, once };
        told(&scene, "lot.expiring", 1).await;
    });
}
