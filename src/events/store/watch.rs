use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool};
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
        r#"select w.book_id, w.webhook_id, w.low_balance as "low_balance!",
             coalesce(l.told, false) as "told!", coalesce(l.times, 0) as "times!",
             b.prepaid + b.promo as "available!"
           from webhook w join book b on b.slot = w.slot and b.book_id = w.book_id
           left join webhook_low l on l.slot = w.slot and l.book_id = w.book_id
             and l.webhook_id = w.webhook_id
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
        told: row.told,
        times: row.times,
    });
    Ok(thresholds.collect())
}

/// Writes down, in the transaction of the events, that it has been told that balances are low.
pub(in crate::events) async fn write_told(
    tx: &mut PgConnection,
    told: &[(Key, i32)],
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into webhook_low as l (slot, book_id, webhook_id, told, times)
         select slot, book_id, webhook_id, true, times + 1
         from unnest($1::smallint[], $2::uuid[], $3::uuid[], $4::integer[])
           as u(slot, book_id, webhook_id, times)
         order by slot, book_id, webhook_id
         on conflict (slot, book_id, webhook_id) do update
           set told = true, times = excluded.times where l.times < excluded.times",
        &told.iter().map(|((book, _), _)| book.slot().sql()).collect::<Vec<_>>(),
        &told.iter().map(|((book, _), _)| book.0).collect::<Vec<_>>(),
        &told.iter().map(|((_, webhook), _)| webhook.0).collect::<Vec<_>>(),
        &told.iter().map(|(_, times)| *times).collect::<Vec<_>>()
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Writes down that balances are not low any more, of which it had been told so often that they are.
pub(in crate::events) async fn write_enough(
    pool: &PgPool,
    enough: &[(Key, i32)],
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "with enough as (
           select l.slot, l.book_id, l.webhook_id
           from unnest($1::smallint[], $2::uuid[], $3::uuid[], $4::integer[])
             as u(slot, book_id, webhook_id, times)
           join webhook_low l on l.slot = u.slot and l.book_id = u.book_id
             and l.webhook_id = u.webhook_id and l.times = u.times
           for no key update of l skip locked)
         update webhook_low l set told = false from enough
         where l.slot = enough.slot and l.book_id = enough.book_id
           and l.webhook_id = enough.webhook_id",
        &enough.iter().map(|((book, _), _)| book.slot().sql()).collect::<Vec<_>>(),
        &enough.iter().map(|((book, _), _)| book.0).collect::<Vec<_>>(),
        &enough.iter().map(|((_, webhook), _)| webhook.0).collect::<Vec<_>>(),
        &enough.iter().map(|(_, times)| *times).collect::<Vec<_>>()
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
