//! The real binary, killed at each step of a payment and started again, in the same world.

use std::time::{Duration, Instant};

use bursar::x402::Version;
use futures_util::future::{join, join_all};
use sqlx::PgPool;

use super::buyer::Payment;
use super::cell::Ending;
use super::fault::{Call, Fault};
use super::play::{Game, Played};
use super::proxy::{Route, Stop};
use super::site::{Shop, Site, Waits};
use super::sums;

/// Where the process is when it is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The intent is written, and `/verify` is about to be asked.
    Intent,
    /// The facilitator has verified, and its answer is on its way.
    Verified,
    /// `/settle` has left and has not arrived.
    Sent,
    /// The money moved, and the answer is on its way.
    Settled,
    /// The answer is there, and the credit waits for its row.
    Credit,
    /// The first `/settle` was lost, and the resolver's is on its way back.
    Resolve,
}

const STEPS: [Step; 6] =
    [Step::Intent, Step::Verified, Step::Sent, Step::Settled, Step::Credit, Step::Resolve];

impl Step {
    fn stop(self) -> Stop {
        let stop = |call, turn, before| Stop { call, turn, before };
        match self {
            Self::Intent => stop(Call::Verify, 0, true),
            Self::Verified => stop(Call::Verify, 0, false),
            Self::Sent => stop(Call::Settle, 0, true),
            Self::Settled | Self::Credit => stop(Call::Settle, 0, false),
            Self::Resolve => stop(Call::Settle, 1, false),
        }
    }

    /// Whether a payment has come so far.
    async fn reached(self, route: &Route) {
        match self {
            Self::Intent => route.until(|seen| seen.verify > 0).await,
            Self::Verified => route.until(|seen| seen.answered[0] > 0).await,
            Self::Sent => route.until(|seen| !seen.settle.is_empty()).await,
            Self::Settled | Self::Credit | Self::Resolve => {
                route.until(|seen| seen.answered[1] > 0).await;
            }
        }
    }

    fn fault(self) -> Fault {
        if self == Self::Resolve { Fault::DropBefore } else { Fault::None }
    }

    /// Once something was sent, only the chain can tell.
    fn ending(self, reads: bool) -> Ending {
        match self {
            Self::Intent | Self::Verified => Ending::Credited,
            _ if reads => Ending::Credited,
            Self::Sent | Self::Settled | Self::Credit | Self::Resolve => Ending::Parked,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_each_step_and_started_again() {
    let begun = Instant::now();
    // Whatever a killed process was about is taken up after a multiple of both.
    let site = Site::open(Waits { verify_s: 2, settle_s: 4 }).await;
    let [reading, blind] = &site.shops;
    let (mut played, more) = join(kills(&site, reading), kills(&site, blind)).await;
    played.extend(more);
    sums::judge(&site, &played, begun).await;
}

/// Kills one service at every step, and then asks for all payments until they have ended.
async fn kills(site: &Site, shop: &Shop) -> Vec<Played> {
    let mut games = Vec::new();
    for step in STEPS {
        games.extend(kill(site, shop, step).await);
    }
    join_all(games.into_iter().map(Game::end)).await
}

async fn kill<'a>(site: &'a Site, shop: &'a Shop, step: Step) -> Vec<Game<'a>> {
    let mut games = Vec::new();
    for version in [Version::V2, Version::V1] {
        games.push(game(site, shop, step, version).await);
    }
    let sending = games.iter().map(|game| game.payment.send(shop));
    let sending = join_all(sending);
    let killing = async {
        for game in &games {
            step.reached(&game.route).await;
        }
        let lock = match step {
            Step::Credit => Some(hold_rows(&shop.database.owner, &games).await),
            _ => None,
        };
        shop.kill();
        drop(lock);
    };
    let (answers, ()) = tokio::join!(sending, killing);
    for (game, answer) in games.iter_mut().zip(answers) {
        // The resolver's own call is killed when the buyer has had an answer.
        let answered = answer.map(|answer| answer.status).ok();
        let right = if step == Step::Resolve { Some(202) } else { None };
        if answered != right {
            game.faults.push(format!("answered {answered:?} before the kill"));
        }
    }
    shop.start();
    for game in &games {
        // What was on its way to the facilitator arrives.
        game.route.let_go();
    }
    games
}

async fn game<'a>(site: &'a Site, shop: &'a Shop, step: Step, version: Version) -> Game<'a> {
    let begun = Instant::now();
    let ending = step.ending(shop.reads);
    let short = ending.has_window();
    let payment = Payment::sign(site, shop, version, short).await;
    let (payer, nonce) = (payment.payer.clone(), payment.nonce.clone());
    let upstream = site.facilitator.clone();
    let route = Route::new(step.fault(), version, payer, nonce, upstream);
    let route = std::sync::Arc::new(route);
    route.stop_at(step.stop());
    site.proxy.add(route.clone());
    let reads = if shop.reads { "chain" } else { "blind" };
    Game {
        name: format!("{:<14} V{} {reads} killed   ", format!("{step:?}"), version.number()),
        ending,
        site,
        shop,
        payment,
        route,
        id: None,
        begun,
        short,
        faults: Vec::new(),
    }
}

/// Locks the rows of these payments, lets the facilitator's answers through, and comes back when a
/// credit waits for its row.
async fn hold_rows(
    owner: &PgPool,
    games: &[Game<'_>],
) -> sqlx::Transaction<'static, sqlx::Postgres> {
    let mut lock = owner.begin().await.unwrap();
    for game in games {
        let sql = "select from topup where nonce = $1 for update";
        sqlx::query(sql).bind(&game.payment.nonce).execute(&mut *lock).await.unwrap();
        game.route.let_go();
    }
    let waits = "select exists (select from pg_locks where not granted and database =
                   (select oid from pg_database where datname = current_database())
                 or not granted and locktype = 'transactionid')";
    let waiting = async {
        while !sqlx::query_scalar::<_, bool>(waits).fetch_one(owner).await.unwrap() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), waiting).await.expect("a credit waits");
    lock
}
