//! Several networks at once, one of them added by a line of the configuration, on the real binary.

use std::collections::HashSet;
use std::time::Duration;

use bursar::ground::{Clock, SystemClock};
use bursar::x402::{Network, Version, header};
use reqwest::Client;
use serde_json::{Value, json};

use super::api::Answer;
use super::peer::{Act, Peer};
use super::support::postgres::run;
use super::support::service::Service;
use super::topup::buyer::{Buyer, Signed};

const TOPUP: &str = "/api/v1/credits/topup";
const ADDED: &str = "eip155:43113;asset=0x5425890298aed601595a70AB815c96711a31Bc65;\
                     name=USD Coin;version=2;decimals=6;testnet";

async fn ask(client: &Client, url: &str, payment: Option<&Signed>) -> Answer {
    let mut request = client.post(format!("{url}{TOPUP}"));
    if let Some((name, value)) = payment.map(Signed::header) {
        request = request.header(name, value);
    }
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Answer { status, headers, body: response.text().await.unwrap() }
}

async fn fund(service: &Service, buyer: &Buyer, network: &str) {
    let body = json!({"address": buyer.address(), "amount": "1.00", "network": network});
    let (status, answer) = service.ask("POST", "/sandbox/faucet", None, None, Some(body)).await;
    assert_eq!(status, 200, "{answer}");
}

/// The same terms with only the entry of one network.
fn only(mut terms: Answer, network: &Network) -> Answer {
    let text = terms.header("payment-required").unwrap();
    let mut v2: Value = header::decode(text).unwrap();
    let mut v1 = terms.json(402);
    for (document, name) in [(&mut v2, Some(network.caip2)), (&mut v1, network.v1_name)] {
        let entries = document["accepts"].as_array_mut().unwrap();
        entries.retain(|entry| Some(entry["network"].as_str().unwrap()) == name);
    }
    terms.headers.insert("payment-required", header::encode(&v2).parse().unwrap());
    terms.body = v1.to_string();
    terms
}

#[test]
fn every_network_has_one_price_and_can_be_paid_on() {
    run(|db| async move {
        let added = Network::add(ADDED).unwrap();
        let list = format!("eip155:84532,eip155:421614,{ADDED}");
        let service = Service::start(&db, &[("BURSAR_NETWORKS", &list)]);
        let buyer = Buyer::new(7);
        let terms = ask(&service.client, &service.url, None).await;
        let v2: Value = header::decode(terms.header("payment-required").unwrap()).unwrap();
        let names = |entries: &Value| -> Vec<String> {
            let entries = entries.as_array().unwrap().iter();
            entries.map(|entry| entry["network"].as_str().unwrap().to_owned()).collect()
        };
        assert_eq!(names(&v2["accepts"]), ["eip155:84532", "eip155:421614", "eip155:43113"]);
        assert_eq!(names(&terms.json(402)["accepts"]), ["base-sepolia", "avalanche-fuji"]);
        let prices: HashSet<_> =
            v2["accepts"].as_array().unwrap().iter().map(|e| e["amount"].to_string()).collect();
        assert_eq!(prices.len(), 1);
        for (network, version) in [
            (Network::by_caip2("eip155:84532").unwrap(), Version::V2),
            (Network::by_caip2("eip155:421614").unwrap(), Version::V2),
            (added, Version::V2),
            (added, Version::V1),
        ] {
            fund(&service, &buyer, network.caip2).await;
            let terms = only(ask(&service.client, &service.url, None).await, network);
            let signed = buyer.sign(version, &terms, SystemClock.now());
            let paid = ask(&service.client, &service.url, Some(&signed)).await.json(200);
            assert_eq!([&paid["network"], &paid["credited"]], [network.caip2, "1.00"]);
        }
        let ready = service.ask("GET", "/readyz", None, None, None).await.1;
        let networks = json!({"eip155:84532": "ok", "eip155:421614": "ok", "eip155:43113": "ok"});
        assert_eq!(ready["checks"]["networks"], networks, "{ready}");
        let metrics = service.client.get(format!("{}/metrics", service.url)).send().await.unwrap();
        let line = "bursar_network_payable{network=\"eip155:43113\"} 1";
        let metrics = metrics.text().await.unwrap();
        assert!(metrics.contains(line), "{metrics}");
    });
}

/// A node of a chain that says of every authorization that it was used.
async fn node(chain_id: u64) -> Peer {
    let used = format!("0x{:064x}", 1);
    let say = |result: String| Act::Answer(200, json!({ "result": result }).to_string());
    Peer::start(vec![say(format!("{chain_id:#x}")), say(format!("{chain_id:#x}")), say(used)]).await
}

fn asked(peer: &Peer) -> Vec<Value> {
    let body = |request: String| request.split_once("\r\n\r\n").unwrap().1.to_owned();
    peer.requests().into_iter().map(|r| serde_json::from_str(&body(r)).unwrap()).collect()
}

#[test]
fn each_network_is_read_from_its_own_node() {
    run(|db| async move {
        let (base, arbitrum) = (node(84_532).await, node(421_614).await);
        let nodes = format!("eip155:421614={},eip155:84532={}", arbitrum.url, base.url);
        let service = Service::start(
            &db,
            &[("BURSAR_NETWORKS", "eip155:84532,eip155:421614"), ("BURSAR_RPC_URL", &nodes)],
        );
        let buyer = Buyer::new(7);
        let network = Network::by_caip2("eip155:421614").unwrap();
        let terms = only(ask(&service.client, &service.url, None).await, network);
        let signed = buyer.sign(Version::V2, &terms, SystemClock.now());
        let open = ask(&service.client, &service.url, Some(&signed)).await.json(202);
        assert_eq!(open["reason"], "used_before", "{open}");
        let call = asked(&arbitrum).into_iter().find(|call| call["method"] == "eth_call").unwrap();
        assert_eq!(call["params"][0]["to"], network.usdc.lower());
        assert!(asked(&base).iter().all(|call| call["method"] == "eth_chainId"));
    });
}

#[test]
fn the_sandbox_is_the_same_facilitator_after_a_restart_elsewhere() {
    run(|db| async move {
        let service = Service::start(&db, &[]);
        let buyer = Buyer::new(7);
        fund(&service, &buyer, "eip155:84532").await;
        let fault = json!({"address": buyer.address(), "fault": "lost"});
        let (status, _) = service.ask("POST", "/sandbox/faults", None, None, Some(fault)).await;
        assert_eq!(status, 200);
        let terms = ask(&service.client, &service.url, None).await;
        let signed = buyer.sign(Version::V2, &terms, SystemClock.now());
        ask(&service.client, &service.url, Some(&signed)).await.json(202);
        let earlier = service.url.clone();
        drop(service);
        let service = Service::start(&db, &[]);
        assert_ne!(service.url, earlier);
        let credited = async {
            while ask(&service.client, &service.url, Some(&signed)).await.status != 200 {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), credited).await.expect("credited");
        let recorded: String = sqlx::query_scalar("select facilitator_url from topup")
            .fetch_one(&db.owner)
            .await
            .unwrap();
        assert_eq!(recorded, "sandbox");
    });
}
