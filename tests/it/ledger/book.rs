//! The pure decision: random sequences on a book in memory and on the model.

use bursar::ground::{BookId, CapId, ChargeId, HoldId, KeyId, SeededEntropy};
use bursar::ledger::{Book, Fault, HoldRequest, Lot, Role, Span, Stop};
use chrono::TimeDelta;
use proptest::prelude::*;
use uuid::Uuid;

use super::commands::terms;
use super::model::{self, Model, Time, amount, sorted};
use super::scene;

/// What may happen. `pick` chooses among the holds or captures there are.
#[derive(Clone, Debug)]
enum Op {
    TopUp(i64),
    Grant {
        amount: i64,
        hours: i64,
    },
    Pass {
        hours: i64,
    },
    Hold {
        key: usize,
        items: Vec<i64>,
        slack: i64,
    },
    Capture {
        pick: usize,
        amount: i64,
    },
    Release {
        pick: usize,
        amount: i64,
    },
    Reverse {
        pick: usize,
        amount: i64,
    },
    Cap {
        key: Option<usize>,
        span: Span,
        limit: i64,
    },
    Freeze(bool),
    /// A payment turns out to be void, or one that did turns up.
    Turn {
        pick: usize,
        thaw: bool,
    },
}

pub const SPANS: [Span; 4] = [Span::Checkout, Span::Day, Span::Month, Span::Total];

fn op() -> impl Strategy<Value = Op> {
    let scope = prop_oneof![Just(None), Just(Some(0)), Just(Some(1))];
    prop_oneof![
        3 => (1..60_i64).prop_map(Op::TopUp),
        3 => (1..60_i64, -5..900_i64).prop_map(|(amount, hours)| Op::Grant { amount, hours }),
        3 => (1..400_i64).prop_map(|hours| Op::Pass { hours }),
        6 => (0..2_usize, prop::collection::vec(1..25_i64, 1..4), -8..40_i64)
            .prop_map(|(key, items, slack)| Op::Hold { key, items, slack }),
        5 => (any::<usize>(), 0..20_i64).prop_map(|(pick, amount)| Op::Capture { pick, amount }),
        4 => (any::<usize>(), 0..20_i64).prop_map(|(pick, amount)| Op::Release { pick, amount }),
        4 => (any::<usize>(), 0..20_i64).prop_map(|(pick, amount)| Op::Reverse { pick, amount }),
        2 => (scope, prop::sample::select(SPANS.to_vec()), 0..120_i64)
            .prop_map(|(key, span, limit)| Op::Cap { key, span, limit }),
        1 => prop::bool::weighted(0.2).prop_map(Op::Freeze),
        3 => (any::<usize>(), prop::bool::weighted(0.9))
            .prop_map(|(pick, thaw)| Op::Turn { pick, thaw }),
    ]
}

struct Pair {
    book: Book,
    model: Model,
    entropy: SeededEntropy,
    keys: [KeyId; 2],
    holds: Vec<HoldId>,
    captures: Vec<ChargeId>,
    /// The origin of each top-up, and its lot.
    topups: Vec<(Uuid, usize)>,
    serial: u128,
}

impl Pair {
    fn new() -> Self {
        let start: Time = "2026-11-20T22:15:00Z".parse().unwrap();
        let mut pair = Self {
            book: Book::new(BookId(Uuid::from_u128(0x0700)), start),
            model: Model::new(start),
            entropy: SeededEntropy::new(1),
            keys: [1, 2].map(|n| KeyId(Uuid::from_u128(n))),
            holds: Vec::new(),
            captures: Vec::new(),
            topups: Vec::new(),
            serial: 0,
        };
        // The seed of a cap that is made later comes from the database. Here all are made at once.
        for key in [None, Some(0), Some(1)] {
            for span in SPANS {
                pair.cap(key, span, i64::MAX / 2);
            }
        }
        pair
    }

    fn fresh(&mut self) -> Uuid {
        self.serial += 1;
        Uuid::from_u128(self.serial << 8)
    }

    fn cap(&mut self, key: Option<usize>, span: Span, limit: i64) {
        let id = CapId(self.fresh());
        self.book.set_cap(id, key.map(|key| self.keys[key]), span, amount(limit));
        self.model.set_cap(key, span, limit);
    }

    fn apply(&mut self, op: &Op) {
        match *op {
            Op::TopUp(micros) => {
                let (origin, at) = (self.fresh(), self.book.now());
                self.book.top_up(&self.entropy, origin, amount(micros), at).unwrap();
                self.topups.push((origin, self.model.lots.len()));
                self.model.top_up(micros);
            }
            Op::Grant { amount: micros, hours } => {
                let (origin, expires) = (self.fresh(), self.model.now + TimeDelta::hours(hours));
                let terms = terms(amount(micros), self.book.now(), expires);
                self.book.grant(&self.entropy, origin, &terms).unwrap();
                self.model.grant(micros, expires);
                self.model.pass(self.model.now);
            }
            Op::Pass { hours } => {
                let to = self.model.now + TimeDelta::hours(hours);
                self.book.set_time(to);
                self.book.expire_due(&self.entropy).unwrap();
                self.model.pass(to);
            }
            Op::Hold { key, ref items, slack } => self.hold(key, items, slack),
            Op::Capture { pick, amount } => self.capture(pick, amount),
            Op::Release { pick, amount } => self.release(pick, amount),
            Op::Reverse { pick, amount } => self.reverse(pick, amount),
            Op::Cap { key, span, limit } => self.cap(key, span, limit),
            Op::Freeze(frozen) => {
                self.book.set_frozen(frozen);
                self.model.frozen = frozen;
            }
            Op::Turn { pick, thaw } => self.turn(pick, thaw),
        }
    }

    fn turn(&mut self, pick: usize, thaw: bool) {
        let Some(n) = pick.checked_rem(self.topups.len()) else { return };
        let (origin, lot) = self.topups[n];
        let before = format!("{:?}", self.book);
        if self.model.lots[lot].lost.is_none() {
            self.book.reinstate(&self.entropy, origin).unwrap_err();
            assert_eq!(format!("{:?}", self.book), before);
            self.book.void(&self.entropy, origin).unwrap();
            self.model.void(lot);
        } else {
            self.book.void(&self.entropy, origin).unwrap_err();
            assert_eq!(format!("{:?}", self.book), before);
            self.book.reinstate(&self.entropy, origin).unwrap();
            self.model.reinstate(lot);
        }
        if thaw {
            self.book.set_frozen(false);
            self.model.frozen = false;
        }
    }

    fn hold(&mut self, key: usize, items: &[i64], slack: i64) {
        let total: i64 = items.iter().sum();
        let max_total = (total + slack).max(0);
        let requests: Vec<_> = items
            .iter()
            .map(|&micros| HoldRequest { id: HoldId(self.fresh()), amount: amount(micros) })
            .collect();
        let before = format!("{:?}", self.book);
        let max = amount(max_total);
        let got = self.book.place_holds(&self.entropy, self.keys[key], &requests, max);
        match (self.model.refusal(key, total, max_total), got) {
            (None, Ok(_)) => {
                items.iter().for_each(|&micros| self.model.hold(key, micros));
                self.holds.extend(requests.iter().map(|request| request.id));
                for &(of, span, limit) in &self.model.caps {
                    let over = of.is_none_or(|of| of == key) && self.model.used(of, span) > limit;
                    assert!(!over, "a cap is a cap: {of:?} {span:?} {limit}");
                }
            }
            (Some(expected), Err(Stop::Refused(refusal))) => {
                assert_eq!(sorted(refusal), sorted(expected));
                assert_eq!(format!("{:?}", self.book), before, "a refusal moves nothing");
            }
            (expected, got) => panic!("expected {expected:?}, got {got:?}"),
        }
    }

    fn capture(&mut self, pick: usize, micros: i64) {
        let Some(hold) = pick.checked_rem(self.holds.len()) else { return };
        let open = i64::try_from(self.model.holds[hold].open.len()).unwrap();
        let (id, capture) = (self.holds[hold], ChargeId(self.fresh()));
        let before = format!("{:?}", self.book);
        let got = self.book.capture(&self.entropy, id, capture, amount(micros));
        if micros == 0 || micros > open {
            assert_eq!(got, Err(Fault::HoldExceeded(id)));
            assert_eq!(format!("{:?}", self.book), before);
        } else {
            got.unwrap();
            self.model.capture(hold, micros);
            self.captures.push(capture);
        }
    }

    fn release(&mut self, pick: usize, micros: i64) {
        let Some(hold) = pick.checked_rem(self.holds.len()) else { return };
        let open = i64::try_from(self.model.holds[hold].open.len()).unwrap();
        let id = self.holds[hold];
        let before = format!("{:?}", self.book);
        let got = self.book.release(&self.entropy, id, amount(micros));
        if micros == 0 || micros > open {
            assert_eq!(got, Err(Fault::HoldExceeded(id)));
            assert_eq!(format!("{:?}", self.book), before);
        } else {
            got.unwrap();
            self.model.release(hold, micros);
        }
    }

    fn reverse(&mut self, pick: usize, micros: i64) {
        let Some(capture) = pick.checked_rem(self.captures.len()) else { return };
        let left = i64::try_from(self.model.captures[capture].units.len()).unwrap();
        let (id, subject) = (self.captures[capture], self.fresh());
        let before = format!("{:?}", self.book);
        let got = self.book.reverse(&self.entropy, id, subject, amount(micros));
        if micros == 0 || micros > left {
            got.unwrap_err();
            assert_eq!(format!("{:?}", self.book), before);
        } else {
            got.unwrap();
            self.model.reverse(capture, micros);
        }
    }

    fn agree(&self) {
        for role in Role::ALL {
            assert_eq!(self.book.balance(role).micros(), self.model.balance(role), "{role:?}");
        }
        let mut opened: Vec<_> = self.book.lots().map(|lot| lot.id).collect();
        opened.sort();
        let position = |id| opened.iter().position(|known| *known == id).unwrap();
        let plain = |lot: &Lot| model::Lot {
            paid: lot.paid,
            amount: lot.amount.micros(),
            left: lot.remaining.micros(),
            granted: lot.granted_at,
            expires: lot.expires_at,
            parent: lot.parent.map(position),
            lost: lot.lost.map(|lost| lost.micros()),
        };
        let lots: Vec<_> = self.book.lots().map(|lot| (position(lot.id), plain(lot))).collect();
        let expected = self.model.burn_order().into_iter();
        let expected: Vec<_> = expected.map(|n| (n, self.model.lots[n].clone())).collect();
        assert_eq!(lots, expected, "lots, as they burn");
        for (key, span) in [None, Some(0), Some(1)].iter().flat_map(|k| SPANS.map(|s| (*k, s))) {
            let used = self.book.used(key.map(|key| self.keys[key]), span).micros();
            assert_eq!(used, self.model.used(key, span), "{key:?} {span:?}");
        }
        for (n, id) in self.holds.iter().enumerate() {
            let open = self.book.hold(*id).unwrap().open().micros();
            assert_eq!(open, i64::try_from(self.model.holds[n].open.len()).unwrap());
        }
        self.journal_agrees();
    }

    /// The journal alone gives the balances, its versions have no gap, and each row's balances are
    /// those at that row.
    fn journal_agrees(&self) {
        let mut sums = Role::ALL.map(|role| (role, 0_i64));
        let mut book = |role: Role, micros: i64, debit: bool| {
            let (_, sum) = sums.iter_mut().find(|(of, _)| *of == role).unwrap();
            *sum += if role.grows_on_debit() == debit { micros } else { -micros };
            *sum
        };
        for (n, row) in self.book.transfers().iter().enumerate() {
            assert_eq!(row.version, i64::try_from(n + 1).unwrap());
            assert!(!row.amount.is_zero());
            assert_eq!(row.debit_after.micros(), book(row.debit, row.amount.micros(), true));
            assert_eq!(row.credit_after.micros(), book(row.credit, row.amount.micros(), false));
        }
        for (role, sum) in sums {
            assert_eq!(sum, self.book.balance(role).micros(), "{role:?}");
        }
    }
}

#[test]
fn a_book_agrees_with_the_model() {
    let ops = prop::collection::vec(op(), 1..60);
    let case = |ops: Vec<Op>| {
        let mut pair = Pair::new();
        for op in &ops {
            pair.apply(op);
            pair.agree();
        }
        Ok(())
    };
    scene::runner(400).run(&ops, case).unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn time_never_runs_backwards_in_a_book() {
    let mut pair = Pair::new();
    let start = pair.book.now();
    pair.book.set_time(start - TimeDelta::days(1));
    assert_eq!(pair.book.now(), start);
}
