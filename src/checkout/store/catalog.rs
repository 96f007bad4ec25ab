use chrono::{DateTime, Utc};
use sqlx::PgPool;

use crate::checkout::{Sku, SkuTerms, Verification};

use super::amount;

struct Row {
    sku: String,
    title: String,
    unit: String,
    unit_price: i64,
    criteria: serde_json::Value,
    delivery_deadline_s: i32,
    verification_deadline_s: i32,
    dispute_window_s: i32,
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
                criteria: row.criteria,
                // A CHECK allows nothing else.
                verification: Verification::Push,
                delivery_deadline_s: row.delivery_deadline_s,
                verification_deadline_s: row.verification_deadline_s,
                dispute_window_s: row.dispute_window_s,
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
        "select sku, title, unit, unit_price, criteria, delivery_deadline_s,
                verification_deadline_s, dispute_window_s, active, version, updated_at
         from sku where sku > $1 order by sku limit $2",
        after,
        limit
    )
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(Sku::from).collect())
}

pub(in crate::checkout) async fn put(
    pool: &PgPool,
    sku: &str,
    terms: &SkuTerms,
    at: DateTime<Utc>,
) -> Result<Sku, sqlx::Error> {
    let row = sqlx::query_as!(
        Row,
        "insert into sku (sku, title, unit, unit_price, criteria, verification,
           delivery_deadline_s, verification_deadline_s, dispute_window_s, active, version,
           updated_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 1, $11)
         on conflict (sku) do update set
           title = excluded.title, unit = excluded.unit, unit_price = excluded.unit_price,
           criteria = excluded.criteria, verification = excluded.verification,
           delivery_deadline_s = excluded.delivery_deadline_s,
           verification_deadline_s = excluded.verification_deadline_s,
           dispute_window_s = excluded.dispute_window_s, active = excluded.active,
           version = sku.version + 1, updated_at = excluded.updated_at
         returning sku, title, unit, unit_price, criteria, delivery_deadline_s,
           verification_deadline_s, dispute_window_s, active, version, updated_at",
        sku,
        terms.title,
        terms.unit,
        terms.unit_price.micros(),
        terms.criteria,
        terms.verification.name(),
        terms.delivery_deadline_s,
        terms.verification_deadline_s,
        terms.dispute_window_s,
        terms.active,
        at
    )
    .fetch_one(pool)
    .await?;
    Ok(row.into())
}
