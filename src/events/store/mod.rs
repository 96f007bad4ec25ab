//! SQL of this room.

mod delivery;
mod end;
mod outbox;
mod queue;
mod spread;
mod watch;
mod webhook;

pub(super) use delivery::*;
pub(super) use end::*;
pub(super) use outbox::*;
pub(super) use queue::*;
pub(super) use spread::*;
pub(super) use watch::*;
pub(super) use webhook::*;
