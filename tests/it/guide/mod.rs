//! `llms.txt` cannot lie: every example in it is executed, in order, against the real binary, and
//! what it says of routes, codes and limits is compared with the code.

mod document;
mod facts;
mod planted;
mod values;
mod wallet;

use std::net::TcpListener;
use std::time::{Duration, Instant};

use reqwest::header::HeaderMap;
use serde_json::{Value, json};

use crate::support::postgres::run;
use crate::support::service::Service;
use document::{Body, Kind, Request, Response};
use values::Values;
use wallet::Signer;

const GUIDE: &str = include_str!("../../../llms.txt");

/// How many examples there must be at least: a guide that lost some is not the guide.
const EXAMPLES_MIN: usize = 30;

/// What the operator has listed when the reader comes: SKU, title, unit, price, criteria, and
/// seconds to deliver. Nobody delivers the last one, so it is given up quickly.
const CATALOG: &str = r#"[
    ["company-profile", "Company profile, researched and sourced", "profile", "13.00",
        {"text": "name and website, and at least two sources"}, 3600],
    ["verified-email", "Business e-mail address that accepts mail", "address", "0.25",
        {"schema": {"type": "object", "required": ["addresses"], "properties": {"addresses":
            {"type": "array", "items": {"type": "string", "format": "email"}}}},
            "text": "every address accepts mail"}, 3600],
    ["page-translation", "Translation of one page", "page", "2.00",
        {"text": "complete and fluent"}, 2]
]"#;

#[test]
fn every_example_runs() {
    run(|db| async move {
        let service = Service::start(&db, &[]);
        let mut reader = Reader::at(&service).await;
        let mut examples = 0;
        for step in document::read(GUIDE).unwrap() {
            let done = match &step.kind {
                Kind::Part { name, text } => reader.wallet.part(name, text, &mut reader.values),
                Kind::Example { request, response } => {
                    examples += 1;
                    reader.play(request, response).await
                }
            };
            done.unwrap_or_else(|fault| panic!("llms.txt:{}: {fault}", step.line));
        }
        assert!(examples >= EXAMPLES_MIN, "only {examples} examples ran");
    });
}

/// What the guide says of outages: the payment is refused, and may be sent again as it is.
#[test]
fn an_outage_takes_nothing() {
    run(|db| async move {
        // Whoever listens at a port that was just let go of speaks no x402.
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let url = format!("http://{closed}");
        let service = Service::start(&db, &[("BURSAR_FACILITATOR_URL", &url)]);
        let mut reader = Reader::at(&service).await;
        for step in document::read(GUIDE).unwrap() {
            match &step.kind {
                Kind::Part { name, text } => {
                    reader.wallet.part(name, text, &mut reader.values).unwrap();
                }
                Kind::Example { request, .. } if request.path.starts_with("/sandbox/") => {}
                Kind::Example { request, response } if !request.pays() => {
                    reader.play(request, response).await.unwrap();
                }
                Kind::Example { request, .. } => return reader.meet_outage(request).await,
            }
        }
        panic!("the guide pays nothing");
    });
}

/// Who does what the guide says, and knows nothing else.
struct Reader<'a> {
    service: &'a Service,
    values: Values,
    wallet: Signer,
}

impl<'a> Reader<'a> {
    /// Lists what can be bought and provides what the guide does not make: the service's address, a
    /// wallet, and the keys of those who deliver and judge.
    async fn at(service: &'a Service) -> Self {
        let operator = Some(service.operator.as_str());
        let skus: Vec<Value> = serde_json::from_str(CATALOG).unwrap();
        for sku in &skus {
            let body = json!({
                "title": sku[1], "unit": sku[2], "unit_price": sku[3], "criteria": sku[4],
                "delivery_deadline_seconds": sku[5], "verification_deadline_seconds": 3600,
                "dispute_window_seconds": 604_800,
            });
            let path = format!("/api/v1/admin/catalog/{}", sku[0].as_str().unwrap());
            let (status, answer) = service.ask("PUT", &path, operator, None, Some(body)).await;
            assert_eq!(status, 200, "{answer}");
        }
        let wallet = Signer::fresh();
        let mut values = Values::default();
        values.set("base_url", service.url.as_str());
        values.set("wallet", wallet.address());
        let skus: Vec<_> = skus.iter().map(|sku| &sku[0]).collect();
        for role in ["fulfiller", "verifier"] {
            let body = json!({ "role": role, "name": role, "skus": skus });
            let path = "/api/v1/admin/keys";
            let (status, answer) = service.ask("POST", path, operator, None, Some(body)).await;
            assert_eq!(status, 201, "{answer}");
            values.set(&format!("{role}_key"), answer["api_key"].as_str().unwrap());
        }
        Self { service, values, wallet }
    }

    /// Sends a request and compares the answer; one that is to be polled, until it fits.
    async fn play(&mut self, request: &Request, response: &Response) -> Result<(), String> {
        let patience = Instant::now() + Duration::from_secs(60);
        loop {
            let (status, headers, body) = self.send(request).await?;
            let mut values = self.values.clone();
            match compare(response, status, &headers, &body, &mut values) {
                Ok(()) => {
                    self.values = values;
                    return Ok(());
                }
                Err(_) if request.poll && Instant::now() < patience => {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                Err(fault) => return Err(format!("{fault}\nthe answer was {status}: {body}")),
            }
        }
    }

    /// Pays twice while nobody settles.
    async fn meet_outage(&self, request: &Request) {
        let mut seen = Vec::new();
        for _ in 0..2 {
            let (status, headers, body) = self.send(request).await.unwrap();
            let problem: Value = serde_json::from_str(&body).unwrap();
            assert_eq!((status, &problem["code"]), (503, &json!("facilitator_unavailable")));
            assert!(headers.contains_key("retry-after"));
            let url = problem["status_url"].as_str().unwrap().to_owned();
            let topup: Value =
                self.service.client.get(&url).send().await.unwrap().json().await.unwrap();
            assert_eq!(topup["status"], "refused", "{topup}");
            assert_eq!(topup["status_url"], url.as_str());
            seen.push(url);
        }
        assert_eq!(seen[0], seen[1], "the same payment is the same top-up");
    }

    async fn send(&self, request: &Request) -> Result<(u16, HeaderMap, String), String> {
        let url = format!("{}{}", self.service.url, self.values.fill(&request.path)?);
        let mut builder = self.service.client.request(request.method.parse().unwrap(), url);
        for (name, value) in &request.headers {
            builder = builder.header(name, self.values.fill(value)?);
        }
        if let Some(body) = &request.body {
            builder = builder.body(self.values.fill(body)?);
        }
        let answer = builder.send().await.map_err(|error| error.to_string())?;
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        Ok((status, headers, answer.text().await.map_err(|error| error.to_string())?))
    }
}

/// Whether an answer is the documented one.
fn compare(
    documented: &Response,
    status: u16,
    headers: &HeaderMap,
    body: &str,
    values: &mut Values,
) -> Result<(), String> {
    if documented.status != status {
        return Err(format!("status {} is documented", documented.status));
    }
    for (name, value) in &documented.headers {
        let got = headers.get(name).and_then(|value| value.to_str().ok());
        let got = got.ok_or_else(|| format!("the answer has no header {name}"))?;
        values.meet(value, got).map_err(|fault| format!("{name}: {fault}"))?;
    }
    match &documented.body {
        None => Ok(()),
        Some(Body::Json(documented)) => {
            let got: Value = serde_json::from_str(body).map_err(|error| error.to_string())?;
            values.meet_json(documented, &got, "body")
        }
        Some(Body::Lines(documented)) => {
            let mut lines = body.lines();
            for line in documented.lines() {
                let got = lines.next().ok_or_else(|| format!("the answer lacks {line}"))?;
                values.meet(line, got)?;
            }
            Ok(())
        }
    }
}
