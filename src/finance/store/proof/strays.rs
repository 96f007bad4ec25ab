//! Rows that no transfer leads to, of the tables that nothing lists by book: found by going through
//! the whole table in the order of its key.

use sqlx::PgConnection;
use uuid::Uuid;

/// How far a lap has looked for strays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sweep {
    pub kind: Kind,
    pub slot: i16,
    pub id: Uuid,
}

/// A table that is looked through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Hold,
    CheckoutItem,
}

impl Kind {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hold => "hold",
            Self::CheckoutItem => "checkout_item",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Hold, Self::CheckoutItem].into_iter().find(|kind| kind.name() == name)
    }

    /// The table that is looked through after it.
    pub const fn next(self) -> Option<Self> {
        match self {
            Self::Hold => Some(Self::CheckoutItem),
            Self::CheckoutItem => None,
        }
    }
}

impl Sweep {
    /// Where a lap begins.
    pub const START: Self = Self::of(Kind::Hold);

    /// The beginning of a table.
    pub const fn of(kind: Kind) -> Self {
        Self { kind, slot: -1, id: Uuid::nil() }
    }
}

/// A row that was looked at: a stray, or the last one.
struct Row {
    slot: i16,
    book_id: Uuid,
    id: Uuid,
    stray: bool,
    nth: i64,
}

/// Looks through the next rows and keeps the strays among them. Tells how many rows that were, and
/// where the next ones begin; None at the end of the table.
pub async fn sweep(
    tx: &mut PgConnection,
    from: Sweep,
    limit: i64,
) -> Result<(i64, Option<Sweep>), sqlx::Error> {
    let rows = match from.kind {
        Kind::Hold => holds(tx, from, limit).await?,
        Kind::CheckoutItem => items(tx, from, limit).await?,
    };
    let strays: Vec<&Row> = rows.iter().filter(|row| row.stray).collect();
    if !strays.is_empty() {
        sqlx::query!(
            "insert into proof_stray (slot, book_id, kind, id, found_at)
             select slot, book_id, $4, id, now()
             from unnest($1::smallint[], $2::uuid[], $3::uuid[]) as u(slot, book_id, id)
             on conflict (slot, book_id, kind, id) do update set found_at = excluded.found_at",
            &strays.iter().map(|row| row.slot).collect::<Vec<_>>(),
            &strays.iter().map(|row| row.book_id).collect::<Vec<_>>(),
            &strays.iter().map(|row| row.id).collect::<Vec<_>>(),
            from.kind.name()
        )
        .execute(tx)
        .await?;
    }
    let Some(last) = rows.last() else { return Ok((0, None)) };
    let more = last.nth >= limit;
    Ok((last.nth, more.then_some(Sweep { kind: from.kind, slot: last.slot, id: last.id })))
}

async fn holds(tx: &mut PgConnection, from: Sweep, limit: i64) -> Result<Vec<Row>, sqlx::Error> {
    sqlx::query_as!(
        Row,
        r#"with page as materialized (
             select h.*, row_number() over (order by slot, hold_id) as nth
             from (select slot, book_id, hold_id from hold where (slot, hold_id) > ($1, $2)
                   order by slot, hold_id limit $3) h)
           select slot as "slot!", book_id as "book_id!", hold_id as "id!", stray as "stray!",
                  nth as "nth!"
           from page cross join lateral (
             select count(*) = 0 as stray from (
               select from transfer t where t.slot = page.slot and t.subject_id = page.hold_id
                 and t.book_id = page.book_id and t.movement = any (array(
                   select movement from movement where name in ('hold', 'release')))
               limit 1) t) s
           where stray or nth = (select max(nth) from page)
           order by nth"#,
        from.slot,
        from.id,
        limit
    )
    .fetch_all(tx)
    .await
}

/// Items are looked at by checkout: one of which any hold was booked is read whole with it.
async fn items(tx: &mut PgConnection, from: Sweep, limit: i64) -> Result<Vec<Row>, sqlx::Error> {
    sqlx::query_as!(
        Row,
        r#"with page as materialized (
             select i.*, row_number() over (order by slot, checkout_id, book_id) as nth
             from (select distinct slot, checkout_id, book_id from checkout_item
                   where (slot, checkout_id) > ($1, $2)
                   order by slot, checkout_id, book_id limit $3) i)
           select slot as "slot!", book_id as "book_id!", checkout_id as "id!", stray as "stray!",
                  nth as "nth!"
           from page cross join lateral (
             select count(*) = 0 as stray from (
               select from (
                 select * from checkout_item where slot = page.slot
                   and checkout_id = page.checkout_id and book_id = page.book_id offset 0) i
               cross join lateral (
                 select * from transfer where slot = page.slot and subject_id = i.hold_id
                   and book_id = page.book_id offset 0) t limit 1) t) s
           where stray or nth = (select max(nth) from page)
           order by nth"#,
        from.slot,
        from.id,
        limit
    )
    .fetch_all(tx)
    .await
}

/// Lets go of the strays that a lap, which began at this time, has not found again.
pub async fn forget_old(tx: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query!("delete from proof_stray using proof_cursor c where found_at < c.lap_begun_at")
        .execute(tx)
        .await?;
    Ok(())
}
