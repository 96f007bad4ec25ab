//! A life in which the service is killed at every step: `kill -9`, another start, the very same
//! request again, and then everything before it too.

use std::time::Duration;

use bursar::db::managed::Role;
use bursar::ground::BookId;
use serde_json::{Value, json};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tokio::time::sleep;
use uuid::Uuid;

use super::customer::{TOPUP, credited};
use super::site::Site;
use crate::ledger::rows;
use crate::support::dice::Dice;
use crate::support::proxy::Cut;
use crate::support::request::{Answer, Post};

/// How soon a deadline that has passed is enforced, on the slowest machine.
const ENFORCED_WITHIN: Duration = Duration::from_secs(30);

/// When the service is killed.
#[derive(Clone, Copy, Debug)]
pub enum Moment {
    /// The step is done, and whoever asked for it has been told.
    Answered,
    /// Everything is written, and the COMMIT has not reached Postgres.
    BeforeCommit,
    /// Postgres has committed, and nobody knows it yet.
    AfterCommit,
}

pub const MOMENTS: [Moment; 3] = [Moment::Answered, Moment::BeforeCommit, Moment::AfterCommit];

impl Moment {
    fn cut(self) -> Option<Cut> {
        match self {
            Self::Answered => None,
            Self::BeforeCommit => Some(Cut::Hold),
            Self::AfterCommit => Some(Cut::Stall),
        }
    }
}

pub struct Life {
    pub site: Site,
    pub key: String,
    pub owner: PgPool,
    account: BookId,
    /// The moment of the first step; each step has the one after.
    first: usize,
    steps: usize,
    /// Everything that was asked for, with its answer.
    done: Vec<(Post, (u16, String))>,
    /// What is refused from now on, whenever it is asked for under a key of its own.
    refused: Vec<Post>,
    asked_again: usize,
}

impl Life {
    /// An account of a service of its own, with so many promotional US dollars.
    pub async fn begin(grant: &'static str, first: usize) -> Self {
        let site = Site::open(grant).await;
        let service = site.service.as_ref().unwrap();
        let (account, key) = service.sign_up().await;
        let owner = site.postgres.as_ref().unwrap().connect_options(Role::Owner);
        let owner = PgPoolOptions::new().max_connections(2).connect_lazy_with(owner);
        let account = account.parse().unwrap();
        let (done, refused) = (Vec::new(), Vec::new());
        Self { site, key, owner, account, first, steps: 0, done, refused, asked_again: 0 }
    }

    fn next_moment(&mut self) -> Moment {
        self.steps += 1;
        MOMENTS[(self.first + self.steps) % MOMENTS.len()]
    }

    /// Takes a step, which is cut short, and takes it again. Its outcome is there once.
    pub async fn step(&mut self, post: Post) -> Answer {
        let moment = self.next_moment();
        let before = self.rows().await;
        let first = match moment.cut() {
            None => Some(self.site.world.insist(&post).await),
            Some(cut) => {
                self.cut_short(&post, cut).await;
                None
            }
        };
        self.restart();
        let is_topup = post.path == TOPUP;
        if matches!(moment, Moment::BeforeCommit) && !is_topup {
            // An open top-up is looked into at once, and credited by itself.
            assert_eq!(self.rows().await, before, "{post:?}: nothing of it was done");
        }
        let again = self.site.world.insist(&post).await;
        if let Some(first) = first {
            assert_eq!(told(&post, &again), told(&post, &first), "{post:?}");
        }
        let was_done = !matches!(moment, Moment::BeforeCommit);
        assert!(is_topup || again.replayed() == was_done, "{moment:?} {post:?} {again:?}");
        self.done.push((post.clone(), told(&post, &again)));
        self.repeat().await;
        again
    }

    /// A step that is accepted.
    pub async fn takes(&mut self, status: u16, post: Post) -> Value {
        let answer = self.step(post).await;
        assert_eq!(answer.status, status, "{answer:?}");
        answer.json()
    }

    /// A step that is refused, and stays so.
    pub async fn refuses(&mut self, code: &str, post: Post) {
        let before = money(self.rows().await);
        let answer = self.step(post).await;
        assert_eq!((answer.status, &answer.json()["code"]), (409, &json!(code)), "{answer:?}");
        assert_eq!(money(self.rows().await), before);
    }

    async fn cut_short(&mut self, post: &Post, cut: Cut) {
        let (proxy, world) = (self.site.proxy.clone(), self.site.world.clone());
        tokio::select! {
            // Armed before anything is sent.
            biased;
            () = proxy.cut(cut, 1, Dice::new(0)) => self.site.kill_service(),
            answer = world.insist(post) => panic!("answered before its COMMIT: {answer:?}"),
        }
    }

    fn restart(&mut self) {
        if self.site.service.is_some() {
            self.site.kill_service();
        }
        self.site.start_service();
    }

    /// A deadline passes, as if what it ends had begun earlier, and the service is killed when it
    /// enforces it.
    pub async fn pass(&mut self, sql: &'static str, id: &Value) {
        let moment = self.next_moment();
        let before = self.rows().await;
        let id = uuid_of(id);
        let (proxy, owner) = (self.site.proxy.clone(), self.owner.clone());
        let begun_earlier = async {
            let changed = sqlx::query(sql).bind(id).execute(&owner).await.unwrap();
            assert_eq!(changed.rows_affected(), 1);
        };
        match moment.cut() {
            None => {
                begun_earlier.await;
                self.settled(&before).await;
            }
            Some(cut) => tokio::select! {
                biased;
                () = proxy.cut(cut, 1, Dice::new(0)) => {}
                () = async { begun_earlier.await; sleep(ENFORCED_WITHIN).await } => {
                    panic!("nobody enforces it: {sql}");
                }
            },
        }
        self.site.kill_service();
        let unchanged = self.rows().await == before;
        assert_eq!(unchanged, matches!(moment, Moment::BeforeCommit), "{moment:?} {sql}");
        self.site.start_service();
        self.settled(&before).await;
        self.repeat().await;
    }

    /// Waits until something was done since.
    async fn settled(&self, before: &[String]) {
        let settled = async {
            while self.rows().await == before {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(ENFORCED_WITHIN, settled).await.expect("it is enforced");
    }

    /// From now on this is refused under every key.
    pub fn never_again(&mut self, path: &str, key: &str, body: Value) {
        self.refused.push(Post::new(path, key, "", body));
    }

    /// Everything that was done is asked for again, backwards, and has its first answer; what cannot be
    /// any more is refused. Nothing moves.
    async fn repeat(&mut self) {
        let before = self.rows().await;
        for (post, first) in self.done.iter().rev() {
            let again = self.site.world.insist(post).await;
            assert_eq!(told(post, &again), *first, "{post:?}");
            assert!(again.replayed() || post.path == TOPUP, "{post:?} {again:?}");
        }
        assert_eq!(self.rows().await, before);
        for post in &self.refused {
            self.asked_again += 1;
            let once = ("idempotency-key", format!("again-{}", self.asked_again));
            let refused = self.site.world.insist(&Post { once, ..post.clone() }).await;
            assert!(refused.status == 409 && !refused.replayed(), "{post:?} {refused:?}");
        }
        assert_eq!(money(self.rows().await), money(before));
    }

    /// All rows of the account.
    async fn rows(&self) -> Vec<String> {
        rows::of(&self.owner, self.account).await
    }

    /// What the account is told that it has.
    pub async fn has(&self, available: &str, held: &str) {
        let credits = self.site.world.get("/api/v1/credits", &self.key).await;
        let told = (credits["available"].as_str(), credits["held"].as_str());
        assert_eq!(told, (Some(available), Some(held)), "after step {}", self.steps);
    }

    /// The ten balances of the account in micro-dollars, in the order of the chart.
    pub async fn balances(&self) -> [i64; 10] {
        let sql =
            "select array[settled_usdc, prepaid, held, promo_issued, promo, promo_held, revenue,
                                reversed_revenue, breakage, settlement_loss]
                   from book where book_id = $1";
        let query = sqlx::query_scalar::<_, Vec<i64>>(sql).bind(self.account.0);
        query.fetch_one(&self.owner).await.unwrap().try_into().unwrap()
    }

    /// Every check passes, and everything is put away.
    pub async fn end(self) -> usize {
        self.site.check().await;
        self.owner.close().await;
        self.site.close().await;
        self.steps
    }
}

/// All rows but the answers kept for the keys, whose ids are numbered through all of them.
fn money(rows: Vec<String>) -> Vec<String> {
    rows.into_iter().filter(|row| !row.contains("\"\"")).collect()
}

/// The part of an answer that stays the same.
fn told(post: &Post, answer: &Answer) -> (u16, String) {
    if post.path == TOPUP { (answer.status, credited(answer)) } else { answer.told() }
}

/// The UUID in a public id.
pub fn uuid_of(id: &Value) -> Uuid {
    let (_, digits) = id.as_str().unwrap().split_once('_').unwrap();
    digits.parse().unwrap()
}
