//! The sandbox facilitator: the real protocol and real checks, on test dollars kept in Postgres.
//!
//! It speaks as the reference facilitator does, with its reasons and in its order, and is better
//! in one way: an identical `/settle` is answered with the original success, for ever. Unless a
//! developer asks for a fault: then one payment of one wallet meets it, and all others do not.

mod fault;
mod presented;
mod store;

use std::sync::Arc;

use serde_json::{Value, json};
use sqlx::PgPool;

use super::{Address, Network};
use crate::ground::{Amount, Clock, Entropy, Slot, mint_uuid};

pub use fault::{Armed, Delivery, Fault, Spoken};

use fault::Met;
use presented::{Presented, Reason, Refusal};
use store::{Moved, Settlement, WalletKey};

/// A facilitator of test dollars. Test mode only.
pub struct Sandbox {
    pool: PgPool,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    networks: Vec<&'static Network>,
}

/// Why the sandbox cannot do what its operator or a developer asks.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// It does not serve that network.
    #[error("the sandbox does not serve this network")]
    Network,
    /// It knows only USDC.
    #[error("the sandbox has no such token on this network")]
    Asset,
    /// The faucet gives more than nothing and not more than that at a time.
    #[error("the faucet gives up to {max} at a time")]
    Faucet {
        /// The most it gives.
        max: Amount,
    },
    /// Enough faults wait for the wallet's next payments.
    #[error("{max} faults wait already for payments of this wallet")]
    Faults {
        /// How many may wait.
        max: i64,
    },
    /// A balance does not fit into an amount.
    #[error("the balance is out of range")]
    Balance,
    /// The database failed.
    #[error("the sandbox's database failed")]
    Database(#[from] sqlx::Error),
}

impl Sandbox {
    /// The most the faucet gives at a time.
    pub const FAUCET_MAX: Amount = Amount::micros_of(1_000_000_000);

    /// A sandbox for the given networks. Its state is in the database, so replicas share it.
    pub fn new(
        pool: PgPool,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        networks: Vec<&'static Network>,
    ) -> Self {
        Self { pool, clock, entropy, networks }
    }

    /// The answer of `/supported`.
    pub fn supported(&self) -> Value {
        let kind = |version: u8, name: &str| json!({"x402Version": version, "scheme": "exact", "network": name});
        let second = self.networks.iter().map(|network| kind(2, network.caip2));
        let first = self.networks.iter().filter_map(|network| Some(kind(1, network.v1_name?)));
        let kinds: Vec<_> = second.chain(first).collect();
        json!({"kinds": kinds, "extensions": [], "signers": {}})
    }

    /// The status and answer of `/verify`.
    pub async fn verify(&self, body: &Value) -> (u16, Value) {
        match self.check(body).await {
            Ok(presented) => (200, json!({"isValid": true, "payer": presented.authorization.from})),
            Err(refusal) => {
                let reason = match refusal.reason {
                    Reason::Unexpected => "unexpected_verify_error",
                    reason => reason.as_str(),
                };
                let mut answer = json!({
                    "isValid": false, "invalidReason": reason, "invalidMessage": refusal.message,
                });
                if let Some(payer) = refusal.payer {
                    answer["payer"] = json!(payer);
                }
                (status_of(refusal.reason), answer)
            }
        }
    }

    /// The status and answer of `/settle`, and how it is delivered.
    pub async fn settle(&self, body: &Value) -> Spoken {
        match self.perform(body).await {
            Ok((presented, transaction, met)) => {
                let answer = json!({
                    "success": true, "transaction": transaction,
                    "network": presented.network_name, "payer": presented.authorization.from,
                });
                fault::spoken(met.as_ref(), answer, self.clock.now())
            }
            Err(refusal) => {
                let reason = match refusal.reason {
                    Reason::Unexpected => "unexpected_settle_error",
                    reason => reason.as_str(),
                };
                let mut answer = json!({
                    "success": false, "errorReason": reason, "errorMessage": refusal.message,
                    "transaction": "", "network": refusal.network,
                });
                if let Some(payer) = refusal.payer {
                    answer["payer"] = json!(payer);
                }
                Spoken::plain(status_of(refusal.reason), answer)
            }
        }
    }

    /// Has the next payment of a wallet meet a fault, or lets go of those that wait.
    pub async fn arm(
        &self,
        network: &str,
        asset: Address,
        address: Address,
        fault: Option<Fault>,
    ) -> Result<Armed, SandboxError> {
        let wallet = WalletKey::of(self.network_of(network, asset)?, address);
        let at = self.clock.now();
        match fault {
            None => store::drop_faults(&self.pool, &wallet, at).await?,
            Some(fault) => {
                let id = mint_uuid(self.entropy.as_ref(), at, Slot(0));
                if !store::arm(&self.pool, &wallet, fault, id, at).await? {
                    return Err(SandboxError::Faults { max: fault::WAITING_MAX });
                }
            }
        }
        Ok(Armed { waiting: store::waiting(&self.pool, &wallet, at).await? })
    }

    /// Gives test dollars to a wallet and returns its balance.
    pub async fn faucet(
        &self,
        network: &str,
        asset: Address,
        address: Address,
        amount: Amount,
    ) -> Result<Amount, SandboxError> {
        let network = self.network_of(network, asset)?;
        if amount.is_zero() || amount > Self::FAUCET_MAX {
            return Err(SandboxError::Faucet { max: Self::FAUCET_MAX });
        }
        let wallet = WalletKey::of(network, address);
        let balance = store::deposit(&self.pool, &wallet, amount).await?;
        Amount::from_micros(balance).ok_or(SandboxError::Balance)
    }

    /// The test dollars of a wallet.
    pub async fn balance(
        &self,
        network: &str,
        asset: Address,
        address: Address,
    ) -> Result<Amount, SandboxError> {
        let wallet = WalletKey::of(self.network_of(network, asset)?, address);
        let balance = store::balance(&self.pool, &wallet).await?;
        Amount::from_micros(balance).ok_or(SandboxError::Balance)
    }

    /// A network by either name, when the asset is its USDC.
    fn network_of(&self, name: &str, asset: Address) -> Result<&'static Network, SandboxError> {
        let named = |network: &&&Network| network.caip2 == name || network.v1_name == Some(name);
        let network = *self.networks.iter().find(named).ok_or(SandboxError::Network)?;
        if network.usdc == asset { Ok(network) } else { Err(SandboxError::Asset) }
    }

    /// Everything that `/verify` checks.
    async fn check(&self, body: &Value) -> Result<Presented, Refusal> {
        let presented = Presented::read(body, &self.networks)?;
        let transfer = presented.transfer()?;
        presented.judge_window(self.clock.now())?;
        presented.judge_terms()?;
        let failed = |error| presented.broken(&error);
        if store::settlement(&self.pool, &transfer).await.map_err(failed)?.is_some() {
            return Err(presented.refuse(Reason::NonceUsed));
        }
        let balance = store::balance(&self.pool, &transfer.payer()).await.map_err(failed)?;
        if balance < transfer.amount.micros() {
            return Err(presented.refuse(Reason::Balance));
        }
        Ok(presented)
    }

    /// Settles, or finds out that it did: a payment stays settled when its window is over.
    async fn perform(&self, body: &Value) -> Result<(Presented, String, Option<Met>), Refusal> {
        let presented = Presented::read(body, &self.networks)?;
        let transfer = presented.transfer()?;
        let failed = |error| presented.broken(&error);
        let earlier = store::settlement(&self.pool, &transfer).await.map_err(failed)?;
        let same = |earlier: &Settlement| earlier.digest == presented.digest;
        if !earlier.as_ref().is_some_and(same) {
            presented.judge_window(self.clock.now())?;
        }
        presented.judge_terms()?;
        let (at, fresh) = (self.clock.now(), earlier.is_none());
        let met = store::meet(&self.pool, &transfer, fresh, at).await.map_err(failed)?;
        if met.as_ref().is_some_and(Met::refuses) {
            return Err(presented.refuse(Reason::AskedFor));
        }
        let moved = match earlier {
            Some(earlier) => Moved::Before(earlier),
            None => {
                let transaction = format!("0x{}", hex::encode(self.entropy.array::<32>()));
                store::perform(&self.pool, &transfer, &transaction, at).await.map_err(failed)?
            }
        };
        match moved {
            Moved::Now(transaction) => Ok((presented, transaction, met)),
            Moved::Before(earlier) if same(&earlier) => Ok((presented, earlier.transaction, met)),
            Moved::Before(_) => Err(presented.refuse(Reason::NonceUsed)),
            Moved::Nothing => Err(presented.refuse(Reason::Balance)),
        }
    }
}

/// A refusal is an answer like any other; only what could not be read or done has another status.
fn status_of(reason: Reason) -> u16 {
    match reason {
        Reason::Payload | Reason::Requirements | Reason::Version => 400,
        Reason::Unexpected => 503,
        _ => 200,
    }
}
