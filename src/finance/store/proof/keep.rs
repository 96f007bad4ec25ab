//! What is kept of a walk.

use chrono::{DateTime, NaiveDate, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::money::ProvenLot;
use super::slot_of;

/// How far a walk has come in a book.
pub struct Kept {
    pub book: Uuid,
    pub walk: &'static str,
    pub version: i64,
    pub event_seq: i64,
    pub compared: i64,
    pub balances: Vec<i64>,
    pub promo_spent: i64,
    pub phase: i16,
    pub after_id: Option<Uuid>,
    pub begun_at: DateTime<Utc>,
}

pub async fn books(tx: &mut PgConnection, kept: &[Kept]) -> Result<(), sqlx::Error> {
    // Arrays of arrays would have to be rectangular, so each row's array travels as a literal.
    let literal = |numbers: &[i64]| {
        format!("{{{}}}", numbers.iter().map(i64::to_string).collect::<Vec<_>>().join(","))
    };
    sqlx::query!(
        "insert into proof_book (slot, book_id, walk, version, event_seq, compared, balances,
           promo_spent, phase, after_id, begun_at)
         select slot, book_id, walk, version, event_seq, compared, balances::bigint[], promo_spent,
           phase, after_id, begun_at
         from unnest($1::smallint[], $2::uuid[], $3::text[], $4::bigint[], $5::bigint[],
           $6::bigint[], $7::text[], $8::bigint[], $9::smallint[], $10::uuid[], $11::timestamptz[])
           as u(slot, book_id, walk, version, event_seq, compared, balances, promo_spent, phase,
                after_id, begun_at)
         on conflict (slot, book_id, walk) do update
           set version = excluded.version, event_seq = excluded.event_seq,
               compared = excluded.compared, balances = excluded.balances,
               promo_spent = excluded.promo_spent, phase = excluded.phase,
               after_id = excluded.after_id",
        &kept.iter().map(|k| slot_of(k.book)).collect::<Vec<_>>(),
        &kept.iter().map(|k| k.book).collect::<Vec<_>>(),
        &kept.iter().map(|k| k.walk.to_owned()).collect::<Vec<_>>(),
        &kept.iter().map(|k| k.version).collect::<Vec<_>>(),
        &kept.iter().map(|k| k.event_seq).collect::<Vec<_>>(),
        &kept.iter().map(|k| k.compared).collect::<Vec<_>>(),
        &kept.iter().map(|k| literal(&k.balances)).collect::<Vec<_>>(),
        &kept.iter().map(|k| k.promo_spent).collect::<Vec<_>>(),
        &kept.iter().map(|k| k.phase).collect::<Vec<_>>(),
        &kept.iter().map(|k| k.after_id).collect::<Vec<_>>() as _,
        &kept.iter().map(|k| k.begun_at).collect::<Vec<_>>()
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Keeps lots, each with the version of the last transfer that touched it.
pub async fn lots(
    tx: &mut PgConnection,
    walk: &str,
    lots: &[(ProvenLot, i64)],
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into proof_lot (slot, book_id, walk, lot_id, paid, amount, remaining, lost, version)
         select slot, book_id, $1, lot_id, paid, amount, remaining, lost, version
         from unnest($2::smallint[], $3::uuid[], $4::uuid[], $5::boolean[], $6::bigint[],
                     $7::bigint[], $8::bigint[], $9::bigint[])
              as u(slot, book_id, lot_id, paid, amount, remaining, lost, version)
         on conflict (slot, book_id, walk, lot_id) do update
           set remaining = excluded.remaining, lost = excluded.lost, version = excluded.version",
        walk,
        &lots.iter().map(|(l, _)| slot_of(l.book_id)).collect::<Vec<_>>(),
        &lots.iter().map(|(l, _)| l.book_id).collect::<Vec<_>>(),
        &lots.iter().map(|(l, _)| l.lot_id).collect::<Vec<_>>(),
        &lots.iter().map(|(l, _)| l.paid).collect::<Vec<_>>(),
        &lots.iter().map(|(l, _)| l.amount).collect::<Vec<_>>(),
        &lots.iter().map(|(l, _)| l.remaining).collect::<Vec<_>>(),
        &lots.iter().map(|(l, _)| l.lost).collect::<Vec<_>>(),
        &lots.iter().map(|(_, version)| *version).collect::<Vec<_>>()
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// A change of what a spender's holds of one day have not given back.
pub struct Spent {
    pub book: Uuid,
    pub spender: Uuid,
    pub day: NaiveDate,
    pub change: i64,
}

pub async fn spent(
    tx: &mut PgConnection,
    walk: &str,
    changes: &[Spent],
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into proof_spent (slot, book_id, walk, spender_id, day, spent)
         select slot, book_id, $1, spender_id, day, change
         from unnest($2::smallint[], $3::uuid[], $4::uuid[], $5::date[], $6::bigint[])
              as u(slot, book_id, spender_id, day, change)
         on conflict (slot, book_id, walk, spender_id, day) do update
           set spent = proof_spent.spent + excluded.spent",
        walk,
        &changes.iter().map(|c| slot_of(c.book)).collect::<Vec<_>>(),
        &changes.iter().map(|c| c.book).collect::<Vec<_>>(),
        &changes.iter().map(|c| c.spender).collect::<Vec<_>>(),
        &changes.iter().map(|c| c.day).collect::<Vec<_>>(),
        &changes.iter().map(|c| c.change).collect::<Vec<_>>()
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Forgets a walk through some books.
pub async fn forget(tx: &mut PgConnection, walk: &str, books: &[Uuid]) -> Result<(), sqlx::Error> {
    let slots: Vec<i16> = books.iter().map(|book| slot_of(*book)).collect();
    sqlx::query!(
        "with lots as (
           delete from proof_lot p using unnest($1::smallint[], $2::uuid[]) as u(slot, book_id)
           where p.slot = u.slot and p.book_id = u.book_id and p.walk = $3),
         spent as (
           delete from proof_spent p using unnest($1::smallint[], $2::uuid[]) as u(slot, book_id)
           where p.slot = u.slot and p.book_id = u.book_id and p.walk = $3)
         delete from proof_book p using unnest($1::smallint[], $2::uuid[]) as u(slot, book_id)
         where p.slot = u.slot and p.book_id = u.book_id and p.walk = $3",
        &slots,
        books,
        walk
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Goes on from where a lap has come: the head's own walk through the book must be forgotten.
pub async fn promote(tx: &mut PgConnection, book: Uuid) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "with lots as (
           update proof_lot set walk = 'head' where slot = $1 and book_id = $2 and walk = 'lap'),
         spent as (
           update proof_spent set walk = 'head' where slot = $1 and book_id = $2 and walk = 'lap')
         update proof_book set walk = 'head', phase = 0, after_id = null
         where slot = $1 and book_id = $2 and walk = 'lap'",
        slot_of(book),
        book
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// The head's walks through some books, to compare with what a lap has found.
pub struct Head {
    pub book_id: Uuid,
    pub version: i64,
    pub balances: Vec<i64>,
    pub promo_spent: i64,
}

pub async fn heads(tx: &mut PgConnection, books: &[Uuid]) -> Result<Vec<Head>, sqlx::Error> {
    let slots: Vec<i16> = books.iter().map(|book| slot_of(*book)).collect();
    sqlx::query_as!(
        Head,
        r#"select p.book_id as "book_id!", p.version as "version!", p.balances as "balances!",
                  p.promo_spent as "promo_spent!"
           from unnest($1::smallint[], $2::uuid[]) as u(slot, book_id)
           cross join lateral (
             select * from proof_book where slot = u.slot and book_id = u.book_id
               and walk = 'head' offset 0) p"#,
        &slots,
        books
    )
    .fetch_all(tx)
    .await
}

/// Whether a large book's two walks have come to the same figures.
pub async fn walks_agree(tx: &mut PgConnection, book: Uuid) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"with lots as (
             (select lot_id, paid, amount, remaining, lost from proof_lot
              where slot = $1 and book_id = $2 and walk = 'head'
              except all
              select lot_id, paid, amount, remaining, lost from proof_lot
              where slot = $1 and book_id = $2 and walk = 'lap')
             union all
             (select lot_id, paid, amount, remaining, lost from proof_lot
              where slot = $1 and book_id = $2 and walk = 'lap'
              except all
              select lot_id, paid, amount, remaining, lost from proof_lot
              where slot = $1 and book_id = $2 and walk = 'head')),
           spent as (
             (select spender_id, day, spent from proof_spent
              where slot = $1 and book_id = $2 and walk = 'head'
              except all
              select spender_id, day, spent from proof_spent
              where slot = $1 and book_id = $2 and walk = 'lap')
             union all
             (select spender_id, day, spent from proof_spent
              where slot = $1 and book_id = $2 and walk = 'lap'
              except all
              select spender_id, day, spent from proof_spent
              where slot = $1 and book_id = $2 and walk = 'head'))
           select not exists (select from lots) and not exists (select from spent)
                  and (select count(distinct (version, balances, promo_spent)) from proof_book
                       where slot = $1 and book_id = $2) = 1 as "agree!""#,
        slot_of(book),
        book
    )
    .fetch_one(tx)
    .await
}
