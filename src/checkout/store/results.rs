//! Results, as they are asked for: a page of those of a checkout, or one. Each comes with the last call
//! to its verifier, when it is one that is called.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::ground::{BookId, CheckoutId};

pub(in crate::checkout) struct ResultRow {
    pub result_id: String,
    pub item: i16,
    pub sku: String,
    pub quantity: i64,
    pub state: String,
    pub evidence: Option<serde_json::Value>,
    pub evidence_hash: Vec<u8>,
    pub submitted_at: DateTime<Utc>,
    pub verify_by: DateTime<Utc>,
    pub accepted: Option<i64>,
    pub verdict: Option<serde_json::Value>,
    pub charge_id: Option<Uuid>,
    pub attempt: Option<i32>,
    pub called_at: Option<DateTime<Utc>>,
    pub ended_at: Option<DateTime<Utc>>,
    pub status: Option<i16>,
    pub fault: Option<String>,
}

/// The results of a checkout after one, by their ids; with their evidence if that is wanted, which is
/// most of a result.
pub(in crate::checkout) async fn page(
    tx: &mut PgConnection,
    account: BookId,
    checkout: CheckoutId,
    after: &str,
    limit: i64,
    with_evidence: bool,
) -> Result<Vec<ResultRow>, sqlx::Error> {
    let one_more = limit.saturating_add(1);
    let mut rows = from(tx, account, checkout, after, one_more, with_evidence).await?;
    rows.retain(|row| row.result_id != after);
    rows.truncate(usize::try_from(limit).unwrap_or_default());
    Ok(rows)
}

/// One result, with its evidence.
pub(in crate::checkout) async fn one(
    tx: &mut PgConnection,
    account: BookId,
    checkout: CheckoutId,
    result_id: &str,
) -> Result<Option<ResultRow>, sqlx::Error> {
    let found = from(tx, account, checkout, result_id, 1, true).await?.pop();
    Ok(found.filter(|row| row.result_id == result_id))
}

/// The results of a checkout from an id on.
async fn from(
    tx: &mut PgConnection,
    account: BookId,
    checkout: CheckoutId,
    first: &str,
    limit: i64,
    with_evidence: bool,
) -> Result<Vec<ResultRow>, sqlx::Error> {
    sqlx::query_as!(
        ResultRow,
        r#"select r.result_id, r.item, i.sku as "sku!", r.quantity, r.state,
             case when $6::boolean then r.evidence end as evidence, r.evidence_hash,
             r.submitted_at, r.verify_by, r.accepted, r.verdict, r.charge_id,
             c.attempt as "attempt?", c.called_at as "called_at?", c.ended_at, c.status, c.fault
           from (
             select * from result
             where slot = $1 and book_id = $2 and checkout_id = $3 and result_id >= $4
             order by result_id limit $5) r
           cross join lateral (
             select sku from checkout_item
             where slot = r.slot and checkout_id = r.checkout_id and item = r.item limit 1) i
           left join lateral (
             select c.* from verification q
             cross join lateral (
               select * from verification_call
               where slot = q.slot and book_id = q.book_id and checkout_id = q.checkout_id
                 and result_id = q.result_id and attempt = q.attempts limit 1) c
             where q.slot = r.slot and q.book_id = r.book_id and q.checkout_id = r.checkout_id
               and q.result_id = r.result_id limit 1) c on true
           order by r.result_id"#,
        account.slot().sql(),
        account.0,
        checkout.0,
        first,
        limit,
        with_evidence
    )
    .fetch_all(tx)
    .await
}
