use std::ops::RangeInclusive;
use std::time::Duration;

use chrono::TimeDelta;

use crate::ground::Amount;
use crate::x402::{Address, Network};

/// On what terms credits are sold, and how long anything may take.
#[derive(Clone, Debug)]
pub struct TopupSettings {
    pub networks: Vec<&'static Network>,
    pub pay_to: Address,
    /// The public URL of the top-up route.
    pub resource_url: String,
    /// What a request without an amount buys.
    pub default_amount: Amount,
    pub min_amount: Amount,
    pub max_amount: Amount,
    /// How long a request waits for a settlement that another request has begun.
    pub patience: Duration,
    /// How long whoever works on a top-up has it alone: longer than verifying and settling may take
    /// together. After that the resolver takes it up.
    pub lease: Duration,
    /// How the outcome is found out when no answer told it.
    pub resolving: Resolving,
    /// How often a settlement is looked at until it is deep enough.
    pub confirm_interval: Duration,
}

impl TopupSettings {
    /// What one top-up may be.
    pub const fn amounts(&self) -> RangeInclusive<Amount> {
        self.min_amount..=self.max_amount
    }
}

/// How the outcome of a payment is found out when no answer told it.
#[derive(Clone, Copy, Debug)]
pub struct Resolving {
    /// How long the chain is asked for a receipt before the outcome counts as unknown.
    pub receipt_wait: Duration,
    /// How soon the chain is looked at for what has just become unknown: about one block, and never
    /// later than the first pause.
    pub first_look: Duration,
    /// The first pause between two looks at one top-up. It grows to 64 times as many.
    pub backoff: Duration,
    /// How long after its window, by the chain's time, a payment without a trace there is rejected.
    pub margin: TimeDelta,
    /// How long after its window a payment that nobody tells of is parked.
    pub park_after: TimeDelta,
    /// How many blocks must lie above what counts as there to stay. Until then it is followed.
    pub confirmations: u64,
}

impl Default for Resolving {
    fn default() -> Self {
        Self {
            receipt_wait: Duration::from_secs(10),
            first_look: Duration::from_secs(2),
            backoff: Duration::from_secs(10),
            margin: TimeDelta::seconds(300),
            park_after: TimeDelta::seconds(3600),
            confirmations: 12,
        }
    }
}

impl Resolving {
    /// How long to wait before the chain is looked at for the first time.
    pub(super) fn first_pause(&self) -> TimeDelta {
        TimeDelta::from_std(self.first_look.min(self.backoff)).unwrap_or(TimeDelta::zero())
    }

    /// How long to wait before one looks again at what has been open for so long: as long again,
    /// within bounds.
    pub(super) fn pause(&self, open_for: TimeDelta) -> TimeDelta {
        let first = TimeDelta::from_std(self.backoff).unwrap_or(TimeDelta::seconds(10));
        let longest = first.checked_mul(64).unwrap_or(first);
        open_for.clamp(first, longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_what_has_passed_up_to_a_bound() {
        let resolving = Resolving { backoff: Duration::from_secs(10), ..Resolving::default() };
        for (open_for, pause) in
            [(-5, 10), (0, 10), (10, 10), (20, 20), (640, 640), (641, 640), (i64::MAX / 1000, 640)]
        {
            let open_for = TimeDelta::seconds(open_for);
            assert_eq!(resolving.pause(open_for), TimeDelta::seconds(pause), "{open_for}");
        }
    }
}
