//! A signature is shown to the facilitator and to nobody else: not in an answer, not in a log, not in
//! the audit trail.

use std::sync::Arc;

use bursar::ground::Clock;
use serde_json::json;

use super::buyer::{Buyer, Signed};
use super::front::{Act, Front, Says};
use super::{TOPUP, VERSIONS, fund};
use crate::api::{Answer, Api, Setup};
use crate::support::postgres::{run, test_database};
use crate::support::service::Service;

#[test]
fn no_answer_log_or_record_shows_a_signature() {
    run(|db| async move {
        let front = Front::start().await;
        let sandbox = Api::start_on(Arc::new(test_database().await), Setup::default()).await;
        front.stand_before(format!("{}/sandbox/facilitator", sandbox.url));
        let variables =
            [("BURSAR_FACILITATOR_URL", front.url.as_str()), ("BURSAR_LOG", "trace,h2=off")];
        let service = Service::start(&db, &variables);
        let buyer = Buyer::new(7);
        fund(&sandbox, &buyer, "100").await;
        let (_, key) = service.sign_up().await;

        let send = async |signed: Option<&Signed>, body: &'static str| -> Answer {
            let request = service.client.post(format!("{}{TOPUP}", service.url)).body(body);
            let request = request.bearer_auth(&key);
            let request = match signed.map(Signed::header) {
                Some((name, value)) => request.header(name, value),
                None => request,
            };
            sandbox.send(request).await
        };
        let mut said = String::new();
        let mut payments = Vec::new();
        for version in VERSIONS {
            let dump = |signed: &Signed| {
                let call = format!("call: {}, args: {}", signed.value, signed.signature());
                json!({
                    "success": false, "isValid": false, "errorReason": call, "errorMessage": call,
                    "invalidReason": call, "invalidMessage": call, "transaction": call,
                })
            };
            for turn in 0..6 {
                let terms = send(None, "").await;
                let signed = buyer.sign(version, &terms, sandbox.clock.now());
                let signed = match turn {
                    // Of somebody else, so that the facilitator is asked and refuses.
                    5 => signed.with_signed("from", json!(Buyer::new(8).address())),
                    _ => signed,
                };
                match turn {
                    1 => front.next("verify", Act::say(Says::json(&dump(&signed)))),
                    2 => front.next("settle", Act::say(Says::json(&dump(&signed)))),
                    3 => {
                        let text = dump(&signed).to_string();
                        front.next("settle", Act::say(Says::This(500, text)));
                    }
                    4 => front.next("settle", Act::say(Says::This(200, signed.value.to_string()))),
                    _ => {}
                }
                for body in ["", "nonsense", r#"{"amount":"7"}"#] {
                    let answer = send(Some(&signed), body).await;
                    said.push_str(&format!("{:?}\n{}\n", answer.headers, answer.body));
                }
                payments.push(signed);
            }
        }
        let records: Vec<String> = sqlx::query_scalar(
            "select detail::text from topup_event union all select coalesce(reason, '') from topup
             union all select row_to_json(o)::text from outbox o",
        )
        .fetch_all(&db.owner)
        .await
        .unwrap();
        assert!(records.len() > 20, "{records:?}");
        let sql = "select 'top_' || replace(topup_id::text, '-', '') from topup";
        let ids: Vec<String> = sqlx::query_scalar(sql).fetch_all(&db.owner).await.unwrap();
        assert_eq!(ids.len(), 10);
        for id in ids {
            let told = service.get(&format!("/api/v1/topups/{id}"), &service.operator).await;
            assert!(told["audit"].is_array(), "{told}");
            said.push_str(&told.to_string());
        }
        let log = service.log.lock().unwrap().clone();
        assert!(log.contains("\"level\":\"TRACE\""), "the log says everything");
        for (place, text) in [("answers", said), ("records", records.join("\n")), ("log", log)] {
            let lower = text.to_lowercase();
            for signed in &payments {
                let at = lower.find(&signed.signature()[..60]);
                let around = at.map(|at| text[at.saturating_sub(300)..].chars().take(600));
                let around = around.map(|chars| chars.collect::<String>());
                assert_eq!(around, None, "a signature in the {place}");
                assert!(!text.contains(&signed.header().1), "a payment header in the {place}");
            }
        }
    });
}
