use chrono::{DateTime, Utc};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};
use uuid::{Builder, Uuid};

use crate::ground::{
    Amount, BookId, ChargeId, CheckoutId, DisputeId, EventId, GrantId, LotId, ReversalId, TopupId,
    WebhookId, sha256,
};

/// Every type of event, each with what it tells.
pub const KINDS: &[(&str, &str)] = &[
    ("grant.credited", "promotional credits were given, and their time has come"),
    ("topup.credited", "a payment arrived and is in the balance"),
    ("topup.rejected", "a payment that was sent turned out not to have been taken"),
    ("topup.voided", "the chain dropped a payment: its credits are taken back"),
    ("topup.reinstated", "a dropped payment is there after all: its credits are back"),
    ("topup.lost", "a dropped payment can no longer arrive: its credits stay taken back"),
    ("checkout.opened", "credits are on hold for a checkout"),
    ("checkout.canceled", "what was not submitted yet went back"),
    ("item.expired", "an item of a checkout was not delivered in time and went back"),
    ("result.submitted", "a result of a checkout waits for its verdict"),
    ("result.accepted", "units of a result were accepted"),
    ("result.released", "a result was rejected or not judged in time, and went back"),
    ("charge.captured", "accepted units were charged"),
    ("charge.disputed", "the buyer disputed a charge, whole or in part"),
    ("charge.dispute_upheld", "a dispute was upheld, and what it is about was given back"),
    ("charge.dispute_denied", "a dispute was denied, and the charge stands"),
    ("charge.reversed", "a charge was given back, whole or in part"),
    ("lot.expiring", "credits expire within seven days"),
    ("lot.expired", "the rest of a grant of credits expired"),
    ("balance.low", "what is available fell below the threshold of a webhook"),
];

/// A type of event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Kind(&'static str);

impl Kind {
    /// Its name.
    pub const fn name(self) -> &'static str {
        self.0
    }
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let known = KINDS.iter().find(|(name, _)| *name == text);
        known.map(|(name, _)| Self(name)).ok_or_else(|| D::Error::custom("no such type of event"))
    }
}

impl PartialSchema for Kind {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some("A type of event"))
            .enum_values(Some(KINDS.iter().map(|(name, _)| *name)))
            .into()
    }
}

impl ToSchema for Kind {}

/// Something that happened in an account: the same from the feed, from a webhook, and each time that
/// it is sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Event {
    /// Its id, which webhooks send as `webhook-id`: whoever has seen it has seen the event.
    pub id: EventId,
    /// What happened. Ignore types that you do not know.
    #[serde(rename = "type")]
    #[schema(example = "charge.captured")]
    pub kind: String,
    /// When it was recorded.
    pub timestamp: DateTime<Utc>,
    /// Its number in the account: 1, 2, 3 and so on, without gaps.
    pub seq: i64,
    /// Whose it is.
    pub account_id: BookId,
    /// What it happened to.
    pub data: EventData,
}

/// What an event happened to: an id that can be read in the API, and which part of it where it has
/// several.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct EventData {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topup_id: Option<TopupId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkout_id: Option<CheckoutId>,
    /// The result of the checkout, as whoever delivered it named it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result_id: Option<String>,
    /// The item's number in the checkout.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub item: Option<i16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub charge_id: Option<ChargeId>,
    /// The reversal of the charge.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reversal_id: Option<ReversalId>,
    /// The dispute of the charge.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dispute_id: Option<DisputeId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lot_id: Option<LotId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grant_id: Option<GrantId>,
    /// The webhook whose threshold it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook_id: Option<WebhookId>,
    /// How much was credited, charged or expired, as the ledger has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub amount: Option<Amount>,
}

/// A row of the outbox.
pub(super) struct Row {
    pub(super) seq: i64,
    pub(super) kind: String,
    pub(super) subject_id: Uuid,
    pub(super) detail: Option<String>,
    pub(super) recorded_at: DateTime<Utc>,
    pub(super) amount: Option<i64>,
}

impl Row {
    pub(super) fn event(self, account: BookId) -> Event {
        Event {
            id: event_id(account, self.seq, &self.kind, self.recorded_at),
            data: data(&self.kind, self.subject_id, self.detail, self.amount),
            kind: self.kind,
            timestamp: self.recorded_at,
            seq: self.seq,
            account_id: account,
        }
    }
}

/// The id of an event, made of its row. The time is part of it: after a restore from a backup a number
/// may come again, and is another event.
pub(super) fn event_id(
    account: BookId,
    seq: i64,
    kind: &str,
    recorded_at: DateTime<Utc>,
) -> EventId {
    let hash = sha256([
        b"event".as_slice(),
        account.0.as_bytes(),
        &seq.to_be_bytes(),
        kind.as_bytes(),
        &recorded_at.timestamp_micros().to_be_bytes(),
    ]);
    let mut bytes = [0; 16];
    for (to, from) in bytes.iter_mut().zip(hash) {
        *to = from;
    }
    bytes[15] = account.slot().0;
    EventId(Builder::from_custom_bytes(bytes).into_uuid())
}

/// The first word of a type says what its subject is.
fn data(kind: &str, subject: Uuid, detail: Option<String>, amount: Option<i64>) -> EventData {
    let mut data = EventData { amount: amount.and_then(Amount::from_micros), ..Default::default() };
    match kind.split('.').next() {
        Some("topup") => data.topup_id = Some(TopupId(subject)),
        Some("checkout" | "item" | "result") => data.checkout_id = Some(CheckoutId(subject)),
        Some("charge") => data.charge_id = Some(ChargeId(subject)),
        Some("lot") => data.lot_id = Some(LotId(subject)),
        Some("balance") => data.webhook_id = Some(WebhookId(subject)),
        Some("grant") => data.grant_id = Some(GrantId(subject)),
        Some(_) | None => {}
    }
    let Some(detail) = detail else { return data };
    match kind {
        "item.expired" => data.item = detail.parse().ok(),
        "charge.reversed" => data.reversal_id = detail.parse().ok(),
        _ if kind.starts_with("charge.dispute") => data.dispute_id = detail.parse().ok(),
        _ if kind.starts_with("result.") => data.result_id = Some(detail),
        _ => {}
    }
    data
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_says_what_it_happened_to() {
        let account = BookId(Uuid::from_u128(0x77));
        for (kind, _) in KINDS {
            let row = |seq, micros| Row {
                seq,
                kind: (*kind).to_owned(),
                subject_id: account.0,
                detail: None,
                recorded_at: DateTime::from_timestamp_micros(micros).unwrap(),
                amount: None,
            };
            let event = row(1, 5).event(account);
            assert_eq!(event.id.slot(), account.slot());
            assert_eq!(event.id, row(1, 5).event(account).id);
            assert_ne!(event.id, row(2, 5).event(account).id);
            assert_ne!(event.id, row(1, 6).event(account).id);
            let json = serde_json::to_value(&event.data).unwrap();
            assert_eq!(json.as_object().unwrap().len(), 1, "{kind} {json}");
            assert!(serde_json::from_str::<Kind>(&format!("{kind:?}")).is_ok());
        }
        assert!(serde_json::from_str::<Kind>("\"topup\"").is_err());
    }
}
