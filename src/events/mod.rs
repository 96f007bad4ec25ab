//! Telling what happened: the feed that an account reads, and webhooks that are called.
//!
//! Events are rows of the outbox, which the ledger writes in the transaction of what they tell, in
//! each book's own gap-free order. Here they are read. Those that nobody's act brings about, a low
//! balance and credits that expire soon, a [`Watcher`] finds, and the ledger writes.
//!
//! A [`Courier`] makes deliveries of them, away from the money: each webhook knows up to which event
//! that has been done, so that none is left out, and only books with webhooks are looked at. A delivery
//! is repeated, each time after a longer pause, until the receiver answers with success, or it is given
//! up and stays to be sent again on demand. What is sent is signed as Standard Webhooks has it.
//!
//! What is promised: at least once. What is not: only once (a receiver knows an event by its id), and
//! any order (each event says its number).

mod courier;
mod error;
mod event;
mod store;
mod watch;
mod webhooks;

pub use courier::{Courier, CourierSettings};
pub use error::EventError;
pub use event::{Event, EventData, KINDS, Kind};
pub use watch::Watcher;
pub use webhooks::{Delivery, Events, Feed, NewWebhook, Replay, Standing, Webhook};
