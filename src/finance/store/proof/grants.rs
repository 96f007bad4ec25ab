//! Grants of promotional credits, by their ids.

use sqlx::PgConnection;
use uuid::Uuid;

use super::Keys;

/// A grant, with the lot that it became.
pub struct GrantRow {
    pub book_id: Uuid,
    pub grant_id: Uuid,
    pub amount: i64,
    pub lot_id: Option<Uuid>,
}

impl GrantRow {
    /// The lot and its amount, once it is credited.
    pub fn credited(&self) -> Option<(Uuid, i64)> {
        self.lot_id.map(|lot| (lot, self.amount))
    }
}

/// Some grants.
pub async fn grants(tx: &mut PgConnection, keys: &Keys) -> Result<Vec<GrantRow>, sqlx::Error> {
    sqlx::query_as!(
        GrantRow,
        r#"select g.book_id as "book_id!", g.grant_id as "grant_id!", g.amount as "amount!",
                  g.lot_id
           from unnest($1::smallint[], $2::uuid[], $3::uuid[]) as u(slot, book_id, grant_id)
           cross join lateral (
             select * from credit_grant where slot = u.slot and book_id = u.book_id
               and grant_id = u.grant_id offset 0) g"#,
        &keys.slots,
        &keys.books,
        &keys.ids
    )
    .fetch_all(tx)
    .await
}
