use std::collections::HashMap;

use crate::config::{ConfigError, Facilitator, PaymentSettings, Settings};

const FUJI: &str = "eip155:43113;asset=0x5425890298aed601595a70AB815c96711a31Bc65;\
                    name=USD Coin;version=2;decimals=6;testnet";
/// The Ed25519 key of 32 bytes 1, as Coinbase writes one.
const SECRET: &str =
    "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQGKiOPddAnxlf1S2y08ul1yymcJvx2UEhvzdIgBtA9vXA==";

fn read(pairs: &[(&str, &str)]) -> Result<PaymentSettings, ConfigError> {
    let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Settings::from_map(&pairs.collect::<HashMap<_, _>>()).map(|settings| settings.payment)
}

/// The one thing that is wrong, as it is told.
fn fault(pairs: &[(&str, &str)]) -> String {
    let ConfigError { problems } = read(pairs).unwrap_err();
    assert_eq!(problems.len(), 1, "{problems:?}");
    problems[0].to_string()
}

#[test]
fn a_network_is_added_by_a_line() {
    let line = format!("eip155:84532,{FUJI}");
    let networks = read(&[("BURSAR_NETWORKS", &line)]).unwrap().networks;
    let ids: Vec<_> = networks.iter().map(|network| network.caip2).collect();
    assert_eq!(ids, ["eip155:84532", "eip155:43113"]);
    let live =
        ("BURSAR_NETWORKS", FUJI.replace("43113", "987654322").replace("testnet", "mainnet"));
    assert!(fault(&[(live.0, &live.1)]).contains("is a mainnet, and this is test mode"));
    let wrong = FUJI.replace("decimals=6", "decimals=18");
    assert!(fault(&[("BURSAR_NETWORKS", &wrong)]).contains("decimals must be 6"));
    let twice = format!("{FUJI},{FUJI}");
    assert!(fault(&[("BURSAR_NETWORKS", &twice)]).contains("named twice"));
    let line = |n: u32| FUJI.replace("43113", &(77_000_000 + n).to_string());
    let many = (0..17).map(line).collect::<Vec<_>>().join(",");
    assert!(fault(&[("BURSAR_NETWORKS", &many)]).contains("more than 16"));
}

#[test]
fn facilitators_are_read_in_order_with_their_networks() {
    let two = ("BURSAR_NETWORKS", "eip155:84532,eip155:421614");
    let list =
        "eip155:421614=https://a.example.org/x, https://b.example.org/,https://a.example.org/x";
    let read_two = read(&[two, ("BURSAR_FACILITATOR_URL", list)]).unwrap();
    let Facilitator::Listed(listed) = read_two.facilitator else { panic!("the sandbox") };
    let told: Vec<_> = listed
        .iter()
        .map(|entry| (entry.network.map(|network| network.caip2), entry.url.to_string()))
        .collect();
    let (a, b) = ("https://a.example.org/x".to_owned(), "https://b.example.org".to_owned());
    assert_eq!(told, [(Some("eip155:421614"), a.clone()), (None, b), (None, a)]);
    for (list, said) in [
        ("eip155:84532=https://a.example.org", "eip155:421614 has no facilitator"),
        ("eip155:8453=https://a.example.org,https://b.example.org", "not in BURSAR_NETWORKS"),
        ("https://a.example.org,https://a.example.org/", "there twice"),
        ("https://a.example.org,", "not a URL"),
        ("eip155:84532,https://a.example.org", "not a URL"),
    ] {
        assert!(fault(&[two, ("BURSAR_FACILITATOR_URL", list)]).contains(said), "{list}");
    }
    // What does not fit a wrong list of networks is not blamed for it.
    let list = ("BURSAR_FACILITATOR_URL", "eip155:84532=https://a.example.org");
    assert!(fault(&[("BURSAR_NETWORKS", "base"), list]).contains("BURSAR_NETWORKS"));
}

#[test]
fn each_node_is_of_one_network() {
    let one = read(&[("BURSAR_RPC_URL", "https://node.example.org/v2/a,b=c")]).unwrap();
    assert_eq!(one.nodes[0].network.caip2, "eip155:84532");
    assert_eq!(one.nodes[0].url.reveal(), "https://node.example.org/v2/a,b=c");
    assert!(one.reads_every_chain());
    let two = ("BURSAR_NETWORKS", "eip155:84532,eip155:421614");
    let nodes = "eip155:421614=https://arb.example.org/v2/key?a=b, eip155:8453=http://base";
    let half = read(&[two, ("BURSAR_RPC_URL", nodes)]).unwrap();
    let told: Vec<_> = half.nodes.iter().map(|node| node.network.caip2).collect();
    assert_eq!(told, ["eip155:421614", "eip155:8453"]);
    assert_eq!(half.nodes[0].url.reveal(), "https://arb.example.org/v2/key?a=b");
    assert!(!half.reads_every_chain());
    for (nodes, said) in [
        ("https://hunter2.example.org", "needs the id of its own"),
        ("eip155:84532=https://hunter2.example.org,eip155:84532=https://b", "named twice"),
        ("eip155:84532=https://hunter2.example.org,https://b", "no `=`"),
        ("eip155:84532=ws://hunter2.example.org", "not a URL"),
        ("eip155:99999999=https://hunter2.example.org", "no known network"),
        ("eip155:84532", "no `=`"),
    ] {
        let told = fault(&[two, ("BURSAR_RPC_URL", nodes)]);
        assert!(told.contains(said) && !told.contains("hunter2"), "{told}");
    }
}

#[test]
fn live_trust_is_needed_for_every_network_without_a_node() {
    let live = |nodes: &str, trust: &str| {
        read(&[
            ("BURSAR_MODE", "live"),
            ("DATABASE_URL", "postgres://app@db.example.com:5432/bursar"),
            ("BURSAR_PUBLIC_URL", "https://pay.example.com"),
            ("BURSAR_PAY_TO", "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"),
            ("BURSAR_ADMIN_KEY_HASH", &"5e".repeat(32)),
            ("BURSAR_NETWORKS", "eip155:8453,eip155:137"),
            ("BURSAR_FACILITATOR_URL", "https://x402.example.org"),
            ("BURSAR_RPC_URL", nodes),
            ("BURSAR_TRUST_FACILITATOR", trust),
        ])
        .map(|_| ())
        .map_err(|error| error.problems[0].name.clone())
    };
    let (base, polygon) = ("eip155:8453=https://b", "eip155:137=https://p");
    let trust = Err("BURSAR_TRUST_FACILITATOR".to_owned());
    assert_eq!(live(&format!("{base},{polygon}"), "0"), Ok(()));
    assert_eq!(live(base, "0"), trust);
    assert_eq!(live(&format!("{base},eip155:10=https://o"), "0"), Err("BURSAR_RPC_URL".to_owned()));
    assert_eq!(live(&format!("{base},eip155:1=https://e"), "0"), trust);
    assert_eq!(live(base, "1"), Ok(()));
    assert_eq!(live("", "0"), trust);
}

#[test]
fn coinbases_key_has_two_parts_and_its_facilitator_needs_them() {
    let (id, secret) = (("BURSAR_CDP_API_KEY_ID", "k-1"), ("BURSAR_CDP_API_KEY_SECRET", SECRET));
    let theirs = "https://api.cdp.coinbase.com/platform/v2/x402";
    let url = ("BURSAR_FACILITATOR_URL", theirs);
    let both = read(&[url, id, secret]).unwrap();
    assert!(both.cdp_key.is_some() && !format!("{both:?}").contains(SECRET));
    assert!(fault(&[id]).starts_with("BURSAR_CDP_API_KEY_SECRET is not set"));
    assert!(fault(&[secret]).starts_with("BURSAR_CDP_API_KEY_ID is not set"));
    assert!(fault(&[url]).contains("answers nobody without a key"));
    let open = ("BURSAR_FACILITATOR_URL", "http://api.cdp.coinbase.com/platform/v2/x402");
    assert!(fault(&[open, id, secret]).contains("https only"));
    let wrong = fault(&[url, id, ("BURSAR_CDP_API_KEY_SECRET", "hunter2")]);
    assert!(wrong.contains("BURSAR_CDP_API_KEY_SECRET (hidden)"), "{wrong}");
    assert!(!wrong.contains("hunter2"), "{wrong}");
}

#[test]
fn a_key_may_be_written_in_lines() {
    let lines = [
        "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg6cjD2WIhjTbkbnaU",
        "UxtfMRP9sfipJ+WsXxgmLFgj3BGhRANCAARnQx9hOrO+KGcH/MUmDUFvBp/J9dbM",
        "H2J45CTUAmUjoTcpD0QciAVXr7mxzmuhPfLu4coXoahxPCQQBOB3Or+7",
    ];
    for end in ["\n", "\\n"] {
        let kind = "PRIVATE KEY";
        let pem =
            format!("-----BEGIN {kind}-----{end}{}{end}-----END {kind}-----{end}", lines.join(end));
        let pairs = [("BURSAR_CDP_API_KEY_ID", "k-1"), ("BURSAR_CDP_API_KEY_SECRET", pem.as_str())];
        assert!(read(&pairs).unwrap().cdp_key.is_some(), "{end:?}");
    }
}
