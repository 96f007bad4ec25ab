//! Random lists of commands with fixed ids, for a real engine and for the model.

use std::sync::Arc;

use bursar::ground::{BookId, CapId, ChargeId, HoldId, KeyId};
use bursar::ledger::{Command, HoldRequest, Outcome, Span, SubmitError};
use chrono::TimeDelta;
use proptest::prelude::*;
use uuid::Uuid;

use super::book::SPANS;
use super::commands::{Act, Verb};
use super::model::{Model, Time, amount};

pub type Reply = Result<Outcome, SubmitError>;

/// A command, with indices instead of ids.
#[derive(Clone, Debug)]
pub enum Plan {
    TopUp(i64),
    Grant {
        amount: i64,
        days: i64,
    },
    Hold {
        key: usize,
        items: Vec<i64>,
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
    /// A payment turns out to be void, or to be there after all.
    Turn {
        pick: usize,
        there: bool,
    },
    NothingDue,
    /// Sends an earlier command again, with the same request or another under its key.
    Again {
        pick: usize,
        same: bool,
    },
}

pub fn plan() -> impl Strategy<Value = Plan> {
    let scope = prop_oneof![Just(None), Just(Some(0)), Just(Some(1))];
    let pick = any::<usize>;
    prop_oneof![
        3 => (1..40_i64).prop_map(Plan::TopUp),
        3 => (1..40_i64, 0..3_i64).prop_map(|(amount, days)| Plan::Grant { amount, days }),
        6 => (0..2_usize, prop::collection::vec(1..20_i64, 1..4))
            .prop_map(|(key, items)| Plan::Hold { key, items }),
        5 => (pick(), 1..15_i64).prop_map(|(pick, amount)| Plan::Capture { pick, amount }),
        4 => (pick(), 1..15_i64).prop_map(|(pick, amount)| Plan::Release { pick, amount }),
        3 => (pick(), 1..15_i64).prop_map(|(pick, amount)| Plan::Reverse { pick, amount }),
        2 => (scope, prop::sample::select(SPANS.to_vec()), 0..80_i64)
            .prop_map(|(key, span, limit)| Plan::Cap { key, span, limit }),
        2 => prop::bool::weighted(0.2).prop_map(Plan::Freeze),
        2 => (pick(), prop::bool::weighted(0.3)).prop_map(|(pick, there)| Plan::Turn { pick, there }),
        1 => Just(Plan::NothingDue),
        3 => (pick(), prop::bool::weighted(0.8)).prop_map(|(pick, same)| Plan::Again { pick, same }),
    ]
}

/// Commands with fixed ids. Holds and captures are named whether or not they come to be.
pub fn commands(
    account: BookId,
    keys: [KeyId; 2],
    start: Time,
    plans: &[Plan],
) -> Vec<Arc<dyn Command>> {
    let id = |kind: u128, n: usize| {
        let slot = u128::from(account.slot().0);
        // Ids are of one book each; the books' own ids differ somewhere in their upper half.
        let of_book = account.0.as_u128() >> 80 << 80 ^ account.0.as_u128() << 80;
        Uuid::from_u128(of_book | kind << 64 | u128::try_from(n).unwrap() << 8 | slot)
    };
    let (mut holds, mut captures, mut topups) = (Vec::new(), Vec::new(), Vec::new());
    let mut acts: Vec<Act> = Vec::new();
    for (n, plan) in plans.iter().enumerate() {
        let some_hold = |pick: usize| HoldId(id(1, pick % holds.len().max(1)));
        let verb = match *plan {
            Plan::TopUp(micros) => {
                topups.push(format!("command {n}"));
                Verb::TopUp(amount(micros))
            }
            Plan::Turn { pick, there } => {
                let Some(of) = pick.checked_rem(topups.len()) else { continue };
                let topup = topups[of].clone();
                if there { Verb::Reinstate(topup) } else { Verb::Void(topup) }
            }
            Plan::Grant { amount: micros, days } => {
                Verb::Grant(amount(micros), start + TimeDelta::days(days))
            }
            Plan::Hold { key, ref items } => {
                let mut requests = Vec::new();
                for micros in items {
                    let hold = HoldId(id(1, holds.len()));
                    requests.push(HoldRequest { id: hold, amount: amount(*micros) });
                    holds.push(hold);
                }
                Verb::Hold { key: keys[key], holds: requests, max_total: amount(50) }
            }
            Plan::Capture { pick, amount: micros } => {
                let (hold, capture) = (some_hold(pick), ChargeId(id(2, captures.len())));
                captures.push(hold);
                Verb::Capture { hold, capture, amount: amount(micros) }
            }
            Plan::Release { pick, amount: micros } => {
                Verb::Release { hold: some_hold(pick), amount: amount(micros) }
            }
            Plan::Reverse { pick, amount: micros } => {
                let Some(of) = pick.checked_rem(captures.len()) else { continue };
                let (capture, hold) = (ChargeId(id(2, of)), captures[of]);
                Verb::Reverse { capture, hold, amount: amount(micros) }
            }
            Plan::Cap { key, span, limit } => {
                let id = CapId(id(3, n));
                Verb::Cap { id, key: key.map(|key| keys[key]), span, limit: amount(limit) }
            }
            Plan::Freeze(frozen) => Verb::Freeze(frozen),
            Plan::NothingDue => Verb::NothingDue,
            Plan::Again { pick, same } => {
                let Some(of) = pick.checked_rem(acts.len()) else { continue };
                let mut again = acts[of].clone();
                again.asked.push_str(if same { "" } else { " otherwise" });
                acts.push(again);
                continue;
            }
        };
        acts.push(Act::new(account, format!("command {n}"), verb));
    }
    acts.into_iter().map(|act| -> Arc<dyn Command> { Arc::new(act) }).collect()
}

/// What a command is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    Accepted,
    Refused,
    /// What the command was told before, with whether that was an acceptance.
    Again(bool),
    Conflict,
    /// Refused, and not remembered.
    Nothing,
}

/// Runs the plans of one book on the model, one after the other, and says what each of [`commands`]
/// is told.
pub fn on_model(start: Time, plans: &[Plan]) -> (Model, Vec<Told>) {
    let mut model = Model::new(start);
    let mut known = Named::default();
    // Which plan a command comes from, and whether its request is still that plan's.
    let mut acts: Vec<(usize, bool)> = Vec::new();
    let mut first: Vec<Option<Told>> = vec![None; plans.len()];
    let mut told = Vec::new();
    for (n, plan) in plans.iter().enumerate() {
        let (root, original) = match *plan {
            Plan::Again { pick, same } => {
                let Some(of) = pick.checked_rem(acts.len()) else { continue };
                (acts[of].0, acts[of].1 && same)
            }
            Plan::Reverse { .. } if known.captures.is_empty() => continue,
            Plan::Turn { .. } if known.topups.is_empty() => continue,
            _ => (n, true),
        };
        acts.push((root, original));
        let answer = match first[root] {
            None => decide(&mut model, &mut known, plan),
            Some(Told::Nothing) => Told::Nothing,
            Some(before) if original => Told::Again(before == Told::Accepted),
            Some(_) => Told::Conflict,
        };
        first[root].get_or_insert(answer);
        told.push(answer);
    }
    (model, told)
}

/// The model's holds and captures by the names that commands have for them.
#[derive(Default)]
struct Named {
    holds: Vec<Option<usize>>,
    captures: Vec<Option<usize>>,
    /// Their lots.
    topups: Vec<usize>,
}

fn decide(model: &mut Model, known: &mut Named, plan: &Plan) -> Told {
    let done = match *plan {
        Plan::TopUp(micros) => {
            known.topups.push(model.lots.len());
            model.top_up(micros);
            true
        }
        Plan::Grant { amount: micros, days } => {
            model.grant(micros, model.now + TimeDelta::days(days));
            model.pass(model.now);
            true
        }
        Plan::Hold { key, ref items } => {
            let placed = model.refusal(key, items.iter().sum(), 50).is_none();
            for micros in items {
                if placed {
                    model.hold(key, *micros);
                }
                known.holds.push(placed.then(|| model.holds.len() - 1));
            }
            placed
        }
        Plan::Capture { pick, amount: micros } => {
            let hold = open_hold(model, known, pick, micros);
            if let Some(hold) = hold {
                model.capture(hold, micros);
            }
            known.captures.push(hold.map(|_| model.captures.len() - 1));
            hold.is_some()
        }
        Plan::Release { pick, amount: micros } => {
            let hold = open_hold(model, known, pick, micros);
            if let Some(hold) = hold {
                model.release(hold, micros);
            }
            hold.is_some()
        }
        Plan::Reverse { pick, amount: micros } => {
            let capture = known.captures[pick % known.captures.len()];
            let left = |n: &usize| i64::try_from(model.captures[*n].units.len()).unwrap();
            let capture = capture.filter(|n| left(n) >= micros);
            if let Some(capture) = capture {
                model.reverse(capture, micros);
            }
            capture.is_some()
        }
        Plan::Cap { key, span, limit } => {
            model.set_cap(key, span, limit);
            true
        }
        Plan::Freeze(frozen) => {
            model.frozen = frozen;
            true
        }
        Plan::Turn { pick, there } => {
            let lot = known.topups[pick % known.topups.len()];
            let is_void = model.lots[lot].lost.is_some();
            match (is_void, there) {
                (false, false) => model.void(lot),
                (true, true) => model.reinstate(lot),
                (true, false) | (false, true) => return Told::Refused,
            }
            true
        }
        Plan::NothingDue => return Told::Nothing,
        Plan::Again { .. } => panic!("what comes again was decided before"),
    };
    if done { Told::Accepted } else { Told::Refused }
}

/// The hold that a command names, if so much of it is open.
fn open_hold(model: &Model, known: &Named, pick: usize, micros: i64) -> Option<usize> {
    let hold = known.holds.get(pick % known.holds.len().max(1)).copied().flatten()?;
    let open = i64::try_from(model.holds[hold].open.len()).unwrap();
    (micros <= open).then_some(hold)
}

/// What a reply amounts to.
pub fn told(reply: &Reply) -> Told {
    match reply {
        Ok(outcome) if outcome.replayed => Told::Again(outcome.accepted),
        Ok(outcome) if outcome.accepted => Told::Accepted,
        Ok(outcome) if outcome.body.is_empty() => Told::Nothing,
        Ok(_) => Told::Refused,
        Err(SubmitError::Conflict) => Told::Conflict,
        Err(error) => panic!("{error}"),
    }
}
