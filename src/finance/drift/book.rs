//! A book's row against what its transfers and its rows add up to. Pure.

use std::collections::{BTreeMap, HashMap};

use uuid::Uuid;

use crate::finance::checks::Rule;
use crate::finance::store::proof::books::Entry;

use super::chart::{Chart, Kind, ROLES};
use super::finding::{Findings, shown};
use super::subjects::{Key, Subjects};
use super::window::{Walked, Window};

/// By how much the rows of a step say more than their transfers do, by book.
pub(super) struct Beyond {
    pub(super) left: BTreeMap<Uuid, [i128; 2]>,
    pub(super) open: BTreeMap<Uuid, [i128; 2]>,
    pub(super) credited: BTreeMap<Uuid, i128>,
    pub(super) charged: BTreeMap<Uuid, i128>,
}

/// Compares a book that is walked to its end.
pub(super) fn compare(chart: &Chart, window: &Window, beyond: &Beyond, findings: &mut Findings) {
    let book = window.book();
    for (role, found) in ROLES.iter().zip(&window.row.balances) {
        let (rule, expected) = (Rule::BalancesMatchTransfers, window.balance(role));
        findings.compare(rule, book, role, expected, i128::from(*found));
    }
    let [debit, credit] = chart.sides(&window.row.balances);
    findings.compare(Rule::TrialBalance, book, "credit balances", debit, credit);

    let pair = |of: &BTreeMap<Uuid, [i128; 2]>| of.get(&book).copied().unwrap_or_default();
    let one = |of: &BTreeMap<Uuid, i128>| of.get(&book).copied().unwrap_or_default();
    let [paid, promo] = pair(&beyond.left);
    let [held, promo_held] = pair(&beyond.open);
    for (rule, subject, role, beyond) in [
        (Rule::LotsMatchBalances, "left of paid lots", "prepaid", paid),
        (Rule::LotsMatchBalances, "left of promotional lots", "promo", promo),
        (Rule::HoldsMatchBalances, "open holds of paid credits", "held", held),
        (Rule::HoldsMatchBalances, "open holds of promotional credits", "promo_held", promo_held),
    ] {
        let found = window.balance(role) + beyond;
        findings.compare(rule, book, subject, window.row_balance(role), found);
    }
    if !window.row.house {
        let (rule, role) = (Rule::TopupsMatchSettled, "settled_usdc");
        let expected = window.balance(role) + one(&beyond.credited);
        findings.compare(rule, book, role, expected, window.row_balance(role));
    }
    let net = |balance: &dyn Fn(&str) -> i128| balance("revenue") - balance("reversed_revenue");
    let expected = net(&|role| window.balance(role)) + one(&beyond.charged);
    let found = net(&|role| window.row_balance(role));
    let subject = "revenue and promotional use";
    let spent = window.promo_spent;
    findings.compare(Rule::ChargesMatchRevenue, book, subject, expected + spent, found + spent);
}

impl Chart {
    /// The debit and the credit balances of a row.
    fn sides(&self, balances: &[i64]) -> [i128; 2] {
        let mut sides = [0; 2];
        for role in self.all_roles() {
            let balance = role.place.and_then(|place| balances.get(place)).copied();
            sides[usize::from(!role.grows_on_debit)] += i128::from(balance.unwrap_or(0));
        }
        sides
    }
}

/// What a transaction undoes exists, belongs to the same thing, came before it, and can be undone by
/// it: a capture by a reversal, a hold by a release.
pub(super) fn reverses(chart: &Chart, all: &Subjects, walked: &Walked, findings: &mut Findings) {
    let mut here: HashMap<Key, Vec<&Entry>> = HashMap::new();
    for entry in &walked.undoing {
        here.entry((entry.book_id, entry.subject_id)).or_default().push(entry);
    }
    for (key, entries) in here {
        for entry in entries {
            let (undoes, name) = match chart.kind(entry) {
                Kind::Release => (Kind::Hold, "hold"),
                Kind::Reversal => (Kind::Capture, "capture"),
                _ => (Kind::Unlisted, ""),
            };
            let undone = all.transfers_of(key).iter().any(|other| {
                chart.kind(other) == undoes
                    && Some(other.transaction_id) == entry.reverses_id
                    && other.version < entry.version
            });
            if undone && undoes != Kind::Unlisted {
                continue;
            }
            let version = entry.version;
            let subject = match entry.reverses_id.map(|id| shown("txn", id)) {
                Some(id) if undoes == Kind::Unlisted => {
                    format!("version {version} undoes {id}, and its movement undoes nothing")
                }
                Some(id) => {
                    format!("version {version} undoes {id}, and no earlier {name} is called so")
                }
                None => format!("version {version} says no {name} that it undoes"),
            };
            findings.add(Rule::ReversesExist, entry.book_id, subject, None);
        }
    }
}
