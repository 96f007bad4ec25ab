use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::ground::{Amount, LotId, TransactionId};

use super::{Fault, Movement, Role};

/// One row of the journal: one debit, one credit, one positive amount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer {
    pub version: i64,
    pub transaction: TransactionId,
    /// What it belongs to: a top-up, grant, hold, capture or lot; a reversal belongs to its capture.
    pub subject: Uuid,
    pub lot: LotId,
    pub movement: Movement,
    pub debit: Role,
    pub credit: Role,
    pub amount: Amount,
    pub debit_after: Amount,
    pub credit_after: Amount,
    pub effective_at: DateTime<Utc>,
    /// The transaction that it undoes.
    pub reverses: Option<TransactionId>,
}

/// The balance of each role of a book, on its normal side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Balances([Amount; Role::ALL.len()]);

impl Balances {
    fn index(role: Role) -> usize {
        usize::try_from(role.sql()).unwrap_or(1).saturating_sub(1)
    }

    pub(super) fn get(&self, role: Role) -> Amount {
        self.0.get(Self::index(role)).copied().unwrap_or_default()
    }

    pub(super) fn set(&mut self, role: Role, amount: Amount) {
        if let Some(balance) = self.0.get_mut(Self::index(role)) {
            *balance = amount;
        }
    }

    /// Books one transfer and returns both balances after it.
    pub(super) fn apply(
        &mut self,
        debit: Role,
        credit: Role,
        amount: Amount,
    ) -> Result<(Amount, Amount), Fault> {
        let debit_after = moved(self.get(debit), amount, debit.grows_on_debit())?;
        let credit_after = moved(self.get(credit), amount, !credit.grows_on_debit())?;
        self.set(debit, debit_after);
        self.set(credit, credit_after);
        Ok((debit_after, credit_after))
    }
}

fn moved(balance: Amount, amount: Amount, grows: bool) -> Result<Amount, Fault> {
    if grows {
        balance.checked_add(amount).ok_or(Fault::Overflow)
    } else {
        balance.checked_sub(amount).ok_or(Fault::NegativeBalance)
    }
}
