//! What an account had at a past moment: right, final, and as cheap for a long book as for a short
//! one.

mod finality;
mod growth;
mod replay;

use bursar::db::report_pool;
use bursar::finance::{Finance, PastBalances, Period, Statement};
use bursar::ground::BookId;
use sqlx::PgPool;

use super::model::Time;
use crate::support::postgres::TestDatabase;

/// Who asks, as the service does: on connections that cannot write.
fn finance(db: &TestDatabase) -> Finance {
    Finance::new(report_pool(db.service_options(), 4))
}

async fn at(finance: &Finance, account: BookId, as_of: Time) -> PastBalances {
    finance.balances_at(account, as_of).await.unwrap().unwrap()
}

/// The balance of `prepaid` in an answer, in micro-dollars.
fn prepaid(balances: &PastBalances) -> i64 {
    let row = balances.rows.iter().find(|row| row.account == "prepaid").unwrap();
    micros(&row.balance)
}

fn micros(dollars: &str) -> i64 {
    dollars.parse::<bursar::ground::Amount>().unwrap().micros()
}

/// A statement with all of its transfers on one page.
async fn statement(finance: &Finance, account: BookId, from: Time, to: Time) -> Statement {
    let period = Period { from, to, after: None, limit: i64::MAX };
    finance.statement(account, period).await.unwrap().unwrap()
}

/// The database's clock.
async fn clock(pool: &PgPool) -> Time {
    sqlx::query_scalar("select clock_timestamp()").fetch_one(pool).await.unwrap()
}
