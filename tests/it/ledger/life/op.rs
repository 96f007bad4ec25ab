use std::ops::Range;

use bursar::ledger::Span;
use proptest::prelude::*;

use crate::ledger::book::SPANS;

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
    Submit {
        pick: usize,
        item: usize,
        quantity: i64,
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
    let quantities = prop::array::uniform3(mostly(0..3, 0..6))
        .prop_filter("an order has items", |quantities| quantities.iter().any(|n| *n > 0));
    prop_oneof![
        6 => (1..30_i64).prop_map(Op::TopUp),
        6 => (1..30_i64, mostly(1..48, 48..900))
            .prop_map(|(amount, hours)| Op::Grant { amount, hours }),
        12 => (0..2_usize, quantities, -1..60_i64)
            .prop_map(|(key, quantities, slack)| Op::Open { key, quantities, slack }),
        7 => (pick(), 0..3_usize, mostly(1..3, 3..7), again())
            .prop_map(|(pick, item, quantity, again)| Op::Submit { pick, item, quantity, again }),
        9 => (pick(), mostly(0..3, -1..6)).prop_map(|(pick, accepted)| Op::Judge { pick, accepted }),
        12 => (pick(), 0..3_usize, mostly(1..3, 3..7), mostly(1..3, -1..6))
            .prop_map(|(pick, item, quantity, accepted)| {
                Op::Deliver { pick, item, quantity, accepted }
            }),
        2 => pick().prop_map(|pick| Op::Cancel { pick }),
        6 => mostly(1..8, 20..200).prop_map(|hours| Op::Pass { hours }),
        3 => Just(Op::Sweep),
        9 => (pick(), prop::option::weighted(0.8, mostly(1..4, 4..12)))
            .prop_map(|(pick, amount)| Op::Reverse { pick, amount }),
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
