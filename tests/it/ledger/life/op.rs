use bursar::ledger::Span;
use proptest::prelude::*;

use crate::ledger::book::SPANS;

/// What may happen. `pick` chooses among what there is.
#[derive(Clone, Debug)]
pub enum Op {
    TopUp(i64),
    Grant { amount: i64, days: i64 },
    Open { key: usize, quantities: [i64; 3], slack: i64 },
    Submit { pick: usize, item: usize, quantity: i64, again: bool },
    Judge { pick: usize, accepted: i64 },
    Cancel { pick: usize },
    Pass { hours: i64 },
    Sweep,
    Reverse { pick: usize, amount: Option<i64> },
    Cap { key: Option<usize>, span: Span, limit: i64 },
    Freeze(bool),
    Replay { pick: usize },
    Conflict { pick: usize },
}

pub fn op() -> impl Strategy<Value = Op> {
    let scope = || prop_oneof![Just(None), Just(Some(0)), Just(Some(1))];
    let pick = any::<usize>;
    let quantities = prop::array::uniform3(0..6_i64)
        .prop_filter("an order has items", |quantities| quantities.iter().any(|n| *n > 0));
    prop_oneof![
        3 => (1..80_i64).prop_map(Op::TopUp),
        3 => (1..80_i64, 1..35_i64).prop_map(|(amount, days)| Op::Grant { amount, days }),
        6 => (0..2_usize, quantities, -4..60_i64)
            .prop_map(|(key, quantities, slack)| Op::Open { key, quantities, slack }),
        8 => (pick(), 0..3_usize, 1..6_i64, prop::bool::weighted(0.1))
            .prop_map(|(pick, item, quantity, again)| Op::Submit { pick, item, quantity, again }),
        8 => (pick(), -1..6_i64).prop_map(|(pick, accepted)| Op::Judge { pick, accepted }),
        2 => pick().prop_map(|pick| Op::Cancel { pick }),
        3 => prop_oneof![1..9_i64, 1..300_i64].prop_map(|hours| Op::Pass { hours }),
        2 => Just(Op::Sweep),
        4 => (pick(), prop::option::weighted(0.8, 1..9_i64))
            .prop_map(|(pick, amount)| Op::Reverse { pick, amount }),
        2 => (scope(), prop::sample::select(SPANS.to_vec()), 0..60_i64)
            .prop_map(|(key, span, limit)| Op::Cap { key, span, limit }),
        1 => prop::bool::weighted(0.2).prop_map(Op::Freeze),
        3 => pick().prop_map(|pick| Op::Replay { pick }),
        1 => pick().prop_map(|pick| Op::Conflict { pick }),
    ]
}
