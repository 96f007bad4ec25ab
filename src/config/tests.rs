use std::collections::HashMap;

use crate::ground::{Amount, Mode};
use crate::outbound::Reach;

use super::variables::{Preset, VARIABLES, find};
use super::{Basics, ConfigError, Facilitator, Need, Settings};

const KEY_HASH: &str = "5e884898da28047151d0e56f8dc6292773603d0d6aabbd62a11ef721d1542d8a";

/// What live mode needs, and nothing else.
const LIVE: [(&str, &str); 7] = [
    ("BURSAR_MODE", "live"),
    ("DATABASE_URL", "postgres://app:hunter2@db.example.com:5432/bursar"),
    ("BURSAR_PUBLIC_URL", "https://pay.example.com"),
    ("BURSAR_PAY_TO", "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"),
    ("BURSAR_ADMIN_KEY_HASH", KEY_HASH),
    ("BURSAR_FACILITATOR_URL", "https://x402.example.org/facilitator"),
    ("BURSAR_TRUST_FACILITATOR", "1"),
];

fn vars(pairs: &[(&str, &str)]) -> HashMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn live_with(changes: &[(&str, &str)]) -> HashMap<String, String> {
    let mut vars = vars(&LIVE);
    vars.extend(changes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    vars
}

/// The names that are refused, in order.
fn refused(vars: &HashMap<String, String>) -> Vec<String> {
    match Settings::from_map(vars) {
        Ok(_) => Vec::new(),
        Err(ConfigError { problems }) => problems.into_iter().map(|p| p.name).collect(),
    }
}

#[test]
fn an_empty_environment_is_test_mode() {
    let settings = Settings::from_map(&HashMap::new()).unwrap();
    assert_eq!(settings.mode, Mode::Test);
    assert!(settings.database.is_managed());
    assert_eq!(settings.http.bind.to_string(), "127.0.0.1:8402");
    assert_eq!(settings.http.public_url(settings.http.bind).to_string(), "http://127.0.0.1:8402");
    assert_eq!(settings.payment.facilitator, Facilitator::Sandbox);
    assert_eq!(settings.payment.networks[0].caip2, "eip155:84532");
    assert_eq!(settings.signup.grant.to_string(), "25.00");
    assert_eq!(settings.topup.default.to_string(), "1.00");
}

#[test]
fn a_complete_live_environment_starts() {
    let settings = Settings::from_map(&vars(&LIVE)).unwrap();
    assert_eq!(settings.mode, Mode::Live);
    assert_eq!(settings.signup.grant, Amount::ZERO, "live grants nothing unless told to");
    assert_eq!(settings.signup.grant_budget_per_day, Amount::ZERO);
    assert_eq!(settings.payment.networks[0].caip2, "eip155:8453");
    let Facilitator::Listed(listed) = settings.payment.facilitator else { panic!("the sandbox") };
    assert_eq!((listed.len(), listed[0].network), (1, None));
    assert_eq!(listed[0].url.to_string(), "https://x402.example.org/facilitator");
}

#[test]
fn live_refuses_to_start_with_any_part_missing() {
    for (name, _) in LIVE.iter().filter(|(name, _)| *name != "BURSAR_MODE") {
        let mut without = vars(&LIVE);
        without.remove(*name);
        assert_eq!(refused(&without), [*name], "unset");
        without.insert((*name).to_owned(), String::new());
        assert_eq!(refused(&without), [*name], "empty");
    }
    let all: Vec<_> = refused(&vars(&[("BURSAR_MODE", "live")]));
    assert_eq!(all.len(), LIVE.len() - 1, "all that is missing is named at once: {all:?}");
}

#[test]
fn live_refuses_what_only_suits_a_test() {
    for (name, value) in [
        ("BURSAR_PUBLIC_URL", "http://pay.example.com"),
        ("BURSAR_FACILITATOR_URL", "http://x402.example.org/facilitator"),
        ("BURSAR_FACILITATOR_URL", "https://other.example.org/sandbox/facilitator"),
        ("BURSAR_FACILITATOR_URL", "https://pay.example.com/facilitator"),
        ("BURSAR_FACILITATOR_URL", "https://x402.example.org,http://other.example.org"),
        ("BURSAR_PAY_TO", super::TEST_PAY_TO),
        ("BURSAR_PAY_TO", "0x00000000000000000000000000000000000B0454"),
        ("BURSAR_NETWORKS", "eip155:84532"),
        ("BURSAR_NETWORKS", "eip155:8453,eip155:84532"),
        ("BURSAR_TRUST_FACILITATOR", "0"),
        ("BURSAR_RPC_URL", "http://node.example.org/v2/secret"),
        ("BURSAR_RPC_URL", "http://10.0.0.1:8545"),
    ] {
        assert_eq!(refused(&live_with(&[(name, value)])), [name], "{value}");
    }
}

#[test]
fn a_node_that_covers_every_network_replaces_trust() {
    let node = ("BURSAR_RPC_URL", "https://node.example.org/v2/secret");
    let no_trust = ("BURSAR_TRUST_FACILITATOR", "0");
    assert_eq!(refused(&live_with(&[node, no_trust])), Vec::<String>::new());
    assert_eq!(refused(&live_with(&[no_trust])), ["BURSAR_TRUST_FACILITATOR"]);
    for own in ["http://127.0.0.1:8545", "http://[::1]:8545", "http://localhost:8545/x"] {
        assert_eq!(refused(&live_with(&[("BURSAR_RPC_URL", own)])), Vec::<String>::new(), "{own}");
    }
}

#[test]
fn wrong_values_are_refused_by_name() {
    for (name, values) in [
        ("BURSAR_MODE", &["prod", "TEST", "Live"][..]),
        ("DATABASE_URL", &["mysql://h/db", "db"]),
        ("BURSAR_BIND", &["8402", "localhost:8402", "127.0.0.1", "127.0.0.1:99999"]),
        ("BURSAR_PUBLIC_URL", &["pay.example.com", "ftp://h", "https://h?x=1", "https://a:b@h"]),
        ("BURSAR_PAY_TO", &["0x0", "vitalik.eth", "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAeD"]),
        ("BURSAR_NETWORKS", &["base", "eip155:84532,", "eip155:84532,eip155:84532", "eip155:8453"]),
        ("BURSAR_FACILITATOR_URL", &["x402.example.org", "https://a:b@h"]),
        ("BURSAR_TRUST_FACILITATOR", &["yes", "true", "2"]),
        ("BURSAR_RPC_URL", &["node", "ws://node"]),
        ("BURSAR_DEFAULT_TOPUP", &["1,00", "-1", "1e3", "0", "0.001", "1000.01"]),
        ("BURSAR_MIN_TOPUP", &["0", "0.00", ".5"]),
        ("BURSAR_MAX_TOPUP", &["$5", "0", "1000000000000"]),
        ("BURSAR_SIGNUP_GRANT", &["free", "-25"]),
        ("BURSAR_GRANT_BUDGET_PER_DAY", &["much", "24.99"]),
        ("BURSAR_GRANT_DAYS", &["0", "3651", "90d", "9.5"]),
        ("BURSAR_QUOTE_LIFE_S", &["0", "86401", "15m"]),
        ("BURSAR_SIGNUPS_PER_HOUR", &["0", "-1", "many"]),
        ("BURSAR_ADMIN_KEY_HASH", &["abc", &"0".repeat(64), &"zz".repeat(32)]),
        ("BURSAR_TRUSTED_PROXIES", &["0.0.0.0/0", "::/0", "proxy", "10.0.0.0/33", "10.0.0.1,"]),
        ("BURSAR_LANES", &["0", "65"]),
        ("BURSAR_QUEUE", &["0", "18446744073709551616"]),
        ("BURSAR_DB_CONNECTIONS", &["1", "2", "1001"]),
        ("BURSAR_SETTLE_TIMEOUT_S", &["0", "601", "60s"]),
        ("BURSAR_VERIFY_TIMEOUT_S", &["0", "121"]),
        ("BURSAR_RECEIPT_WAIT_MS", &["-1", "120001", "10s"]),
        ("BURSAR_RESOLVE_INTERVAL_MS", &["9", "60001"]),
        ("BURSAR_RESOLVE_BACKOFF_MS", &["0", "600001"]),
        ("BURSAR_SETTLE_MARGIN_S", &["-1", "86401"]),
        ("BURSAR_PARK_AFTER_S", &["-1", "2592001", "1h"]),
        ("BURSAR_CONFIRMATIONS", &["-1", "10001", "many"]),
        ("BURSAR_SWEEP_INTERVAL_MS", &["9", "60001"]),
        ("BURSAR_RATE_PER_MINUTE", &["0", "fast"]),
        ("BURSAR_LOG", &["verbose", "info,bursar"]),
        ("BURSAR_LOG_FORMAT", &["xml", "JSON"]),
    ] {
        for value in values {
            assert_eq!(refused(&vars(&[(name, value)])), [name], "{value:?}");
        }
    }
    let zero = format!("0x{}", "0".repeat(40));
    assert_eq!(refused(&vars(&[("BURSAR_PAY_TO", &zero)])), ["BURSAR_PAY_TO"]);
    let hash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!(refused(&live_with(&[("BURSAR_ADMIN_KEY_HASH", hash)])), ["BURSAR_ADMIN_KEY_HASH"]);
}

#[test]
fn every_variable_of_the_table_is_read() {
    for variable in VARIABLES {
        for padded in ["test ", "\ttest", "te\nst", "\u{fffd}"] {
            let names = refused(&vars(&[(variable.name, padded)]));
            assert!(names.iter().any(|name| name == variable.name), "{} {padded:?}", variable.name);
        }
    }
}

#[test]
fn every_preset_is_a_right_value() {
    for variable in VARIABLES {
        if let Preset::Value(text) = variable.test {
            let names = refused(&vars(&[(variable.name, text)]));
            assert_eq!(names, Vec::<String>::new(), "{} {text}", variable.name);
        }
        if let Preset::Value(text) = variable.live {
            // Trust is the one setting whose preset live mode refuses: it must be given.
            let names = refused(&live_with(&[(variable.name, text)]));
            let given = matches!(variable.name, "BURSAR_TRUST_FACILITATOR" | "BURSAR_MODE");
            assert!(given || names.is_empty(), "{} {text}", variable.name);
        }
    }
}

#[test]
fn all_wrong_settings_are_told_at_once_and_in_order() {
    let error = Settings::from_map(&vars(&[
        ("BURSAR_LANES", "many"),
        ("BURSAR_BIND", "here"),
        ("BURSAR_PAYTO", "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"),
    ]))
    .unwrap_err();
    let text = error.to_string();
    assert_eq!(
        text.lines().collect::<Vec<_>>(),
        [
            "3 settings are wrong:",
            "  BURSAR_BIND=\"here\": invalid socket address syntax; right: an address and a port like 127.0.0.1:8402",
            "  BURSAR_LANES=\"many\": it is not a whole number in range; right: a whole number from 1 to 64",
            "  BURSAR_PAYTO (hidden): there is no such setting; right: did you mean BURSAR_PAY_TO?",
        ]
    );
}

#[test]
fn each_problem_says_what_would_be_right() {
    for variable in VARIABLES {
        let error = Settings::from_map(&vars(&[(variable.name, " ")])).unwrap_err();
        let problem = error.problems.iter().find(|p| p.name == variable.name).unwrap();
        assert_eq!(problem.right, variable.right);
    }
}

#[test]
fn secrets_are_never_shown() {
    let secret = "hunter2";
    for variable in VARIABLES.iter().filter(|variable| variable.secret) {
        let error = Settings::from_map(&vars(&[(variable.name, secret)])).unwrap_err();
        assert!(error.to_string().contains(variable.name));
        assert!(!format!("{error} {error:?}").contains(secret), "{}", variable.name);
    }
    // A secret in the wrong place, too: an unknown name, a private key as an address.
    let error = Settings::from_map(&vars(&[("BURSAR_ADMIN_KEY", secret)])).unwrap_err();
    assert!(!format!("{error} {error:?}").contains(secret));
    let key = format!("0x{}", "c0de".repeat(16));
    let error = Settings::from_map(&vars(&[("BURSAR_PAY_TO", &key)])).unwrap_err();
    assert!(!error.to_string().contains("c0de"));
    // Nor do settings that are right show theirs.
    let node = ("BURSAR_RPC_URL", "https://node.example.org/v2/hunter2");
    let owner = ("BURSAR_MIGRATION_URL", "postgres://owner:hunter2@db.example.com:5432/bursar");
    let facilitator = ("BURSAR_FACILITATOR_URL", "https://x402.example.org/key/hunter2");
    let settings = Settings::from_map(&live_with(&[node, owner, facilitator])).unwrap();
    let shown = format!("{settings:?} {settings:#?}");
    assert!(!shown.contains("hunter2") && !shown.contains(KEY_HASH), "{shown}");
    assert!(!shown.contains("94, 136, 72"), "the hash is not shown as bytes either");
    assert!(settings.payment.nodes[0].url.reveal().ends_with("hunter2"));
    for name in [
        "DATABASE_URL",
        "BURSAR_MIGRATION_URL",
        "BURSAR_RPC_URL",
        "BURSAR_FACILITATOR_URL",
        "BURSAR_ADMIN_KEY_HASH",
    ] {
        assert!(find(name).unwrap().secret, "{name}");
    }
}

#[test]
fn relations_are_judged_between_right_values_only() {
    let names = refused(&vars(&[("BURSAR_MIN_TOPUP", "5"), ("BURSAR_MAX_TOPUP", "4")]));
    assert_eq!(names, ["BURSAR_MAX_TOPUP"]);
    assert_eq!(refused(&vars(&[("BURSAR_MAX_TOPUP", "x")])), ["BURSAR_MAX_TOPUP"]);
    assert_eq!(
        refused(&live_with(&[("BURSAR_SIGNUP_GRANT", "5.00")])),
        ["BURSAR_GRANT_BUDGET_PER_DAY"],
        "a grant in live mode needs a budget"
    );
    let owner = ("BURSAR_MIGRATION_URL", "postgres://owner@db/bursar");
    assert_eq!(refused(&vars(&[owner])), ["DATABASE_URL"]);
}

#[test]
fn a_wrong_mode_judges_no_mode_rules() {
    let mut live = vars(&LIVE);
    live.insert("BURSAR_MODE".to_owned(), "production".to_owned());
    live.insert("BURSAR_NETWORKS".to_owned(), "eip155:8453".to_owned());
    assert_eq!(refused(&live), ["BURSAR_MODE"]);
}

#[test]
fn tools_need_only_their_database() {
    let names = |pairs: &[(&str, &str)], need| match Basics::from_map(&vars(pairs), need) {
        Ok(_) => Vec::new(),
        Err(error) => error.problems.into_iter().map(|p| p.name).collect(),
    };
    let live = ("BURSAR_MODE", "live");
    let service = ("DATABASE_URL", "postgres://app@db/bursar");
    let owner = ("BURSAR_MIGRATION_URL", "postgres://owner@db/bursar");
    let none = Vec::<String>::new();
    assert_eq!(names(&[], Need::Service), none);
    assert_eq!(names(&[], Need::Owner), none);
    assert_eq!(names(&[live, service], Need::Service), none);
    assert_eq!(names(&[live, owner], Need::Owner), none);
    assert_eq!(names(&[live], Need::Service), ["DATABASE_URL"]);
    assert_eq!(names(&[live], Need::Owner), ["BURSAR_MIGRATION_URL"]);
    assert_eq!(names(&[service], Need::Owner), ["BURSAR_MIGRATION_URL"]);
    assert_eq!(names(&[owner], Need::Service), ["DATABASE_URL"]);
    assert_eq!(names(&[("BURSAR_LOGS", "info")], Need::Service), ["BURSAR_LOGS"]);
}

#[test]
fn the_environment_of_commands_is_kept() {
    let vars = vars(&[("PATH", "/usr/bin:/opt/pg/bin"), ("HOME", "/home/me")]);
    let database = Settings::from_map(&vars).unwrap().database;
    assert_eq!(database.search_path.unwrap(), "/usr/bin:/opt/pg/bin");
    assert_eq!(database.home.unwrap().to_str(), Some("/home/me"));
}

#[test]
fn this_machine_is_called_only_where_nobody_else_comes_in() {
    let called = |pairs: &[(&str, &str)]| {
        let webhook = Settings::from_map(&vars(pairs)).unwrap().webhook;
        (webhook.reach, webhook.http)
    };
    let open = ("BURSAR_BIND", "0.0.0.0:8402");
    let asked = ("BURSAR_ALLOW_PRIVATE_ADDRESSES", "loopback");
    assert_eq!(called(&[]), (Reach::Loopback, true));
    assert_eq!(called(&[("BURSAR_BIND", "[::1]:8402")]), (Reach::Loopback, true));
    assert_eq!(called(&[open]), (Reach::Public, false));
    assert_eq!(called(&[("BURSAR_BIND", "[::]:8402")]), (Reach::Public, false));
    assert_eq!(called(&[open, asked]), (Reach::Loopback, true));
    assert_eq!(called(&[(asked.0, "none")]), (Reach::Public, false));
    let live = Settings::from_map(&live_with(&[])).unwrap().webhook;
    assert_eq!((live.reach, live.http), (Reach::Public, false));
    let live = Settings::from_map(&live_with(&[asked])).unwrap().webhook;
    assert_eq!((live.reach, live.http), (Reach::Loopback, false));
}
