//! Expiry of lots in books that nobody touches. A book's due lots are booked before any of its
//! commands; this finds the books that have none.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use futures_util::future::join_all;
use sqlx::PgPool;

use crate::ground::BookId;

use super::store;
use super::{Annexes, Command, CommandIdentity, Decision, Desk, Engine, Fault, SubmitError, Wants};

/// How many books one step takes up.
const STEP_MAX: i64 = 500;

/// Does nothing: the engine books due expiries before it.
struct Touch {
    book: BookId,
}

impl Command for Touch {
    fn book(&self) -> BookId {
        self.book
    }

    fn identity(&self) -> CommandIdentity {
        CommandIdentity::of_effect("book:expire-lots")
    }

    fn want(&self, _: &mut Wants, _: &mut Annexes) {}

    fn decide(&self, _: &mut Desk<'_>) -> Result<Decision, Fault> {
        Ok(Decision::nothing_due())
    }
}

/// Books what has expired by then, and returns in how many books.
pub async fn expire_lots(
    pool: &PgPool,
    engine: &Engine,
    at: DateTime<Utc>,
) -> Result<usize, SubmitError> {
    let due = store::books_with_due_lots(pool, at, STEP_MAX).await;
    let due = due.map_err(|_| SubmitError::Unavailable)?;
    let count = due.len();
    let touches = due.into_iter().map(|book| engine.submit(Arc::new(Touch { book })));
    for outcome in join_all(touches).await {
        match outcome {
            // A full queue is for the next step.
            Ok(_) | Err(SubmitError::Overloaded) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(count)
}
