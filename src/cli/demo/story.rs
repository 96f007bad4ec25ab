//! What happens in the demo, step by step.

use std::time::Duration;

use serde_json::{Value, json};

use crate::cli::buyer::{self, Buyer};
use crate::cli::output::tell;
use crate::ground::Amount;

use super::agent::{Agent, Ask, Told};
use super::{Demo, DemoError};

const CATALOG: &str = include_str!("catalog.json");

struct Cast {
    agent: Agent,
    customer: String,
    fulfiller: String,
    verifier: String,
}

pub(super) async fn play(demo: &Demo) -> Result<String, DemoError> {
    let agent = Agent::new(&demo.base)?;
    say("0", "The operator lists three SKUs and issues keys for whoever delivers and judges");
    let (fulfiller, verifier) = set_up(demo, &agent).await?;
    say("1", "Sign up: one request, no human");
    let body = json!({ "name": "demo agent", "caps": [{ "span": "day", "limit": "50.00" }] });
    let signed_up = agent.ask(Ask::post("/api/v1/accounts", None, body)).await?.expect(201)?;
    let customer = signed_up.text_of("api_key")?;
    let cast = Cast { agent, customer, fulfiller, verifier };
    top_up(demo, &cast).await?;
    let checkout = check_out(demo, &cast).await?;
    deliver_and_judge(demo, &cast, &checkout).await?;
    settle_up(&cast, &checkout).await?;
    Ok(cast.customer)
}

fn say(step: &str, words: &str) {
    tell!("\n━━ {step}. {words}");
}

/// A fresh idempotency key.
fn fresh(demo: &Demo, of: &str) -> String {
    format!("{of}-{}", hex::encode(demo.entropy.array::<6>()))
}

async fn set_up(demo: &Demo, agent: &Agent) -> Result<(String, String), DemoError> {
    let operator = Some(demo.operator_key.as_str());
    let skus: Vec<Value> = serde_json::from_str(CATALOG)?;
    for mut sku in skus {
        let name = sku["sku"].as_str().unwrap_or_default().to_owned();
        if let Some(members) = sku.as_object_mut() {
            members.remove("sku");
        }
        let path = format!("/api/v1/admin/catalog/{name}");
        agent.send(Ask::put(&path, operator, sku.clone())).await?.expect(200)?;
        tell!("  {name}: {} for one {}", text(&sku["unit_price"]), text(&sku["unit"]));
    }
    let mut keys = Vec::new();
    for role in ["fulfiller", "verifier"] {
        let skus = json!(["company-profile", "verified-email", "page-translation"]);
        let body = json!({ "role": role, "name": format!("demo {role}"), "skus": skus });
        let issued =
            agent.send(Ask::post("/api/v1/admin/keys", operator, body)).await?.expect(201)?;
        keys.push(issued.text_of("api_key")?);
    }
    let verifier = keys.pop().ok_or(DemoError::Missing("api_key"))?;
    let fulfiller = keys.pop().ok_or(DemoError::Missing("api_key"))?;
    Ok((fulfiller, verifier))
}

async fn top_up(demo: &Demo, cast: &Cast) -> Result<(), DemoError> {
    const PATH: &str = "/api/v1/credits/topup";
    let key = Some(cast.customer.as_str());
    let body = json!({ "amount": "5.00" });

    say("2", "Ask to top up: a 402 challenge comes back");
    let ask = Ask::post(PATH, key, body.clone()).show(&["x402Version", "error", "next"]);
    let challenge = cast.agent.ask(ask).await?.expect(402)?;
    let buyer = Buyer::fresh(demo.entropy.as_ref());
    let chosen = buyer.choose(&challenge.headers, Amount::micros_of(5_000_000))?;
    tell!("    PAYMENT-REQUIRED, decoded:");
    print_indented(&serde_json::to_value(&chosen.requirements)?);

    say("3", "Sign it with a wallet (test dollars from the sandbox) and send the request again");
    let faucet = json!({ "address": buyer.address(), "amount": "20.00" });
    cast.agent.send(Ask::post("/sandbox/faucet", None, faucet)).await?.expect(200)?;
    tell!("  wallet {} holds 20.00 test USDC", buyer.address());
    let payment = buyer.sign(&chosen, demo.entropy.as_ref(), demo.clock.now())?;
    let ask = Ask::post(PATH, key, body.clone()).paying(payment.clone());
    let credited = cast.agent.ask(ask).await?.expect(200)?;
    if let Some(receipt) = buyer::receipt(&credited.headers) {
        tell!("    PAYMENT-RESPONSE, decoded:");
        print_indented(&serde_json::to_value(&receipt)?);
    }

    say("4", "Send the very same payment again, as after a lost answer: it is credited once");
    let ask = Ask::post(PATH, key, body).paying(payment);
    let again = cast.agent.ask(ask.show(&["topup_id", "status", "balance"])).await?;
    again.expect(200)?;
    Ok(())
}

async fn check_out(demo: &Demo, cast: &Cast) -> Result<String, DemoError> {
    const PATH: &str = "/api/v1/checkouts";
    let key = Some(cast.customer.as_str());
    let items = json!([
        { "sku": "company-profile", "quantity": 2 },
        { "sku": "verified-email", "quantity": 4 },
        { "sku": "page-translation", "quantity": 1 },
    ]);
    say("5", "Check out under a cap that is too low: a structured refusal, and nothing moves");
    let body = json!({ "items": items, "max_total": "20.00" });
    let ask = Ask::post(PATH, key, body).once(fresh(demo, "order"));
    cast.agent.ask(ask.show(&["code", "violations", "next"])).await?.expect(409)?;

    say("6", "Check out three items under a cap of 30.00: one hold per item");
    let body = json!({ "items": items, "max_total": "30.00" });
    let ask = Ask::post(PATH, key, body).once(fresh(demo, "order"));
    let shown = ["checkout_id", "status", "max_total", "total", "held"];
    let opened = cast.agent.ask(ask.show(&shown)).await?.expect(201)?;
    opened.text_of("checkout_id")
}

async fn deliver_and_judge(demo: &Demo, cast: &Cast, checkout: &str) -> Result<(), DemoError> {
    say("7", "The fulfiller delivers all three, with evidence");
    let path = format!("/api/v1/checkouts/{checkout}/results");
    let key = Some(cast.fulfiller.as_str());
    let mut results = Vec::new();
    for (item, result, quantity, evidence) in [
        (1, "profiles", 2, json!({ "name": "Example Ltd", "sources": ["a", "b"] })),
        (2, "addresses", 4, json!({ "addresses": ["a@example.com"], "bounced": 3 })),
        (3, "translation", 1, json!({ "words": 412 })),
    ] {
        results.push(json!({
            "result_id": result, "item": item, "quantity": quantity, "evidence": evidence,
        }));
    }
    let ask = Ask::post(&path, key, json!({ "results": results })).once(fresh(demo, "delivery"));
    cast.agent.ask(ask.show(&["results"])).await?.expect(201)?;

    say("8", "The verifier accepts the first, rejects the second, and never judges the third");
    let accept =
        json!({ "verdict": "accepted", "checks": [{ "name": "sources", "passed": true }] });
    let reject = json!({ "verdict": "rejected", "reason": "three of four addresses bounce" });
    for (result, verdict) in [("profiles", accept), ("addresses", reject)] {
        let path = format!("/api/v1/checkouts/{checkout}/results/{result}/verdict");
        let key = Some(cast.verifier.as_str());
        let ask = Ask::post(&path, key, verdict).once(fresh(demo, result));
        let shown = ["result_id", "status", "captured", "released", "charge_id"];
        cast.agent.ask(ask.show(&shown)).await?.expect(200)?;
    }

    say("9", "Two seconds later the third one's deadline has passed: its hold is given back");
    let done = wait_for_deadline(cast, checkout).await?;
    let shown = json!({
        "status": done.body["status"], "total": done.body["total"], "held": done.body["held"],
        "captured": done.body["captured"], "released": done.body["released"],
    });
    print_indented(&shown);
    for result in done.body["results"].as_array().into_iter().flatten() {
        let verdict = &result["verdict"];
        tell!(
            "    {}: {} {}",
            text(&result["result_id"]),
            text(&result["status"]),
            verdict["reason"].as_str().unwrap_or(""),
        );
    }
    Ok(())
}

async fn wait_for_deadline(cast: &Cast, checkout: &str) -> Result<Told, DemoError> {
    let path = format!("/api/v1/checkouts/{checkout}");
    for _ in 0..100 {
        let told = cast.agent.send(Ask::get(&path, Some(&cast.customer))).await?.expect(200)?;
        if told.body["status"] != "open" {
            return Ok(told);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Err(DemoError::NotSwept)
}

async fn settle_up(cast: &Cast, checkout: &str) -> Result<(), DemoError> {
    let key = Some(cast.customer.as_str());
    say("10", "What was charged, itemised, with the lots it came from");
    let charges = cast.agent.send(Ask::get("/api/v1/charges", key)).await?.expect(200)?;
    tell!("  → GET /api/v1/charges");
    for charge in charges.body["data"].as_array().into_iter().flatten() {
        print_indented(charge);
    }
    say("11", "The balance");
    let shown = ["available", "paid", "promotional", "held"];
    cast.agent.ask(Ask::get("/api/v1/credits", key).show(&shown)).await?.expect(200)?;
    say("12", "The trial balance, from the balance rows");
    let told = cast.agent.send(Ask::get("/api/v1/ledger/trial-balance", key)).await?.expect(200)?;
    for row in told.body["rows"].as_array().into_iter().flatten() {
        tell!(
            "  {:<18} debit {:>10}   credit {:>10}",
            text(&row["account"]),
            text(&row["debit"]),
            text(&row["credit"]),
        );
    }
    tell!("  balanced: {}", told.body["balanced"]);
    say("13", "The journal, as finance exports it");
    let path = "/api/v1/ledger/export?format=csv";
    let journal = cast.agent.send(Ask::get(path, key)).await?.expect(200)?;
    for line in journal.text.lines() {
        let columns: Vec<&str> = line.split(',').collect();
        tell!("  {}", columns.get(1..7).unwrap_or_default().join("  "));
    }
    tell!("  (columns 2 to 7 of {path}; checkout {checkout})");
    Ok(())
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("")
}

fn print_indented(value: &Value) {
    let pretty = serde_json::to_string_pretty(value).unwrap_or_default();
    for line in pretty.lines() {
        tell!("    {line}");
    }
}
