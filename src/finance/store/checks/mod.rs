//! The checks' queries: each finds what breaks one rule, and nothing else.
//!
//! They share nothing with the queries that write: roles and their sides come from the chart of
//! accounts in the database, sums from the rows themselves.

pub mod books;
pub mod caps;
pub mod checkouts;
pub mod disputes;
pub mod events;
pub mod grants;
pub mod holds;
pub mod journal;
pub mod lots;
pub mod orders;
pub mod snapshots;
pub mod topups;

use rust_decimal::Decimal;
use uuid::Uuid;

/// One thing that breaks a rule, out of `total`.
pub struct Found {
    pub book: Option<Uuid>,
    /// What it is about.
    pub subject: String,
    pub expected: Option<Decimal>,
    pub found: Option<Decimal>,
    pub total: i64,
}

/// How many of them are named.
const NAMED_MAX: i64 = 20;
