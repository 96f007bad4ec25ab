//! The table of cells, and the sums over all of them.

use std::collections::HashMap;
use std::time::Instant;

use bursar::db::managed::Role;

use super::buyer::PRICE;
use super::cell::Ending;
use super::play::Played;
use super::site::{Arrived, Shop, Site};
use crate::support::service::assert_checks;

/// Prints the table and asserts that everything held, one by one and in all.
pub async fn judge(site: &Site, played: &[Played], begun: Instant) {
    print(played);
    let named = |played: &Played| {
        let name = played.name.clone();
        played.faults.iter().map(move |fault| format!("{name}: {fault}")).collect::<Vec<_>>()
    };
    let mut faults: Vec<_> = played.iter().flat_map(named).collect();
    for shop in &site.shops {
        faults.extend(self::shop(site, shop, played).await);
    }
    eprintln!("{} in {:.1} s", summary(played), begun.elapsed().as_secs_f32());
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

fn print(played: &[Played]) {
    eprintln!("cell                             money ended     verify settle seconds");
    let mut lines: Vec<_> = played.iter().map(line).collect();
    lines.sort();
    for line in lines {
        eprintln!("{line}");
    }
}

fn line(played: &Played) -> String {
    let seen = played.route.seen();
    let money = if played.moved { "moved" } else { "-" };
    let ruled = played.ruled.as_ref().map(|ruled| format!("  then {ruled}"));
    let faults = if played.faults.is_empty() { "" } else { "  FAILED" };
    format!(
        "{} {money:<5} {:<9} {:>6} {:>6} {:>7.1}{}{faults}",
        played.name,
        played.status,
        seen.verify,
        seen.settle.len(),
        played.took.as_secs_f32(),
        ruled.unwrap_or_default(),
    )
}

/// One line about all of them.
fn summary(played: &[Played]) -> String {
    let count = |has: &dyn Fn(&&Played) -> bool| played.iter().filter(has).count();
    let (mut verify, mut settle) = (0, 0);
    for one in played {
        let seen = one.route.seen();
        verify += seen.verify;
        settle += seen.settle.len();
    }
    format!(
        "{} cells: {} moved, {} credited, {} rejected, {} open, {} parked and then \
         resolved by the operator; {verify} verify and {settle} settle \
         calls; {} failed",
        played.len(),
        count(&|one| one.moved),
        count(&|one| one.status == "credited"),
        count(&|one| one.status == "rejected"),
        count(&|one| one.status == "unknown"),
        count(&|one| one.ruled.is_some()),
        count(&|one| !one.faults.is_empty()),
    )
}

/// What does not add up at one service: all that arrived at its address is credited, but for what is
/// openly open, and all checks pass.
async fn shop(site: &Site, shop: &Shop, played: &[Played]) -> Vec<String> {
    let mine = || played.iter().filter(|one| one.reads == shop.reads);
    let amount = |number: usize| i64::try_from(number).unwrap() * PRICE;
    let (states, booked) = books(shop).await;
    let is_credited =
        |one: &&Played| states.get(&one.route.nonce).is_some_and(|state| state == "credited");
    let open = mine().filter(|one| one.moved && !is_credited(one)).count();
    let untold = mine().filter(|one| one.ending == Ending::Untold && is_credited(one)).count();
    let Arrived { amount: arrived, transfers, .. } = site.chain.arrived(shop.pay_to, None).await;
    let mut faults = Vec::new();
    if arrived - amount(open) + amount(untold) != booked {
        faults.push(format!(
            "{arrived} arrived, {open} cells are open, {untold} untold, and {booked} is booked"
        ));
    }
    for one in mine() {
        let late = site.chain.arrived(shop.pay_to, Some(&one.route.payer)).await.transfers > 0;
        if late != one.moved {
            faults.push(format!("{}: the money moved later", one.name));
        }
    }
    if transfers != mine().filter(|one| one.moved).count() {
        faults.push(format!("{transfers} transfers arrived"));
    }
    assert_checks(&shop.url(Role::Service));
    faults
}

/// The state of every payment, and what the books say was received, both of one moment.
async fn books(shop: &Shop) -> (HashMap<String, String>, i64) {
    let sql = "select nonce, state, (select coalesce(sum(settled_usdc), 0)::bigint from book)
               from topup";
    let rows: Vec<(String, String, i64)> =
        sqlx::query_as(sql).fetch_all(&shop.database.owner).await.unwrap();
    let booked = rows.first().map_or(0, |row| row.2);
    (rows.into_iter().map(|(nonce, state, _)| (nonce, state)).collect(), booked)
}
