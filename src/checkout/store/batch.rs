//! What a batch reads and writes, set-based.

use sqlx::PgConnection;

use crate::checkout::annex::{CheckoutRows, Listing};
use crate::checkout::{Item, ResultFacts, ResultState};
use crate::ground::{BookId, CheckoutId, HoldId};

use super::{amount, charges, quotes, verification};

pub(in crate::checkout) async fn read(
    tx: &mut PgConnection,
    rows: &mut CheckoutRows,
) -> Result<(), sqlx::Error> {
    if !rows.wanted_skus.is_empty() {
        read_catalog(tx, rows).await?;
    }
    quotes::read(tx, rows).await?;
    if !rows.wanted_items.is_empty() {
        read_items(tx, rows).await?;
    }
    if !rows.wanted_results.is_empty() {
        read_results(tx, rows).await?;
    }
    if !rows.wanted_charges.is_empty() {
        charges::read(tx, rows).await?;
    }
    Ok(())
}

/// The catalogue is read with everything else that the decision depends on, so that whoever has
/// changed a price finds it charged from then on.
async fn read_catalog(tx: &mut PgConnection, rows: &mut CheckoutRows) -> Result<(), sqlx::Error> {
    let skus: Vec<_> = rows.wanted_skus.iter().cloned().collect();
    let found = sqlx::query!(
        "select sku, version, unit_price, delivery_deadline_s, verification_deadline_s,
                dispute_window_s, dispute_decision_s, active
         from sku where sku = any($1)",
        &skus
    )
    .fetch_all(tx)
    .await?;
    let listings = found.into_iter().map(|row| {
        let listing = Listing {
            version: row.version,
            unit_price: amount(row.unit_price),
            delivery_deadline_s: row.delivery_deadline_s,
            verification_deadline_s: row.verification_deadline_s,
            dispute_window_s: row.dispute_window_s,
            dispute_decision_s: row.dispute_decision_s,
            active: row.active,
        };
        (row.sku, listing)
    });
    rows.catalog = listings.collect();
    Ok(())
}

async fn read_items(tx: &mut PgConnection, rows: &mut CheckoutRows) -> Result<(), sqlx::Error> {
    let keys: Vec<_> = rows.wanted_items.iter().collect();
    let found = sqlx::query!(
        r#"select i.book_id as "book_id!", i.checkout_id as "checkout_id!", i.item as "item!",
                  i.hold_id as "hold_id!", i.sku as "sku!", i.sku_version as "sku_version!",
                  i.quantity as "quantity!", i.unit_price as "unit_price!",
                  i.submitted as "submitted!", i.settled as "settled!",
                  i.deliver_by as "deliver_by!",
                  i.verification_deadline_s as "verification_deadline_s!",
                  i.dispute_window_s as "dispute_window_s!",
                  i.dispute_decision_s as "dispute_decision_s!", i.closed as "closed!"
           from unnest($1::smallint[], $2::uuid[], $3::uuid[], $4::smallint[])
                as u(slot, book_id, checkout_id, item)
           cross join lateral (
             select * from checkout_item where slot = u.slot and book_id = u.book_id
               and checkout_id = u.checkout_id and item = u.item limit 1) i"#,
        &keys.iter().map(|(book, ..)| book.slot().sql()).collect::<Vec<_>>(),
        &keys.iter().map(|(book, ..)| book.0).collect::<Vec<_>>(),
        &keys.iter().map(|(_, checkout, _)| checkout.0).collect::<Vec<_>>(),
        &keys.iter().map(|(.., item)| *item).collect::<Vec<_>>(),
    )
    .fetch_all(tx)
    .await?;
    for row in found {
        let key = (BookId(row.book_id), CheckoutId(row.checkout_id), row.item);
        let item = Item {
            item: row.item,
            hold: HoldId(row.hold_id),
            sku: row.sku,
            sku_version: row.sku_version,
            quantity: row.quantity,
            unit_price: amount(row.unit_price),
            submitted: row.submitted,
            settled: row.settled,
            deliver_by: row.deliver_by,
            verification_deadline_s: row.verification_deadline_s,
            dispute_window_s: row.dispute_window_s,
            dispute_decision_s: row.dispute_decision_s,
            closed: row.closed,
        };
        rows.items.insert(key, (item, false));
    }
    Ok(())
}

async fn read_results(tx: &mut PgConnection, rows: &mut CheckoutRows) -> Result<(), sqlx::Error> {
    let keys: Vec<_> = rows.wanted_results.iter().collect();
    let found = sqlx::query!(
        r#"select r.book_id as "book_id!", r.checkout_id as "checkout_id!",
                  r.result_id as "result_id!", r.quantity as "quantity!", r.state as "state!",
                  r.verify_by as "verify_by!"
           from unnest($1::smallint[], $2::uuid[], $3::uuid[], $4::text[])
                as u(slot, book_id, checkout_id, result_id)
           cross join lateral (
             select * from result where slot = u.slot and book_id = u.book_id
               and checkout_id = u.checkout_id and result_id = u.result_id limit 1) r"#,
        &keys.iter().map(|(book, ..)| book.slot().sql()).collect::<Vec<_>>(),
        &keys.iter().map(|(book, ..)| book.0).collect::<Vec<_>>(),
        &keys.iter().map(|(_, checkout, _)| checkout.0).collect::<Vec<_>>(),
        &keys.iter().map(|(.., result)| result.clone()).collect::<Vec<_>>(),
    )
    .fetch_all(tx)
    .await?;
    for row in found {
        // A CHECK allows no other state.
        let Some(state) = ResultState::from_name(&row.state) else { continue };
        let key = (BookId(row.book_id), CheckoutId(row.checkout_id), row.result_id);
        let facts = ResultFacts { state, quantity: row.quantity, verify_by: row.verify_by };
        rows.results.insert(key, facts);
    }
    Ok(())
}

pub(in crate::checkout) async fn write(
    tx: &mut PgConnection,
    rows: &mut CheckoutRows,
) -> Result<(), sqlx::Error> {
    if !rows.opened.is_empty() {
        insert_checkouts(tx, rows).await?;
    }
    quotes::write(tx, rows).await?;
    update_items(tx, rows).await?;
    for (account, checkout, at) in &rows.canceled {
        sqlx::query!(
            "update checkout set canceled_at = $4
             where slot = $1 and book_id = $2 and checkout_id = $3 and canceled_at is null",
            account.slot().sql(),
            account.0,
            checkout.0,
            at
        )
        .execute(&mut *tx)
        .await?;
    }
    if !rows.submitted.is_empty() {
        insert_results(tx, rows).await?;
    }
    if !rows.asks.is_empty() {
        verification::insert(tx, rows).await?;
    }
    if !rows.decided.is_empty() {
        decide_results(tx, rows).await?;
    }
    if rows.decided.iter().any(|(_, decided)| decided.asked) {
        verification::decided(tx, rows).await?;
    }
    charges::write(tx, rows).await
}

/// Checkouts and their items, in one round trip.
async fn insert_checkouts(tx: &mut PgConnection, rows: &CheckoutRows) -> Result<(), sqlx::Error> {
    let new = &rows.opened;
    let items: Vec<_> =
        new.iter().flat_map(|c| c.items.iter().map(move |item| (c, item))).collect();
    sqlx::query!(
        "with checkouts as (
           insert into checkout (slot, book_id, checkout_id, key_id, max_total, total, created_at)
           select * from unnest($1::smallint[], $2::uuid[], $3::uuid[], $4::uuid[], $5::bigint[],
                                $6::bigint[], $7::timestamptz[]))
         insert into checkout_item (slot, book_id, checkout_id, item, hold_id, sku, sku_version,
           quantity, unit_price, deliver_by, verification_deadline_s, dispute_window_s,
           dispute_decision_s)
         select * from unnest($8::smallint[], $9::uuid[], $10::uuid[], $11::smallint[],
           $12::uuid[], $13::text[], $14::integer[], $15::bigint[], $16::bigint[],
           $17::timestamptz[], $18::integer[], $19::integer[], $20::integer[])",
        &new.iter().map(|c| c.account.slot().sql()).collect::<Vec<_>>(),
        &new.iter().map(|c| c.account.0).collect::<Vec<_>>(),
        &new.iter().map(|c| c.id.0).collect::<Vec<_>>(),
        &new.iter().map(|c| c.key.0).collect::<Vec<_>>(),
        &new.iter().map(|c| c.max_total.micros()).collect::<Vec<_>>(),
        &new.iter().map(|c| c.total.micros()).collect::<Vec<_>>(),
        &new.iter().map(|c| c.created_at).collect::<Vec<_>>(),
        &items.iter().map(|(c, _)| c.account.slot().sql()).collect::<Vec<_>>(),
        &items.iter().map(|(c, _)| c.account.0).collect::<Vec<_>>(),
        &items.iter().map(|(c, _)| c.id.0).collect::<Vec<_>>(),
        &items.iter().map(|(_, i)| i.item).collect::<Vec<_>>(),
        &items.iter().map(|(_, i)| i.hold.0).collect::<Vec<_>>(),
        &items.iter().map(|(_, i)| i.sku.clone()).collect::<Vec<_>>(),
        &items.iter().map(|(_, i)| i.sku_version).collect::<Vec<_>>(),
        &items.iter().map(|(_, i)| i.quantity).collect::<Vec<_>>(),
        &items.iter().map(|(_, i)| i.unit_price.micros()).collect::<Vec<_>>(),
        &items.iter().map(|(_, i)| i.deliver_by).collect::<Vec<_>>(),
        &items.iter().map(|(_, i)| i.verification_deadline_s).collect::<Vec<_>>(),
        &items.iter().map(|(_, i)| i.dispute_window_s).collect::<Vec<_>>(),
        &items.iter().map(|(_, i)| i.dispute_decision_s).collect::<Vec<_>>(),
    )
    .execute(tx)
    .await?;
    Ok(())
}

async fn update_items(tx: &mut PgConnection, rows: &CheckoutRows) -> Result<(), sqlx::Error> {
    let changed: Vec<_> =
        rows.items.iter().filter(|(_, (_, changed))| *changed).map(|(k, (i, _))| (k, i)).collect();
    if changed.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "update checkout_item i set submitted = u.submitted, settled = u.settled, closed = u.closed
         from unnest($1::smallint[], $2::uuid[], $3::uuid[], $4::smallint[], $5::bigint[],
                     $6::bigint[], $7::boolean[])
              as u(slot, book_id, checkout_id, item, submitted, settled, closed)
         where i.slot = u.slot and i.book_id = u.book_id and i.checkout_id = u.checkout_id
           and i.item = u.item",
        &changed.iter().map(|((book, ..), _)| book.slot().sql()).collect::<Vec<_>>(),
        &changed.iter().map(|((book, ..), _)| book.0).collect::<Vec<_>>(),
        &changed.iter().map(|((_, checkout, _), _)| checkout.0).collect::<Vec<_>>(),
        &changed.iter().map(|((.., item), _)| *item).collect::<Vec<_>>(),
        &changed.iter().map(|(_, item)| item.submitted).collect::<Vec<_>>(),
        &changed.iter().map(|(_, item)| item.settled).collect::<Vec<_>>(),
        &changed.iter().map(|(_, item)| item.closed).collect::<Vec<_>>(),
    )
    .execute(tx)
    .await?;
    Ok(())
}

async fn insert_results(tx: &mut PgConnection, rows: &CheckoutRows) -> Result<(), sqlx::Error> {
    let new = &rows.submitted;
    sqlx::query!(
        "insert into result (slot, book_id, checkout_id, result_id, item, quantity, state, evidence,
           evidence_hash, submitted_by, submitted_at, verify_by)
         select slot, book_id, checkout_id, result_id, item, quantity, 'verifying', evidence,
           evidence_hash, submitted_by, submitted_at, verify_by
         from unnest($1::smallint[], $2::uuid[], $3::uuid[], $4::text[], $5::smallint[],
           $6::bigint[], $7::jsonb[], $8::bytea[], $9::uuid[], $10::timestamptz[],
           $11::timestamptz[])
           as u(slot, book_id, checkout_id, result_id, item, quantity, evidence, evidence_hash,
                submitted_by, submitted_at, verify_by)",
        &new.iter().map(|((book, ..), _)| book.slot().sql()).collect::<Vec<_>>(),
        &new.iter().map(|((book, ..), _)| book.0).collect::<Vec<_>>(),
        &new.iter().map(|((_, checkout, _), _)| checkout.0).collect::<Vec<_>>(),
        &new.iter().map(|((.., result), _)| result.clone()).collect::<Vec<_>>(),
        &new.iter().map(|(_, r)| r.item).collect::<Vec<_>>(),
        &new.iter().map(|(_, r)| r.quantity).collect::<Vec<_>>(),
        &new.iter().map(|(_, r)| r.evidence.clone()).collect::<Vec<_>>(),
        &new.iter().map(|(_, r)| r.evidence_hash.to_vec()).collect::<Vec<_>>(),
        &new.iter().map(|(_, r)| r.submitted_by.0).collect::<Vec<_>>(),
        &new.iter().map(|(_, r)| r.submitted_at).collect::<Vec<_>>(),
        &new.iter().map(|(_, r)| r.verify_by).collect::<Vec<_>>(),
    )
    .execute(tx)
    .await?;
    Ok(())
}

async fn decide_results(tx: &mut PgConnection, rows: &CheckoutRows) -> Result<(), sqlx::Error> {
    let decided = &rows.decided;
    sqlx::query!(
        "update result r set state = u.state, accepted = u.accepted, verdict = u.verdict,
           decided_at = u.decided_at, charge_id = u.charge_id,
           release_transaction_id = u.release_id
         from unnest($1::smallint[], $2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::bigint[],
                     $7::jsonb[], $8::timestamptz[], $9::uuid[], $10::uuid[])
              as u(slot, book_id, checkout_id, result_id, state, accepted, verdict, decided_at,
                   charge_id, release_id)
         where r.slot = u.slot and r.book_id = u.book_id and r.checkout_id = u.checkout_id
           and r.result_id = u.result_id",
        &decided.iter().map(|((book, ..), _)| book.slot().sql()).collect::<Vec<_>>(),
        &decided.iter().map(|((book, ..), _)| book.0).collect::<Vec<_>>(),
        &decided.iter().map(|((_, checkout, _), _)| checkout.0).collect::<Vec<_>>(),
        &decided.iter().map(|((.., result), _)| result.clone()).collect::<Vec<_>>(),
        &decided.iter().map(|(_, d)| d.state.name().to_owned()).collect::<Vec<_>>(),
        &decided.iter().map(|(_, d)| d.accepted).collect::<Vec<_>>(),
        &decided.iter().map(|(_, d)| d.verdict.clone()).collect::<Vec<_>>(),
        &decided.iter().map(|(_, d)| d.at).collect::<Vec<_>>(),
        &decided.iter().map(|(_, d)| d.charge.map(|id| id.0)).collect::<Vec<_>>() as _,
        &decided.iter().map(|(_, d)| d.release.map(|id| id.0)).collect::<Vec<_>>() as _,
    )
    .execute(tx)
    .await?;
    Ok(())
}
