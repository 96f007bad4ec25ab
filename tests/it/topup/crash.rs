//! The real binary, killed at the worst moments.

use std::sync::Arc;
use std::time::Duration;

use bursar::finance::Finance;
use bursar::ground::Clock;
use bursar::x402::Version;
use bursar::{db, x402::topup::TopupState};
use serde_json::Value;
use sqlx::PgPool;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::buyer::{Buyer, Signed};
use super::front::{Act, Front, Says};
use super::{TOPUP, VERSIONS, credited_in, fund, moved_at, settled_in};
use crate::api::{Answer, Api, Setup, dollars};
use crate::support::postgres::{TestDatabase, run, test_database};
use crate::support::service::Service;

/// A service that can be killed, and a facilitator that outlives it: the sandbox of another service,
/// behind a scripted one.
struct Site {
    database: TestDatabase,
    elsewhere: Api,
    front: Front,
    buyer: Buyer,
    settle_timeout_s: &'static str,
    service: Option<Service>,
}

impl Site {
    async fn open(database: TestDatabase, settle_timeout_s: &'static str) -> Self {
        let front = Front::start().await;
        let other = Arc::new(test_database().await);
        let elsewhere = Api::start_on(other, Setup::default()).await;
        front.stand_before(format!("{}/sandbox/facilitator", elsewhere.url));
        let buyer = Buyer::new(7);
        let mut site = Self { database, elsewhere, front, buyer, settle_timeout_s, service: None };
        site.start();
        site
    }

    /// Starts the service, again if it was killed.
    fn start(&mut self) {
        let variables = [
            ("BURSAR_FACILITATOR_URL", self.front.url.as_str()),
            ("BURSAR_SETTLE_TIMEOUT_S", self.settle_timeout_s),
            ("BURSAR_VERIFY_TIMEOUT_S", "1"),
            ("BURSAR_RECEIPT_WAIT_MS", "0"),
            ("BURSAR_RESOLVE_INTERVAL_MS", "100"),
            ("BURSAR_RESOLVE_BACKOFF_MS", "200"),
        ];
        self.service = Some(Service::start(&self.database, &variables));
    }

    fn kill(&mut self) {
        drop(self.service.take().unwrap());
    }

    fn service(&self) -> &Service {
        self.service.as_ref().unwrap()
    }

    async fn ask(&self, signed: Option<&Signed>) -> Answer {
        let service = self.service();
        let request = service.client.post(format!("{}{TOPUP}", service.url));
        let request = match signed.map(Signed::header) {
            Some((name, value)) => request.header(name, value),
            None => request,
        };
        self.elsewhere.send(request).await
    }

    async fn sign(&self, version: Version) -> Signed {
        fund(&self.elsewhere, &self.buyer, "1.00").await;
        let signed = self.buyer.sign(version, &self.ask(None).await, self.elsewhere.clock.now());
        // The service has another address after a restart, and a buyer need not name it.
        signed.with(|payment| drop(payment.as_object_mut().unwrap().remove("resource")))
    }

    /// Sends a payment that is killed on its way: the test goes on when this call has come.
    async fn send_and_kill(&mut self, signed: &Signed, call: &str, count: usize) {
        let service = self.service();
        let (name, value) = signed.header();
        let request = service.client.post(format!("{}{TOPUP}", service.url)).header(name, value);
        let sending = tokio::spawn(request.send());
        self.front.arrived(call, count).await;
        self.kill();
        assert!(sending.await.unwrap().is_err(), "the answer is lost");
    }

    /// Waits until a top-up stands so.
    async fn stands(&self, state: TopupState) {
        let sql = "select exists (select from topup where state = $1)";
        let reached = async {
            loop {
                let query = sqlx::query_scalar(sql).bind(state.name());
                if query.fetch_one(&self.database.owner).await.unwrap() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let reached = tokio::time::timeout(Duration::from_secs(60), reached).await;
        reached.unwrap_or_else(|_| panic!("it never became {}", state.name()));
    }

    /// Sends the same payment until it is credited. It is never asked to pay again.
    async fn insist(&self, signed: &Signed) -> Value {
        let credited = async {
            loop {
                let answer = self.ask(Some(signed)).await;
                match answer.status {
                    200 => return answer.json(200),
                    202 | 503 => tokio::time::sleep(Duration::from_millis(100)).await,
                    _ => panic!("{answer:?}"),
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(60), credited).await.expect("credited in the end")
    }

    /// Asserts that so much moved and was credited, and runs all checks.
    async fn holds(&self, moved: &str) {
        let owner: &PgPool = &self.database.owner;
        let there = moved_at(&self.elsewhere.database.owner).await;
        let figures = [there, credited_in(owner).await, settled_in(owner).await];
        assert_eq!(figures, [dollars(moved).micros(); 3]);
        let finance = Finance::new(db::report_pool(self.database.service_options(), 1));
        let report = finance.check().await.unwrap();
        assert!(report.passed(), "{report}");
    }
}

#[test]
fn killed_between_claim_and_settle() {
    run(|db| async move {
        let mut site = Site::open(db, "1").await;
        for (turn, version) in VERSIONS.into_iter().enumerate() {
            let signed = site.sign(version).await;
            site.front.next("verify", Act::hold());
            site.send_and_kill(&signed, "verify", 2 * turn + 1).await;
            site.stands(TopupState::Claimed).await;
            site.start();
            let open = site.ask(Some(&signed)).await;
            assert!([202, 503, 200].contains(&open.status), "{open:?}");
            site.front.release();
            assert_eq!(site.insist(&signed).await["status"], "credited");
            assert_eq!(site.front.seen("settle").len(), turn + 1, "sent once");
        }
        site.holds("2").await;
    });
}

#[test]
fn killed_during_settle_before_and_after_the_money_moved() {
    run(|db| async move {
        let mut site = Site::open(db, "1").await;
        for version in VERSIONS {
            let signed = site.sign(version).await;
            let sent = site.front.seen("settle").len();
            // In version 2 the answer is on its way, in version 1 nothing has been done yet.
            let moved = version == Version::V2;
            site.front.next("settle", if moved { Act::twist(Says::Silence) } else { Act::hold() });
            // After the restart it stays open, openly, while the facilitator does not say.
            site.front.next("settle", Act::say(Says::This(500, "oops".to_owned())));
            site.send_and_kill(&signed, "settle", sent + 1).await;
            site.stands(TopupState::Settling).await;
            site.start();
            site.stands(TopupState::Unknown).await;
            let open = site.ask(Some(&signed)).await;
            assert_eq!(open.json(202)["status"], "unknown");
            assert_eq!(site.insist(&signed).await["status"], "credited");
            if !moved {
                // What was held all the time comes through at last, and finds it done.
                site.front.release();
            }
        }
        site.holds("2").await;
    });
}

#[test]
fn killed_again_and_again_while_copies_come_in() {
    run(|db| async move {
        let mut site = Site::open(db, "1").await;
        let mut payments = Vec::new();
        for turn in 0..6 {
            let signed = site.sign(VERSIONS[turn % 2]).await;
            let service = site.service();
            let (name, value) = signed.header();
            let sending = (0..3).map(|_| {
                let request = service.client.post(format!("{}{TOPUP}", service.url));
                tokio::spawn(request.header(name, value.clone()).send())
            });
            let sending: Vec<_> = sending.collect();
            // The kill falls wherever it falls.
            tokio::time::sleep(Duration::from_millis(7 * u64::try_from(turn).unwrap())).await;
            site.kill();
            for sent in sending {
                if let Ok(answer) = sent.await.unwrap() {
                    assert!([200, 202, 503].contains(&answer.status().as_u16()), "{answer:?}");
                }
            }
            payments.push(signed);
            site.start();
        }
        for signed in &payments {
            assert_eq!(site.insist(signed).await["status"], "credited");
        }
        site.holds("6").await;
    });
}

#[test]
fn told_to_stop_during_settle_it_waits_for_the_answer() {
    run(|db| async move {
        let mut site = Site::open(db, "60").await;
        let signed = site.sign(Version::V2).await;
        site.front.next("settle", Act::hold());
        let service = site.service();
        let address = service.url.strip_prefix("http://").unwrap().to_owned();
        let (name, value) = signed.header();
        let mut client = TcpStream::connect(&address).await.unwrap();
        let request = format!(
            "POST {TOPUP} HTTP/1.1\r\nhost: x\r\n{name}: {value}\r\ncontent-length: 0\r\n\r\n"
        );
        client.write_all(request.as_bytes()).await.unwrap();
        site.front.arrived("settle", 1).await;
        // Nobody waits for the answer any more.
        client.set_zero_linger().unwrap();
        drop(client);
        service.tell_to_stop();
        while TcpStream::connect(&address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        site.front.release();
        assert_eq!(site.service.take().unwrap().ended().await, Some(0));
        site.holds("1").await;
    });
}

#[test]
fn told_to_stop_it_hears_what_the_resolver_has_asked() {
    run(|db| async move {
        let mut site = Site::open(db, "30").await;
        let signed = site.sign(Version::V2).await;
        site.front.next("settle", Act::say(Says::This(500, "oops".to_owned())));
        site.front.next("settle", Act::hold());
        site.ask(Some(&signed)).await.json(202);
        site.front.arrived("settle", 2).await;
        let mut service = site.service.take().unwrap();
        service.tell_to_stop();
        let early = tokio::time::timeout(Duration::from_secs(1), service.ended()).await;
        assert!(early.is_err(), "it waits for the answer");
        site.front.release();
        assert_eq!(service.ended().await, Some(0));
        site.stands(TopupState::Credited).await;
        site.holds("1").await;
    });
}
