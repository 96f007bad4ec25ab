//! Results that wait for a verdict, as whoever may judge them reads them: in the order of their
//! deadlines, by the index that the sweeper has. What is read together is read in one snapshot.

use sqlx::PgConnection;
use sqlx::types::Json;

use crate::checkout::{Criteria, VerificationMode, WaitingPlace, WaitingResultView};
use crate::ground::CheckoutId;

use super::amount;

/// Where the next so many results after a place end, whatever they are for; none when there are fewer.
pub(in crate::checkout) async fn end_of(
    tx: &mut PgConnection,
    after: &WaitingPlace,
    count: i64,
) -> Result<Option<WaitingPlace>, sqlx::Error> {
    let row = sqlx::query!(
        "select verify_by, checkout_id, result_id from result
         where state = 'verifying' and (verify_by, checkout_id, result_id) > ($1, $2, $3)
         order by verify_by, checkout_id, result_id limit 1 offset $4",
        after.verify_by,
        after.checkout.0,
        after.result_id,
        count.saturating_sub(1)
    )
    .fetch_optional(tx)
    .await?;
    Ok(row.map(|row| WaitingPlace {
        verify_by: row.verify_by,
        checkout: CheckoutId(row.checkout_id),
        result_id: row.result_id,
    }))
}

/// Of the next so many results after a place those about these SKUs (none means all), `limit` at most.
/// What is looked through is bounded before anything is looked up about it, so that no plan reads more.
pub(in crate::checkout) async fn results(
    tx: &mut PgConnection,
    skus: Option<&[String]>,
    after: &WaitingPlace,
    count: i64,
    limit: i64,
) -> Result<Vec<WaitingResultView>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select r.checkout_id, r.result_id, r.item, r.quantity, r.evidence, r.evidence_hash,
             r.submitted_at, r.verify_by, i.sku, i.sku_version, i.unit_price, v.unit,
             v.criteria as "criteria: Json<Criteria>", v.verifier_id is not null as "called!"
           from (
             select * from result
             where state = 'verifying' and (verify_by, checkout_id, result_id) > ($2, $3, $4)
             order by verify_by, checkout_id, result_id limit $5) r
           cross join lateral (
             select sku, sku_version, unit_price from checkout_item
             where slot = r.slot and checkout_id = r.checkout_id and item = r.item limit 1) i
           cross join lateral (
             select unit, criteria, verifier_id from sku_version
             where sku = i.sku and version = i.sku_version limit 1) v
           where coalesce(i.sku = any($1::text[]), true)
           order by r.verify_by, r.checkout_id, r.result_id limit $6"#,
        skus,
        after.verify_by,
        after.checkout.0,
        after.result_id,
        count,
        limit
    )
    .fetch_all(tx)
    .await?;
    let results = rows.into_iter().map(|row| WaitingResultView {
        checkout_id: CheckoutId(row.checkout_id),
        result_id: row.result_id,
        item: row.item,
        sku: row.sku,
        unit: row.unit,
        unit_price: amount(row.unit_price),
        quantity: row.quantity,
        evidence: row.evidence,
        evidence_sha256: hex::encode(row.evidence_hash),
        criteria: row.criteria.0,
        criteria_version: row.sku_version,
        verification: if row.called { VerificationMode::Http } else { VerificationMode::Push },
        submitted_at: row.submitted_at,
        verify_by: row.verify_by,
    });
    Ok(results.collect())
}
