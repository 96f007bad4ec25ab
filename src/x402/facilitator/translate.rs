use std::borrow::Cow;

use serde_json::{Value, json};

use crate::x402::Version;
use crate::x402::wire::EXACT;

/// A payment as a facilitator of a version wants it, whichever version the buyer speaks.
///
/// What was signed is the same in both versions, byte for byte; only what stands around it differs.
/// `requirements` are ours in the version that the facilitator is asked in. The result is a function
/// of the payment and of those, so that a repeated call is the first one again.
///
/// A buyer's `resource` and `extensions` exist in version 2 only. They are neither signed nor needed
/// for settling, and are left out where the versions differ.
pub fn payload_in<'a>(
    asked: Version,
    paid: Version,
    payload: &'a Value,
    requirements: &Value,
) -> Cow<'a, Value> {
    match (paid, asked) {
        (Version::V1, Version::V1) | (Version::V2, Version::V2) => Cow::Borrowed(payload),
        (Version::V1, Version::V2) => Cow::Owned(json!({
            "x402Version": 2, "accepted": requirements, "payload": payload["payload"],
        })),
        (Version::V2, Version::V1) => Cow::Owned(json!({
            "x402Version": 1, "scheme": EXACT, "network": requirements["network"],
            "payload": payload["payload"],
        })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::x402::Payment;
    use crate::x402::vectors::{VECTORS, terms};

    fn captured(name: &str, version: Version) -> Payment {
        let decoded = VECTORS["payments"][name]["decoded"].clone();
        Payment::from_value(version, decoded).unwrap()
    }

    #[test]
    fn a_payment_of_version_1_is_one_of_version_2() {
        let payment = captured("typescript_v1", Version::V1);
        let ours = serde_json::to_value(terms().requirements(payment.network)).unwrap();
        let asked = payload_in(Version::V2, Version::V1, &payment.payload, &ours);
        let read = Payment::from_value(Version::V2, asked.clone().into_owned()).unwrap();
        assert_eq!(read.identity(), payment.identity());
        assert_eq!(read.payload, *asked, "nothing is missing and nothing is too much");
        assert_eq!(Value::Object(read.accepted.clone().unwrap()), ours);
        assert!(read.is_signed_by_payer());
    }

    #[test]
    fn a_payment_of_version_2_is_one_of_version_1() {
        let payment = captured("typescript_v2_identified", Version::V2);
        let ours = serde_json::to_value(terms().requirements_v1(payment.network)).unwrap();
        let asked = payload_in(Version::V1, Version::V2, &payment.payload, &ours);
        let read = Payment::from_value(Version::V1, asked.clone().into_owned()).unwrap();
        assert_eq!(read.identity(), payment.identity());
        assert_eq!(read.payload, *asked);
        assert_eq!(asked["network"], "base-sepolia");
        assert!(read.is_signed_by_payer());
        let keys: Vec<_> = asked.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys.len(), 4, "{keys:?}");
    }

    #[test]
    fn in_its_own_version_a_payment_goes_on_as_it_came() {
        for (name, version) in [("python_v2", Version::V2), ("python_v1", Version::V1)] {
            let payment = captured(name, version);
            let asked = payload_in(version, version, &payment.payload, &Value::Null);
            assert_eq!(*asked, payment.payload);
            assert!(matches!(asked, Cow::Borrowed(_)));
        }
    }
}
