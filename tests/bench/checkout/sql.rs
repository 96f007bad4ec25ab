//! The yardsticks: the same rows, written by hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bursar::db;
use bursar::ground::{CheckoutId, Entropy, HoldId, SystemEntropy, TransactionId};
use bursar::ledger::CommandIdentity;
use chrono::{DateTime, Utc};
use sqlx::{Connection, PgConnection, PgPool};
use uuid::Uuid;

use crate::figures::Sample;
use crate::world::{Buyer, ITEM_PRICE_MICROS, SKU, World, stored_body};

/// A. The ceiling: everything that 500 checkouts write, in one statement. It checks nothing: keys are
/// fresh, caps and balances suffice, and no book comes twice in a batch or in two batches at once.
const CEILING: &str = include_str!("ceiling.sql");
/// B. One by one: what a careful hand would write as a function, called once per transaction.
const ONE_BY_ONE: &str = include_str!("one_by_one.sql");

const BATCH: usize = 500;
const CEILING_CONNECTIONS: usize = 2;

static NEXT: AtomicU64 = AtomicU64::new(0);

/// Creates the function of B.
pub async fn prepare(world: &World) -> Result<(), sqlx::Error> {
    let mut owner = PgConnection::connect_with(&world.owner).await?;
    sqlx::raw_sql(ONE_BY_ONE).execute(&mut owner).await?;
    owner.close().await
}

/// The ids and texts of some checkouts, as columns.
#[derive(Default)]
struct Columns {
    slots: Vec<i16>,
    books: Vec<Uuid>,
    keys: Vec<Uuid>,
    transactions: Vec<Uuid>,
    holds: Vec<Uuid>,
    checkouts: Vec<Uuid>,
    commands: Vec<Uuid>,
    fingerprints: Vec<Vec<u8>>,
    bodies: Vec<String>,
}

impl Columns {
    fn push(&mut self, buyer: &Buyer, at: DateTime<Utc>) {
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let slot = buyer.account.slot();
        let entropy: &dyn Entropy = &SystemEntropy;
        let id = CheckoutId::mint(entropy, at, slot);
        self.slots.push(slot.sql());
        self.books.push(buyer.account.0);
        self.keys.push(buyer.key_id.0);
        self.transactions.push(TransactionId::mint(entropy, at, slot).0);
        self.holds.push(HoldId::mint(entropy, at, slot).0);
        self.checkouts.push(id.0);
        let identity = CommandIdentity::of_effect(&format!("bench:{n}"));
        self.commands.push(identity.command);
        self.fingerprints.push(identity.fingerprint.0.to_vec());
        self.bodies.push(stored_body(id, buyer.account, at));
    }
}

/// Runs A for a while, over connections that share no book.
pub async fn ceiling(world: &Arc<World>, how_long: Duration) -> Sample {
    ceiling_until(world, Instant::now() + how_long, u64::MAX).await
}

/// Runs A until the time or the number of checkouts is reached.
pub async fn ceiling_until(world: &Arc<World>, until: Instant, most: u64) -> Sample {
    let begun = Instant::now();
    let done = Arc::new(AtomicU64::new(0));
    let most_at_once = u32::try_from(CEILING_CONNECTIONS).expect("small");
    let pool = db::service_pool(world.service.clone(), most_at_once);
    let tasks = (0..CEILING_CONNECTIONS).map(|part| {
        let (world, done, pool) = (world.clone(), done.clone(), pool.clone());
        tokio::spawn(async move {
            let mut connection = pool.acquire().await.expect("connects");
            let buyers = world.buyers.iter().skip(part).step_by(CEILING_CONNECTIONS);
            let mut buyers = buyers.cycle();
            let mut times = Vec::new();
            while Instant::now() < until && done.load(Ordering::Relaxed) < most {
                let mut columns = Columns::default();
                let at = world.clock.now();
                for _ in 0..BATCH {
                    columns.push(buyers.next().expect("a cycle"), at);
                }
                let begun = Instant::now();
                write_batch(&mut connection, columns).await.expect("writes");
                times.push(begun.elapsed());
                done.fetch_add(500, Ordering::Relaxed);
            }
            times
        })
    });
    let mut times = Vec::new();
    for task in tasks.collect::<Vec<_>>() {
        times.extend(task.await.expect("a task"));
    }
    let sample = Sample::new(done.load(Ordering::Relaxed), begun.elapsed(), times);
    pool.close().await;
    sample
}

async fn write_batch(connection: &mut PgConnection, c: Columns) -> Result<(), sqlx::Error> {
    let mut tx = connection.begin().await?;
    let due: Vec<(i16, Uuid, i64)> = sqlx::query_as(CEILING)
        .bind(c.slots)
        .bind(c.books)
        .bind(c.keys)
        .bind(c.transactions)
        .bind(c.holds)
        .bind(c.checkouts)
        .bind(c.commands)
        .bind(c.fingerprints)
        .bind(c.bodies)
        .bind(ITEM_PRICE_MICROS)
        .bind(SKU)
        .fetch_all(&mut *tx)
        .await?;
    if !due.is_empty() {
        let (slots, rest): (Vec<_>, Vec<_>) = due.into_iter().map(|d| (d.0, (d.1, d.2))).unzip();
        let (books, versions): (Vec<_>, Vec<_>) = rest.into_iter().unzip();
        sqlx::query(
            "select bench_snapshot(slot, book, version)
             from unnest($1::smallint[], $2::uuid[], $3::bigint[]) as u(slot, book, version)",
        )
        .bind(slots)
        .bind(books)
        .bind(versions)
        .execute(&mut *tx)
        .await?;
    }
    tx.commit().await
}

/// Runs B for a while, over as many connections as the service has.
pub async fn one_by_one(world: &Arc<World>, pool: &PgPool, how_long: Duration) -> Sample {
    let begun = Instant::now();
    let until = begun + how_long;
    let connections = usize::try_from(pool.options().get_max_connections()).expect("small");
    let tasks = (0..connections).map(|part| {
        let (world, pool) = (world.clone(), pool.clone());
        tokio::spawn(async move {
            let mut connection = pool.acquire().await.expect("connects");
            let mut buyers = world.buyers.iter().cycle().skip(part * 613);
            let mut times = Vec::new();
            while Instant::now() < until {
                let mut one = Columns::default();
                one.push(buyers.next().expect("a cycle"), world.clock.now());
                let begun = Instant::now();
                write_one(&mut connection, one).await.expect("writes");
                times.push(begun.elapsed());
            }
            times
        })
    });
    let mut times = Vec::new();
    for task in tasks.collect::<Vec<_>>() {
        times.extend(task.await.expect("a task"));
    }
    Sample::new(u64::try_from(times.len()).expect("small"), begun.elapsed(), times)
}

async fn write_one(connection: &mut PgConnection, mut c: Columns) -> Result<(), sqlx::Error> {
    sqlx::query("select bench_checkout($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)")
        .bind(c.slots.pop())
        .bind(c.books.pop())
        .bind(c.keys.pop())
        .bind(c.transactions.pop())
        .bind(c.holds.pop())
        .bind(c.checkouts.pop())
        .bind(c.commands.pop())
        .bind(c.fingerprints.pop())
        .bind(c.bodies.pop())
        .bind(ITEM_PRICE_MICROS)
        .bind(SKU)
        .execute(connection)
        .await?;
    Ok(())
}
