//! The ledger against a model, alone and on Postgres; its batches, races, guards and failures.

mod batch;
mod book;
mod commands;
mod golden;
mod invariants;
mod life;
mod model;
mod rows;
mod scene;
