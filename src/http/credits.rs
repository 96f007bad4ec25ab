//! The prepaid balance and what has moved it.

use actix_web::{HttpRequest, HttpResponse, get, web};
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use crate::finance::{self, CreditLot, Credits, HistoryEntry, WaitingGrant};
use crate::ground::{Amount, BookId, GrantId, LotId, Page};
use crate::http::Problem;
use crate::http::auth::{Customer, Granted, no_such_account};
use crate::http::extract::ApiQuery;
use crate::http::paging::Paging;
use crate::http::state::AppState;

/// How many lots are listed with the balance.
const LOTS_MAX: usize = 100;

/// What an account has. All of it is of one moment.
#[derive(Debug, Serialize, ToSchema)]
pub struct CreditsView {
    /// The account.
    pub account_id: BookId,
    /// All that it has: `available` and `held`.
    pub posted: Amount,
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
    /// Credits on their way, part of nothing above: top-ups whose payment was sent and is not decided
    /// yet, and `scheduled` grants. A grant that is over before it was credited is not on its way.
    pub pending: Amount,
    /// Whether the account is frozen: nothing is spent then.
    pub frozen: bool,
    /// The next time that credits expire.
    pub next_expiry: Option<Expiry>,
    /// Promotional credits that can be spent from later on; at most 100.
    pub scheduled: Vec<ScheduledView>,
    /// The lots that have something left or on hold, in the order in which they are spent; at most
    /// 100. All of them: `GET /api/v1/credits/lots`. Where `held` is null, those with nothing left can
    /// be missing.
    pub lots: Vec<LotView>,
    /// Whether there are more lots.
    pub has_more: bool,
}

/// Credits that will expire.
#[derive(Debug, Serialize, ToSchema)]
pub struct Expiry {
    /// When.
    pub at: DateTime<Utc>,
    /// How much of what is available.
    pub amount: Amount,
}

/// Promotional credits for later.
#[derive(Debug, Serialize, ToSchema)]
pub struct ScheduledView {
    /// The grant.
    pub grant_id: GrantId,
    /// How much.
    pub amount: Amount,
    /// Lower is spent first.
    pub priority: i16,
    /// From when on it can be spent.
    pub effective_at: DateTime<Utc>,
    /// When what is left of it expires.
    pub expires_at: DateTime<Utc>,
}

/// The credits of one top-up or grant.
#[derive(Debug, Serialize, ToSchema)]
pub struct LotView {
    /// The lot.
    pub lot_id: LotId,
    /// `paid` or `promotional`.
    #[schema(example = "promotional")]
    pub category: &'static str,
    /// Lower is spent first, 0 to 100.
    pub priority: i16,
    /// What it began with.
    pub amount: Amount,
    /// What is available of it.
    pub remaining: Amount,
    /// What open checkouts hold of it. Null when not all that is on hold belongs to the first 1000
    /// items of the account's latest 300 checkouts; `held` of the account is always whole.
    pub held: Option<Amount>,
    /// When it was credited.
    pub granted_at: DateTime<Utc>,
    /// From when on it was meant to be there.
    pub effective_at: DateTime<Utc>,
    /// When the rest of it expires, if ever.
    pub expires_at: Option<DateTime<Utc>>,
    /// The top-up or grant that it came from.
    #[schema(example = "top_0193f0a0c8f07c7eb1a2c3d4e5f60718")]
    pub origin: String,
    /// The expired lot whose credits came back into this one.
    pub parent_lot_id: Option<LotId>,
}

impl CreditsView {
    fn of(account: BookId, credits: Credits) -> Self {
        let all = |parts: &[Amount]| Amount::sum(parts.iter().copied()).unwrap_or(Amount::MAX);
        let available = all(&[credits.paid, credits.promotional]);
        let held = all(&[credits.paid_held, credits.promotional_held]);
        let scheduled = Amount::sum(credits.waiting.iter().map(|grant| grant.amount));
        let page = Page::cut(credits.lots, LOTS_MAX, |lot| lot.id.to_string());
        Self {
            account_id: account,
            posted: all(&[available, held]),
            available,
            paid: credits.paid,
            promotional: credits.promotional,
            held,
            paid_held: credits.paid_held,
            promotional_held: credits.promotional_held,
            pending: all(&[credits.topups_pending, scheduled.unwrap_or(Amount::MAX)]),
            frozen: credits.frozen,
            next_expiry: credits.next_expiry.map(|(at, amount)| Expiry { at, amount }),
            scheduled: credits.waiting.into_iter().map(ScheduledView::from).collect(),
            lots: page.data.into_iter().map(LotView::from).collect(),
            has_more: page.has_more,
        }
    }
}

impl From<WaitingGrant> for ScheduledView {
    fn from(grant: WaitingGrant) -> Self {
        Self {
            grant_id: grant.id,
            amount: grant.amount,
            priority: grant.priority,
            effective_at: grant.effective_at,
            expires_at: grant.expires_at,
        }
    }
}

impl From<CreditLot> for LotView {
    fn from(lot: CreditLot) -> Self {
        Self {
            lot_id: lot.id,
            category: if lot.paid { "paid" } else { "promotional" },
            priority: lot.priority,
            amount: lot.amount,
            remaining: lot.remaining,
            held: lot.held,
            granted_at: lot.granted_at,
            effective_at: lot.effective_at,
            expires_at: lot.expires_at,
            origin: lot.origin,
            parent_lot_id: lot.parent,
        }
    }
}

/// The balance
///
/// What is past its expiry is not counted, whether or not its expiry has been booked.
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
    let limit = i64::try_from(LOTS_MAX).unwrap_or(i64::MAX).saturating_add(1);
    let credits = finance::credits(&state.pool, account, state.clock.now(), limit).await?;
    let credits = credits.ok_or_else(no_such_account)?;
    Ok(HttpResponse::Ok().json(CreditsView::of(account, credits)))
}

/// The lots
///
/// All that have something left or on hold, oldest first. Where `held` is null, those with nothing left
/// can be missing.
#[utoipa::path(
    tag = "credits",
    security(("api_key" = [])),
    params(Paging),
    responses(
        (status = 200, description = "A page of lots", body = Page<LotView>),
        (status = 401, response = Problem),
        (status = 403, response = Problem),
        (status = 422, response = Problem),
    ),
)]
#[get("/api/v1/credits/lots")]
pub async fn list_lots(
    state: web::Data<AppState>,
    request: HttpRequest,
    access: Granted<Customer, ApiQuery<Paging>>,
) -> Result<HttpResponse, Problem> {
    let page = access.asked.0.read::<LotId>()?;
    let (account, now) = (access.caller.account, state.clock.now());
    let lots = finance::lots(&state.pool, account, now, page.after, page.rows()).await?;
    let lots = lots.ok_or_else(no_such_account)?.into_iter().map(LotView::from).collect();
    Ok(page.answer(&request, lots, |lot: &LotView| lot.lot_id.to_string()))
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
