use sqlx::PgConnection;

use crate::ground::{BookId, TopupId};
use crate::x402::topup::TopupState;
use crate::x402::topup::command::{TopupRow, TopupRows};

use super::amount;

/// Reads what credits depend on, under the books' locks.
pub(in crate::x402::topup) async fn read_rows(
    tx: &mut PgConnection,
    rows: &mut TopupRows,
) -> Result<(), sqlx::Error> {
    let keys: Vec<_> = rows.wanted.iter().collect();
    let found = sqlx::query!(
        r#"select t.book_id as "book_id!", t.topup_id as "topup_id!", t.state as "state!",
                  t.amount as "amount!"
           from unnest($1::smallint[], $2::uuid[], $3::uuid[]) as u(slot, book_id, topup_id)
           cross join lateral (
             select * from topup where slot = u.slot and book_id = u.book_id
               and topup_id = u.topup_id limit 1 for no key update) t"#,
        &keys.iter().map(|(book, _)| book.slot().sql()).collect::<Vec<_>>(),
        &keys.iter().map(|(book, _)| book.0).collect::<Vec<_>>(),
        &keys.iter().map(|(_, topup)| topup.0).collect::<Vec<_>>(),
    )
    .fetch_all(tx)
    .await?;
    for row in found {
        // A CHECK allows no other state.
        let Some(state) = TopupState::from_name(&row.state) else { continue };
        let key = (BookId(row.book_id), TopupId(row.topup_id));
        rows.found.insert(key, TopupRow { state, amount: amount(row.amount) });
    }
    Ok(())
}

/// Marks top-ups credited, with their entries in the audit trail, in the transaction that credits
/// them.
pub(in crate::x402::topup) async fn write_credited(
    tx: &mut PgConnection,
    rows: &mut TopupRows,
) -> Result<(), sqlx::Error> {
    let credited = &rows.credited;
    if credited.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "with credited as (
           update topup t set state = 'credited', settlement_tx = u.settlement_tx, reason = null,
             updated_at = u.at, credited_at = u.at, next_at = null
           from unnest($1::smallint[], $2::uuid[], $3::uuid[], $4::text[], $5::timestamptz[],
                  $6::uuid[]) as u(slot, book_id, topup_id, settlement_tx, at, event_id)
           where t.slot = u.slot and t.book_id = u.book_id and t.topup_id = u.topup_id
           returning t.slot, t.topup_id, u.event_id, u.at, u.settlement_tx)
         insert into topup_event (slot, topup_id, event_id, recorded_at, kind, detail)
         select slot, topup_id, event_id, at, 'credited',
                jsonb_build_object('transaction', settlement_tx)
         from credited",
        &credited.iter().map(|c| c.account.slot().sql()).collect::<Vec<_>>(),
        &credited.iter().map(|c| c.account.0).collect::<Vec<_>>(),
        &credited.iter().map(|c| c.topup.0).collect::<Vec<_>>(),
        &credited.iter().map(|c| c.settlement_tx.clone()).collect::<Vec<_>>(),
        &credited.iter().map(|c| c.at).collect::<Vec<_>>(),
        &credited.iter().map(|c| c.event_id).collect::<Vec<_>>(),
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Takes the marks away from rejections that are told of, in the transaction of the events.
pub(in crate::x402::topup) async fn write_told(
    tx: &mut PgConnection,
    told: &[(BookId, TopupId)],
) -> Result<(), sqlx::Error> {
    if told.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "update topup t set untold = false
         from unnest($1::smallint[], $2::uuid[], $3::uuid[]) as u(slot, book_id, topup_id)
         where t.slot = u.slot and t.book_id = u.book_id and t.topup_id = u.topup_id",
        &told.iter().map(|(book, _)| book.slot().sql()).collect::<Vec<_>>(),
        &told.iter().map(|(book, _)| book.0).collect::<Vec<_>>(),
        &told.iter().map(|(_, topup)| topup.0).collect::<Vec<_>>(),
    )
    .execute(tx)
    .await?;
    Ok(())
}
