//! One row per operation: who may ask for it, and what a good request says.

use serde_json::{Value, json};

use super::world::World;

pub struct Row {
    /// The roles that may ask, if a key is needed at all. Good requests are of the first.
    pub roles: &'static [&'static str],
    /// A body with every member, so that each can be spoiled.
    pub body: Option<Value>,
}

const NOBODY: &[&str] = &["customer"];
const CUSTOMER: &[&str] = &["customer"];
const OPERATOR: &[&str] = &["operator"];
const READER: &[&str] = &["customer", "operator"];
const FULFILLER: &[&str] = &["fulfiller", "operator"];
const VERIFIER: &[&str] = &["verifier", "operator"];

pub fn row(world: &World, name: &str) -> Row {
    let (roles, body) = match name {
        "GET /openapi.json"
        | "GET /healthz"
        | "GET /readyz"
        | "GET /metrics"
        | "GET /llms.txt"
        | "GET /docs"
        | "GET /api/v1/catalog"
        | "GET /api/v1/catalog/{sku}"
        | "GET /api/v1/topups/{topup_id}"
        | "GET /api/v1/topups"
        | "POST /api/v1/wallets/challenge"
        | "GET /sandbox/facilitator/supported"
        | "GET /sandbox/balance/{address}" => (NOBODY, None),
        "GET /api/v1/credits"
        | "GET /api/v1/credits/history"
        | "GET /api/v1/credits/lots"
        | "GET /api/v1/checkouts"
        | "GET /api/v1/webhooks"
        | "GET /api/v1/webhooks/{webhook_id}"
        | "DELETE /api/v1/webhooks/{webhook_id}"
        | "POST /api/v1/webhooks/{webhook_id}/rotate"
        | "GET /api/v1/webhooks/{webhook_id}/deliveries"
        | "GET /api/v1/charges" => (CUSTOMER, None),
        "POST /api/v1/webhooks" => {
            let url = "https://agent.example.com/bursar";
            (
                CUSTOMER,
                Some(json!({"url": url, "types": ["charge.captured"], "low_balance": "5.00"})),
            )
        }
        "POST /api/v1/webhooks/{webhook_id}/replay" => {
            let since = "2026-01-01T00:00:00Z";
            (CUSTOMER, Some(json!({"from_seq": 1, "since": since, "to_seq": 1})))
        }
        "GET /api/v1/checkouts/{checkout_id}"
        | "GET /api/v1/checkouts/{checkout_id}/results"
        | "GET /api/v1/checkouts/{checkout_id}/results/{result_id}"
        | "GET /api/v1/charges/{charge_id}"
        | "GET /api/v1/charges/{charge_id}/receipt"
        | "GET /api/v1/charges/{charge_id}/reversals/{reversal_id}/receipt"
        | "GET /api/v1/checkouts/{checkout_id}/results/{result_id}/receipt"
        | "GET /api/v1/events"
        | "GET /api/v1/ledger/export"
        | "GET /api/v1/ledger/trial-balance"
        | "GET /api/v1/ledger/balances"
        | "GET /api/v1/ledger/statement" => (READER, None),
        "POST /api/v1/accounts" => {
            let caps = json!([{"span": "day", "limit": "5.00"}]);
            (NOBODY, Some(json!({"name": "agent", "caps": caps})))
        }
        // Its body is of the protocol, and is spoiled by hand.
        "POST /api/v1/wallets/claim" => (NOBODY, Some(json!({}))),
        "POST /sandbox/facilitator/verify" | "POST /sandbox/facilitator/settle" => {
            (NOBODY, Some(json!({"x402Version": 2, "paymentPayload": {}})))
        }
        "POST /api/v1/credits/topup" => {
            (CUSTOMER, Some(json!({"amount": "5.00", "account_id": world.customer.account})))
        }
        "POST /api/v1/checkouts" => {
            let items = json!([{"sku": "lead", "quantity": 1}]);
            (CUSTOMER, Some(json!({"items": items, "max_total": "5.00"})))
        }
        "POST /api/v1/quotes" => {
            (CUSTOMER, Some(json!({"items": [{"sku": "lead", "quantity": 1}]})))
        }
        "POST /api/v1/checkouts/{checkout_id}/cancel" => (CUSTOMER, Some(json!({}))),
        "POST /api/v1/checkouts/{checkout_id}/results" => (FULFILLER, Some(result())),
        "POST /api/v1/checkouts/{checkout_id}/results/{result_id}/verdict" => {
            let checks = json!([{"name": "complete", "passed": true, "detail": "all of it"}]);
            let verdict = json!({
                "verdict": "partially_accepted", "accepted_quantity": 1, "reason": "half of it",
                "checks": checks,
            });
            (VERIFIER, Some(verdict))
        }
        "POST /api/v1/charges/{charge_id}/reversals" => {
            (VERIFIER, Some(json!({"amount": "0.10", "reason": "a tenth was wrong"})))
        }
        "POST /api/v1/charges/{charge_id}/disputes" => {
            (CUSTOMER, Some(json!({"amount": "0.10", "reason": "a tenth was wrong"})))
        }
        "GET /api/v1/disputes" | "GET /api/v1/results" => (VERIFIER, None),
        "POST /api/v1/disputes/{dispute_id}/decision" => {
            (VERIFIER, Some(json!({"decision": "upheld", "reason": "so it was"})))
        }
        "PUT /api/v1/admin/catalog/{sku}" => (OPERATOR, Some(terms(world))),
        "GET /api/v1/admin/verifiers" | "GET /api/v1/admin/grants" => (OPERATOR, None),
        "POST /api/v1/admin/verifiers" => {
            (OPERATOR, Some(json!({"url": "https://verifier.example.com/bursar"})))
        }
        "POST /api/v1/admin/keys" => (OPERATOR, Some(key(world))),
        "POST /api/v1/admin/grants" => (OPERATOR, Some(grant(world))),
        "POST /api/v1/admin/grants/{grant_id}/cancel" => (OPERATOR, Some(json!({}))),
        "POST /sandbox/faucet" => {
            let address = world.wallet.address();
            (NOBODY, Some(json!({"address": address, "amount": "1.00", "network": "base-sepolia"})))
        }
        "POST /sandbox/faults" => {
            let address = world.wallet.address();
            let network = "base-sepolia";
            let fault =
                json!({"address": address, "fault": "slow", "seconds": 1, "network": network});
            (NOBODY, Some(fault))
        }
        unknown => panic!("{unknown} has no row: say who may ask and what a good request says"),
    };
    Row { roles, body }
}

/// What an operation needs in its query, each parameter with its value.
pub fn query(name: &str) -> &'static [(&'static str, &'static str)] {
    match name {
        "GET /api/v1/ledger/balances" => &[("as_of", "2026-01-01T00:00:00Z")],
        "GET /api/v1/ledger/statement" => {
            &[("from", "2026-01-01T00:00:00Z"), ("to", "2026-01-02T00:00:00Z")]
        }
        "GET /api/v1/topups" => &[
            ("payer", "0x14791697260e4c9a71f18484c9f997b308e59325"),
            ("nonce", "0x1111111111111111111111111111111111111111111111111111111111111111"),
        ],
        _ => &[],
    }
}

fn result() -> Value {
    let result = json!({"result_id": "r9", "item": 1, "quantity": 1, "evidence": {"bytes": 9}});
    json!({ "results": [result] })
}

fn terms(world: &World) -> Value {
    json!({
        "title": "A lead", "unit": "lead", "unit_price": "1.00", "criteria": {"schema": {}, "text": "complete"},
        "verification": "http", "verifier_id": world.verifier, "delivery_deadline_seconds": 3600,
        "verification_deadline_seconds": 3600, "dispute_window_seconds": 86400,
        "dispute_decision_seconds": 86400, "active": true,
    })
}

fn grant(world: &World) -> Value {
    json!({
        "account_id": world.customer.account, "amount": "2.00", "priority": 10,
        "effective_at": "2098-01-01T00:00:00Z", "expires_at": "2099-01-01T00:00:00Z",
        "reason": "goodwill",
    })
}

fn key(world: &World) -> Value {
    json!({
        "role": "customer", "name": "narrow", "skus": ["lead"],
        "expires_at": "2099-01-01T00:00:00Z", "account_id": world.customer.account,
        "caps": [{"span": "checkout", "limit": "2.00"}],
    })
}
