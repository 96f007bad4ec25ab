//! The ledger against a model, alone and on Postgres; its batches, races, guards and failures.

mod batch;
mod book;
mod commands;
mod deadlines;
mod failure;
mod golden;
mod guards;
pub mod invariants;
mod jam;
mod lanes;
mod life;
mod model;
mod past;
mod plan;
mod race;
mod refusals;
mod repeat;
mod restored;
mod rivals;
pub mod rows;
pub mod scene;
mod seed;
mod vectors;
