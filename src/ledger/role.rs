use serde::{Deserialize, Serialize};

/// A role of the chart of accounts: the same in every book.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// USDC received for this book (asset).
    SettledUsdc,
    /// Paid credits, available (liability).
    Prepaid,
    /// Paid credits on hold (liability).
    Held,
    /// Promotional credits in circulation (contra-liability).
    PromoIssued,
    /// Promotional credits, available (liability).
    Promo,
    /// Promotional credits on hold (liability).
    PromoHeld,
    /// Captured paid credits (income).
    Revenue,
    /// Captures given back (contra-income).
    ReversedRevenue,
    /// Expired paid credits (income).
    Breakage,
    /// Credits that were spent and whose settlement turned out to be void (expense).
    SettlementLoss,
}

impl Role {
    /// Every role, in the order of its number.
    pub const ALL: [Self; 10] = [
        Self::SettledUsdc,
        Self::Prepaid,
        Self::Held,
        Self::PromoIssued,
        Self::Promo,
        Self::PromoHeld,
        Self::Revenue,
        Self::ReversedRevenue,
        Self::Breakage,
        Self::SettlementLoss,
    ];

    /// The number in the table `role`.
    pub const fn sql(self) -> i16 {
        match self {
            Self::SettledUsdc => 1,
            Self::Prepaid => 2,
            Self::Held => 3,
            Self::PromoIssued => 4,
            Self::Promo => 5,
            Self::PromoHeld => 6,
            Self::Revenue => 7,
            Self::ReversedRevenue => 8,
            Self::Breakage => 9,
            Self::SettlementLoss => 10,
        }
    }

    /// Whether the role grows on debit. Balances are kept on the normal side.
    pub const fn grows_on_debit(self) -> bool {
        match self {
            Self::SettledUsdc
            | Self::PromoIssued
            | Self::ReversedRevenue
            | Self::SettlementLoss => true,
            Self::Prepaid
            | Self::Held
            | Self::Promo
            | Self::PromoHeld
            | Self::Revenue
            | Self::Breakage => false,
        }
    }

    /// The name in the table `role`, in exports and in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SettledUsdc => "settled_usdc",
            Self::Prepaid => "prepaid",
            Self::Held => "held",
            Self::PromoIssued => "promo_issued",
            Self::Promo => "promo",
            Self::PromoHeld => "promo_held",
            Self::Revenue => "revenue",
            Self::ReversedRevenue => "reversed_revenue",
            Self::Breakage => "breakage",
            Self::SettlementLoss => "settlement_loss",
        }
    }
}

/// Every way money moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Movement {
    /// A settled payment becomes paid credits.
    Topup,
    /// Promotional credits are given.
    Grant,
    /// Credits are reserved for a checkout item.
    Hold,
    /// A part of a hold is taken for good.
    Capture,
    /// A part of a hold goes back before capture.
    Release,
    /// A part of a capture goes back.
    Reversal,
    /// What is left of a lot expires.
    Expiry,
    /// A settled payment turns out not to be on the chain: what is left of its credits is taken
    /// back, and the rest is lost.
    Void,
    /// Credits of a void payment come back from a hold or a charge, and make up for the loss.
    Recovery,
    /// The money of a void payment has arrived after all.
    Reinstatement,
}

impl Movement {
    /// The number in the table `movement`.
    pub const fn sql(self) -> i16 {
        match self {
            Self::Topup => 1,
            Self::Grant => 2,
            Self::Hold => 3,
            Self::Capture => 4,
            Self::Release => 5,
            Self::Reversal => 6,
            Self::Expiry => 7,
            Self::Void => 8,
            Self::Recovery => 9,
            Self::Reinstatement => 10,
        }
    }

    /// The roles it debits and credits, for paid and for promotional lots. Promotional credits
    /// never touch revenue. A top-up is always paid and a grant never is. Of a void payment these
    /// are the roles of what is available; [`Self::loss_roles`] are those of what was spent.
    pub const fn roles(self, paid: bool) -> (Role, Role) {
        match (self, paid) {
            (Self::Topup, _) => (Role::SettledUsdc, Role::Prepaid),
            (Self::Grant, _) => (Role::PromoIssued, Role::Promo),
            (Self::Hold, true) => (Role::Prepaid, Role::Held),
            (Self::Hold, false) => (Role::Promo, Role::PromoHeld),
            (Self::Capture, true) => (Role::Held, Role::Revenue),
            (Self::Capture, false) => (Role::PromoHeld, Role::PromoIssued),
            (Self::Release, true) => (Role::Held, Role::Prepaid),
            (Self::Release, false) => (Role::PromoHeld, Role::Promo),
            (Self::Reversal, true) => (Role::ReversedRevenue, Role::Prepaid),
            (Self::Reversal, false) => (Role::PromoIssued, Role::Promo),
            (Self::Expiry, true) => (Role::Prepaid, Role::Breakage),
            (Self::Expiry, false) => (Role::Promo, Role::PromoIssued),
            (Self::Void, _) => (Role::Prepaid, Role::SettledUsdc),
            (Self::Recovery, _) => (Role::Prepaid, Role::SettlementLoss),
            (Self::Reinstatement, _) => (Role::SettledUsdc, Role::Prepaid),
        }
    }

    /// The roles for the part of a void payment that was spent; none for what touches no loss.
    pub const fn loss_roles(self) -> Option<(Role, Role)> {
        match self {
            Self::Void => Some((Role::SettlementLoss, Role::SettledUsdc)),
            Self::Reinstatement => Some((Role::SettledUsdc, Role::SettlementLoss)),
            Self::Topup
            | Self::Grant
            | Self::Hold
            | Self::Capture
            | Self::Release
            | Self::Reversal
            | Self::Expiry
            | Self::Recovery => None,
        }
    }
}
