use super::Address;

/// Why a payment does not answer our terms.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// The chain is not among those offered.
    #[error("network {got} is not offered, only {}", .offered.join(", "))]
    NetworkNotOffered {
        /// The chains offered in the payment's version.
        offered: Vec<&'static str>,
        /// The payment's.
        got: &'static str,
    },
    /// The accepted terms are not ours.
    #[error("accepted.{field} is {got}, expected {expected}")]
    Accepted {
        /// Which field differs.
        field: String,
        /// Ours, as JSON; `null` if we have no such field.
        expected: String,
        /// The payment's, as JSON, perhaps cut short.
        got: String,
    },
    /// An extension came back with something of ours changed.
    #[error("extension {extension} was not sent back as it was offered")]
    ExtensionEcho {
        /// Which one.
        extension: String,
    },
    /// The payment is meant for something else.
    #[error("the payment is for {got}, expected {expected}")]
    Resource {
        /// Ours.
        expected: String,
        /// The payment's, perhaps cut short.
        got: String,
    },
    /// The signed recipient is not ours.
    #[error("the payment goes to {got}, expected {expected}")]
    Recipient {
        /// Ours.
        expected: Address,
        /// The payment's.
        got: Address,
    },
    /// The signed amount is not exactly ours.
    #[error("the payment is over {got} atomic units, expected {expected}")]
    Amount {
        /// Ours.
        expected: u128,
        /// The payment's.
        got: u128,
    },
    /// The wallet that is paid would pay itself.
    #[error("{payer} cannot pay itself")]
    SelfPayment {
        /// Who.
        payer: Address,
    },
    /// The authorization begins in the future.
    #[error("the payment is valid only after {valid_after}, and it is {now}")]
    NotYetValid {
        /// When it begins, in seconds since the epoch.
        valid_after: u64,
        /// The time.
        now: u64,
    },
    /// The authorization is over, or will be before it could be settled.
    #[error("the payment is valid only before {valid_before}, which must be after {needed}")]
    ExpiresTooSoon {
        /// When it ends, in seconds since the epoch.
        valid_before: u64,
        /// What the end must be after.
        needed: u64,
    },
    /// The authorization is good for so long that its fate could stay open for too long.
    #[error("the payment is valid until {valid_before}, at most {allowed} is accepted")]
    LivesTooLong {
        /// When it ends, in seconds since the epoch.
        valid_before: u64,
        /// The latest end that is accepted.
        allowed: u64,
    },
}

impl Mismatch {
    /// A stable name of the fact.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NetworkNotOffered { .. } => "network_not_offered",
            Self::Accepted { .. } => "accepted_terms_mismatch",
            Self::ExtensionEcho { .. } => "extension_echo_mismatch",
            Self::Resource { .. } => "resource_mismatch",
            Self::Recipient { .. } => "recipient_mismatch",
            Self::Amount { .. } => "amount_mismatch",
            Self::SelfPayment { .. } => "self_payment",
            Self::NotYetValid { .. } => "payment_not_yet_valid",
            Self::ExpiresTooSoon { .. } => "payment_expires_too_soon",
            Self::LivesTooLong { .. } => "payment_lives_too_long",
        }
    }
}
