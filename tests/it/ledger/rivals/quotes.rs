//! A quote is sold once, in its life and at its price, whatever happens at the same moment.

use bursar::checkout::{CheckoutError, CheckoutView, OrderFault, OrderLine, SkuTerms};
use bursar::ground::{BookId, Clock, KeyId, QuoteId};
use chrono::TimeDelta;
use futures_util::future::join_all;

use super::{PAIRS, Side, adds_up, meet_all, month, sides, winner};
use crate::ledger::commands::Verb;
use crate::ledger::model::amount;
use crate::ledger::race::replicas;
use crate::ledger::scene::{self, Call, Replica, Request, TERMS, code};
use crate::support::postgres::{TestDatabase, run};

async fn quoted(replica: &Replica, account: BookId, key: KeyId, sku: &str) -> QuoteId {
    let lines = vec![OrderLine { sku: sku.to_owned(), quantity: 5 }];
    replica.checkouts.quote(account, key, lines).await.unwrap().quote_id
}

/// Five of the third SKU, at one micro-dollar each.
async fn quote_of(replica: Replica, account: BookId, key: KeyId) -> QuoteId {
    quoted(&replica, account, key, TERMS[2].sku).await
}

fn accept(side: &Side<QuoteId>) -> Call {
    scene::accept(side.key, side.subject)
}

/// How many checkouts the account has, and what they hold.
async fn holds(db: &TestDatabase, account: BookId) -> (i64, i64) {
    let sql = "select (select count(*) from checkout where book_id = $1), promo_held
               from book where book_id = $1";
    sqlx::query_as(sql).bind(account.0).fetch_one(&db.service).await.unwrap()
}

#[test]
fn a_quote_that_is_accepted_twice_is_sold_once() {
    run(|db| async move {
        let pair = replicas(&db).await;
        let sides = sides(&pair[0], month(), quote_of).await;
        let outcomes = meet_all(&pair, &sides, |side| [accept(side), accept(side)]).await;
        for (side, outcome) in sides.iter().zip(outcomes) {
            let won = winner(&outcome, ["quote_used"; 2]);
            let opened: CheckoutView = scene::body(&outcome[won]);
            let refused: serde_json::Value = scene::body(&outcome[1 - won]);
            assert_eq!(refused["checkout_id"], opened.checkout_id.to_string());
            assert_eq!(holds(&db, side.account).await, (1, 5));
        }
        adds_up(&db).await;
    });
}

#[test]
fn a_quote_is_accepted_before_it_runs_out_or_not_at_all() {
    run(|db| async move {
        let pair = replicas(&db).await;
        let sides = sides(&pair[0], month(), quote_of).await;
        // One process is past the life of the quotes, and takes each book there with what it writes.
        pair[1].clock.advance(TimeDelta::minutes(16));
        let later = pair[1].clock.now() + month();
        let outcomes = meet_all(&pair, &sides, |side| {
            [accept(side), Call::Act(Verb::Grant(amount(1), later))]
        });
        let mut sold = 0;
        for (side, [accepted, granted]) in sides.iter().zip(outcomes.await) {
            assert!(granted.accepted);
            let again = pair[1].send(&Request::new(side.account, "c", accept(side))).await.unwrap();
            if accepted.accepted {
                sold += 1;
                assert_eq!(code(&again), "quote_used");
                assert_eq!(holds(&db, side.account).await, (1, 5));
            } else {
                assert_eq!((code(&accepted), code(&again)), expired());
                assert_eq!(holds(&db, side.account).await, (0, 0));
            }
        }
        assert!((PAIRS / 4..=PAIRS * 3 / 4).contains(&sold), "{sold}");
        adds_up(&db).await;
    });
}

fn expired() -> (String, String) {
    ("quote_expired".into(), "quote_expired".into())
}

/// The terms of the third SKU.
async fn terms(replica: &Replica) -> SkuTerms {
    replica.checkouts.sku(TERMS[2].sku, None, 1).await.unwrap().0.terms
}

/// For each account a SKU of its own, quoted five times at one micro-dollar, whose terms change while
/// the quote is accepted: the price that was quoted is held.
async fn change_while_accepting(db: &TestDatabase, pair: &[Replica; 2], changed: SkuTerms) {
    let name = |account: BookId| account.0.simple().to_string();
    let make = |replica: Replica, account: BookId, key| async move {
        let (sku, terms) = (account.0.simple().to_string(), terms(&replica).await);
        replica.checkouts.list_sku(&sku, &terms).await.unwrap();
        quoted(&replica, account, key, &sku).await
    };
    let sides = sides(&pair[0], month(), make).await;
    let pairs = sides.iter().enumerate().map(|(n, side)| {
        let [first, second] = pair.clone();
        let (sku, changed) = (name(side.account), changed.clone());
        let request = Request::new(side.account, "a", accept(side));
        let accept = async move { first.send(&request).await.unwrap() };
        let change = async move { second.checkouts.list_sku(&sku, &changed).await.unwrap() };
        tokio::spawn(async move {
            match n % 4 {
                0 => {
                    let accepted = accept.await;
                    (accepted, change.await)
                }
                1 => {
                    let changed = change.await;
                    (accept.await, changed)
                }
                _ => tokio::join!(accept, change),
            }
        })
    });
    for (side, done) in sides.iter().zip(join_all(pairs.collect::<Vec<_>>()).await) {
        let (accepted, changed) = done.unwrap();
        assert!(accepted.accepted, "{}", accepted.body);
        let opened: CheckoutView = scene::body(&accepted);
        assert_eq!((opened.total, opened.items[0].unit_price), (amount(5), amount(1)));
        assert_eq!(holds(db, side.account).await, (1, 5));
        assert_eq!(changed.version, 2);
    }
    // Whoever orders anew has the terms of today.
    let side = &sides[0];
    let lines = vec![OrderLine { sku: name(side.account), quantity: 1 }];
    let quote = pair[0].checkouts.quote(side.account, side.key, lines).await;
    if changed.active {
        assert_eq!(quote.unwrap().total, changed.unit_price);
    } else {
        let refused = quote.unwrap_err();
        assert!(
            matches!(&refused, CheckoutError::Order(OrderFault::SkuInactive { .. })),
            "{refused}"
        );
    }
    adds_up(db).await;
}

#[test]
fn a_price_that_changes_while_a_quote_is_accepted_changes_nothing_about_it() {
    run(|db| async move {
        let pair = replicas(&db).await;
        let dearer = SkuTerms { unit_price: amount(2), ..terms(&pair[0]).await };
        change_while_accepting(&db, &pair, dearer).await;
    });
}

#[test]
fn a_sku_that_is_delisted_while_its_quote_is_accepted_is_sold() {
    run(|db| async move {
        let pair = replicas(&db).await;
        let delisted = SkuTerms { active: false, ..terms(&pair[0]).await };
        change_while_accepting(&db, &pair, delisted).await;
    });
}
