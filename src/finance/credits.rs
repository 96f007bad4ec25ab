//! What an account has, what is on its way to it, and the lots that it is in: one state of the
//! database, whatever is booked meanwhile.

use chrono::{DateTime, Utc};
use sqlx::PgPool;

use crate::ground::{Amount, BookId, GrantId, LotId};

use super::store::credits::{self as rows, LotRow};
use super::{FinanceError, store};

/// What an account has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credits {
    /// Paid credits that can be spent: not on hold, and not past their expiry.
    pub paid: Amount,
    /// Promotional credits that can be spent.
    pub promotional: Amount,
    pub paid_held: Amount,
    pub promotional_held: Amount,
    /// What was paid and is not decided yet.
    pub topups_pending: Amount,
    /// Grants that are not credited and not over, the next first.
    pub waiting: Vec<WaitingGrant>,
    pub frozen: bool,
    /// When something expires next, and how much.
    pub next_expiry: Option<(DateTime<Utc>, Amount)>,
    /// In the order in which they are spent.
    pub lots: Vec<CreditLot>,
}

/// Promotional credits for later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitingGrant {
    pub id: GrantId,
    pub amount: Amount,
    pub priority: i16,
    pub effective_at: DateTime<Utc>,
    pub expires_at: DateTime<Utc>,
}

/// A lot with something left, or with something on hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreditLot {
    pub id: LotId,
    pub paid: bool,
    pub priority: i16,
    pub amount: Amount,
    /// What can be spent of it.
    pub remaining: Amount,
    /// What open holds drew from it and have neither given back nor captured. None when not all open
    /// holds of the account are among those that are looked up.
    pub held: Option<Amount>,
    pub granted_at: DateTime<Utc>,
    pub effective_at: DateTime<Utc>,
    pub expires_at: Option<DateTime<Utc>>,
    /// The public id of the top-up or grant.
    pub origin: String,
    pub parent: Option<LotId>,
}

/// Which lots are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LotOrder {
    /// In the order in which they are spent.
    Burn,
    /// In the order of their ids, which is that of their grants, after one of them.
    Id { after: Option<LotId> },
}

/// What an account has at a time, with the first `limit` of its lots as they are spent; none when there
/// is no such account. What is past its expiry is not counted, whether or not that has been booked.
pub async fn credits(
    pool: &PgPool,
    account: BookId,
    at: DateTime<Utc>,
    limit: i64,
) -> Result<Option<Credits>, FinanceError> {
    let mut tx = store::snapshot(pool).await?;
    let Some(book) = rows::book(&mut tx, account).await? else { return Ok(None) };
    let at = at.max(book.recorded_at);
    let open = rows::open_lots(&mut tx, account, at).await?;
    let topups_pending = rows::topups_pending(&mut tx, account).await?;
    let waiting = rows::waiting_grants(&mut tx, account, at).await?;
    let held = rows::held_by_lot(&mut tx, account, &book).await?;
    let lots = rows::lots(&mut tx, account, at, LotOrder::Burn, &held, limit).await?;
    tx.rollback().await?;
    let left = |balance: i64, overdue: i64| amount(balance.saturating_sub(overdue));
    Ok(Some(Credits {
        paid: left(book.prepaid, open.paid_overdue),
        promotional: left(book.promo, open.promotional_overdue),
        paid_held: amount(book.held),
        promotional_held: amount(book.promo_held),
        topups_pending: amount(topups_pending),
        waiting,
        frozen: book.frozen,
        next_expiry: open.next_expiry.map(|next| (next, amount(open.next_amount))),
        lots: lots.into_iter().map(LotRow::lot).collect(),
    }))
}

/// The next `limit` lots of an account after one of them, by their ids; none when there is no such
/// account.
pub async fn lots(
    pool: &PgPool,
    account: BookId,
    at: DateTime<Utc>,
    after: Option<LotId>,
    limit: i64,
) -> Result<Option<Vec<CreditLot>>, FinanceError> {
    let mut tx = store::snapshot(pool).await?;
    let Some(book) = rows::book(&mut tx, account).await? else { return Ok(None) };
    let at = at.max(book.recorded_at);
    let held = rows::held_by_lot(&mut tx, account, &book).await?;
    let lots = rows::lots(&mut tx, account, at, LotOrder::Id { after }, &held, limit).await?;
    tx.rollback().await?;
    Ok(Some(lots.into_iter().map(LotRow::lot).collect()))
}

/// Amounts in tables are never negative: a CHECK holds it.
pub(super) fn amount(micros: i64) -> Amount {
    Amount::from_micros(micros).unwrap_or_default()
}
