//! The ledger against a model, alone and on Postgres; its batches, races, guards and failures.

mod batch;
mod book;
mod commands;
mod failure;
mod golden;
mod guards;
mod invariants;
mod jam;
mod life;
mod model;
mod past;
mod race;
mod restored;
mod rows;
mod scene;
