//! All rows of an account as text, without what may differ between two runs: ids that are made on
//! the way, and times.

use std::collections::HashMap;

use bursar::ground::BookId;
use sqlx::PgPool;

/// Lots are named by the order in which they were opened, transactions and holds by their first
/// version.
const QUERIES: [&str; 11] = [
    "select 'book', version, event_seq, frozen_at is not null, settled_usdc, prepaid, held,
            promo_issued, promo, promo_held, revenue, reversed_revenue, breakage, settlement_loss
     from book where slot = $1 and book_id = $2",
    "select 'transfer', t.version, movement, debit, credit, t.amount, debit_after, credit_after,
            lot_number(t.lot_id), transaction_number(t.transaction_id),
            transaction_number(t.reverses_id), t.effective_at = t.recorded_at
     from transfer t where slot = $1 and book_id = $2 order by t.version",
    "select 'lot', lot_number(lot_id), paid, open, priority, amount, remaining, origin_id,
            lot_number(parent_id), expires_at is null, lost
     from lot where slot = $1 and book_id = $2 order by lot_id",
    "select 'hold', spender_id, amount, captured, released, reversed, draw_amounts,
            (select array_agg(lot_number(lot) order by n)
             from unnest(draw_lots) with ordinality as u(lot, n)),
            transaction_number(h.transaction_id)
     from hold h where slot = $1 and book_id = $2
     order by hold_number(hold_id)",
    "select 'capture', draw_offset, amount, reversed, transaction_number(c.transaction_id)
     from capture c where slot = $1 and book_id = $2 order by transaction_number(c.transaction_id)",
    "select 'cap', spender_id, span, limit_amount from cap
     where slot = $1 and book_id = $2 order by span, spender_id",
    "select 'usage', c.spender_id, c.span, u.used
     from cap_usage u join cap c using (slot, book_id, cap_id)
     where slot = $1 and book_id = $2 order by c.span, c.spender_id, u.window_start",
    "select 'item', i.item, i.sku, i.quantity, i.unit_price, i.submitted, i.settled, i.closed,
            c.total, c.max_total, c.canceled_at is not null
     from checkout_item i join checkout c using (slot, book_id, checkout_id)
     where slot = $1 and book_id = $2 order by hold_number(i.hold_id)",
    "select 'result', r.result_id, r.item, r.quantity, r.state, r.accepted, g.amount, g.reversed,
            transaction_number(g.transaction_id),
            (select array_agg(v.amount order by v.amount) from reversal v
             where v.slot = g.slot and v.book_id = g.book_id and v.charge_id = g.charge_id)
     from result r left join charge g using (slot, book_id, checkout_id, result_id)
     join checkout_item i using (slot, book_id, checkout_id)
     where slot = $1 and book_id = $2 and i.item = r.item
     order by hold_number(i.hold_id), r.result_id",
    "select 'dispute', d.amount, d.state, d.decided_by, d.decision_reason, v.amount
     from dispute d left join reversal v using (slot, book_id, dispute_id)
     where slot = $1 and book_id = $2 order by d.dispute_id",
    "select 'event', seq, kind from outbox where slot = $1 and book_id = $2 order by seq",
];

/// The rows, one line each.
pub async fn of(pool: &PgPool, account: BookId) -> Vec<String> {
    let mut lines = Vec::new();
    for query in QUERIES {
        lines.extend(select(pool, account, query).await);
    }
    // Outcomes are named by their command; what they say holds ids and times.
    let outcomes = "select command, accepted, body from outcome
                    where slot = $1 and book_id = $2 order by command";
    lines.extend(without_ids(select(pool, account, outcomes).await));
    lines
}

async fn select(pool: &PgPool, account: BookId, query: &str) -> Vec<String> {
    let lot = "(select count(*) from lot n
                where n.slot = $1 and n.book_id = $2 and n.lot_id <= @)";
    let transaction = "(select min(version) from transfer n
                        where n.slot = $1 and n.book_id = $2 and n.transaction_id = @)";
    let hold = "(select min(version) from transfer n
                 where n.slot = $1 and n.book_id = $2 and n.subject_id = @)";
    let query = expand(query, "lot_number", lot);
    let query = expand(&query, "transaction_number", transaction);
    let sql = format!("select r::text from ({}) r", expand(&query, "hold_number", hold));
    let query = sqlx::query_scalar(sqlx::AssertSqlSafe(sql));
    query.bind(account.slot().sql()).bind(account.0).fetch_all(pool).await.unwrap()
}

/// Replaces `name(argument)` by a subquery.
fn expand(query: &str, name: &str, by: &str) -> String {
    let call = format!("{name}(");
    let mut parts = query.split(&call);
    let mut out = parts.next().unwrap().to_owned();
    for part in parts {
        let (argument, rest) = part.split_once(')').unwrap();
        out.push_str(&by.replace('@', argument));
        out.push_str(rest);
    }
    out
}

/// Replaces each id by its number of first appearance, and each time by `time`.
pub fn without_ids(lines: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut numbers: HashMap<String, usize> = HashMap::new();
    let mut plain = |line: String| {
        let words = line.split_inclusive(['"', '\\']).map(|word| {
            let bare = word.trim_end_matches(['"', '\\']);
            let end = &word[bare.len()..];
            let id = bare.len() == 36 && bare.as_bytes()[3] == b'_';
            let time = bare.len() >= 20 && bare.ends_with('Z') && bare.as_bytes()[10] == b'T';
            match (id, time) {
                (true, _) => {
                    let fresh = numbers.len();
                    format!("id {}{end}", numbers.entry(bare.to_owned()).or_insert(fresh))
                }
                (_, true) => format!("time{end}"),
                (false, false) => word.to_owned(),
            }
        });
        words.collect()
    };
    lines.into_iter().map(&mut plain).collect()
}
