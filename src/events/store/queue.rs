//! What the courier sends: a webhook is claimed, its deliveries are read and marked, it is given back.
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

/// A webhook, and whether there are events that have not become deliveries and can.
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
pub(in crate::events) struct Mark {
    pub(in crate::events) seq: i64,
    /// How many attempts there had been before it.
    pub(in crate::events) attempts: i32,
    pub(in crate::events) state: &'static str,
    pub(in crate::events) next_at: Option<DateTime<Utc>>,
    pub(in crate::events) status: Option<i16>,
    pub(in crate::events) error: Option<&'static str>,
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
        r#"select w.book_id, w.webhook_id,
             w.spread_seq < b.event_seq and not w.crowded as "behind!",
             w.replay_seq is not null and not w.crowded as "replays!"
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

/// Claims webhooks that have something to send, of one book only so many at a time: what its others
/// have to send waits for their turns. Nobody else sends for them until the lease ends.
pub(in crate::events) async fn claim(
    pool: &PgPool,
    at: DateTime<Utc>,
    lease_end: DateTime<Utc>,
    (limit, book_max): (i64, i64),
) -> Result<Vec<Claimed>, sqlx::Error> {
    let rows = sqlx::query!(
        "with waiting as (
           select w.slot, w.book_id, w.webhook_id, w.next_at, l.leased
           from webhook w cross join lateral (
             select count(*) as leased from webhook
             where slot = w.slot and book_id = w.book_id and leased_until > $1) l
           where w.next_at <= $1 and w.disabled_at is null and l.leased < $4
           order by w.next_at limit $3::bigint * 16),
         ranked as (
           select waiting.*, leased + row_number() over (
             partition by slot, book_id order by next_at, webhook_id) as turn
           from waiting),
         due as (
           select w.slot, w.book_id, w.webhook_id
           from ranked r join webhook w on w.slot = r.slot and w.book_id = r.book_id
             and w.webhook_id = r.webhook_id
           where r.turn <= $4 and w.next_at <= $1 and w.disabled_at is null
           order by r.next_at limit $3 for no key update of w skip locked)
         update webhook w set next_at = $2, not_before = $2, leased_until = $2
         from due where w.slot = due.slot and w.book_id = due.book_id
           and w.webhook_id = due.webhook_id
         returning w.book_id, w.webhook_id, w.url, w.secret, w.previous_secret, w.previous_until,
           w.failures",
        at,
        lease_end,
        limit,
        book_max
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
        "select d.attempts, o.seq, o.kind, o.subject_id, o.detail, o.recorded_at,
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
        let (kind, subject_id, detail) = (row.kind, row.subject_id, row.detail);
        let recorded_at = row.recorded_at;
        let event = Row { seq, kind, subject_id, detail, recorded_at, amount }.event(book);
        Due { event, attempts: row.attempts }
    });
    Ok(due.collect())
}

/// Writes down what came of attempts, except of deliveries that have begun anew meanwhile.
pub(in crate::events) async fn mark(
    pool: &PgPool,
    (book, webhook): Key,
    marks: &[Mark],
    at: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update webhook_delivery d set state = m.state, attempts = d.attempts + 1,
           next_at = m.next_at, last_status = m.status, last_error = m.error,
           ended_at = case when m.state <> 'pending' then $4::timestamptz end
         from unnest($5::bigint[], $6::integer[], $7::text[], $8::timestamptz[], $9::smallint[],
           $10::text[]) as m(seq, attempts, state, next_at, status, error)
         where d.slot = $1 and d.book_id = $2 and d.webhook_id = $3 and d.seq = m.seq
           and d.attempts = m.attempts and d.state = 'pending'",
        book.slot().sql(),
        book.0,
        webhook.0,
        at,
        &marks.iter().map(|mark| mark.seq).collect::<Vec<_>>(),
        &marks.iter().map(|mark| mark.attempts).collect::<Vec<_>>(),
        &marks.iter().map(|mark| mark.state.to_owned()).collect::<Vec<_>>(),
        &marks.iter().map(|mark| mark.next_at).collect::<Vec<_>>() as _,
        &marks.iter().map(|mark| mark.status).collect::<Vec<_>>() as _,
        &marks.iter().map(|mark| mark.error.map(str::to_owned)).collect::<Vec<_>>() as _
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// Gives a webhook back, unless its lease has ended. It is locked first: what has become due meanwhile
/// is then seen. What waited may have been sent, so that it is looked anew whether there is room.
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
        "update webhook w set not_before = $5, failures = $6, leased_until = null, crowded = false,
           next_at = (select greatest(d.next_at, $5) from webhook_delivery d
                      where d.slot = w.slot and d.book_id = w.book_id
                        and d.webhook_id = w.webhook_id and d.state = 'pending'
                      order by d.next_at limit 1)
         where w.slot = $1 and w.book_id = $2 and w.webhook_id = $3 and w.leased_until = $4",
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
