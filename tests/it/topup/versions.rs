//! Facilitators of one version, and buyers of both.

use bursar::x402::Version;
use serde_json::{Value, json};

use super::front::{Act, Says};
use super::{Stage, VERSIONS, assert_unknown, receipt};
use crate::api::{dollars, network};
use crate::support::postgres::run;

/// Has the facilitator say that it speaks only this version.
fn speak(stage: &Stage, version: Version) {
    let kind = json!({
        "x402Version": version.number(), "scheme": "exact",
        "network": super::network_name(version),
    });
    stage.front.next("supported", Act::say(Says::json(&json!({ "kinds": [kind] }))));
}

/// What a facilitator of a version must be asked about a payment.
fn expected(stage: &Stage, asked: Version, payload: &Value) -> Value {
    let terms = stage.api.topups.terms(dollars("1.00"));
    let (requirements, mut payment) = match asked {
        Version::V1 => (
            serde_json::to_value(terms.requirements_v1(network())),
            json!({
                "x402Version": 1, "scheme": "exact", "network": "base-sepolia",
            }),
        ),
        Version::V2 => {
            let ours = serde_json::to_value(terms.requirements(network())).unwrap();
            (Ok(ours.clone()), json!({ "x402Version": 2, "accepted": ours }))
        }
    };
    payment["payload"] = payload.clone();
    json!({
        "x402Version": asked.number(), "paymentPayload": payment,
        "paymentRequirements": requirements.unwrap(),
    })
}

#[test]
fn a_facilitator_of_one_version_serves_buyers_of_both() {
    run(|db| async move {
        let stage = Stage::set(db).await;
        for asked in VERSIONS {
            // What it says is believed for a while.
            stage.api.clock.advance(chrono::TimeDelta::minutes(7));
            speak(&stage, asked);
            stage.api.topups.facilitators().refresh().await;
            for paid in VERSIONS {
                let signed = stage.funded(paid, "1.00").await;
                let signed = signed.with(|payment| {
                    // Ours to keep: they mean nothing to the other version.
                    payment["more"] = json!({ "nobody": "knows" });
                });
                let answer = stage.pay(&signed, "", "1.00").await;
                assert_eq!(answer.json(200)["network"], "eip155:84532");
                let receipt = receipt(&answer, paid);
                assert_eq!(
                    (receipt.success, receipt.network.as_str()),
                    (true, super::network_name(paid))
                );
                for call in ["verify", "settle"] {
                    let sent = stage.front.seen(call).pop().unwrap();
                    assert_eq!(sent["x402Version"], asked.number());
                    if asked != paid {
                        assert_eq!(sent, expected(&stage, asked, &signed.value["payload"]));
                    }
                }
            }
        }
        assert_eq!(stage.front.seen("settle").len(), 4);
        stage.holds("4.00").await;
    });
}

#[test]
fn a_repeated_call_is_the_first_one_whatever_the_facilitator_learns_meanwhile() {
    run(|db| async move {
        let stage = Stage::set(db).await;
        for (asked, paid) in [(Version::V1, Version::V2), (Version::V2, Version::V1)] {
            stage.api.clock.advance(chrono::TimeDelta::minutes(7));
            speak(&stage, asked);
            stage.api.topups.facilitators().refresh().await;
            let signed = stage.funded(paid, "1.00").await;
            stage.front.next("settle", Act::twist(Says::Nothing));
            assert_unknown(&stage.pay(&signed, "", "1.00").await, paid);
            // From here on it speaks the buyer's version, too.
            stage.api.clock.advance(chrono::TimeDelta::minutes(7));
            stage.api.topups.facilitators().refresh().await;
            assert_eq!(stage.resolve().await, 1);
            stage.pay(&signed, "", "1.00").await.json(200);
            let settles = stage.front.seen("settle");
            let [.., first, again] = settles.as_slice() else { panic!("asked twice") };
            assert_eq!(first, again);
            assert_eq!(first["x402Version"], asked.number());
        }
        stage.holds("2.00").await;
    });
}

#[test]
fn answers_in_the_other_version_are_understood() {
    run(|db| async move {
        let stage = Stage::set(db).await;
        for (asked, paid) in [(Version::V1, Version::V2), (Version::V2, Version::V1)] {
            stage.api.clock.advance(chrono::TimeDelta::minutes(7));
            speak(&stage, asked);
            stage.api.topups.facilitators().refresh().await;
            let signed = stage.funded(paid, "1.00").await;
            // Coinbase leaves out what a rejection has no use for.
            let no = json!({ "success": false, "errorReason": "kyt_risk_detected" });
            stage.front.next("settle", Act::say(Says::json(&no)));
            let refused = stage.pay(&signed, "", "1.00").await;
            assert_eq!(refused.json(402)["reason"], "kyt_risk_detected");
            let receipt = receipt(&refused, paid);
            assert_eq!(receipt.network, super::network_name(paid));
            assert_eq!(receipt.transaction, "");
            let terms = serde_json::from_str::<Value>(&refused.body).unwrap();
            assert_eq!(terms["accepts"][0]["network"], "base-sepolia");
        }
        stage.holds("0").await;
    });
}
