//! Header fuzzing: payments broken in every way that their text, their base64 and their header can
//! be, from the vectors that official clients sent and from payments that were good until then.
//!
//! `FUZZ_CASES` says how many, and `FUZZ_SEED` repeats them.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use bursar::ground::Clock;
use bursar::x402::{Payment, Version, eip712};
use serde_json::{Value, json};

use super::front::Front;
use super::mutant::header_lines;
use super::{Stage, TOPUP, VERSIONS, moved_at};
use crate::http_wire::{Answer, Connection};
use crate::support::dice::Dice;
use crate::support::postgres::run;

/// How many are sent without `FUZZ_CASES`.
const CASES: u64 = 600;

/// How many mutants are made of one good payment: one of them may still be good, and is spent.
const OF_ONE: u64 = 12;

const VECTORS: &str = include_str!("../../vectors/x402.json");

fn number(name: &str) -> Option<u64> {
    std::env::var_os(name).map(|text| text.to_str().unwrap().parse().unwrap())
}

#[test]
fn broken_payment_headers_get_an_answer_and_move_nothing() {
    run(|db| async move {
        let stage = Stage::set(db).await;
        let seed = number("FUZZ_SEED")
            .unwrap_or_else(|| u64::from_le_bytes(crate::ledger::scene::fresh()));
        let cases = number("FUZZ_CASES").unwrap_or(CASES);
        eprintln!("FUZZ_SEED={seed} FUZZ_CASES={cases}");
        let address = stage.api.url.strip_prefix("http://").unwrap().parse().unwrap();
        let captured = captured();
        let (mut good, mut paid, mut seen) = (Vec::new(), 0, BTreeSet::new());
        for case in 0..cases {
            if case % OF_ONE == 0 {
                good = sign(&stage).await;
            }
            let mut dice = Dice::new(seed ^ case.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let base = if dice.below(4) == 0 { dice.pick(&captured) } else { dice.pick(&good) };
            let lines = header_lines(base, &captured, &mut dice);
            let shown = Shown { seed, case, lines: &lines };
            let answer = ask(address, &lines).await;
            seen.insert(answer.status);
            assert!(answer.status < 500, "{} {}", answer.status, answer.body);
            paid += u64::from(answer.status == 200);
            assert!(
                [200, 400, 402, 409, 413, 422, 431].contains(&answer.status),
                "{}",
                answer.body
            );
            drop(shown);
        }
        eprintln!("answers {seen:?}; {paid} were still good");
        assert!(paid > 0 && seen.len() > 2, "the mutants are too broken to reach anything");
        let sent = stage.front.seen("settle").len();
        only_good_ones_were_sent(&stage.front);
        let moved = moved_at(&stage.api.database.owner).await;
        assert_eq!(i64::try_from(sent).unwrap() * 1_000_000, moved, "each that was sent was good");
        stage.holds(&format!("{}", moved / 1_000_000)).await;
    });
}

/// Says how to repeat a case that fails.
struct Shown<'a> {
    seed: u64,
    case: u64,
    lines: &'a [Vec<u8>],
}

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let lines: Vec<_> =
                self.lines.iter().map(|line| String::from_utf8_lossy(line)).collect();
            eprintln!("FUZZ_SEED={} fails at case {}: {lines:?}", self.seed, self.case);
        }
    }
}

/// The payments that official clients sent.
fn captured() -> Vec<Value> {
    let vectors: Value = serde_json::from_str(VECTORS).unwrap();
    let payments = vectors["payments"].as_object().unwrap();
    payments.values().map(|payment| payment["decoded"].clone()).collect()
}

/// One good payment of each version, and the money for both.
async fn sign(stage: &Stage) -> Vec<Value> {
    stage.fund("2.00").await;
    let terms = stage.api.post(TOPUP, "", json!({})).await;
    let now = stage.api.clock.now();
    VERSIONS.map(|version| stage.buyer.sign(version, &terms, now).value).to_vec()
}

async fn ask(address: SocketAddr, lines: &[Vec<u8>]) -> Answer {
    let mut connection = Connection::open(address).await;
    let head = format!("POST {TOPUP} HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n");
    let lines: Vec<u8> =
        lines.iter().flat_map(|line| [line.as_slice(), b"\r\n"].concat()).collect();
    connection.send(&[head.as_bytes(), &lines, b"\r\n"].concat()).await;
    connection.answer(false).await
}

/// What was sent to `/settle` pays us what we asked for, is signed by its payer, and reads the same
/// to every reader. What was sent to `/verify` at least pays us.
fn only_good_ones_were_sent(front: &Front) {
    let mut nonces = BTreeSet::new();
    for call in ["verify", "settle"] {
        for body in front.seen(call) {
            let version = if body["x402Version"] == 1 { Version::V1 } else { Version::V2 };
            let payment = Payment::from_value(version, body["paymentPayload"].clone()).unwrap();
            let (authorization, wanted) = (&payment.authorization, &body["paymentRequirements"]);
            let amount = wanted.get("amount").unwrap_or(&wanted["maxAmountRequired"]);
            assert_eq!(json!(authorization.value.to_string()), *amount, "{body}");
            let pay_to = wanted["payTo"].as_str().unwrap().to_lowercase();
            assert_eq!(authorization.to.lower(), pay_to, "{body}");
            if call == "settle" {
                let digest = eip712::transfer_digest(payment.network, authorization);
                let signer = eip712::recover(&digest, &payment.signature);
                assert_eq!(signer, Some(authorization.from), "{body}");
                assert!(nonces.insert(payment.identity().nonce), "sent twice: {body}");
            }
        }
    }
}
