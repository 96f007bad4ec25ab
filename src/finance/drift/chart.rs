use std::collections::HashMap;

use crate::finance::store::proof::books::{Entry, MovementRow, RoleRow};

/// The roles whose balances a book's row carries, in the order in which they are read.
pub(super) const ROLES: [&str; 10] = [
    "settled_usdc",
    "prepaid",
    "held",
    "promo_issued",
    "promo",
    "promo_held",
    "revenue",
    "reversed_revenue",
    "breakage",
    "settlement_loss",
];

/// What a transfer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Topup,
    Grant,
    Hold,
    Capture,
    Release,
    Reversal,
    Expiry,
    Void,
    Reinstatement,
    /// Whatever moves only lots.
    Other,
    /// No movement of the chart.
    Unlisted,
}

/// A role of the chart.
#[derive(Clone, Debug)]
pub(super) struct Role {
    pub(super) name: String,
    /// Its place among the balances of a book.
    pub(super) place: Option<usize>,
    pub(super) grows_on_debit: bool,
}

/// The chart of accounts, as the database has it.
pub(super) struct Chart {
    movements: HashMap<(i16, i16, i16), Kind>,
    roles: HashMap<i16, Role>,
}

impl Chart {
    pub(super) fn of(movements: Vec<MovementRow>, roles: Vec<RoleRow>) -> Self {
        let kind = |name: &str| match name {
            "topup" => Kind::Topup,
            "grant" => Kind::Grant,
            "hold" => Kind::Hold,
            "capture" => Kind::Capture,
            "release" => Kind::Release,
            "reversal" => Kind::Reversal,
            "expiry" => Kind::Expiry,
            "void" => Kind::Void,
            "reinstatement" => Kind::Reinstatement,
            _ => Kind::Other,
        };
        let movements =
            movements.into_iter().map(|m| ((m.movement, m.debit, m.credit), kind(&m.name)));
        let roles = roles.into_iter().map(|r| {
            let place = ROLES.iter().position(|name| *name == r.name);
            (r.role, Role { name: r.name, place, grows_on_debit: r.debit })
        });
        Self { movements: movements.collect(), roles: roles.collect() }
    }

    pub(super) fn kind(&self, entry: &Entry) -> Kind {
        let key = (entry.movement, entry.debit, entry.credit);
        self.movements.get(&key).copied().unwrap_or(Kind::Unlisted)
    }

    pub(super) fn role(&self, number: i16) -> Option<&Role> {
        self.roles.get(&number)
    }

    pub(super) fn all_roles(&self) -> impl Iterator<Item = &Role> {
        self.roles.values()
    }

    /// Whether a transfer's debit or credit is the named role.
    pub(super) fn touches(&self, entry: &Entry, name: &str) -> bool {
        self.debits(entry, name) || self.credits(entry, name)
    }

    pub(super) fn debits(&self, entry: &Entry, name: &str) -> bool {
        self.role(entry.debit).is_some_and(|role| role.name == name)
    }

    pub(super) fn credits(&self, entry: &Entry, name: &str) -> bool {
        self.role(entry.credit).is_some_and(|role| role.name == name)
    }

    /// What a transfer loses of its lot, less what it brings back.
    pub(super) fn lost_of_lot(&self, entry: &Entry) -> i128 {
        let (out, back) =
            (self.debits(entry, "settlement_loss"), self.credits(entry, "settlement_loss"));
        i128::from(entry.amount) * (i128::from(out) - i128::from(back))
    }

    /// What a transfer makes available of its lot, less what it takes.
    pub(super) fn left_of_lot(&self, entry: &Entry) -> i128 {
        let available = ["prepaid", "promo"];
        let into = available.iter().any(|name| self.credits(entry, name));
        let out = available.iter().any(|name| self.debits(entry, name));
        i128::from(entry.amount) * (i128::from(into) - i128::from(out))
    }
}
