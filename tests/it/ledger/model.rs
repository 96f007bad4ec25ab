//! The ledger once more, in plain integers and as simple as can be: what the real one must agree
//! with. A hold is a list with one entry per micro-dollar, which says from which lot that
//! micro-dollar came; so captures, releases and reversals are pops from one end.

use std::collections::VecDeque;

use bursar::ground::Amount;
use bursar::ledger::{CapScope, CapViolation, Refusal, Role, Span};
use chrono::{DateTime, TimeDelta, Utc};

pub type Time = DateTime<Utc>;

/// Lots are named by the order in which they were opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lot {
    pub paid: bool,
    pub amount: i64,
    pub left: i64,
    pub granted: Time,
    pub expires: Option<Time>,
    pub parent: Option<usize>,
    /// Of a void payment: what was spent and has not come back.
    pub lost: Option<i64>,
}

#[derive(Clone, Debug)]
pub struct Hold {
    pub key: usize,
    pub placed: Time,
    /// The lot of each micro-dollar that is still on hold, in burn order.
    pub open: VecDeque<usize>,
    /// What counts against the caps: the amount without what was given back.
    pub counted: i64,
}

#[derive(Clone, Debug)]
pub struct Capture {
    pub hold: usize,
    pub units: Vec<usize>,
}

#[derive(Clone, Debug)]
pub struct Model {
    pub now: Time,
    pub frozen: bool,
    pub lots: Vec<Lot>,
    pub holds: Vec<Hold>,
    pub captures: Vec<Capture>,
    pub caps: Vec<(Option<usize>, Span, i64)>,
    settled: i64,
    revenue: i64,
    reversed: i64,
    breakage: i64,
}

pub fn amount(micros: i64) -> Amount {
    Amount::from_micros(micros).unwrap()
}

impl Model {
    pub fn new(now: Time) -> Self {
        Self {
            now,
            frozen: false,
            lots: Vec::new(),
            holds: Vec::new(),
            captures: Vec::new(),
            caps: Vec::new(),
            settled: 0,
            revenue: 0,
            reversed: 0,
            breakage: 0,
        }
    }

    pub fn pass(&mut self, to: Time) {
        self.now = to;
        for lot in self.lots.iter_mut().filter(|lot| lot.expires.is_some_and(|at| at <= to)) {
            self.breakage += if lot.paid { lot.left } else { 0 };
            lot.left = 0;
        }
    }

    pub fn top_up(&mut self, amount: i64) {
        self.settled += amount;
        self.open_lot(true, amount, None, None);
    }

    pub fn grant(&mut self, amount: i64, expires: Time) {
        self.open_lot(false, amount, Some(expires), None);
    }

    fn open_lot(&mut self, paid: bool, left: i64, expires: Option<Time>, parent: Option<usize>) {
        self.lots.push(Lot {
            paid,
            amount: left,
            left,
            granted: self.now,
            expires,
            parent,
            lost: None,
        });
    }

    /// The money of a top-up is not there.
    pub fn void(&mut self, lot: usize) {
        let lot = &mut self.lots[lot];
        self.settled -= lot.amount;
        (lot.lost, lot.left) = (Some(lot.amount - lot.left), 0);
        self.frozen = true;
    }

    /// And then it is.
    pub fn reinstate(&mut self, lot: usize) {
        let lot = &mut self.lots[lot];
        self.settled += lot.amount;
        lot.left = lot.amount - lot.lost.take().unwrap();
    }

    /// The lots as they burn. Priorities are all alike here.
    pub fn burn_order(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.lots.len()).collect();
        order.sort_by_key(|&n| {
            let lot = &self.lots[n];
            (lot.expires.unwrap_or(Time::MAX_UTC), lot.paid, lot.granted, n)
        });
        order
    }

    pub fn set_cap(&mut self, key: Option<usize>, span: Span, limit: i64) {
        self.caps.retain(|(k, s, _)| (*k, *s) != (key, span));
        self.caps.push((key, span, limit));
    }

    /// What counts in the current window, straight from the definition.
    pub fn used(&self, key: Option<usize>, span: Span) -> i64 {
        let start = match span {
            Span::Checkout => return 0,
            Span::Day | Span::Month | Span::Total => span.window_start(self.now),
        };
        let counts = |hold: &&Hold| key.is_none_or(|key| key == hold.key) && hold.placed >= start;
        self.holds.iter().filter(counts).map(|hold| hold.counted).sum()
    }

    /// Why a checkout would be refused; the violated caps in no particular order.
    pub fn refusal(&self, key: usize, total: i64, max_total: i64) -> Option<Refusal> {
        if self.frozen {
            return Some(Refusal::AccountFrozen);
        }
        let request = (CapScope::Request, Span::Checkout, max_total, 0);
        let bind = self.caps.iter().filter(|(of, ..)| of.is_none_or(|of| of == key));
        let caps = bind.map(|&(of, span, limit)| {
            let scope = if of.is_some() { CapScope::Key } else { CapScope::Account };
            (scope, span, limit, self.used(of, span))
        });
        let over = |(.., limit, used): &(_, _, i64, i64)| used + total > *limit;
        let violations: Vec<_> = caps
            .chain([request])
            .filter(over)
            .map(|(scope, span, limit, used)| CapViolation {
                scope,
                span,
                limit: amount(limit),
                used: amount(used),
                requested: amount(total),
            })
            .collect();
        let available: i64 = self.lots.iter().map(|lot| lot.left).sum();
        if !violations.is_empty() {
            Some(Refusal::CapExceeded { violations })
        } else if total > available {
            let shortfall = amount(total - available);
            let (required, available) = (amount(total), amount(available));
            Some(Refusal::InsufficientCredits { required, available, shortfall })
        } else {
            None
        }
    }

    /// Places a hold that is not refused.
    pub fn hold(&mut self, key: usize, total: i64) {
        let mut open = VecDeque::new();
        for n in self.burn_order() {
            while self.lots[n].left > 0 && open.len() < usize::try_from(total).unwrap() {
                self.lots[n].left -= 1;
                open.push_back(n);
            }
        }
        self.holds.push(Hold { key, placed: self.now, open, counted: total });
    }

    pub fn capture(&mut self, hold: usize, total: i64) {
        let units: Vec<usize> =
            self.holds[hold].open.drain(..usize::try_from(total).unwrap()).collect();
        self.revenue += self.paid(&units);
        self.captures.push(Capture { hold, units });
    }

    pub fn release(&mut self, hold: usize, total: i64) {
        let of = &mut self.holds[hold];
        let units = of.open.split_off(of.open.len() - usize::try_from(total).unwrap());
        of.counted -= total;
        self.restore(&Vec::from(units));
    }

    pub fn reverse(&mut self, capture: usize, total: i64) {
        let of = &mut self.captures[capture];
        let units = of.units.split_off(of.units.len() - usize::try_from(total).unwrap());
        self.holds[of.hold].counted -= total;
        self.reversed += self.paid(&units);
        self.restore(&units);
    }

    fn paid(&self, units: &[usize]) -> i64 {
        i64::try_from(units.iter().filter(|&&n| self.lots[n].paid).count()).unwrap()
    }

    /// Back into the very lots; what belongs to an expired one becomes a lot of 30 days, and what
    /// belongs to a void payment is not lost any longer.
    fn restore(&mut self, units: &[usize]) {
        for run in units.chunk_by(|a, b| a == b) {
            let (n, back) = (run[0], i64::try_from(run.len()).unwrap());
            if let Some(lost) = &mut self.lots[n].lost {
                *lost -= back;
            } else if self.lots[n].expires.is_some_and(|at| at <= self.now) {
                let expires = self.now + TimeDelta::days(30);
                self.open_lot(self.lots[n].paid, back, Some(expires), Some(n));
            } else {
                self.lots[n].left += back;
            }
        }
    }

    pub fn balance(&self, role: Role) -> i64 {
        let left = |paid| self.lots.iter().filter(|l| l.paid == paid).map(|l| l.left).sum::<i64>();
        let units = || self.holds.iter().flat_map(|hold| &hold.open);
        let held = |paid| units().map(|&n| i64::from(self.lots[n].paid == paid)).sum::<i64>();
        match role {
            Role::SettledUsdc => self.settled,
            Role::Prepaid => left(true),
            Role::Held => held(true),
            Role::PromoIssued => left(false) + held(false),
            Role::Promo => left(false),
            Role::PromoHeld => held(false),
            Role::Revenue => self.revenue,
            Role::ReversedRevenue => self.reversed,
            Role::Breakage => self.breakage,
            Role::SettlementLoss => self.lots.iter().filter_map(|lot| lot.lost).sum(),
        }
    }
}

/// A refusal with its violations in one order.
pub fn sorted(refusal: Refusal) -> Refusal {
    match refusal {
        Refusal::CapExceeded { mut violations } => {
            violations.sort_by_key(|v| format!("{:?} {:?}", v.scope, v.span));
            Refusal::CapExceeded { violations }
        }
        other => other,
    }
}
