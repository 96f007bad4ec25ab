use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::fault::{Fault, Met, WAITING_MAX, WAITS};
use crate::ground::Amount;
use crate::x402::{Address, Network, Nonce};

/// A wallet of one token.
pub(super) struct WalletKey {
    network: &'static str,
    asset: String,
    address: String,
}

impl WalletKey {
    /// The wallet of an address in a network's USDC.
    pub fn of(network: &Network, address: Address) -> Self {
        Self { network: network.caip2, asset: network.usdc.lower(), address: address.lower() }
    }
}

/// A payment that is to move test dollars.
pub(super) struct Transfer {
    pub network: &'static Network,
    pub payer: Address,
    pub pay_to: Address,
    pub nonce: Nonce,
    pub amount: Amount,
    pub digest: [u8; 32],
}

impl Transfer {
    /// The wallet that pays.
    pub fn payer(&self) -> WalletKey {
        WalletKey::of(self.network, self.payer)
    }
}

/// A settlement on record.
pub(super) struct Settlement {
    /// What was signed.
    pub digest: Vec<u8>,
    /// The transaction it got.
    pub transaction: String,
}

/// What became of a transfer.
pub(super) enum Moved {
    /// It moved, in this transaction.
    Now(String),
    /// Its nonce had been used before.
    Before(Settlement),
    /// The payer has not enough, and nothing moved.
    Nothing,
}

/// The settlement that used a payment's nonce.
pub(super) async fn settlement(
    pool: &PgPool,
    transfer: &Transfer,
) -> Result<Option<Settlement>, sqlx::Error> {
    sqlx::query_as!(
        Settlement,
        "select digest, transaction from sandbox_settlement
         where network = $1 and asset = $2 and payer = $3 and nonce = $4",
        transfer.network.caip2,
        transfer.network.usdc.lower(),
        transfer.payer.lower(),
        transfer.nonce.to_string(),
    )
    .fetch_optional(pool)
    .await
}

/// The balance of a wallet in micro-dollars; nothing when it was never used.
pub(super) async fn balance(pool: &PgPool, wallet: &WalletKey) -> Result<i64, sqlx::Error> {
    let balance = sqlx::query_scalar!(
        "select balance from sandbox_wallet where network = $1 and asset = $2 and address = $3",
        wallet.network,
        wallet.asset,
        wallet.address,
    );
    Ok(balance.fetch_optional(pool).await?.unwrap_or_default())
}

/// Adds to a wallet and returns its balance.
pub(super) async fn deposit(
    pool: &PgPool,
    wallet: &WalletKey,
    amount: Amount,
) -> Result<i64, sqlx::Error> {
    let mut connection = pool.acquire().await?;
    credit(&mut connection, wallet, amount).await
}

/// Moves the money and records the settlement, both or neither, in one transaction.
///
/// The row of the settlement comes first: whoever else uses the nonce waits for it and then finds
/// it. The two wallets are changed in the order of their addresses, so that two payments in
/// opposite directions do not wait for each other.
pub(super) async fn perform(
    pool: &PgPool,
    transfer: &Transfer,
    transaction: &str,
    at: DateTime<Utc>,
) -> Result<Moved, sqlx::Error> {
    let mut work = pool.begin().await?;
    if !record(&mut work, transfer, transaction, at).await? {
        work.rollback().await?;
        let earlier = settlement(pool, transfer).await?;
        return Ok(Moved::Before(earlier.ok_or(sqlx::Error::RowNotFound)?));
    }
    let payer = transfer.payer();
    let pay_to = WalletKey::of(transfer.network, transfer.pay_to);
    let paid = if payer.address <= pay_to.address {
        let paid = debit(&mut work, &payer, transfer.amount).await?;
        credit(&mut work, &pay_to, transfer.amount).await?;
        paid
    } else {
        credit(&mut work, &pay_to, transfer.amount).await?;
        debit(&mut work, &payer, transfer.amount).await?
    };
    if !paid {
        work.rollback().await?;
        return Ok(Moved::Nothing);
    }
    work.commit().await?;
    Ok(Moved::Now(transaction.to_owned()))
}

/// Records a settlement; false when the nonce was used.
async fn record(
    connection: &mut PgConnection,
    transfer: &Transfer,
    transaction: &str,
    at: DateTime<Utc>,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "insert into sandbox_settlement
           (network, asset, payer, nonce, pay_to, amount, digest, transaction, settled_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
         on conflict on constraint sandbox_settlement_pkey do nothing",
        transfer.network.caip2,
        transfer.network.usdc.lower(),
        transfer.payer.lower(),
        transfer.nonce.to_string(),
        transfer.pay_to.lower(),
        transfer.amount.micros(),
        transfer.digest.as_slice(),
        transaction,
        at,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Takes from a wallet; false when it has not enough.
async fn debit(
    connection: &mut PgConnection,
    wallet: &WalletKey,
    amount: Amount,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "update sandbox_wallet set balance = balance - $4
         where network = $1 and asset = $2 and address = $3 and balance >= $4",
        wallet.network,
        wallet.asset,
        wallet.address,
        amount.micros(),
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

async fn credit(
    connection: &mut PgConnection,
    wallet: &WalletKey,
    amount: Amount,
) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        "insert into sandbox_wallet (network, asset, address, balance) values ($1, $2, $3, $4)
         on conflict on constraint sandbox_wallet_pkey
         do update set balance = sandbox_wallet.balance + excluded.balance
         returning balance",
        wallet.network,
        wallet.asset,
        wallet.address,
        amount.micros(),
    )
    .fetch_one(connection)
    .await
}

/// What was armed before that does not wait any more.
fn too_old(at: DateTime<Utc>) -> DateTime<Utc> {
    at.checked_sub_signed(WAITS).unwrap_or(at)
}

/// Has one payment of a wallet meet a fault; false when enough of them wait.
pub(super) async fn arm(
    pool: &PgPool,
    wallet: &WalletKey,
    fault: Fault,
    id: Uuid,
    at: DateTime<Utc>,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "insert into sandbox_fault (fault_id, network, address, kind, seconds, armed_at)
         select $1, $2, $3, $4, $5, $6 where $7 > (
           select count(*) from sandbox_fault where network = $2 and address = $3
             and nonce is null and dropped_at is null and armed_at > $8)",
        id,
        wallet.network,
        wallet.address,
        fault.name(),
        fault.seconds(),
        at,
        WAITING_MAX,
        too_old(at)
    )
    .execute(pool)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Lets go of all faults that wait for a wallet's payments.
pub(super) async fn drop_faults(
    pool: &PgPool,
    wallet: &WalletKey,
    at: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update sandbox_fault set dropped_at = $3
         where network = $1 and address = $2 and nonce is null and dropped_at is null",
        wallet.network,
        wallet.address,
        at
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// How many faults wait for a wallet's payments.
pub(super) async fn waiting(
    pool: &PgPool,
    wallet: &WalletKey,
    at: DateTime<Utc>,
) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select count(*) as "count!" from sandbox_fault where network = $1 and address = $2
             and nonce is null and dropped_at is null and armed_at > $3"#,
        wallet.network,
        wallet.address,
        too_old(at)
    )
    .fetch_one(pool)
    .await
}

/// The fault that a payment has met, or, if it may, meets at this moment: the one that has waited
/// longest. A fault is met by one payment, and stays with it.
pub(super) async fn meet(
    pool: &PgPool,
    transfer: &Transfer,
    fresh: bool,
    at: DateTime<Utc>,
) -> Result<Option<Met>, sqlx::Error> {
    let payer = transfer.payer();
    let nonce = transfer.nonce.to_string();
    let known = sqlx::query!(
        r#"select kind, seconds, met_at as "met_at!" from sandbox_fault
           where network = $1 and address = $2 and nonce = $3"#,
        payer.network,
        payer.address,
        nonce
    )
    .fetch_optional(pool)
    .await?;
    if let Some(row) = known {
        let fault = Fault::of_record(&row.kind, row.seconds);
        return Ok(fault.map(|fault| Met { fault, at: row.met_at, first: false }));
    }
    if !fresh {
        return Ok(None);
    }
    let row = sqlx::query!(
        "update sandbox_fault set nonce = $3, met_at = $4
         where fault_id = (
           select fault_id from sandbox_fault where network = $1 and address = $2
             and nonce is null and dropped_at is null and armed_at > $5
           order by armed_at, fault_id limit 1 for update skip locked)
         returning kind, seconds",
        payer.network,
        payer.address,
        nonce,
        at,
        too_old(at)
    )
    .fetch_optional(pool)
    .await?;
    let fault = row.and_then(|row| Fault::of_record(&row.kind, row.seconds));
    Ok(fault.map(|fault| Met { fault, at, first: true }))
}
