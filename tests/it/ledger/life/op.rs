use std::ops::Range;

use bursar::ledger::Span;
use proptest::prelude::*;

use crate::ledger::book::SPANS;

/// What a result delivers.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    pub item: usize,
    pub quantity: i64,
    /// Whether its evidence meets the schema.
    pub meets: bool,
}

fn part() -> impl Strategy<Value = Part> {
    (0..3_usize, mostly(1..2, 2..7), prop::bool::weighted(0.85))
        .prop_map(|(item, quantity, meets)| Part { item, quantity, meets })
}

/// What may happen. `pick` chooses among what there is.
#[derive(Clone, Debug)]
pub enum Op {
    TopUp(i64),
    Grant {
        amount: i64,
        hours: i64,
    },
    Open {
        key: usize,
        quantities: [i64; 3],
        slack: i64,
    },
    Quote {
        key: usize,
        quantities: [i64; 3],
    },
    Accept {
        pick: usize,
        key: usize,
        /// How far `max_total` is from the quoted total, when it is named.
        slack: Option<i64>,
    },
    /// Quotes an order and, if there is a quote, accepts it at once.
    Buy {
        key: usize,
        quantities: [i64; 3],
    },
    Relist {
        sku: usize,
        price: i64,
        active: bool,
    },
    /// Several results at once.
    Submit {
        pick: usize,
        parts: Vec<Part>,
        again: bool,
    },
    Judge {
        pick: usize,
        accepted: i64,
    },
    /// Submits a result and, if it is taken, judges it at once.
    Deliver {
        pick: usize,
        item: usize,
        quantity: i64,
        accepted: i64,
    },
    Cancel {
        pick: usize,
    },
    Pass {
        hours: i64,
    },
    Sweep,
    Reverse {
        pick: usize,
        amount: Option<i64>,
    },
    Dispute {
        pick: usize,
        amount: Option<i64>,
    },
    Decide {
        pick: usize,
        upheld: bool,
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
        /// Whether the operator lets the account go on.
        thaw: bool,
    },
    Replay {
        pick: usize,
    },
    Conflict {
        pick: usize,
    },
}

pub fn op() -> impl Strategy<Value = Op> {
    let scope = || prop_oneof![Just(None), Just(Some(0)), Just(Some(1))];
    let pick = any::<usize>;
    let again = || prop::bool::weighted(0.05);
    let quantities = || {
        prop::array::uniform3(mostly(0..3, 0..6))
            .prop_filter("an order has items", |quantities| quantities.iter().any(|n| *n > 0))
    };
    prop_oneof![
        6 => (1..30_i64).prop_map(Op::TopUp),
        6 => (1..30_i64, mostly(1..48, 48..900))
            .prop_map(|(amount, hours)| Op::Grant { amount, hours }),
        9 => (0..2_usize, quantities(), -1..60_i64)
            .prop_map(|(key, quantities, slack)| Op::Open { key, quantities, slack }),
        2 => (0..2_usize, quantities()).prop_map(|(key, quantities)| Op::Quote { key, quantities }),
        3 => (pick(), 0..2_usize, prop::option::of(-1..60_i64))
            .prop_map(|(pick, key, slack)| Op::Accept { pick, key, slack }),
        4 => (0..2_usize, quantities()).prop_map(|(key, quantities)| Op::Buy { key, quantities }),
        1 => (0..3_usize, 1..6_i64, prop::bool::weighted(0.9))
            .prop_map(|(sku, price, active)| Op::Relist { sku, price, active }),
        7 => (pick(), prop::collection::vec(part(), 1..4), again())
            .prop_map(|(pick, parts, again)| Op::Submit { pick, parts, again }),
        9 => (pick(), mostly(0..3, -1..6)).prop_map(|(pick, accepted)| Op::Judge { pick, accepted }),
        14 => (pick(), 0..3_usize, mostly(1..3, 3..7), mostly(1..3, -1..6))
            .prop_map(|(pick, item, quantity, accepted)| {
                Op::Deliver { pick, item, quantity, accepted }
            }),
        2 => pick().prop_map(|pick| Op::Cancel { pick }),
        6 => mostly(1..8, 20..200).prop_map(|hours| Op::Pass { hours }),
        3 => Just(Op::Sweep),
        6 => (pick(), prop::option::weighted(0.9, mostly(1..3, 3..12)))
            .prop_map(|(pick, amount)| Op::Reverse { pick, amount }),
        10 => (pick(), prop::option::weighted(0.9, mostly(1..3, 3..12)))
            .prop_map(|(pick, amount)| Op::Dispute { pick, amount }),
        8 => (pick(), any::<bool>()).prop_map(|(pick, upheld)| Op::Decide { pick, upheld }),
        2 => (scope(), prop::sample::select(SPANS.to_vec()), 0..250_i64)
            .prop_map(|(key, span, limit)| Op::Cap { key, span, limit }),
        1 => prop::bool::weighted(0.1).prop_map(Op::Freeze),
        3 => (pick(), prop::bool::weighted(0.9)).prop_map(|(pick, thaw)| Op::Turn { pick, thaw }),
        4 => pick().prop_map(|pick| Op::Replay { pick }),
        1 => pick().prop_map(|pick| Op::Conflict { pick }),
    ]
}

fn mostly(often: Range<i64>, seldom: Range<i64>) -> impl Strategy<Value = i64> {
    prop_oneof![7 => often, 1 => seldom]
}

/// A position among so many: mostly one of the last three, where something may still happen.
pub fn recent(pick: usize, among: usize) -> Option<usize> {
    let any = (pick / 8).checked_rem(among)?;
    let back = (pick / 8) % among.min(3);
    Some(if pick.is_multiple_of(8) { any } else { among - 1 - back })
}
