//! One cell, played to its end, and what must hold at each step of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::{join, join_all};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, watch};

use super::buyer::{PRICE, Payment, SHORT_S};
use super::cell::{Cell, Ending, Manner};
use super::fault::Fault;
use super::proxy::Route;
use super::site::{Shop, Site};
use crate::api::Answer;

/// How many cells are busy at once; those that only wait do not count.
const BUSY: usize = 6;

/// How long a cell may take after its window.
const PATIENCE: Duration = Duration::from_secs(90);

/// One payment that has ended.
pub struct Played {
    /// What it was, as a line of the table says it.
    pub name: String,
    pub reads: bool,
    pub ending: Ending,
    pub route: Arc<Route>,
    /// How the top-up stands, by its own record.
    pub status: String,
    /// Whether the money moved, by the chain.
    pub moved: bool,
    /// How it stands after the operator's word, where that was needed.
    pub ruled: Option<String>,
    pub took: Duration,
    /// What should not be.
    pub faults: Vec<String>,
}

/// Plays cells together. Those that wait for the end of a window on the chain begin with the others,
/// and end when those have ended and the chain's clock was moved.
pub async fn play_all(site: &Site, cells: &[Cell]) -> Vec<Played> {
    let (busy, (moved, clock)) = (Semaphore::new(BUSY), watch::channel(false));
    let (waiting, others): (Vec<Cell>, Vec<Cell>) =
        cells.iter().partition(|cell| cell.outwaits_the_chain());
    let sent = Semaphore::new(0);
    let others = async {
        let others = join_all(others.iter().map(|cell| play(site, *cell, &busy, None))).await;
        let all = u32::try_from(waiting.len()).unwrap();
        sent.acquire_many(all).await.unwrap().forget();
        site.chain.let_a_day_pass().await;
        moved.send_replace(true);
        others
    };
    let wait = || Some(Wait { sent: &sent, clock: clock.clone() });
    let waiting = join_all(waiting.iter().map(|cell| play(site, *cell, &busy, wait())));
    let (mut played, waited) = join(others, waiting).await;
    played.extend(waited);
    played
}

/// What a cell waits for whose end is that of a window on the chain.
struct Wait<'a> {
    /// Counts those that have sent their payment.
    sent: &'a Semaphore,
    /// Whether the chain's clock was moved.
    clock: watch::Receiver<bool>,
}

async fn play(site: &Site, cell: Cell, busy: &Semaphore, wait: Option<Wait<'_>>) -> Played {
    let (shop, permit) = (site.shop(cell.reads), busy.acquire().await.unwrap());
    let begun = Instant::now();
    let payment = Payment::sign(site, shop, cell.version, cell.is_short()).await;
    let route = route(site, cell, &payment).await;
    let mut game = Game {
        name: cell.to_string(),
        ending: cell.ending(),
        site,
        shop,
        payment,
        route,
        id: None,
        begun,
        short: cell.is_short(),
        faults: Vec::new(),
    };
    game.first(cell.manner).await;
    if cell.fault == Fault::PendingMined {
        game.route.until(|seen| seen.answered[1] > 0).await;
        let request = json!({ "op": "release", "nonce": game.payment.nonce });
        site.world.ask(request).await.unwrap();
    }
    drop(permit);
    if let Some(mut wait) = wait {
        wait.sent.add_permits(1);
        wait.clock.wait_for(|moved| *moved).await.unwrap();
        game.begun = Instant::now();
    }
    game.end().await
}

async fn route(site: &Site, cell: Cell, payment: &Payment) -> Arc<Route> {
    let upstream = match cell.fault {
        Fault::Restarted => site.open_facilitator().await,
        Fault::PendingMined | Fault::PendingNever => site.hasty.clone(),
        _ => site.facilitator.clone(),
    };
    if let Some(what) = cell.fault.plan() {
        let request = json!({ "op": "plan", "nonce": payment.nonce, "what": what });
        site.world.ask(request).await.unwrap();
    }
    let (payer, nonce) = (payment.payer.clone(), payment.nonce.clone());
    let route = Arc::new(Route::new(cell.fault, cell.version, payer, nonce, upstream));
    site.proxy.add(route.clone());
    route
}

/// One payment on its way.
pub struct Game<'a> {
    pub name: String,
    pub ending: Ending,
    pub site: &'a Site,
    pub shop: &'a Shop,
    pub payment: Payment,
    pub route: Arc<Route>,
    /// The top-up's id, once it was told.
    pub id: Option<String>,
    pub begun: Instant,
    /// Whether its window has to end first.
    pub short: bool,
    pub faults: Vec<String>,
}

impl Game<'_> {
    fn expect(&mut self, holds: bool, otherwise: impl FnOnce() -> String) {
        if !holds {
            self.faults.push(otherwise());
        }
    }

    /// Asks for the payment until it has ended, and judges how.
    pub async fn end(mut self) -> Played {
        self.insist().await;
        let (status, moved) = self.stands().await;
        self.judge(&status, moved);
        let ruled = if status == "parked" { Some(self.rule(moved).await) } else { None };
        let (took, reads) = (self.begun.elapsed(), self.shop.reads);
        let Self { name, ending, route, faults, .. } = self;
        Played { name, reads, ending, route, status, moved, ruled, took, faults }
    }

    /// The buyer's first move.
    async fn first(&mut self, manner: Manner) {
        match manner {
            Manner::Patient => {
                let answer = self.payment.send(self.shop).await.unwrap();
                self.hear(&answer).await;
            }
            Manner::HungUp => {
                let route = self.route.clone();
                let under_way = route.until(|seen| seen.verify > 0 || !seen.settle.is_empty());
                self.payment.send_and_leave(self.shop, under_way).await;
            }
            Manner::Repeating => {
                let copies = join_all((0..8).map(|_| self.payment.send(self.shop))).await;
                for answer in copies {
                    self.hear(&answer.unwrap()).await;
                }
            }
        }
    }

    /// Sends the same payment again and again until it has ended.
    async fn insist(&mut self) {
        let (pause, mut patience) = if self.short {
            (Duration::from_millis(1000), Duration::from_secs(SHORT_S))
        } else {
            (Duration::from_millis(200), Duration::ZERO)
        };
        patience += PATIENCE;
        let begun = Instant::now();
        loop {
            let answer = self.payment.send(self.shop).await.unwrap();
            self.hear(&answer).await;
            let status = self.record().await.map(|record| record.0).unwrap_or_default();
            if self.ending.is_end(&status) || !self.faults.is_empty() {
                return;
            }
            if begun.elapsed() > patience {
                self.faults.push(format!("it never ended: {status}, {answer:?}"));
                return;
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// What must hold for every answer.
    async fn hear(&mut self, answer: &Answer) {
        let body: Value = serde_json::from_str(&answer.body).unwrap_or_default();
        let told = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
        if let Some(id) = body["topup_id"].as_str() {
            let first = self.id.get_or_insert_with(|| id.to_owned()).clone();
            self.expect(first == id, || format!("two top-ups, {first} and {id}"));
        }
        let coming = answer.header("retry-after").is_some();
        match answer.status {
            200 => {
                let right = told("status") == "credited" && told("amount") == "1.00";
                self.expect(right, || format!("200 with {body}"));
                let moved = self.moved().await || self.ending == Ending::Untold;
                self.expect(moved, || "credited before the money moved".to_owned());
            }
            202 => {
                let open = ["claimed", "settling", "settled", "unknown", "parked"];
                self.expect(open.contains(&told("status").as_str()), || format!("202 with {body}"));
                let terms = answer.header("payment-required").is_some();
                self.expect(coming && !terms, || "202 without a way to ask again".to_owned());
            }
            // Nothing was sent, or it is under way.
            503 => self.expect(coming, || "503 without Retry-After".to_owned()),
            402 => {
                let (record, moved) = (self.record().await, self.moved().await);
                let status = record.map(|(status, _)| status).unwrap_or_default();
                let over = matches!(status.as_str(), "rejected" | "refused") && !moved;
                self.expect(over, || format!("asked to pay again, but {status}: {body}"));
            }
            status => self.faults.push(format!("answered {status}: {body}")),
        }
    }

    async fn moved(&self) -> bool {
        self.site.chain.arrived(self.shop.pay_to, Some(&self.payment.payer)).await.transfers > 0
    }

    /// The state and the number of rows of this payment, as the service keeps them.
    async fn record(&self) -> Option<(String, i64)> {
        let sql = "select min(state), count(*) from topup where nonce = $1 having count(*) > 0";
        let query = sqlx::query_as(sql).bind(&self.payment.nonce);
        query.fetch_optional(&self.shop.database.owner).await.unwrap()
    }

    /// How it stands in the end, and whether the money moved.
    async fn stands(&mut self) -> (String, bool) {
        let owner = &self.shop.database.owner;
        let (status, rows) = self.record().await.unwrap_or_else(|| ("unseen".to_owned(), 0));
        let arrived = self.site.chain.arrived(self.shop.pay_to, Some(&self.payment.payer)).await;
        let sql = "select count(*), coalesce(sum(transfer.amount), 0)::bigint
             from transfer join topup on subject_id = topup_id where nonce = $1";
        let credits: (i64, i64) =
            sqlx::query_as(sql).bind(&self.payment.nonce).fetch_one(owner).await.unwrap();
        self.expect(rows == 1, || format!("{rows} top-ups"));
        let paid = (arrived.amount, arrived.transfers);
        self.expect(paid == (PRICE, 1) || paid == (0, 0), || format!("moved {paid:?}"));
        let credited = status == "credited";
        let booked = if credited { (1, PRICE) } else { (0, 0) };
        self.expect(credits == booked, || format!("{status} with credits {credits:?}"));
        (status, arrived.transfers > 0)
    }

    /// The operator looks at the chain and says what became of it; then that holds.
    async fn rule(&mut self, moved: bool) -> String {
        let arrived = self.site.chain.arrived(self.shop.pay_to, Some(&self.payment.payer)).await;
        let id = self.id.clone().unwrap();
        let why = ["--reason", "seen on the chain"];
        let word = if moved { vec!["--settled", &arrived.transaction] } else { vec!["--rejected"] };
        let arguments = [&["topup", "resolve", &id], word.as_slice(), &why].concat();
        self.shop.command(&arguments).await;
        let answer = self.payment.send(self.shop).await.unwrap();
        self.hear(&answer).await;
        let (status, _) = self.stands().await;
        let right = status == if moved { "credited" } else { "rejected" };
        self.expect(right, || format!("the operator's word made it {status}"));
        status
    }

    /// Whether it ended as it has to, and the calls were what they may be.
    fn judge(&mut self, status: &str, moved: bool) {
        let right = self.ending.allows(status, moved);
        self.expect(right, || format!("ended {status}, the money moved: {moved}"));
        let seen = self.route.seen();
        let alike = seen.settle.windows(2).all(|two| two[0] == two[1]);
        self.expect(alike, || format!("two bodies of one authorization: {:?}", seen.settle));
        let sent = status == "rejected" || !seen.settle.is_empty();
        self.expect(sent, || format!("{status} and never sent"));
    }
}
