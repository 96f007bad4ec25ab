//! Charges, reversals, results, items and checkouts against the ledger and each other. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use uuid::Uuid;

use crate::finance::checks::Rule;
use crate::finance::store::proof::sales::{ChargeRow, ItemRow, ResultRow};

use super::chart::{Chart, Kind};
use super::finding::{Findings, shown};
use super::holds::sum_of;
use super::subjects::{Key, Subjects};

/// Compares every charge and checkout of a step.
pub(super) fn compare(chart: &Chart, all: &Subjects, findings: &mut Findings) {
    for key in &all.wanted.captures {
        charge(all, *key, findings);
    }
    reversals(chart, all, findings);
    results(all, findings);
    items(all, findings);
    prices(all, findings);
    catalog(all, findings);
    totals(all, findings);
}

/// A charge is a capture, at units times price.
fn charge(all: &Subjects, key: Key, findings: &mut Findings) {
    let (charge, capture) = (all.charges.get(&key), all.captures.get(&key));
    let (rule, book, id) = (Rule::ChargesMatchCaptures, key.0, shown("chg", key.1));
    let (Some(charge), Some(capture)) = (charge, capture) else {
        let amounts = (capture.map(|c| c.amount), charge.map(|c| c.amount));
        if amounts != (None, None) {
            let figure = |amount: Option<i64>| i128::from(amount.unwrap_or(0));
            let subject = format!("amount of {id}");
            findings.add(rule, book, subject, Some((figure(amounts.0), figure(amounts.1))));
        }
        return;
    };
    let amount = i128::from(charge.amount);
    let subject = format_args!("amount of {id}");
    findings.compare(rule, book, subject, i128::from(capture.amount), amount);
    let subject = format_args!("reversed part of {id}");
    let (returned, reversed) = (i128::from(capture.reversed), i128::from(charge.reversed));
    findings.compare(rule, book, subject, returned, reversed);
    let price = i128::from(charge.quantity) * i128::from(charge.unit_price);
    let subject = format_args!("amount by units and price of {id}");
    findings.compare(rule, book, subject, price, amount);
    if charge.transaction_id != capture.transaction_id {
        findings.add(rule, book, format!("{id} names another transaction than its capture"), None);
    }
}

/// What is reversed of a charge is the sum of its reversals, and each was booked.
fn reversals(chart: &Chart, all: &Subjects, findings: &mut Findings) {
    let rule = Rule::ReversalsMatchCharges;
    let mut sums: HashMap<Key, i128> = HashMap::new();
    let mut acts: BTreeMap<(Key, Uuid), (i128, i128)> = BTreeMap::new();
    for row in &all.reversals {
        let key = (row.book_id, row.charge_id);
        *sums.entry(key).or_default() += i128::from(row.amount);
        acts.entry((key, row.transaction_id)).or_default().1 += i128::from(row.amount);
    }
    for key in &all.wanted.captures {
        let sum = sums.get(key).copied().unwrap_or(0);
        let reversed = all.charges.get(key).map_or(0, |charge| i128::from(charge.reversed));
        let subject = format_args!("reversed part of {}", shown("chg", key.1));
        findings.compare(rule, key.0, subject, sum, reversed);
        let entries = all.transfers_of(*key).iter();
        for entry in entries.filter(|entry| chart.kind(entry) == Kind::Reversal) {
            acts.entry((*key, entry.transaction_id)).or_default().0 += i128::from(entry.amount);
        }
    }
    for ((key, transaction), (booked, amount)) in acts {
        let (charge, act) = (shown("chg", key.1), shown("txn", transaction));
        let subject = format_args!("reversal of {charge} in {act}");
        findings.compare(rule, key.0, subject, booked, amount);
    }
}

type ResultKey<'a> = (Uuid, Uuid, &'a str);

/// Captured results have one charge for their accepted units, and others have none.
fn results(all: &Subjects, findings: &mut Findings) {
    let result_key = |r: &'_ ResultRow| (r.book_id, r.checkout_id);
    let results: BTreeMap<ResultKey<'_>, &ResultRow> = all
        .results
        .iter()
        .map(|r| ((result_key(r).0, result_key(r).1, r.result_id.as_str()), r))
        .collect();
    let charges: BTreeMap<ResultKey<'_>, &ChargeRow> = all
        .charges
        .values()
        .filter(|c| all.wanted.checkouts.contains(&(c.book_id, c.checkout_id)))
        .map(|c| ((c.book_id, c.checkout_id, c.result_id.as_str()), c))
        .collect();
    let keys: BTreeSet<_> = results.keys().chain(charges.keys()).copied().collect();
    for key in keys {
        let (result, charge) = (results.get(&key).copied(), charges.get(&key).copied());
        let agree = match (result, charge) {
            (Some(result), Some(charge)) if result.state == "captured" => {
                result.accepted == Some(charge.quantity)
                    && result.charge_id == Some(charge.charge_id)
                    && result.item == charge.item
            }
            (Some(result), None) => result.state != "captured" && result.accepted.unwrap_or(0) == 0,
            (_, charge) => charge.is_none(),
        };
        if !agree {
            findings.add(Rule::ResultsMatchCharges, key.0, told(key, result, charge), None);
        }
    }
}

fn told(key: ResultKey<'_>, result: Option<&ResultRow>, charge: Option<&ChargeRow>) -> String {
    let (_, checkout, name) = key;
    let state = result.map_or("missing", |r| r.state.as_str());
    let accepted = result.and_then(|r| r.accepted).unwrap_or(0);
    let charged = match charge {
        None => "nothing is charged".to_owned(),
        Some(charge)
            if result.and_then(|r| r.charge_id).is_some_and(|id| id != charge.charge_id) =>
        {
            "another charge is its own".to_owned()
        }
        Some(charge) => format!("{} are charged", charge.quantity),
    };
    let (name, checkout) = (serde_json::Value::from(name), shown("chk", checkout));
    format!("result {name} of {checkout} is {state} with {accepted} units accepted; {charged}")
}

type ItemKey = (Uuid, Uuid, i16);

fn item_key(item: &ItemRow) -> ItemKey {
    (item.book_id, item.checkout_id, item.item)
}

/// The units of every item are those of its results, and of its closing.
fn items(all: &Subjects, findings: &mut Findings) {
    let mut sums: BTreeMap<ItemKey, (i128, i128)> = BTreeMap::new();
    for result in &all.results {
        let sum = sums.entry((result.book_id, result.checkout_id, result.item)).or_default();
        sum.0 += i128::from(result.quantity);
        if result.state != "verifying" {
            sum.1 += i128::from(result.quantity);
        }
    }
    let mut compare = |key: ItemKey, what: &str, expected: i128, found: i128| {
        let subject = format_args!("units {what} of item {} of {}", key.2, shown("chk", key.1));
        findings.compare(Rule::ItemsMatchResults, key.0, subject, expected, found);
    };
    for item in &all.items {
        let key = item_key(item);
        let (submitted, decided) = sums.remove(&key).unwrap_or_default();
        let row = i128::from(item.submitted);
        let closing = if item.closed { i128::from(item.quantity) - row } else { 0 };
        compare(key, "submitted", submitted, row);
        compare(key, "settled", decided + closing, i128::from(item.settled));
    }
    for (key, (submitted, decided)) in sums {
        compare(key, "submitted", submitted, 0);
        compare(key, "settled", decided, 0);
    }
}

/// Every hold is an item's, and its parts are the prices of the item's units.
fn prices(all: &Subjects, findings: &mut Findings) {
    let mut accepted: HashMap<ItemKey, i128> = HashMap::new();
    for result in all.results.iter().filter(|result| result.state == "captured") {
        let key = (result.book_id, result.checkout_id, result.item);
        *accepted.entry(key).or_default() += i128::from(result.accepted.unwrap_or(0));
    }
    let items: HashMap<Key, &ItemRow> =
        all.items.iter().map(|item| ((item.book_id, item.hold_id), item)).collect();
    for key in &all.wanted.holds {
        let (item, hold) = (items.get(key), all.holds.get(key));
        let priced = |units: fn(&ItemRow) -> i64| {
            item.map_or(0, |item| i128::from(units(item)) * i128::from(item.unit_price))
        };
        let captured = item.map_or(0, |item| {
            let units = accepted.get(&item_key(item)).copied().unwrap_or(0);
            units * i128::from(item.unit_price)
        });
        let (amount, taken, released) = hold.map_or((0, 0, 0), |hold| {
            (i128::from(hold.amount), i128::from(hold.captured), i128::from(hold.released))
        });
        for (what, expected, found) in [
            ("amount", priced(|i| i.quantity), amount),
            ("captured part", captured, taken),
            ("settled part", priced(|i| i.settled), taken + released),
        ] {
            let subject = format_args!("{what} of {}", shown("hld", key.1));
            findings.compare(Rule::ItemsMatchHolds, key.0, subject, expected, found);
        }
    }
}

/// Every item was sold at the price of the version of its SKU that it names.
fn catalog(all: &Subjects, findings: &mut Findings) {
    for item in &all.items {
        let subject =
            format_args!("price of item {} of {}", item.item, shown("chk", item.checkout_id));
        let (listed, price) =
            (i128::from(item.listed_price.unwrap_or(0)), i128::from(item.unit_price));
        findings.compare(Rule::ItemsMatchCatalog, item.book_id, subject, listed, price);
    }
}

/// Every checkout's total is the price of its items.
fn totals(all: &Subjects, findings: &mut Findings) {
    let mut sums: HashMap<Key, i128> = HashMap::new();
    for item in &all.items {
        let price = i128::from(item.quantity) * i128::from(item.unit_price);
        *sums.entry((item.book_id, item.checkout_id)).or_default() += price;
    }
    for key in &all.wanted.checkouts {
        let sum = sums.get(key).copied().unwrap_or(0);
        let total = all.checkouts.get(key).map_or(0, |checkout| i128::from(checkout.total));
        let subject = format_args!("total of {}", shown("chk", key.1));
        findings.compare(Rule::CheckoutsMatchItems, key.0, subject, sum, total);
    }
}

/// What is charged by the charges' rows, less what is charged by their transfers.
pub(super) fn charged_beyond(chart: &Chart, all: &Subjects) -> BTreeMap<Uuid, i128> {
    let mut beyond: BTreeMap<Uuid, i128> = BTreeMap::new();
    for key in &all.wanted.captures {
        let row = all.charges.get(key);
        let row = row.map_or(0, |charge| i128::from(charge.amount) - i128::from(charge.reversed));
        let entries = all.transfers_of(*key);
        let booked = sum_of(chart, entries, Kind::Capture) - sum_of(chart, entries, Kind::Reversal);
        *beyond.entry(key.0).or_default() += row - booked;
    }
    beyond
}
