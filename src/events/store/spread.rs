//! Events become deliveries of the webhooks that want them.

use chrono::{DateTime, Utc};
use sqlx::PgPool;
use uuid::Uuid;

use super::Key;

/// How much is queued in one statement.
#[derive(Clone, Copy)]
pub(in crate::events) struct Portion {
    /// How many events of each webhook are looked at.
    pub(in crate::events) events_max: i64,
    /// With how many deliveries waiting a webhook gets no more: the rest stays in the outbox.
    pub(in crate::events) pending_max: i64,
}

fn columns(keys: &[Key]) -> (Vec<i16>, Vec<Uuid>, Vec<Uuid>) {
    let slots = keys.iter().map(|(book, _)| book.slot().sql()).collect();
    let books = keys.iter().map(|(book, _)| book.0).collect();
    (slots, books, keys.iter().map(|(_, webhook)| webhook.0).collect())
}

/// Makes deliveries of the next events of these webhooks, and says whether any has still more that
/// could be queued. A book's events are numbered and committed under its lock, so that up to its last
/// one none is missing.
pub(in crate::events) async fn spread(
    pool: &PgPool,
    keys: &[Key],
    portion: Portion,
    at: DateTime<Utc>,
) -> Result<bool, sqlx::Error> {
    let (slots, books, webhooks) = columns(keys);
    let more = sqlx::query_scalar!(
        r#"with found as (
           select w.slot, w.book_id, w.webhook_id, w.kinds, w.spread_seq, b.event_seq,
             exists (
               select from webhook_delivery d
               where d.slot = w.slot and d.book_id = w.book_id and d.webhook_id = w.webhook_id
                 and d.state = 'pending' offset $6::bigint - 1) as crowded
           from unnest($1::smallint[], $2::uuid[], $3::uuid[]) as u(slot, book_id, webhook_id)
           join webhook w on w.slot = u.slot and w.book_id = u.book_id
             and w.webhook_id = u.webhook_id
           join book b on b.slot = w.slot and b.book_id = w.book_id
           where w.disabled_at is null and w.spread_seq < b.event_seq
           for no key update of w skip locked),
         behind as (
           select *, case when crowded then spread_seq
                          else least(event_seq, spread_seq + $5) end as upto
           from found),
         fresh as (
           insert into webhook_delivery (slot, book_id, webhook_id, seq, queued_at, next_at)
           select w.slot, w.book_id, w.webhook_id, o.seq, $4, $4
           from behind w cross join lateral (
             select seq, kind from outbox
             where slot = w.slot and book_id = w.book_id and seq > w.spread_seq and seq <= w.upto
             order by seq limit $5) o
           where w.kinds is null or o.kind = any (w.kinds)
           on conflict (slot, book_id, webhook_id, seq) do nothing
           returning webhook_id)
         update webhook w set spread_seq = behind.upto, crowded = behind.crowded,
           next_at = case when w.webhook_id in (select webhook_id from fresh)
                          then greatest(least(w.next_at, $4), w.not_before) else w.next_at end
         from behind where w.slot = behind.slot and w.book_id = behind.book_id
           and w.webhook_id = behind.webhook_id
         returning not behind.crowded and behind.upto < behind.event_seq as "more!""#,
        &slots,
        &books,
        &webhooks,
        at,
        portion.events_max,
        portion.pending_max
    )
    .fetch_all(pool)
    .await?;
    Ok(more.contains(&true))
}

/// The same for events that are to be sent again.
pub(in crate::events) async fn spread_again(
    pool: &PgPool,
    keys: &[Key],
    portion: Portion,
    at: DateTime<Utc>,
) -> Result<bool, sqlx::Error> {
    let (slots, books, webhooks) = columns(keys);
    let more = sqlx::query_scalar!(
        r#"with found as (
           select w.slot, w.book_id, w.webhook_id, w.kinds, w.replay_from, w.replay_seq,
             w.replay_until,
             exists (
               select from webhook_delivery d
               where d.slot = w.slot and d.book_id = w.book_id and d.webhook_id = w.webhook_id
                 and d.state = 'pending' offset $6::bigint - 1) as crowded
           from unnest($1::smallint[], $2::uuid[], $3::uuid[]) as u(slot, book_id, webhook_id)
           join webhook w on w.slot = u.slot and w.book_id = u.book_id
             and w.webhook_id = u.webhook_id
           where w.disabled_at is null and w.replay_seq is not null
           for no key update of w skip locked),
         again as (
           select *, case when crowded then replay_seq - 1
                          else least(replay_until, replay_seq + $5 - 1) end as upto
           from found),
         fresh as (
           insert into webhook_delivery (slot, book_id, webhook_id, seq, queued_at, next_at)
           select w.slot, w.book_id, w.webhook_id, o.seq, $4, $4
           from again w cross join lateral (
             select seq, kind from outbox
             where slot = w.slot and book_id = w.book_id and seq >= w.replay_seq and seq <= w.upto
             order by seq limit $5) o
           where w.kinds is null or o.kind = any (w.kinds)
           on conflict (slot, book_id, webhook_id, seq) do update set state = 'pending',
             attempts = 0, queued_at = $4, next_at = $4, last_status = null, last_error = null,
             ended_at = null
           returning webhook_id)
         update webhook w set crowded = again.crowded,
           replay_from = case when again.upto < again.replay_until then again.replay_from end,
           replay_seq = case when again.upto < again.replay_until then again.upto + 1 end,
           replay_until = case when again.upto < again.replay_until then again.replay_until end,
           next_at = case when w.webhook_id in (select webhook_id from fresh)
                          then greatest(least(w.next_at, $4), w.not_before) else w.next_at end
         from again where w.slot = again.slot and w.book_id = again.book_id
           and w.webhook_id = again.webhook_id
         returning not again.crowded and again.upto < again.replay_until as "more!""#,
        &slots,
        &books,
        &webhooks,
        at,
        portion.events_max,
        portion.pending_max
    )
    .fetch_all(pool)
    .await?;
    Ok(more.contains(&true))
}
