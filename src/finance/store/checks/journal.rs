//! The journal in itself: each transfer follows from the ones before it.

use sqlx::PgConnection;

use super::{Found, NAMED_MAX};

/// The balances after each transfer follow from the transfers up to it.
pub async fn running_balances(tx: &mut PgConnection) -> Result<Vec<Found>, sqlx::Error> {
    sqlx::query_as!(
        Found,
        r#"with legs as (
             select t.slot, t.book_id, t.version, r.name, t.debit_after as after,
                    case r.normal_side when 'debit' then t.amount else -t.amount end as amount
             from transfer t join role r on r.role = t.debit
             union all
             select t.slot, t.book_id, t.version, r.name, t.credit_after,
                    case r.normal_side when 'credit' then t.amount else -t.amount end
             from transfer t join role r on r.role = t.credit),
           chain as (
             select book_id, version, name, after,
                    sum(amount) over (partition by slot, book_id, name order by version) as running
             from legs),
           bad as (
             select book_id, version, format('%s after version %s', name, version) as subject,
                    running as expected, after::numeric as found
             from chain where running <> after)
           select book_id as "book?", subject as "subject!", expected as "expected?",
                  found as "found?", count(*) over () as "total!"
           from bad order by book_id, version, subject limit $1"#,
        NAMED_MAX
    )
    .fetch_all(tx)
    .await
}

/// Recorded times never go back within a book.
pub async fn recorded_times(tx: &mut PgConnection) -> Result<Vec<Found>, sqlx::Error> {
    sqlx::query_as!(
        Found,
        r#"with steps as (
             select t.book_id, t.version, t.recorded_at,
                    lead(t.recorded_at, 1, b.recorded_at)
                      over (partition by t.slot, t.book_id order by t.version) as next
             from transfer t left join book b on b.slot = t.slot and b.book_id = t.book_id)
           select book_id as "book?",
                  format('after version %s the time goes back from %s to %s', version, recorded_at,
                         next) as "subject!",
                  null::numeric as "expected?", null::numeric as "found?",
                  count(*) over () as "total!"
           from steps where next < recorded_at order by book_id, version limit $1"#,
        NAMED_MAX
    )
    .fetch_all(tx)
    .await
}

/// A transaction lies in one book, is of one movement and was recorded at one time.
pub async fn transactions(tx: &mut PgConnection) -> Result<Vec<Found>, sqlx::Error> {
    sqlx::query_as!(
        Found,
        r#"with acts as (
             select transaction_id, (array_agg(book_id order by book_id))[1] as book_id,
                    count(distinct (slot, book_id)) as books, count(distinct movement) as movements,
                    count(distinct recorded_at) as times
             from transfer group by transaction_id),
           bad as (
             select a.book_id, format('%s of txn_%s', v.what,
                                      replace(a.transaction_id::text, '-', ''))
                      as subject,
                    v.found::numeric as found
             from acts a cross join lateral (values
               ('books', a.books), ('movements', a.movements), ('times', a.times)) as v(what, found)
             where v.found > 1)
           select book_id as "book?", subject as "subject!", 1::numeric as "expected?",
                  found as "found?", count(*) over () as "total!"
           from bad order by book_id, subject limit $1"#,
        NAMED_MAX
    )
    .fetch_all(tx)
    .await
}

/// What a transaction undoes exists in its book, came before it, belongs to the same thing, and is of
/// the movement that it can undo. A capture is undone by a reversal, a hold by a release; nothing
/// else undoes anything.
pub async fn reverses(tx: &mut PgConnection) -> Result<Vec<Found>, sqlx::Error> {
    sqlx::query_as!(
        Found,
        r#"with undoing as (
             select t.slot, t.book_id, t.version, t.subject_id, t.reverses_id,
                    case m.name when 'reversal' then 'capture' when 'release' then 'hold' end
                      as undoes
             from transfer t left join movement m
               on m.movement = t.movement and m.debit = t.debit and m.credit = t.credit),
           bad as (
             select u.book_id, u.version,
                    case when u.undoes is null
                         then format('version %s undoes txn_%s, and its movement undoes nothing',
                                     u.version, replace(u.reverses_id::text, '-', ''))
                         when u.reverses_id is null
                         then format('version %s says no %s that it undoes', u.version, u.undoes)
                         else format('version %s undoes txn_%s, and no earlier %s is called so',
                                     u.version, replace(u.reverses_id::text, '-', ''), u.undoes) end
                      as subject
             from undoing u
             where (u.undoes is not null or u.reverses_id is not null) and not exists (
               select from transfer o join movement m
                 on m.movement = o.movement and m.debit = o.debit and m.credit = o.credit
               where o.slot = u.slot and o.book_id = u.book_id
                 and o.subject_id = u.subject_id and o.transaction_id = u.reverses_id
                 and o.version < u.version
                 and m.name = u.undoes))
           select book_id as "book?", subject as "subject!", null::numeric as "expected?",
                  null::numeric as "found?", count(*) over () as "total!"
           from bad order by book_id, version limit $1"#,
        NAMED_MAX
    )
    .fetch_all(tx)
    .await
}
