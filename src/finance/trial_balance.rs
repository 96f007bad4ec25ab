use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use serde::Serialize;
use utoipa::ToSchema;

use super::money::dollars;
use super::store::reports::RoleBalance;

/// All accounts at one moment. Amounts are decimal strings in dollars.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct TrialBalance {
    pub as_of: DateTime<Utc>,
    pub rows: Vec<TrialBalanceRow>,
    pub total_debit: String,
    pub total_credit: String,
    /// Whether both totals are the same.
    pub balanced: bool,
}

/// One role of the chart of accounts, over all books of the report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct TrialBalanceRow {
    pub account: String,
    pub kind: String,
    pub normal_side: String,
    pub debit: String,
    pub credit: String,
}

impl TrialBalance {
    pub(super) fn of(as_of: DateTime<Utc>, balances: Vec<RoleBalance>) -> Self {
        let (mut total_debit, mut total_credit) = (Decimal::ZERO, Decimal::ZERO);
        let mut rows = Vec::with_capacity(balances.len());
        for balance in balances {
            let (debit, credit) = sides(&balance);
            total_debit = total_debit.saturating_add(debit);
            total_credit = total_credit.saturating_add(credit);
            rows.push(TrialBalanceRow {
                account: balance.account,
                kind: balance.kind,
                normal_side: balance.normal_side,
                debit: dollars(debit),
                credit: dollars(credit),
            });
        }
        Self {
            as_of,
            rows,
            balanced: total_debit == total_credit,
            total_debit: dollars(total_debit),
            total_credit: dollars(total_credit),
        }
    }
}

/// A balance in its column. One below zero would stand in the other.
fn sides(balance: &RoleBalance) -> (Decimal, Decimal) {
    let grows_on_debit = balance.normal_side == "debit";
    if grows_on_debit != balance.micros.is_sign_negative() {
        (balance.micros.abs(), Decimal::ZERO)
    } else {
        (Decimal::ZERO, balance.micros.abs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn balance(side: &str, micros: i64) -> RoleBalance {
        RoleBalance {
            account: "x".to_owned(),
            kind: "asset".to_owned(),
            normal_side: side.to_owned(),
            micros: Decimal::from(micros),
        }
    }

    #[test]
    fn balances_stand_on_their_side_and_negative_ones_on_the_other() {
        let report = TrialBalance::of(
            DateTime::UNIX_EPOCH,
            vec![balance("debit", 7_000_000), balance("credit", 9_000_000), balance("credit", -5)],
        );
        let columns: Vec<_> =
            report.rows.iter().map(|r| (r.debit.as_str(), r.credit.as_str())).collect();
        assert_eq!(columns, [("7.00", "0.00"), ("0.00", "9.00"), ("0.000005", "0.00")]);
        assert_eq!((report.total_debit.as_str(), report.balanced), ("7.000005", false));
    }
}
