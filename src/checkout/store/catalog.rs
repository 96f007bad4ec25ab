use chrono::{DateTime, Utc};
use sqlx::types::Json;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::checkout::{Criteria, Sku, SkuTerms, Verification};
use crate::ground::VerifierId;

use super::amount;

struct Row {
    sku: String,
    title: String,
    unit: String,
    unit_price: i64,
    criteria: Json<Criteria>,
    verifier_id: Option<Uuid>,
    delivery_deadline_s: i32,
    verification_deadline_s: i32,
    dispute_window_s: i32,
    dispute_decision_s: i32,
    active: bool,
    version: i32,
    updated_at: DateTime<Utc>,
}

impl From<Row> for Sku {
    fn from(row: Row) -> Self {
        Self {
            sku: row.sku,
            terms: SkuTerms {
                title: row.title,
                unit: row.unit,
                unit_price: amount(row.unit_price),
                criteria: row.criteria.0,
                // A CHECK ties the two together.
                verification: match row.verifier_id {
                    Some(verifier) => Verification::Http(VerifierId(verifier)),
                    None => Verification::Push,
                },
                delivery_deadline_s: row.delivery_deadline_s,
                verification_deadline_s: row.verification_deadline_s,
                dispute_window_s: row.dispute_window_s,
                dispute_decision_s: row.dispute_decision_s,
                active: row.active,
            },
            version: row.version,
            updated_at: row.updated_at,
        }
    }
}

pub(in crate::checkout) async fn list(
    pool: &PgPool,
    after: &str,
    limit: i64,
) -> Result<Vec<Sku>, sqlx::Error> {
    let rows = sqlx::query_as!(
        Row,
        r#"select sku, title, unit, unit_price, criteria as "criteria: Json<Criteria>",
                  verifier_id, delivery_deadline_s, verification_deadline_s, dispute_window_s,
                  dispute_decision_s, active, version, updated_at
           from sku where sku > $1 order by sku limit $2"#,
        after,
        limit
    )
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(Sku::from).collect())
}

pub(in crate::checkout) async fn get(
    connection: &mut PgConnection,
    sku: &str,
) -> Result<Option<Sku>, sqlx::Error> {
    let row = sqlx::query_as!(
        Row,
        r#"select sku, title, unit, unit_price, criteria as "criteria: Json<Criteria>",
                  verifier_id, delivery_deadline_s, verification_deadline_s, dispute_window_s,
                  dispute_decision_s, active, version, updated_at
           from sku where sku = $1"#,
        sku
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(Sku::from))
}

/// The versions of a SKU, newest first.
pub(in crate::checkout) async fn versions(
    connection: &mut PgConnection,
    sku: &str,
    before: Option<i32>,
    limit: i64,
) -> Result<Vec<Sku>, sqlx::Error> {
    let rows = sqlx::query_as!(
        Row,
        r#"select sku, title, unit, unit_price, criteria as "criteria: Json<Criteria>",
                  verifier_id, delivery_deadline_s, verification_deadline_s, dispute_window_s,
                  dispute_decision_s, active, version, updated_at
           from sku_version where sku = $1 and version < $2
           order by version desc limit $3"#,
        sku,
        before.unwrap_or(i32::MAX),
        limit
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(Sku::from).collect())
}

/// Lists a SKU. Terms that differ from the present ones begin a version; the same terms again do
/// nothing, so that whoever got no answer may send them again.
pub(in crate::checkout) async fn put(
    pool: &PgPool,
    sku: &str,
    terms: &SkuTerms,
    at: DateTime<Utc>,
) -> Result<Sku, sqlx::Error> {
    let row = sqlx::query_as!(
        Row,
        r#"with listed as (
             insert into sku (sku, title, unit, unit_price, criteria, verification,
               verifier_id, delivery_deadline_s, verification_deadline_s, dispute_window_s,
               dispute_decision_s, active, version, updated_at)
             values ($1, $2, $3, $4, $5, $6, $12, $7, $8, $9, $13, $10, 1, $11)
             on conflict (sku) do update set
               title = excluded.title, unit = excluded.unit, unit_price = excluded.unit_price,
               criteria = excluded.criteria, verification = excluded.verification,
               verifier_id = excluded.verifier_id,
               delivery_deadline_s = excluded.delivery_deadline_s,
               verification_deadline_s = excluded.verification_deadline_s,
               dispute_window_s = excluded.dispute_window_s,
               dispute_decision_s = excluded.dispute_decision_s, active = excluded.active,
               version = sku.version + 1, updated_at = excluded.updated_at
             where (sku.title, sku.unit, sku.unit_price, sku.criteria, sku.verification,
                    sku.delivery_deadline_s, sku.verification_deadline_s, sku.dispute_window_s,
                    sku.dispute_decision_s, sku.active, sku.verifier_id)
                is distinct from (excluded.title, excluded.unit, excluded.unit_price, excluded.criteria,
                    excluded.verification, excluded.delivery_deadline_s,
                    excluded.verification_deadline_s, excluded.dispute_window_s,
                    excluded.dispute_decision_s, excluded.active, excluded.verifier_id)
             returning *)
           insert into sku_version (sku, version, title, unit, unit_price, criteria, verification,
             verifier_id, delivery_deadline_s, verification_deadline_s, dispute_window_s,
             dispute_decision_s, active, updated_at)
           select sku, version, title, unit, unit_price, criteria, verification,
             verifier_id, delivery_deadline_s, verification_deadline_s, dispute_window_s,
             dispute_decision_s, active, updated_at
           from listed
           returning sku, title, unit, unit_price, criteria as "criteria: Json<Criteria>",
             verifier_id, delivery_deadline_s, verification_deadline_s, dispute_window_s,
             dispute_decision_s, active, version, updated_at"#,
        sku,
        terms.title,
        terms.unit,
        terms.unit_price.micros(),
        Json(&terms.criteria) as _,
        terms.verification.name(),
        terms.delivery_deadline_s,
        terms.verification_deadline_s,
        terms.dispute_window_s,
        terms.active,
        at,
        terms.verification.verifier().map(|id| id.0),
        terms.dispute_decision_s
    )
    .fetch_optional(pool)
    .await?;
    match row {
        Some(row) => Ok(row.into()),
        None => get(&mut *pool.acquire().await?, sku).await?.ok_or(sqlx::Error::RowNotFound),
    }
}
