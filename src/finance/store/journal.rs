use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::finance::Scope;

use super::Range;

/// One transfer with what it belongs to.
pub struct JournalRow {
    pub slot: i16,
    pub book_id: Uuid,
    pub version: i64,
    pub transaction_id: Uuid,
    pub movement: String,
    pub debit: String,
    pub credit: String,
    pub amount: i64,
    pub debit_after: i64,
    pub credit_after: i64,
    pub recorded_at: DateTime<Utc>,
    pub effective_at: DateTime<Utc>,
    pub subject_id: Uuid,
    pub lot_id: Uuid,
    pub reverses_id: Option<Uuid>,
    pub network: Option<String>,
    pub settlement_tx: Option<String>,
    pub payer: Option<String>,
    pub block_number: Option<i64>,
    pub block_hash: Option<String>,
    pub block_time: Option<DateTime<Utc>>,
    pub log_index: Option<i64>,
    pub checkout_id: Option<Uuid>,
    pub charge_id: Option<Uuid>,
    pub result_id: Option<String>,
    pub sku: Option<String>,
}

/// Where a transfer stands in the journal.
#[derive(Clone, Copy, Debug)]
pub struct Position {
    slot: i16,
    book: Uuid,
    version: i64,
}

impl Position {
    pub fn of(row: &JournalRow) -> Self {
        Self { slot: row.slot, book: row.book_id, version: row.version }
    }
}

/// The next rows after a position, in the order of the primary key.
///
/// Everything is looked up by key, for the rows of the page alone, so that a page costs the same
/// wherever it is. One lookup takes a way round: a hold finds its checkout by the millisecond in its
/// id, because the id of a checkout is made together with those of its holds. A reversal's transfers
/// belong to its charge; the journal names the reversal itself.
pub async fn page(
    tx: &mut PgConnection,
    scope: Scope,
    after: Option<Position>,
    rows: i64,
) -> Result<Vec<JournalRow>, sqlx::Error> {
    let range = Range::of(scope);
    let (slot, book) = range.from;
    let after = after.unwrap_or(Position { slot, book, version: i64::MIN });
    let mut page = sqlx::query_as!(
        JournalRow,
        r#"with page as materialized (
             select * from transfer
             where (slot, book_id, version) > ($1, $2, $3) and (slot, book_id) <= ($4, $5)
             order by slot, book_id, version limit $6)
           select t.slot as "slot!", t.book_id as "book_id!", t.version as "version!",
                  t.transaction_id as "transaction_id!",
                  coalesce(m.name, t.movement::text) as "movement!",
                  coalesce(d.name, t.debit::text) as "debit!",
                  coalesce(c.name, t.credit::text) as "credit!", t.amount as "amount!",
                  t.debit_after as "debit_after!", t.credit_after as "credit_after!",
                  t.recorded_at as "recorded_at!", t.effective_at as "effective_at!",
                  coalesce(v.reversal_id, t.subject_id) as "subject_id!",
                  t.lot_id as "lot_id!", t.reverses_id,
                  p.network as "network?", p.settlement_tx as "settlement_tx?",
                  p.payer as "payer?", p.block_number as "block_number?",
                  p.block_hash as "block_hash?", p.block_time as "block_time?",
                  p.log_index as "log_index?",
                  coalesce(g.checkout_id, i.checkout_id) as "checkout_id?",
                  g.charge_id as "charge_id?", g.result_id as "result_id?",
                  coalesce(g.sku, i.sku) as "sku?"
           from page t
           left join movement m
             on m.movement = t.movement and m.debit = t.debit and m.credit = t.credit
           left join role d on d.role = t.debit
           left join role c on c.role = t.credit
           left join lateral (
             select p.network, coalesce(s.settlement_tx, p.settlement_tx) as settlement_tx, p.payer,
                    s.block_number, s.block_hash, s.block_time, s.log_index
             from topup p left join lateral (
               select * from sighting s where s.slot = p.slot and s.book_id = p.book_id
                 and s.topup_id = p.topup_id
                 and case m.name when 'topup' then s.nth = 1 else s.seen_at <= t.recorded_at end
               order by s.nth desc limit 1) s on true
             where m.name in ('topup', 'void', 'recovery', 'reinstatement') and p.slot = t.slot
               and p.book_id = t.book_id and p.topup_id = t.subject_id
             limit 1) p on true
           left join lateral (
             select v.reversal_id from reversal v
             where m.name = 'reversal' and v.slot = t.slot and v.book_id = t.book_id
               and v.charge_id = t.subject_id and v.transaction_id = t.transaction_id
             limit 1) v on true
           left join lateral (
             select g.charge_id, g.checkout_id, g.result_id, g.sku from charge g
             where m.name in ('capture', 'reversal') and g.slot = t.slot
               and g.book_id = t.book_id
               and g.charge_id = t.subject_id
             limit 1) g on true
           left join lateral (
             select i.checkout_id, i.sku from checkout_item i
             where m.name in ('hold', 'release') and i.slot = t.slot and i.book_id = t.book_id
               and i.checkout_id
                   between (left(t.subject_id::text, 13) || '-0000-0000-000000000000')::uuid
                       and (left(t.subject_id::text, 13) || '-ffff-ffff-ffffffffffff')::uuid
               and i.hold_id = t.subject_id
             limit 1) i on true"#,
        after.slot,
        after.book,
        after.version,
        range.to.0,
        range.to.1,
        rows
    )
    .fetch_all(tx)
    .await?;
    page.sort_unstable_by_key(|row| (row.slot, row.book_id, row.version));
    Ok(page)
}
