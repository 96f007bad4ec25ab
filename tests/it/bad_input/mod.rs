//! Bad input: every operation of the API document, asked wrongly in every way, over a real socket.
//!
//! The document itself is the table: what its schemas refuse, the service must refuse; what it does
//! not list, the service must not answer. An operation without a row in [`rows`] fails the test, so
//! that none is forgotten.

mod ask;
mod bodies;
mod claims;
mod document;
mod fuzz;
mod made;
mod meaning;
mod paid;
mod rows;
mod stored;
mod table;
mod wire;
mod world;
