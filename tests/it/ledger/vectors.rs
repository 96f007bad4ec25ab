//! The published order of draws and restorations, from `tests/vectors/lots.json`, through the engine.

use std::collections::HashMap;

use bursar::ground::{Amount, BookId, ChargeId, Clock, HoldId, KeyId};
use bursar::ledger::{EngineSettings, GrantTerms, HoldRequest};
use chrono::{SubsecRound, TimeDelta};
use serde::Deserialize;
use sqlx::PgPool;
use uuid::Uuid;

use super::commands::{Verb, terms};
use super::invariants;
use super::scene::Replica;
use crate::support::postgres::run;

const VECTORS: &str = include_str!("../../vectors/lots.json");

/// How many cases there must be at least: a file that lost some is not the file.
const CASES_MIN: usize = 5;

#[derive(Deserialize)]
struct Vectors {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    lots: Vec<Lot>,
    steps: Vec<Step>,
    left: HashMap<String, Amount>,
}

#[derive(Deserialize)]
struct Lot {
    lot: String,
    paid: bool,
    priority: i16,
    granted_days_ago: i64,
    expires_in_days: Option<i64>,
    amount: Amount,
}

#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
enum Step {
    Hold { hold: String, amount: Amount, moves: Moves },
    Capture { hold: String, capture: String, amount: Amount, moves: Moves },
    Release { hold: String, amount: Amount, moves: Moves },
    Reversal { hold: String, capture: String, amount: Amount, moves: Moves },
    Pass { days: i64 },
    Grant { lot: String, priority: i16, expires_in_days: i64, amount: Amount },
}

type Moves = Vec<(String, Amount)>;

#[test]
fn lots_are_drawn_from_and_restored_in_the_published_order() {
    let vectors: Vectors = serde_json::from_str(VECTORS).unwrap();
    assert!(vectors.cases.len() >= CASES_MIN);
    for case in vectors.cases {
        run(|db| async move {
            let replica = Replica::new(&db, 7, EngineSettings::default());
            let account = BookId(Uuid::from_u128(0x0700));
            let [key, _] = replica.open_account(account).await;
            let (owner, names) = (db.owner.clone(), HashMap::new());
            let mut player = Player { replica, owner, account, key, names };
            player.play(&case).await;
            invariants::hold_in(&db.owner).await;
        });
    }
}

struct Player {
    replica: Replica,
    owner: PgPool,
    account: BookId,
    key: KeyId,
    /// The names of the lots that the case opens.
    names: HashMap<Uuid, String>,
}

/// An id that a name of the file stands for, in the slot of every book of these tests.
fn id(name: &str) -> Uuid {
    let letters = name.bytes().fold(0_u128, |id, letter| (id << 8) | u128::from(letter));
    Uuid::from_u128(letters << 8)
}

impl Player {
    async fn play(&mut self, case: &Case) {
        self.open(&case.lots).await;
        for (n, step) in case.steps.iter().enumerate() {
            let what = format!("{}, step {n}", case.name);
            if let Step::Grant { lot, priority, expires_in_days, amount } = step {
                self.grant(lot, *priority, *expires_in_days, *amount).await;
            }
            let from = self.version().await;
            let Some((verb, movement, expected)) = self.verb(step) else { continue };
            let done = self.replica.act(self.account, &format!("step {n}"), verb).await.unwrap();
            assert!(done.accepted, "{what}: {}", done.body);
            assert_eq!(self.moves(from, movement).await, *expected, "{what}");
        }
        let left: HashMap<_, _> = self.lots().await.into_values().collect();
        assert_eq!(left, case.left, "{}", case.name);
    }

    /// Opens lots as money and gifts open them; then their owner gives them the terms of the case,
    /// which nobody can choose for money, nor for the past.
    async fn open(&mut self, lots: &[Lot]) {
        let now = self.replica.clock.now().trunc_subsecs(0);
        for lot in lots {
            let later = now + TimeDelta::days(1_000);
            let verb =
                if lot.paid { Verb::TopUp(lot.amount) } else { Verb::Grant(lot.amount, later) };
            assert!(self.replica.act(self.account, &lot.lot, verb).await.unwrap().accepted);
            sqlx::query(
                "update lot set priority = $2, granted_at = $3, effective_at = $3, expires_at = $4
                 where lot_id = (select lot_id from lot where book_id = $1 order by lot_id desc
                                 limit 1)",
            )
            .bind(self.account.0)
            .bind(lot.priority)
            .bind(now - TimeDelta::days(lot.granted_days_ago))
            .bind(lot.expires_in_days.map(|days| now + TimeDelta::days(days)))
            .execute(&self.owner)
            .await
            .unwrap();
            self.name_last(&lot.lot).await;
        }
    }

    /// Gives credits on terms that an operator may choose.
    async fn grant(&mut self, lot: &str, priority: i16, days: i64, amount: Amount) {
        let now = self.replica.clock.now();
        let terms = terms(amount, now, now + TimeDelta::days(days));
        let verb = Verb::Given(GrantTerms { priority, ..terms });
        assert!(self.replica.act(self.account, lot, verb).await.unwrap().accepted);
        self.name_last(lot).await;
    }

    async fn name_last(&mut self, lot: &str) {
        let sql = "select lot_id from lot where book_id = $1 order by lot_id desc limit 1";
        let id = sqlx::query_scalar(sql).bind(self.account.0).fetch_one(&self.owner).await;
        assert!(self.names.insert(id.unwrap(), lot.to_owned()).is_none());
    }

    fn verb<'a>(&self, step: &'a Step) -> Option<(Verb, &'static str, &'a Moves)> {
        let (hold_of, charge_of) = (|name: &str| HoldId(id(name)), |name: &str| ChargeId(id(name)));
        match step {
            Step::Pass { days } => {
                self.replica.clock.advance(TimeDelta::days(*days));
                None
            }
            Step::Grant { .. } => None,
            Step::Hold { hold, amount, moves } => {
                let holds = vec![HoldRequest { id: hold_of(hold), amount: *amount }];
                Some((Verb::Hold { key: self.key, holds, max_total: *amount }, "hold", moves))
            }
            Step::Capture { hold, capture, amount, moves } => {
                let (hold, capture) = (hold_of(hold), charge_of(capture));
                Some((Verb::Capture { hold, capture, amount: *amount }, "capture", moves))
            }
            Step::Release { hold, amount, moves } => {
                let hold = hold_of(hold);
                Some((Verb::Release { hold, amount: *amount }, "release", moves))
            }
            Step::Reversal { hold, capture, amount, moves } => {
                let (hold, capture) = (hold_of(hold), charge_of(capture));
                Some((Verb::Reverse { capture, hold, amount: *amount }, "reversal", moves))
            }
        }
    }

    async fn version(&self) -> i64 {
        sqlx::query_scalar("select version from book where book_id = $1")
            .bind(self.account.0)
            .fetch_one(&self.owner)
            .await
            .unwrap()
    }

    /// The parts of lots that a movement moved since a version, in its order.
    async fn moves(&self, from: i64, movement: &str) -> Moves {
        let rows: Vec<(Uuid, i64)> = sqlx::query_as(
            "select lot_id, amount from transfer
             where book_id = $1 and version > $2
               and movement in (select movement from movement where name = $3) order by version",
        )
        .bind(self.account.0)
        .bind(from)
        .bind(movement)
        .fetch_all(&self.owner)
        .await
        .unwrap();
        let lots = self.lots().await;
        let part = |(lot, amount)| (lots[&lot].0.clone(), Amount::from_micros(amount).unwrap());
        rows.into_iter().map(part).collect()
    }

    /// Every lot by id, with its name and what is left of it.
    async fn lots(&self) -> HashMap<Uuid, (String, Amount)> {
        let rows: Vec<(Uuid, Option<Uuid>, i64)> = sqlx::query_as(
            "select lot_id, parent_id, remaining from lot where book_id = $1 order by lot_id",
        )
        .bind(self.account.0)
        .fetch_all(&self.owner)
        .await
        .unwrap();
        let mut lots: HashMap<Uuid, (String, Amount)> = HashMap::new();
        for (lot, parent, remaining) in rows {
            let name = match parent {
                Some(parent) => format!("{}'", lots[&parent].0),
                None => self.names[&lot].clone(),
            };
            lots.insert(lot, (name, Amount::from_micros(remaining).unwrap()));
        }
        lots
    }
}
