use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

/// How many faults may wait for payments of one wallet.
pub(super) const WAITING_MAX: i64 = 10;

/// How long a fault waits for a payment.
pub(super) const WAITS: TimeDelta = TimeDelta::hours(1);

/// What goes wrong with one payment, so that an agent's developer can rehearse it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The money moves, and for so long nobody confirms it: `settlement_pending`.
    Pending(Duration),
    /// The money moves, and the connection breaks before the answer. Asked again, it answers.
    Lost,
    /// Nothing moves: the payment is refused before anything is broadcast.
    Refused,
    /// The money moves, and the answer takes so long.
    Slow(Duration),
}

impl Fault {
    /// Its name on record.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Pending(_) => "pending",
            Self::Lost => "lost",
            Self::Refused => "refused",
            Self::Slow(_) => "slow",
        }
    }

    /// How long it lasts, on record; of one that lasts no time, the least.
    pub(super) fn seconds(self) -> i32 {
        match self {
            Self::Pending(time) | Self::Slow(time) => i32::try_from(time.as_secs()).unwrap_or(1),
            Self::Lost | Self::Refused => 1,
        }
    }

    pub(super) fn of_record(name: &str, seconds: i32) -> Option<Self> {
        let time = Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
        match name {
            "pending" => Some(Self::Pending(time)),
            "lost" => Some(Self::Lost),
            "refused" => Some(Self::Refused),
            "slow" => Some(Self::Slow(time)),
            _ => None,
        }
    }
}

/// What waits for a wallet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Armed {
    /// How many faults wait for its next payments, one each.
    pub waiting: i64,
}

/// A fault that a payment has met.
pub(super) struct Met {
    pub fault: Fault,
    pub at: DateTime<Utc>,
    /// Whether it met it in this very call.
    pub first: bool,
}

impl Met {
    pub fn refuses(&self) -> bool {
        self.fault == Fault::Refused
    }
}

/// An answer and how it is delivered.
#[derive(Clone, Debug, PartialEq)]
pub struct Spoken {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: Value,
    /// How it gets to the caller.
    pub delivery: Delivery,
}

/// How an answer gets to the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// At once.
    AtOnce,
    /// After a while.
    After(Duration),
    /// Never: the connection breaks.
    Lost,
}

impl Spoken {
    pub(super) fn plain(status: u16, body: Value) -> Self {
        Self { status, body, delivery: Delivery::AtOnce }
    }
}

/// What is heard of a settlement that succeeded.
pub(super) fn spoken(met: Option<&Met>, success: Value, now: DateTime<Utc>) -> Spoken {
    let Some(Met { fault, at, first }) = met else { return Spoken::plain(200, success) };
    let plain = Spoken::plain(200, success);
    match fault {
        Fault::Pending(time) => {
            let over = TimeDelta::from_std(*time).ok().and_then(|time| at.checked_add_signed(time));
            if over.is_none_or(|over| now >= over) { plain } else { pending(plain) }
        }
        Fault::Lost if *first => Spoken { delivery: Delivery::Lost, ..plain },
        Fault::Slow(time) if *first => Spoken { delivery: Delivery::After(*time), ..plain },
        Fault::Lost | Fault::Slow(_) | Fault::Refused => plain,
    }
}

/// The same settlement before anybody has seen it confirmed.
fn pending(mut spoken: Spoken) -> Spoken {
    spoken.body["success"] = json!(false);
    spoken.body["errorReason"] = json!("settlement_pending");
    spoken.body["errorMessage"] = json!("broadcast, and not confirmed yet; this was asked for");
    spoken
}
