//! Quotes: read and accepted in a batch, forgotten by a worker.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use sqlx::types::Json;
use sqlx::{PgConnection, PgPool};

use crate::checkout::annex::{CheckoutRows, QuoteKey};
use crate::checkout::quote::{OPEN_MAX, OpenQuotes, PricedLine, QuoteFacts};
use crate::ground::{BookId, CheckoutId, QuoteId};

/// Reads what commands that quote or accept want to see, and nothing for others.
pub(super) async fn read(
    tx: &mut PgConnection,
    rows: &mut CheckoutRows,
) -> Result<(), sqlx::Error> {
    if !rows.wanted_quotes.is_empty() {
        rows.quotes = quotes(tx, rows).await?;
    }
    if !rows.wanted_open_quotes.is_empty() {
        rows.open_quotes = open_quotes(tx, rows).await?;
    }
    Ok(())
}

async fn quotes(
    tx: &mut PgConnection,
    rows: &CheckoutRows,
) -> Result<BTreeMap<QuoteKey, QuoteFacts>, sqlx::Error> {
    let keys = &rows.wanted_quotes;
    let found = sqlx::query!(
        r#"select q.book_id as "book_id!", q.quote_id as "quote_id!",
                  q.lines as "lines!: Json<Vec<PricedLine>>", q.expires_at as "expires_at!",
                  q.checkout_id
           from unnest($1::smallint[], $2::uuid[], $3::uuid[]) as u(slot, book_id, quote_id)
           cross join lateral (
             select * from quote where slot = u.slot and book_id = u.book_id
               and quote_id = u.quote_id limit 1) q"#,
        &keys.iter().map(|(book, _)| book.slot().sql()).collect::<Vec<_>>(),
        &keys.iter().map(|(book, _)| book.0).collect::<Vec<_>>(),
        &keys.iter().map(|(_, quote)| quote.0).collect::<Vec<_>>(),
    )
    .fetch_all(tx)
    .await?;
    let quotes = found.into_iter().map(|row| {
        let facts = QuoteFacts {
            lines: row.lines.0,
            expires_at: row.expires_at,
            checkout: row.checkout_id.map(CheckoutId),
        };
        ((BookId(row.book_id), QuoteId(row.quote_id)), facts)
    });
    Ok(quotes.collect())
}

/// How many quotes of each account are open; nobody counts beyond the bound.
async fn open_quotes(
    tx: &mut PgConnection,
    rows: &CheckoutRows,
) -> Result<BTreeMap<BookId, OpenQuotes>, sqlx::Error> {
    let keys = &rows.wanted_open_quotes;
    let found = sqlx::query!(
        r#"select u.book_id as "book_id!", count(*) as "open!", min(q.expires_at) as first_over_at
           from unnest($1::smallint[], $2::uuid[], $3::timestamptz[]) as u(slot, book_id, at)
           cross join lateral (
             select expires_at from quote where slot = u.slot and book_id = u.book_id
               and checkout_id is null and expires_at > u.at order by expires_at limit $4) q
           group by 1"#,
        &keys.keys().map(|book| book.slot().sql()).collect::<Vec<_>>(),
        &keys.keys().map(|book| book.0).collect::<Vec<_>>(),
        &keys.values().copied().collect::<Vec<_>>(),
        OPEN_MAX
    )
    .fetch_all(tx)
    .await?;
    let open = found.into_iter().map(|row| {
        let open = OpenQuotes { count: row.open, first_over_at: row.first_over_at };
        (BookId(row.book_id), open)
    });
    Ok(open.collect())
}

/// Writes new quotes, and marks those that were accepted.
pub(super) async fn write(tx: &mut PgConnection, rows: &CheckoutRows) -> Result<(), sqlx::Error> {
    if !rows.quoted.is_empty() {
        insert(tx, rows).await?;
    }
    if !rows.accepted_quotes.is_empty() {
        accept(tx, rows).await?;
    }
    Ok(())
}

async fn insert(tx: &mut PgConnection, rows: &CheckoutRows) -> Result<(), sqlx::Error> {
    let new = &rows.quoted;
    let lines: Vec<_> = new.iter().map(|q| Json(&q.lines)).collect();
    sqlx::query!(
        "insert into quote (slot, book_id, quote_id, lines, created_at, expires_at)
         select * from unnest($1::smallint[], $2::uuid[], $3::uuid[], $4::jsonb[],
                              $5::timestamptz[], $6::timestamptz[])",
        &new.iter().map(|q| q.account.slot().sql()).collect::<Vec<_>>(),
        &new.iter().map(|q| q.account.0).collect::<Vec<_>>(),
        &new.iter().map(|q| q.id.0).collect::<Vec<_>>(),
        &lines as _,
        &new.iter().map(|q| q.created_at).collect::<Vec<_>>(),
        &new.iter().map(|q| q.expires_at).collect::<Vec<_>>(),
    )
    .execute(tx)
    .await?;
    Ok(())
}

async fn accept(tx: &mut PgConnection, rows: &CheckoutRows) -> Result<(), sqlx::Error> {
    let accepted = &rows.accepted_quotes;
    sqlx::query!(
        "update quote q set checkout_id = u.checkout_id
         from unnest($1::smallint[], $2::uuid[], $3::uuid[], $4::uuid[])
              as u(slot, book_id, quote_id, checkout_id)
         where q.slot = u.slot and q.book_id = u.book_id and q.quote_id = u.quote_id",
        &accepted.iter().map(|((book, _), _)| book.slot().sql()).collect::<Vec<_>>(),
        &accepted.iter().map(|((book, _), _)| book.0).collect::<Vec<_>>(),
        &accepted.iter().map(|((_, quote), _)| quote.0).collect::<Vec<_>>(),
        &accepted.iter().map(|(_, checkout)| checkout.0).collect::<Vec<_>>(),
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Forgets quotes that ran out before a time and were not accepted, at most `limit`. Returns how many.
pub(in crate::checkout) async fn forget(
    pool: &PgPool,
    before: DateTime<Utc>,
    limit: i64,
) -> Result<u64, sqlx::Error> {
    let done = sqlx::query!(
        "delete from quote q using (
           select slot, book_id, quote_id from quote
           where checkout_id is null and expires_at < $1 limit $2) old
         where q.slot = old.slot and q.book_id = old.book_id and q.quote_id = old.quote_id",
        before,
        limit
    )
    .execute(pool)
    .await?;
    Ok(done.rows_affected())
}
