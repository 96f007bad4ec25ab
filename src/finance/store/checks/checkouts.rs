//! Checkouts, results, charges and reversals against the ledger and against each other.

use sqlx::PgConnection;

use super::{Found, NAMED_MAX};

/// A customer's charges less their reversals are its `revenue` less `reversed_revenue`, and what
/// promotional credits paid.
pub async fn revenue(tx: &mut PgConnection) -> Result<Vec<Found>, sqlx::Error> {
    sqlx::query_as!(
        Found,
        r#"with charged as (
             select slot, book_id, sum(amount) - sum(reversed) as amount from charge group by 1, 2),
           promotional as (
             select t.slot, t.book_id,
                    sum(case m.name when 'capture' then t.amount else -t.amount end) as amount
             from transfer t join movement m
               on m.movement = t.movement and m.debit = t.debit and m.credit = t.credit
             join role d on d.role = t.debit join role c on c.role = t.credit
             where m.name in ('capture', 'reversal') and 'promo_issued' in (d.name, c.name)
             group by 1, 2),
           earned as (
             select slot, book_id,
                    b.revenue - b.reversed_revenue + coalesce(p.amount, 0) as amount
             from book b left join promotional p using (slot, book_id)),
           bad as (
             select book_id, coalesce(c.amount, 0) as expected, coalesce(e.amount, 0) as found
             from earned e full join charged c using (slot, book_id)
             where coalesce(c.amount, 0) <> coalesce(e.amount, 0))
           select book_id as "book?", 'revenue and promotional use' as "subject!",
                  expected as "expected?", found as "found?", count(*) over () as "total!"
           from bad order by book_id limit $1"#,
        NAMED_MAX
    )
    .fetch_all(tx)
    .await
}

/// A charge is a capture: its amount, what was reversed of it, its transaction, and quantity times
/// price.
pub async fn charges(tx: &mut PgConnection) -> Result<Vec<Found>, sqlx::Error> {
    sqlx::query_as!(
        Found,
        r#"with pairs as (
             select book_id, charge_id, g.quantity, g.unit_price, g.amount, g.reversed,
                    g.transaction_id, c.amount as taken, c.reversed as returned,
                    c.transaction_id as capture_transaction
             from charge g full join (
               select slot, book_id, capture_id as charge_id, amount, reversed, transaction_id
               from capture) c using (slot, book_id, charge_id)),
           bad as (
             select book_id, format('%s of chg_%s', v.what, replace(charge_id::text, '-', ''))
                      as subject,
                    coalesce(v.expected, 0) as expected, coalesce(v.found, 0)::numeric as found
             from pairs cross join lateral (values
               ('amount', taken::numeric, amount),
               ('reversed part', returned, reversed),
               ('amount by units and price', quantity::numeric * unit_price, amount))
               as v(what, expected, found)
             where v.expected is distinct from v.found
             union all
             select book_id, format('chg_%s names another transaction than its capture',
                                    replace(charge_id::text, '-', '')), null, null
             from pairs where transaction_id <> capture_transaction)
           select book_id as "book?", subject as "subject!", expected as "expected?",
                  found as "found?", count(*) over () as "total!"
           from bad order by book_id, subject limit $1"#,
        NAMED_MAX
    )
    .fetch_all(tx)
    .await
}

/// What was reversed of a charge is the sum of its reversals, and each reversal was booked.
pub async fn reversals(tx: &mut PgConnection) -> Result<Vec<Found>, sqlx::Error> {
    sqlx::query_as!(
        Found,
        r#"with sums as (
             select slot, book_id, charge_id, sum(amount) as amount
             from reversal group by 1, 2, 3),
           booked as (
             select t.slot, t.book_id, t.subject_id as charge_id, t.transaction_id,
                    sum(t.amount) as amount
             from transfer t join movement m
               on m.movement = t.movement and m.debit = t.debit and m.credit = t.credit
             where m.name = 'reversal' group by 1, 2, 3, 4),
           bad as (
             select book_id, format('reversed part of chg_%s', replace(charge_id::text, '-', ''))
                      as subject,
                    coalesce(s.amount, 0) as expected, coalesce(g.reversed, 0)::numeric as found
             from charge g full join sums s using (slot, book_id, charge_id)
             where coalesce(s.amount, 0) <> coalesce(g.reversed, 0)
             union all
             select book_id, format('reversal of chg_%s in txn_%s',
                                    replace(charge_id::text, '-', ''),
                                    replace(transaction_id::text, '-', '')),
                    coalesce(b.amount, 0), coalesce(r.amount, 0)
             from (select slot, book_id, charge_id, transaction_id, sum(amount) as amount
                   from reversal group by 1, 2, 3, 4) r
             full join booked b using (slot, book_id, charge_id, transaction_id)
             where coalesce(b.amount, 0) <> coalesce(r.amount, 0))
           select book_id as "book?", subject as "subject!", expected as "expected?",
                  found as "found?", count(*) over () as "total!"
           from bad order by book_id, subject limit $1"#,
        NAMED_MAX
    )
    .fetch_all(tx)
    .await
}

/// A captured result has its one charge, for the units that were accepted; no other has any.
pub async fn results(tx: &mut PgConnection) -> Result<Vec<Found>, sqlx::Error> {
    sqlx::query_as!(
        Found,
        r#"with bad as (
             select book_id,
                    format('result %s of chk_%s is %s with %s units accepted; %s',
                           to_json(result_id), replace(checkout_id::text, '-', ''),
                           coalesce(r.state, 'missing'), coalesce(r.accepted, 0),
                           case when g.charge_id is null then 'nothing is charged'
                                when r.charge_id <> g.charge_id then 'another charge is its own'
                                else format('%s are charged', g.quantity) end) as subject
             from result r full join charge g using (slot, book_id, checkout_id, result_id)
             where case r.state
                     when 'captured' then r.accepted is distinct from g.quantity
                       or r.charge_id is distinct from g.charge_id or r.item is distinct from g.item
                     else g.charge_id is not null or coalesce(r.accepted, 0) <> 0 end)
           select book_id as "book?", subject as "subject!", null::numeric as "expected?",
                  null::numeric as "found?", count(*) over () as "total!"
           from bad order by book_id, subject limit $1"#,
        NAMED_MAX
    )
    .fetch_all(tx)
    .await
}

/// Units of an item: submitted by its results, settled by verdicts and by closing.
pub async fn items(tx: &mut PgConnection) -> Result<Vec<Found>, sqlx::Error> {
    sqlx::query_as!(
        Found,
        r#"with sums as (
             select slot, book_id, checkout_id, item, sum(quantity) as submitted,
                    coalesce(sum(quantity) filter (where state <> 'verifying'), 0) as decided
             from result group by 1, 2, 3, 4),
           bad as (
             select book_id, format('units %s of item %s of chk_%s', v.what, item,
                           replace(checkout_id::text, '-', ''))
                      as subject,
                    coalesce(v.expected, 0) as expected, coalesce(v.found, 0)::numeric as found
             from checkout_item i full join sums s using (slot, book_id, checkout_id, item)
             cross join lateral (values
               ('submitted', s.submitted, i.submitted),
               ('settled', coalesce(s.decided, 0)
                  + case when i.closed then i.quantity - i.submitted else 0 end, i.settled))
               as v(what, expected, found)
             where coalesce(v.expected, 0) <> coalesce(v.found, 0))
           select book_id as "book?", subject as "subject!", expected as "expected?",
                  found as "found?", count(*) over () as "total!"
           from bad order by book_id, subject limit $1"#,
        NAMED_MAX
    )
    .fetch_all(tx)
    .await
}

/// An item's hold is the price of its units; what is captured of it is the price of the accepted
/// ones, and what is captured or released the price of the settled ones.
pub async fn prices(tx: &mut PgConnection) -> Result<Vec<Found>, sqlx::Error> {
    sqlx::query_as!(
        Found,
        r#"with sums as (
             select slot, book_id, checkout_id, item, sum(accepted) as accepted
             from result where state = 'captured' group by 1, 2, 3, 4),
           bad as (
             select book_id, format('%s of hld_%s', v.what, replace(hold_id::text, '-', ''))
                      as subject,
                    coalesce(v.expected, 0) as expected, coalesce(v.found, 0)::numeric as found
             from (checkout_item i left join sums s using (slot, book_id, checkout_id, item))
             full join hold h using (slot, book_id, hold_id)
             cross join lateral (values
               ('amount', i.quantity::numeric * i.unit_price, h.amount),
               ('captured part', s.accepted * i.unit_price, h.captured),
               ('settled part', i.settled::numeric * i.unit_price, h.captured + h.released))
               as v(what, expected, found)
             where coalesce(v.expected, 0) <> coalesce(v.found, 0))
           select book_id as "book?", subject as "subject!", expected as "expected?",
                  found as "found?", count(*) over () as "total!"
           from bad order by book_id, subject limit $1"#,
        NAMED_MAX
    )
    .fetch_all(tx)
    .await
}

/// An item's price is that of the version of its SKU, whatever the SKU is sold for now.
pub async fn catalog(tx: &mut PgConnection) -> Result<Vec<Found>, sqlx::Error> {
    sqlx::query_as!(
        Found,
        r#"with bad as (
             select book_id, format('price of item %s of chk_%s', item,
                                    replace(checkout_id::text, '-', '')) as subject,
                    coalesce(v.unit_price, 0)::numeric as expected, i.unit_price::numeric as found
             from checkout_item i
             left join sku_version v on v.sku = i.sku and v.version = i.sku_version
             where v.unit_price is distinct from i.unit_price)
           select book_id as "book?", subject as "subject!", expected as "expected?",
                  found as "found?", count(*) over () as "total!"
           from bad order by book_id, subject limit $1"#,
        NAMED_MAX
    )
    .fetch_all(tx)
    .await
}

/// A checkout's total is the price of its items.
pub async fn totals(tx: &mut PgConnection) -> Result<Vec<Found>, sqlx::Error> {
    sqlx::query_as!(
        Found,
        r#"with sums as (
             select slot, book_id, checkout_id, sum(quantity::numeric * unit_price) as total
             from checkout_item group by 1, 2, 3),
           bad as (
             select book_id, format('total of chk_%s', replace(checkout_id::text, '-', ''))
                      as subject,
                    coalesce(s.total, 0) as expected, coalesce(k.total, 0)::numeric as found
             from checkout k full join sums s using (slot, book_id, checkout_id)
             where coalesce(s.total, 0) <> coalesce(k.total, 0))
           select book_id as "book?", subject as "subject!", expected as "expected?",
                  found as "found?", count(*) over () as "total!"
           from bad order by book_id, subject limit $1"#,
        NAMED_MAX
    )
    .fetch_all(tx)
    .await
}
