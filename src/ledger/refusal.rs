use serde::{Deserialize, Serialize};

use crate::ground::{Amount, ChargeId, HoldId, LotId};

use super::CapViolation;

/// Why the ledger refused a command. A refusal moves nothing and is recorded with its command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum Refusal {
    #[error("the account is frozen")]
    AccountFrozen,
    #[error("the key is revoked")]
    KeyRevoked,
    #[error("the key has expired")]
    KeyExpired,
    #[error("the key may not buy {}", skus.join(", "))]
    SkuNotAllowed { skus: Vec<String> },
    #[error("the checkout needs {required} and {available} is available")]
    InsufficientCredits { required: Amount, available: Amount, shortfall: Amount },
    #[error("the checkout would pass {} cap(s)", violations.len())]
    CapExceeded { violations: Vec<CapViolation> },
    #[error("{requested} is more than the {left} left of the charge")]
    ReversalExceedsCharge { requested: Amount, left: Amount },
}

/// Something that cannot happen while the code and the database agree. The batch is abandoned.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("an amount does not fit")]
    Overflow,
    #[error("the lots disagree with the balances")]
    LotsDisagree,
    #[error("lot {0} was not read")]
    LotUnknown(LotId),
    #[error("hold {0} was not read")]
    HoldUnknown(HoldId),
    #[error("capture {0} was not read")]
    CaptureUnknown(ChargeId),
    #[error("more was asked of hold {0} than it has open")]
    HoldExceeded(HoldId),
    #[error("more was asked back than is left of capture {0}")]
    CaptureExceeded(ChargeId),
    #[error("the spender was not read")]
    SpenderUnknown,
    #[error("a balance would go below zero")]
    NegativeBalance,
    #[error("a refusal left something to write")]
    RefusalMoved,
    #[error("a row of another floor is missing: {0}")]
    Annex(&'static str),
}
