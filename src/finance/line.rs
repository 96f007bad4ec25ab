//! One line of the journal, in either format. Both are made from the same cells.

use std::sync::LazyLock;

use chrono::{DateTime, SecondsFormat, Utc};
use uuid::Uuid;

use crate::ground::{
    Amount, BookId, ChargeId, CheckoutId, GrantId, HoldId, LotId, ReversalId, TopupId,
    TransactionId,
};

use super::Format;
use super::store::journal::JournalRow;

/// The columns of the journal, in this order in CSV. They are stable: later ones are added at the
/// end. Ids are in their public form, times in RFC 3339 with microseconds, and what a transfer does
/// not have is empty (`null` in JSONL).
///
/// | column | |
/// |---|---|
/// | `book_id` | the account |
/// | `version` | counts the book's transfers from 1, without gaps |
/// | `transaction_id` | the business act that the transfer is a part of |
/// | `movement` | `topup`, `grant`, `hold`, `capture`, `release`, `reversal`, `expiry`, `void`, `recovery` or `reinstatement` |
/// | `debit_account`, `credit_account` | roles of the chart of accounts |
/// | `amount` | dollars |
/// | `amount_micros` | the same in micro-dollars |
/// | `debit_balance_after`, `credit_balance_after` | of the two roles in this book, in dollars |
/// | `recorded_at`, `effective_at` | when it was written down, and when it happened |
/// | `subject_id` | the top-up, key (of a grant), hold, charge, reversal or lot it belongs to |
/// | `lot_id` | the lot that was filled or drawn from |
/// | `reverses_transaction_id` | the transaction that this one undoes |
/// | `topup_id`, `settlement_network`, `settlement_transaction`, `payer` | of a top-up, or what a void one took and gave back |
/// | `checkout_id`, `sku` | of a hold, release, capture or reversal |
/// | `charge_id`, `result_id` | of a capture or reversal |
/// | `settlement_block`, `settlement_block_hash`, `settlement_block_time`, `settlement_log_index` | where the chain last showed the settlement when the transfer was written, if it was read |
pub const COLUMNS: [&str; 27] = [
    "book_id",
    "version",
    "transaction_id",
    "movement",
    "debit_account",
    "credit_account",
    "amount",
    "amount_micros",
    "debit_balance_after",
    "credit_balance_after",
    "recorded_at",
    "effective_at",
    "subject_id",
    "lot_id",
    "reverses_transaction_id",
    "topup_id",
    "settlement_network",
    "settlement_transaction",
    "payer",
    "checkout_id",
    "charge_id",
    "result_id",
    "sku",
    "settlement_block",
    "settlement_block_hash",
    "settlement_block_time",
    "settlement_log_index",
];

/// The positions of the columns in the order of their names, for canonical JSON.
static SORTED: LazyLock<Vec<usize>> = LazyLock::new(|| {
    let mut positions: Vec<usize> = (0..COLUMNS.len()).collect();
    positions.sort_by_key(|&position| COLUMNS[position]);
    positions
});

enum Cell {
    Number(i64),
    Text(String),
    Missing,
}

impl From<Option<String>> for Cell {
    fn from(text: Option<String>) -> Self {
        text.map_or(Self::Missing, Self::Text)
    }
}

/// Appends what stands above the lines.
pub(super) fn write_header(format: Format, out: &mut Vec<u8>) {
    match format {
        Format::Csv => {
            out.extend_from_slice(COLUMNS.join(",").as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        Format::Jsonl => {}
    }
}

/// Appends one line.
pub(super) fn write(row: JournalRow, format: Format, out: &mut Vec<u8>) {
    let cells = cells(row);
    match format {
        Format::Csv => write_csv(&cells, out),
        Format::Jsonl => write_json(&cells, out),
    }
}

fn cells(row: JournalRow) -> [Cell; 27] {
    let text = |text: String| Cell::Text(text);
    let movement = row.movement;
    let is = |name: &str| movement == name;
    let charge = row.charge_id.or((is("capture")).then_some(row.subject_id));
    let of_topup = ["topup", "void", "recovery", "reinstatement"].iter().any(|name| is(name));
    let topup = of_topup.then(|| TopupId(row.subject_id).to_string());
    [
        text(BookId(row.book_id).to_string()),
        Cell::Number(row.version),
        text(TransactionId(row.transaction_id).to_string()),
        text(movement.clone()),
        text(row.debit),
        text(row.credit),
        text(amount(row.amount)),
        // A number would lose digits in readers that take every JSON number for a float.
        text(row.amount.to_string()),
        text(amount(row.debit_after)),
        text(amount(row.credit_after)),
        text(time(row.recorded_at)),
        text(time(row.effective_at)),
        text(subject(&movement, row.subject_id)),
        text(LotId(row.lot_id).to_string()),
        row.reverses_id.map(|id| TransactionId(id).to_string()).into(),
        topup.into(),
        row.network.into(),
        row.settlement_tx.into(),
        row.payer.into(),
        row.checkout_id.map(|id| CheckoutId(id).to_string()).into(),
        charge.map(|id| ChargeId(id).to_string()).into(),
        row.result_id.into(),
        row.sku.into(),
        row.block_number.map_or(Cell::Missing, Cell::Number),
        row.block_hash.into(),
        row.block_time.map(time).into(),
        row.log_index.map_or(Cell::Missing, Cell::Number),
    ]
}

fn amount(micros: i64) -> String {
    Amount::from_micros(micros).unwrap_or_default().to_string()
}

fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Micros, true)
}

/// The public id of what a transfer belongs to.
pub(super) fn subject(movement: &str, id: Uuid) -> String {
    match movement {
        "topup" | "void" | "recovery" | "reinstatement" => TopupId(id).to_string(),
        "grant" => GrantId(id).to_string(),
        "hold" | "release" => HoldId(id).to_string(),
        "capture" => ChargeId(id).to_string(),
        "reversal" => ReversalId(id).to_string(),
        "expiry" => LotId(id).to_string(),
        _ => id.simple().to_string(),
    }
}

fn write_csv(cells: &[Cell], out: &mut Vec<u8>) {
    for (position, cell) in cells.iter().enumerate() {
        if position > 0 {
            out.push(b',');
        }
        match cell {
            Cell::Number(number) => out.extend_from_slice(number.to_string().as_bytes()),
            Cell::Text(text) => write_field(text, out),
            Cell::Missing => {}
        }
    }
    out.extend_from_slice(b"\r\n");
}

/// A field of RFC 4180. A spreadsheet takes a text that begins like a formula for one, and some of
/// these texts come from strangers: an apostrophe before it makes it a text.
fn write_field(text: &str, out: &mut Vec<u8>) {
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']);
    let quoted = text.contains([',', '"', '\r', '\n']);
    if quoted {
        out.push(b'"');
    }
    if formula {
        out.push(b'\'');
    }
    for byte in text.bytes() {
        if byte == b'"' {
            out.push(b'"');
        }
        out.push(byte);
    }
    if quoted {
        out.push(b'"');
    }
}

fn write_json(cells: &[Cell], out: &mut Vec<u8>) {
    out.push(b'{');
    for (n, &position) in SORTED.iter().enumerate() {
        if n > 0 {
            out.push(b',');
        }
        out.push(b'"');
        out.extend_from_slice(COLUMNS[position].as_bytes());
        out.extend_from_slice(b"\":");
        match &cells[position] {
            Cell::Number(number) => out.extend_from_slice(number.to_string().as_bytes()),
            Cell::Text(text) => {
                out.extend_from_slice(serde_json::Value::from(text.as_str()).to_string().as_bytes())
            }
            Cell::Missing => out.extend_from_slice(b"null"),
        }
    }
    out.extend_from_slice(b"}\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(text: &str) -> String {
        let mut out = Vec::new();
        write_field(text, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn fields_are_quoted_and_formulas_disarmed() {
        for (text, written) in [
            ("plain", "plain"),
            ("", ""),
            ("a,b", "\"a,b\""),
            ("say \"hi\"", "\"say \"\"hi\"\"\""),
            ("two\nlines", "\"two\nlines\""),
            ("=1+1", "'=1+1"),
            ("+49", "'+49"),
            ("-3", "'-3"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("\tx", "'\tx"),
            ("=HYPERLINK(\"http://x\",\"y\")", "\"'=HYPERLINK(\"\"http://x\"\",\"\"y\"\")\""),
            ("a=b", "a=b"),
        ] {
            assert_eq!(field(text), written, "{text:?}");
        }
    }

    #[test]
    fn json_lines_are_canonical() {
        let cells: Vec<Cell> = (0..COLUMNS.len())
            .map(|n| if n == 1 { Cell::Number(7) } else { Cell::Text(format!("\"{n}\n")) })
            .collect();
        let mut out = Vec::new();
        write_json(&cells, &mut out);
        let line = String::from_utf8(out).unwrap();
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(line, crate::ground::canonical_json(&value) + "\n");
        assert_eq!(value["version"], 7);
        assert_eq!(value["sku"], "\"22\n");
    }
}
