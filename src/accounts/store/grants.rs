use std::collections::{BTreeSet, HashMap};

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::accounts::grant::{Grant, WAITING_GRANTS_MAX};
use crate::ground::{Amount, BookId, GrantId, KeyId, LotId};
use crate::ledger::GrantTerms;

/// How many grants of each account wait for their time; no more than may wait are counted.
pub async fn count_waiting(
    tx: &mut PgConnection,
    accounts: &BTreeSet<BookId>,
) -> Result<HashMap<BookId, i64>, sqlx::Error> {
    let slots: Vec<i16> = accounts.iter().map(|account| account.slot().sql()).collect();
    let books: Vec<Uuid> = accounts.iter().map(|account| account.0).collect();
    let rows = sqlx::query!(
        r#"select u.book_id as "book_id!", n.waiting as "waiting!"
           from unnest($1::smallint[], $2::uuid[]) as u(slot, book_id)
           cross join lateral (
             select count(*) as waiting from (
               select from credit_grant
               where slot = u.slot and book_id = u.book_id and credited_at is null limit $3) w) n"#,
        &slots,
        &books,
        WAITING_GRANTS_MAX
    )
    .fetch_all(tx)
    .await?;
    Ok(rows.into_iter().map(|row| (BookId(row.book_id), row.waiting)).collect())
}

/// The wanted grants.
pub async fn read(
    tx: &mut PgConnection,
    wanted: &BTreeSet<(BookId, GrantId)>,
) -> Result<Vec<Grant>, sqlx::Error> {
    let slots: Vec<i16> = wanted.iter().map(|(account, _)| account.slot().sql()).collect();
    let books: Vec<Uuid> = wanted.iter().map(|(account, _)| account.0).collect();
    let ids: Vec<Uuid> = wanted.iter().map(|(_, grant)| grant.0).collect();
    let rows = sqlx::query!(
        r#"select g.book_id as "book_id!", g.grant_id as "grant_id!", g.amount as "amount!",
                  g.priority as "priority!", g.effective_at as "effective_at!",
                  g.expires_at as "expires_at!", g.reason as "reason!",
                  g.granted_by as "granted_by!", g.granted_at as "granted_at!",
                  g.credited_at, g.lot_id
           from unnest($1::smallint[], $2::uuid[], $3::uuid[]) as u(slot, book_id, grant_id)
           cross join lateral (
             select * from credit_grant
             where slot = u.slot and book_id = u.book_id and grant_id = u.grant_id limit 1) g"#,
        &slots,
        &books,
        &ids
    )
    .fetch_all(tx)
    .await?;
    let grants = rows.into_iter().map(|row| Grant {
        id: GrantId(row.grant_id),
        account: BookId(row.book_id),
        terms: GrantTerms {
            amount: Amount::from_micros(row.amount).unwrap_or_default(),
            priority: row.priority,
            effective_at: row.effective_at,
            expires_at: row.expires_at,
        },
        reason: row.reason,
        by: KeyId(row.granted_by),
        granted_at: row.granted_at,
        credited: row.credited_at.zip(row.lot_id.map(LotId)),
    });
    Ok(grants.collect())
}

/// Grants come one at a time, so they are written row by row.
pub async fn insert(tx: &mut PgConnection, grant: &Grant) -> Result<(), sqlx::Error> {
    let credited = grant.credited.unzip();
    sqlx::query!(
        "insert into credit_grant (slot, book_id, grant_id, amount, priority, effective_at,
           expires_at, reason, granted_by, granted_at, credited_at, lot_id)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
        grant.account.slot().sql(),
        grant.account.0,
        grant.id.0,
        grant.terms.amount.micros(),
        grant.terms.priority,
        grant.terms.effective_at,
        grant.terms.expires_at,
        grant.reason,
        grant.by.0,
        grant.granted_at,
        credited.0,
        credited.1.map(|lot| lot.0)
    )
    .execute(tx)
    .await?;
    Ok(())
}

pub async fn mark_credited(tx: &mut PgConnection, grant: &Grant) -> Result<(), sqlx::Error> {
    let (credited_at, lot) = grant.credited.unzip();
    sqlx::query!(
        "update credit_grant set credited_at = $4, lot_id = $5
         where slot = $1 and book_id = $2 and grant_id = $3",
        grant.account.slot().sql(),
        grant.account.0,
        grant.id.0,
        credited_at,
        lot.map(|lot| lot.0)
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Grants whose time has come, the longest due first, at most `limit`.
pub async fn due(
    pool: &PgPool,
    at: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<(BookId, GrantId)>, sqlx::Error> {
    let rows = sqlx::query!(
        "select book_id, grant_id from credit_grant
         where credited_at is null and effective_at <= $1 order by effective_at limit $2",
        at,
        limit
    )
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(|row| (BookId(row.book_id), GrantId(row.grant_id))).collect())
}
