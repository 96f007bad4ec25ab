//! Starting and stopping, as a new user and an operator meet it: the real binary as a child process
//! on real Postgres.

mod commands;
mod demo;
mod help;
mod lifecycle;
mod live;
pub mod process;
mod settings;
mod topup;
