//! A payment as a buyer presents it: decoded from its header, and which payment it is.

mod error;
mod identity;
mod version;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::ground::IdempotencyKey;
use crate::x402::header;
use crate::x402::wire::{EXACT, PaymentPayload, drop_nulls};
use crate::x402::{Address, Authorization, Network, eip712};

pub use error::PaymentError;
pub use identity::PaymentIdentity;
pub use version::Version;

/// One payment, decoded but not judged.
#[derive(Clone, Debug, PartialEq)]
pub struct Payment {
    /// The version it was sent in, and is answered in.
    pub version: Version,
    /// The chain it names.
    pub network: &'static Network,
    /// What was signed.
    pub authorization: Authorization,
    /// The signature: 65 bytes of a plain wallet, any other number of a contract wallet.
    pub signature: Vec<u8>,
    /// What goes to the facilitator: as decoded, without nulls, and with `payload` written anew
    /// from the two fields above, so that no other authorization can be settled than the one that
    /// was looked at here.
    pub payload: Value,
    /// Version 2: the terms that the buyer chose.
    pub accepted: Option<Map<String, Value>>,
    /// Version 2: the URL that the buyer believes to pay for, if it says so.
    pub resource_url: Option<String>,
    /// Version 2: the buyer's own name for the purchase, if it gives one.
    pub payment_identifier: Option<IdempotencyKey>,
    /// Version 2: the extensions that the buyer sent back.
    pub extensions: Map<String, Value>,
}

impl Payment {
    /// The payment in `PAYMENT-SIGNATURE` or, if that header is absent, in `X-PAYMENT`.
    pub fn from_headers(v2: Option<&str>, v1: Option<&str>) -> Result<Option<Self>, PaymentError> {
        let (version, text) = match (v2, v1) {
            (Some(text), _) => (Version::V2, text),
            (None, Some(text)) => (Version::V1, text),
            (None, None) => return Ok(None),
        };
        let undecodable = |source| PaymentError::Header { header: version.header(), source };
        let decoded: Value = header::decode(text).map_err(undecodable)?;
        Self::from_value(version, decoded).map(Some)
    }

    /// The payment in decoded JSON.
    pub fn from_value(version: Version, mut decoded: Value) -> Result<Self, PaymentError> {
        if !decoded.is_object() {
            return Err(PaymentError::NotAnObject);
        }
        if !is_keepable(&decoded, DEPTH_MAX) {
            return Err(PaymentError::Unkeepable { depth_max: DEPTH_MAX });
        }
        drop_nulls(&mut decoded);
        refuse_ambiguity(&decoded)?;
        let wire = PaymentPayload::deserialize(&decoded).map_err(PaymentError::Shape)?;
        if wire.x402_version != u64::from(version.number()) {
            let expected = version.number();
            return Err(PaymentError::Version { expected, got: wire.x402_version });
        }
        let network = network_of(version, &wire)?;
        let authorization = wire.payload.get("authorization").unwrap_or(&Value::Null);
        let authorization =
            Authorization::from_value(authorization).map_err(PaymentError::Authorization)?;
        let signature = signature_of(&wire.payload).ok_or(PaymentError::Signature)?;
        decoded["payload"] = json!({
            "signature": format!("0x{}", hex::encode(&signature)),
            "authorization": authorization.to_value(),
        });
        let v2 = version == Version::V2;
        let extensions = wire.extensions.filter(|_| v2).unwrap_or_default();
        Ok(Self {
            version,
            network,
            authorization,
            signature,
            payload: decoded,
            accepted: wire.accepted.filter(|_| v2),
            resource_url: wire.resource.filter(|_| v2).and_then(url_of),
            payment_identifier: identifier_of(&extensions)?,
            extensions,
        })
    }

    /// Which payment this is, whatever its spelling.
    pub fn identity(&self) -> PaymentIdentity {
        PaymentIdentity {
            network: self.network.caip2,
            asset: self.network.usdc.lower(),
            payer: self.authorization.from.lower(),
            nonce: self.authorization.nonce.to_string(),
        }
    }

    /// Who signed it, if a plain wallet did. Of a contract wallet only the chain can tell.
    pub fn signer(&self) -> Option<Address> {
        let digest = eip712::transfer_digest(self.network, &self.authorization);
        eip712::recover(&digest, &self.signature)
    }

    /// Whether the paying wallet itself signed it.
    pub fn is_signed_by_payer(&self) -> bool {
        self.signer() == Some(self.authorization.from)
    }
}

/// How deep a payment may be nested: a facilitator gets it inside of another object, and must still
/// be able to read it.
const DEPTH_MAX: usize = 64;

/// Whether Postgres can keep a value, and facilitators can read it.
fn is_keepable(value: &Value, depth: usize) -> bool {
    let plain = |text: &str| !text.contains('\0');
    let inside = |value: &Value| depth > 0 && is_keepable(value, depth.saturating_sub(1));
    match value {
        Value::String(text) => plain(text),
        Value::Array(items) => items.iter().all(inside),
        Value::Object(fields) => fields.iter().all(|(key, field)| plain(key) && inside(field)),
        Value::Null | Value::Bool(_) | Value::Number(_) => true,
    }
}

/// Some facilitators match field names in any case and take the last; we match exactly. A payment
/// that reads differently to the two would be looked up as one and settled as another.
fn refuse_ambiguity(decoded: &Value) -> Result<(), PaymentError> {
    let folded = |key: &str| key.to_uppercase().to_lowercase();
    for field in ["x402Version", "scheme", "network", "accepted", "payload", "extensions"] {
        let same = |key: &&String| key.as_str() != field && folded(key) == field.to_lowercase();
        if decoded.as_object().is_some_and(|fields| fields.keys().any(|key| same(&key))) {
            return Err(PaymentError::AmbiguousField { field });
        }
    }
    Ok(())
}

/// Version 1 names scheme and network at the top, version 2 in the accepted terms.
fn network_of(version: Version, wire: &PaymentPayload) -> Result<&'static Network, PaymentError> {
    let accepted =
        |key| wire.accepted.as_ref().and_then(|terms| terms.get(key)).and_then(Value::as_str);
    let (scheme, network) = match version {
        Version::V1 => (wire.scheme.as_deref(), wire.network.as_deref()),
        Version::V2 => (accepted("scheme"), accepted("network")),
    };
    let (scheme, network) = (scheme.unwrap_or_default(), network.unwrap_or_default());
    if scheme != EXACT {
        return Err(PaymentError::Scheme { got: excerpt(scheme) });
    }
    let known = match version {
        Version::V1 => Network::by_v1_name(network),
        Version::V2 => Network::by_caip2(network),
    };
    known.ok_or_else(|| PaymentError::UnknownNetwork { got: excerpt(network) })
}

/// The beginning of a text that a stranger sent, fit for an error.
pub(in crate::x402) fn excerpt(text: &str) -> String {
    text.chars().take(80).collect()
}

fn signature_of(payload: &Map<String, Value>) -> Option<Vec<u8>> {
    let digits = payload.get("signature")?.as_str()?.strip_prefix("0x")?;
    hex::decode(digits).ok().filter(|bytes| !bytes.is_empty())
}

fn url_of(resource: Map<String, Value>) -> Option<String> {
    resource.get("url").and_then(Value::as_str).map(str::to_owned)
}

/// A malformed identifier is refused: whoever sends one relies on not paying twice.
fn identifier_of(extensions: &Map<String, Value>) -> Result<Option<IdempotencyKey>, PaymentError> {
    let info = extensions.get("payment-identifier").and_then(|extension| extension.get("info"));
    let Some(id) = info.and_then(|info| info.get("id")) else { return Ok(None) };
    let good = |id: &&str| {
        (16..=128).contains(&id.len())
            && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
    };
    let id = id.as_str().filter(good).ok_or(PaymentError::PaymentIdentifier)?;
    id.parse().map(Some).map_err(|_| PaymentError::PaymentIdentifier)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::x402::vectors::{VECTORS, text, wallet};
    use proptest::prelude::*;

    fn captured(name: &str) -> (Version, &'static str, &'static Value) {
        let payment = &VECTORS["payments"][name];
        let v2 = payment["header"] == Version::V2.header();
        let version = if v2 { Version::V2 } else { Version::V1 };
        (version, payment["value"].as_str().unwrap(), &payment["decoded"])
    }

    fn changed(name: &str, change: impl FnOnce(&mut Value)) -> Result<Payment, PaymentError> {
        let (version, _, decoded) = captured(name);
        let mut decoded = decoded.clone();
        change(&mut decoded);
        Payment::from_value(version, decoded)
    }

    #[test]
    fn captured_payments_decode_and_their_payer_signed_them() {
        for name in VECTORS["payments"].as_object().unwrap().keys() {
            let (version, header, decoded) = captured(name);
            let payment = match version {
                Version::V2 => Payment::from_headers(Some(header), None),
                Version::V1 => Payment::from_headers(None, Some(header)),
            };
            let payment = payment.unwrap().unwrap();
            assert_eq!(payment.version, version);
            assert_eq!(payment.network.caip2, "eip155:84532");
            assert_eq!(payment.payload, *decoded, "{name} goes on as it came");
            assert_eq!(payment.signer(), Some(wallet().address()));
            assert!(payment.is_signed_by_payer());
            assert_eq!(payment.accepted.is_some(), version == Version::V2);
            let url = text("/payment_required_v2/decoded/resource/url");
            assert_eq!(payment.resource_url.as_deref(), (version == Version::V2).then_some(url));
        }
        let named = changed("typescript_v2_identified", |_| {}).unwrap().payment_identifier;
        assert_eq!(named.unwrap().as_str(), "pay_7d5d747be160e280504c099d984bcfe0");
        assert_eq!(changed("typescript_v2", |_| {}).unwrap().payment_identifier, None);
    }

    #[test]
    fn version_2_is_preferred_and_no_header_is_no_payment() {
        let (_, v2, _) = captured("python_v2");
        let (_, v1, _) = captured("python_v1");
        let both = Payment::from_headers(Some(v2), Some(v1)).unwrap().unwrap();
        assert_eq!(both.version, Version::V2);
        assert_eq!(Payment::from_headers(None, None).unwrap(), None);
        let swapped = Payment::from_headers(Some(v1), Some(v2)).unwrap_err();
        assert!(matches!(swapped, PaymentError::Version { expected: 2, got: 1 }));
        let undecodable = Payment::from_headers(Some("{}"), Some(v1)).unwrap_err();
        let PaymentError::Header { header, .. } = undecodable else { panic!("{undecodable}") };
        assert_eq!(header, "PAYMENT-SIGNATURE");
    }

    #[test]
    fn another_spelling_is_the_same_payment_and_goes_on_in_one_spelling() {
        let plain = changed("typescript_v2", |_| {}).unwrap();
        let other = changed("typescript_v2", |decoded| {
            let authorization = &mut decoded["payload"]["authorization"];
            authorization["value"] = json!(1_000_000);
            authorization["validBefore"] = json!("0x6b0006f4");
            for field in ["from", "to", "nonce"] {
                let lower = authorization[field].as_str().unwrap().to_lowercase();
                authorization[field] = json!(lower.to_uppercase().replace("0X", "0x"));
            }
            authorization["Nonce"] = json!(format!("0x{}", "22".repeat(32)));
            decoded["payload"]["permit2Authorization"] = json!({"nonce": "1"});
            decoded["extensions"]["other"] = Value::Null;
        })
        .unwrap();
        assert_eq!(other.identity(), plain.identity());
        assert_eq!(other.payload, plain.payload);
        assert!(other.is_signed_by_payer());
    }

    #[test]
    fn identity_tells_payments_apart() {
        let plain = changed("typescript_v2", |_| {}).unwrap().identity();
        let same = changed("typescript_v2", |_| {}).unwrap().identity();
        assert_eq!(plain.claim_key(), same.claim_key());
        let text = "eip155:84532/0x036cbd53842c5426634e7929541ec2318f3dcf7e/\
             0x14791697260e4c9a71f18484c9f997b308e59325/\
             0x0c289aed2b991e58fd51a8c33ec6de8e09b9170ff2d70146ea74eb6cd26aecd1";
        assert_eq!(plain.to_string(), text);
        let chain = changed("typescript_v2", |d| d["accepted"]["network"] = json!("eip155:8453"));
        assert_ne!(chain.unwrap().identity().claim_key(), plain.claim_key());
        let v1 = changed("typescript_v1", |_| {}).unwrap().identity();
        assert_ne!(v1.claim_key(), plain.claim_key());
        // The asset that the buyer names is not what is settled, so it does not count.
        let asset = changed("typescript_v2", |d| d["accepted"]["asset"] = json!("0x00")).unwrap();
        assert_eq!(asset.identity(), plain);
    }

    #[test]
    fn each_malformation_has_its_code() {
        type Change = fn(&mut Value);
        let cases: [(&str, Change); 17] = [
            ("payment_malformed", |d| *d = json!([])),
            ("payment_malformed", |d| {
                *d = json!([2, null, null, d["resource"], d["accepted"], d["payload"], null]);
            }),
            ("payment_malformed", |d| d["resource"]["description"] = json!("a\u{0}b")),
            ("payment_malformed", |d| d["more"] = json!({ "a\u{0}": 1 })),
            ("payment_malformed", |d| {
                d["more"] = (0..70).fold(json!(1), |inner, _| json!([inner]));
            }),
            ("payment_malformed", |d| d["payload"] = json!("x")),
            ("payment_malformed", |d| d["extensions"] = json!([])),
            ("payment_ambiguous", |d| d["Payload"] = json!({})),
            ("payment_ambiguous", |d| d["networ\u{212a}"] = json!({})),
            ("payment_version_unsupported", |d| d["x402Version"] = json!(3)),
            ("payment_scheme_unsupported", |d| d["accepted"]["scheme"] = json!("upto")),
            ("payment_scheme_unsupported", |d| d["accepted"] = Value::Null),
            ("payment_network_unknown", |d| d["accepted"]["network"] = json!("base")),
            ("payment_authorization_malformed", |d| d["payload"] = json!({"signature": "0x00"})),
            ("payment_signature_malformed", |d| d["payload"]["signature"] = json!("0x")),
            ("payment_signature_malformed", |d| d["payload"]["signature"] = json!("0x0")),
            ("payment_identifier_malformed", |d| {
                d["extensions"]["payment-identifier"]["info"]["id"] = json!("short");
            }),
        ];
        for (code, change) in cases {
            assert_eq!(changed("typescript_v2", change).unwrap_err().code(), code);
        }
        let caip2 = changed("typescript_v1", |d| d["network"] = json!("eip155:84532"));
        assert_eq!(caip2.unwrap_err().code(), "payment_network_unknown");
    }

    #[test]
    fn identifiers_are_bounded() {
        let with = |id: Value| {
            changed("typescript_v2", |d| d["extensions"]["payment-identifier"]["info"]["id"] = id)
        };
        for good in ["a".repeat(16), "Z".repeat(128), "a_b-c_d-e_f-g_h-9".to_owned()] {
            assert!(with(json!(good)).is_ok(), "{good}");
        }
        for bad in ["a".repeat(15), "a".repeat(129), "a b c d e f g h i".to_owned()] {
            assert!(with(json!(bad)).is_err(), "{bad}");
        }
        assert!(with(json!(1_234_567_890_123_456_789_u64)).is_err());
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "\\PC{0,8}".prop_map(Value::from),
            "0x[0-9a-f]{0,130}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map("[a-z]{1,6}", inner, 0..4)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_json_anywhere_is_decoded_or_refused(value in any_json(), at in 0usize..14) {
            let pointers = [
                "", "/x402Version", "/payload", "/payload/signature", "/payload/authorization",
                "/payload/authorization/from", "/payload/authorization/value", "/accepted",
                "/payload/authorization/nonce", "/accepted/network", "/accepted/scheme",
                "/extensions", "/extensions/payment-identifier", "/resource",
            ];
            let put = |decoded: &mut Value| {
                if let Some(place) = decoded.pointer_mut(pointers[at]) { *place = value.clone(); }
            };
            for name in ["typescript_v2", "typescript_v1"] {
                if let Ok(payment) = changed(name, put) {
                    let again = Payment::from_value(payment.version, payment.payload.clone());
                    prop_assert_eq!(again.unwrap(), payment);
                }
            }
        }

        #[test]
        fn any_header_is_decoded_or_refused(text in "\\PC*") {
            let _ = Payment::from_headers(Some(&text), None);
            let _ = Payment::from_headers(None, Some(&text));
        }
    }
}
