//! What the operator decides about a top-up that nobody else can decide about.

use serde_json::json;

use crate::ground::TopupId;
use crate::x402::chain::{ChainError, Finding};

use super::case::{At, Case, Paid};
use super::resolver::{Due, shown};
use super::step::{Note, Step};
use super::store;
use super::{PayError, TopUps, TopupEvent, TopupRecord, TopupState};

/// What an operator says of a payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ruling {
    /// It is there, in this transaction.
    Settled { transaction: String },
    /// Nothing was paid by it.
    Rejected,
}

/// Who says so, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ruled {
    pub by: String,
    pub why: String,
}

/// Why an operator's word is not taken.
#[derive(Debug, thiserror::Error)]
pub enum RulingError {
    #[error("there is no such top-up")]
    NoSuchTopup,
    #[error("it is {state}: {why}")]
    State { state: &'static str, why: &'static str },
    #[error("{0:?} is not a transaction's hash: 0x and 64 hexadecimal digits")]
    Transaction(String),
    #[error("the chain says otherwise: {0}")]
    Chain(String),
    #[error("the chain cannot be read")]
    Unread(#[source] ChainError),
    #[error("this top-up did not bring the payment: it is credited to the wallet that paid")]
    Stranger,
    #[error("somebody else works on it at this moment; try again")]
    Busy,
    #[error(transparent)]
    Pay(#[from] PayError),
}

impl From<sqlx::Error> for RulingError {
    fn from(error: sqlx::Error) -> Self {
        Self::Pay(error.into())
    }
}

impl TopUps {
    /// Decides a parked top-up; or one that was refused or rejected, where the chain proves that it
    /// was paid all the same. Where a chain is read, nothing is decided against it. A payment that is
    /// there is credited at once, or else by the resolver.
    pub async fn rule(
        &self,
        id: TopupId,
        ruling: &Ruling,
        ruled: &Ruled,
    ) -> Result<TopupRecord, RulingError> {
        self.refuse_while_restored().await?;
        let due = store::case_of(&self.0.pool, id).await?.ok_or(RulingError::NoSuchTopup)?;
        match ruling {
            Ruling::Rejected => self.rule_out(&due, ruled).await?,
            Ruling::Settled { transaction } => self.rule_in(&due, transaction, ruled).await?,
        }
        self.record(id).await?.ok_or(RulingError::NoSuchTopup)
    }

    async fn rule_out(&self, due: &Due, ruled: &Ruled) -> Result<(), RulingError> {
        let Due { case, at, .. } = due;
        if at.state != TopupState::Parked {
            let why = "only what is parked can be rejected";
            return Err(RulingError::State { state: at.state.name(), why });
        }
        let mut notes = Vec::new();
        if let Some(chain) = self.0.chain_of(case.network) {
            let sight = self.0.look(chain.as_ref(), case).await.map_err(RulingError::Unread)?;
            notes.push(self.0.note("chain", shown(&sight)));
            let over = case.is_over(sight.head.time, self.0.settings.resolving.margin);
            match &sight.finding {
                Finding::Paid { transaction, .. } => {
                    return Err(RulingError::Chain(format!("it was paid in {transaction}")));
                }
                Finding::Unused if !over => {
                    return Err(RulingError::Chain("it may still be settled".to_owned()));
                }
                Finding::Unused
                | Finding::Elsewhere { .. }
                | Finding::Canceled { .. }
                | Finding::Lost => {}
            }
        }
        let Ruled { by, why } = ruled;
        let step = Step {
            event: TopupEvent::Reject,
            reason: Some("rejected_by_operator"),
            transaction: None,
            detail: json!({ "reason": "rejected_by_operator", "by": by, "why": why }),
            notes,
        };
        self.0.advance(case, *at, &step).await?.ok_or(RulingError::Busy)?;
        Ok(())
    }

    async fn rule_in(
        &self,
        due: &Due,
        transaction: &str,
        ruled: &Ruled,
    ) -> Result<(), RulingError> {
        let Due { case, at, .. } = due;
        let (paid, note) = self.checked(case, *at, transaction).await?;
        if !case.sent && self.0.wallet_of(&case.payer).await? != case.account {
            return Err(RulingError::Stranger);
        }
        let Ruled { by, why } = ruled;
        let step = Step {
            event: TopupEvent::Settle,
            reason: Some("settled_by_operator"),
            transaction: Some(&paid.transaction),
            detail: json!({
                "reason": "settled_by_operator", "by": by, "why": why,
                "transaction": paid.transaction,
            }),
            notes: vec![note],
        };
        let settled = self.0.advance(case, *at, &step).await?.ok_or(RulingError::Busy)?;
        Ok(self.0.credit(case, settled, paid).await?)
    }

    /// The payment that the operator says is there, as far as it can be checked.
    async fn checked(
        &self,
        case: &Case,
        at: At,
        transaction: &str,
    ) -> Result<(Paid, Note), RulingError> {
        let chain = self.0.chain_of(case.network);
        match (at.state, chain) {
            (TopupState::Parked, _) | (TopupState::Refused | TopupState::Rejected, Some(_)) => {}
            (state @ (TopupState::Refused | TopupState::Rejected), None) => {
                let why = "without a chain to read, only what is parked can be settled";
                return Err(RulingError::State { state: state.name(), why });
            }
            (
                state @ (TopupState::Claimed
                | TopupState::Settling
                | TopupState::Settled
                | TopupState::Credited
                | TopupState::Unknown),
                _,
            ) => {
                let why = "only what is parked, refused or rejected can be settled";
                return Err(RulingError::State { state: state.name(), why });
            }
        }
        let is_hash = transaction.strip_prefix("0x").is_some_and(|digits| {
            digits.len() == 64 && digits.bytes().all(|b| b.is_ascii_hexdigit())
        });
        if !is_hash {
            return Err(RulingError::Transaction(transaction.to_owned()));
        }
        let transaction = transaction.to_ascii_lowercase();
        let Some(chain) = chain else {
            let note = self.0.note("chain", json!({ "read": false }));
            return Ok((Paid { transaction, evidence: None }, note));
        };
        let sight = self.0.look(chain.as_ref(), case).await.map_err(RulingError::Unread)?;
        let note = self.0.note("chain", shown(&sight));
        let said = |words: &str| Err(RulingError::Chain(words.to_owned()));
        match sight.finding {
            Finding::Paid { transaction: found, evidence } if found == transaction => {
                Ok((Paid { transaction, evidence: Some(evidence) }, note))
            }
            Finding::Paid { transaction: found, .. } => said(&format!("it was paid in {found}")),
            Finding::Elsewhere { transaction: found, .. } => {
                said(&format!("its authorization moved something else, in {found}"))
            }
            Finding::Canceled { transaction: found, .. } => {
                said(&format!("its authorization was canceled, in {found}"))
            }
            Finding::Unused => said("its authorization is unused"),
            // The logs do not say where; the transaction itself may.
            Finding::Lost => match self.0.prove(case, &transaction).await {
                Ok(evidence) => Ok((Paid { transaction, evidence }, note)),
                Err(words) => said(&words),
            },
        }
    }
}
