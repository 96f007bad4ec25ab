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

/// Deletes a webhook with its deliveries. False when there is none.
pub(in crate::events) async fn delete_webhook(
    pool: &PgPool,
    account: BookId,
    id: WebhookId,
) -> Result<bool, sqlx::Error> {
    let deleted = sqlx::query!(
        "with deliveries as (
           delete from webhook_delivery where slot = $1 and book_id = $2 and webhook_id = $3)
         delete from webhook where slot = $1 and book_id = $2 and webhook_id = $3",
        account.slot().sql(),
        account.0,
        id.0
    )
    .execute(pool)
    .await?;
    Ok(deleted.rows_affected() == 1)
}

/// Puts a new secret into the place of the old one, which signs too until a time.
pub(in crate::events) async fn rotate_secret(
    pool: &PgPool,
    account: BookId,
    id: WebhookId,
    secret: &[u8],
    until: DateTime<Utc>,
) -> Result<Option<Webhook>, sqlx::Error> {
    let row = sqlx::query_as!(
        Row,
        "update webhook set previous_secret = secret, previous_until = $5, secret = $4
         where slot = $1 and book_id = $2 and webhook_id = $3
         returning webhook_id, url, kinds, created_at, previous_until, spread_seq, disabled_at,
           low_balance",
        account.slot().sql(),
        account.0,
        id.0,
        secret,
        until
    )
    .fetch_optional(pool)
    .await?;
    Ok(row.map(Row::webhook))
}

/// Asks for events to be sent again, beside those of a replay that is under way.
pub(in crate::events) async fn begin_replay(
    pool: &PgPool,
    account: BookId,
    id: WebhookId,
    (from, to): (i64, i64),
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update webhook set replay_seq = least(replay_seq, $4),
           replay_until = greatest(replay_until, $5)
         where slot = $1 and book_id = $2 and webhook_id = $3",
        account.slot().sql(),
        account.0,
        id.0,
        from,
        to
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// What waits and what was given up, over all accounts.
pub(in crate::events) async fn standing(
    pool: &PgPool,
    at: DateTime<Utc>,
) -> Result<Standing, sqlx::Error> {
    sqlx::query_as!(
        Standing,
        r#"select p.pending as "pending!", d.dead as "dead!", p.oldest as "oldest_pending_s!"
           from (select count(*) as pending,
                   coalesce(extract(epoch from $1::timestamptz - min(queued_at))::bigint, 0)
                     as oldest
                 from webhook_delivery where state = 'pending') p,
                (select count(*) as dead from webhook_delivery where state = 'dead') d"#,
        at
    )
    .fetch_one(pool)
    .await
}
