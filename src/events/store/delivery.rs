use chrono::{DateTime, Utc};
use sqlx::PgPool;

use crate::events::Delivery;
use crate::events::event::event_id;
use crate::ground::{BookId, WebhookId};

struct Row {
    seq: i64,
    kind: String,
    recorded_at: DateTime<Utc>,
    state: String,
    attempts: i32,
    queued_at: DateTime<Utc>,
    next_at: Option<DateTime<Utc>>,
    last_status: Option<i16>,
    last_error: Option<String>,
    ended_at: Option<DateTime<Utc>>,
}

impl Row {
    fn delivery(self, account: BookId) -> Delivery {
        Delivery {
            event_id: event_id(account, self.seq, &self.kind, self.recorded_at),
            seq: self.seq,
            kind: self.kind,
            state: self.state,
            attempts: self.attempts,
            queued_at: self.queued_at,
            next_attempt_at: self.next_at,
            last_status: self.last_status,
            last_error: self.last_error,
            ended_at: self.ended_at,
        }
    }
}

/// A query of deliveries per condition.
macro_rules! deliveries {
    ($($(#[$doc:meta])* $name:ident: $condition:literal;)*) => {
        $($(#[$doc])*
        pub(in crate::events) async fn $name(
            pool: &PgPool,
            account: BookId,
            id: WebhookId,
            before: i64,
            limit: i64,
        ) -> Result<Vec<Delivery>, sqlx::Error> {
            let rows = sqlx::query_as!(
                Row,
                "select d.seq, o.kind, o.recorded_at, d.state, d.attempts, d.queued_at, d.next_at,
                   d.last_status, d.last_error, d.ended_at
                 from webhook_delivery d
                 cross join lateral (
                   select kind, recorded_at from outbox
                   where slot = d.slot and book_id = d.book_id and seq = d.seq limit 1) o
                 where d.slot = $1 and d.book_id = $2 and d.webhook_id = $3 and d.seq < $4" + $condition +
                " order by d.seq desc limit $5",
                account.slot().sql(),
                account.0,
                id.0,
                before,
                limit
            )
            .fetch_all(pool)
            .await?;
            Ok(rows.into_iter().map(|row| row.delivery(account)).collect())
        })*
    };
}

deliveries! {
    /// The deliveries of a webhook before a number, newest event first.
    deliveries: "";
    /// Those of them that were given up.
    dead_deliveries: " and d.state = 'dead'";
}
