//! Makes one batch of many commands.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use bursar::ground::BookId;
use bursar::ledger::{Command, Outcome, SubmitError};
use tokio::task::JoinHandle;

use super::commands::{Act, Verb};
use super::scene::{Replica, until};

type Reply = Result<Outcome, SubmitError>;

/// Keeps a book locked, and its lane with it, while commands queue up behind.
pub struct Jam<'a> {
    replica: &'a Replica,
    lock: sqlx::Transaction<'static, sqlx::Postgres>,
    plug: JoinHandle<Reply>,
    queued: usize,
}

impl<'a> Jam<'a> {
    /// Holds the book's row lock until the lane waits for it with a command that does nothing.
    pub async fn new(replica: &'a Replica, account: BookId) -> Self {
        let mut lock = replica.pool.begin().await.unwrap();
        let sql = "select from book where slot = $1 and book_id = $2 for update";
        let query = sqlx::query(sql).bind(account.slot().sql()).bind(account.0);
        query.execute(&mut *lock).await.unwrap();
        let idle: Arc<dyn Command> = Arc::new(Act::new(account, "plug", Verb::NothingDue));
        let engine = replica.engine.clone();
        let plug = tokio::spawn(async move { engine.submit(idle).await });
        let sql = "select exists (select from pg_stat_activity
                   where datname = current_database() and wait_event_type = 'Lock')";
        until("the lane waits for the lock", async || {
            sqlx::query_scalar(sql).fetch_one(&replica.pool).await.unwrap()
        })
        .await;
        Self { replica, lock, plug, queued: 0 }
    }

    /// Queues a command behind the others. It is polled from here: a task of its own could be
    /// counted in the queue and overtaken before it is really in it.
    pub async fn queue<T: Send + 'static>(
        &mut self,
        submit: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        self.queued += 1;
        let mut submit = Box::pin(submit);
        until("the command is in the queue", async || {
            let pending = poll_fn(|cx| Poll::Ready(submit.as_mut().poll(cx).is_pending())).await;
            assert!(pending, "a command was answered before its batch");
            self.replica.engine.queued() == self.queued
        })
        .await;
        tokio::spawn(submit)
    }

    /// Lets the lane go on: everything that has queued is one batch.
    pub async fn open(self) {
        self.lock.rollback().await.unwrap();
        self.plug.await.unwrap().unwrap();
    }
}
