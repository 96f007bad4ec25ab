//! What an answer says of a top-up, and to whom.
//!
//! Showing a payment proves nothing: after settlement the signature is public on the chain. To whoever
//! merely shows one, or asks by one of its names, an answer tells what the chain tells as well, and to
//! everybody else as much as [`Share`] says.

use actix_web::http::header::{HeaderName, HeaderValue};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::accounts::{KeyRole, Principal};
use crate::ground::{Amount, BookId, Mode, TopupId};
use crate::http::state::AppState;
use crate::http::{Code, Problem};
use crate::ledger;
use crate::x402::header::encode;
use crate::x402::topup::{Outcome, SettlementRecord, TopupRecord, TopupState};
use crate::x402::wire::SettleResponse;
use crate::x402::{Network, Version};

/// How the caller comes to this top-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It brought the payment.
    Brought,
    /// It brought the payment for an account that it merely named, or another request sent it.
    Gave,
    /// It shows a payment that is known already, signed by the payer.
    Signed,
    /// It shows a payment that is known already.
    Replayed,
    /// It asks by id, or by another name.
    Looked,
}

/// How much of a top-up its reader is told. Each includes the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Share {
    /// What becomes public anyway.
    Public,
    /// How it goes: for whoever brings the payment.
    Course,
    /// Whose it is, and what that account has.
    Account,
    /// What the facilitator and the chain said.
    Whole,
}

impl Share {
    pub(super) fn of(record: &TopupRecord, caller: Option<&Principal>, standing: Standing) -> Self {
        let owner = caller.is_some_and(|caller| caller.account == record.account);
        let operator = caller.is_some_and(|caller| caller.role == KeyRole::Operator);
        match standing {
            Standing::Looked if owner || operator => Self::Whole,
            Standing::Brought | Standing::Gave | Standing::Signed | Standing::Replayed if owner => {
                Self::Account
            }
            // Before it is credited, nobody knows whose money it is.
            Standing::Brought if record.state == TopupState::Credited => Self::Account,
            Standing::Brought | Standing::Gave => Self::Course,
            // What was not taken is on no chain: only its signer has the signature.
            Standing::Signed if record.outcome() == Outcome::NotTaken => Self::Course,
            Standing::Signed | Standing::Replayed | Standing::Looked => Self::Public,
        }
    }
}

/// A top-up. Without a key of the credited account, a payment that is shown again or looked up has no
/// more than `topup_id`, `status`, `amount`, `payer`, `network`, `transaction`, `mode` and
/// `status_url`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct TopupView {
    #[schema(value_type = TopupId)]
    pub topup_id: String,
    /// `credited`; `claimed`, `settling`, `settled`, `unknown` or `parked` while the outcome is open;
    /// `refused` or `rejected` when nothing was taken for it; `voided` when the chain dropped its
    /// settlement after it was credited, so that its credits are taken back, and `lost` when it can
    /// come no more. What is voided is credited again when its settlement is there again for good.
    pub status: String,
    #[schema(value_type = Amount)]
    pub amount: String,
    pub payer: String,
    /// CAIP-2.
    pub network: String,
    /// The settlement's transaction on the chain, once it is known.
    pub transaction: Option<String>,
    pub mode: Mode,
    pub status_url: String,
    /// What was credited: the amount while it is credited, else 0.00. Only for the credited account,
    /// the operator, and the request that brings the payment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Amount>)]
    pub credited: Option<String>,
    /// Why it was refused, rejected or voided, or is unknown. Only for the credited account, the
    /// operator, and the request that brings the payment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Where the paying wallet gets a key for its account, by signing. Only for the credited account,
    /// the operator, and the request that brings the payment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim_url: Option<String>,
    /// Only for the credited account, the operator, and the request that brings the payment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub created_at: Option<DateTime<Utc>>,
    /// Once it is credited. Only for the credited account, the operator, and the request that brings
    /// the payment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub credited_at: Option<DateTime<Utc>>,
    /// The account's available credits. Only for the credited account, the operator, and the request
    /// that brings the payment, once that is credited and unless it merely named the account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Amount>)]
    pub balance: Option<String>,
    /// For whom `balance` is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<BookId>)]
    pub account_id: Option<String>,
    /// What the chain shows of the settlement, where it is read. Only for a look by the credited
    /// account or the operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settlement: Option<SettlementView>,
    /// What the facilitator and the chain said. Only for a look by the credited account or the
    /// operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit: Option<Vec<AuditView>>,
}

impl TopupView {
    /// What anybody may read.
    fn public(state: &AppState, record: &TopupRecord) -> Self {
        Self {
            topup_id: record.id.to_string(),
            status: record.status().to_owned(),
            amount: record.amount.to_string(),
            payer: record.payer.clone(),
            network: record.network.clone(),
            transaction: record.settlement_tx.clone(),
            mode: state.mode,
            status_url: state.url(&format!("/api/v1/topups/{}", record.id)),
            credited: None,
            reason: None,
            claim_url: None,
            created_at: None,
            credited_at: None,
            balance: None,
            account_id: None,
            settlement: None,
            audit: None,
        }
    }

    fn with_course(self, state: &AppState, record: &TopupRecord) -> Self {
        let credited = match record.outcome() {
            Outcome::Credited => record.amount,
            Outcome::Open | Outcome::NotTaken | Outcome::Lost => Amount::ZERO,
        };
        Self {
            credited: Some(credited.to_string()),
            reason: record.reason().map(str::to_owned),
            claim_url: (!record.keyed).then(|| state.url("/api/v1/wallets/claim")),
            created_at: Some(record.created_at),
            credited_at: record.credited_at.filter(|_| !record.is_voided()),
            ..self
        }
    }

    async fn with_account(self, state: &AppState, record: &TopupRecord) -> Result<Self, Problem> {
        let balance = available(state, record).await?.to_string();
        let account_id = Some(record.account.to_string());
        Ok(Self { balance: Some(balance), account_id, ..self })
    }

    async fn with_trail(self, state: &AppState, record: &TopupRecord) -> Result<Self, Problem> {
        let seen = state.topups.settlement(record.id).await.map_err(super::problem)?;
        let entries = state.topups.audit(record.id).await.map_err(super::problem)?;
        let audit = entries.into_iter().map(|entry| AuditView {
            recorded_at: entry.recorded_at,
            kind: entry.kind,
            detail: entry.detail,
        });
        let settlement = seen.map(SettlementView::of);
        Ok(Self { settlement, audit: Some(audit.collect()), ..self })
    }
}

/// A settlement as the chain shows it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct SettlementView {
    /// `seen` until it is deep enough to stay, then `confirmed`; `missing` while it is in no block;
    /// `void` when it has been gone for too long: its credits are taken back and the account is
    /// frozen; `returned` when it turns up after that, then `reinstated` with its credits; `lost`
    /// when it no longer can.
    pub standing: String,
    pub transaction: String,
    #[schema(value_type = Amount)]
    pub amount: String,
    pub payer: String,
    pub block_number: u64,
    pub block_hash: String,
    #[schema(value_type = Option<String>)]
    pub block_time: Option<DateTime<Utc>>,
    /// The index in the block of the log of the transfer.
    pub log_index: u64,
    /// How many blocks it was seen in, one after the other.
    pub sightings: i32,
    /// The highest block up to which it was looked at.
    pub head: u64,
}

impl SettlementView {
    fn of(record: SettlementRecord) -> Self {
        let SettlementRecord { standing, sighting, sightings, amount, payer, head, .. } = record;
        Self {
            standing: standing.name().to_owned(),
            transaction: sighting.transaction,
            amount: amount.to_string(),
            payer,
            block_number: sighting.block_number,
            block_hash: sighting.block_hash,
            block_time: sighting.block_time,
            log_index: sighting.log_index,
            sightings,
            head,
        }
    }
}

/// One entry of the audit trail.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct AuditView {
    #[schema(value_type = String)]
    pub recorded_at: DateTime<Utc>,
    /// The state that the top-up entered; `verify` and `settle` for what the facilitator answered,
    /// `chain` for what the chain showed; or how its settlement stands since: `settlement_…`.
    pub kind: String,
    #[schema(value_type = Object)]
    pub detail: serde_json::Value,
}

/// What this share of the top-up tells.
pub(super) async fn view(
    state: &AppState,
    record: &TopupRecord,
    share: Share,
) -> Result<TopupView, Problem> {
    let mut view = TopupView::public(state, record);
    if share >= Share::Course {
        view = view.with_course(state, record);
    }
    if share >= Share::Account {
        view = view.with_account(state, record).await?;
    }
    if share >= Share::Whole {
        view = view.with_trail(state, record).await?;
    }
    Ok(view)
}

async fn available(state: &AppState, record: &TopupRecord) -> Result<Amount, Problem> {
    let balance = ledger::balance(&state.pool, record.account).await;
    let balance = balance.map_err(|error| Problem::fault(Code::Unavailable, &error))?;
    let balance = balance.unwrap_or_default();
    Ok(balance.paid.checked_add(balance.promotional).unwrap_or(Amount::MAX))
}

/// Whether it was an outage that kept it from being sent: the same payment may simply come again.
pub(super) fn is_outage(record: &TopupRecord) -> bool {
    let outages = ["facilitator_unavailable", "chain_unavailable", "interrupted"];
    record.state == TopupState::Refused && record.reason().is_some_and(|r| outages.contains(&r))
}

/// The receipt, in the version that the client speaks. The same authorization may have come in the
/// other one before.
pub(super) fn receipt(record: &TopupRecord, share: Share, version: Version) -> String {
    let network = match version {
        Version::V2 => record.network.clone(),
        Version::V1 => {
            let known = Network::by_caip2(&record.network).and_then(|network| network.v1_name);
            known.map_or_else(|| record.network.clone(), str::to_owned)
        }
    };
    let (success, error_reason) = match record.outcome() {
        Outcome::Credited => (true, None),
        // What the chain dropped, it may still take up: nobody is to pay again.
        Outcome::Open => (false, Some("settlement_pending")),
        Outcome::NotTaken | Outcome::Lost => (false, Some(refusal(record, share))),
    };
    encode(&SettleResponse {
        success,
        transaction: record.settlement_tx.clone().unwrap_or_default(),
        network,
        error_reason: error_reason.map(str::to_owned),
        payer: Some(record.payer.clone()),
        amount: success.then(|| record.amount.micros().to_string()),
        ..SettleResponse::default()
    })
}

/// Why it was not taken, as much as this share tells.
pub(super) fn refusal(record: &TopupRecord, share: Share) -> &str {
    let reason = record.reason().filter(|_| share >= Share::Course);
    reason.unwrap_or("payment_rejected")
}

/// Base64 is always a valid header value.
pub(super) fn header_value(text: String) -> HeaderValue {
    HeaderValue::try_from(text).expect("base64 is visible ASCII")
}

/// The header that carries the receipt.
pub(super) fn receipt_header(version: Version) -> HeaderName {
    match version {
        Version::V1 => HeaderName::from_static("x-payment-response"),
        Version::V2 => HeaderName::from_static("payment-response"),
    }
}
