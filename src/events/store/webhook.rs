use chrono::{DateTime, Utc};
use sqlx::PgPool;
use uuid::Uuid;

use crate::events::{Standing, Webhook};
use crate::ground::{Amount, BookId, WebhookId};

/// A webhook that is to be written.
pub(in crate::events) struct WebhookRow<'a> {
    pub(in crate::events) account: BookId,
    pub(in crate::events) id: WebhookId,
    pub(in crate::events) url: &'a str,
    pub(in crate::events) kinds: Option<&'a [String]>,
    pub(in crate::events) low_balance: Option<Amount>,
    pub(in crate::events) secret: &'a [u8],
    pub(in crate::events) at: DateTime<Utc>,
}

/// The columns of a webhook that its account may see.
struct Row {
    webhook_id: Uuid,
    url: String,
    kinds: Option<Vec<String>>,
    created_at: DateTime<Utc>,
    previous_until: Option<DateTime<Utc>>,
    spread_seq: i64,
    disabled_at: Option<DateTime<Utc>>,
    low_balance: Option<i64>,
}

impl Row {
    fn webhook(self) -> Webhook {
        Webhook {
            webhook_id: WebhookId(self.webhook_id),
            url: self.url,
            types: self.kinds,
            low_balance: self.low_balance.and_then(Amount::from_micros),
            created_at: self.created_at,
            previous_secret_until: self.previous_until,
            queued_seq: self.spread_seq,
            disabled_at: self.disabled_at,
        }
    }
}

/// Writes a webhook into the first free place, from the present event on. None when no place is free,
/// or somebody else has just taken it.
pub(in crate::events) async fn insert_webhook(
    pool: &PgPool,
    new: &WebhookRow<'_>,
) -> Result<Option<Webhook>, sqlx::Error> {
    let row = sqlx::query_as!(
        Row,
        "insert into webhook (slot, book_id, webhook_id, place, url, kinds, secret, created_at,
           spread_seq, not_before, low_balance)
         select b.slot, b.book_id, $3, p.place, $4, $5, $6, $7, b.event_seq, $7, $8
         from book b cross join lateral (
           select place::smallint from generate_series(1, 16) as place
           where not exists (select from webhook w where w.slot = b.slot and w.book_id = b.book_id
                               and w.place = place.place)
           order by place limit 1) as p
         where b.slot = $1 and b.book_id = $2
         on conflict (slot, book_id, place) do nothing
         returning webhook_id, url, kinds, created_at, previous_until, spread_seq, disabled_at,
           low_balance",
        new.account.slot().sql(),
        new.account.0,
        new.id.0,
        new.url,
        new.kinds,
        new.secret,
        new.at,
        new.low_balance.map(Amount::micros)
    )
    .fetch_optional(pool)
    .await?;
    Ok(row.map(Row::webhook))
}

/// The webhooks of an account, oldest first.
pub(in crate::events) async fn webhooks(
    pool: &PgPool,
    account: BookId,
) -> Result<Vec<Webhook>, sqlx::Error> {
    let rows = sqlx::query_as!(
        Row,
        "select webhook_id, url, kinds, created_at, previous_until, spread_seq, disabled_at,
           low_balance
         from webhook where slot = $1 and book_id = $2 order by webhook_id",
        account.slot().sql(),
        account.0
    )
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(Row::webhook).collect())
}

/// One webhook of an account.
pub(in crate::events) async fn webhook(
    pool: &PgPool,
    account: BookId,
    id: WebhookId,
) -> Result<Option<Webhook>, sqlx::Error> {
    let row = sqlx::query_as!(
        Row,
        "select webhook_id, url, kinds, created_at, previous_until, spread_seq, disabled_at,
           low_balance
         from webhook where slot = $1 and book_id = $2 and webhook_id = $3",
        account.slot().sql(),
        account.0,
        id.0
    )
    .fetch_optional(pool)
    .await?;
    Ok(row.map(Row::webhook))
}

/// Puts a new secret into the place of the present one, which signs too until a time. While an older
/// one still does, that one stays: whoever asks again because the answer was lost knows only that one.
pub(in crate::events) async fn rotate_secret(
    pool: &PgPool,
    account: BookId,
    id: WebhookId,
    secret: &[u8],
    (at, until): (DateTime<Utc>, DateTime<Utc>),
) -> Result<Option<Webhook>, sqlx::Error> {
    let row = sqlx::query_as!(
        Row,
        "update webhook set secret = $4,
           previous_secret = case when previous_until > $5 then previous_secret else secret end,
           previous_until = case when previous_until > $5 then previous_until else $6 end
         where slot = $1 and book_id = $2 and webhook_id = $3
         returning webhook_id, url, kinds, created_at, previous_until, spread_seq, disabled_at,
           low_balance",
        account.slot().sql(),
        account.0,
        id.0,
        secret,
        at,
        until
    )
    .fetch_optional(pool)
    .await?;
    Ok(row.map(Row::webhook))
}

/// A webhook whose secret was sealed with another key.
pub(in crate::events) async fn sealed_otherwise(
    pool: &PgPool,
    key_id: u8,
) -> Result<Option<(WebhookId, Vec<u8>)>, sqlx::Error> {
    let row = sqlx::query!(
        "select webhook_id, secret from webhook where get_byte(secret, 0) <> $1 limit 1",
        i32::from(key_id)
    )
    .fetch_optional(pool)
    .await?;
    Ok(row.map(|row| (WebhookId(row.webhook_id), row.secret)))
}

/// Any webhook with its sealed secret.
pub(in crate::events) async fn any_sealed(
    pool: &PgPool,
) -> Result<Option<(WebhookId, Vec<u8>)>, sqlx::Error> {
    let row =
        sqlx::query!("select webhook_id, secret from webhook limit 1").fetch_optional(pool).await?;
    Ok(row.map(|row| (WebhookId(row.webhook_id), row.secret)))
}

/// Asks for events to be sent again, unless that has been asked already. False then.
pub(in crate::events) async fn begin_replay(
    pool: &PgPool,
    account: BookId,
    id: WebhookId,
    (from, to): (i64, i64),
) -> Result<bool, sqlx::Error> {
    let begun = sqlx::query!(
        "update webhook set replay_from = $4, replay_seq = $4, replay_until = $5
         where slot = $1 and book_id = $2 and webhook_id = $3 and replay_seq is null
           and disabled_at is null",
        account.slot().sql(),
        account.0,
        id.0,
        from,
        to
    )
    .execute(pool)
    .await?;
    Ok(begun.rows_affected() == 1)
}

/// The first and the last event of the replay that is under way.
pub(in crate::events) async fn replay_under_way(
    pool: &PgPool,
    account: BookId,
    id: WebhookId,
) -> Result<Option<(i64, i64)>, sqlx::Error> {
    let row = sqlx::query!(
        "select replay_from, replay_until from webhook
         where slot = $1 and book_id = $2 and webhook_id = $3",
        account.slot().sql(),
        account.0,
        id.0
    )
    .fetch_optional(pool)
    .await?;
    Ok(row.and_then(|row| row.replay_from.zip(row.replay_until)))
}

/// What waits and what was given up, over all accounts. Each is counted only so far.
pub(in crate::events) async fn standing(
    pool: &PgPool,
    at: DateTime<Utc>,
    count_max: i64,
) -> Result<Standing, sqlx::Error> {
    sqlx::query_as!(
        Standing,
        r#"select
             (select count(*) from (
                select from webhook_delivery where state = 'pending' limit $2) p) as "pending!",
             (select count(*) from (
                select from webhook_delivery where state = 'dead' limit $2) d) as "dead!",
             coalesce((
               select extract(epoch from $1::timestamptz - queued_at)::bigint
               from webhook_delivery where state = 'pending' order by queued_at limit 1), 0)
               as "oldest_pending_s!""#,
        at,
        count_max
    )
    .fetch_one(pool)
    .await
}
