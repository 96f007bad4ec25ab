//! The HTTP floor without any business: what every route gets, over real sockets.

use std::time::Duration;

use bursar::ground::Mode;
use bursar::http::{HttpSettings, Quota, document};

use crate::http_demo::{Demo, routes};

const JSON: &str = "Content-Type: application/json";
const KEY: &str = "Idempotency-Key: k1";

#[tokio::test]
async fn what_is_not_there_is_a_problem() {
    let demo = Demo::start(HttpSettings::default());
    demo.request("GET /nowhere", &[], b"").await.problem(404, "not_found");
    demo.request("GET /demo/orders/", &[], b"").await.problem(404, "not_found");
    let wrong = demo.request("DELETE /demo/orders", &[], b"").await;
    wrong.problem(405, "method_not_allowed");
    assert_eq!(wrong.header("allow"), Some("GET, HEAD, OPTIONS, POST"));
    let wrong = demo.request("GET /demo/orders/chk_1", &[], b"").await;
    wrong.problem(405, "method_not_allowed");
    let id = demo.request("PUT /demo/orders/chk_1", &[JSON], b"{\"quantity\":1}").await;
    assert_eq!(id.problem(404, "not_found")["field"], "id");
    let query = demo.request("GET /demo/orders?limit=x", &[], b"").await;
    assert_eq!(query.problem(422, "validation_failed")["field"], "limit");
}

#[tokio::test]
async fn bad_bodies_are_told_apart() {
    let demo = Demo::start(HttpSettings::default());
    let post = "POST /demo/orders";
    let good = demo.request(post, &[JSON, KEY], b"{\"quantity\":2}").await;
    assert_eq!((good.status, good.body.as_str()), (200, "{\"quantity\":2}"));
    let json = "Content-Type: application/vnd.demo+json; charset=utf-8";
    assert_eq!(demo.request(post, &[json, KEY], b"{\"quantity\":2}").await.status, 200);
    for text in ["Content-Type: text/plain", "Content-Type: ;;", "X-Nothing: 1"] {
        let answer = demo.request(post, &[text, KEY], b"{\"quantity\":2}").await;
        answer.problem(415, "unsupported_media_type");
    }
    let zipped = demo.request(post, &[JSON, KEY, "Content-Encoding: gzip"], b"x").await;
    zipped.problem(415, "unsupported_media_type");
    let broken = demo.request(post, &[JSON, KEY], b"{\"quantity\":").await;
    broken.problem(400, "malformed_request");
    let empty = demo.request(post, &[JSON, KEY], b"").await;
    empty.problem(400, "malformed_request");
    let shape = demo.request(post, &[JSON, KEY], b"{\"quantity\":\"2\"}").await;
    assert_eq!(shape.problem(422, "validation_failed")["field"], "quantity");
    let keyless = demo.request(post, &[JSON], b"{\"quantity\":2}").await;
    keyless.problem(400, "idempotency_key_missing");
    let id = "PUT /demo/orders/chk_00000000000070008000000000000001";
    assert_eq!(demo.request(id, &[], b"").await.body, "null");
}

#[tokio::test]
async fn a_body_is_bounded_and_always_read() {
    let head_timeout = Duration::from_millis(200);
    let demo = Demo::start(HttpSettings { head_timeout, ..Default::default() });
    let large = vec![b' '; 70_000];
    let mut connection = demo.connect().await;
    let refused = connection.request("POST /demo/orders", &[JSON, KEY], &large).await;
    assert_eq!(refused.problem(413, "payload_too_large")["max_bytes"], 65_536);
    // The connection lives on after each: nothing of a body was left unread.
    let terms = connection.request("POST /demo/terms", &[], &large).await;
    assert_eq!((terms.status, terms.body.as_str()), (402, "{\"readable\":false}"));
    let terms = connection.request("POST /demo/terms", &[], &large[..60_000]).await;
    assert_eq!((terms.status, terms.body.as_str()), (402, "{\"readable\":true}"));
    connection.request("POST /nowhere", &[], &large).await.problem(404, "not_found");
    connection.request("PUT /demo/orders", &[], &large).await.problem(405, "method_not_allowed");
    let chunked: &[u8] = b"POST /demo/orders HTTP/1.1\r\nHost: test\r\nIdempotency-Key: k\r\n\
        Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n\
        E\r\n{\"quantity\":3}\r\n0\r\n\r\n";
    connection.send(chunked).await;
    assert_eq!(connection.answer(false).await.body, "{\"quantity\":3}");
    // What is announced as far too large is not waited for.
    connection
        .send(b"POST /demo/orders HTTP/1.1\r\nHost: test\r\nContent-Length: 9999999\r\n\r\n")
        .await;
    connection.answer(false).await.problem(413, "payload_too_large");
    assert!(connection.is_closed().await);
}

#[tokio::test]
async fn a_body_that_never_comes_is_given_up() {
    let settings = HttpSettings { body_timeout: Duration::from_millis(50), ..Default::default() };
    let demo = Demo::start(settings);
    let mut connection = demo.connect().await;
    let head = "POST /demo/orders HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\n{";
    connection.send(head.as_bytes()).await;
    connection.answer(false).await.problem(400, "malformed_request");
}

#[tokio::test]
async fn browsers_may_read_every_answer() {
    let demo = Demo::start(HttpSettings::default());
    let preflight = demo.request("OPTIONS /demo/orders", &["Origin: https://a.example"], b"").await;
    assert_eq!(preflight.status, 204);
    let methods = preflight.header("access-control-allow-methods");
    assert_eq!(methods, Some("GET, HEAD, OPTIONS, POST"));
    let allowed = preflight.header("access-control-allow-headers").unwrap();
    for name in ["payment-signature", "x-payment", "idempotency-key", "authorization"] {
        assert!(allowed.split(", ").any(|known| known == name), "{name}");
    }
    let unknown = demo.request("OPTIONS /nowhere", &[], b"").await;
    assert_eq!(
        unknown.header("access-control-allow-methods"),
        Some("GET, HEAD, OPTIONS, POST, PUT")
    );
    for line in
        ["GET /demo/orders", "GET /nowhere", "POST /demo/terms", "GET /demo/panic", "PUT /x"]
    {
        let answer = demo.request(line, &[], b"").await;
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"), "{line}");
        let exposed = answer.header("access-control-expose-headers").unwrap();
        assert!(exposed.contains("PAYMENT-REQUIRED") && exposed.contains("Bursar-Mode"), "{line}");
    }
}

#[tokio::test]
async fn every_answer_names_its_request_and_mode() {
    let demo = Demo::start(HttpSettings { mode: Mode::Live, ..Default::default() });
    let answer = demo.request("GET /demo/orders", &["Request-Id: mine-1"], b"").await;
    assert_eq!(answer.header("request-id"), Some("mine-1"));
    assert_eq!(answer.header("bursar-mode"), Some("live"));
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let first = demo.request("GET /nowhere", &["X-Request-Id: a b"], b"").await;
    let second = demo.request("GET /nowhere", &[], b"").await;
    assert!(first.header("request-id").is_some_and(|id| id.starts_with("req_")));
    assert_ne!(first.header("request-id"), second.header("request-id"));
    let document = demo.request("GET /openapi.json", &[], b"").await;
    assert_eq!(document.header("cache-control"), Some("public, max-age=300"));
    let long = format!("X-Long: {}", "x".repeat(20_000));
    assert_eq!(demo.request("GET /demo/orders", &[&long], b"").await.status, 200);
}

#[tokio::test]
async fn panics_and_foreign_errors_become_problems() {
    let demo = Demo::start(HttpSettings::default());
    let mut connection = demo.connect().await;
    let answer = connection.request("GET /demo/panic", &["Request-Id: p1"], b"").await;
    answer.problem(500, "internal");
    assert!(!answer.body.contains("on purpose"));
    assert_eq!(answer.header("bursar-mode"), Some("test"));
    // The one worker lives on, and so does the connection.
    assert_eq!(connection.request("GET /demo/orders", &[], b"").await.status, 200);
    let answer = connection.request("GET /demo/foreign", &[], b"").await;
    answer.problem(503, "unavailable");
    assert!(!answer.body.contains("secret"));
}

#[tokio::test]
async fn head_is_get_without_the_body() {
    let demo = Demo::start(HttpSettings::default());
    let mut connection = demo.connect().await;
    let get = connection.request("GET /openapi.json", &[], b"").await;
    let head = connection.request("HEAD /openapi.json", &[], b"").await;
    assert_eq!((head.status, head.header("content-length")), (200, get.header("content-length")));
    assert_eq!(connection.request("HEAD /nowhere", &[], b"").await.status, 404);
    assert_eq!(connection.request("GET /demo/orders", &[], b"").await.status, 200);
}

#[tokio::test]
async fn rates_are_told_and_kept() {
    let hour = Duration::from_secs(3_600);
    let demo = Demo::start(HttpSettings {
        rate_per_address: Some(Quota { requests: 3, window: hour }),
        rate_per_key: Some(Quota { requests: 2, window: hour }),
        trusted_proxies: vec!["127.0.0.1/32".parse().unwrap()],
        ..Default::default()
    });
    let good = ["X-Forwarded-For: 203.0.113.1", "Authorization: Bearer good"];
    let bad = ["X-Forwarded-For: 203.0.113.1", "Authorization: Bearer bad"];
    let first = demo.request("GET /demo/key", &good, b"").await;
    assert_eq!(first.header("ratelimit-policy"), Some("\"address\";q=3;w=3600"));
    assert_eq!(first.header("ratelimit"), Some("\"address\";r=2;t=1200"));
    let invented = demo.request("GET /demo/key", &bad, b"").await;
    invented.problem(401, "unauthenticated");
    assert_eq!(invented.header("www-authenticate"), Some("Bearer"));
    let second = demo.request("GET /demo/key", &good, b"").await;
    assert_eq!(second.header("ratelimit"), Some("\"key\";r=1;t=1800"));
    demo.request("GET /demo/orders", &good[..1], b"").await;
    // The address has nothing left, whatever key it invents; the key that authenticated has.
    let refused = demo.request("GET /demo/key", &bad, b"").await;
    let wait = refused.problem(429, "rate_limited")["retry_after"].as_u64().unwrap();
    assert_eq!(refused.header("retry-after"), Some(wait.to_string().as_str()));
    assert!((1_100..=1_200).contains(&wait), "{wait}");
    assert_eq!(demo.request("GET /demo/key", &good, b"").await.status, 200);
    demo.request("GET /demo/key", &good, b"").await.problem(429, "rate_limited");
    // Another address, and probes, are not concerned.
    let other =
        demo.request("GET /demo/orders?limit=1", &["X-Forwarded-For: 203.0.113.2"], b"").await;
    assert_eq!(other.body, "Some(1) 203.0.113.2");
    assert_eq!(demo.request("GET /healthz", &good[..1], b"").await.status, 200);
}

#[tokio::test]
async fn too_many_at_once_are_refused_at_once() {
    let demo = Demo::start(HttpSettings { in_flight_max: 1, ..Default::default() });
    let mut waiting = demo.connect().await;
    waiting.send(b"GET /demo/wait HTTP/1.1\r\nHost: test\r\n\r\n").await;
    demo.gate.entered.notified().await;
    let refused = demo.request("GET /demo/orders", &[], b"").await;
    refused.problem(503, "overloaded");
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(demo.request("GET /healthz", &[], b"").await.status, 200);
    demo.gate.open.notify_one();
    assert_eq!(waiting.answer(false).await.status, 200);
    assert_eq!(demo.request("GET /demo/orders", &[], b"").await.status, 200);
    assert_eq!(demo.request("GET /demo/panic", &[], b"").await.status, 500);
    assert_eq!(demo.request("GET /demo/orders", &[], b"").await.status, 200, "a place came back");
}

#[tokio::test]
async fn a_stop_lets_requests_finish() {
    let demo = Demo::start(HttpSettings::default());
    let mut waiting = demo.connect().await;
    waiting.send(b"GET /demo/wait HTTP/1.1\r\nHost: test\r\n\r\n").await;
    demo.gate.entered.notified().await;
    let stop = tokio::spawn(demo.handle.stop(true));
    demo.gate.open.notify_one();
    assert_eq!(waiting.answer(false).await.status, 200);
    stop.await.unwrap();
    demo.running.await.unwrap().unwrap();
    assert!(tokio::net::TcpStream::connect(demo.address).await.is_err());
}

#[tokio::test]
async fn the_document_describes_every_answer_of_what_is_served() {
    let demo = Demo::start(HttpSettings::default());
    let served = demo.request("GET /openapi.json", &[], b"").await.json();
    let written: serde_json::Value =
        serde_json::from_str(&document(routes).to_json().unwrap()).unwrap();
    assert_eq!(served, written);
    for (path, item) in served["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            for (status, response) in operation["responses"].as_object().unwrap() {
                let text = response["description"].as_str().or(response["$ref"].as_str());
                assert!(text.is_some_and(|text| !text.is_empty()), "{method} {path} {status}");
            }
        }
    }
    let put = &served["paths"]["/demo/orders/{id}"]["put"];
    assert_eq!(put["responses"]["default"]["$ref"], "#/components/responses/Problem");
}
