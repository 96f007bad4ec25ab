//! The ledger against a model, alone and on Postgres; its batches, races, guards and failures.

mod book;
mod golden;
mod model;
