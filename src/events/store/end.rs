//! How webhooks and deliveries end.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool};

use crate::ground::{BookId, WebhookId};

use super::Key;

/// Ends a webhook whose receiver is gone for good. What waits for it is cleared later: no statement
/// touches more deliveries than it can in a moment.
pub(in crate::events) async fn disable(
    pool: &PgPool,
    (book, webhook): Key,
    at: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "with disabled as (
           update webhook set disabled_at = $4, next_at = null, leased_until = null,
             replay_from = null, replay_seq = null, replay_until = null
           where slot = $1 and book_id = $2 and webhook_id = $3
           returning slot, book_id, webhook_id)
         insert into webhook_ended (slot, book_id, webhook_id, ended_at)
         select slot, book_id, webhook_id, $4 from disabled
         on conflict (slot, book_id, webhook_id) do update set ended_at = excluded.ended_at",
        book.slot().sql(),
        book.0,
        webhook.0,
        at
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// Deletes a webhook. Its deliveries are cleared later, and cannot be read any more. False when there
/// is none.
pub(in crate::events) async fn delete_webhook(
    pool: &PgPool,
    (book, webhook): Key,
    at: DateTime<Utc>,
) -> Result<bool, sqlx::Error> {
    let ended = sqlx::query!(
        "with deleted as (
           delete from webhook where slot = $1 and book_id = $2 and webhook_id = $3
           returning slot, book_id, webhook_id)
         insert into webhook_ended (slot, book_id, webhook_id, ended_at)
         select slot, book_id, webhook_id, $4 from deleted
         on conflict (slot, book_id, webhook_id) do update set ended_at = excluded.ended_at",
        book.slot().sql(),
        book.0,
        webhook.0,
        at
    )
    .execute(pool)
    .await?;
    Ok(ended.rows_affected() == 1)
}

/// Clears some deliveries of one webhook that has ended: of a disabled one, what waits is dead; of a
/// deleted one, everything goes. Returns whether there was such a webhook.
pub(in crate::events) async fn clear(
    pool: &PgPool,
    at: DateTime<Utc>,
    limit: i64,
) -> Result<bool, sqlx::Error> {
    let mut tx = pool.begin().await?;
    let ended = sqlx::query!(
        r#"select e.book_id, e.webhook_id,
             exists (select from webhook w where w.slot = e.slot and w.book_id = e.book_id
                       and w.webhook_id = e.webhook_id) as "disabled!"
           from webhook_ended e limit 1 for update skip locked"#
    )
    .fetch_optional(&mut *tx)
    .await?;
    let Some(ended) = ended else { return Ok(false) };
    let (book, webhook) = (BookId(ended.book_id), WebhookId(ended.webhook_id));
    let cleared = if ended.disabled {
        kill_some(&mut tx, (book, webhook), at, limit).await?
    } else {
        delete_some(&mut tx, (book, webhook), limit).await?
    };
    if cleared < limit.unsigned_abs() {
        sqlx::query!(
            "with told as (
               delete from webhook_low w where slot = $1 and book_id = $2 and webhook_id = $3
                 and not $4)
             delete from webhook_ended where slot = $1 and book_id = $2 and webhook_id = $3",
            book.slot().sql(),
            book.0,
            webhook.0,
            ended.disabled
        )
        .execute(&mut *tx)
        .await?;
    }
    tx.commit().await?;
    Ok(true)
}

async fn kill_some(
    tx: &mut PgConnection,
    (book, webhook): Key,
    at: DateTime<Utc>,
    limit: i64,
) -> Result<u64, sqlx::Error> {
    let killed = sqlx::query!(
        "with part as (
           select seq from webhook_delivery
           where slot = $1 and book_id = $2 and webhook_id = $3 and state = 'pending'
           order by next_at limit $5 for no key update)
         update webhook_delivery d set state = 'dead', next_at = null, ended_at = $4,
           last_error = coalesce(d.last_error, 'disabled')
         from part where d.slot = $1 and d.book_id = $2 and d.webhook_id = $3 and d.seq = part.seq",
        book.slot().sql(),
        book.0,
        webhook.0,
        at,
        limit
    )
    .execute(tx)
    .await?;
    Ok(killed.rows_affected())
}

async fn delete_some(
    tx: &mut PgConnection,
    (book, webhook): Key,
    limit: i64,
) -> Result<u64, sqlx::Error> {
    let deleted = sqlx::query!(
        "with part as (
           select seq from webhook_delivery
           where slot = $1 and book_id = $2 and webhook_id = $3
           order by seq limit $4 for update)
         delete from webhook_delivery d using part
         where d.slot = $1 and d.book_id = $2 and d.webhook_id = $3 and d.seq = part.seq",
        book.slot().sql(),
        book.0,
        webhook.0,
        limit
    )
    .execute(tx)
    .await?;
    Ok(deleted.rows_affected())
}

/// Gives up what has waited since before a time and was tried, however seldom. Returns how many.
pub(in crate::events) async fn give_up(
    pool: &PgPool,
    before: DateTime<Utc>,
    at: DateTime<Utc>,
    limit: i64,
) -> Result<u64, sqlx::Error> {
    let given_up = sqlx::query!(
        "with old as (
           select slot, book_id, webhook_id, seq from webhook_delivery
           where state = 'pending' and queued_at < $1 and attempts > 0
           order by queued_at limit $3 for no key update skip locked)
         update webhook_delivery d set state = 'dead', next_at = null, ended_at = $2,
           last_error = coalesce(d.last_error, 'too_old')
         from old where d.slot = old.slot and d.book_id = old.book_id
           and d.webhook_id = old.webhook_id and d.seq = old.seq",
        before,
        at,
        limit
    )
    .execute(pool)
    .await?;
    Ok(given_up.rows_affected())
}

/// Forgets what ended before a time, and secrets that sign no more. Returns how many deliveries.
pub(in crate::events) async fn forget(
    pool: &PgPool,
    before: DateTime<Utc>,
    at: DateTime<Utc>,
    limit: i64,
) -> Result<u64, sqlx::Error> {
    sqlx::query!(
        "update webhook set previous_secret = null, previous_until = null
         where previous_until <= $1",
        at
    )
    .execute(pool)
    .await?;
    let forgotten = sqlx::query!(
        "with old as (
           select slot, book_id, webhook_id, seq from webhook_delivery
           where ended_at < $1 order by ended_at limit $2)
         delete from webhook_delivery d using old
         where d.slot = old.slot and d.book_id = old.book_id and d.webhook_id = old.webhook_id
           and d.seq = old.seq",
        before,
        limit
    )
    .execute(pool)
    .await?;
    Ok(forgotten.rows_affected())
}
