//! An item of a checkout: how much of it may still be delivered. Pure.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::ground::{Amount, HoldId};

use super::CheckoutRefusal;

/// An item as it stands under the lock. Quantities are units.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    pub item: i16,
    pub hold: HoldId,
    pub sku: String,
    pub sku_version: i32,
    pub quantity: i64,
    pub unit_price: Amount,
    /// Units of all results submitted so far.
    pub submitted: i64,
    /// Units captured or released.
    pub settled: i64,
    pub deliver_by: DateTime<Utc>,
    pub verification_deadline_s: i32,
    pub dispute_window_s: i32,
    pub dispute_decision_s: i32,
    /// Nothing more may be submitted.
    pub closed: bool,
}

/// What can happen to an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ItemEvent {
    /// A result for so many units arrives.
    Submit { quantity: i64, at: DateTime<Utc> },
    /// The buyer cancels what has not been submitted.
    Cancel,
    /// The delivery deadline is enforced.
    Deadline { at: DateTime<Utc> },
}

/// What follows from an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ItemStep {
    /// The units go under verification.
    Take { quantity: i64 },
    /// The units go back to the buyer, and the item takes nothing more.
    Close { released: i64 },
    /// Nothing happens.
    Nothing,
    /// The event is refused.
    Refuse(CheckoutRefusal),
}

impl Item {
    /// What follows from an event: a total function of state and event.
    pub fn step(&self, event: ItemEvent) -> ItemStep {
        let left = self.quantity.saturating_sub(self.submitted);
        match (self.closed, event) {
            (true, ItemEvent::Submit { .. }) if left == 0 => {
                ItemStep::Refuse(CheckoutRefusal::ResultQuantityExceeded {
                    requested: event.quantity(),
                    left: 0,
                })
            }
            (true, ItemEvent::Submit { .. }) => ItemStep::Refuse(CheckoutRefusal::ItemClosed),
            (true, ItemEvent::Cancel | ItemEvent::Deadline { .. }) => ItemStep::Nothing,
            (false, ItemEvent::Submit { at, .. }) if at >= self.deliver_by => {
                let deadline = self.deliver_by;
                ItemStep::Refuse(CheckoutRefusal::DeliveryDeadlinePassed { deadline })
            }
            (false, ItemEvent::Submit { quantity, .. }) if quantity > left => {
                ItemStep::Refuse(CheckoutRefusal::ResultQuantityExceeded {
                    requested: quantity,
                    left,
                })
            }
            (false, ItemEvent::Submit { quantity, .. }) => ItemStep::Take { quantity },
            (false, ItemEvent::Cancel) => ItemStep::Close { released: left },
            (false, ItemEvent::Deadline { at }) if at >= self.deliver_by => {
                ItemStep::Close { released: left }
            }
            (false, ItemEvent::Deadline { .. }) => ItemStep::Nothing,
        }
    }

    /// Counts units that a result delivers; all of them close the item.
    pub fn take(&mut self, units: i64) {
        self.submitted = self.submitted.saturating_add(units);
        self.closed = self.submitted == self.quantity;
    }

    /// The money of so many units.
    pub fn price_of(&self, units: i64) -> Option<Amount> {
        self.unit_price.checked_mul(units)
    }

    /// The subject of the events about this item.
    pub fn subject(&self) -> Uuid {
        self.hold.0
    }
}

impl ItemEvent {
    fn quantity(self) -> i64 {
        match self {
            Self::Submit { quantity, .. } => quantity,
            Self::Cancel | Self::Deadline { .. } => 0,
        }
    }
}
