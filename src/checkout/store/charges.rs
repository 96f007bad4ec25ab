//! Charges, their disputes and reversals, as a batch reads and writes them.

use sqlx::PgConnection;

use crate::checkout::annex::CheckoutRows;
use crate::checkout::{ChargeFacts, OpenDispute};
use crate::ground::{BookId, ChargeId, DisputeId};

use super::amount;

pub(super) async fn read(
    tx: &mut PgConnection,
    rows: &mut CheckoutRows,
) -> Result<(), sqlx::Error> {
    let keys: Vec<_> = rows.wanted_charges.iter().collect();
    let found = sqlx::query!(
        r#"select c.book_id as "book_id!", c.charge_id as "charge_id!", c.amount as "amount!",
                  c.reversed as "reversed!", c.final_at as "final_at!", d.dispute_id as "dispute_id?",
                  d.amount as "disputed?", d.decide_by as "decide_by?",
                  (select count(*) from dispute e where e.slot = c.slot and e.book_id = c.book_id
                                                    and e.charge_id = c.charge_id) as "disputes!"
           from unnest($1::smallint[], $2::uuid[], $3::uuid[]) as u(slot, book_id, charge_id)
           cross join lateral (
             select * from charge where slot = u.slot and book_id = u.book_id
               and charge_id = u.charge_id limit 1) c
           left join lateral (
             select * from dispute where slot = u.slot and book_id = u.book_id
               and charge_id = u.charge_id and state = 'open' limit 1) d on true"#,
        &keys.iter().map(|(book, _)| book.slot().sql()).collect::<Vec<_>>(),
        &keys.iter().map(|(book, _)| book.0).collect::<Vec<_>>(),
        &keys.iter().map(|(_, charge)| charge.0).collect::<Vec<_>>(),
    )
    .fetch_all(tx)
    .await?;
    for row in found {
        let dispute = match (row.dispute_id, row.disputed, row.decide_by) {
            (Some(id), Some(disputed), Some(decide_by)) => {
                Some(OpenDispute { id: DisputeId(id), amount: amount(disputed), decide_by })
            }
            _ => None,
        };
        let facts = ChargeFacts {
            amount: amount(row.amount),
            reversed: amount(row.reversed),
            final_at: row.final_at,
            dispute,
            disputes: row.disputes,
        };
        rows.charges.insert((BookId(row.book_id), ChargeId(row.charge_id)), (facts, false));
    }
    Ok(())
}

pub(super) async fn write(
    tx: &mut PgConnection,
    rows: &mut CheckoutRows,
) -> Result<(), sqlx::Error> {
    if !rows.charged.is_empty() {
        insert_charges(tx, rows).await?;
    }
    // First what is decided: after that the same charge may be disputed again.
    if !rows.decided_disputes.is_empty() {
        decide_disputes(tx, rows).await?;
    }
    if !rows.disputed.is_empty() {
        insert_disputes(tx, rows).await?;
    }
    if !rows.reversed.is_empty() {
        write_reversals(tx, rows).await?;
    }
    Ok(())
}

async fn insert_charges(tx: &mut PgConnection, rows: &CheckoutRows) -> Result<(), sqlx::Error> {
    let new = &rows.charged;
    sqlx::query!(
        "insert into charge (slot, book_id, charge_id, checkout_id, item, result_id, sku, quantity,
           unit_price, amount, reversed, transaction_id, captured_at, final_at)
         select * from unnest($1::smallint[], $2::uuid[], $3::uuid[], $4::uuid[], $5::smallint[],
           $6::text[], $7::text[], $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[],
           $12::uuid[], $13::timestamptz[], $14::timestamptz[])",
        &new.iter().map(|(book, _)| book.slot().sql()).collect::<Vec<_>>(),
        &new.iter().map(|(book, _)| book.0).collect::<Vec<_>>(),
        &new.iter().map(|(_, c)| c.id.0).collect::<Vec<_>>(),
        &new.iter().map(|(_, c)| c.checkout.0).collect::<Vec<_>>(),
        &new.iter().map(|(_, c)| c.item).collect::<Vec<_>>(),
        &new.iter().map(|(_, c)| c.result_id.clone()).collect::<Vec<_>>(),
        &new.iter().map(|(_, c)| c.sku.clone()).collect::<Vec<_>>(),
        &new.iter().map(|(_, c)| c.quantity).collect::<Vec<_>>(),
        &new.iter().map(|(_, c)| c.unit_price.micros()).collect::<Vec<_>>(),
        &new.iter().map(|(_, c)| c.amount.micros()).collect::<Vec<_>>(),
        &new.iter().map(|(_, c)| c.reversed.micros()).collect::<Vec<_>>(),
        &new.iter().map(|(_, c)| c.transaction.0).collect::<Vec<_>>(),
        &new.iter().map(|(_, c)| c.captured_at).collect::<Vec<_>>(),
        &new.iter().map(|(_, c)| c.final_at).collect::<Vec<_>>(),
    )
    .execute(tx)
    .await?;
    Ok(())
}

async fn insert_disputes(tx: &mut PgConnection, rows: &CheckoutRows) -> Result<(), sqlx::Error> {
    let new = &rows.disputed;
    sqlx::query!(
        "insert into dispute (slot, book_id, charge_id, dispute_id, sku, amount, reason, disputed_by,
           disputed_at, decide_by)
         select * from unnest($1::smallint[], $2::uuid[], $3::uuid[], $4::uuid[], $5::text[],
           $6::bigint[], $7::text[], $8::uuid[], $9::timestamptz[], $10::timestamptz[])",
        &new.iter().map(|d| d.account.slot().sql()).collect::<Vec<_>>(),
        &new.iter().map(|d| d.account.0).collect::<Vec<_>>(),
        &new.iter().map(|d| d.charge.0).collect::<Vec<_>>(),
        &new.iter().map(|d| d.id.0).collect::<Vec<_>>(),
        &new.iter().map(|d| d.sku.clone()).collect::<Vec<_>>(),
        &new.iter().map(|d| d.amount.micros()).collect::<Vec<_>>(),
        &new.iter().map(|d| d.reason.clone()).collect::<Vec<_>>(),
        &new.iter().map(|d| d.by.0).collect::<Vec<_>>(),
        &new.iter().map(|d| d.at).collect::<Vec<_>>(),
        &new.iter().map(|d| d.decide_by).collect::<Vec<_>>(),
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// A dispute of this very batch cannot be among them: whoever decides one has read it before.
async fn decide_disputes(tx: &mut PgConnection, rows: &CheckoutRows) -> Result<(), sqlx::Error> {
    let decided = &rows.decided_disputes;
    let state = |upheld: bool| if upheld { "upheld" } else { "denied" }.to_owned();
    sqlx::query!(
        "update dispute d set state = u.state, decided_by = u.decided_by,
           decided_at = u.decided_at, decision_reason = u.reason
         from unnest($1::smallint[], $2::uuid[], $3::uuid[], $4::text[], $5::uuid[],
                     $6::timestamptz[], $7::text[])
              as u(slot, book_id, dispute_id, state, decided_by, decided_at, reason)
         where d.slot = u.slot and d.book_id = u.book_id and d.dispute_id = u.dispute_id",
        &decided.iter().map(|d| d.account.slot().sql()).collect::<Vec<_>>(),
        &decided.iter().map(|d| d.account.0).collect::<Vec<_>>(),
        &decided.iter().map(|d| d.id.0).collect::<Vec<_>>(),
        &decided.iter().map(|d| state(d.upheld)).collect::<Vec<_>>(),
        &decided.iter().map(|d| d.by.map(|key| key.0)).collect::<Vec<_>>() as _,
        &decided.iter().map(|d| d.at).collect::<Vec<_>>(),
        &decided.iter().map(|d| d.reason.clone()).collect::<Vec<_>>(),
    )
    .execute(tx)
    .await?;
    Ok(())
}

async fn write_reversals(tx: &mut PgConnection, rows: &CheckoutRows) -> Result<(), sqlx::Error> {
    let changed: Vec<_> = rows.charges.iter().filter(|(_, (_, changed))| *changed).collect();
    sqlx::query!(
        "update charge c set reversed = u.reversed
         from unnest($1::smallint[], $2::uuid[], $3::uuid[], $4::bigint[])
              as u(slot, book_id, charge_id, reversed)
         where c.slot = u.slot and c.book_id = u.book_id and c.charge_id = u.charge_id",
        &changed.iter().map(|((book, _), _)| book.slot().sql()).collect::<Vec<_>>(),
        &changed.iter().map(|((book, _), _)| book.0).collect::<Vec<_>>(),
        &changed.iter().map(|((_, charge), _)| charge.0).collect::<Vec<_>>(),
        &changed.iter().map(|(_, (facts, _))| facts.reversed.micros()).collect::<Vec<_>>(),
    )
    .execute(&mut *tx)
    .await?;
    let new = &rows.reversed;
    sqlx::query!(
        "insert into reversal (slot, book_id, charge_id, reversal_id, amount, reason,
           transaction_id, reversed_by, reversed_at, dispute_id)
         select * from unnest($1::smallint[], $2::uuid[], $3::uuid[], $4::uuid[], $5::bigint[],
           $6::text[], $7::uuid[], $8::uuid[], $9::timestamptz[], $10::uuid[])",
        &new.iter().map(|r| r.account.slot().sql()).collect::<Vec<_>>(),
        &new.iter().map(|r| r.account.0).collect::<Vec<_>>(),
        &new.iter().map(|r| r.charge.0).collect::<Vec<_>>(),
        &new.iter().map(|r| r.id.0).collect::<Vec<_>>(),
        &new.iter().map(|r| r.amount.micros()).collect::<Vec<_>>(),
        &new.iter().map(|r| r.reason.clone()).collect::<Vec<_>>(),
        &new.iter().map(|r| r.transaction.0).collect::<Vec<_>>(),
        &new.iter().map(|r| r.by.map(|key| key.0)).collect::<Vec<_>>() as _,
        &new.iter().map(|r| r.at).collect::<Vec<_>>(),
        &new.iter().map(|r| r.dispute.map(|id| id.0)).collect::<Vec<_>>() as _,
    )
    .execute(tx)
    .await?;
    Ok(())
}
