//! Bursar sells prepaid credits to software agents over HTTP and lets checkouts spend them.
//!
//! Three promises rank above everything else: no money is lost or made, a cap is a cap whatever the
//! concurrency, and every figure can be proven from the on-chain settlement to the reversal and back.
//!
//! # The house
//!
//! A module imports only downwards, and the peers on one floor are strangers;
//! `tests/it/tidy` enforces it.
//!
//! | floor | what it is for | what it never does |
//! |---|---|---|
//! | [`cli`], [`config`], [`telemetry`] | the program: commands, settings, logs; puts the floors together | decide anything about money |
//! | [`http`] | actix, routes, problems, OpenAPI | speak SQL |
//! | [`finance`] | exports, trial balance, checks | write the ledger |
//! | [`accounts`], [`x402`], [`checkout`], [`events`] | who may spend; money in; money out; telling what happened | know of each other |
//! | [`ledger`] | the only writer of money | know what a top-up or a checkout is |
//! | [`db`], [`outbound`] | pools, migrations, claims, the managed Postgres; calls to addresses that strangers chose | know what money is |
//! | [`ground`] | amounts, ids, clock, keys: pure | I/O |
//!
//! # Where a rule lives
//!
//! - How money may move: [`ledger::Movement`], and a second time in `migrations/0002_ledger.sql`.
//! - What a decision looks like: [`ledger::Book`], pure; a batch runs *lock → read → decide → write*
//!   in [`ledger::Engine`].
//! - Burn order of lots: [`ledger::BurnKey`]. Caps: [`ledger::Cap`] and `ledger/headroom.rs`.
//! - States: [`x402::topup::TopupState`],
//!   [`x402::topup::SettlementStanding`], [`checkout::ResultFacts`], [`checkout::Item`], each a total
//!   function of state and event.
//! - Which addresses may be called: [`outbound::AddressKind`]. What events there are:
//!   [`events::KINDS`].
//! - What evidence must be: [`checkout::EvidenceSchema`], bounded and offline, checked before the lock.
//! - What the facilitator's answer means: [`x402::classify`].
//! - Error codes of the API: [`http::Code`], one table.
//! - SQL: files named `store.rs` or below a folder `store`, and [`db`].
//! - What must hold of the whole: [`finance::Rule`]; checked in SQL of its own, all at once by
//!   [`finance::Finance::check`] and bit by bit by [`finance::DriftChecker`].
//!
//! Time, ids and randomness are parameters ([`ground::Clock`], [`ground::Entropy`]); the raw calls are
//! banned by clippy. Effects on the outside world stand behind a trait only where the process ends:
//! facilitator, chain, clock, entropy. The database is never mocked.

pub mod accounts;
pub mod checkout;
pub mod cli;
pub mod config;
pub mod db;
pub mod events;
pub mod finance;
pub mod ground;
pub mod http;
pub mod ledger;
pub mod outbound;
pub mod telemetry;
pub mod x402;
