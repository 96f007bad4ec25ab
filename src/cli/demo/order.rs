//! The order: quoted, refused, bought, delivered and judged.

use std::time::Duration;

use serde_json::{Value, json};

use crate::cli::output::tell;

use super::agent::{Ask, Told};
use super::story::{Cast, fresh, print_indented, say, text};
use super::{Demo, DemoError};

/// Asks for a quote, has a checkout refused, and buys at the quote's prices. Returns the checkout's id.
pub(super) async fn check_out(demo: &Demo, cast: &Cast) -> Result<String, DemoError> {
    const PATH: &str = "/api/v1/checkouts";
    let key = Some(cast.customer.as_str());
    let items = json!([
        { "sku": "company-profile", "quantity": 2 },
        { "sku": "verified-email", "quantity": 4 },
        { "sku": "page-translation", "quantity": 1 },
    ]);
    say("5", "Ask for a quote: a free dry run, with every cap and prices that hold for a while");
    let ask = Ask::post("/api/v1/quotes", key, json!({ "items": items }));
    let shown = ["quote_id", "total", "available", "caps", "allowed", "expires_at"];
    let quote = cast.agent.ask(ask.show(&shown)).await?.expect(201)?.text_of("quote_id")?;

    say("6", "Check out under a cap that is too low: a structured refusal, and nothing moves");
    let body = json!({ "items": items, "max_total": "20.00" });
    let ask = Ask::post(PATH, key, body).once(fresh(demo, "order"));
    cast.agent.ask(ask.show(&["code", "violations", "next"])).await?.expect(409)?;

    say("7", "Accept the quote: one hold per item, all or none");
    let ask = Ask::post(PATH, key, json!({ "quote_id": quote })).once(fresh(demo, "order"));
    let shown = ["checkout_id", "status", "max_total", "total", "held"];
    let opened = cast.agent.ask(ask.show(&shown)).await?.expect(201)?;
    opened.text_of("checkout_id")
}

/// Delivers everything in one request.
pub(super) async fn deliver(demo: &Demo, cast: &Cast, checkout: &str) -> Result<(), DemoError> {
    say("8", "The fulfiller delivers, with evidence; what misses the schema is rejected at once");
    let path = format!("/api/v1/checkouts/{checkout}/results");
    let key = Some(cast.fulfiller.as_str());
    let results: Vec<Value> = [
        (1, "profile", 1, json!({ "name": "Example Ltd", "sources": ["a", "b"] })),
        (1, "thin-profile", 1, json!({ "name": "Example Inc", "sources": ["a"] })),
        (2, "addresses", 4, json!({ "addresses": ["a@example.com"], "bounced": 3 })),
        (3, "translation", 1, json!({ "words": 412 })),
    ]
    .into_iter()
    .map(|(item, result, quantity, evidence)| {
        json!({ "result_id": result, "item": item, "quantity": quantity, "evidence": evidence })
    })
    .collect();
    let ask = Ask::post(&path, key, json!({ "results": results })).once(fresh(demo, "delivery"));
    cast.agent.ask(ask.show(&["results"])).await?.expect(201)?;
    Ok(())
}

/// Judges two results, and waits until the third is given back.
pub(super) async fn judge(demo: &Demo, cast: &Cast, checkout: &str) -> Result<(), DemoError> {
    say(
        "9",
        "The verifier accepts the profile and one address of four, and leaves the translation",
    );
    let accept =
        json!({ "verdict": "accepted", "checks": [{ "name": "sources", "passed": true }] });
    let part = json!({ "verdict": "partially_accepted", "accepted_quantity": 1,
                       "reason": "three of four addresses bounce" });
    for (result, verdict) in [("profile", accept), ("addresses", part)] {
        let path = format!("/api/v1/checkouts/{checkout}/results/{result}/verdict");
        let key = Some(cast.verifier.as_str());
        let ask = Ask::post(&path, key, verdict).once(fresh(demo, result));
        let shown = ["result_id", "status", "captured", "released", "charge_id"];
        cast.agent.ask(ask.show(&shown)).await?.expect(200)?;
    }
    say("10", "Two seconds later the translation's deadline has passed: its hold is given back");
    let done = wait_for_deadline(cast, checkout).await?;
    let shown = json!({
        "status": done.body["status"], "total": done.body["total"], "held": done.body["held"],
        "captured": done.body["captured"], "released": done.body["released"],
    });
    print_indented(&shown);
    for result in done.body["results"].as_array().into_iter().flatten() {
        let reason = result["verdict"]["reason"].as_str().unwrap_or("");
        tell!("    {}: {} {reason}", text(&result["result_id"]), text(&result["status"]));
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
