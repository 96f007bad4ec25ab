//! What an account had at a past moment, and what moved between two. Both answers are final.

use actix_web::{HttpRequest, HttpResponse, get, web};
use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::finance::{HistoryEntry, PastBalances, Period, Statement};
use crate::ground::{BookId, Page};
use crate::http::auth::{Granted, Reader, no_such_account, whose};
use crate::http::extract::ApiQuery;
use crate::http::fields::moment;
use crate::http::paging::Paging;
use crate::http::state::AppState;
use crate::http::{Code, Problem};

/// Which account at which moment.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct BalancesQuery {
    /// The moment, in RFC 3339. It must be over.
    #[serde(deserialize_with = "moment")]
    as_of: DateTime<Utc>,
    /// Whose; an operator names the account, a customer has only its own.
    account_id: Option<BookId>,
}

/// Which account in which time, and which page of its transfers.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct StatementQuery {
    /// The beginning, in RFC 3339: what was recorded at it is in the statement.
    #[serde(deserialize_with = "moment")]
    from: DateTime<Utc>,
    /// The end, in RFC 3339: what was recorded at it is in the next statement. It must be over.
    #[serde(deserialize_with = "moment")]
    to: DateTime<Utc>,
    /// Whose; an operator names the account, a customer has only its own.
    account_id: Option<BookId>,
    /// The `next_cursor` of the page before.
    after: Option<String>,
    /// How many transfers, 1 to 100; 20 unless asked otherwise.
    #[param(minimum = 1, maximum = 100, default = 20)]
    limit: Option<u32>,
}

/// A statement with a page of its transfers.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct StatementPage {
    #[serde(flatten)]
    statement: Statement,
    #[serde(flatten)]
    page: Page<HistoryEntry>,
}

/// Balances at a past moment
///
/// Everything that was recorded up to that moment, and at it, is in them. The answer is final: the
/// same question gets the same answer for ever.
#[utoipa::path(
    tag = "ledger",
    security(("api_key" = [])),
    params(BalancesQuery),
    responses(
        (status = 200, description = "The balance of every role", body = PastBalances),
        (status = 401, response = Problem),
        (status = 403, response = Problem),
        (status = 404, response = Problem),
        (status = 409, response = Problem),
        (status = 422, response = Problem),
    ),
)]
#[get("/api/v1/ledger/balances")]
pub async fn read_balances(
    state: web::Data<AppState>,
    access: Granted<Reader, ApiQuery<BalancesQuery>>,
) -> Result<HttpResponse, Problem> {
    let query = &access.asked.0;
    let account = whose(&access.caller, query.account_id)?;
    let balances = state.finance.balances_at(account, query.as_of).await?;
    Ok(HttpResponse::Ok().json(balances.ok_or_else(no_such_account)?))
}

/// A statement
///
/// Opening and closing balances, debits and credits of every role, and the transfers, oldest first,
/// of the time from one moment on and before another. The answer is final: the same question gets
/// the same answer for ever.
#[utoipa::path(
    tag = "ledger",
    security(("api_key" = [])),
    params(StatementQuery),
    responses(
        (status = 200, description = "The statement, with a page of transfers", body = StatementPage),
        (status = 401, response = Problem),
        (status = 403, response = Problem),
        (status = 404, response = Problem),
        (status = 409, response = Problem),
        (status = 422, response = Problem),
    ),
)]
#[get("/api/v1/ledger/statement")]
pub async fn read_statement(
    state: web::Data<AppState>,
    request: HttpRequest,
    access: Granted<Reader, ApiQuery<StatementQuery>>,
) -> Result<HttpResponse, Problem> {
    let StatementQuery { from, to, account_id, after, limit } = access.asked.0;
    let account = whose(&access.caller, account_id)?;
    let page = Paging::of(after, limit).read::<i64>()?;
    if from > to {
        let detail = "from is later than to";
        return Err(Problem::new(Code::ValidationFailed).field("from").detail(detail));
    }
    let period = Period { from, to, after: page.after, limit: page.rows() };
    let statement = state.finance.statement(account, period).await?;
    let mut statement = statement.ok_or_else(no_such_account)?;
    let entries = std::mem::take(&mut statement.entries);
    let entries = page.cut(entries, |entry| entry.seq.to_string());
    let query = same_statement(&statement, account_id);
    let mut response = page.linked(request.path(), &query, &entries);
    Ok(response.json(StatementPage { statement, page: entries }))
}

/// The parameters of the next page besides the cursor.
fn same_statement(statement: &Statement, account: Option<BookId>) -> String {
    let time = |at: DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::AutoSi, true);
    let account = account.map(|account| format!("account_id={account}&")).unwrap_or_default();
    format!("from={}&to={}&{account}", time(statement.from), time(statement.to))
}
