/// How the figures of a check are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::finance) enum Unit {
    Money,
    Count,
}

macro_rules! rules {
    ($($rule:ident, $name:literal, $unit:ident, $what:literal;)*) => {
        /// What must hold of the ledger, whoever checks it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Rule {
            $(#[doc = $what] $rule,)*
        }

        impl Rule {
            /// Every rule, in the order in which they are shown.
            pub const ALL: &'static [Self] = &[$(Self::$rule,)*];

            /// What the check of it is called.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$rule => $name,)*
                }
            }

            /// A sentence that is true when the check passes.
            pub const fn what(self) -> &'static str {
                match self {
                    $(Self::$rule => $what,)*
                }
            }

            pub(in crate::finance) const fn unit(self) -> Unit {
                match self {
                    $(Self::$rule => Unit::$unit,)*
                }
            }
        }
    };
}

rules! {
    BalancesMatchTransfers, "balances_match_transfers", Money,
        "The balance of every role of every book is the sum of its transfers.";
    TrialBalance, "trial_balance", Money,
        "Debit and credit balances of every book add up to the same.";
    VersionsGapFree, "versions_gap_free", Count,
        "Transfers are numbered without gaps, and the book's version counts them.";
    EventsGapFree, "events_gap_free", Count,
        "Outbox events are numbered without gaps, and the book's counter counts them.";
    EventsMatchActs, "events_match_acts", Count,
        "What outbox events tell of was done at their time, and what was done is told once.";
    RunningBalances, "running_balances", Money,
        "The balances after each transfer follow from the transfers up to it.";
    SnapshotsMatchTransfers, "snapshots_match_transfers", Money,
        "Every book has a snapshot at every 256th transfer, and it is the sum up to there.";
    RecordedInOrder, "recorded_in_order", Count,
        "Recorded times never go back within a book.";
    TransactionsWhole, "transactions_whole", Count,
        "A transaction lies in one book, is of one movement and was recorded at one time.";
    ReversesExist, "reverses_exist", Count,
        "What a transaction undoes exists, came before it, and can be undone by it.";
    LotsMatchBalances, "lots_match_balances", Money,
        "What is left of paid lots is `prepaid`, and of promotional lots `promo`.";
    LotsMatchTransfers, "lots_match_transfers", Money,
        "The amount and the rest of every lot are explained by its transfers.";
    LotsKeepKind, "lots_keep_kind", Count,
        "Paid lots move paid credits only, and promotional lots promotional ones.";
    HoldsMatchBalances, "holds_match_balances", Money,
        "What is open of holds is `held` and `promo_held`, by the lots they drew from.";
    HoldsMatchTransfers, "holds_match_transfers", Money,
        "The amount and the released part of every hold are the sums of its transfers.";
    DrawsMatchTransfers, "draws_match_transfers", Money,
        "Every hold drew from its lots what its transfers say.";
    HoldsMatchCaptures, "holds_match_captures", Money,
        "What is captured and reversed of a hold is the sum of its captures, end to end.";
    CapturesMatchTransfers, "captures_match_transfers", Money,
        "The amount and the reversed part of every capture are the sums of its transfers.";
    TopupsMatchSettled, "topups_match_settled", Money,
        "Every customer's credited top-ups, without void ones, add up to its `settled_usdc`.";
    TopupsMatchTransfers, "topups_match_transfers", Money,
        "Every credited top-up was booked once with its amount, a void one back, and no other.";
    GrantsMatchTransfers, "grants_match_transfers", Money,
        "Every credited grant was booked once with its amount as its lot, and no other.";
    LossesMatchLots, "losses_match_lots", Money,
        "What is lost of void settlements and has not come back is `settlement_loss`, lot by lot.";
    SandboxMatchesTopups, "sandbox_matches_topups", Money,
        "What the sandbox moved in a transaction is what was credited for it.";
    ChargesMatchRevenue, "charges_match_revenue", Money,
        "Charges less reversals are net revenue and what promotional credits paid.";
    ChargesMatchCaptures, "charges_match_captures", Money,
        "Every charge is a capture, at units times price.";
    ReversalsMatchCharges, "reversals_match_charges", Money,
        "What is reversed of a charge is the sum of its reversals, and each was booked.";
    DisputesMatchReversals, "disputes_match_reversals", Money,
        "Upheld disputes gave back what they are about, and no other gave anything back.";
    ResultsMatchCharges, "results_match_charges", Count,
        "Captured results have one charge for their accepted units, and others have none.";
    VerificationsMatchResults, "verifications_match_results", Count,
        "About every result the verifier of its SKU is asked, if it has one, and nobody else.";
    ItemsMatchResults, "items_match_results", Count,
        "The units of every item are those of its results, and of its closing.";
    ItemsMatchHolds, "items_match_holds", Money,
        "Every hold is an item's, and its parts are the prices of the item's units.";
    ItemsMatchCatalog, "items_match_catalog", Money,
        "Every item was sold at the price of the version of its SKU that it names.";
    CheckoutsMatchItems, "checkouts_match_items", Money,
        "Every checkout's total is the price of its items.";
    QuotesMatchCheckouts, "quotes_match_checkouts", Count,
        "Every accepted quote names a checkout of its own, which sells its lines at its prices.";
    CapUsage, "cap_usage", Money,
        "What caps have counted is what holds have not given back, in their UTC windows.";
}

impl Rule {
    /// The rule of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|rule| rule.name() == name)
    }
}
