use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::ground::{BookId, CapId, KeyId};
use crate::ledger::book::Usage;
use crate::ledger::command::Books;
use crate::ledger::lot::Fate;
use crate::ledger::store::amount;
use crate::ledger::{Cap, Movement, Span, Spender, Wants};

use super::Keys;

pub(super) async fn spenders(
    tx: &mut PgConnection,
    books: &mut Books,
    wants: &Wants,
) -> Result<(), sqlx::Error> {
    let keys = Keys::of(wants.spenders.iter().map(|(book, spender)| (*book, spender.0)));
    let rows = sqlx::query!(
        r#"select s.book_id as "book_id!", s.spender_id as "spender_id!", s.skus, s.expires_at,
                  s.revoked_at
           from unnest($1::smallint[], $2::uuid[], $3::uuid[]) as u(slot, book_id, spender_id)
           cross join lateral (
             select * from spender
             where slot = u.slot and book_id = u.book_id and spender_id = u.spender_id limit 1) s"#,
        &keys.slots,
        &keys.books,
        &keys.ids
    )
    .fetch_all(tx)
    .await?;
    for row in rows {
        let spender = Spender {
            id: KeyId(row.spender_id),
            skus: row.skus,
            expires_at: row.expires_at,
            revoked_at: row.revoked_at,
        };
        if let Some(book) = books.get_mut(&BookId(row.book_id)) {
            book.spenders.insert(spender.id, (spender, Fate::Clean));
        }
    }
    Ok(())
}

/// The caps of the accounts, and of the spenders and holds that were read, with what they have counted:
/// in the windows of today, and in those in which the holds were placed.
pub(super) async fn caps(tx: &mut PgConnection, books: &mut Books) -> Result<(), sqlx::Error> {
    let all = Keys::of(books.keys().map(|book| (*book, book.0)));
    let (mut spenders, mut instants) = (BTreeSet::new(), BTreeSet::new());
    for book in books.values() {
        let holds = book.holds.values().map(|(hold, _)| hold);
        spenders.extend(book.spenders.keys().map(|id| id.0));
        spenders.extend(holds.clone().map(|hold| hold.spender.0));
        instants.extend(holds.map(|hold| hold.placed_at).chain([book.now]));
    }
    let spenders: Vec<Uuid> = spenders.into_iter().collect();
    let windows = |span: Span| {
        let starts: BTreeSet<_> = instants.iter().map(|at| span.window_start(*at)).collect();
        starts.into_iter().collect::<Vec<_>>()
    };
    let rows = sqlx::query!(
        r#"select c.book_id as "book_id!", c.cap_id as "cap_id!", c.spender_id, c.span as "span!",
                  c.limit_amount as "limit_amount!", n.window_start as "window_start?",
                  n.used as "used?"
           from unnest($1::smallint[], $2::uuid[]) as u(slot, book_id)
           cross join lateral (
             select * from cap where slot = u.slot and book_id = u.book_id
               and (spender_id is null or spender_id = any($3)) offset 0) c
           left join lateral (
             select n.* from unnest(case c.span when 'day' then $4::timestamptz[]
                                                when 'month' then $5::timestamptz[]
                                                when 'total' then $6::timestamptz[] end) as w(start)
             cross join lateral (
               select window_start, used from cap_usage
               where slot = u.slot and book_id = u.book_id and cap_id = c.cap_id
                 and window_start = w.start limit 1) n) n on true"#,
        &all.slots,
        &all.books,
        &spenders,
        &windows(Span::Day),
        &windows(Span::Month),
        &windows(Span::Total)
    )
    .fetch_all(tx)
    .await?;
    for row in rows {
        let Some(span) = Span::from_name(&row.span) else { continue };
        let cap = Cap {
            id: CapId(row.cap_id),
            spender: row.spender_id.map(KeyId),
            span,
            limit: amount(row.limit_amount),
        };
        let Some(book) = books.get_mut(&BookId(row.book_id)) else { continue };
        if let (Some(start), Some(used)) = (row.window_start, row.used) {
            let usage = Usage { cap: Some(cap.id), used: amount(used), fate: Fate::Clean };
            book.usage.insert((cap.spender, cap.span, start), usage);
        }
        // One row comes for each window of a cap.
        if book.caps.iter().all(|(known, _)| known.id != cap.id) {
            book.caps.push((cap, Fate::Clean));
        }
    }
    Ok(())
}

/// What has been spent in current windows, counted from the holds that the journal names: the
/// seed of a cap that is about to be made. Windows that a cap already counts keep their row.
///
/// Times never go back within a book, so that the first transfer of a window is found by binary
/// search over the primary key, and only those from there on are read. The window of span total is
/// the whole journal.
pub(super) async fn spent(
    tx: &mut PgConnection,
    books: &mut Books,
    wants: &Wants,
) -> Result<(), sqlx::Error> {
    let windowed = wants.spent.iter().filter(|(_, _, span)| *span != Span::Checkout);
    for (id, spender, span) in windowed {
        let Some(book) = books.get_mut(id) else { continue };
        let start = span.window_start(book.now);
        let used = spent_since(tx, *id, book.version, *spender, start).await?;
        let seed = Usage { cap: None, used: amount(used), fate: Fate::New };
        book.usage.entry((*spender, *span, start)).or_insert(seed);
    }
    Ok(())
}

/// What a spender, or the whole account, has on hold and has been charged of what it put on hold since
/// a moment. The book has reached a version.
async fn spent_since(
    tx: &mut PgConnection,
    book: BookId,
    version: i64,
    spender: Option<KeyId>,
    start: DateTime<Utc>,
) -> Result<i64, sqlx::Error> {
    // The versions up to `low` lie before the moment, and those above `high` do not.
    sqlx::query_scalar!(
        r#"with recursive search(low, high) as (
             select 0::bigint, $6::bigint
             union all
             select case when t.recorded_at < $3 then m.version else s.low end,
                    case when t.recorded_at < $3 then s.high else m.version - 1 end
             from search s
             cross join lateral (select s.low + (s.high - s.low + 1) / 2 as version) m
             cross join lateral (
               select recorded_at from transfer
               where slot = $1 and book_id = $2 and version = m.version limit 1) t
             where s.low < s.high)
           select coalesce(sum(h.amount - h.released - h.reversed), 0)::bigint as "used!"
           from (select distinct subject_id from transfer
                 where slot = $1 and book_id = $2 and movement = $5
                   and version > (select low from search where low = high)
                 offset 0) t
           cross join lateral (
             select * from hold where slot = $1 and book_id = $2
               and hold_id = t.subject_id limit 1) h
           where $4::uuid is null or h.spender_id = $4"#,
        book.slot().sql(),
        book.0,
        start,
        spender.map(|s| s.0),
        Movement::Hold.sql(),
        version
    )
    .fetch_one(tx)
    .await
}
