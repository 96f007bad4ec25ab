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

/// Compares a book: its row, where it is walked to its end, and its sums with what the rows of the step
/// say beyond their transfers.
pub(super) fn compare(chart: &Chart, window: &Window, beyond: &Beyond, findings: &mut Findings) {
    let book = window.book();
    // Before the end the row's figures stand for those that the walk would come to.
    let walked =
        |role: &str| if window.ends() { window.balance(role) } else { window.row_balance(role) };
    if window.ends() {
        for (role, found) in ROLES.iter().zip(&window.row.balances) {
            let (rule, expected) = (Rule::BalancesMatchTransfers, window.balance(role));
            findings.compare(rule, book, role, expected, i128::from(*found));
        }
        let [debit, credit] = chart.sides(&window.row.balances);
        findings.compare(Rule::TrialBalance, book, "credit balances", debit, credit);
        for (subject, role, beyond) in [
            ("left of paid lots", "prepaid", pair(&beyond.left, book)[0]),
            ("left of promotional lots", "promo", pair(&beyond.left, book)[1]),
        ] {
            let (expected, found) = (window.row_balance(role), walked(role) + beyond);
            findings.compare(Rule::LotsMatchBalances, book, subject, expected, found);
        }
    }
    for (subject, role, beyond) in [
        ("open holds of paid credits", "held", pair(&beyond.open, book)[0]),
        ("open holds of promotional credits", "promo_held", pair(&beyond.open, book)[1]),
    ] {
        let (expected, found) = (window.row_balance(role), walked(role) + beyond);
        findings.compare(Rule::HoldsMatchBalances, book, subject, expected, found);
    }
    if !window.row.house {
        let (rule, role) = (Rule::TopupsMatchSettled, "settled_usdc");
        let expected = walked(role) + one(&beyond.credited, book);
        findings.compare(rule, book, role, expected, window.row_balance(role));
    }
    let net = |balance: &dyn Fn(&str) -> i128| balance("revenue") - balance("reversed_revenue");
    let expected = net(&walked) + one(&beyond.charged, book);
    let found = net(&|role| window.row_balance(role));
    let subject = "revenue and promotional use";
    let spent = window.promo_spent;
    findings.compare(Rule::ChargesMatchRevenue, book, subject, expected + spent, found + spent);
}

fn pair(of: &BTreeMap<Uuid, [i128; 2]>, book: Uuid) -> [i128; 2] {
    of.get(&book).copied().unwrap_or_default()
}

fn one(of: &BTreeMap<Uuid, i128>, book: Uuid) -> i128 {
    of.get(&book).copied().unwrap_or_default()
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
