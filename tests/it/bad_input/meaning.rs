//! Requests of the right shape that still say something impossible, and things that belong to
//! somebody else.

use serde_json::{Value, json};

use super::ask::{Ask, Case, Part};
use super::document::Operation;
use super::world::{TOPUP, World};

const WRONG: &[&str] = &["validation_failed"];
const HIDDEN: &[&str] = &["not_found"];

/// The good request's result so many times, with another value for one of its members.
fn results(good: &Value, times: usize, member: &str, value: Value) -> Value {
    let mut result = good["results"][0].clone();
    result[member] = value;
    json!({ "results": vec![result; times] })
}

/// The rows of one operation.
pub fn cases(world: &World, operation: &Operation, ask: &Ask) -> Vec<Case> {
    let row = |body: Value, code: &'static str, field: &str| {
        let what = format!("{}: {body:.100}", operation.name);
        Case::new(what, ask.clone().json(&body), Part::Body, &[code]).field(field)
    };
    let wrong = |body: Value, field: &str| row(body, WRONG[0], field);
    let other = |what: &str, ask: Ask, codes| Case::new(what, ask, Part::Other, codes);
    let with_key = |name: &str| ask.clone().key(&world.keys[name]);
    let good: Value = serde_json::from_slice(&ask.body).unwrap_or_default();
    let but = |name: &str, value: Value| {
        let mut body = good.clone();
        body[name] = value;
        body
    };
    match operation.name.as_str() {
        "POST /api/v1/accounts" => {
            let cap = json!({"span": "day", "limit": "1.00"});
            vec![wrong(but("caps", json!([cap, cap])), "caps[1].span")]
        }
        TOPUP => vec![
            row(json!({"amount": "0"}), "topup_below_minimum", "amount"),
            row(json!({"amount": "0.009999"}), "topup_below_minimum", "amount"),
            row(json!({"amount": "1000.000001"}), "topup_above_maximum", "amount"),
            row(json!({"amount": "999999999999.999999"}), "topup_above_maximum", "amount"),
        ],
        "POST /api/v1/checkouts" => {
            let items = |sku: &str, quantity: i64, lines: usize| {
                but("items", json!(vec![json!({"sku": sku, "quantity": quantity}); lines]))
            };
            vec![
                row(items("nothing", 1, 1), "sku_unknown", "items"),
                wrong(items("gold", 1_000_000, 1), "items"),
                wrong(items("gold", 1, 1_000), "items"),
                wrong(items("lead", 1, 1_001), "items"),
            ]
        }
        "GET /api/v1/checkouts/{checkout_id}"
        | "GET /api/v1/charges/{charge_id}"
        | "GET /api/v1/webhooks/{webhook_id}"
        | "DELETE /api/v1/webhooks/{webhook_id}"
        | "POST /api/v1/webhooks/{webhook_id}/rotate"
        | "GET /api/v1/webhooks/{webhook_id}/deliveries" => {
            vec![other("another customer's", others(world, ask), HIDDEN)]
        }
        "POST /api/v1/checkouts/{checkout_id}/cancel" => {
            vec![other("another customer's", others(world, ask), HIDDEN)]
        }
        "POST /api/v1/checkouts/{checkout_id}/results" => vec![
            wrong(results(&good, 1, "item", json!(3)), "results[0].item"),
            wrong(results(&good, 2, "item", json!(1)), "results[1].result_id"),
            wrong(results(&good, 101, "item", json!(1)), "results"),
            wrong(results(&good, 1, "evidence", json!("x".repeat(33_000))), "results[0].evidence"),
            other("not its SKU", with_key("strange fulfiller"), &["scope_missing"]),
        ],
        "POST /api/v1/checkouts/{checkout_id}/results/{result_id}/verdict" => {
            let bad = |verdict: &str, accepted: Value| {
                wrong(json!({"verdict": verdict, "accepted_quantity": accepted}), "accepted_quan")
            };
            let nothing = Ask { path: ask.path.replace("/r2/", "/r3/"), ..ask.clone() };
            let elsewhere =
                Ask { path: others(world, ask).path.replace("/r2/", "/r9/"), ..ask.clone() };
            vec![
                bad("accepted", json!(1)),
                bad("rejected", json!(1)),
                bad("partially_accepted", Value::Null),
                other("unknown result", nothing, HIDDEN),
                other("result of another checkout", elsewhere, HIDDEN),
                other("not its SKU", with_key("strange verifier"), &["scope_missing"]),
            ]
        }
        "POST /api/v1/charges/{charge_id}/disputes" => vec![
            wrong(but("amount", json!("0")), "amount"),
            other("another customer's", others(world, ask), HIDDEN),
        ],
        "POST /api/v1/disputes/{dispute_id}/decision" => vec![
            wrong(but("decision", json!("open")), "decision"),
            other("not its SKU", with_key("strange verifier"), &["scope_missing"]),
        ],
        "POST /api/v1/charges/{charge_id}/reversals" => vec![
            wrong(but("amount", json!("0")), "amount"),
            wrong(but("amount", json!("0.000000")), "amount"),
            other("not its SKU", with_key("strange verifier"), &["scope_missing"]),
        ],
        "PUT /api/v1/admin/catalog/{sku}" => vec![
            wrong(but("unit_price", json!("0")), "unit_price"),
            wrong(but("criteria", json!({"schema": {"a": ["\u{0}"]}})), "criteria.schema"),
            wrong(but("criteria", json!({"schema": {"\u{0}": 1}})), "criteria.schema"),
            wrong(but("criteria", json!({"text": "\u{0}"})), "criteria.text"),
            wrong(but("criteria", json!([{}, "text"])), "criteria"),
            row(but("criteria", json!({"schema": {"type": 1}})), "criteria_invalid", "criteria"),
        ],
        "POST /api/v1/admin/grants" => vec![
            wrong(but("account_id", json!("acc_00000000000070008000000000000000")), "account_id"),
            wrong(but("account_id", json!("acc_00000000000070008000000000000001")), "account_id"),
            wrong(but("expires_at", json!("2098-01-01T00:00:00Z")), "expires_at"),
            wrong(but("expires_at", json!("2020-01-01T00:00:00Z")), "expires_at"),
            wrong(but("effective_at", json!("9999-12-31T23:59:59-01:00")), "effective_at"),
            wrong(but("expires_at", json!("9999-12-31T23:59:59-01:00")), "expires_at"),
            wrong(but("amount", json!("0")), "amount"),
            wrong(but("amount", json!("1000000.000001")), "amount"),
        ],
        "POST /api/v1/admin/keys" => {
            keys(world, &good).into_iter().map(|(body, field)| wrong(body, field)).collect()
        }
        "POST /sandbox/faucet" => vec![
            wrong(but("amount", json!("0")), "amount"),
            wrong(but("amount", json!("1000.000001")), "amount"),
            wrong(but("network", json!("")), "network"),
            wrong(but("network", json!("eip155:1")), "network"),
            wrong(but("network", json!("a\u{0}")), "network"),
        ],
        "POST /sandbox/faults" => vec![
            wrong(but("seconds", json!(0)), "seconds"),
            wrong(but("seconds", json!(121)), "seconds"),
            wrong(but("fault", json!("lost")), "seconds"),
            wrong(but("network", json!("eip155:1")), "network"),
        ],
        "GET /sandbox/balance/{address}" => {
            let network = Ask { path: format!("{}?network=eip155:1", ask.path), ..ask.clone() };
            vec![other("unknown network", network, WRONG)]
        }
        "POST /api/v1/webhooks" => vec![
            wrong(but("url", json!("http://10.0.0.1/")), "url"),
            wrong(but("url", json!("https://169.254.169.254/latest")), "url"),
            wrong(but("url", json!("https://me:pass@agent.example.com/")), "url"),
            wrong(but("url", json!("https://agent.example.com:22/")), "url"),
            wrong(but("url", json!("agent.example.com")), "url"),
            wrong(but("low_balance", json!("0")), "low_balance"),
        ],
        "POST /api/v1/webhooks/{webhook_id}/replay" => {
            vec![wrong(json!({"to_seq": 1}), "from_seq"), wrong(json!({}), "from_seq")]
        }
        "GET /api/v1/events" => {
            let asking = |query: &str| Ask { path: format!("{}?{query}", ask.path), ..ask.clone() };
            let nobody = asking("account_id=acc_00000000000070008000000000000001");
            vec![
                other("another customer's", nobody, HIDDEN),
                other("ahead of the last one", asking("after=999"), WRONG),
                other("before the first one", asking("after=-1"), WRONG),
                other("no such type", asking("type=topup"), WRONG),
            ]
        }
        "POST /api/v1/wallets/claim" => super::claims::cases(world, ask),
        "GET /api/v1/ledger/balances" | "GET /api/v1/ledger/statement" => {
            let asking =
                |id: &str| Ask { path: format!("{}&account_id={id}", ask.path), ..ask.clone() };
            let nobody = asking("acc_00000000000070008000000000000001");
            let missing = with_key("operator");
            vec![
                other("another customer's", nobody, HIDDEN),
                Case { field: Some("account_id".to_owned()), ..other("whose?", missing, WRONG) },
            ]
        }
        _ => Vec::new(),
    }
}

/// The same about what belongs to the other customer.
fn others(world: &World, ask: &Ask) -> Ask {
    let path = ask.path.replace(&world.checkout, &world.others_checkout);
    let path = path.replace(&world.webhook, &world.others_webhook);
    Ask { path: path.replace(&world.charge, &world.others_charge), ..ask.clone() }
}

/// Keys that cannot be: each role has members that it needs and members that it may not have.
fn keys(world: &World, good: &Value) -> Vec<(Value, &'static str)> {
    let but = |name: &str, value: Value| {
        let mut body = good.clone();
        body[name] = value;
        body
    };
    let account = &world.customer.account;
    let cap = json!({"span": "day", "limit": "1.00"});
    let staff = |role: &str| json!({"role": role, "name": "staff", "skus": ["lead"]});
    let mut capped = staff("verifier");
    capped["caps"] = json!([cap]);
    let mut owned = staff("fulfiller");
    owned["account_id"] = json!(account);
    vec![
        (but("account_id", Value::Null), "account_id"),
        (but("account_id", json!("acc_00000000000070008000000000000000")), "account_id"),
        (but("account_id", json!("acc_00000000000070008000000000000001")), "account_id"),
        (but("expires_at", json!("2020-01-01T00:00:00Z")), "expires_at"),
        (but("expires_at", json!("0000-01-01T00:00:00Z")), "expires_at"),
        (but("caps", json!([cap, cap])), "caps[1].span"),
        (but("role", json!("operator")), "skus"),
        (json!({"role": "verifier", "name": "staff"}), "skus"),
        (json!({"role": "fulfiller", "name": "staff"}), "skus"),
        (json!({"role": "operator", "name": "staff", "account_id": account}), "account_id"),
        (capped, "caps"),
        (owned, "account_id"),
    ]
}
