use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Map, Value};

use super::payment::excerpt;
use super::{Address, Mismatch, Network, Payment, Terms, Version};
use crate::ground::Amount;

/// A payment that answers our terms.
#[derive(Clone, Debug, PartialEq)]
pub struct Matched {
    /// The chain.
    pub network: &'static Network,
    /// How much is paid.
    pub amount: Amount,
    /// Who pays.
    pub payer: Address,
    /// The second since the epoch by which it must be settled.
    pub valid_before: u64,
    /// Our own terms in the payment's version: what the facilitator is asked to enforce. Never the
    /// buyer's copy, which would let the buyer name the price.
    pub requirements: Value,
    /// The same terms in the other version, for a facilitator that speaks only that one; none where
    /// version 1 has no name for the chain.
    pub in_other_version: Option<Value>,
}

/// Whether a payment answers our terms at a moment. Says nothing about the signature.
pub fn match_payment(
    terms: &Terms,
    payment: &Payment,
    now: DateTime<Utc>,
) -> Result<Matched, Mismatch> {
    let requirements = offered(terms, payment)?;
    if let Some(accepted) = &payment.accepted {
        match_accepted(&requirements, accepted)?;
    }
    match_extensions(terms, payment)?;
    match_resource(terms, payment)?;
    match_authorization(terms, payment)?;
    match_window(terms, payment, now)?;
    Ok(Matched {
        network: payment.network,
        amount: terms.amount,
        payer: payment.authorization.from,
        valid_before: payment.authorization.valid_before,
        requirements: Value::Object(requirements),
        in_other_version: in_other_version(terms, payment),
    })
}

/// Our terms for the payment's chain, in the payment's version.
fn offered(terms: &Terms, payment: &Payment) -> Result<Map<String, Value>, Mismatch> {
    let in_version = |network: &&Network| match payment.version {
        Version::V1 => network.v1_offer_name().is_some(),
        Version::V2 => true,
    };
    let networks: Vec<_> = terms.networks.iter().copied().filter(in_version).collect();
    let got = payment.network;
    let ours = networks.contains(&got).then(|| match payment.version {
        Version::V1 => serde_json::to_value(terms.requirements_v1(got)),
        Version::V2 => serde_json::to_value(terms.requirements(got)),
    });
    match ours {
        Some(Ok(Value::Object(ours))) => Ok(ours),
        _ => {
            let offered = networks.iter().map(|network| network.caip2).collect();
            Err(Mismatch::NetworkNotOffered { offered, got: got.caip2 })
        }
    }
}

fn in_other_version(terms: &Terms, payment: &Payment) -> Option<Value> {
    let network = payment.network;
    match payment.version {
        Version::V1 => serde_json::to_value(terms.requirements(network)).ok(),
        Version::V2 => serde_json::to_value(terms.requirements_v1(network)?).ok(),
    }
}

/// Every field equals ours; only in `extra` may the client have added something.
fn match_accepted(
    ours: &Map<String, Value>,
    accepted: &Map<String, Value>,
) -> Result<(), Mismatch> {
    for field in ours.keys().chain(accepted.keys()) {
        let (expected, got) = (ours.get(field), accepted.get(field));
        let same = if field == "extra" {
            contains(got.unwrap_or(&Value::Object(Map::new())), expected.unwrap_or(&Value::Null))
        } else {
            expected == got
        };
        if !same {
            let json = |value: Option<&Value>| excerpt(&value.unwrap_or(&Value::Null).to_string());
            let (expected, got) = (json(expected), json(got));
            return Err(Mismatch::Accepted { field: excerpt(field), expected, got });
        }
    }
    Ok(())
}

/// What we advertised in an extension must come back in it. One that was left out is no matter.
fn match_extensions(terms: &Terms, payment: &Payment) -> Result<(), Mismatch> {
    let advertised = super::extension::of_topup(terms.amount);
    for (extension, echoed) in &payment.extensions {
        let Some(ours) = advertised.get(extension).and_then(|ours| ours.get("info")) else {
            continue;
        };
        if !contains(echoed.get("info").unwrap_or(&Value::Null), ours) {
            return Err(Mismatch::ExtensionEcho { extension: extension.clone() });
        }
    }
    Ok(())
}

fn match_resource(terms: &Terms, payment: &Payment) -> Result<(), Mismatch> {
    match &payment.resource_url {
        Some(url) if *url != terms.resource_url => {
            Err(Mismatch::Resource { expected: terms.resource_url.clone(), got: excerpt(url) })
        }
        _ => Ok(()),
    }
}

/// What was signed, which alone moves money.
fn match_authorization(terms: &Terms, payment: &Payment) -> Result<(), Mismatch> {
    let signed = &payment.authorization;
    if signed.to != terms.pay_to {
        return Err(Mismatch::Recipient { expected: terms.pay_to, got: signed.to });
    }
    let expected = u128::try_from(terms.amount.micros()).unwrap_or_default();
    if signed.value != expected {
        return Err(Mismatch::Amount { expected, got: signed.value });
    }
    if signed.from == terms.pay_to {
        return Err(Mismatch::SelfPayment { payer: signed.from });
    }
    Ok(())
}

fn match_window(terms: &Terms, payment: &Payment, now: DateTime<Utc>) -> Result<(), Mismatch> {
    let seconds = |delta: TimeDelta| u64::try_from(delta.num_seconds()).unwrap_or_default();
    let now = u64::try_from(now.timestamp()).unwrap_or_default();
    let (valid_after, valid_before) =
        (payment.authorization.valid_after, payment.authorization.valid_before);
    if valid_after > now {
        return Err(Mismatch::NotYetValid { valid_after, now });
    }
    let needed = now.saturating_add(seconds(terms.window.margin));
    if valid_before <= needed {
        return Err(Mismatch::ExpiresTooSoon { valid_before, needed });
    }
    let allowed = now.saturating_add(seconds(terms.window.horizon));
    if valid_before > allowed {
        return Err(Mismatch::LivesTooLong { valid_before, allowed });
    }
    Ok(())
}

/// Whether everything in `part` is in `whole` too, objects member by member, the rest exactly.
fn contains(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => {
            part.iter().all(|(key, part)| whole.get(key).is_some_and(|whole| contains(whole, part)))
        }
        _ => whole == part,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::x402::vectors::{VECTORS, paid_at, terms};
    use proptest::prelude::*;
    use serde_json::json;

    fn payment(name: &str, change: impl FnOnce(&mut Value)) -> Payment {
        let captured = &VECTORS["payments"][name];
        let v1 = captured["header"] == Version::V1.header();
        let mut decoded = captured["decoded"].clone();
        change(&mut decoded);
        Payment::from_value(if v1 { Version::V1 } else { Version::V2 }, decoded).unwrap()
    }

    fn refusal(name: &str, change: impl FnOnce(&mut Value)) -> Mismatch {
        match_payment(&terms(), &payment(name, change), paid_at()).unwrap_err()
    }

    #[test]
    fn captured_payments_match() {
        for name in VECTORS["payments"].as_object().unwrap().keys() {
            let payment = payment(name, |_| {});
            let matched = match_payment(&terms(), &payment, paid_at()).unwrap();
            assert_eq!(matched.payer, payment.authorization.from);
            assert_eq!(matched.amount, terms().amount);
            let ours = match payment.version {
                Version::V1 => serde_json::to_value(terms().requirements_v1(payment.network)),
                Version::V2 => serde_json::to_value(terms().requirements(payment.network)),
            };
            assert_eq!(matched.requirements, ours.unwrap());
        }
    }

    #[test]
    fn every_accepted_field_must_be_ours() {
        for (field, value) in [
            ("amount", json!("999999")),
            ("amount", json!(1_000_000)),
            ("asset", json!("0x036cbd53842c5426634e7929541ec2318f3dcf7e")),
            ("payTo", json!("0x14791697260E4c9A71f18484C9f997B308e59325")),
            ("maxTimeoutSeconds", json!(301)),
            ("orderId", json!("x")),
            ("amount", Value::Null),
            ("extra", json!({"name": "USDC"})),
            ("extra", Value::Null),
            ("extra", json!([])),
        ] {
            let refusal = refusal("typescript_v2", |d| d["accepted"][field] = value);
            let Mismatch::Accepted { field: named, .. } = &refusal else { panic!("{refusal}") };
            assert_eq!(named, field);
            assert_eq!(refusal.code(), "accepted_terms_mismatch");
        }
        let more = payment("typescript_v2", |d| d["accepted"]["extra"]["memo"] = json!({"a": 1}));
        assert!(match_payment(&terms(), &more, paid_at()).is_ok());
    }

    #[test]
    fn the_signed_terms_must_be_ours_in_both_versions() {
        for name in ["typescript_v2", "typescript_v1"] {
            let signed = |field: &str, value: Value| {
                refusal(name, |d| d["payload"]["authorization"][field] = value).code()
            };
            let other = json!("0x14791697260E4c9A71f18484C9f997B308e59325");
            assert_eq!(signed("to", other), "recipient_mismatch");
            assert_eq!(signed("value", json!("999999")), "amount_mismatch");
            assert_eq!(signed("value", json!("1000001")), "amount_mismatch");
            assert_eq!(signed("value", json!(u128::MAX.to_string())), "amount_mismatch");
            assert_eq!(signed("from", json!(terms().pay_to)), "self_payment");
        }
    }

    #[test]
    fn the_window_has_exact_edges() {
        let now = u64::try_from(paid_at().timestamp()).unwrap();
        let code = |field: &str, at: u64| {
            let payment = payment("typescript_v2", |d| {
                d["payload"]["authorization"][field] = json!(at.to_string());
            });
            match_payment(&terms(), &payment, paid_at()).map_err(|mismatch| mismatch.code()).err()
        };
        assert_eq!(code("validAfter", now), None);
        assert_eq!(code("validAfter", now + 1), Some("payment_not_yet_valid"));
        assert_eq!(code("validBefore", now + 15), Some("payment_expires_too_soon"));
        assert_eq!(code("validBefore", 0), Some("payment_expires_too_soon"));
        assert_eq!(code("validBefore", now + 16), None);
        assert_eq!(code("validBefore", now + 86_400), None);
        assert_eq!(code("validBefore", now + 86_401), Some("payment_lives_too_long"));
        assert_eq!(code("validBefore", u64::MAX), Some("payment_lives_too_long"));
    }

    #[test]
    fn chain_resource_and_extensions_must_be_ours() {
        let other = refusal("typescript_v2", |d| d["accepted"]["network"] = json!("eip155:8453"));
        let offered = vec!["eip155:84532"];
        assert_eq!(other, Mismatch::NetworkNotOffered { offered, got: "eip155:8453" });
        let celo = Network::by_v1_name("celo").unwrap();
        let on_celo = payment("typescript_v1", |d| d["network"] = json!("celo"));
        let terms_on_celo = Terms { networks: vec![celo], ..terms() };
        let unoffered = match_payment(&terms_on_celo, &on_celo, paid_at()).unwrap_err();
        assert_eq!(unoffered.code(), "network_not_offered");

        let resource = refusal("typescript_v2", |d| d["resource"]["url"] = json!("https://x/"));
        assert_eq!(resource.code(), "resource_mismatch");
        let silent = payment("typescript_v2", |d| d["resource"] = Value::Null);
        assert!(match_payment(&terms(), &silent, paid_at()).is_ok());

        for echo in [json!({"required": true}), json!({}), Value::Null] {
            let refusal = refusal("typescript_v2", |d| {
                d["extensions"]["payment-identifier"]["info"] = echo;
            });
            assert_eq!(refusal.code(), "extension_echo_mismatch");
        }
        let unknown = payment("typescript_v2", |d| d["extensions"] = json!({"other": 1}));
        assert!(match_payment(&terms(), &unknown, paid_at()).is_ok());
    }

    proptest! {
        #[test]
        fn what_matches_is_signed_over_our_terms(
            value in prop_oneof![Just(1_000_000_u128), any::<u128>()],
            after in prop_oneof![Just(0_u64), any::<u64>()],
            ahead in -100_i64..200_000,
            now in prop_oneof![Just(1_795_163_600_i64), any::<i32>().prop_map(i64::from)],
        ) {
            let before = now.saturating_add(ahead).max(0);
            let payment = payment("python_v1", |d| {
                let signed = &mut d["payload"]["authorization"];
                signed["value"] = json!(value.to_string());
                signed["validAfter"] = json!(after);
                signed["validBefore"] = json!(before);
            });
            let now_at = DateTime::from_timestamp(now, 0).unwrap();
            let matches = match_payment(&terms(), &payment, now_at).is_ok();
            let clock = u64::try_from(now).unwrap_or(0);
            let before = u64::try_from(before).unwrap();
            let good = value == 1_000_000 && after <= clock
                && before > clock + 15 && before <= clock + 86_400;
            prop_assert_eq!(matches, good);
        }
    }
}
