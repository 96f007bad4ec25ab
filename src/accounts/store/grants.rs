use std::collections::{BTreeSet, HashMap};

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::accounts::grant::{
    DueGrant, Grant, GrantQuery, OverdueGrants, Standing, WAITING_GRANTS_MAX,
};
use crate::ground::{Amount, BookId, GrantId, KeyId, LotId};
use crate::ledger::GrantTerms;

struct GrantRow {
    book_id: Uuid,
    grant_id: Uuid,
    amount: i64,
    priority: i16,
    effective_at: DateTime<Utc>,
    expires_at: DateTime<Utc>,
    reason: String,
    granted_by: Uuid,
    granted_at: DateTime<Utc>,
    credited_at: Option<DateTime<Utc>>,
    lot_id: Option<Uuid>,
    canceled_at: Option<DateTime<Utc>>,
    canceled_by: Option<Uuid>,
}

/// Whole rows of grants, from whatever is called `g`.
macro_rules! grants {
    ($from:literal, $($argument:expr),+) => {
        sqlx::query_as!(
            GrantRow,
            r#"select g.book_id as "book_id!", g.grant_id as "grant_id!", g.amount as "amount!",
                      g.priority as "priority!", g.effective_at as "effective_at!",
                      g.expires_at as "expires_at!", g.reason as "reason!",
                      g.granted_by as "granted_by!", g.granted_at as "granted_at!",
                      g.credited_at, g.lot_id, g.canceled_at, g.canceled_by "#
                + $from,
            $($argument),+
        )
    };
}

impl GrantRow {
    /// Each outcome has both of its columns or none, and at most one outcome there is: a CHECK holds it.
    fn grant(self) -> Grant {
        let credited = self.credited_at.zip(self.lot_id);
        let canceled = self.canceled_at.zip(self.canceled_by);
        let standing = match (credited, canceled) {
            (Some((at, lot)), _) => Standing::Credited { at, lot: LotId(lot) },
            (None, Some((at, by))) => Standing::Canceled { at, by: KeyId(by) },
            (None, None) => Standing::Scheduled,
        };
        Grant {
            id: GrantId(self.grant_id),
            account: BookId(self.book_id),
            terms: GrantTerms {
                amount: Amount::from_micros(self.amount).unwrap_or_default(),
                priority: self.priority,
                effective_at: self.effective_at,
                expires_at: self.expires_at,
            },
            reason: self.reason,
            by: KeyId(self.granted_by),
            granted_at: self.granted_at,
            standing,
        }
    }
}

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
               where slot = u.slot and book_id = u.book_id
                 and credited_at is null and canceled_at is null limit $3) w) n"#,
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
    let rows = grants!(
        "from unnest($1::smallint[], $2::uuid[], $3::uuid[]) as u(slot, book_id, grant_id)
         cross join lateral (
           select * from credit_grant
           where slot = u.slot and book_id = u.book_id and grant_id = u.grant_id limit 1) g",
        &slots,
        &books,
        &ids
    )
    .fetch_all(tx)
    .await?;
    Ok(rows.into_iter().map(GrantRow::grant).collect())
}

/// Whose a grant is. It never changes.
pub async fn account_of(pool: &PgPool, grant: GrantId) -> Result<Option<BookId>, sqlx::Error> {
    let book = sqlx::query_scalar!(
        "select book_id from credit_grant where slot = $1 and grant_id = $2",
        grant.slot().sql(),
        grant.0
    );
    Ok(book.fetch_optional(pool).await?.map(BookId))
}

/// A page of grants, the newest first. Each kind of page has an index of its own.
pub async fn list(pool: &PgPool, query: GrantQuery) -> Result<Vec<Grant>, sqlx::Error> {
    let before = query.after.map_or(Uuid::max(), |grant| grant.0);
    let limit = query.limit;
    let rows = match (query.account, query.waiting) {
        (Some(account), false) => {
            let page = grants!(
                "from credit_grant g where slot = $1 and book_id = $2 and grant_id < $3
                 order by grant_id desc limit $4",
                account.slot().sql(),
                account.0,
                before,
                limit
            );
            page.fetch_all(pool).await?
        }
        (Some(account), true) => {
            let page = grants!(
                "from credit_grant g where slot = $1 and book_id = $2 and grant_id < $3
                   and credited_at is null and canceled_at is null
                 order by grant_id desc limit $4",
                account.slot().sql(),
                account.0,
                before,
                limit
            );
            page.fetch_all(pool).await?
        }
        (None, false) => {
            let page = grants!(
                "from credit_grant g where grant_id < $1 order by grant_id desc limit $2",
                before,
                limit
            );
            page.fetch_all(pool).await?
        }
        (None, true) => {
            let page = grants!(
                "from credit_grant g where grant_id < $1
                   and credited_at is null and canceled_at is null
                 order by grant_id desc limit $2",
                before,
                limit
            );
            page.fetch_all(pool).await?
        }
    };
    Ok(rows.into_iter().map(GrantRow::grant).collect())
}

/// The columns of an outcome: credited with its lot, canceled with the key.
type Outcome = (Option<DateTime<Utc>>, Option<Uuid>, Option<DateTime<Utc>>, Option<Uuid>);

fn outcome(grant: &Grant) -> Outcome {
    match grant.standing {
        Standing::Scheduled => (None, None, None, None),
        Standing::Credited { at, lot } => (Some(at), Some(lot.0), None, None),
        Standing::Canceled { at, by } => (None, None, Some(at), Some(by.0)),
    }
}

/// Grants come one at a time, so they are written row by row. None is canceled from the beginning.
pub async fn insert(tx: &mut PgConnection, grant: &Grant) -> Result<(), sqlx::Error> {
    let (credited_at, lot_id, _, _) = outcome(grant);
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
        credited_at,
        lot_id
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Writes the outcome of a grant that has waited.
pub async fn settle(tx: &mut PgConnection, grant: &Grant) -> Result<(), sqlx::Error> {
    let (credited_at, lot_id, canceled_at, canceled_by) = outcome(grant);
    sqlx::query!(
        "update credit_grant
         set credited_at = $4, lot_id = $5, canceled_at = $6, canceled_by = $7
         where slot = $1 and book_id = $2 and grant_id = $3",
        grant.account.slot().sql(),
        grant.account.0,
        grant.id.0,
        credited_at,
        lot_id,
        canceled_at,
        canceled_by
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Grants whose time has come, the longest due first, at most `limit` after one of them.
pub async fn due(
    pool: &PgPool,
    at: DateTime<Utc>,
    after: Option<DueGrant>,
    limit: i64,
) -> Result<Vec<DueGrant>, sqlx::Error> {
    let rows = sqlx::query!(
        "select book_id, grant_id, effective_at from credit_grant
         where credited_at is null and canceled_at is null and effective_at <= $1
           and (effective_at, grant_id) > (coalesce($2, '-infinity'::timestamptz), $3)
         order by effective_at, grant_id limit $4",
        at,
        after.map(|after| after.effective_at),
        after.map_or(Uuid::nil(), |after| after.grant.0),
        limit
    )
    .fetch_all(pool)
    .await?;
    let due = rows.into_iter().map(|row| DueGrant {
        account: BookId(row.book_id),
        grant: GrantId(row.grant_id),
        effective_at: row.effective_at,
    });
    Ok(due.collect())
}

/// How many grants should have been credited by now, and for how long the first of them has waited.
pub async fn overdue(pool: &PgPool, at: DateTime<Utc>) -> Result<OverdueGrants, sqlx::Error> {
    sqlx::query_as!(
        OverdueGrants,
        r#"select count(*) as "count!",
                  coalesce(floor(extract(epoch from $1 - min(effective_at))), 0)::bigint as "oldest_s!"
           from credit_grant
           where credited_at is null and canceled_at is null and effective_at <= $1"#,
        at
    )
    .fetch_one(pool)
    .await
}
