//! What an account must have, after everything that it was told.

use std::collections::{BTreeMap, BTreeSet};

use bursar::ground::Amount;
use serde_json::Value;

use super::site::World;
use crate::support::dice::Dice;

pub fn micros(value: &Value) -> i64 {
    value.as_str().unwrap().parse::<Amount>().unwrap().micros()
}

/// Sums of answers, in micro-dollars.
#[derive(Debug, Default)]
pub struct Sums {
    granted: i64,
    pub released: i64,
    topups: BTreeMap<String, i64>,
    checkouts: BTreeMap<String, i64>,
    /// Each charge with what was reversed of it.
    charges: BTreeMap<String, (i64, i64)>,
}

impl Sums {
    pub fn of(granted: i64) -> Self {
        Self { granted, ..Self::default() }
    }

    pub fn opened(&mut self, checkout: &str, total: i64) {
        assert_eq!(self.checkouts.insert(checkout.to_owned(), total), None);
    }

    pub fn charged(&mut self, charge: &str, amount: i64) {
        assert_eq!(self.charges.insert(charge.to_owned(), (amount, 0)), None);
    }

    pub fn credited(&mut self, topup: &str, amount: i64) {
        assert_eq!(self.topups.insert(topup.to_owned(), amount), None);
    }

    pub fn reversed(&mut self, charge: &str, amount: i64) {
        self.charges.get_mut(charge).unwrap().1 += amount;
    }

    /// Some charge that is not reversed as a whole, and what is left of it.
    pub fn reversible(&self, dice: &mut Dice) -> Option<(String, i64)> {
        let left = |(charge, (amount, reversed)): (&String, &(i64, i64))| {
            (amount > reversed).then(|| (charge.clone(), amount - reversed))
        };
        let open: Vec<_> = self.charges.iter().filter_map(left).collect();
        (!open.is_empty()).then(|| dice.pick(&open).clone())
    }

    /// Balance, history, charges and checkouts say the same, and nothing besides.
    pub async fn agree(&self, world: &World, key: &str) {
        let topped: i64 = self.topups.values().sum();
        let opened: i64 = self.checkouts.values().sum();
        let captured: i64 = self.charges.values().map(|(amount, _)| amount).sum();
        let reversed: i64 = self.charges.values().map(|(_, reversed)| reversed).sum();
        let credits = world.get("/api/v1/credits", key).await;
        let held = opened - captured - self.released;
        let available = self.granted + topped - opened + self.released + reversed;
        let told = ["available", "held"].map(|name| micros(&credits[name]));
        assert_eq!(told, [available, held], "{self:?}");

        let history = list(world, "/api/v1/credits/history", key).await;
        let mut moved: BTreeMap<&str, i64> = BTreeMap::new();
        for (n, entry) in history.iter().rev().enumerate() {
            assert_eq!(entry["seq"], n + 1, "no gap");
            *moved.entry(entry["movement"].as_str().unwrap()).or_default() +=
                micros(&entry["amount"]);
        }
        let expected = [
            ("grant", self.granted),
            ("topup", topped),
            ("hold", opened),
            ("capture", captured),
            ("release", self.released),
            ("reversal", reversed),
        ];
        let expected: BTreeMap<_, _> = expected.into_iter().filter(|(_, sum)| *sum > 0).collect();
        assert_eq!(moved, expected, "the history adds up");

        let charges = list(world, "/api/v1/charges", key).await;
        let charges: BTreeMap<_, _> = charges
            .iter()
            .map(|charge| {
                let figures = (micros(&charge["amount"]), micros(&charge["reversed"]));
                (charge["charge_id"].as_str().unwrap().to_owned(), figures)
            })
            .collect();
        assert_eq!(charges, self.charges, "the charges are those that were told");

        let checkouts = list(world, "/api/v1/checkouts", key).await;
        let id = |line: &Value| line["checkout_id"].as_str().unwrap().to_owned();
        let checkouts: BTreeSet<String> = checkouts.iter().map(id).collect();
        assert!(checkouts.iter().eq(self.checkouts.keys()), "the checkouts are those told");
    }
}

/// A whole list, page by page.
async fn list(world: &World, path: &str, key: &str) -> Vec<Value> {
    let (mut all, mut after) = (Vec::new(), String::new());
    loop {
        let mut page = world.get(&format!("{path}?limit=100{after}"), key).await;
        all.append(page["data"].as_array_mut().unwrap());
        match page["next_cursor"].as_str() {
            Some(cursor) => after = format!("&after={cursor}"),
            None => return all,
        }
    }
}
