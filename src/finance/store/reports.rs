use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::finance::Scope;
use crate::ground::BookId;

use super::Range;

/// A role's balance over the books of a report, on its normal side.
pub struct RoleBalance {
    pub account: String,
    pub kind: String,
    pub normal_side: String,
    pub micros: Decimal,
}

/// The balances of all roles, in the order of the chart.
pub async fn balances(
    tx: &mut PgConnection,
    scope: Scope,
) -> Result<Vec<RoleBalance>, sqlx::Error> {
    let range = Range::of(scope);
    sqlx::query_as!(
        RoleBalance,
        r#"select r.name as account, r.kind, r.normal_side, coalesce(s.micros, 0) as "micros!"
           from role r left join (
             select v.name, sum(v.balance) as micros
             from book b cross join lateral (values
               ('settled_usdc', b.settled_usdc), ('prepaid', b.prepaid), ('held', b.held),
               ('promo_issued', b.promo_issued), ('promo', b.promo), ('promo_held', b.promo_held),
               ('revenue', b.revenue), ('reversed_revenue', b.reversed_revenue),
               ('breakage', b.breakage), ('settlement_loss', b.settlement_loss)) as v(name, balance)
             where (b.slot, b.book_id) >= ($1, $2) and (b.slot, b.book_id) <= ($3, $4)
             group by v.name) s on s.name = r.name
           order by r.role"#,
        range.from.0,
        range.from.1,
        range.to.0,
        range.to.1
    )
    .fetch_all(tx)
    .await
}

/// One transfer of an account's history.
pub struct HistoryRow {
    pub version: i64,
    pub transaction_id: Uuid,
    pub movement: String,
    pub debit: String,
    pub credit: String,
    pub amount: i64,
    pub subject_id: Uuid,
    pub lot_id: Uuid,
    pub recorded_at: DateTime<Utc>,
    pub effective_at: DateTime<Utc>,
    pub reverses_id: Option<Uuid>,
    pub reason: Option<String>,
}

/// An account's transfers before a version, newest first.
pub async fn history(
    pool: &PgPool,
    account: BookId,
    before: Option<i64>,
    limit: i64,
) -> Result<Vec<HistoryRow>, sqlx::Error> {
    sqlx::query_as!(
        HistoryRow,
        r#"select t.version, t.transaction_id, t.amount, t.lot_id, t.recorded_at,
                  coalesce(v.reversal_id, t.subject_id) as "subject_id!",
                  t.effective_at, t.reverses_id, coalesce(m.name, t.movement::text) as "movement!",
                  d.name as debit, c.name as credit, g.reason as "reason?"
           from (
             select * from transfer where slot = $1 and book_id = $2 and version < $3
             order by version desc limit $4) t
           join role d on d.role = t.debit join role c on c.role = t.credit
           left join movement m
             on m.movement = t.movement and m.debit = t.debit and m.credit = t.credit
           left join lateral (
             select v.reversal_id from reversal v
             where m.name = 'reversal' and v.slot = t.slot and v.book_id = t.book_id
               and v.charge_id = t.subject_id and v.transaction_id = t.transaction_id
             limit 1) v on true
           left join lateral (
             select g.reason from credit_grant g
             where m.name = 'grant' and g.slot = t.slot and g.book_id = t.book_id
               and g.grant_id = t.subject_id
             limit 1) g on true
           order by t.version desc"#,
        account.slot().sql(),
        account.0,
        before.unwrap_or(i64::MAX),
        limit
    )
    .fetch_all(pool)
    .await
}
