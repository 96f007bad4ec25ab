use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool};

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
