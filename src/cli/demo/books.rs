//! What the order left in the books: charges, a dispute, receipts, the balance and the journal.

use serde_json::json;

use crate::cli::output::tell;

use super::agent::Ask;
use super::story::{Cast, fresh, print_indented, say, text};
use super::{Demo, DemoError};

/// Disputes a part of the first charge, has it upheld, and shows the receipt.
pub(super) async fn dispute(demo: &Demo, cast: &Cast) -> Result<(), DemoError> {
    let key = Some(cast.customer.as_str());
    say("11", "What was charged, itemised, with the lots it came from");
    let charges = cast.agent.send(Ask::get("/api/v1/charges", key)).await?.expect(200)?;
    tell!("  → GET /api/v1/charges");
    let charges = charges.body["data"].as_array().cloned().unwrap_or_default();
    charges.iter().for_each(print_indented);
    let of_profile = charges.iter().find(|charge| charge["sku"] == "company-profile");
    let charge = of_profile.map(|charge| text(&charge["charge_id"]));
    let charge = charge.ok_or(DemoError::Missing("charge_id"))?;

    say("12", "Dispute 3.00 of the profile; the verifier upholds it, and the credits are back");
    let path = format!("/api/v1/charges/{charge}/disputes");
    let body = json!({ "amount": "3.00", "reason": "one source is a dead link" });
    let ask = Ask::post(&path, key, body).once(fresh(demo, "dispute"));
    let shown = ["dispute_id", "status", "amount", "decide_by"];
    let dispute = cast.agent.ask(ask.show(&shown)).await?.expect(201)?.text_of("dispute_id")?;
    let path = format!("/api/v1/disputes/{dispute}/decision");
    let body = json!({ "decision": "upheld", "reason": "the link is dead" });
    let ask = Ask::post(&path, Some(&cast.verifier), body).once(fresh(demo, "decision"));
    let shown = ["status", "amount", "reversal_id"];
    cast.agent.ask(ask.show(&shown)).await?.expect(200)?;

    say("13", "The receipt proves it: terms, evidence, verdict, ledger transactions and lots");
    let path = format!("/api/v1/charges/{charge}/receipt");
    let shown = ["reversed", "result", "verdict", "transactions", "reversals"];
    cast.agent.ask(Ask::get(&path, key).show(&shown)).await?.expect(200)?;
    Ok(())
}

/// The balance and the books.
pub(super) async fn settle_up(cast: &Cast, checkout: &str) -> Result<(), DemoError> {
    let key = Some(cast.customer.as_str());
    say("14", "The balance");
    let shown = ["available", "paid", "promotional", "held"];
    cast.agent.ask(Ask::get("/api/v1/credits", key).show(&shown)).await?.expect(200)?;
    say("15", "The trial balance, from the balance rows");
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
    say("16", "The journal, as finance exports it");
    let path = "/api/v1/ledger/export?format=csv";
    let journal = cast.agent.send(Ask::get(path, key)).await?.expect(200)?;
    for line in journal.text.lines() {
        let columns: Vec<&str> = line.split(',').collect();
        tell!("  {}", columns.get(1..7).unwrap_or_default().join("  "));
    }
    tell!("  (columns 2 to 7 of {path}; checkout {checkout})");
    say("17", "What happened, as the feed and webhooks tell it");
    let events = cast.agent.send(Ask::get("/api/v1/events", key)).await?.expect(200)?;
    for event in events.body["data"].as_array().into_iter().flatten() {
        tell!("  {:>3}  {:<22} {}", event["seq"], text(&event["type"]), event["data"]);
    }
    Ok(())
}
