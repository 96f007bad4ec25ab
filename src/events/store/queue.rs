//! What the courier does: events become deliveries, a webhook is claimed, its deliveries are marked.
//!
//! Events are looked up in lateral subqueries with a limit, which have one plan: by their whole key.
//! The statistics of young tables would let a join read all events of a book for each delivery.

use chrono::{DateTime, Utc};
use sqlx::PgPool;
use uuid::Uuid;

use crate::events::event::{Event, Row};
use crate::ground::{BookId, WebhookId};

/// A webhook's key in the order in which webhooks are looked at.
pub(in crate::events) type Key = (BookId, WebhookId);

/// Before every webhook.
pub(in crate::events) const FIRST: Key = (BookId(Uuid::nil()), WebhookId(Uuid::nil()));

/// A webhook, and whether there are events that have not become deliveries.
pub(in crate::events) struct Looked {
    pub(in crate::events) key: Key,
    pub(in crate::events) behind: bool,
    pub(in crate::events) replays: bool,
}

/// A webhook that is this courier's until its lease ends.
pub(in crate::events) struct Claimed {
    pub(in crate::events) key: Key,
    pub(in crate::events) url: String,
    pub(in crate::events) secret: Vec<u8>,
    pub(in crate::events) previous: Option<(Vec<u8>, DateTime<Utc>)>,
    pub(in crate::events) failures: i32,
}

/// A delivery that is due.
pub(in crate::events) struct Due {
    pub(in crate::events) event: Event,
    pub(in crate::events) attempts: i32,
}

/// What came of an attempt.
pub(in crate::events) struct Mark<'a> {
    pub(in crate::events) state: &'a str,
    pub(in crate::events) next_at: Option<DateTime<Utc>>,
    pub(in crate::events) status: Option<i16>,
    pub(in crate::events) error: Option<&'a str>,
    pub(in crate::events) at: DateTime<Utc>,
}

/// What came of a turn.
pub(in crate::events) struct Release {
    pub(in crate::events) lease_end: DateTime<Utc>,
    pub(in crate::events) not_before: DateTime<Utc>,
    pub(in crate::events) failures: i32,
}

/// The next webhooks after one, in order, and how each stands to its book.
pub(in crate::events) async fn look(
    pool: &PgPool,
    (book, webhook): Key,
    limit: i64,
) -> Result<Vec<Looked>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select w.book_id, w.webhook_id, w.spread_seq < b.event_seq as "behind!",
             w.replay_seq is not null as "replays!"
           from webhook w join book b on b.slot = w.slot and b.book_id = w.book_id
           where w.disabled_at is null and (w.slot, w.book_id, w.webhook_id) > ($1, $2, $3)
           order by w.slot, w.book_id, w.webhook_id limit $4"#,
        book.slot().sql(),
        book.0,
        webhook.0,
        limit
    )
    .fetch_all(pool)
    .await?;
    let looked = rows.into_iter().map(|row| Looked {
        key: (BookId(row.book_id), WebhookId(row.webhook_id)),
        behind: row.behind,
        replays: row.replays,
    });
    Ok(looked.collect())
}

fn columns(keys: &[Key]) -> (Vec<i16>, Vec<Uuid>, Vec<Uuid>) {
    let slots = keys.iter().map(|(book, _)| book.slot().sql()).collect();
    let books = keys.iter().map(|(book, _)| book.0).collect();
    (slots, books, keys.iter().map(|(_, webhook)| webhook.0).collect())
}

/// Makes deliveries of the next events of these webhooks, up to so many of each. A book's events are
/// numbered and committed under its lock, so that up to its last one none is missing.
pub(in crate::events) async fn spread(
    pool: &PgPool,
    keys: &[Key],
    events_max: i64,
    at: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    let (slots, books, webhooks) = columns(keys);
    sqlx::query!(
        "with behind as (
           select w.slot, w.book_id, w.webhook_id, w.kinds, w.spread_seq,
             least(b.event_seq, w.spread_seq + $5) as upto
           from unnest($1::smallint[], $2::uuid[], $3::uuid[]) as u(slot, book_id, webhook_id)
           join webhook w on w.slot = u.slot and w.book_id = u.book_id
             and w.webhook_id = u.webhook_id
           join book b on b.slot = w.slot and b.book_id = w.book_id
           where w.disabled_at is null and w.spread_seq < b.event_seq
           for no key update of w skip locked),
         fresh as (
           insert into webhook_delivery (slot, book_id, webhook_id, seq, queued_at, next_at)
           select w.slot, w.book_id, w.webhook_id, o.seq, $4, $4
           from behind w cross join lateral (
             select seq, kind from outbox
             where slot = w.slot and book_id = w.book_id and seq > w.spread_seq and seq <= w.upto
             order by seq limit $5) o
           where w.kinds is null or o.kind = any (w.kinds)
           on conflict (slot, book_id, webhook_id, seq) do nothing)
         update webhook w set spread_seq = behind.upto,
           next_at = greatest(least(w.next_at, $4), w.not_before)
         from behind where w.slot = behind.slot and w.book_id = behind.book_id
           and w.webhook_id = behind.webhook_id",
        &slots,
        &books,
        &webhooks,
        at,
        events_max
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// The same for events that are to be sent again.
pub(in crate::events) async fn spread_again(
    pool: &PgPool,
    keys: &[Key],
    events_max: i64,
    at: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    let (slots, books, webhooks) = columns(keys);
    sqlx::query!(
        "with again as (
           select w.slot, w.book_id, w.webhook_id, w.kinds, w.replay_seq, w.replay_until,
             least(w.replay_until, w.replay_seq + $5 - 1) as upto
           from unnest($1::smallint[], $2::uuid[], $3::uuid[]) as u(slot, book_id, webhook_id)
           join webhook w on w.slot = u.slot and w.book_id = u.book_id
             and w.webhook_id = u.webhook_id
           where w.disabled_at is null and w.replay_seq is not null
           for no key update of w skip locked),
         pending as (
           insert into webhook_delivery (slot, book_id, webhook_id, seq, queued_at, next_at)
           select w.slot, w.book_id, w.webhook_id, o.seq, $4, $4
           from again w cross join lateral (
             select seq, kind from outbox
             where slot = w.slot and book_id = w.book_id and seq >= w.replay_seq and seq <= w.upto
             order by seq limit $5) o
           where w.kinds is null or o.kind = any (w.kinds)
           on conflict (slot, book_id, webhook_id, seq) do update set state = 'pending',
             attempts = 0, queued_at = $4, next_at = $4, last_status = null, last_error = null,
             ended_at = null)
         update webhook w set
           replay_seq = case when again.upto < again.replay_until then again.upto + 1 end,
           replay_until = case when again.upto < again.replay_until then again.replay_until end,
           next_at = greatest(least(w.next_at, $4), w.not_before)
         from again where w.slot = again.slot and w.book_id = again.book_id
           and w.webhook_id = again.webhook_id",
        &slots,
        &books,
        &webhooks,
        at,
        events_max
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// Claims webhooks that have something to send. Nobody else sends for them until the lease ends.
pub(in crate::events) async fn claim(
    pool: &PgPool,
    at: DateTime<Utc>,
    lease_end: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<Claimed>, sqlx::Error> {
    let rows = sqlx::query!(
        "with due as (
           select slot, book_id, webhook_id from webhook
           where next_at <= $1 and disabled_at is null
           order by next_at limit $3 for no key update skip locked)
         update webhook w set next_at = $2, not_before = $2
         from due where w.slot = due.slot and w.book_id = due.book_id
           and w.webhook_id = due.webhook_id
         returning w.book_id, w.webhook_id, w.url, w.secret, w.previous_secret, w.previous_until,
           w.failures",
        at,
        lease_end,
        limit
    )
    .fetch_all(pool)
    .await?;
    let claimed = rows.into_iter().map(|row| Claimed {
        key: (BookId(row.book_id), WebhookId(row.webhook_id)),
        url: row.url,
        secret: row.secret,
        previous: row.previous_secret.zip(row.previous_until),
        failures: row.failures,
    });
    Ok(claimed.collect())
}

/// The deliveries of a webhook that are due, each with its event.
pub(in crate::events) async fn due(
    pool: &PgPool,
    (book, webhook): Key,
    at: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<Due>, sqlx::Error> {
    let rows = sqlx::query!(
        "select d.attempts, o.seq, o.kind, o.subject_id, o.recorded_at,
           (select sum(t.amount)::bigint from transfer t
            where t.slot = o.slot and t.subject_id = o.subject_id and t.book_id = o.book_id
              and t.movement = case o.kind when 'topup.credited' then 1 when 'grant.credited' then 2
                                 when 'charge.captured' then 4 when 'lot.expired' then 7 end)
             as amount
         from (select slot, book_id, seq, attempts, next_at from webhook_delivery
               where slot = $1 and book_id = $2 and webhook_id = $3 and state = 'pending'
                 and next_at <= $4
               order by next_at, seq limit $5) d
         cross join lateral (
           select * from outbox
           where slot = d.slot and book_id = d.book_id and seq = d.seq limit 1) o
         order by d.next_at, d.seq",
        book.slot().sql(),
        book.0,
        webhook.0,
        at,
        limit
    )
    .fetch_all(pool)
    .await?;
    let due = rows.into_iter().map(|row| {
        let (seq, amount) = (row.seq, row.amount);
        let (kind, subject_id, recorded_at) = (row.kind, row.subject_id, row.recorded_at);
        let event = Row { seq, kind, subject_id, recorded_at, amount }.event(book);
        Due { event, attempts: row.attempts }
    });
    Ok(due.collect())
}

/// Writes down what came of an attempt, unless the delivery has begun anew meanwhile.
pub(in crate::events) async fn mark(
    pool: &PgPool,
    (book, webhook): Key,
    due: &Due,
    mark: &Mark<'_>,
) -> Result<(), sqlx::Error> {
    let ended = (mark.state != "pending").then_some(mark.at);
    sqlx::query!(
        "update webhook_delivery set state = $6, attempts = attempts + 1, next_at = $7,
           last_status = $8, last_error = $9, ended_at = $10
         where slot = $1 and book_id = $2 and webhook_id = $3 and seq = $4 and attempts = $5
           and state = 'pending'",
        book.slot().sql(),
        book.0,
        webhook.0,
        due.event.seq,
        due.attempts,
        mark.state,
        mark.next_at,
        mark.status,
        mark.error,
        ended
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// Gives a webhook back. It is locked first: what has become due meanwhile is then seen.
pub(in crate::events) async fn release(
    pool: &PgPool,
    (book, webhook): Key,
    release: &Release,
) -> Result<(), sqlx::Error> {
    let mut tx = pool.begin().await?;
    sqlx::query!(
        "select from webhook where slot = $1 and book_id = $2 and webhook_id = $3
         for no key update",
        book.slot().sql(),
        book.0,
        webhook.0
    )
    .fetch_optional(&mut *tx)
    .await?;
    sqlx::query!(
        "update webhook w set not_before = $5, failures = $6,
           next_at = (select greatest(min(d.next_at), $5) from webhook_delivery d
                      where d.slot = w.slot and d.book_id = w.book_id
                        and d.webhook_id = w.webhook_id and d.state = 'pending'
                      having count(*) > 0)
         where w.slot = $1 and w.book_id = $2 and w.webhook_id = $3 and w.not_before = $4",
        book.slot().sql(),
        book.0,
        webhook.0,
        release.lease_end,
        release.not_before,
        release.failures
    )
    .execute(&mut *tx)
    .await?;
    tx.commit().await
}

/// Ends a webhook whose receiver is gone for good, and what waited for it.
pub(in crate::events) async fn disable(
    pool: &PgPool,
    (book, webhook): Key,
    at: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "with given_up as (
           update webhook_delivery set state = 'dead', next_at = null, ended_at = $4,
             last_error = coalesce(last_error, 'the webhook is disabled')
           where slot = $1 and book_id = $2 and webhook_id = $3 and state = 'pending')
         update webhook set disabled_at = $4, next_at = null
         where slot = $1 and book_id = $2 and webhook_id = $3",
        book.slot().sql(),
        book.0,
        webhook.0,
        at
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// Gives up what has waited since before a time, however few attempts it had. Returns how many.
pub(in crate::events) async fn give_up(
    pool: &PgPool,
    before: DateTime<Utc>,
    at: DateTime<Utc>,
    limit: i64,
) -> Result<u64, sqlx::Error> {
    let given_up = sqlx::query!(
        "with old as (
           select slot, book_id, webhook_id, seq from webhook_delivery
           where state = 'pending' and queued_at < $1
           order by queued_at limit $3 for no key update skip locked)
         update webhook_delivery d set state = 'dead', next_at = null, ended_at = $2,
           last_error = coalesce(d.last_error, 'it waited too long')
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
