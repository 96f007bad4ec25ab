//! The protocol's own objects, in its own spelling.
//!
//! Written without nulls and with absent fields left out, because strict readers refuse both. Read
//! leniently: unknown fields are ignored, null is absent.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The only payment scheme spoken here: exactly the asked amount, authorized by signature.
pub const EXACT: &str = "exact";

/// The document of a 402 in version 2, which travels in `PAYMENT-REQUIRED`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PaymentRequired {
    /// 2.
    pub x402_version: u8,
    /// Why payment is required, or why the last one was not accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What is sold.
    pub resource: ResourceInfo,
    /// The ways to pay, of which one is enough.
    pub accepts: Vec<Requirements>,
    /// What else the server understands, by extension.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extensions: Option<Map<String, Value>>,
}

/// What is sold.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourceInfo {
    /// Its absolute URL.
    pub url: String,
    /// What it is, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// What it answers with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mime_type: Option<String>,
    /// Who sells it: 1 to 32 printable ASCII characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_name: Option<String>,
    /// Up to five keywords.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<String>>,
    /// A picture of the service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icon_url: Option<String>,
}

/// One way to pay, in version 2.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Requirements {
    /// [`EXACT`].
    pub scheme: String,
    /// The CAIP-2 id of the chain.
    pub network: String,
    /// How much, in atomic units.
    pub amount: String,
    /// The token contract.
    pub asset: String,
    /// Who is paid.
    pub pay_to: String,
    /// How long a payment may take.
    pub max_timeout_seconds: u64,
    /// What the scheme needs besides: the name and version of the token's EIP-712 domain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extra: Option<Map<String, Value>>,
}

/// The document of a 402 in version 1, which is the body.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PaymentRequiredV1 {
    /// 1.
    pub x402_version: u8,
    /// Why payment is required, or why the last one was not accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The ways to pay, of which one is enough.
    pub accepts: Vec<RequirementsV1>,
}

/// One way to pay, in version 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RequirementsV1 {
    /// [`EXACT`].
    pub scheme: String,
    /// The name of the chain in version 1.
    pub network: String,
    /// How much, in atomic units.
    pub max_amount_required: String,
    /// The absolute URL of what is sold.
    pub resource: String,
    /// What it is, for people.
    pub description: String,
    /// What it answers with. Optional in the protocol, but its last clients insist on it.
    #[serde(default)]
    pub mime_type: String,
    /// How to call it. Never null: the last clients refuse that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_schema: Option<Map<String, Value>>,
    /// Who is paid.
    pub pay_to: String,
    /// How long a payment may take.
    pub max_timeout_seconds: u64,
    /// The token contract.
    pub asset: String,
    /// The name and version of the token's EIP-712 domain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extra: Option<Map<String, Value>>,
}

/// A payment of either version, as `PAYMENT-SIGNATURE` and `X-PAYMENT` carry it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PaymentPayload {
    /// 1 or 2.
    pub x402_version: u64,
    /// Version 1: the scheme.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheme: Option<String>,
    /// Version 1: the name of the chain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// Version 2: what the buyer believes to buy. Neither signed nor checked by the client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<Map<String, Value>>,
    /// Version 2: the way to pay that the buyer chose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted: Option<Map<String, Value>>,
    /// What the scheme needs: signature and authorization.
    pub payload: Map<String, Value>,
    /// Version 2: the server's extensions, with what the buyer added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extensions: Option<Map<String, Value>>,
}

/// What is asked of a facilitator's `/verify` and `/settle`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FacilitatorRequest {
    /// The version of both objects.
    pub x402_version: u8,
    /// The payment.
    pub payment_payload: Value,
    /// The seller's own terms.
    pub payment_requirements: Value,
}

/// A facilitator's answer to `/settle`, and the content of `PAYMENT-RESPONSE`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", try_from = "Value")]
pub struct SettleResponse {
    /// Whether the money moved.
    pub success: bool,
    /// The transaction; empty when nothing was broadcast.
    pub transaction: String,
    /// The chain, in the spelling of the payment's version.
    pub network: String,
    /// A code for why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_reason: Option<String>,
    /// The same for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_message: Option<String>,
    /// Who paid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payer: Option<String>,
    /// How much moved, in atomic units.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub amount: Option<String>,
    /// What extensions of the protocol add.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extensions: Option<Map<String, Value>>,
    /// What the scheme adds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extra: Option<Map<String, Value>>,
}

/// A facilitator's answer to `/verify`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", try_from = "Value")]
pub struct VerifyResponse {
    /// Whether the payment would settle at this moment.
    pub is_valid: bool,
    /// A code for why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub invalid_reason: Option<String>,
    /// The same for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub invalid_message: Option<String>,
    /// Who pays.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payer: Option<String>,
}

/// A body that is no answer of a facilitator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the body has no boolean `{field}`")]
pub struct NotAnAnswer {
    /// What an answer must have.
    pub field: &'static str,
}

impl TryFrom<Value> for SettleResponse {
    type Error = NotAnAnswer;

    /// Whatever else is odd, a body with `success` is an answer: losing one loses money.
    fn try_from(body: Value) -> Result<Self, NotAnAnswer> {
        let field = "success";
        let success = body.get(field).and_then(Value::as_bool).ok_or(NotAnAnswer { field })?;
        Ok(Self {
            success,
            transaction: text(&body, &["transaction"]).unwrap_or_default(),
            network: text(&body, &["network"]).unwrap_or_default(),
            error_reason: text(&body, &["errorReason", "error_reason"]),
            error_message: text(&body, &["errorMessage", "error_message"]),
            payer: text(&body, &["payer"]),
            amount: text(&body, &["amount"]),
            extensions: body.get("extensions").and_then(Value::as_object).cloned(),
            extra: body.get("extra").and_then(Value::as_object).cloned(),
        })
    }
}

impl TryFrom<Value> for VerifyResponse {
    type Error = NotAnAnswer;

    fn try_from(body: Value) -> Result<Self, NotAnAnswer> {
        let names = ["isValid", "is_valid"];
        let valid = names.iter().find_map(|name| body.get(name).and_then(Value::as_bool));
        Ok(Self {
            is_valid: valid.ok_or(NotAnAnswer { field: "isValid" })?,
            invalid_reason: text(&body, &["invalidReason", "invalid_reason"]),
            invalid_message: text(&body, &["invalidMessage", "invalid_message"]),
            payer: text(&body, &["payer"]),
        })
    }
}

/// The first of the fields that holds a text or a number.
fn text(body: &Value, names: &[&str]) -> Option<String> {
    names.iter().find_map(|name| match body.get(name)? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    })
}

/// Leaves out every null member of every object, because some facilitators refuse null where a
/// field may be absent.
pub fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, field| !field.is_null());
            fields.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::x402::header;
    use crate::x402::vectors::VECTORS;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn captured_challenges_read_back() {
        let v2 = VECTORS.pointer("/payment_required_v2/decoded").unwrap();
        let read: PaymentRequired = serde_json::from_value(v2.clone()).unwrap();
        assert_eq!(serde_json::to_value(read).unwrap(), *v2);
        let v1 = VECTORS.pointer("/payment_required_v1").unwrap();
        let read: PaymentRequiredV1 = serde_json::from_value(v1.clone()).unwrap();
        assert_eq!(serde_json::to_value(read).unwrap(), *v1);
    }

    #[test]
    fn captured_payments_read_back() {
        for payment in VECTORS["payments"].as_object().unwrap().values() {
            let read: PaymentPayload = serde_json::from_value(payment["decoded"].clone()).unwrap();
            assert_eq!(serde_json::to_value(read).unwrap(), payment["decoded"]);
        }
    }

    #[test]
    fn answers_are_read_leniently() {
        let read = |body: Value| serde_json::from_value::<SettleResponse>(body);
        let refused = read(json!({
            "success": false, "transaction": null, "error_reason": "insufficient_funds",
            "errorMessage": null, "payer": null, "paymentId": "x", "extensionResponses": {},
        }))
        .unwrap();
        assert_eq!(refused.transaction, "");
        assert_eq!(refused.error_reason.as_deref(), Some("insufficient_funds"));
        let written = json!({
            "success": false, "transaction": "", "network": "", "errorReason": "insufficient_funds",
        });
        assert_eq!(serde_json::to_value(&refused).unwrap(), written);
        assert_eq!(read(json!({"success": true, "amount": 5})).unwrap().amount.unwrap(), "5");
        assert!(read(json!({"success": "true"})).is_err());
        assert!(read(json!({"error": "boom"})).is_err());
        assert!(read(json!("success")).is_err());
        let verify: VerifyResponse =
            serde_json::from_value(json!({"isValid": false, "invalidReason": "x"})).unwrap();
        assert_eq!((verify.is_valid, verify.invalid_reason.as_deref()), (false, Some("x")));
        assert!(serde_json::from_value::<VerifyResponse>(json!({"success": true})).is_err());
    }

    #[test]
    fn nulls_are_dropped_at_every_depth() {
        let mut value = json!({"a": null, "b": {"c": null, "d": [null, {"e": null}]}});
        drop_nulls(&mut value);
        assert_eq!(value, json!({"b": {"d": [null, {}]}}));
    }

    proptest! {
        #[test]
        fn settle_answers_round_trip(
            success: bool, transaction in "\\PC*", network in "\\PC*",
            error_reason in proptest::option::of("\\PC*"), payer in proptest::option::of("\\PC*"),
        ) {
            let rest = SettleResponse::default();
            let answer =
                SettleResponse { success, transaction, network, error_reason, payer, ..rest };
            let read: SettleResponse = header::decode(&header::encode(&answer)).unwrap();
            prop_assert_eq!(read, answer);
        }
    }
}
