//! Coinbase's token on the wire: with each request to its own host, with none to another, and in no
//! log.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bursar::ground::{Clock, SystemClock, SystemEntropy};
use bursar::telemetry::{LogFormat, LogSettings, subscriber};
use bursar::x402::classify::{Expected, SettleOutcome};
use bursar::x402::facilitator::{CdpKey, Connector, Facilitator, FacilitatorSettings};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use serde_json::{Value, json};

use super::facilitator::install_tls;
use super::peer::{Act, Peer};

const ID: &str = "organizations/3f1e/apiKeys/77aa";
const EXPECTED: Expected<'_> = Expected {
    network: "eip155:84532",
    network_v1: Some("base-sepolia"),
    payer: "0x14791697260e4c9a71f18484c9f997b308e59325",
};

/// A secret and its public key.
fn key() -> (String, Vec<u8>) {
    let seed = [7; 32];
    let public = Ed25519KeyPair::from_seed_unchecked(&seed).unwrap().public_key().as_ref().to_vec();
    (STANDARD.encode([seed.as_slice(), &public].concat()), public)
}

fn host(peer: &Peer) -> String {
    peer.url.strip_prefix("http://").unwrap().split('/').next().unwrap().to_owned()
}

/// How to talk to facilitators, with a key for this host.
fn connector(host: &str) -> Connector {
    install_tls();
    Connector {
        settings: FacilitatorSettings {
            verify_pause: Duration::from_millis(1),
            ..FacilitatorSettings::default()
        },
        cdp: Some(CdpKey::at_host(ID, &key().0, host).unwrap()),
        clock: Arc::new(SystemClock),
        entropy: Arc::new(SystemEntropy),
    }
}

/// The token of a request, if it has one.
fn token(request: &str) -> Option<String> {
    let (head, _) = request.split_once("\r\n\r\n").unwrap();
    let mut tokens = head.lines().filter_map(|line| line.strip_prefix("authorization: Bearer "));
    let token = tokens.next().map(str::to_owned);
    assert_eq!(tokens.next(), None);
    token
}

/// Header and claims, once the signature holds.
fn opened(token: &str) -> [Value; 2] {
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let key = UnparsedPublicKey::new(&ED25519, key().1);
    key.verify(signed.as_bytes(), &signature).expect("the signature holds");
    let (header, claims) = signed.split_once('.').unwrap();
    [header, claims]
        .map(|part| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap())
}

fn success() -> Act {
    let hash = format!("0x{}", "ab".repeat(32));
    let body = json!({"success": true, "transaction": hash, "network": "base-sepolia"});
    Act::Answer(200, body.to_string())
}

#[tokio::test]
async fn each_request_has_a_token_of_its_own_for_just_that_request() {
    let script = vec![
        Act::Answer(200, json!({"kinds": []}).to_string()),
        Act::Answer(503, String::new()),
        Act::Answer(200, json!({"isValid": true}).to_string()),
        success(),
    ];
    let peer = Peer::start(script).await;
    let host = host(&peer);
    let facilitator = connector(&host).open(&peer.url).unwrap();
    facilitator.supported().await.unwrap();
    facilitator.verify(2, &json!({}), &json!({})).await;
    let settled = facilitator.settle(2, &json!({}), &json!({}), &EXPECTED, true).await;
    assert!(matches!(settled.outcome, SettleOutcome::Settled { .. }), "{settled:?}");
    let requests = peer.requests();
    let made: Vec<_> = requests.iter().map(|request| opened(&token(request).unwrap())).collect();
    let uris: Vec<_> = made.iter().map(|[_, claims]| claims["uris"].clone()).collect();
    let expected = ["GET", "POST", "POST", "POST"]
        .iter()
        .zip(["supported", "verify", "verify", "settle"])
        .map(|(method, name)| json!([format!("{method} {host}/base/{name}")]));
    assert_eq!(uris, expected.collect::<Vec<_>>());
    let now = SystemClock.now().timestamp();
    for [header, claims] in &made {
        assert_eq!([&header["alg"], &header["kid"], &header["typ"]], ["EdDSA", ID, "JWT"]);
        assert_eq!(header["nonce"].as_str().unwrap().len(), 32);
        let time = |name: &str| claims[name].as_i64().unwrap();
        assert_eq!((time("nbf"), time("exp")), (time("iat"), time("iat") + 120));
        assert!((now - 60..=now).contains(&time("iat")), "{claims}");
    }
    let mut nonces: Vec<_> = made.iter().map(|[header, _]| header["nonce"].to_string()).collect();
    nonces.sort();
    nonces.dedup();
    assert_eq!(nonces.len(), 4, "a repeated verification has a fresh one, too");
}

#[tokio::test]
async fn another_host_gets_none() {
    let (theirs, other) = (Peer::start(vec![success()]).await, Peer::start(vec![success()]).await);
    let connector = connector(&host(&theirs));
    connector.open(&other.url).unwrap().settle(2, &json!({}), &json!({}), &EXPECTED, true).await;
    assert_eq!(token(&other.requests()[0]), None);
    // Nor does one that theirs points to.
    let location =
        format!("HTTP/1.1 307 x\r\nlocation: {}\r\ncontent-length: 0\r\n\r\n", other.url);
    let pointing = Peer::start(vec![Act::Raw(location)]).await;
    let pointed = self::connector(&host(&pointing));
    pointed.open(&pointing.url).unwrap().settle(2, &json!({}), &json!({}), &EXPECTED, true).await;
    assert!(token(&pointing.requests()[0]).is_some());
    assert_eq!(other.requests().len(), 1);
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn no_log_shows_a_token_or_the_key() {
    let lines = Lines::default();
    let writer = lines.clone();
    let settings = LogSettings { filter: "trace".parse().unwrap(), format: LogFormat::Text };
    let logging = tracing::subscriber::set_default(subscriber(&settings, move || writer.clone()));
    let peer = Peer::start(vec![Act::Answer(401, String::new()), Act::Drop]).await;
    let facilitator = connector(&host(&peer)).open(&peer.url).unwrap();
    assert!(facilitator.supported().await.is_err());
    let lost = facilitator.settle(2, &json!({}), &json!({}), &EXPECTED, true).await;
    tracing::warn!(?lost, "what would be logged of it");
    drop(logging);
    let log = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    assert!(log.contains("what would be logged of it"), "{log}");
    for request in peer.requests() {
        let token = token(&request).unwrap();
        for part in token.split('.') {
            assert!(!log.contains(part), "{log}");
        }
    }
    assert!(!log.contains(&key().0));
}
