//! Several facilitators: which one a payment goes to, and that it goes to no other afterwards.

use std::sync::Arc;

use bursar::x402::Version;
use serde_json::{Value, json};
use sqlx::PgPool;

use super::buyer::{Buyer, Signed};
use super::front::{Act, Front, Says};
use super::{Stage, TOPUP, VERSIONS, assert_unknown, fund, moved_at};
use crate::api::{Answer, Api, Payments, Setup};
use crate::support::postgres::{TestDatabase, run, test_database};

/// Two scripted facilitators before one sandbox, which is another service's.
struct Pair {
    first: Front,
    second: Front,
    bank: Api,
}

impl Pair {
    async fn open() -> Self {
        let other = Arc::new(test_database().await);
        let bank = Api::start_on(other, Setup::default()).await;
        let (first, second) = (Front::start().await, Front::start().await);
        for front in [&first, &second] {
            front.stand_before(format!("{}/sandbox/facilitator", bank.url));
        }
        Self { first, second, bank }
    }

    /// A service that is configured with these facilitators.
    async fn service(&self, database: &Arc<TestDatabase>, fronts: &[&Front]) -> Api {
        let facilitators = fronts.iter().map(|front| front.url.clone()).collect();
        let payments = Payments { facilitators, ..Payments::default() };
        Api::start_on(database.clone(), Setup { payments, ..Setup::default() }).await
    }

    /// How often each was asked to verify and to settle.
    fn calls(&self) -> [usize; 4] {
        [
            self.first.seen("verify").len(),
            self.first.seen("settle").len(),
            self.second.seen("verify").len(),
            self.second.seen("settle").len(),
        ]
    }

    /// Lets time go by, everywhere.
    fn pass(&self, api: &Api, minutes: i64) {
        for service in [api, &self.bank] {
            service.clock.advance(chrono::TimeDelta::minutes(minutes));
        }
    }

    /// Takes up everything that may be due by any delay.
    async fn resolve(&self, api: &Api) -> usize {
        self.pass(api, 11);
        api.topups.resolve_step().await.unwrap()
    }

    /// A payment that the bank can settle.
    async fn signed(&self, api: &Api, version: Version) -> Signed {
        use bursar::ground::Clock;
        let buyer = Buyer::new(7);
        fund(&self.bank, &buyer, "1.00").await;
        let terms = api.post(TOPUP, "", json!({})).await;
        // Another service may be shown it, and a buyer need not name the first.
        let signed = buyer.sign(version, &terms, api.clock.now());
        signed.with(|payment| drop(payment.as_object_mut().unwrap().remove("resource")))
    }
}

async fn pay(api: &Api, signed: &Signed) -> Answer {
    let (name, value) = signed.header();
    api.send(api.request(reqwest::Method::POST, TOPUP, "").header(name, value)).await
}

/// Which facilitator is on record with each top-up, in order.
async fn recorded(pool: &PgPool) -> Vec<String> {
    let sql = "select facilitator_url from topup order by created_at, topup_id";
    sqlx::query_scalar(sql).fetch_all(pool).await.unwrap()
}

fn serves(kinds: &Value) -> Act {
    Act::say(Says::json(&json!({ "kinds": kinds })))
}

#[test]
fn the_preferred_one_settles_and_the_next_one_stands_by() {
    run(|db| async move {
        let (db, pair) = (Arc::new(db), Pair::open().await);
        let api = pair.service(&db, &[&pair.first, &pair.second]).await;
        for version in VERSIONS {
            let signed = pair.signed(&api, version).await;
            pay(&api, &signed).await.json(200);
        }
        assert_eq!(pair.calls(), [2, 2, 0, 0]);
        // Nothing is sent by asking what it would say, so the next one may be asked instead.
        pair.first.next("verify", Act::say(Says::This(500, "oops".to_owned())));
        let signed = pair.signed(&api, Version::V2).await;
        pay(&api, &signed).await.json(200);
        assert_eq!(pair.calls(), [3, 2, 1, 1]);
        // Who did not answer is not the first choice, until it is heard of.
        let signed = pair.signed(&api, Version::V1).await;
        pay(&api, &signed).await.json(200);
        assert_eq!(pair.calls(), [3, 2, 2, 2]);
        api.topups.facilitators().refresh().await;
        let signed = pair.signed(&api, Version::V2).await;
        pay(&api, &signed).await.json(200);
        assert_eq!(pair.calls(), [4, 3, 2, 2]);
        let (one, two) = (pair.first.url.clone(), pair.second.url.clone());
        let expected = [&one, &one, &two, &two, &one].map(Clone::clone);
        assert_eq!(recorded(&db.owner).await, expected);
        assert_eq!(moved_at(&pair.bank.database.owner).await, 5_000_000);
        // What it refuses, no other is asked about.
        let no = json!({ "isValid": false, "invalidReason": "invalid_exact_evm_signature" });
        pair.first.next("verify", Act::say(Says::json(&no)));
        let signed = pair.signed(&api, Version::V2).await;
        pay(&api, &signed).await.json(402);
        assert_eq!(pair.calls(), [5, 3, 2, 2]);
    });
}

#[test]
fn what_was_sent_to_one_goes_to_no_other() {
    run(|db| async move {
        let (db, pair) = (Arc::new(db), Pair::open().await);
        let api = pair.service(&db, &[&pair.first, &pair.second]).await;
        for (turn, version) in VERSIONS.into_iter().enumerate() {
            let signed = pair.signed(&api, version).await;
            pair.first.next("settle", Act::twist(Says::Nothing));
            assert_unknown(&pay(&api, &signed).await, version);
            pair.first.close().await;
            // Nobody answers for it, and nobody else is asked.
            for _ in 0..2 {
                assert_eq!(pair.resolve(&api).await, 1);
                assert_unknown(&pay(&api, &signed).await, version);
            }
            assert_eq!(pair.calls()[3], turn, "the second settles only what comes later");
            // A fresh payment need not wait.
            let fresh = pair.signed(&api, version).await;
            pay(&api, &fresh).await.json(200);
            assert_eq!(pair.calls()[3], turn + 1);
            pair.first.reopen().await;
            assert_eq!(pair.resolve(&api).await, 1);
            pay(&api, &signed).await.json(200);
            let settles = pair.first.seen("settle");
            let [.., before, last] = settles.as_slice() else { panic!("sent twice") };
            assert_eq!(before, last, "repeated as it was");
            api.topups.facilitators().refresh().await;
        }
        assert_eq!(moved_at(&pair.bank.database.owner).await, 4_000_000);
        let report = api.finance.check().await.unwrap();
        assert!(report.passed(), "{report}");
    });
}

#[test]
fn what_was_never_sent_may_choose_again() {
    run(|db| async move {
        let (db, pair) = (Arc::new(db), Pair::open().await);
        let api = pair.service(&db, &[&pair.first, &pair.second]).await;
        for version in VERSIONS {
            let signed = pair.signed(&api, version).await;
            // It verifies and is gone: the connection for settling is refused.
            pair.first.next("verify", Act::close());
            pay(&api, &signed).await.problem(503, "facilitator_unavailable");
            assert_eq!(recorded(&db.owner).await.last(), Some(&pair.first.url));
            let paid = pay(&api, &signed).await.json(200);
            assert_eq!(recorded(&db.owner).await.last(), Some(&pair.second.url), "{paid}");
            pair.first.reopen().await;
            api.topups.facilitators().refresh().await;
        }
        assert_eq!(pair.first.seen("settle").len(), 0);
        assert_eq!(moved_at(&pair.bank.database.owner).await, 2_000_000);
    });
}

#[test]
fn one_that_left_the_configuration_is_asked_for_what_it_was_given() {
    run(|db| async move {
        let (db, pair) = (Arc::new(db), Pair::open().await);
        let signed = {
            let api = pair.service(&db, &[&pair.first]).await;
            let signed = pair.signed(&api, Version::V2).await;
            pair.first.next("settle", Act::twist(Says::Nothing));
            assert_unknown(&pay(&api, &signed).await, Version::V2);
            signed
        };
        let api = pair.service(&db, &[&pair.second]).await;
        assert_eq!(pair.resolve(&api).await, 1);
        pay(&api, &signed).await.json(200);
        assert_eq!(pair.calls(), [1, 2, 0, 0]);
        let fresh = pair.signed(&api, Version::V2).await;
        pay(&api, &fresh).await.json(200);
        assert_eq!(pair.calls(), [1, 2, 1, 1], "it gets nothing that is new");
    });
}

#[test]
fn who_does_not_serve_the_network_is_passed_over() {
    run(|db| async move {
        let (db, pair) = (Arc::new(db), Pair::open().await);
        pair.first.next(
            "supported",
            serves(&json!([
                {"x402Version": 2, "scheme": "exact", "network": "eip155:8453"},
                {"x402Version": 2, "scheme": "upto", "network": "eip155:84532"},
                {"x402Version": 1, "scheme": "exact", "network": "base"},
            ])),
        );
        let api = pair.service(&db, &[&pair.first, &pair.second]).await;
        for version in VERSIONS {
            let signed = pair.signed(&api, version).await;
            pay(&api, &signed).await.json(200);
        }
        assert_eq!(pair.calls(), [0, 0, 2, 2]);
        assert_eq!(
            (pair.first.seen("supported").len(), pair.second.seen("supported").len()),
            (1, 1)
        );
    });
}

#[test]
fn where_nobody_serves_the_network_nothing_is_claimed_and_readiness_says_so() {
    run(|db| async move {
        let (db, pair) = (Arc::new(db), Pair::open().await);
        bursar::db::migrate(&db.owner_options(), bursar::ground::Mode::Test).await.unwrap();
        pair.first.next("supported", serves(&json!([])));
        let api = pair.service(&db, &[&pair.first]).await;
        let checks = |ready: &Value| {
            let host = pair.first.url.strip_prefix("http://").unwrap().to_owned();
            let checks = &ready["checks"];
            [
                &ready["status"],
                &checks["facilitator"],
                &checks["networks"]["eip155:84532"],
                &checks["facilitators"][&host],
            ]
            .map(|text| text.as_str().unwrap().to_owned())
        };
        for version in VERSIONS {
            let signed = pair.signed(&api, version).await;
            pay(&api, &signed).await.problem(503, "facilitator_unavailable");
        }
        assert_eq!(recorded(&db.owner).await, Vec::<String>::new());
        let ready = api.get("/readyz", "").await.json(200);
        assert_eq!(checks(&ready), ["degraded", "failed", "unsupported", "unsupported"]);
        // It is looked at again in the background, and readiness never waits for that.
        pair.pass(&api, 7);
        api.topups.facilitators().refresh().await;
        let ready = api.get("/readyz", "").await.json(200);
        assert_eq!(checks(&ready), ["ready", "ok", "ok", "ok"]);
        pair.first.close().await;
        let signed = pair.signed(&api, Version::V2).await;
        pay(&api, &signed).await.problem(503, "facilitator_unavailable");
        let asked = pair.first.seen("supported").len();
        let ready = api.get("/readyz", "").await.json(200);
        assert_eq!(checks(&ready), ["degraded", "failed", "unreachable", "unreachable"]);
        pair.first.reopen().await;
        api.get("/readyz", "").await.json(200);
        assert_eq!(pair.first.seen("supported").len(), asked, "readiness asks nobody");
        pay(&api, &signed).await.json(200);
    });
}

#[test]
fn the_database_lets_no_sent_payment_go_elsewhere() {
    run(|db| async move {
        let stage = Stage::set(db).await;
        let signed = stage.funded(Version::V2, "1.00").await;
        stage.front.next("settle", Act::say(Says::Nothing));
        assert_unknown(&stage.pay(&signed, "", "1.00").await, Version::V2);
        for change in ["facilitator_url = 'https://x'", "asked_version = 1", "requirements = '{}'"]
        {
            for pool in [&stage.api.database.owner, &stage.api.database.service] {
                let sql = format!("update topup set {change}");
                let error = sqlx::query(sqlx::AssertSqlSafe(sql)).execute(pool).await.unwrap_err();
                let code = error.as_database_error().unwrap().code().unwrap().into_owned();
                assert_eq!(code, "23001", "{change}: {error}");
            }
        }
    });
}

#[test]
fn who_signed_for_a_contract_wallet_the_next_one_may_tell() {
    run(|db| async move {
        let (db, pair) = (Arc::new(db), Pair::open().await);
        let api = pair.service(&db, &[&pair.first, &pair.second]).await;
        let hash = format!("0x{}", "ab".repeat(32));
        // Neither of any length, nor one of 65 bytes by another key, is refused by ourselves.
        for (turn, signature) in
            ["5d".repeat(200), format!("{}1b", "5d".repeat(64))].iter().enumerate()
        {
            let signed = pair.signed(&api, Version::V2).await.with(|payment| {
                payment["payload"]["signature"] = json!(format!("0x{signature}"));
            });
            pair.first.next("verify", Act::say(Says::This(500, String::new())));
            let yes = json!({ "isValid": true, "payer": Buyer::new(7).address() });
            for _ in 0..2 {
                pair.second.next("verify", Act::say(Says::json(&yes)));
            }
            let done = json!({
                "success": true, "transaction": hash.replacen("ab", &format!("0{turn}"), 1),
                "network": "eip155:84532",
            });
            pair.second.next("settle", Act::say(Says::json(&done)));
            pay(&api, &signed).await.json(200);
            assert_eq!(recorded(&db.owner).await.last(), Some(&pair.second.url));
            assert_eq!(pair.second.seen("settle").len(), turn + 1);
            api.topups.facilitators().refresh().await;
        }
        assert_eq!(pair.first.seen("settle").len(), 0);
    });
}
