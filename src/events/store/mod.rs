//! SQL of this room.

mod delivery;
mod outbox;
mod queue;
mod watch;
mod webhook;

pub(super) use delivery::*;
pub(super) use outbox::*;
pub(super) use queue::*;
pub(super) use watch::*;
pub(super) use webhook::*;
