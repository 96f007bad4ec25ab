//! Health, metrics and documents.

use bursar::db;
use bursar::ground::Mode;
use bursar::http::{Code, Gauge, Metrics, api_document_json};

use super::Api;
use crate::support::postgres::run;

#[test]
fn the_committed_document_is_the_generated_one() {
    let committed = include_str!("../../../openapi/openapi.json");
    assert!(
        committed == api_document_json(),
        "openapi/openapi.json is out of date; run: cargo run -- openapi > openapi/openapi.json"
    );
}

#[test]
fn the_served_document_is_the_committed_one() {
    run(|db| async move {
        let api = Api::start(db).await;
        let served = api.get("/openapi.json", "").await.json(200);
        let committed: serde_json::Value = serde_json::from_str(&api_document_json()).unwrap();
        assert_eq!(served, committed);
    });
}

#[test]
fn health_is_told() {
    run(|db| async move {
        let api = Api::start(db).await;
        let alive = api.get("/healthz", "").await.json(200);
        assert_eq!([&alive["status"], &alive["mode"]], ["ok", "test"]);
        // Tables alone are not enough: nobody has said yet which mode this database is for.
        let problem = api.get("/readyz", "").await.problem(503, "unavailable");
        let checks = ["database", "schema"].map(|name| &problem["checks"][name]);
        assert_eq!(checks, ["ok", "failed"]);
        db::migrate(&api.database.owner_options(), Mode::Test).await.unwrap();
        let ready = api.get("/readyz", "").await.json(200);
        assert_eq!(ready["status"], "ready", "{ready}");
        assert_eq!(ready["checks"]["database"], "ok");
    });
}

#[test]
fn gauges_are_read_when_asked_for() {
    run(|db| async move {
        let metrics = Metrics::default().with(|| async {
            let (name, help) = ("bursar_overdue", "Deadlines that wait");
            Some(vec![Gauge { name, help, label: Some(("of", "items".to_owned())), value: 3 }])
        });
        let api = Api::start_with(db, true, metrics).await;
        let answer = api.get("/metrics", "").await;
        assert_eq!(answer.status, 200);
        assert!(answer.header("content-type").unwrap().starts_with("text/plain; version=0.0.4"));
        for line in ["bursar_overdue{of=\"items\"} 3", "bursar_engine_queue_depth 0"] {
            assert!(answer.body.lines().any(|known| known == line), "{}", answer.body);
        }
    });
}

#[test]
fn the_documents_for_readers_are_served_whole() {
    run(|db| async move {
        let api = Api::start(db).await;
        let guide = api.get("/llms.txt", "").await;
        assert_eq!((guide.status, &*guide.body), (200, include_str!("../../../llms.txt")));
        let docs = api.get("/docs", "").await;
        assert_eq!(docs.header("content-type"), Some("text/html; charset=utf-8"));
        for code in Code::ALL {
            assert!(docs.body.contains(&format!("id=\"error-{}\"", code.as_str())));
        }
        assert!(docs.body.contains("/api/v1/checkouts/{checkout_id}/results/{result_id}/verdict"));
    });
}
