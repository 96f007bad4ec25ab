use chrono::{DateTime, Utc};
use sqlx::PgPool;
use uuid::Uuid;

use crate::events::watch::Threshold;
use crate::ground::{Amount, BookId, LotId, WebhookId};

use super::Key;

/// The next webhooks after one that have a threshold, in order, with the balances of their accounts.
pub(in crate::events) async fn thresholds(
    pool: &PgPool,
    (book, webhook): Key,
    limit: i64,
) -> Result<Vec<Threshold>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select w.book_id, w.webhook_id, w.low_balance as "low_balance!", w.low_told,
             w.low_times, b.prepaid + b.promo as "available!"
           from webhook w join book b on b.slot = w.slot and b.book_id = w.book_id
           where w.low_balance is not null and w.disabled_at is null
             and (w.slot, w.book_id, w.webhook_id) > ($1, $2, $3)
           order by w.slot, w.book_id, w.webhook_id limit $4"#,
        book.slot().sql(),
        book.0,
        webhook.0,
        limit
    )
    .fetch_all(pool)
    .await?;
    let amount = |micros| Amount::from_micros(micros).unwrap_or_default();
    let thresholds = rows.into_iter().map(|row| Threshold {
        key: (BookId(row.book_id), WebhookId(row.webhook_id)),
        limit: amount(row.low_balance),
        available: amount(row.available),
        told: row.low_told,
        times: row.low_times,
    });
    Ok(thresholds.collect())
}

/// Writes down that it has been told that a balance is low, or that it is not low any more, unless
/// somebody else has.
pub(in crate::events) async fn tell_balance(
    pool: &PgPool,
    (book, webhook): Key,
    low: bool,
    times: i32,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update webhook set low_told = $4, low_times = low_times + $4::boolean::integer
         where slot = $1 and book_id = $2 and webhook_id = $3 and low_told <> $4
           and low_times = $5",
        book.slot().sql(),
        book.0,
        webhook.0,
        low,
        times
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// The next lots that expire after a moment and not after another, in order.
pub(in crate::events) async fn expiring_lots(
    pool: &PgPool,
    (after, lot): (DateTime<Utc>, Uuid),
    until: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<(BookId, LotId, DateTime<Utc>)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select book_id, lot_id, expires_at as "expires_at!" from lot
           where open and expires_at is not null and expires_at >= $1 and expires_at <= $3
             and (expires_at, lot_id) > ($1, $2)
           order by expires_at, lot_id limit $4"#,
        after,
        lot,
        until,
        limit
    )
    .fetch_all(pool)
    .await?;
    let lots = rows.into_iter().map(|row| (BookId(row.book_id), LotId(row.lot_id), row.expires_at));
    Ok(lots.collect())
}

/// Which of these commands have been decided.
pub(in crate::events) async fn decided(
    pool: &PgPool,
    commands: &[(BookId, Uuid)],
) -> Result<Vec<Uuid>, sqlx::Error> {
    sqlx::query_scalar!(
        "select o.command from unnest($1::smallint[], $2::uuid[], $3::uuid[])
           as u(slot, book_id, command)
         join outcome o on o.slot = u.slot and o.book_id = u.book_id and o.command = u.command",
        &commands.iter().map(|(book, _)| book.slot().sql()).collect::<Vec<_>>(),
        &commands.iter().map(|(book, _)| book.0).collect::<Vec<_>>(),
        &commands.iter().map(|(_, command)| *command).collect::<Vec<_>>()
    )
    .fetch_all(pool)
    .await
}
