//! A receipt as a page for people: one file that loads nothing and runs nothing.

use std::fmt::Write;
use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::checkout::{Receipt, ReceiptKind, ReceiptTransaction, ReversalView};
use crate::ground::{Mode, sha256};
use crate::http::escape::escape;

const STYLE: &str = "\
body{font:16px/1.5 system-ui,sans-serif;max-width:48rem;margin:2rem auto;padding:0 1rem;color:#222}\
code{font:14px/1.4 ui-monospace,monospace;overflow-wrap:anywhere}\
table{border-collapse:collapse;width:100%;margin:.5rem 0 1.5rem}\
td,th{border-bottom:1px solid #ddd;padding:.35rem;text-align:left;vertical-align:top}\
th{font-weight:normal;color:#666;width:13rem}.test{background:#fe9;padding:.5rem}\
.text{white-space:pre-wrap;overflow-wrap:anywhere}";

/// What the page may do: be styled as it is, and nothing else.
pub static POLICY: LazyLock<String> = LazyLock::new(|| {
    let hash = STANDARD.encode(sha256([STYLE.as_bytes()]));
    format!(
        "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'; sandbox"
    )
});

/// A page that is being written. Every text passes through here, and none gets in as it is.
struct Page(String);

impl Page {
    fn heading(&mut self, text: &str) {
        let _ = write!(self.0, "<h2>{}</h2>", escape(text));
    }

    fn table(&mut self, rows: &[(&str, String)]) {
        self.0.push_str("<table>");
        for (name, text) in rows {
            let (name, text) = (escape(name), escape(text));
            let _ = write!(self.0, "<tr><th>{name}</th><td class=\"text\">{text}</td></tr>");
        }
        self.0.push_str("</table>");
    }
}

/// The page of a receipt.
pub fn page(receipt: &Receipt, mode: Mode) -> String {
    let title = match receipt.receipt {
        ReceiptKind::Charge => "Receipt for a charge",
        ReceiptKind::Refusal => "Receipt for a refusal: nothing was charged",
        ReceiptKind::Reversal => "Receipt for a reversal",
    };
    let mut page = Page(format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <title>{title}</title><style>{STYLE}</style></head><body><h1>{title}</h1>"
    ));
    if mode == Mode::Test {
        page.0.push_str("<p class=\"test\">This is a test: no real money was moved.</p>");
    }
    write_facts(&mut page, receipt);
    write_verdict(&mut page, receipt);
    for transaction in &receipt.transactions {
        write_transaction(&mut page, transaction);
    }
    for reversal in &receipt.reversals {
        write_reversal(&mut page, reversal);
    }
    page.0.push_str("</body></html>\n");
    page.0
}

fn write_facts(page: &mut Page, receipt: &Receipt) {
    let Receipt { line, result, .. } = receipt;
    let mut rows = vec![
        ("When", receipt.at.to_rfc3339()),
        ("Account", receipt.account_id.to_string()),
        ("Checkout", receipt.checkout_id.to_string()),
    ];
    rows.extend(receipt.charge_id.map(|charge| ("Charge", charge.to_string())));
    rows.extend([
        ("Charged", dollars(&receipt.charged)),
        ("Released", dollars(&receipt.released)),
        ("Reversed", dollars(&receipt.reversed)),
    ]);
    page.table(&rows);
    page.heading("Line");
    page.table(&[
        (
            "Item",
            format!("{}: {} ({}, version {})", line.item, line.title, line.sku, line.sku_version),
        ),
        ("Ordered", format!("{} at {} per {}", line.ordered, dollars(&line.unit_price), line.unit)),
        ("Delivered", format!("{}, of which {} accepted", result.quantity, result.accepted)),
        ("Result", result.result_id.clone()),
        ("Submitted", result.submitted_at.to_rfc3339()),
        ("SHA-256 of the evidence", result.evidence_sha256.clone()),
    ]);
}

fn write_verdict(page: &mut Page, receipt: &Receipt) {
    page.heading("Verdict");
    let members = receipt.verdict.as_object().into_iter().flatten();
    let rows: Vec<_> = members.map(|(name, value)| (name.as_str(), plain(value))).collect();
    page.table(&rows);
    if receipt.calls.is_empty() {
        return;
    }
    page.heading("Calls to the verifier");
    let calls: Vec<_> = receipt
        .calls
        .iter()
        .map(|call| {
            let said = match (&call.unknown, call.ended_at) {
                (Some(unknown), _) => format!("unknown: {unknown}"),
                (None, Some(_)) => "a verdict".to_owned(),
                (None, None) => "no end is known".to_owned(),
            };
            (call.attempt.to_string(), format!("{}: {said}", call.called_at.to_rfc3339()))
        })
        .collect();
    let rows: Vec<_> = calls.iter().map(|(n, text)| (n.as_str(), text.clone())).collect();
    page.table(&rows);
}

fn write_transaction(page: &mut Page, transaction: &ReceiptTransaction) {
    page.heading(&format!("Ledger: {}", transaction.movement));
    let mut rows = vec![
        ("Transaction", transaction.ledger_transaction_id.to_string()),
        ("Amount", dollars(&transaction.amount)),
    ];
    rows.extend(transaction.lots.iter().map(|lot| {
        let text =
            format!("{} of {} credits, lot {}", dollars(&lot.amount), lot.category, lot.lot_id);
        ("Lot", text)
    }));
    page.table(&rows);
}

fn write_reversal(page: &mut Page, reversal: &ReversalView) {
    let by = reversal.reversed_by.map_or_else(
        || "nobody: the dispute was not decided in time".to_owned(),
        |key| format!("key {key}"),
    );
    let mut rows = vec![
        ("Reversal", reversal.reversal_id.to_string()),
        ("When", reversal.reversed_at.to_rfc3339()),
        ("Amount", dollars(&reversal.amount)),
        ("Reason", reversal.reason.clone()),
        ("Reversed by", by),
    ];
    rows.extend(reversal.dispute_id.map(|dispute| ("Upholds the dispute", dispute.to_string())));
    rows.push(("Ledger transaction", reversal.ledger_transaction_id.to_string()));
    page.heading("Reversal");
    page.table(&rows);
}

fn dollars(amount: &crate::ground::Amount) -> String {
    format!("${amount}")
}

/// A value as text: strings as they are, everything else as JSON.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => serde_json::to_string_pretty(other).unwrap_or_default(),
    }
}
