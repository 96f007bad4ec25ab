//! The facilitator client against a peer that misbehaves in every way seen in the field.

use std::sync::Once;
use std::time::Duration;

use bursar::x402::classify::{Expected, SettleOutcome, VerifyOutcome};
use bursar::x402::facilitator::{
    Facilitator, FacilitatorError, FacilitatorSettings, HttpFacilitator,
};
use serde_json::{Value, json};

use super::peer::{Act, Peer, nobody};

const PAYER: &str = "0x14791697260e4c9a71f18484c9f997b308e59325";
const EXPECTED: Expected<'_> =
    Expected { network: "eip155:84532", network_v1: Some("base-sepolia"), payer: PAYER };

/// The client's TLS needs a provider, as `main` installs it.
pub fn install_tls() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // Tests of the binary may have done so before.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

fn facilitator(url: &str) -> HttpFacilitator {
    install_tls();
    let settings = FacilitatorSettings {
        verify_timeout: Duration::from_secs(5),
        settle_timeout: Duration::from_millis(300),
        verify_pause: Duration::from_millis(1),
        ..FacilitatorSettings::default()
    };
    HttpFacilitator::new(url, settings).unwrap()
}

fn signature() -> String {
    format!("0x{}1b", "5d".repeat(64))
}

fn payload() -> Value {
    json!({"x402Version": 2, "resource": null, "payload": {"signature": signature()}})
}

fn hash() -> String {
    format!("0x{}", "ab".repeat(32))
}

fn answer(status: u16, body: Value) -> Act {
    Act::Answer(status, body.to_string())
}

fn success() -> Value {
    json!({"success": true, "transaction": hash(), "network": "eip155:84532", "payer": PAYER})
}

async fn settle_at(url: &str) -> SettleOutcome {
    let requirements = json!({"scheme": "exact"});
    facilitator(url).settle(2, &payload(), &requirements, &EXPECTED, true).await.outcome
}

fn unknown(reason: &str, transaction: Option<String>) -> SettleOutcome {
    SettleOutcome::Unknown { reason: reason.to_owned(), transaction }
}

#[tokio::test]
async fn a_settlement_is_sent_once_whatever_comes_back() {
    let pending = json!({"success": false, "errorReason": "settlement_pending",
                         "transaction": hash(), "network": "eip155:84532"});
    let refusal = json!({"success": false, "errorReason": "insufficient_funds", "transaction": "",
                         "errorMessage": format!("no funds for {}", signature())});
    let rejected = SettleOutcome::Rejected {
        reason: "insufficient_funds".to_owned(),
        message: Some("no funds for …".to_owned()),
    };
    let settled = SettleOutcome::Settled {
        transaction: hash(),
        payer: PAYER.to_owned(),
        network: "eip155:84532".to_owned(),
    };
    let elsewhere = Peer::start(vec![answer(200, success())]).await;
    let redirect =
        format!("HTTP/1.1 307 Moved\r\nlocation: {}\r\ncontent-length: 0\r\n\r\n", elsewhere.url);
    let table = [
        (answer(200, success()), settled),
        (answer(200, refusal.clone()), rejected.clone()),
        (answer(400, refusal), rejected),
        (answer(500, pending), unknown("settlement_pending", Some(hash()))),
        (Act::Answer(200, "<html>hello</html>".into()), unknown("unreadable_answer", None)),
        (Act::Answer(503, "<html>busy</html>".into()), unknown("http_503", None)),
        (Act::Answer(429, String::new()), unknown("http_429", None)),
        (Act::Answer(200, String::new()), unknown("unreadable_answer", None)),
        (Act::Raw("no HTTP at all".into()), unknown("connection_lost", None)),
        (
            Act::Raw("HTTP/1.1 200 OK\r\ncontent-length: 90\r\n\r\n{\"succ".into()),
            unknown("connection_lost", None),
        ),
        (Act::Drop, unknown("connection_lost", None)),
        (Act::Hang, unknown("timeout", None)),
        (Act::Stall, unknown("timeout", None)),
        (
            Act::Answer(200, format!("{}{}", success(), " ".repeat(70_000))),
            unknown("answer_too_long", None),
        ),
        (Act::Raw(redirect), unknown("http_307", None)),
    ];
    for (act, outcome) in table {
        let peer = Peer::start(vec![act.clone()]).await;
        assert_eq!(settle_at(&peer.url).await, outcome, "{act:?}");
        assert_eq!(peer.requests().len(), 1, "{act:?}");
    }
    assert!(elsewhere.requests().is_empty(), "no redirect is followed");
}

#[tokio::test]
async fn what_is_sent_is_the_payment_and_our_terms_without_nulls() {
    let peer = Peer::start(vec![answer(200, success())]).await;
    settle_at(&peer.url).await;
    let requests = peer.requests();
    let (head, body) = requests[0].split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("POST /base/settle HTTP/1.1\r\n"), "{head}");
    let sent: Value = serde_json::from_str(body).unwrap();
    let payload = json!({"x402Version": 2, "payload": {"signature": signature()}});
    assert_eq!(
        sent,
        json!({
            "x402Version": 2, "paymentPayload": payload, "paymentRequirements": {"scheme": "exact"},
        })
    );
}

#[tokio::test]
async fn a_settlement_that_could_not_leave_is_not_sent() {
    let found = settle_at(&nobody().await).await;
    assert!(matches!(found, SettleOutcome::NotSent { .. }), "{found:?}");
    let found = settle_at("http://name.invalid").await;
    assert!(matches!(found, SettleOutcome::NotSent { .. }), "{found:?}");
}

#[tokio::test]
async fn a_verification_is_repeated_when_the_facilitator_is_busy() {
    let valid = || answer(200, json!({"isValid": true, "payer": PAYER}));
    let busy = |status| Act::Answer(status, "<html>".into());
    let good = VerifyOutcome::Valid { payer: Some(PAYER.to_owned()) };
    let unavailable = |detail: &str| VerifyOutcome::Unavailable { detail: detail.to_owned() };
    let invalid = answer(503, json!({"isValid": false, "invalidReason": "invalid_scheme"}));
    let refused = VerifyOutcome::Invalid { reason: "invalid_scheme".to_owned(), message: None };
    let table = [
        (vec![valid()], good.clone(), 1),
        (vec![busy(503), busy(429), valid()], good.clone(), 3),
        (vec![busy(502), busy(504), busy(503), valid()], unavailable("http_503"), 3),
        (vec![busy(500), valid()], unavailable("http_500"), 1),
        (vec![invalid, valid()], refused, 1),
    ];
    for (script, outcome, calls) in table {
        let peer = Peer::start(script.clone()).await;
        let found = facilitator(&peer.url).verify(2, &payload(), &json!({})).await.outcome;
        assert_eq!(found, outcome, "{script:?}");
        assert_eq!(peer.requests().len(), calls, "{script:?}");
    }
    let found = facilitator(&nobody().await).verify(2, &payload(), &json!({})).await.outcome;
    assert!(matches!(found, VerifyOutcome::Unavailable { .. }), "{found:?}");
}

#[tokio::test]
async fn the_time_for_a_verification_bounds_its_repeats() {
    install_tls();
    let settings = FacilitatorSettings {
        verify_timeout: Duration::from_millis(100),
        verify_pause: Duration::from_secs(3600),
        ..FacilitatorSettings::default()
    };
    let peer = Peer::start(vec![Act::Answer(503, String::new())]).await;
    let facilitator = HttpFacilitator::new(&peer.url, settings).unwrap();
    let found = facilitator.verify(2, &payload(), &json!({})).await.outcome;
    assert_eq!(found, VerifyOutcome::Unavailable { detail: "no answer in time".to_owned() });
}

#[tokio::test]
async fn what_a_facilitator_supports_is_read() {
    let kinds =
        json!({"kinds": [{"x402Version": 2, "scheme": "exact", "network": "eip155:84532"}]});
    let peer = Peer::start(vec![answer(200, kinds.clone()), answer(500, kinds)]).await;
    let facilitator = facilitator(&peer.url);
    assert!(facilitator.supported().await.unwrap().supports(2, "eip155:84532"));
    let failed = facilitator.supported().await;
    assert!(matches!(failed, Err(FacilitatorError::Unreadable { status: 500 })), "{failed:?}");
    assert!(peer.requests()[0].starts_with("GET /base/supported HTTP/1.1\r\n"));
}

#[test]
fn an_address_is_an_http_url() {
    install_tls();
    for address in ["", "facilitator", "ftp://127.0.0.1/", "unix:socket"] {
        let built = HttpFacilitator::new(address, FacilitatorSettings::default());
        assert!(matches!(built, Err(FacilitatorError::Address)), "{address}");
    }
}
