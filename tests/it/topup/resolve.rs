//! What the resolver may believe, and what it must not.

use std::time::Duration;

use bursar::x402::Version;
use bursar::x402::topup::TopupState;
use serde_json::json;
use sqlx::PgPool;

use super::front::{Act, Says};
use super::{Stage, VERSIONS, assert_unknown};
use crate::support::postgres::run;

#[test]
fn after_an_unknown_outcome_a_refusal_is_not_believed() {
    run(|db| async move {
        let stage = Stage::set(db).await;
        for version in VERSIONS {
            let signed = stage.funded(version, "1.00").await;
            stage.front.next("settle", Act::twist(Says::Nothing));
            assert_unknown(&stage.pay(&signed, "", "1.00").await, version);
            // The first attempt may have emptied the wallet, used the nonce and outlived its window.
            for reason in [
                "insufficient_funds",
                "invalid_exact_evm_insufficient_balance",
                "invalid_exact_evm_payload_authorization_valid_before",
                "invalid_exact_evm_nonce_already_used",
            ] {
                let refusal = json!({
                    "success": false, "errorReason": reason, "transaction": "", "network": "",
                });
                stage.front.next("settle", Act::say(Says::json(&refusal)));
                assert_eq!(stage.resolve().await, 1);
                let body = assert_unknown(&stage.pay(&signed, "", "1.00").await, version);
                assert_eq!(stage.told(&body).await["reason"], reason);
            }
            stage.front.close().await;
            assert_eq!(stage.resolve().await, 1);
            assert_unknown(&stage.pay(&signed, "", "1.00").await, version);
            stage.front.reopen().await;
            assert_eq!(stage.resolve().await, 1);
            stage.pay(&signed, "", "1.00").await.json(200);
        }
        // One that never moved cannot be told from one that did, not even when its window is over:
        // it stays open, openly.
        let signed = stage.funded(Version::V2, "1.00").await;
        stage.front.next("settle", Act::say(Says::Nothing));
        assert_unknown(&stage.pay(&signed, "", "1.00").await, Version::V2);
        stage.api.clock.advance(chrono::TimeDelta::hours(12));
        assert_eq!(stage.resolve().await, 1);
        assert_unknown(&stage.pay(&signed, "", "1.00").await, Version::V2);
        let standing = stage.api.topups.standing().await.unwrap();
        assert!(standing.by_state.contains(&(TopupState::Unknown, 1)), "{standing:?}");
        assert!(standing.oldest_unknown_s >= 12 * 3600, "{standing:?}");
        stage.holds("2.00").await;
    });
}

#[test]
fn what_is_unknown_is_asked_for_at_growing_intervals() {
    run(|db| async move {
        let stage = Stage::set(db).await;
        let signed = stage.funded(Version::V2, "1.00").await;
        stage.front.next("settle", Act::say(Says::Nothing));
        assert_unknown(&stage.pay(&signed, "", "1.00").await, Version::V2);
        // Each time as long again as it has been open, up to 64 times the first pause. The time that
        // the test itself takes is added to each, so it is looked for well before and well after.
        let mut open_for = 0;
        for turn in 0..9 {
            let seconds = open_for.clamp(10, 640);
            let step = || async { stage.api.topups.resolve_step().await.unwrap() };
            stage.api.clock.advance(chrono::TimeDelta::milliseconds(seconds * 400));
            if turn > 1 {
                assert_eq!(step().await, 0, "before {seconds} s");
            }
            stage.api.clock.advance(chrono::TimeDelta::milliseconds(seconds * 700));
            stage.front.next("settle", Act::say(Says::Nothing));
            assert_eq!(step().await, 1, "after {seconds} s");
            open_for += seconds * 11 / 10;
        }
        stage.holds("0").await;
    });
}

#[test]
fn one_that_hangs_keeps_no_other_waiting() {
    run(|db| async move {
        let stage = Stage::set(db).await;
        let mut payments = Vec::new();
        for _ in 0..2 {
            let signed = stage.funded(Version::V2, "1.00").await;
            stage.front.next("settle", Act::say(Says::Nothing));
            assert_unknown(&stage.pay(&signed, "", "1.00").await, Version::V2);
            payments.push(signed);
        }
        // The first to be asked for is held until the second is credited.
        stage.front.next("settle", Act::hold());
        let other = async {
            stage.front.arrived("settle", 4).await;
            let mut done = false;
            while !done {
                for signed in &payments {
                    done |= stage.pay(signed, "", "1.00").await.status == 200;
                }
            }
            stage.front.release();
        };
        let both = async { tokio::join!(stage.resolve(), other) };
        let both = tokio::time::timeout(Duration::from_secs(60), both).await;
        assert_eq!(both.expect("the second was not held up").0, 2);
        stage.holds("2.00").await;
    });
}

#[test]
fn a_step_goes_on_while_one_of_an_earlier_step_hangs() {
    run(|db| async move {
        let stage = Stage::set(db).await;
        let mut payments = Vec::new();
        let mut hanging = Vec::new();
        for turn in 0..2 {
            let signed = stage.funded(Version::V2, "1.00").await;
            stage.front.next("settle", Act::say(Says::Nothing));
            assert_unknown(&stage.pay(&signed, "", "1.00").await, Version::V2);
            payments.push(signed);
            if turn == 0 {
                stage.front.next("settle", Act::hold());
                stage.api.clock.advance(chrono::TimeDelta::seconds(11));
                hanging = stage.api.topups.take_up_due().await.unwrap();
                assert_eq!(hanging.len(), 1);
                stage.front.arrived("settle", 2).await;
            }
        }
        stage.api.clock.advance(chrono::TimeDelta::seconds(11));
        assert_eq!(stage.api.topups.resolve_step().await.unwrap(), 1);
        stage.pay(&payments[1], "", "1.00").await.json(200);
        assert_unknown(&stage.pay(&payments[0], "", "1.00").await, Version::V2);
        stage.front.release();
        for task in hanging {
            task.await.unwrap().unwrap();
        }
        stage.pay(&payments[0], "", "1.00").await.json(200);
        stage.holds("2.00").await;
    });
}

#[test]
fn a_used_authorization_credits_nobody_but_the_wallet_that_signed_it() {
    run(|db| async move {
        let stage = Stage::set(db).await;
        let thief = stage.api.signup(json!([])).await;
        for version in VERSIONS {
            let sent = stage.front.seen("settle").len();
            // Somebody settled it without us; from then on everybody can read it on the chain.
            let first = stage.funded(version, "1.00").await;
            let second = stage.funded(version, "1.00").await;
            for signed in [&first, &second] {
                let terms = stage.api.topups.terms(crate::api::dollars("1.00"));
                let network = crate::api::network();
                let requirements = match version {
                    Version::V1 => serde_json::to_value(terms.requirements_v1(network)),
                    Version::V2 => serde_json::to_value(terms.requirements(network)),
                };
                let call = json!({
                    "x402Version": version.number(), "paymentPayload": signed.value,
                    "paymentRequirements": requirements.unwrap(),
                });
                let settled = stage.api.post("/sandbox/facilitator/settle", "", call).await;
                assert_eq!(settled.json(200)["success"], true, "{}", settled.body);
            }
            let stolen = assert_unknown(&stage.pay(&first, &thief.key, "1.00").await, version);
            assert_eq!(stolen["reason"], "used_before");
            let shown = assert_unknown(&stage.pay(&second, "", "1.00").await, version);
            assert_eq!((shown.get("account_id"), shown.get("balance")), (None, None), "{shown}");
            assert_eq!(stage.front.seen("settle").len(), sent, "nothing is sent for a request");
            let path = format!("/api/v1/topups/{}", stolen["topup_id"].as_str().unwrap());
            while stage.resolve().await > 0 {}
            // It is the wallet's, of both; whoever showed the first has nothing of it.
            let told = stage.api.get(&path, &thief.key).await.json(200);
            assert_eq!([&told["status"], &told["reason"]], ["rejected", "used_before"], "{told}");
            let stolen = stage.pay(&first, &thief.key, "1.00").await;
            stolen.problem(409, "payment_bound_elsewhere");
            for signed in [&first, &second] {
                let shown = stage.pay(signed, "", "1.00").await.json(200);
                assert_eq!(shown["status"], "credited", "{shown}");
                assert_ne!(shown["topup_id"], told["topup_id"]);
            }
        }
        assert_eq!(stage.paid_credits(&thief.key).await, "0.00");
        stage.holds("4.00").await;
    });
}

/// Lets no top-up be credited or marked settled while the gate is shut, and counts the tries, also
/// those that are rolled back.
const GATE: &str = "
    create sequence tries;
    create table gate (shut boolean not null);
    insert into gate values (true);
    create function guard() returns trigger language plpgsql security definer as $$
    begin
      perform nextval('tries');
      if (select shut from gate) then raise exception 'shut'; end if;
      return new;
    end $$;
    create trigger guard before update on topup for each row
      when (new.state in ('settled', 'credited')) execute function guard()";

async fn tries(owner: &PgPool) -> i64 {
    let sql = "select case when is_called then last_value else 0 end from tries";
    sqlx::query_scalar(sql).fetch_one(owner).await.unwrap()
}

#[test]
fn a_success_that_the_database_does_not_take_is_kept_until_it_does() {
    run(|db| async move {
        let stage = Stage::set(db).await;
        let owner = stage.api.database.owner.clone();
        sqlx::raw_sql(GATE).execute(&owner).await.unwrap();
        for (turn, version) in VERSIONS.into_iter().enumerate() {
            sqlx::query("update gate set shut = true").execute(&owner).await.unwrap();
            let before = tries(&owner).await;
            let signed = stage.funded(version, "1.00").await;
            let open = async {
                // Neither the credit nor the note of the success could be written.
                while tries(&owner).await < before + 2 {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                sqlx::query("update gate set shut = false").execute(&owner).await.unwrap();
            };
            let (answer, ()) = tokio::join!(stage.pay(&signed, "", "1.00"), open);
            let body = answer.json(202);
            assert_eq!(body["status"], "settled", "{body}");
            assert!(body["transaction"].is_string(), "{body}");
            assert_eq!(stage.resolve().await, 1);
            stage.pay(&signed, "", "1.00").await.json(200);
            // The facilitator is not asked for what it has said already.
            assert_eq!(stage.front.seen("settle").len(), turn + 1);
        }
        stage.holds("2.00").await;
    });
}
