//! The whole story: a backup while checkouts run, a restore elsewhere, a ledger that refuses until
//! it is confirmed, and works then.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use serde_json::{Value, json};
use sqlx::PgPool;

use super::{Shelf, count, figure, on};
use crate::support::postgres::{TestDatabase, empty_database, run};
use crate::support::service::Service;

/// Every transfer up to the versions of the books in another database, as one digest; and how many
/// they are.
async fn journal_up_to(journal: &PgPool, books: &PgPool) -> (i64, String) {
    let versions: Vec<(uuid::Uuid, i64)> =
        sqlx::query_as("select book_id, version from book").fetch_all(books).await.unwrap();
    let (ids, versions): (Vec<_>, Vec<_>) = versions.into_iter().unzip();
    sqlx::query_as(
        "select count(*), md5(coalesce(string_agg(t::text, '|' order by slot, book_id, version), ''))
         from transfer t join unnest($1::uuid[], $2::bigint[]) as u(book_id, upto) using (book_id)
         where t.version <= u.upto",
    )
    .bind(ids)
    .bind(versions)
    .fetch_one(journal)
    .await
    .unwrap()
}

struct Shop {
    service: Arc<Service>,
    account: (String, String),
    verifier: String,
}

impl Shop {
    async fn open(db: &TestDatabase) -> Self {
        let service = Arc::new(Service::start(db, &[("BURSAR_SIGNUP_GRANT", "900.00")]));
        let operator = Some(service.operator.as_str());
        let terms = json!({
            "title": "lead", "unit": "lead", "unit_price": "0.01", "criteria": {},
            "delivery_deadline_seconds": 3600, "verification_deadline_seconds": 3600,
            "dispute_window_seconds": 86400,
        });
        let listed = service.ask("PUT", "/api/v1/admin/catalog/lead", operator, None, Some(terms));
        assert_eq!(listed.await.0, 200);
        let body = json!({"role": "verifier", "name": "v", "skus": ["lead"]});
        let (status, key) =
            service.ask("POST", "/api/v1/admin/keys", operator, None, Some(body)).await;
        assert_eq!(status, 201);
        let verifier = key["api_key"].as_str().unwrap().to_owned();
        let account = service.sign_up().await;
        Self { service, account, verifier }
    }

    async fn checkout(service: &Service, key: &str, once: &str) -> (u16, Value) {
        let body = json!({"items": [{"sku": "lead", "quantity": 1}], "max_total": "0.01"});
        service.ask("POST", "/api/v1/checkouts", Some(key), Some(once), Some(body)).await
    }
}

#[test]
fn a_backup_of_a_busy_ledger_is_restored_elsewhere_and_opened_by_its_operator() {
    run(|db| async move {
        let shelf = Shelf::new("life");
        let shop = Shop::open(&db).await;
        let (service, key) = (&shop.service, &shop.account.1);
        let paid = ["pay", &format!("{}/api/v1/credits/topup", service.url)];
        crate::startup::process::Bursar::new(&paid).run().await.succeeded();
        let (_, first) = Shop::checkout(service, key, "first").await;
        let checkout = first["checkout_id"].as_str().unwrap().to_owned();
        let body = json!({"results": [
            {"result_id": "r1", "item": 1, "quantity": 1, "evidence": {}},
        ]});
        let results = format!("/api/v1/checkouts/{checkout}/results");
        let operator = Some(service.operator.as_str());
        assert_eq!(service.ask("POST", &results, operator, Some("r1"), Some(body)).await.0, 201);

        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicI64::new(0)));
        let buyers: Vec<_> = (0..4)
            .map(|buyer| {
                let (service, key) = (service.clone(), key.clone());
                let (stop, done) = (stop.clone(), done.clone());
                tokio::spawn(async move {
                    let mut n = 0;
                    while !stop.load(Ordering::SeqCst) {
                        let once = format!("{buyer} {n}").replace(' ', "-");
                        let (status, body) = Shop::checkout(&service, &key, &once).await;
                        assert_eq!(status, 201, "{body}");
                        n += 1;
                        done.fetch_add(1, Ordering::SeqCst);
                    }
                })
            })
            .collect();
        while done.load(Ordering::SeqCst) < 20 {
            tokio::task::yield_now().await;
        }
        let started = done.load(Ordering::SeqCst);
        let file = shelf.file("bursar.dump");
        let made = on(&db, &["backup", &file]).run().await.succeeded();
        assert!(done.load(Ordering::SeqCst) > started, "checkouts went on meanwhile");
        stop.store(true, Ordering::SeqCst);
        for buyer in buyers {
            buyer.await.unwrap();
        }
        assert_eq!(shelf.names(), ["bursar.dump"], "nothing is left aside");

        let other = empty_database().await;
        let restored = on(&other, &["restore", &file]).run().await.succeeded();
        let live = count(&db.owner, "select count(*) from transfer").await;
        let told = ["books", "transfers"].map(|name| figure(&made, name));
        assert_eq!(["books", "transfers"].map(|name| figure(&restored, name)), told);
        assert!(told[1] < live, "the ledger went on after the snapshot");
        let (transfers, digest) = journal_up_to(&other.owner, &other.owner).await;
        assert_eq!(transfers, told[1]);
        assert_eq!(journal_up_to(&db.owner, &other.owner).await, (transfers, digest));
        on(&other, &["check"]).run().await.succeeded();

        let restored = Service::start(&other, &[("BURSAR_ADMIN_KEY_HASH", "")]);
        closed(&shop, &restored, &checkout).await;
        on(&other, &["restore", &file]).run().await.refused(1, &["is not empty"]);
        on(&other, &["restore", "--confirm", "--reason", "nothing was paid since"])
            .run()
            .await
            .succeeded();
        opened(&shop, &restored, &checkout).await;
        let told: (String, String, String) =
            sqlx::query_as("select confirmed_by, how, reason from restoration_confirmed")
                .fetch_one(&other.owner)
                .await
                .unwrap();
        assert_eq!((told.1.as_str(), told.2.as_str()), ("operator", "nothing was paid since"));
        assert!(told.0.contains("user id") && told.0.contains("bursar_owner"), "{}", told.0);
        on(&other, &["check"]).run().await.succeeded();
        let again = on(&other, &["restore", "--confirm", "--reason", "again"]).run().await;
        assert!(again.succeeded().out.contains("nothing to confirm"));
    });
}

/// Nothing moves, nobody is asked to pay, and everything can be read.
async fn closed(shop: &Shop, restored: &Service, checkout: &str) {
    let key = Some(shop.account.1.as_str());
    let refused = async |method: &str, path: &str, key: Option<&str>, body: Value| {
        let once = Some("while-closed");
        let (status, answer) = restored.ask(method, path, key, once, Some(body)).await;
        assert_eq!((status, &answer["code"]), (503, &json!("ledger_restored")), "{path} {answer}");
    };
    let order = json!({"items": [{"sku": "lead", "quantity": 1}], "max_total": "0.01"});
    refused("POST", "/api/v1/checkouts", key, order).await;
    refused("POST", &format!("/api/v1/checkouts/{checkout}/cancel"), key, json!({})).await;
    let verdict = format!("/api/v1/checkouts/{checkout}/results/r1/verdict");
    refused("POST", &verdict, Some(&shop.verifier), json!({"verdict": "accepted"})).await;
    refused("POST", "/api/v1/accounts", None, json!({})).await;
    refused("POST", "/api/v1/credits/topup", key, json!({})).await;
    let (status, ready) = restored.ask("GET", "/readyz", None, None, None).await;
    assert_eq!((status, &ready["status"]), (200, &json!("degraded")));
    assert_eq!(ready["checks"]["ledger"], "restored");

    let key = shop.account.1.as_str();
    let before = shop.service.get("/api/v1/credits", key).await;
    let after = restored.get("/api/v1/credits", key).await;
    assert_eq!(after["account_id"], before["account_id"]);
    for path in ["/api/v1/credits/history", "/api/v1/ledger/trial-balance", "/api/v1/checkouts"] {
        restored.get(path, key).await;
    }
    // What was answered before the backup is answered again.
    let (status, again) = Shop::checkout(restored, key, "first").await;
    assert_eq!((status, again["checkout_id"].as_str()), (201, Some(checkout)));
}

async fn opened(shop: &Shop, restored: &Service, checkout: &str) {
    let key = shop.account.1.as_str();
    // The refusal was not kept under its key.
    let (status, body) = Shop::checkout(restored, key, "while-closed").await;
    assert_eq!(status, 201, "{body}");
    let verdict = format!("/api/v1/checkouts/{checkout}/results/r1/verdict");
    let body = Some(json!({"verdict": "accepted"}));
    let (status, body) =
        restored.ask("POST", &verdict, Some(&shop.verifier), Some("verdict"), body).await;
    assert_eq!(status, 200, "{body}");
    let topup = restored.ask("POST", "/api/v1/credits/topup", None, None, None).await;
    assert_eq!(topup.0, 402);
    restored.sign_up().await;
    let (_, ready) = restored.ask("GET", "/readyz", None, None, None).await;
    assert_eq!((&ready["status"], &ready["checks"]["ledger"]), (&json!("ready"), &json!("ok")));
}
