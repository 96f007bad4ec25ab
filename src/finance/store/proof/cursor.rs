//! Where the checker stands in its rounds.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool, Postgres, Transaction};
use uuid::Uuid;

use super::strays::{Kind, Sweep};

/// A place between the books, in the order of their keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub slot: i16,
    pub book: Uuid,
}

impl Place {
    /// Before the first book.
    pub const START: Self = Self { slot: -1, book: Uuid::nil() };
}

/// The cursor, held until the transaction ends.
pub struct Cursor {
    pub head: Place,
    pub lap: Place,
    /// Whether a lap is under way.
    pub lapping: bool,
    /// How far the lap has looked for strays. It goes through the books once that is done.
    pub sweep: Option<Sweep>,
    /// How many seconds ago the last lap ended.
    pub lapped_s: Option<f64>,
    /// The time of this step.
    pub at: DateTime<Utc>,
}

/// Begins a step: one snapshot of everything, in which only the checker's own tables are written.
/// None when another process is stepping.
pub async fn begin(
    pool: &PgPool,
) -> Result<Option<(Transaction<'static, Postgres>, Cursor)>, sqlx::Error> {
    let mut tx = pool.begin_with("begin isolation level repeatable read").await?;
    let row = sqlx::query!(
        r#"select head_slot, head_book, lap_slot, lap_book, lap_begun_at is not null as "lapping!",
                  stray_kind, stray_slot, stray_id,
                  extract(epoch from now() - lap_ended_at)::float8 as lapped_s, now() as "at!"
           from proof_cursor where one for update skip locked"#
    )
    .fetch_optional(&mut *tx)
    .await?;
    let Some(row) = row else {
        tx.rollback().await?;
        return Ok(None);
    };
    let cursor = Cursor {
        head: Place { slot: row.head_slot, book: row.head_book },
        lap: Place { slot: row.lap_slot, book: row.lap_book },
        lapping: row.lapping,
        sweep: row.stray_kind.as_deref().and_then(Kind::from_name).map(|kind| Sweep {
            kind,
            slot: row.stray_slot,
            id: row.stray_id,
        }),
        lapped_s: row.lapped_s,
        at: row.at,
    };
    Ok(Some((tx, cursor)))
}

pub async fn move_head(tx: &mut PgConnection, to: Place) -> Result<(), sqlx::Error> {
    sqlx::query!("update proof_cursor set head_slot = $1, head_book = $2", to.slot, to.book)
        .execute(tx)
        .await?;
    Ok(())
}

/// Moves the lap on; it begins where it is not under way.
pub async fn move_lap(tx: &mut PgConnection, to: Place) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update proof_cursor set lap_slot = $1, lap_book = $2,
           lap_begun_at = coalesce(lap_begun_at, now())",
        to.slot,
        to.book
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Moves the lap on in its search for strays, with which it begins.
pub async fn move_sweep(tx: &mut PgConnection, to: Option<Sweep>) -> Result<(), sqlx::Error> {
    let place = to.unwrap_or(Sweep::START);
    sqlx::query!(
        "update proof_cursor set stray_kind = $1, stray_slot = $2, stray_id = $3,
           lap_begun_at = coalesce(lap_begun_at, now())",
        to.map(|to| to.kind.name()),
        place.slot,
        place.id
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Ends the lap.
pub async fn end_lap(tx: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update proof_cursor set lap_slot = $1, lap_book = $2, lap_begun_at = null,
           lap_ended_at = now(), stray_kind = $3, stray_slot = $4, stray_id = $5",
        Place::START.slot,
        Place::START.book,
        Sweep::START.kind.name(),
        Sweep::START.slot,
        Sweep::START.id
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// When the last lap ended, and what time it is.
pub struct Standing {
    pub at: DateTime<Utc>,
    pub lap_ended_at: Option<DateTime<Utc>>,
}

pub async fn standing(pool: &PgPool) -> Result<Standing, sqlx::Error> {
    sqlx::query_as!(Standing, r#"select now() as "at!", lap_ended_at from proof_cursor where one"#)
        .fetch_one(pool)
        .await
}

/// How many transfers have been booked that are not verified.
pub async fn behind(pool: &PgPool) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select coalesce(sum(greatest(b.version - coalesce(p.version, 0), 0)), 0)::bigint
             as "behind!"
           from book b left join proof_book p
             on p.slot = b.slot and p.book_id = b.book_id and p.walk = 'head'"#
    )
    .fetch_one(pool)
    .await
}
