//! A settlement that turns out to be void is explained: every check stays clean, whatever is on hold
//! or spent of it, whatever comes back, and when its money turns up after all.

use std::sync::Arc;

use bursar::finance::{DriftChecker, DriftSettings, Format, Scope};
use bursar::ground::{BookId, TopupId};
use bursar::ledger::{Annex, Annexes, Command, CommandIdentity, Decision, Desk, Fault, Wants};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde_json::json;
use sqlx::PgConnection;

use super::broken::{TINY, lap};
use super::drift::{HEAD, round};
use super::journal::{export, records};
use super::scene::{Scene, accepted};
use crate::support::postgres::run;

/// Finds a settlement void, or there after all, as the confirmer's command does.
struct Turn {
    account: BookId,
    topup: TopupId,
    void: bool,
}

#[derive(Default)]
struct Standings(Vec<(BookId, TopupId, &'static str)>);

impl Annex for Standings {
    fn read<'a>(&'a mut self, _: &'a mut PgConnection) -> BoxFuture<'a, Result<(), sqlx::Error>> {
        async { Ok(()) }.boxed()
    }

    fn write<'a>(&'a mut self, tx: &'a mut PgConnection) -> BoxFuture<'a, Result<(), sqlx::Error>> {
        async move {
            for (account, topup, standing) in &self.0 {
                let sql = "insert into settlement
                             (slot, book_id, topup_id, head, look_at, updated_at)
                           values ($1, $2, $3, 1, now(), now()) on conflict do nothing";
                let insert = sqlx::query(sql).bind(account.slot().sql()).bind(account.0);
                insert.bind(topup.0).execute(&mut *tx).await?;
                let sql = "update settlement set standing = $1, missing_since = 1
                           where topup_id = $2";
                sqlx::query(sql).bind(standing).bind(topup.0).execute(&mut *tx).await?;
            }
            Ok(())
        }
        .boxed()
    }

    fn changes(&self) -> u64 {
        u64::try_from(self.0.len()).unwrap()
    }
}

impl Command for Turn {
    fn book(&self) -> BookId {
        self.account
    }

    fn identity(&self) -> CommandIdentity {
        CommandIdentity::of_effect(&format!("topup:{}:{}", self.topup, self.void))
    }

    fn want(&self, wants: &mut Wants, annexes: &mut Annexes) {
        wants.lots_of(self.account, self.topup.0);
        annexes.of::<Standings>();
    }

    fn decide(&self, desk: &mut Desk<'_>) -> Result<Decision, Fault> {
        let (standing, event) = if self.void {
            desk.book.void(desk.entropy, self.topup.0)?;
            ("void", "topup.voided")
        } else {
            desk.book.reinstate(desk.entropy, self.topup.0)?;
            ("reinstated", "topup.reinstated")
        };
        desk.book.emit(event, self.topup.0);
        desk.annexes.of::<Standings>().0.push((self.account, self.topup, standing));
        Ok(Decision::accept(&json!({})))
    }
}

struct Checkers(Vec<DriftChecker>);

impl Checkers {
    /// The full check and every incremental one find nothing, and the roles have these balances.
    async fn clean(&self, scene: &Scene, account: BookId, expected: [&str; 4]) {
        let full = scene.check().await;
        assert!(full.passed(), "{full}");
        let head = round(&self.0[0]).await.report;
        assert!(head.passed(), "{head}");
        for checker in &self.0[1..] {
            let report = lap(checker).await;
            assert!(report.passed(), "{report}");
        }
        let trial = scene.finance.trial_balance(Scope::Book(account)).await.unwrap();
        assert!(trial.balanced);
        let balances = ["settled_usdc", "prepaid", "held", "settlement_loss"].map(|role| {
            let row = trial.rows.iter().find(|row| row.account == role).unwrap();
            if row.normal_side == "debit" { row.debit.clone() } else { row.credit.clone() }
        });
        assert_eq!(balances, expected);
    }
}

#[test]
fn a_void_settlement_is_an_explained_event() {
    run(|db| async {
        let scene = Scene::empty(db).await;
        let checkers = [HEAD, DriftSettings::default(), TINY].map(|of| scene.checker(of));
        let checkers = Checkers(checkers.into());
        let cleo = scene.sign_up("Cleo", vec![]).await;
        let account = cleo.account;
        let topup = scene.top_up(account, "10.00").await;
        // 25.00 of it are promotional, and 5.00 are paid: 3.00 of these captured and 2.00 on hold.
        let checkout = scene.open(account, cleo.key_id, &[("lead", 15)]).await;
        scene.deliver(checkout, 1, "one", 14).await;
        let charge = scene.judge(checkout, "one", 14).await;
        checkers.clean(&scene, account, ["10.00", "5.00", "2.00", "0.00"]).await;

        let turn = |void| Arc::new(Turn { account, topup, void });
        accepted(scene.engine.submit(turn(true)).await.unwrap());
        assert!(scene.engine.submit(turn(true)).await.unwrap().replayed);
        checkers.clean(&scene, account, ["0.00", "0.00", "2.00", "5.00"]).await;
        scene.cancel(account, checkout).await;
        checkers.clean(&scene, account, ["0.00", "0.00", "0.00", "3.00"]).await;
        scene.reverse(charge, Some("2.00")).await;
        checkers.clean(&scene, account, ["0.00", "0.00", "0.00", "1.00"]).await;
        accepted(scene.engine.submit(turn(false)).await.unwrap());
        checkers.clean(&scene, account, ["10.00", "9.00", "0.00", "0.00"]).await;
        // From here on it is a lot like any other, also for what comes back.
        scene.reverse(charge, Some("2.00")).await;
        checkers.clean(&scene, account, ["10.00", "10.00", "0.00", "0.00"]).await;

        let journal = records(&export(&scene, Scope::Book(account), Format::Csv).await);
        let of = |movement: &str| {
            let lines = journal.iter().filter(|line| line["movement"] == movement);
            lines
                .map(|line| {
                    assert_eq!(line["topup_id"], topup.to_string(), "{line:?}");
                    assert_eq!(line["subject_id"], topup.to_string());
                    let named = ["settlement_network", "settlement_transaction", "payer"];
                    assert!(named.iter().all(|column| !line[*column].is_empty()), "{line:?}");
                    line["amount"].as_str()
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(of("void"), ["5.00", "5.00"]);
        assert_eq!(of("recovery"), ["2.00", "2.00"]);
        assert_eq!(of("reinstatement"), ["9.00", "1.00"]);
    });
}
