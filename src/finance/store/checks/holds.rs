//! Holds and captures against balances and transfers.

use sqlx::PgConnection;

use super::{Found, NAMED_MAX};

/// What is open of a book's holds is its `held` and `promo_held`. A hold's draws lie end to end;
/// captures have taken from their front and releases from their back, and what is between is open.
pub async fn balances(tx: &mut PgConnection) -> Result<Vec<Found>, sqlx::Error> {
    sqlx::query_as!(
        Found,
        r#"with draws as (
             select h.slot, h.book_id, d.lot_id, h.captured as open_from,
                    h.amount - h.released as open_to,
                    sum(d.amount) over (partition by h.slot, h.book_id, h.hold_id order by d.n)
                      as draw_to,
                    d.amount
             from hold h
             cross join lateral unnest(h.draw_lots, h.draw_amounts) with ordinality
               as d(lot_id, amount, n)
             where h.captured + h.released < h.amount),
           open as (
             select d.slot, d.book_id, l.paid,
                    sum(greatest(0, least(d.draw_to, d.open_to)
                                    - greatest(d.draw_to - d.amount, d.open_from))) as amount
             from draws d left join lot l
               on l.slot = d.slot and l.book_id = d.book_id and l.lot_id = d.lot_id
             group by 1, 2, 3),
           sums as (
             select slot, book_id, coalesce(sum(amount) filter (where paid), 0) as paid,
                    coalesce(sum(amount) filter (where paid is not true), 0) as promotional
             from open group by 1, 2),
           bad as (
             select book_id, v.subject, coalesce(v.expected, 0)::numeric as expected,
                    coalesce(v.found, 0) as found
             from book b full join sums s using (slot, book_id)
             cross join lateral (values
               ('open holds of paid credits', b.held, s.paid),
               ('open holds of promotional credits', b.promo_held, s.promotional))
               as v(subject, expected, found)
             where coalesce(v.expected, 0) <> coalesce(v.found, 0))
           select book_id as "book?", subject as "subject!", expected as "expected?",
                  found as "found?", count(*) over () as "total!"
           from bad order by book_id, subject limit $1"#,
        NAMED_MAX
    )
    .fetch_all(tx)
    .await
}

/// A hold's amount and what was released of it are the sums of its transfers.
pub async fn transfers(tx: &mut PgConnection) -> Result<Vec<Found>, sqlx::Error> {
    sqlx::query_as!(
        Found,
        r#"with moved as (
             select t.slot, t.book_id, t.subject_id as hold_id,
                    coalesce(sum(t.amount) filter (where m.name = 'hold'), 0) as placed,
                    coalesce(sum(t.amount) filter (where m.name = 'release'), 0) as released
             from transfer t join movement m
               on m.movement = t.movement and m.debit = t.debit and m.credit = t.credit
             where m.name in ('hold', 'release')
             group by 1, 2, 3),
           bad as (
             select book_id, format('%s of hld_%s', v.what, replace(hold_id::text, '-', ''))
                      as subject,
                    coalesce(v.expected, 0) as expected, coalesce(v.found, 0)::numeric as found
             from hold h full join moved m using (slot, book_id, hold_id)
             cross join lateral (values
               ('amount', m.placed, h.amount),
               ('released part', m.released, h.released)) as v(what, expected, found)
             where v.expected is distinct from v.found)
           select book_id as "book?", subject as "subject!", expected as "expected?",
                  found as "found?", count(*) over () as "total!"
           from bad order by book_id, subject limit $1"#,
        NAMED_MAX
    )
    .fetch_all(tx)
    .await
}

/// The draws of a hold are the transfers that placed it, lot by lot.
pub async fn draws(tx: &mut PgConnection) -> Result<Vec<Found>, sqlx::Error> {
    sqlx::query_as!(
        Found,
        r#"with moved as (
             select t.slot, t.book_id, t.subject_id as hold_id, t.lot_id, sum(t.amount) as amount
             from transfer t join movement m
               on m.movement = t.movement and m.debit = t.debit and m.credit = t.credit
             where m.name = 'hold' group by 1, 2, 3, 4),
           drawn as (
             select h.slot, h.book_id, h.hold_id, d.lot_id, sum(d.amount) as amount
             from hold h cross join lateral unnest(h.draw_lots, h.draw_amounts)
               as d(lot_id, amount)
             group by 1, 2, 3, 4),
           bad as (
             select book_id, format('draw of hld_%s on lot_%s', replace(hold_id::text, '-', ''),
                           replace(lot_id::text, '-', '')) as subject,
                    coalesce(m.amount, 0) as expected, coalesce(d.amount, 0) as found
             from drawn d full join moved m using (slot, book_id, hold_id, lot_id)
             where coalesce(m.amount, 0) <> coalesce(d.amount, 0))
           select book_id as "book?", subject as "subject!", expected as "expected?",
                  found as "found?", count(*) over () as "total!"
           from bad order by book_id, subject limit $1"#,
        NAMED_MAX
    )
    .fetch_all(tx)
    .await
}

/// What was captured of a hold, and of that reversed, are the sums of its captures, and these lie
/// end to end in its draws.
pub async fn captures(tx: &mut PgConnection) -> Result<Vec<Found>, sqlx::Error> {
    sqlx::query_as!(
        Found,
        r#"with sums as (
             select slot, book_id, hold_id, sum(amount) as captured, sum(reversed) as reversed
             from capture group by 1, 2, 3),
           places as (
             select book_id, capture_id, draw_offset,
                    coalesce(sum(amount) over (
                      partition by slot, book_id, hold_id order by draw_offset, capture_id
                      rows between unbounded preceding and 1 preceding), 0) as expected
             from capture),
           bad as (
             select book_id, format('%s part of hld_%s', v.what, replace(hold_id::text, '-', ''))
                      as subject,
                    coalesce(v.expected, 0) as expected, coalesce(v.found, 0)::numeric as found
             from hold h full join sums s using (slot, book_id, hold_id)
             cross join lateral (values
               ('captured', s.captured, h.captured),
               ('reversed', s.reversed, h.reversed)) as v(what, expected, found)
             where coalesce(v.expected, 0) <> coalesce(v.found, 0) or h.amount is null
             union all
             select book_id, format('offset of the capture of chg_%s',
                                    replace(capture_id::text, '-', '')), expected, draw_offset
             from places where draw_offset <> expected)
           select book_id as "book?", subject as "subject!", expected as "expected?",
                  found as "found?", count(*) over () as "total!"
           from bad order by book_id, subject limit $1"#,
        NAMED_MAX
    )
    .fetch_all(tx)
    .await
}

/// A capture's amount and what was reversed of it are the sums of its transfers.
pub async fn capture_transfers(tx: &mut PgConnection) -> Result<Vec<Found>, sqlx::Error> {
    sqlx::query_as!(
        Found,
        r#"with named as (
             select t.*, m.name from transfer t join movement m
               on m.movement = t.movement and m.debit = t.debit and m.credit = t.credit),
           taken as (
             select slot, book_id, subject_id as capture_id, transaction_id, sum(amount) as amount
             from named where name = 'capture' group by 1, 2, 3, 4),
           returned as (
             select slot, book_id, reverses_id as transaction_id, sum(amount) as amount
             from named where name = 'reversal' group by 1, 2, 3),
           bad as (
             select book_id, format('%s of the capture of chg_%s', v.what,
                           replace(capture_id::text, '-', '')) as subject,
                    coalesce(v.expected, 0) as expected, coalesce(v.found, 0)::numeric as found
             from capture c
             full join (taken left join (select slot, book_id, transaction_id,
                                                amount as reversed from returned) r
                          using (slot, book_id, transaction_id)) t
               using (slot, book_id, capture_id, transaction_id)
             cross join lateral (values
               ('amount', t.amount, c.amount),
               ('reversed part', t.reversed, c.reversed)) as v(what, expected, found)
             where coalesce(v.expected, 0) <> coalesce(v.found, 0))
           select book_id as "book?", subject as "subject!", expected as "expected?",
                  found as "found?", count(*) over () as "total!"
           from bad order by book_id, subject limit $1"#,
        NAMED_MAX
    )
    .fetch_all(tx)
    .await
}
