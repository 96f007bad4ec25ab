//! Receipts: for programs and for people, of charges, refusals and reversals.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::postgres::{TestDatabase, run};
use crate::verifier::{Scene, list, verdict};
use crate::webhooks::receiver::Reply;

const EVIL: &str = "</td><script>alert('x')</script><img src=x onerror=\"alert(1)\">&amp;";

impl Scene {
    async fn page(&self, path: &str, accept: &str) -> (Vec<(String, String)>, String) {
        let request = self.service.client.get(format!("{}{path}", self.service.url));
        let request = request.bearer_auth(&self.key).header("accept", accept);
        let response = request.send().await.unwrap();
        assert_eq!(response.status().as_u16(), 200, "{path}");
        let text = |value: &reqwest::header::HeaderValue| value.to_str().unwrap().to_owned();
        let headers = response.headers().iter().map(|(n, v)| (n.to_string(), text(v))).collect();
        (headers, response.text().await.unwrap())
    }

    async fn receipt(&self, path: &str) -> Value {
        self.service.get(path, &self.key).await
    }

    /// A receipt, once it has so many calls: the last one is complete a moment after its verdict.
    async fn receipt_with(&self, path: &str, calls: usize) -> Value {
        for _ in 0..200 {
            let receipt = self.receipt(path).await;
            if receipt["calls"].as_array().unwrap().len() == calls {
                return receipt;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("not {calls} calls: {path}");
    }

    /// What a receipt's transactions did, and to how much of lots.
    fn moved(receipt: &Value) -> Vec<(String, String, usize)> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let transactions = receipt["transactions"].as_array().unwrap().iter();
        let moved = transactions.map(|one| {
            assert!(one["ledger_transaction_id"].is_string());
            (text(&one["movement"]), text(&one["amount"]), one["lots"].as_array().unwrap().len())
        });
        moved.collect()
    }
}

#[test]
fn charges_refusals_and_reversals_have_receipts() {
    run(|db| async move {
        let scene = Scene::start(&db).await;
        let line = |movement: &str, amount: &str| (movement.to_owned(), amount.to_owned(), 1);
        // One call fails, and the next accepts a part.
        scene.receiver.next([Reply::Status(500), Reply::Text(200, verdict(2))]);
        let checkout = scene.deliver(&[3]).await;
        let settled = scene.settled(&checkout).await;
        let result = &settled["results"][0];
        let charge = result["charge_id"].as_str().unwrap();
        let path = format!("/api/v1/checkouts/{checkout}/results/r0/receipt");
        let receipt = scene.receipt_with(&path, 2).await;
        assert_eq!(receipt, scene.receipt(&format!("/api/v1/charges/{charge}/receipt")).await);
        assert_eq!(
            (&receipt["receipt"], &receipt["account_id"]),
            (&json!("charge"), &json!(scene.account))
        );
        assert_eq!(receipt["verdict"], result["verdict"]);
        assert_eq!(receipt["result"]["evidence_sha256"], result["evidence_sha256"]);
        let amounts = (&receipt["charged"], &receipt["released"], &receipt["reversed"]);
        assert_eq!(amounts, (&json!("0.20"), &json!("0.10"), &json!("0.00")));
        assert_eq!(Scene::moved(&receipt), [line("capture", "0.20"), line("release", "0.10")]);
        let calls = receipt["calls"].as_array().unwrap();
        let unknown: Vec<_> = calls.iter().map(|call| &call["unknown"]).collect();
        assert_eq!(unknown, [&json!("the answer has status 500"), &json!(null)]);
        // Two reversals, each with a receipt of its own, which does not change.
        let mut receipts = Vec::new();
        for (amount, reason, reversed) in
            [("0.05", "bounced", "0.05"), ("0.15", "all of it", "0.20")]
        {
            let path = format!("/api/v1/charges/{charge}/reversals");
            let body = json!({"amount": amount, "reason": reason});
            let (status, told) = scene.post(&scene.service.operator, &path, body).await;
            assert_eq!(status, 201, "{told}");
            let reversal = told["reversal_id"].as_str().unwrap();
            let receipt = scene.receipt(&format!("{path}/{reversal}/receipt")).await;
            assert_eq!(
                (&receipt["receipt"], &receipt["reversal_id"]),
                (&json!("reversal"), &json!(reversal))
            );
            receipts.push((format!("{path}/{reversal}/receipt"), receipt.clone()));
            assert_eq!(Scene::moved(&receipt), [line("reversal", amount)]);
            let moved = &receipt["transactions"][0]["ledger_transaction_id"];
            assert_eq!(moved, &told["ledger_transaction_id"]);
            assert_eq!(
                (&receipt["reversed"], &receipt["charged"]),
                (&json!(reversed), &json!("0.20"))
            );
            assert_eq!(receipt["reversals"][0]["reason"], reason);
            assert_eq!(receipt["reversals"].as_array().unwrap().len(), 1);
        }
        for (path, first) in receipts {
            assert_eq!(scene.receipt(&path).await, first, "what came later is no part of it");
        }
        let after = scene.receipt(&path).await;
        assert_eq!((&after["reversed"], &after["charged"]), (&json!("0.20"), &json!("0.20")));
        assert_eq!(after["transactions"], receipt["transactions"], "the past does not change");
        // A refusal.
        scene.receiver.next([Reply::Text(200, verdict(0))]);
        let refused = scene.deliver(&[2]).await;
        scene.settled(&refused).await;
        let receipt =
            scene.receipt(&format!("/api/v1/checkouts/{refused}/results/r0/receipt")).await;
        assert_eq!((&receipt["receipt"], &receipt["charge_id"]), (&json!("refusal"), &json!(null)));
        let verdict = &receipt["verdict"];
        assert_eq!(
            (&verdict["reason"], &verdict["accepted"]),
            (&json!("asked the server"), &json!(0))
        );
        assert_eq!(verdict["checks"], json!([{"name": "smtp", "passed": false}]));
        assert_eq!(Scene::moved(&receipt), [line("release", "0.20")]);
        let path = format!("/api/v1/checkouts/{refused}/results/r0/receipt");
        scene.receipt_with(&path, 1).await;
        // A last call without an end brought the verdict; one before it was cut off.
        call_without_end(&scene, &db, &path, 101, false).await;
        call_without_end(&scene, &db, &path, 102, true).await;
        timed_out(&scene, &db).await;
        upheld(&scene).await;
        who_reads(&scene, &checkout, charge).await;
    });
}

/// Begins a call about the newest result, after which the receipt has call 101 or has it not.
async fn call_without_end(scene: &Scene, db: &TestDatabase, path: &str, attempt: i32, shown: bool) {
    sqlx::query(
        "insert into verification_call (slot, book_id, checkout_id, result_id, attempt, called_at)
         select slot, book_id, checkout_id, result_id, $1, now() from result
         order by submitted_at desc limit 1",
    )
    .bind(attempt)
    .execute(&db.owner)
    .await
    .unwrap();
    let receipt = scene.receipt(path).await;
    let calls = receipt["calls"].as_array().unwrap();
    let call = calls.iter().find(|call| call["attempt"] == 101);
    assert_eq!(call.is_some(), shown, "{calls:?}");
    assert!(call.is_none_or(|call| call["ended_at"].is_null()));
    let (_, html) = scene.page(path, "text/html").await;
    assert_eq!(html.contains("no end is known"), shown);
}

/// No call brought the verdict of what nobody judged in time: each took place, its end known or not.
async fn timed_out(scene: &Scene, db: &TestDatabase) {
    scene.receiver.always(Reply::Status(500));
    let checkout = scene.deliver(&[1]).await;
    let overdue = "update result set verify_by = now() where state = 'verifying'";
    sqlx::query(overdue).execute(&db.owner).await.unwrap();
    let settled = scene.settled(&checkout).await;
    assert_eq!(settled["results"][0]["verdict"]["reason"], "verification_timeout");
    let path = format!("/api/v1/checkouts/{checkout}/results/r0/receipt");
    call_without_end(scene, db, &path, 101, true).await;
}

/// The page of a reversal that upholds a dispute says which one, and who upheld it.
async fn upheld(scene: &Scene) {
    scene.receiver.next([Reply::Text(200, verdict(1))]);
    let checkout = scene.deliver(&[1]).await;
    let settled = scene.settled(&checkout).await;
    let charge =
        format!("/api/v1/charges/{}", settled["results"][0]["charge_id"].as_str().unwrap());
    let body = json!({"reason": "it bounced"});
    let (_, begun) = scene.post(&scene.key, &format!("{charge}/disputes"), body).await;
    let dispute = begun["dispute_id"].as_str().unwrap();
    let body = json!({"decision": "upheld", "reason": "so it did"});
    let path = format!("/api/v1/disputes/{dispute}/decision");
    let (status, decided) = scene.post(&scene.service.operator, &path, body).await;
    assert_eq!(status, 200, "{decided}");
    let path = format!("{charge}/reversals/{}/receipt", decided["reversal_id"].as_str().unwrap());
    let receipt = scene.receipt(&path).await;
    let by = receipt["reversals"][0]["reversed_by"].as_str().unwrap();
    let (_, html) = scene.page(&path, "text/html").await;
    for told in ["Upholds the dispute", dispute, "Reversed by", by, "so it did"] {
        assert!(html.contains(told), "{told}: {html}");
    }
}

/// A stranger finds nothing, an operator everything, and an open result has no receipt.
async fn who_reads(scene: &Scene, checkout: &str, charge: &str) {
    let (_, stranger) = scene.service.sign_up().await;
    let nothing = format!("rev_{}", "0".repeat(32));
    for (path, operators) in [
        (format!("/api/v1/charges/{charge}/receipt"), 200),
        (format!("/api/v1/checkouts/{checkout}/results/r0/receipt"), 200),
        (format!("/api/v1/checkouts/{checkout}/results/r9/receipt"), 404),
        (format!("/api/v1/charges/{charge}/reversals/{nothing}/receipt"), 404),
    ] {
        let status = |key: String| {
            let path = path.clone();
            async move { scene.service.ask("GET", &path, Some(&key), None, None).await.0 }
        };
        assert_eq!(status(stranger.clone()).await, 404, "{path}");
        assert_eq!(status(scene.service.operator.clone()).await, operators, "{path}");
    }
    scene.receiver.always(Reply::Status(500));
    let open = scene.deliver(&[1]).await;
    let path = format!("/api/v1/checkouts/{open}/results/r0/receipt");
    let (status, problem) = scene.service.ask("GET", &path, Some(&scene.key), None, None).await;
    assert_eq!((status, &problem["code"]), (404, &json!("not_found")));
}

/// Whatever strangers write is text on the page, and the page may do nothing.
#[test]
fn the_page_is_for_people_and_harmless() {
    run(|db| async move {
        let scene = Scene::start(&db).await;
        let body = json!({
            "title": EVIL, "unit": "<u>", "unit_price": "0.10", "criteria": {"text": EVIL},
            "verification": "http", "verifier_id": scene.verifier["verifier_id"],
            "delivery_deadline_seconds": 60, "verification_deadline_seconds": 60,
            "dispute_window_seconds": 60,
        });
        assert_eq!(list(&scene.service, body).await.0, 200);
        let said = json!({
            "accepted_quantity": 1, "criteria_version": 2, "verifier": EVIL, "reason": EVIL,
            "checks": [{"name": EVIL, "passed": true, "detail": EVIL}],
        });
        scene.receiver.always(Reply::Text(200, said.to_string()));
        let checkout = scene.deliver(&[1]).await;
        let settled = scene.settled(&checkout).await;
        let charge = settled["results"][0]["charge_id"].as_str().unwrap();
        let path = format!("/api/v1/charges/{charge}/reversals");
        let body = json!({"amount": "0.05", "reason": EVIL});
        let (status, _) = scene.post(&scene.service.operator, &path, body).await;
        assert_eq!(status, 201);
        let path = format!("/api/v1/charges/{charge}/receipt");
        let (headers, html) = scene.page(&path, "text/html,application/xml;q=0.9,*/*;q=0.8").await;
        let header = |name: &str| &headers.iter().find(|(n, _)| n == name).unwrap().1;
        assert!(header("content-type").starts_with("text/html"));
        assert!(header("vary").to_lowercase().contains("accept"));
        let policy = header("content-security-policy");
        assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        assert!(html.contains("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;"), "{html}");
        for forbidden in ["<script", "<img", "<u>", "onerror=\"", "javascript:"] {
            assert!(!html.contains(forbidden), "{forbidden}: {html}");
        }
        assert_eq!(
            html.matches("&lt;img src=x").count(),
            6,
            "title, name, reason, check and reversal"
        );
        assert!(html.contains("$0.10") && html.contains("This is a test"));
        for accept in ["application/json", "*/*", "application/json, text/html;q=0.5", "nonsense"] {
            let (headers, body) = scene.page(&path, accept).await;
            let kind = &headers.iter().find(|(name, _)| name == "content-type").unwrap().1;
            assert_eq!(kind, "application/json", "{accept}");
            let receipt: Value = serde_json::from_str(&body).unwrap();
            assert_eq!(
                (&receipt["line"]["title"], &receipt["receipt"]),
                (&json!(EVIL), &json!("charge"))
            );
        }
    });
}
