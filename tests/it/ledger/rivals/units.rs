//! Units and what was charged for them: each goes one way, whoever asks for them at the same moment.

use bursar::ground::{BookId, ChargeId, CheckoutId, Clock, KeyId};
use bursar::ledger::expire_lots;
use chrono::TimeDelta;

use super::{GRANT, PAIRS, Side, adds_up, charge_of, meet_all, meet_worker, month, sides, winner};
use crate::ledger::model::amount;
use crate::ledger::race::{opened, replicas};
use crate::ledger::scene::{self, Call, Replica, code};
use crate::support::postgres::run;

async fn open_of(replica: Replica, account: BookId, key: KeyId) -> CheckoutId {
    opened(&replica, account, key, 5).await
}

#[test]
fn a_cancellation_and_the_delivery_deadline_have_one_winner() {
    run(|db| async move {
        let pair = replicas(&db).await;
        pair[1].clock.advance(TimeDelta::hours(31));
        let sides = sides(&pair[0], month(), open_of).await;
        let sweeper = pair[1].checkouts.sweeper();
        let step = move || {
            let sweeper = sweeper.clone();
            async move { sweeper.step().await.unwrap() }
        };
        let cancel = |side: &Side<CheckoutId>| Call::Cancel(side.subject);
        let (outcomes, settled) = meet_worker(&pair[0], &sides, cancel, step).await;
        let mut swept = 0;
        for (side, outcome) in sides.iter().zip(outcomes) {
            let view = pair[0].checkouts.view(side.account, side.subject).await.unwrap();
            assert_eq!((view.released, view.held), (amount(5), amount(0)));
            assert_eq!(view.canceled_at.is_some(), outcome.accepted);
            if !outcome.accepted {
                swept += 1;
                assert_eq!(code(&outcome), "checkout_not_cancelable");
            }
        }
        assert_eq!(swept, settled);
        assert!((PAIRS / 4..=PAIRS * 3 / 4).contains(&swept), "{swept}");
        adds_up(&db).await;
    });
}

/// Two results for an item of five units, of which only one can be taken.
fn meet_results(results: [(&'static str, i64); 2], refusal: &str) {
    let refusal = refusal.to_owned();
    run(move |db| async move {
        let pair = replicas(&db).await;
        let sides = sides(&pair[0], month(), open_of).await;
        let submit = |side: &Side<CheckoutId>| {
            results.map(|(id, units)| Call::Submit(side.subject, scene::submission(id, 1, units)))
        };
        let mut wins = [0, 0];
        for (side, outcome) in sides.iter().zip(meet_all(&pair, &sides, submit).await) {
            let won = winner(&outcome, [refusal.as_str(); 2]);
            let view = pair[0].checkouts.view(side.account, side.subject).await.unwrap();
            let taken: Vec<_> =
                view.results.iter().map(|of| (of.result_id.as_str(), of.quantity)).collect();
            assert_eq!(taken, [results[won]]);
            assert_eq!((view.items[0].submitted, view.held), (results[won].1, amount(5)));
            wins[won] += 1;
        }
        assert!(wins[0] >= PAIRS / 4 && wins[1] >= PAIRS / 4, "{wins:?}");
        adds_up(&db).await;
    });
}

#[test]
fn two_results_of_one_name_have_one_winner() {
    meet_results([("r", 2), ("r", 3)], "result_conflict");
}

#[test]
fn two_results_for_more_than_was_ordered_have_one_winner() {
    meet_results([("r", 3), ("s", 4)], "result_quantity_exceeded");
}

#[test]
fn two_reversals_for_more_than_the_charge_have_one_winner() {
    run(|db| async move {
        let pair = replicas(&db).await;
        let sides = sides(&pair[0], month(), charge_of).await;
        let parts = |side: &Side<ChargeId>| {
            [6, 7].map(|micros| Call::Reverse(side.subject, scene::reversal(Some(amount(micros)))))
        };
        for (side, outcome) in sides.iter().zip(meet_all(&pair, &sides, parts).await) {
            let won = winner(&outcome, ["reversal_exceeds_charge"; 2]);
            let view = pair[0].checkouts.charge(side.account, side.subject).await.unwrap();
            assert_eq!((view.reversed, view.reversals.len()), (amount([6, 7][won]), 1));
        }
        adds_up(&db).await;
    });
}

#[test]
fn a_reversal_and_the_expiry_of_its_lot_take_each_their_part() {
    run(|db| async move {
        let pair = replicas(&db).await;
        // Long before the charge is final.
        pair[1].clock.advance(TimeDelta::minutes(90));
        let sides = sides(&pair[0], TimeDelta::hours(1), charge_of).await;
        let expiring = pair[1].clone();
        let reverse = |side: &Side<ChargeId>| Call::Reverse(side.subject, scene::reversal(None));
        let step = move || {
            let replica = expiring.clone();
            let at = replica.clock.now();
            async move { expire_lots(&replica.pool, &replica.engine, at).await.unwrap() }
        };
        let (outcomes, _) = meet_worker(&pair[0], &sides, reverse, step).await;
        let mut restored = 0;
        for (side, outcome) in sides.iter().zip(outcomes) {
            assert!(outcome.accepted, "{}", outcome.body);
            let view = pair[0].checkouts.charge(side.account, side.subject).await.unwrap();
            assert_eq!((view.reversed, view.reversals.len()), (amount(10), 1));
            let (left, expired) = super::left_and_expired(&db, side.account).await;
            // What came back before the expiry went with its lot, else into a lot of its own.
            assert!([(0, GRANT), (10, GRANT - 10)].contains(&(left, expired)), "{left} {expired}");
            restored += usize::from(left > 0);
        }
        assert!((PAIRS / 4..=PAIRS * 3 / 4).contains(&restored), "{restored}");
        adds_up(&db).await;
    });
}
