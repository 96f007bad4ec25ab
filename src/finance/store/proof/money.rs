//! Lots, caps and top-ups.

use chrono::{DateTime, NaiveDate, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::Keys;

/// A lot beside what is proven of it.
pub struct LotRow {
    pub book_id: Uuid,
    pub lot_id: Uuid,
    pub paid: bool,
    pub amount: i64,
    pub remaining: i64,
    /// Of a void settlement: what was spent of it and has not come back.
    pub lost: Option<i64>,
}

pub async fn lots(tx: &mut PgConnection, keys: &Keys) -> Result<Vec<LotRow>, sqlx::Error> {
    sqlx::query_as!(
        LotRow,
        r#"select l.book_id as "book_id!", l.lot_id as "lot_id!", l.paid as "paid!",
                  l.amount as "amount!", l.remaining as "remaining!", l.lost
           from unnest($1::smallint[], $2::uuid[], $3::uuid[]) as u(slot, book_id, lot_id)
           cross join lateral (
             select * from lot where slot = u.slot and book_id = u.book_id
               and lot_id = u.lot_id offset 0) l"#,
        &keys.slots,
        &keys.books,
        &keys.ids
    )
    .fetch_all(tx)
    .await
}

/// What a walk has proven of a lot.
pub struct ProvenLot {
    pub book_id: Uuid,
    pub lot_id: Uuid,
    pub paid: bool,
    pub amount: i64,
    pub remaining: i64,
    pub lost: i64,
}

pub async fn proven_lots(
    tx: &mut PgConnection,
    walk: &str,
    keys: &Keys,
) -> Result<Vec<ProvenLot>, sqlx::Error> {
    sqlx::query_as!(
        ProvenLot,
        r#"select l.book_id as "book_id!", l.lot_id as "lot_id!", l.paid as "paid!",
                  l.amount as "amount!", l.remaining as "remaining!", l.lost as "lost!"
           from unnest($1::smallint[], $2::uuid[], $3::uuid[]) as u(slot, book_id, lot_id)
           cross join lateral (
             select * from proof_lot where slot = u.slot and book_id = u.book_id and walk = $4
               and lot_id = u.lot_id offset 0) l"#,
        &keys.slots,
        &keys.books,
        &keys.ids,
        walk
    )
    .fetch_all(tx)
    .await
}

/// A lot's key.
pub struct LotKey {
    pub book_id: Uuid,
    pub lot_id: Uuid,
}

/// The lots of some books with something left, by their rows or by the walk.
pub async fn open_lots(
    tx: &mut PgConnection,
    walk: &str,
    books: &[Uuid],
) -> Result<Vec<LotKey>, sqlx::Error> {
    let slots: Vec<i16> = books.iter().map(|book| super::slot_of(*book)).collect();
    sqlx::query_as!(
        LotKey,
        r#"select l.book_id as "book_id!", l.lot_id as "lot_id!"
           from unnest($1::smallint[], $2::uuid[]) as u(slot, book_id)
           cross join lateral (
             (select book_id, lot_id from lot
              where slot = u.slot and book_id = u.book_id and open offset 0)
             union
             (select book_id, lot_id from proof_lot where slot = u.slot and book_id = u.book_id
                and walk = $3 and remaining <> 0 offset 0)) l"#,
        &slots,
        books,
        walk
    )
    .fetch_all(tx)
    .await
}

/// What is lost of void settlements, by book.
pub async fn lost(tx: &mut PgConnection, books: &[Uuid]) -> Result<Vec<(Uuid, i64)>, sqlx::Error> {
    let slots: Vec<i16> = books.iter().map(|book| super::slot_of(*book)).collect();
    let rows = sqlx::query!(
        r#"select u.book_id as "book_id!", l.lost as "lost!"
           from unnest($1::smallint[], $2::uuid[]) as u(slot, book_id)
           cross join lateral (
             select coalesce(sum(lost), 0)::bigint as lost from lot
             where slot = u.slot and book_id = u.book_id and lost is not null) l"#,
        &slots,
        books
    )
    .fetch_all(tx)
    .await?;
    Ok(rows.into_iter().map(|row| (row.book_id, row.lost)).collect())
}

/// All lots that a walk has proven of some books.
pub async fn all_proven_lots(
    tx: &mut PgConnection,
    walk: &str,
    books: &[Uuid],
) -> Result<Vec<ProvenLot>, sqlx::Error> {
    let slots: Vec<i16> = books.iter().map(|book| super::slot_of(*book)).collect();
    sqlx::query_as!(
        ProvenLot,
        r#"select l.book_id as "book_id!", l.lot_id as "lot_id!", l.paid as "paid!",
                  l.amount as "amount!", l.remaining as "remaining!", l.lost as "lost!"
           from unnest($1::smallint[], $2::uuid[]) as u(slot, book_id)
           cross join lateral (
             select * from proof_lot where slot = u.slot and book_id = u.book_id and walk = $3
             offset 0) l"#,
        &slots,
        books,
        walk
    )
    .fetch_all(tx)
    .await
}

/// A cap over windows of time.
pub struct CapRow {
    pub book_id: Uuid,
    pub cap_id: Uuid,
    pub spender_id: Option<Uuid>,
    pub span: String,
    pub created_at: DateTime<Utc>,
}

pub async fn caps(tx: &mut PgConnection, books: &[Uuid]) -> Result<Vec<CapRow>, sqlx::Error> {
    let slots: Vec<i16> = books.iter().map(|book| super::slot_of(*book)).collect();
    sqlx::query_as!(
        CapRow,
        r#"select c.book_id as "book_id!", c.cap_id as "cap_id!", c.spender_id, c.span as "span!",
                  c.created_at as "created_at!"
           from unnest($1::smallint[], $2::uuid[]) as u(slot, book_id)
           cross join lateral (
             select * from cap where slot = u.slot and book_id = u.book_id
               and span <> 'checkout' offset 0) c"#,
        &slots,
        books
    )
    .fetch_all(tx)
    .await
}

/// What a cap has counted in one window.
pub struct UsageRow {
    pub book_id: Uuid,
    pub cap_id: Uuid,
    pub window_start: DateTime<Utc>,
    pub used: i64,
}

pub async fn usage(tx: &mut PgConnection, books: &[Uuid]) -> Result<Vec<UsageRow>, sqlx::Error> {
    let slots: Vec<i16> = books.iter().map(|book| super::slot_of(*book)).collect();
    sqlx::query_as!(
        UsageRow,
        r#"select c.book_id as "book_id!", c.cap_id as "cap_id!",
                  c.window_start as "window_start!", c.used as "used!"
           from unnest($1::smallint[], $2::uuid[]) as u(slot, book_id)
           cross join lateral (
             select * from cap_usage where slot = u.slot and book_id = u.book_id offset 0) c"#,
        &slots,
        books
    )
    .fetch_all(tx)
    .await
}

/// What a spender's holds of one UTC day have not given back.
pub struct SpentRow {
    pub book_id: Uuid,
    pub spender_id: Uuid,
    pub day: NaiveDate,
    pub spent: i64,
}

pub async fn spent(
    tx: &mut PgConnection,
    walk: &str,
    books: &[Uuid],
) -> Result<Vec<SpentRow>, sqlx::Error> {
    let slots: Vec<i16> = books.iter().map(|book| super::slot_of(*book)).collect();
    sqlx::query_as!(
        SpentRow,
        r#"select s.book_id as "book_id!", s.spender_id as "spender_id!", s.day as "day!",
                  s.spent as "spent!"
           from unnest($1::smallint[], $2::uuid[]) as u(slot, book_id)
           cross join lateral (
             select * from proof_spent where slot = u.slot and book_id = u.book_id and walk = $3
             offset 0) s"#,
        &slots,
        books,
        walk
    )
    .fetch_all(tx)
    .await
}

/// A top-up, with what the sandbox moved in its settlement where that is the sandbox's to say.
pub struct TopupRow {
    pub book_id: Uuid,
    pub topup_id: Uuid,
    pub credited: bool,
    pub amount: i64,
    pub settlement_tx: Option<String>,
    pub sandboxed: bool,
    pub moved: Option<i64>,
    pub shared: Option<i64>,
}

/// Some top-ups. A facilitator is known to be this database's sandbox by any payment that it settled
/// here.
pub async fn topups(tx: &mut PgConnection, keys: &Keys) -> Result<Vec<TopupRow>, sqlx::Error> {
    sqlx::query_as!(
        TopupRow,
        r#"with found as materialized (
             select t.* from unnest($1::smallint[], $2::uuid[], $3::uuid[])
                  as u(slot, book_id, topup_id)
             cross join lateral (
               select * from topup where slot = u.slot and book_id = u.book_id
                 and topup_id = u.topup_id offset 0) t),
           urls as materialized (select distinct facilitator_url from found),
           ours as materialized (
             select u.facilitator_url from urls u where exists (
               select from sandbox_settlement s cross join lateral (
                 select * from topup where settlement_tx = s.transaction offset 0) o
               where o.facilitator_url = u.facilitator_url))
           select f.book_id as "book_id!", f.topup_id as "topup_id!",
                  f.state = 'credited' and (
                    select count(*) = 0 from settlement v
                    where v.slot = f.slot and v.book_id = f.book_id and v.topup_id = f.topup_id
                      and v.standing in ('void', 'returned', 'lost')) as "credited!", f.amount as "amount!", f.settlement_tx,
                  o.facilitator_url is not null as "sandboxed!", s.moved as "moved?",
                  s.shared as "shared?"
           from found f left join ours o on o.facilitator_url = f.facilitator_url
           left join lateral (
             select max(s.amount) filter (where s.network = t.network and s.asset = t.asset
                      and s.payer = t.payer and s.nonce = t.nonce and s.pay_to = t.pay_to)
                      as moved,
                    sum(t.amount)::bigint as shared
             from (select * from topup where settlement_tx = f.settlement_tx offset 0) t
             left join lateral (
               select * from sandbox_settlement where transaction = f.settlement_tx offset 0) s
               on true
             where t.state = 'credited' and t.facilitator_url = f.facilitator_url) s
             on o.facilitator_url is not null"#,
        &keys.slots,
        &keys.books,
        &keys.ids
    )
    .fetch_all(tx)
    .await
}
