//! What happens in the demo, step by step.

use serde_json::{Value, json};

use crate::cli::buyer::{self, Buyer};
use crate::cli::output::tell;
use crate::ground::Amount;

use super::agent::{Agent, Ask};
use super::{Demo, DemoError, books, order};

const CATALOG: &str = include_str!("catalog.json");

/// Who plays: an agent that asks, and the keys of its parts.
pub(super) struct Cast {
    pub(super) agent: Agent,
    pub(super) customer: String,
    pub(super) fulfiller: String,
    pub(super) verifier: String,
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
    let checkout = order::check_out(demo, &cast).await?;
    order::deliver(demo, &cast, &checkout).await?;
    order::judge(demo, &cast, &checkout).await?;
    books::dispute(demo, &cast).await?;
    books::settle_up(&cast, &checkout).await?;
    Ok(cast.customer)
}

pub(super) fn say(step: &str, words: &str) {
    tell!("\n━━ {step}. {words}");
}

/// A fresh idempotency key.
pub(super) fn fresh(demo: &Demo, of: &str) -> String {
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

pub(super) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("")
}

pub(super) fn print_indented(value: &Value) {
    let pretty = serde_json::to_string_pretty(value).unwrap_or_default();
    for line in pretty.lines() {
        tell!("    {line}");
    }
}
