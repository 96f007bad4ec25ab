//! The prepaid balance and what has moved it.

use actix_web::{HttpRequest, HttpResponse, get, web};
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use crate::finance::HistoryEntry;
use crate::ground::{Amount, BookId, LotId, Page};
use crate::http::auth::{Customer, Granted};
use crate::http::extract::ApiQuery;
use crate::http::paging::Paging;
use crate::http::state::AppState;
use crate::http::{Code, Problem};
use crate::ledger::{self, Balance, LotRow};

/// How many lots are listed.
const LOTS_MAX: i64 = 100;

/// What an account has.
#[derive(Debug, Serialize, ToSchema)]
pub struct CreditsView {
    /// The account.
    pub account_id: BookId,
    /// What a checkout may use: `paid` and `promotional`.
    pub available: Amount,
    /// Paid credits that are not on hold.
    pub paid: Amount,
    /// Promotional credits that are not on hold.
    pub promotional: Amount,
    /// Credits on hold for open checkouts: `paid_held` and `promotional_held`.
    pub held: Amount,
    /// Paid credits on hold.
    pub paid_held: Amount,
    /// Promotional credits on hold.
    pub promotional_held: Amount,
    /// Whether the account is frozen: nothing is spent then.
    pub frozen: bool,
    /// The next time that credits expire.
    pub next_expiry: Option<Expiry>,
    /// The grants that have something left, in the order in which they are spent; at most 100.
    pub lots: Vec<LotView>,
}

/// Credits that will expire.
#[derive(Debug, Serialize, ToSchema)]
pub struct Expiry {
    /// When.
    pub at: DateTime<Utc>,
    /// How much of what is available.
    pub amount: Amount,
}

/// One grant of credits.
#[derive(Debug, Serialize, ToSchema)]
pub struct LotView {
    /// The grant.
    pub lot_id: LotId,
    /// `paid` or `promotional`.
    #[schema(example = "promotional")]
    pub category: &'static str,
    /// What was granted.
    pub amount: Amount,
    /// What is available of it.
    pub remaining: Amount,
    /// When it was granted.
    pub granted_at: DateTime<Utc>,
    /// When the rest of it expires, if ever.
    pub expires_at: Option<DateTime<Utc>>,
}

impl CreditsView {
    fn of(account: BookId, balance: Balance, lots: Vec<LotRow>) -> Self {
        let sum = |one: Amount, other| one.checked_add(other).unwrap_or(Amount::MAX);
        let dated = lots.iter().filter_map(|lot| Some((lot.expires_at?, lot.remaining)));
        let next_expiry = dated.clone().map(|(at, _)| at).min().map(|at| {
            let due = dated.filter(|(expiry, _)| *expiry == at).map(|(_, remaining)| remaining);
            Expiry { at, amount: Amount::sum(due).unwrap_or(Amount::MAX) }
        });
        Self {
            account_id: account,
            available: sum(balance.paid, balance.promotional),
            paid: balance.paid,
            promotional: balance.promotional,
            held: sum(balance.paid_held, balance.promotional_held),
            paid_held: balance.paid_held,
            promotional_held: balance.promotional_held,
            frozen: balance.frozen,
            next_expiry,
            lots: lots.into_iter().map(LotView::from).collect(),
        }
    }
}

impl From<LotRow> for LotView {
    fn from(lot: LotRow) -> Self {
        Self {
            lot_id: lot.id,
            category: if lot.paid { "paid" } else { "promotional" },
            amount: lot.amount,
            remaining: lot.remaining,
            granted_at: lot.granted_at,
            expires_at: lot.expires_at,
        }
    }
}

/// The balance
#[utoipa::path(
    tag = "credits",
    security(("api_key" = [])),
    responses(
        (status = 200, description = "What the account has", body = CreditsView),
        (status = 401, response = Problem),
        (status = 403, response = Problem),
    ),
)]
#[get("/api/v1/credits")]
pub async fn read_credits(
    state: web::Data<AppState>,
    access: Granted<Customer>,
) -> Result<HttpResponse, Problem> {
    let account = access.caller.account;
    let unavailable = |error: sqlx::Error| Problem::fault(Code::Unavailable, &error);
    let balance = ledger::balance(&state.pool, account).await.map_err(unavailable)?;
    let balance = balance.ok_or_else(|| Problem::new(Code::NotFound))?;
    let lots = ledger::lots(&state.pool, account, LOTS_MAX).await.map_err(unavailable)?;
    Ok(HttpResponse::Ok().json(CreditsView::of(account, balance, lots)))
}

/// The account's journal
///
/// Every transfer, newest first, numbered without gaps.
#[utoipa::path(
    tag = "credits",
    security(("api_key" = [])),
    params(Paging),
    responses(
        (status = 200, description = "A page of transfers", body = Page<HistoryEntry>),
        (status = 401, response = Problem),
        (status = 403, response = Problem),
        (status = 422, response = Problem),
    ),
)]
#[get("/api/v1/credits/history")]
pub async fn read_history(
    state: web::Data<AppState>,
    request: HttpRequest,
    access: Granted<Customer, ApiQuery<Paging>>,
) -> Result<HttpResponse, Problem> {
    let page = access.asked.0.read::<i64>()?;
    let rows = state.finance.history(access.caller.account, page.after, page.rows()).await?;
    Ok(page.answer(&request, rows, |row| row.seq.to_string()))
}
