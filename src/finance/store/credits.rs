//! What an account has. Everything is looked up by key or by an index of the account's open rows.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::accounts::WAITING_GRANTS_MAX;
use crate::finance::credits::{CreditLot, LotOrder, WaitingGrant, amount};
use crate::ground::{BookId, GrantId, LotId, TopupId};

/// Of how many checkouts, the latest, and of how many of their items the open holds are looked up.
const CHECKOUTS_MAX: i64 = 300;
const ITEMS_MAX: i64 = 1000;

/// The balances of an account.
pub struct BookRow {
    pub prepaid: i64,
    pub promo: i64,
    pub held: i64,
    pub promo_held: i64,
    pub frozen: bool,
    pub recorded_at: DateTime<Utc>,
}

pub async fn book(tx: &mut PgConnection, account: BookId) -> Result<Option<BookRow>, sqlx::Error> {
    sqlx::query_as!(
        BookRow,
        r#"select prepaid, promo, held, promo_held, frozen_at is not null as "frozen!", recorded_at
           from book where slot = $1 and book_id = $2"#,
        account.slot().sql(),
        account.0
    )
    .fetch_optional(tx)
    .await
}

/// What is to be known of all open lots.
pub struct OpenLots {
    /// What is left of lots that are past their expiry.
    pub paid_overdue: i64,
    pub promotional_overdue: i64,
    pub next_expiry: Option<DateTime<Utc>>,
    pub next_amount: i64,
}

pub async fn open_lots(
    tx: &mut PgConnection,
    account: BookId,
    at: DateTime<Utc>,
) -> Result<OpenLots, sqlx::Error> {
    sqlx::query_as!(
        OpenLots,
        r#"with open as materialized (
             select paid, remaining, expires_at from lot
             where slot = $1 and book_id = $2 and open and expires_at is not null),
           ends as (select min(expires_at) as next from open where expires_at > $3)
           select coalesce(sum(o.remaining) filter (where o.paid and o.expires_at <= $3), 0)::bigint
                    as "paid_overdue!",
                  coalesce(sum(o.remaining) filter (where not o.paid and o.expires_at <= $3), 0)::bigint
                    as "promotional_overdue!",
                  (select next from ends) as next_expiry,
                  coalesce(sum(o.remaining) filter (where o.expires_at = (select next from ends)), 0)::bigint
                    as "next_amount!"
           from open o"#,
        account.slot().sql(),
        account.0,
        at
    )
    .fetch_one(tx)
    .await
}

/// The top-ups whose payment was sent and of which it is not known yet whether it settled.
pub async fn topups_pending(tx: &mut PgConnection, account: BookId) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select coalesce(sum(amount), 0)::bigint as "amount!" from topup
           where slot = $1 and book_id = $2 and sent_at is not null
             and state in ('settling', 'settled', 'unknown', 'parked')"#,
        account.slot().sql(),
        account.0
    )
    .fetch_one(tx)
    .await
}

/// The grants whose time has not come, or whose credit has not been booked yet. What is over will never
/// be spent, and so is not on its way.
pub async fn waiting_grants(
    tx: &mut PgConnection,
    account: BookId,
    at: DateTime<Utc>,
) -> Result<Vec<WaitingGrant>, sqlx::Error> {
    let rows = sqlx::query!(
        "select grant_id, amount, priority, effective_at, expires_at from credit_grant
         where slot = $1 and book_id = $2 and credited_at is null and canceled_at is null
           and expires_at > $3
         order by effective_at, grant_id limit $4",
        account.slot().sql(),
        account.0,
        at,
        WAITING_GRANTS_MAX
    )
    .fetch_all(tx)
    .await?;
    let grants = rows.into_iter().map(|row| WaitingGrant {
        id: GrantId(row.grant_id),
        amount: amount(row.amount),
        priority: row.priority,
        effective_at: row.effective_at,
        expires_at: row.expires_at,
    });
    Ok(grants.collect())
}

/// What open holds have of each lot.
pub struct Held {
    by_lot: HashMap<Uuid, i64>,
    /// Whether these are all open holds.
    complete: bool,
}

/// What the open holds of the latest checkouts have of each lot. Holds have no index by account, because
/// each checkout would have to write it; so no more is read than a fixed number of items. A capture
/// takes the draws of a hold from the front and a release from the back: what lies between is on hold.
pub async fn held_by_lot(
    tx: &mut PgConnection,
    account: BookId,
    book: &BookRow,
) -> Result<Held, sqlx::Error> {
    let all = book.held.saturating_add(book.promo_held);
    if all == 0 {
        return Ok(Held { by_lot: HashMap::new(), complete: true });
    }
    let rows = sqlx::query!(
        r#"select c.lot_id as "lot_id!",
                  sum(least(c.upto, h.amount - h.released)
                      - greatest(c.upto - c.drawn, h.captured))::bigint as "part!"
           from (
             select i.hold_id, i.open
             from (select checkout_id from checkout where slot = $1 and book_id = $2
                   order by checkout_id desc limit $3) k
             cross join lateral (
               select hold_id, settled < quantity as open from checkout_item
               where slot = $1 and checkout_id = k.checkout_id limit $4) i
             limit $4) i
           cross join lateral (
             select amount, captured, released, draw_lots, draw_amounts from hold
             where slot = $1 and hold_id = i.hold_id limit 1) h
           cross join lateral (
             select u.lot_id, u.drawn, sum(u.drawn) over (order by u.n) as upto
             from unnest(h.draw_lots, h.draw_amounts) with ordinality as u(lot_id, drawn, n)) c
           where i.open and least(c.upto, h.amount - h.released) > greatest(c.upto - c.drawn, h.captured)
           group by c.lot_id"#,
        account.slot().sql(),
        account.0,
        CHECKOUTS_MAX,
        ITEMS_MAX
    )
    .fetch_all(tx)
    .await?;
    let by_lot: HashMap<_, _> = rows.into_iter().map(|row| (row.lot_id, row.part)).collect();
    let complete = by_lot.values().sum::<i64>() == all;
    Ok(Held { by_lot, complete })
}

/// A lot with what is left of it at the time of the question.
pub struct LotRow {
    lot_id: Uuid,
    paid: bool,
    priority: i16,
    amount: i64,
    remaining: i64,
    granted_at: DateTime<Utc>,
    effective_at: DateTime<Utc>,
    expires_at: Option<DateTime<Utc>>,
    origin_id: Uuid,
    parent_id: Option<Uuid>,
    held: Option<i64>,
}

impl LotRow {
    pub fn lot(self) -> CreditLot {
        CreditLot {
            id: LotId(self.lot_id),
            paid: self.paid,
            priority: self.priority,
            amount: amount(self.amount),
            remaining: amount(self.remaining),
            held: self.held.map(amount),
            granted_at: self.granted_at,
            effective_at: self.effective_at,
            expires_at: self.expires_at,
            origin: match self.paid {
                true => TopupId(self.origin_id).to_string(),
                false => GrantId(self.origin_id).to_string(),
            },
            parent: self.parent_id.map(LotId),
        }
    }
}

/// The lots that have something left, or something on hold. Both orders are those of whole lots: of
/// ids each part comes from its index.
pub async fn lots(
    tx: &mut PgConnection,
    account: BookId,
    at: DateTime<Utc>,
    order: LotOrder,
    held: &Held,
    limit: i64,
) -> Result<Vec<LotRow>, sqlx::Error> {
    let drawn: Vec<Uuid> = held.by_lot.keys().copied().collect();
    let mut rows = match order {
        LotOrder::Burn => by_burn(tx, account, at, &drawn, limit).await?,
        LotOrder::Id { after } => {
            let after = after.map_or(Uuid::nil(), |lot| lot.0);
            by_id(tx, account, at, &drawn, after, limit).await?
        }
    };
    for row in &mut rows {
        let part = held.by_lot.get(&row.lot_id).copied();
        row.held = held.complete.then(|| part.unwrap_or_default());
    }
    Ok(rows)
}

async fn by_burn(
    tx: &mut PgConnection,
    account: BookId,
    at: DateTime<Utc>,
    drawn: &[Uuid],
    limit: i64,
) -> Result<Vec<LotRow>, sqlx::Error> {
    sqlx::query_as!(
        LotRow,
        r#"select lot_id as "lot_id!", paid as "paid!", priority as "priority!", amount as "amount!",
                  case when expires_at <= $3 then 0 else remaining end as "remaining!",
                  granted_at as "granted_at!", effective_at as "effective_at!", expires_at,
                  origin_id as "origin_id!", parent_id, null::bigint as held
           from (
             select * from lot where slot = $1 and book_id = $2 and open
               and (expires_at is null or expires_at > $3)
             union all
             select l.* from unnest($4::uuid[]) as u(id)
             cross join lateral (
               select * from lot where slot = $1 and book_id = $2 and lot_id = u.id
                 and (not open or expires_at <= $3) limit 1) l) l
           order by priority, l.expires_at nulls last, paid, l.granted_at, lot_id limit $5"#,
        account.slot().sql(),
        account.0,
        at,
        drawn,
        limit
    )
    .fetch_all(tx)
    .await
}

async fn by_id(
    tx: &mut PgConnection,
    account: BookId,
    at: DateTime<Utc>,
    drawn: &[Uuid],
    after: Uuid,
    limit: i64,
) -> Result<Vec<LotRow>, sqlx::Error> {
    sqlx::query_as!(
        LotRow,
        r#"select lot_id as "lot_id!", paid as "paid!", priority as "priority!", amount as "amount!",
                  case when expires_at <= $3 then 0 else remaining end as "remaining!",
                  granted_at as "granted_at!", effective_at as "effective_at!", expires_at,
                  origin_id as "origin_id!", parent_id, null::bigint as held
           from (
             (select * from lot where slot = $1 and book_id = $2 and open and lot_id > $5
                and (expires_at is null or expires_at > $3)
              order by lot_id limit $6)
             union all
             (select l.* from unnest($4::uuid[]) as u(id)
              cross join lateral (
                select * from lot where slot = $1 and book_id = $2 and lot_id = u.id
                  and (not open or expires_at <= $3) limit 1) l
              where u.id > $5)) l
           order by lot_id limit $6"#,
        account.slot().sql(),
        account.0,
        at,
        drawn,
        after,
        limit
    )
    .fetch_all(tx)
    .await
}
