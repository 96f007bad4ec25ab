//! Results that wait for a verdict, as whoever may judge them reads them: in the order of their
//! deadlines, by the index that the sweeper has.

use sqlx::PgPool;
use sqlx::types::Json;

use crate::checkout::{Criteria, VerificationMode, WaitingPlace, WaitingResultView};
use crate::ground::CheckoutId;

use super::amount;

/// Where the next so many results after a place end, whatever they are for; none when there are fewer.
pub(in crate::checkout) async fn end_of(
    pool: &PgPool,
    after: &WaitingPlace,
    count: i64,
) -> Result<Option<WaitingPlace>, sqlx::Error> {
    let row = sqlx::query!(
        "select r.verify_by, r.checkout_id, r.result_id from result r
         where r.state = 'verifying' and r.verify_by >= $1
           and (r.verify_by, r.checkout_id, r.result_id) > ($1, $2, $3)
         order by r.verify_by, r.checkout_id, r.result_id offset $4 limit 1",
        after.verify_by,
        after.checkout.0,
        after.result_id,
        count.saturating_sub(1)
    )
    .fetch_optional(pool)
    .await?;
    Ok(row.map(|row| WaitingPlace {
        verify_by: row.verify_by,
        checkout: CheckoutId(row.checkout_id),
        result_id: row.result_id,
    }))
}

/// The results after a place, and up to another one, about these SKUs (none means all).
pub(in crate::checkout) async fn results(
    pool: &PgPool,
    skus: Option<&[String]>,
    after: &WaitingPlace,
    upto: Option<&WaitingPlace>,
    limit: i64,
) -> Result<Vec<WaitingResultView>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select r.checkout_id, r.result_id, r.item, r.quantity, r.evidence, r.evidence_hash,
             r.submitted_at, r.verify_by, i.sku, i.sku_version, i.unit_price, v.unit,
             v.criteria as "criteria: Json<Criteria>", v.verifier_id is not null as "called!"
           from result r
           join checkout_item i on i.slot = r.slot and i.book_id = r.book_id
                               and i.checkout_id = r.checkout_id and i.item = r.item
           join sku_version v on v.sku = i.sku and v.version = i.sku_version
           where r.state = 'verifying' and r.verify_by >= $2
             and (r.verify_by, r.checkout_id, r.result_id) > ($2, $3, $4)
             and ($5::timestamptz is null
                  or r.verify_by <= $5
                     and (r.verify_by, r.checkout_id, r.result_id) <= ($5, $6, $7))
             and ($1::text[] is null or i.sku = any($1))
           order by r.verify_by, r.checkout_id, r.result_id limit $8"#,
        skus,
        after.verify_by,
        after.checkout.0,
        after.result_id,
        upto.map(|place| place.verify_by),
        upto.map(|place| place.checkout.0),
        upto.map(|place| place.result_id.as_str()),
        limit
    )
    .fetch_all(pool)
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
